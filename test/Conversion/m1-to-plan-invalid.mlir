// RUN: m1-opt %s --m1-convert-to-plan --split-input-file --verify-diagnostics

// Functions that are no step of a model are refused.
// expected-error@+1 {{'func.func' op expected a function (tokens, batch) -> (logits, next tokens) of one block}}
func.func @prefill(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  return %x : tensor<?x64xf32>
}

// -----

// So are declarations.
// expected-error@+1 {{'func.func' op expected a function (tokens, batch) -> (logits, next tokens) of one block}}
func.func private @decode(tensor<?xi32>, !m1.batch) -> (tensor<?x8xf32>, tensor<?xi32>)

// -----

// What has to be expanded first is refused.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
m1.weight @gate : tensor<160x64xf32> {sources = ["g"]}
m1.weight @down : tensor<64x160xf32> {sources = ["d"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %g = m1.get_weight @gate : tensor<160x64xf32>
  %d = m1.get_weight @down : tensor<64x160xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  // expected-error@+1 {{'m1.gated_mlp' op has no kernel: it has to be expanded before the conversion to a plan}}
  %y = m1.gated_mlp %h, %g, %g, %d
    : (tensor<?x64xf32>, tensor<160x64xf32>, tensor<160x64xf32>, tensor<64x160xf32>)
        -> tensor<?x64xf32>
  %l = m1.linear %y, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %s = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x512xf32>, tensor<?xi32>
}

// -----

// So is an operation on weights alone: nothing says how many rows it has.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<512x64xf32>, tensor<512xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  // expected-error@+1 {{'m1.silu' op expected an operand with rows}}
  %y = m1.silu %e : (tensor<512x64xf32>) -> tensor<512x64xf32>
  %s = m1.sample %y : (tensor<512x64xf32>) -> tensor<512xi32>
  return %y, %s : tensor<512x64xf32>, tensor<512xi32>
}

// -----

// Results that no kernel writes are refused.
// expected-error@+1 {{'func.func' op expected results that kernels write}}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?xi32>, tensor<?xi32>) {
  return %tokens, %tokens : tensor<?xi32>, tensor<?xi32>
}

// -----

// Results go to the ports in their order: the logits first.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?xi32>, tensor<?x512xbf16>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  %r = m1.gather_rows %h, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  %l = m1.linear %r, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %b = m1.linear %r, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xbf16>
  %s = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  // expected-error@+1 {{'func.return' op expected logits of 2 dimensions and type 'f32', got 'tensor<?xi32>'}}
  return %s, %b : tensor<?xi32>, tensor<?x512xbf16>
}

// -----

// The runtime reads f32.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xbf16>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  %r = m1.gather_rows %h, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  %l = m1.linear %r, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %b = m1.linear %r, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xbf16>
  %s = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  // expected-error@+1 {{'func.return' op expected logits of 2 dimensions and type 'f32', got 'tensor<?x512xbf16>'}}
  return %b, %s : tensor<?x512xbf16>, tensor<?xi32>
}

// -----

// And rows of the whole vocabulary.
m1.model @model {architecture = "llama", vocab_size = 500 : i64, hidden_size = 64
    : i64, layers = 1 : i64, max_positions = 64 : i64, activation_type = f32, state_type = f32,
    kv_type = f32}
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  %r = m1.gather_rows %h, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  %l = m1.linear %r, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %s = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  // expected-error@+1 {{'func.return' op expected logits of vocab_size = 500 columns, got 512}}
  return %l, %s : tensor<?x512xf32>, tensor<?xi32>
}

// -----

// Without m1.gather_rows a step would write more rows than were asked for.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  %l = m1.linear %h, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %s = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  // expected-error@+1 {{'func.return' op expected logits of the rows that m1.gather_rows takes, got all rows of the step}}
  return %l, %s : tensor<?x512xf32>, tensor<?xi32>
}

// -----

// Both kinds of rows are not added to each other.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  %r = m1.gather_rows %h, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  // expected-error@+1 {{'m1.add' op expected operands of the same rows, got some of all rows of the step and some of those that m1.gather_rows takes}}
  %x = m1.add %r, %h : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %l = m1.linear %x, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %s = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x512xf32>, tensor<?xi32>
}
