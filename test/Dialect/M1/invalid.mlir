// Every message of the verifiers of types, attributes, symbols and operations from rows to rows.
// RUN: m1-opt %s --split-input-file --verify-diagnostics

// Only a KV cache has a window, of at least one position.
// expected-error @+1 {{expected a window of a KV cache, got one of '!m1.conv_state<1x4xf32>'}}
m1.state @conv : !m1.conv_state<1x4xf32> {window = 8 : i64}

// -----

// expected-error @+1 {{expected a window of at least one position that fits 32 bits, got 0}}
m1.state @cache : !m1.kv_cache<2x64x4xf32> {window = 0 : i64}

// -----

// A state's elements are floats.
// expected-error @+1 {{expected element type f32, bf16 or f16, got 'i32'}}
func.func private @f(!m1.scan_state<4x4xi32>)

// -----

// A cache's elements are floats or codes.
// expected-error @+1 {{expected element type f32, bf16, f16, i8 or f8E4M3FN, got 'ui8'}}
func.func private @f(!m1.kv_cache<2x64x4xui8>)

// -----

// Of codes, too, a cache has three dimensions.
// expected-error @+1 {{expected dimensions [kv_heads, page_size, head_dim], got 2 of them}}
func.func private @f(!m1.kv_cache<2x64xi8>)

// -----

// States other than caches have no codes.
// expected-error @+1 {{expected element type f32, bf16 or f16, got 'f8E4M3FN'}}
func.func private @f(!m1.conv_state<3x4xf8E4M3FN>)

// -----

// A scan state has one to three dimensions.
// expected-error @+1 {{expected dimensions [C], [d_inner, N] or [H, P, N], got 4 of them}}
func.func private @f(!m1.scan_state<4x2x2x2xf32>)

// -----

// Only the rows of a convolution state may be none.
// expected-error @+1 {{expected positive dimensions [width - 1, channels], got [3, 0]}}
func.func private @f(!m1.conv_state<3x0xf32>)

// -----

// A cache has three dimensions.
// expected-error @+1 {{expected dimensions [kv_heads, page_size, head_dim], got 2 of them}}
func.func private @f(!m1.kv_cache<2x64xbf16>)

// -----

// Steps are positive.
// expected-error @+1 {{expected positive step, got 0}}
m1.weight @w : tensor<2x2x2xf32> {angles = #m1.rotary_angles<step = 0, frequencies = [1.0, 0.5]>}

// -----

// Frequencies are numbers.
// expected-error @+1 {{expected finite frequencies, got INF}}
m1.weight @w : tensor<2x1x2xf32> {angles = #m1.rotary_angles<step = 1, frequencies = [1.0e999]>}

// -----

// So is the scale.
// expected-error @+1 {{expected a finite scale, got INF}}
m1.weight @w : tensor<2x1x2xf32> {angles = #m1.rotary_angles<step = 1, frequencies = [1.0],
    scale = 1.0e999>}

// -----

// There is a frequency for each pair.
// expected-error @+1 {{expected 2 frequencies, got 1}}
m1.weight @w : tensor<2x2x2xf32> {angles = #m1.rotary_angles<step = 1, frequencies = [1.0]>}

// -----

// Fields have names.
// expected-error @+1 {{unknown field 'stride'}}
m1.weight @w : tensor<2x2x2xf32> {angles = #m1.rotary_angles<stride = 1>}

// -----

// A model's sizes are positive.
// expected-error @+1 {{expected positive vocab_size, got 0}}
m1.model @m {architecture = "llama", vocab_size = 0 : i64, hidden_size = 4 : i64, layers = 1
    : i64, max_positions = 8 : i64, activation_type = f32, state_type = f32, kv_type = f32}

// -----

// expected-error @+1 {{expected positive hidden_size, got 0}}
m1.model @m {architecture = "llama", vocab_size = 8 : i64, hidden_size = 0 : i64, layers = 1
    : i64, max_positions = 8 : i64, activation_type = f32, state_type = f32, kv_type = f32}

// -----

// expected-error @+1 {{expected positive layers, got 0}}
m1.model @m {architecture = "llama", vocab_size = 8 : i64, hidden_size = 4 : i64, layers = 0
    : i64, max_positions = 8 : i64, activation_type = f32, state_type = f32, kv_type = f32}

// -----

// expected-error @+1 {{expected positive max_positions, got 0}}
m1.model @m {architecture = "llama", vocab_size = 8 : i64, hidden_size = 4 : i64, layers = 1
    : i64, max_positions = 0 : i64, activation_type = f32, state_type = f32, kv_type = f32}

// -----

// expected-error @+1 {{expected positive page_size, got -64}}
m1.model @m {architecture = "llama", vocab_size = 8 : i64, hidden_size = 4 : i64, layers = 1 : i64,
    max_positions = 8 : i64, page_size = -64
    : i64, activation_type = f32, state_type = f32, kv_type = f32}

// -----

// Activations are f32 or bf16.
// expected-error @+1 {{expected activation_type f32 or bf16, got 'f16'}}
m1.model @m {architecture = "llama", vocab_size = 8 : i64, hidden_size = 4 : i64, layers = 1
    : i64, max_positions = 8 : i64, activation_type = f16, state_type = f32, kv_type = f32}

// -----

// States are floats.
// expected-error @+1 {{expected state_type f32, bf16 or f16, got 'i8'}}
m1.model @m {architecture = "llama", vocab_size = 8 : i64, hidden_size = 4 : i64, layers = 1
    : i64, max_positions = 8 : i64, activation_type = f32, state_type = i8, kv_type = f32}

// -----

// Caches are floats or codes.
// expected-error @+1 {{expected kv_type f32, bf16, f16, i8 or f8E4M3FN, got 'i16'}}
m1.model @m {architecture = "llama", vocab_size = 8 : i64, hidden_size = 4 : i64, layers = 1
    : i64, max_positions = 8 : i64, activation_type = f32, state_type = f32, kv_type = i16}

// -----

// A weight's shape is static.
// expected-error @+1 {{expected a static shape, got 'tensor<?x4xf32>'}}
m1.weight @w : tensor<?x4xf32> {sources = ["a"]}

// -----

// A weight comes from somewhere.
// expected-error @+1 {{expected exactly one of sources, scales_of, value and angles, got 0}}
m1.weight @w : tensor<4xf32>

// -----

// A weight comes from one place.
// expected-error @+1 {{expected exactly one of sources, scales_of, value and angles, got 2}}
m1.weight @w : tensor<4xf32> {sources = ["a"], value = dense<1.0> : tensor<4xf32>}

// -----

// A list of sources names some.
// expected-error @+1 {{expected at least one source}}
m1.weight @w : tensor<4xf32> {sources = []}

// -----

// Only sources are transformed.
// expected-error @+1 {{expected transform only with sources, got double}}
m1.weight @w : tensor<4xf32> {value = dense<1.0> : tensor<4xf32>, transform = #m1<transform double>}

// -----

// A constant has the weight's type.
// expected-error @+1 {{expected value of type 'tensor<4xf32>', got 'tensor<5xf32>'}}
m1.weight @w : tensor<4xf32> {value = dense<1.0> : tensor<5xf32>}

// -----

// Elements that a weight can have.
// expected-error @+1 {{'m1.weight' op expected elements of f32 or bf16 from the checkpoint, got 'f16'}}
m1.weight @w : tensor<4xf16> {sources = ["a"]}

// -----

// Elements that a constant can have.
// expected-error @+1 {{'m1.weight' op expected a constant of f32, bf16 or i32, got 'f64'}}
m1.weight @w : tensor<4xf64> {value = dense<1.0> : tensor<4xf64>}

// -----

// Rows are given for each source.
// expected-error @+1 {{expected rows as a pair for each of 2 sources, got 2 numbers}}
m1.weight @w : tensor<4x2xf32> {sources = ["a", "b"], rows = array<i64: 0, 4>}

// -----

// And are there.
// expected-error @+1 {{expected rows from 0 on and at least one, got 0 from 4}}
m1.weight @w : tensor<4x2xf32> {sources = ["a"], rows = array<i64: 4, 0>}

// -----

// Angles have pairs of cos and sin.
// expected-error @+1 {{expected angles in a tensor of shape [rows, pairs, 2] of f32, got 'tensor<4x2xf32>'}}
m1.weight @w : tensor<4x2xf32> {angles = #m1.rotary_angles<step = 1, frequencies = [1.0, 0.5]>}

// -----

// A state is of a state type.
// expected-error @+1 {{expected the type of a state, got 'tensor<4xf32>'}}
m1.state @s : tensor<4xf32>

// -----

// A weight that is read exists.
func.func @f() {
  // expected-error @+1 {{refers to @nothing, which is no m1.weight}}
  %w = m1.get_weight @nothing : tensor<4xf32>
  return
}

// -----

// A weight is read in its type.
m1.weight @w : tensor<4xf32> {sources = ["a"]}
func.func @f() {
  // expected-error @+1 {{expected the weight's type 'tensor<4xf32>', got 'tensor<4xbf16>'}}
  %w = m1.get_weight @w : tensor<4xbf16>
  return
}

// -----

// A state that is read exists, and is a state.
m1.weight @w : tensor<4xf32> {sources = ["a"]}
func.func @f() {
  // expected-error @+1 {{refers to @w, which is no m1.state}}
  %s = m1.get_state @w : !m1.scan_state<4x2xf32>
  return
}

// -----

// A state is read in its type.
m1.state @s : !m1.scan_state<4x4xf32>
func.func @f() {
  // expected-error @+1 {{expected the state's type '!m1.scan_state<4x4xf32>', got '!m1.scan_state<4x2xf32>'}}
  %s = m1.get_state @s : !m1.scan_state<4x2xf32>
  return
}

// -----

// An embedding's result has the table's columns.
func.func @f(%a0: tensor<?xi32>, %a1: tensor<8x4xf32>) {
  // expected-error @+1 {{expected result of shape [tokens, D] = [?, 4], got [?, 5]}}
  %r = m1.embedding %a0, %a1 : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// A linear's weight has x's columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<6x5xf32>) {
  // expected-error @+1 {{expected weight of shape [N, K] = [6, 4], got [6, 5]}}
  %r = m1.linear %a0, %a1 : (tensor<?x4xf32>, tensor<6x5xf32>) -> tensor<?x6xf32>
  return
}

// -----

// A linear's bias has the weight's rows.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<6x4xf32>, %a2: tensor<5xf32>) {
  // expected-error @+1 {{expected bias of shape [N] = [6], got [5]}}
  %r = m1.linear %a0, %a1 bias(%a2)
      : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<5xf32>) -> tensor<?x6xf32>
  return
}

// -----

// A linear's result has the weight's rows.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<6x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, N] = [?, 6], got [?, 7]}}
  %r = m1.linear %a0, %a1 : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<?x7xf32>
  return
}

// -----

// Rows stay rows.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<6x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, N] = [?, 6], got [3, 6]}}
  %r = m1.linear %a0, %a1 : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<3x6xf32>
  return
}

// -----

// A norm's eps is no negative number.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4xf32>) {
  // expected-error @+1 {{expected a finite eps of at least 0, got -1.000000e+00}}
  %r = m1.rms_norm %a0, %a1 {eps = -1.0 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// A norm's weight has x's columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<5xf32>) {
  // expected-error @+1 {{expected weight of shape [D] = [4], got [5]}}
  %r = m1.rms_norm %a0, %a1 {eps = 0.0 : f64} : (tensor<?x4xf32>, tensor<5xf32>) -> tensor<?x4xf32>
  return
}

// -----

// A norm keeps the columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, D] = [?, 4], got [?, 5]}}
  %r = m1.rms_norm %a0, %a1 {eps = 0.0 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// rms_norm: there are groups.
func.func @f(%a0: tensor<?x4xf32>) {
  // expected-error @+1 {{expected positive groups, got 0}}
  %r = m1.rms_norm %a0 {eps = 0.0 : f64, groups = 0 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// rms_norm: groups are equal.
func.func @f(%a0: tensor<?x4xf32>) {
  // expected-error @+1 {{expected groups to divide D = 4, got 3}}
  %r = m1.rms_norm %a0 {eps = 0.0 : f64, groups = 3 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// What is added has the residual's columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x5xf32>) {
  // expected-error @+1 {{expected x of shape [rows, D] = [?, 4], got [?, 5]}}
  %r = m1.add %a0, %a1 : (tensor<?x4xf32>, tensor<?x5xf32>) -> tensor<?x4xf32>
  return
}

// -----

// A sum has the residual's columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, D] = [?, 4], got [?, 5]}}
  %r = m1.add %a0, %a1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// An eps is finite.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected a finite eps of at least 0, got INF}}
  %s, %n = m1.add_rms_norm %a0, %a1, %a2 {eps = 0x7FF0000000000000 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>)
  return
}

// -----

// A factor is finite.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected a finite factor, got 0x7FF0000000000000}}
  %s, %n = m1.add_rms_norm %a0, %a1, %a2 {eps = 0.0 : f64, factor = 0x7FF0000000000000 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>)
  return
}

// -----

// add_rms_norm: x has the residual's columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x3xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected x of shape [rows, D] = [?, 4], got [?, 3]}}
  %s, %n = m1.add_rms_norm %a0, %a1, %a2 {eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x3xf32>, tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>)
  return
}

// -----

// add_rms_norm: so has the weight.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<3xf32>) {
  // expected-error @+1 {{expected weight of shape [D] = [4], got [3]}}
  %s, %n = m1.add_rms_norm %a0, %a1, %a2 {eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<3xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>)
  return
}

// -----

// add_rms_norm: so has the sum.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected sum of shape [rows, D] = [?, 4], got [?, 3]}}
  %s, %n = m1.add_rms_norm %a0, %a1, %a2 {eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> (tensor<?x3xf32>, tensor<?x4xf32>)
  return
}

// -----

// add_rms_norm: so has the normed sum.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected normed of shape [rows, D] = [?, 4], got [?, 3]}}
  %s, %n = m1.add_rms_norm %a0, %a1, %a2 {eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x3xf32>)
  return
}

// -----

// Pieces cover x.
func.func @f(%a0: tensor<?x8xf32>) {
  // expected-error @+1 {{expected pieces of 8 columns together, got 7}}
  %p:2 = m1.split %a0 : tensor<?x8xf32> -> tensor<?x4xf32>, tensor<?x3xf32>
  return
}

// -----

// Pieces have x's type.
func.func @f(%a0: tensor<?x8xf32>) {
  // expected-error @+1 {{expected pieces of x's element type 'f32', got 'bf16'}}
  %p:2 = m1.split %a0 : tensor<?x8xf32> -> tensor<?x4xf32>, tensor<?x4xbf16>
  return
}

// -----

// Pieces have x's rows.
func.func @f(%a0: tensor<?x8xf32>) {
  // expected-error @+1 {{expected piece 1 of shape [rows, N] = [?, 4], got [2, 4]}}
  %p:2 = m1.split %a0 : tensor<?x8xf32> -> tensor<?x4xf32>, tensor<2x4xf32>
  return
}

// -----

// Heads have columns.
func.func @f(%a0: tensor<?x8xf32>) {
  // expected-error @+1 {{expected positive head_size, got 0}}
  %r = m1.repeat_heads %a0 {head_size = 0 : i64, repeat = 2 : i64} : tensor<?x8xf32>
      -> tensor<?x16xf32>
  return
}

// -----

// Heads repeat at least once.
func.func @f(%a0: tensor<?x8xf32>) {
  // expected-error @+1 {{expected positive repeat, got 0}}
  %r = m1.repeat_heads %a0 {head_size = 4 : i64, repeat = 0 : i64} : tensor<?x8xf32>
      -> tensor<?x16xf32>
  return
}

// -----

// Heads are whole.
func.func @f(%a0: tensor<?x8xf32>) {
  // expected-error @+1 {{expected x of whole heads of 3 columns, got 8 columns}}
  %r = m1.repeat_heads %a0 {head_size = 3 : i64, repeat = 2 : i64} : tensor<?x8xf32>
      -> tensor<?x16xf32>
  return
}

// -----

// Repetition multiplies columns.
func.func @f(%a0: tensor<?x8xf32>) {
  // expected-error @+1 {{expected result of shape [rows, repeat·columns] = [?, 16], got [?, 8]}}
  %r = m1.repeat_heads %a0 {head_size = 4 : i64, repeat = 2 : i64} : tensor<?x8xf32>
      -> tensor<?x8xf32>
  return
}

// -----

// softplus: the bias has x's columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<5xf32>) {
  // expected-error @+1 {{expected bias of shape [C] = [4], got [5]}}
  %r = m1.softplus %a0 bias(%a1) : (tensor<?x4xf32>, tensor<5xf32>) -> tensor<?x4xf32>
  return
}

// -----

// softplus: so has the result.
func.func @f(%a0: tensor<?x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.softplus %a0 : (tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// silu keeps the columns.
func.func @f(%a0: tensor<?x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.silu %a0 : (tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// mul: both sides have the same columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x5xf32>) {
  // expected-error @+1 {{expected b of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.mul %a0, %a1 : (tensor<?x4xf32>, tensor<?x5xf32>) -> tensor<?x4xf32>
  return
}

// -----

// mul: so has the result.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.mul %a0, %a1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// silu_mul: both sides have the same columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x5xf32>) {
  // expected-error @+1 {{expected b of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.silu_mul %a0, %a1 : (tensor<?x4xf32>, tensor<?x5xf32>) -> tensor<?x4xf32>
  return
}

// -----

// silu_mul: so has the result.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.silu_mul %a0, %a1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// skip: x has y's columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x5xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected x of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.skip %a0, %a1, %a2 : (tensor<?x4xf32>, tensor<?x5xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// skip: channels share D evenly.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<3xf32>) {
  // expected-error @+1 {{expected D of a length that divides C = 4, got 3}}
  %r = m1.skip %a0, %a1, %a2 : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return
}

// -----

// skip keeps the columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.skip %a0, %a1, %a2 : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// gated_rms_norm: eps is no NaN.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected a finite eps of at least 0, got nan}}
  %r = m1.gated_rms_norm %a0, %a1, %a2 {groups = 2 : i64, eps = 0x7FF8000000000000 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// gated_rms_norm: there are groups.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected positive groups, got 0}}
  %r = m1.gated_rms_norm %a0, %a1, %a2 {groups = 0 : i64, eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// gated_rms_norm: z has y's columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x6xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected z of shape [rows, C] = [?, 4], got [?, 6]}}
  %r = m1.gated_rms_norm %a0, %a1, %a2 {groups = 2 : i64, eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x6xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// gated_rms_norm: so has the weight, or those of a group.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<3xf32>) {
  // expected-error @+1 {{expected weight of shape [C] = [4], got [3]}}
  %r = m1.gated_rms_norm %a0, %a1, %a2 {groups = 2 : i64, eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return
}

// -----

// gated_rms_norm: groups are equal.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected groups to divide C = 4, got 3}}
  %r = m1.gated_rms_norm %a0, %a1, %a2 {groups = 3 : i64, eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// gated_rms_norm keeps the columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, C] = [?, 4], got [?, 2]}}
  %r = m1.gated_rms_norm %a0, %a1, %a2 {groups = 2 : i64, eps = 0.0 : f64}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x2xf32>
  return
}

// -----

// gated_mlp: gate reads x.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<6x5xf32>, %a2: tensor<6x4xf32>, %a3: tensor<4x6xf32>)
    {
  // expected-error @+1 {{expected gate of shape [I, D] = [6, 4], got [6, 5]}}
  %r = m1.gated_mlp %a0, %a1, %a2, %a3
      : (tensor<?x4xf32>, tensor<6x5xf32>, tensor<6x4xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
  return
}

// -----

// gated_mlp: up is like gate.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<6x4xf32>, %a2: tensor<7x4xf32>, %a3: tensor<4x6xf32>)
    {
  // expected-error @+1 {{expected up of shape [I, D] = [6, 4], got [7, 4]}}
  %r = m1.gated_mlp %a0, %a1, %a2, %a3
      : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<7x4xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
  return
}

// -----

// gated_mlp: down reads both.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<6x4xf32>, %a2: tensor<6x4xf32>, %a3: tensor<4x7xf32>)
    {
  // expected-error @+1 {{expected down of shape [D, I] = [4, 6], got [4, 7]}}
  %r = m1.gated_mlp %a0, %a1, %a2, %a3
      : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<6x4xf32>, tensor<4x7xf32>) -> tensor<?x4xf32>
  return
}

// -----

// gated_mlp: the result has down's rows.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<6x4xf32>, %a2: tensor<6x4xf32>, %a3: tensor<4x6xf32>)
    {
  // expected-error @+1 {{expected result of shape [rows, D] = [?, 4], got [?, 5]}}
  %r = m1.gated_mlp %a0, %a1, %a2, %a3
      : (tensor<?x4xf32>, tensor<6x4xf32>, tensor<6x4xf32>, tensor<4x6xf32>) -> tensor<?x5xf32>
  return
}

// -----

// gather_rows keeps the columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: !m1.batch) {
  // expected-error @+1 {{expected result of 4 columns, got 5}}
  %r = m1.gather_rows %a0, %a1 : (tensor<?x4xf32>, !m1.batch) -> tensor<?x5xf32>
  return
}

// -----

// The features of rows are static.
func.func @f(%x: tensor<?x?xf32>) {
  // expected-error @+1 {{operand #0 must be rows (2D tensor with a static number of columns) of 32-bit float or bfloat16 type values, but got 'tensor<?x?xf32>'}}
  %y = m1.silu %x : (tensor<?x?xf32>) -> tensor<?x?xf32>
  return
}

// -----

// The shapes of weights are static.
func.func @f(%x: tensor<?x4xf32>, %w: tensor<?x4xf32>) {
  // expected-error @+1 {{operand #1 must be 2D tensor of static shape of 32-bit float or bfloat16 type or 8-bit signless integer or 8-bit unsigned integer or f8E4M3FN type values, but got 'tensor<?x4xf32>'}}
  %y = m1.linear %x, %w : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// There is a token for every row of logits.
func.func @f(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows] = [?], got [2]}}
  %y = m1.sample %x : (tensor<?x4xf32>) -> tensor<2xi32>
  return
}

// -----

// Ids that count are columns of the logits, and one at least.
func.func @f(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{expected ids from 1 to 4, the columns of logits, got 5}}
  %y = m1.sample %x {ids = 5 : i64} : (tensor<?x4xf32>) -> tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{expected ids from 1 to 4, the columns of logits, got 0}}
  %y = m1.sample %x {ids = 0 : i64} : (tensor<?x4xf32>) -> tensor<?xi32>
  return
}

// -----

// The inputs of a map have the columns of its result …
func.func @f(%x: tensor<?x4xf32>, %y: tensor<?x5xf32>) {
  // expected-error @+1 {{expected input 1 of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.map %x, %y : (tensor<?x4xf32>, tensor<?x5xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32, %v: f32):
    m1.yield %u : f32
  }
  return
}

// -----

// … or as many values as divide them.
func.func @f(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>, %w: tensor<4xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{expected input 1 of a length that divides C = 4, got 3}}
  %r = m1.map %x, %b : (tensor<?x4xf32>, tensor<3xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32, %v: f32):
    m1.yield %u : f32
  }
  return
}

// -----

// Something says how many rows there are.
func.func @f(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>, %w: tensor<4xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{expected an input of rows}}
  %r = m1.map %w, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32, %v: f32):
    m1.yield %u : f32
  }
  return
}

// -----

// There is an argument for each input …
func.func @f(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>, %w: tensor<4xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{expected 2 arguments of the region, got 1}}
  %r = m1.map %x, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32):
    m1.yield %u : f32
  }
  return
}

// -----

// … of type f32.
func.func @f(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>, %w: tensor<4xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{expected arguments of the region of type f32, got 'bf16'}}
  %r = m1.map %x : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: bf16):
    %v = arith.extf %u : bf16 to f32
    m1.yield %v : f32
  }
  return
}

// -----

// The body is arithmetic that every target has …
func.func @f(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>, %w: tensor<4xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{expected scalar arithmetic in the region, got 'math.sin'}}
  %r = m1.map %x : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32):
    %v = math.sin %u : f32
    m1.yield %v : f32
  }
  return
}

// -----

// … in f32 …
func.func @f(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>, %w: tensor<4xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{expected f32 arithmetic in the region, got 'arith.constant' of type 'f64'}}
  %r = m1.map %x : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32):
    %v = arith.constant 1.0 : f64
    m1.yield %u : f32
  }
  return
}

// -----

// … constants too, …
func.func @f(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{expected f32 arithmetic in the region, got 'arith.constant' of type 'i1'}}
  %r = m1.map %x : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32):
    %v = arith.constant true
    m1.yield %u : f32
  }
  return
}

// -----

// … on its own values …
func.func @f(%x: tensor<?x4xf32>, %s: f32) {
  // expected-error @+1 {{expected operands of 'arith.addf' from the region itself}}
  %r = m1.map %x : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32):
    %v = arith.addf %u, %s : f32
    m1.yield %v : f32
  }
  return
}

// -----

// … and yields one of them.
func.func @f(%x: tensor<?x4xf32>, %s: f32) {
  // expected-error @+1 {{expected the region to end in m1.yield of its own f32}}
  %r = m1.map %x : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%u: f32):
    m1.yield %s : f32
  }
  return
}
