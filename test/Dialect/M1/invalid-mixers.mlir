// Every message of the verifiers of mixers and layers.
// RUN: m1-opt %s --split-input-file --verify-diagnostics

// causal_conv1d: heads repeat at least once.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4x3xf32>, %a2: !m1.batch, %a3:
    !m1.conv_state<2x4xf32>) {
  // expected-error @+1 {{expected positive repeat, got 0}}
  %r = m1.causal_conv1d %a0, %a1, %a2, %a3 {repeat = 0 : i64, head_size = 1 : i64}
      : (tensor<?x4xf32>, tensor<4x3xf32>, !m1.batch, !m1.conv_state<2x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// causal_conv1d: heads have columns.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4x3xf32>, %a2: !m1.batch, %a3:
    !m1.conv_state<2x4xf32>) {
  // expected-error @+1 {{expected positive head_size, got 0}}
  %r = m1.causal_conv1d %a0, %a1, %a2, %a3 {repeat = 1 : i64, head_size = 0 : i64}
      : (tensor<?x4xf32>, tensor<4x3xf32>, !m1.batch, !m1.conv_state<2x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// causal_conv1d: a window has a width.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4x0xf32>, %a2: !m1.batch, %a3:
    !m1.conv_state<2x4xf32>) {
  // expected-error @+1 {{expected weight of shape [C, K] with positive K, got K = 0}}
  %r = m1.causal_conv1d %a0, %a1, %a2, %a3 {repeat = 1 : i64, head_size = 1 : i64}
      : (tensor<?x4xf32>, tensor<4x0xf32>, !m1.batch, !m1.conv_state<2x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// causal_conv1d: channels repeat x's.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4x3xf32>, %a2: !m1.batch, %a3:
    !m1.conv_state<2x4xf32>) {
  // expected-error @+1 {{expected x of C / repeat = 4 / 2 columns, got 4}}
  %r = m1.causal_conv1d %a0, %a1, %a2, %a3 {repeat = 2 : i64, head_size = 1 : i64}
      : (tensor<?x4xf32>, tensor<4x3xf32>, !m1.batch, !m1.conv_state<2x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// causal_conv1d: heads are whole.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4x3xf32>, %a2: !m1.batch, %a3:
    !m1.conv_state<2x4xf32>) {
  // expected-error @+1 {{expected x of whole heads of 3 columns, got 4 columns}}
  %r = m1.causal_conv1d %a0, %a1, %a2, %a3 {repeat = 1 : i64, head_size = 3 : i64}
      : (tensor<?x4xf32>, tensor<4x3xf32>, !m1.batch, !m1.conv_state<2x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// causal_conv1d: the bias has the weight's channels.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4x3xf32>, %a2: tensor<2xf32>, %a3: !m1.batch, %a4:
    !m1.conv_state<2x4xf32>) {
  // expected-error @+1 {{expected bias of shape [C] = [4], got [2]}}
  %r = m1.causal_conv1d %a0, %a1 bias(%a2), %a3, %a4 : (tensor<?x4xf32>, tensor<4x3xf32>,
      tensor<2xf32>, !m1.batch, !m1.conv_state<2x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// causal_conv1d: the state holds what the window needs.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4x3xf32>, %a2: !m1.batch, %a3:
    !m1.conv_state<3x4xf32>) {
  // expected-error @+1 {{expected state of shape [K - 1, columns of x] = [2, 4], got [3, 4]}}
  %r = m1.causal_conv1d %a0, %a1, %a2, %a3 {repeat = 1 : i64, head_size = 1 : i64}
      : (tensor<?x4xf32>, tensor<4x3xf32>, !m1.batch, !m1.conv_state<3x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// causal_conv1d: the state holds inputs, not repeated channels.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<8x3xf32>, %a2: !m1.batch, %a3:
    !m1.conv_state<2x8xf32>) {
  // expected-error @+1 {{expected state of shape [K - 1, columns of x] = [2, 4], got [2, 8]}}
  %r = m1.causal_conv1d %a0, %a1, %a2, %a3 {repeat = 2 : i64, head_size = 1 : i64}
      : (tensor<?x4xf32>, tensor<8x3xf32>, !m1.batch, !m1.conv_state<2x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// causal_conv1d: the result has the weight's channels.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<4x3xf32>, %a2: !m1.batch, %a3:
    !m1.conv_state<2x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, C] = [?, 4], got [?, 5]}}
  %r = m1.causal_conv1d %a0, %a1, %a2, %a3 {repeat = 1 : i64, head_size = 1 : i64}
      : (tensor<?x4xf32>, tensor<4x3xf32>, !m1.batch, !m1.conv_state<2x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

// selective_scan: A has a row a channel.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<6x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected A of shape [d_inner, d_state] = [8, 2], got [6, 2]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<6x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: a channel has states.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x0xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected A of positive d_state, got 0}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8x0xf32>, tensor<?x4xf32>, tensor<?x8xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: B has whole heads, each for as many channels.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected B of heads of d_state = 2 columns whose number divides d_inner = 8, got 6 columns}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8x2xf32>, tensor<?x6xf32>, tensor<?x8xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: x has the channels, or heads that repeat to them.
func.func @f(%a0: tensor<?x6xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected x of d_inner = 8 columns, or of whole heads of d_state = 2 columns that repeat to them, got 6 columns}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x6xf32>, tensor<?x8xf32>,
      tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: a bias of dt goes with softplus.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: tensor<8xf32>, %a6: !m1.batch, %a7: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected delta_softplus with dt_bias}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4 dt_bias(%a5), %a6, %a7 : (tensor<?x8xf32>,
      tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<8xf32>, !m1.batch,
      !m1.scan_state<8x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: all rows are the same.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<2x4xf32>,
    %a4: tensor<?x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected B of shape [rows, columns] = [?, 4], got [2, 4]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8x2xf32>, tensor<2x4xf32>, tensor<?x8xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: x too.
func.func @f(%a0: tensor<2x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected x of shape [rows, columns] = [?, 8], got [2, 8]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<2x8xf32>, tensor<?x8xf32>,
      tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: so has C.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x3xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected C of heads of d_state = 2 columns whose number divides d_inner = 8, got 3 columns}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x3xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: and C.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<3x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected C of shape [rows, columns] = [?, 8], got [3, 8]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8x2xf32>, tensor<?x4xf32>, tensor<3x8xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: D has a value a channel.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: tensor<4xf32>, %a6: !m1.batch, %a7: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected D of shape [d_inner] = [8], got [4]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4 skip(%a5), %a6, %a7 : (tensor<?x8xf32>,
      tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<4xf32>, !m1.batch,
      !m1.scan_state<8x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: so has z.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: tensor<?x4xf32>, %a6: !m1.batch, %a7: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected z of shape [rows, d_inner] = [?, 8], got [?, 4]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4 gate(%a5), %a6, %a7 : (tensor<?x8xf32>,
      tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xf32>,
      !m1.batch, !m1.scan_state<8x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: so has the bias.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: tensor<4xf32>, %a6: !m1.batch, %a7: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected dt_bias of shape [d_inner] = [8], got [4]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4 dt_bias(%a5), %a6, %a7 {delta_softplus} :
      (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
      tensor<4xf32>, !m1.batch, !m1.scan_state<8x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: the state is A's shape.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x4xf32>) {
  // expected-error @+1 {{expected state of shape [d_inner, d_state] = [8, 2], got [8, 4]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>, !m1.batch, !m1.scan_state<8x4xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// selective_scan: the result has the channels.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<8x2xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x8xf32>, %a5: !m1.batch, %a6: !m1.scan_state<8x2xf32>) {
  // expected-error @+1 {{expected result of shape [rows, d_inner] = [?, 8], got [?, 4]}}
  %r = m1.selective_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>, !m1.batch, !m1.scan_state<8x2xf32>)
      -> tensor<?x4xf32>
  return
}

// -----

// ssd_scan: the state has a matrix a head.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x12xf32>, %a5: !m1.batch, %a6: !m1.scan_state<3x2x3xf32>) {
  // expected-error @+1 {{expected state of shape [H, P, N] with H = 4, got [3, 2, 3]}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x4xf32>, tensor<?x4xf32>,
      tensor<4xf32>, tensor<?x6xf32>, tensor<?x12xf32>, !m1.batch, !m1.scan_state<3x2x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: x has whole heads that divide the state's.
func.func @f(%a0: tensor<?x6xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x12xf32>, %a5: !m1.batch, %a6: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected x of heads of P = 2 columns whose number divides H = 4, got 6 columns}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x6xf32>, tensor<?x4xf32>,
      tensor<4xf32>, tensor<?x6xf32>, tensor<?x12xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: so has B.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x4xf32>,
    %a4: tensor<?x12xf32>, %a5: !m1.batch, %a6: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected B of heads of N = 3 columns whose number divides H = 4, got 4 columns}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x4xf32>, tensor<?x4xf32>,
      tensor<4xf32>, tensor<?x4xf32>, tensor<?x12xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: so has C.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x9xf32>, %a5: !m1.batch, %a6: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected C of heads of N = 3 columns whose number divides H = 4, got 9 columns}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x4xf32>, tensor<?x4xf32>,
      tensor<4xf32>, tensor<?x6xf32>, tensor<?x9xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: a bias of dt goes with softplus.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x12xf32>, %a5: tensor<4xf32>, %a6: !m1.batch, %a7: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected delta_softplus with dt_bias}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4 dt_bias(%a5), %a6, %a7 : (tensor<?x4xf32>,
      tensor<?x4xf32>, tensor<4xf32>, tensor<?x6xf32>, tensor<?x12xf32>, tensor<4xf32>, !m1.batch,
      !m1.scan_state<4x2x3xf32>) -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: dt has x's rows.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<2x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x12xf32>, %a5: !m1.batch, %a6: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected dt of shape [rows, H] = [?, 4], got [2, 4]}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x4xf32>, tensor<2x4xf32>,
      tensor<4xf32>, tensor<?x6xf32>, tensor<?x12xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: A has a value a head.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<2xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x12xf32>, %a5: !m1.batch, %a6: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected A of shape [H] = [4], got [2]}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x4xf32>, tensor<?x4xf32>,
      tensor<2xf32>, tensor<?x6xf32>, tensor<?x12xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: B has x's rows.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<2x6xf32>,
    %a4: tensor<?x12xf32>, %a5: !m1.batch, %a6: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected B of shape [rows, columns] = [?, 6], got [2, 6]}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x4xf32>, tensor<?x4xf32>,
      tensor<4xf32>, tensor<2x6xf32>, tensor<?x12xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: C has x's rows.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<2x12xf32>, %a5: !m1.batch, %a6: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected C of shape [rows, columns] = [?, 12], got [2, 12]}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x4xf32>, tensor<?x4xf32>,
      tensor<4xf32>, tensor<?x6xf32>, tensor<2x12xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: D has a value a head.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x12xf32>, %a5: tensor<8xf32>, %a6: !m1.batch, %a7: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected D of shape [H] = [4], got [8]}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4 skip(%a5), %a6, %a7 : (tensor<?x4xf32>, tensor<?x4xf32>,
      tensor<4xf32>, tensor<?x6xf32>, tensor<?x12xf32>, tensor<8xf32>, !m1.batch,
      !m1.scan_state<4x2x3xf32>) -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: so has the bias.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x12xf32>, %a5: tensor<8xf32>, %a6: !m1.batch, %a7: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected dt_bias of shape [H] = [4], got [8]}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4 dt_bias(%a5), %a6, %a7 {delta_softplus} :
      (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>, tensor<?x6xf32>, tensor<?x12xf32>,
      tensor<8xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>) -> tensor<?x8xf32>
  return
}

// -----

// ssd_scan: the result has all heads.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x4xf32>, %a2: tensor<4xf32>, %a3: tensor<?x6xf32>,
    %a4: tensor<?x12xf32>, %a5: !m1.batch, %a6: !m1.scan_state<4x2x3xf32>) {
  // expected-error @+1 {{expected result of shape [rows, H·P] = [?, 8], got [?, 4]}}
  %r = m1.ssd_scan %a0, %a1, %a2, %a3, %a4, %a5, %a6 : (tensor<?x4xf32>, tensor<?x4xf32>,
      tensor<4xf32>, tensor<?x6xf32>, tensor<?x12xf32>, !m1.batch, !m1.scan_state<4x2x3xf32>)
      -> tensor<?x4xf32>
  return
}

// -----

// gated_delta: the state has a matrix a head.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<4xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<3x4x3xf32>) {
  // expected-error @+1 {{expected state of shape [Hv, Dk, Dv] with Hv = 4, got [3, 4, 3]}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<3x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: eps is no less than zero.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<4xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected a finite eps of at least 0, got -1}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = -1.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: q has whole heads, each for as many of v.
func.func @f(%q: tensor<?x12xf32>, %k: tensor<?x12xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<4xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected q of heads of Dk = 4 columns whose number divides Hv = 4, got 12 columns}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x12xf32>, tensor<?x12xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: k has q's heads.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<4xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected k of shape [rows, columns of q] = [?, 8], got [?, 4]}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: v has all heads.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x9xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<4xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected v of shape [rows, Hv·Dv] = [?, 12], got [?, 9]}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x9xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: a has q's rows.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x12xf32>, %a: tensor<2x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<4xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected a of shape [rows, Hv] = [?, 4], got [2, 4]}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x12xf32>, tensor<2x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: b has a value a head.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x3xf32>, %d: tensor<4xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected b of shape [rows, Hv] = [?, 4], got [?, 3]}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x3xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: so has the decay.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<3xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected decay of shape [Hv] = [4], got [3]}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<3xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: so has the bias.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<4xf32>, %c: tensor<5xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected dt_bias of shape [Hv] = [4], got [5]}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<5xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x12xf32>
  return
}

// -----

// gated_delta: the result is v's shape.
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
    %b: tensor<?x4xf32>, %d: tensor<4xf32>, %c: tensor<4xf32>, %n: !m1.batch,
    %s: !m1.scan_state<4x4x3xf32>) {
  // expected-error @+1 {{expected result of shape [rows, Hv·Dv] = [?, 12], got [?, 8]}}
  %r = m1.gated_delta %q, %k, %v, %a, %b, %d dt_bias(%c), %n, %s
      {eps = 0.0 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>)
      -> tensor<?x8xf32>
  return
}

// -----

// rotary_table: angles come in pairs.
func.func @f(%a0: !m1.batch, %a1: tensor<4x2x2xf32>, %a2: tensor<256x2x2xf32>) {
  // expected-error @+1 {{expected result of an even number of columns, got 3}}
  %r = m1.rotary_table %a0, %a1, %a2
      : (!m1.batch, tensor<4x2x2xf32>, tensor<256x2x2xf32>) -> tensor<?x3xf32>
  return
}

// -----

// rotary_table: hi has the head's angles.
func.func @f(%a0: !m1.batch, %a1: tensor<4x3x2xf32>, %a2: tensor<256x2x2xf32>) {
  // expected-error @+1 {{expected hi of shape [blocks, d/2, 2] = [4, 2, 2], got [4, 3, 2]}}
  %r = m1.rotary_table %a0, %a1, %a2
      : (!m1.batch, tensor<4x3x2xf32>, tensor<256x2x2xf32>) -> tensor<?x4xf32>
  return
}

// -----

// rotary_table: lo has 256 positions.
func.func @f(%a0: !m1.batch, %a1: tensor<4x2x2xf32>, %a2: tensor<128x2x2xf32>) {
  // expected-error @+1 {{expected lo of shape [256, d/2, 2] = [256, 2, 2], got [128, 2, 2]}}
  %r = m1.rotary_table %a0, %a1, %a2
      : (!m1.batch, tensor<4x2x2xf32>, tensor<128x2x2xf32>) -> tensor<?x4xf32>
  return
}

// -----

// rotary_embedding: heads have halves.
func.func @f(%a0: tensor<?x6xf32>, %a1: tensor<?x3xf32>) {
  // expected-error @+1 {{expected an even positive head_dim, got 3}}
  %r = m1.rotary_embedding %a0, %a1 {head_dim = 3 : i64}
      : (tensor<?x6xf32>, tensor<?x3xf32>) -> tensor<?x6xf32>
  return
}

// -----

// rotary_embedding: heads are whole.
func.func @f(%a0: tensor<?x6xf32>, %a1: tensor<?x4xf32>) {
  // expected-error @+1 {{expected x of whole heads of 4 columns, got 6 columns}}
  %r = m1.rotary_embedding %a0, %a1 {head_dim = 4 : i64}
      : (tensor<?x6xf32>, tensor<?x4xf32>) -> tensor<?x6xf32>
  return
}

// -----

// rotary_embedding: no more turns than a head has.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x6xf32>) {
  // expected-error @+1 {{expected table of an even number of columns, at most head_dim = 4, got 6}}
  %r = m1.rotary_embedding %a0, %a1 {head_dim = 4 : i64}
      : (tensor<?x8xf32>, tensor<?x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rotary_embedding: the table has x's rows.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<3x2xf32>) {
  // expected-error @+1 {{expected table of shape [rows, columns] = [?, 2], got [3, 2]}}
  %r = m1.rotary_embedding %a0, %a1 {head_dim = 4 : i64}
      : (tensor<?x8xf32>, tensor<3x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rotary_embedding keeps the columns.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, columns] = [?, 8], got [?, 4]}}
  %r = m1.rotary_embedding %a0, %a1 {head_dim = 4 : i64}
      : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// kv_write: k has the cache's heads.
func.func @f(%a0: tensor<?x4xf32>, %a1: tensor<?x8xf32>, %a2: !m1.batch, %a3:
    !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected k of shape [rows, kv_heads·head_dim] = [?, 8], got [?, 4]}}
  m1.kv_write %a0, %a1, %a2, %a3
      : tensor<?x4xf32>, tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>
  return
}

// -----

// kv_write: so has v.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x4xf32>, %a2: !m1.batch, %a3:
    !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected v of shape [rows, kv_heads·head_dim] = [?, 8], got [?, 4]}}
  m1.kv_write %a0, %a1, %a2, %a3
      : tensor<?x8xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>
  return
}

// -----

// rotary_kv_write: heads have halves.
func.func @f(%a0: tensor<?x6xf32>, %a1: tensor<?x6xf32>, %a2: tensor<?x6xf32>, %a3: tensor<?x3xf32>,
    %a4: !m1.batch, %a5: !m1.kv_cache<2x64x3xf32>) {
  // expected-error @+1 {{expected an even positive head_dim, got 3}}
  %r = m1.rotary_kv_write %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x6xf32>, tensor<?x6xf32>,
      tensor<?x6xf32>, tensor<?x3xf32>, !m1.batch, !m1.kv_cache<2x64x3xf32>) -> tensor<?x6xf32>
  return
}

// -----

// rotary_kv_write: q has whole heads.
func.func @f(%a0: tensor<?x6xf32>, %a1: tensor<?x8xf32>, %a2: tensor<?x8xf32>, %a3: tensor<?x4xf32>,
    %a4: !m1.batch, %a5: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected q of whole heads of 4 columns, got 6 columns}}
  %r = m1.rotary_kv_write %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x6xf32>, tensor<?x8xf32>,
      tensor<?x8xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x6xf32>
  return
}

// -----

// rotary_kv_write: k has the cache's heads.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x4xf32>, %a2: tensor<?x8xf32>, %a3: tensor<?x4xf32>,
    %a4: !m1.batch, %a5: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected k of shape [rows, kv_heads·head_dim] = [?, 8], got [?, 4]}}
  %r = m1.rotary_kv_write %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x4xf32>,
      tensor<?x8xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rotary_kv_write: v has k's shape.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<?x4xf32>, %a3: tensor<?x4xf32>,
    %a4: !m1.batch, %a5: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected v of shape [rows, kv_heads·head_dim] = [?, 8], got [?, 4]}}
  %r = m1.rotary_kv_write %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<?x4xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rotary_kv_write: k has q's rows.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<2x8xf32>, %a2: tensor<2x8xf32>, %a3: tensor<?x4xf32>,
    %a4: !m1.batch, %a5: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected k of shape [rows, kv_heads·head_dim] = [?, 8], got [2, 8]}}
  %r = m1.rotary_kv_write %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<2x8xf32>,
      tensor<2x8xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rotary_kv_write: angles come in pairs.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<?x8xf32>, %a3: tensor<?x3xf32>,
    %a4: !m1.batch, %a5: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected table of an even number of columns, at most head_dim = 4, got 3}}
  %r = m1.rotary_kv_write %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<?x8xf32>, tensor<?x3xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rotary_kv_write: the result is q's shape.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<?x8xf32>, %a3: tensor<?x4xf32>,
    %a4: !m1.batch, %a5: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, columns] = [?, 8], got [?, 4]}}
  %r = m1.rotary_kv_write %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<?x8xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// attention: q has whole heads.
func.func @f(%a0: tensor<?x6xf32>, %a1: !m1.batch, %a2: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected q of whole heads of 4 columns, got 6 columns}}
  %r = m1.attention %a0, %a1, %a2 {scale = 0.5 : f64}
      : (tensor<?x6xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x6xf32>
  return
}

// -----

// attention: kv heads serve as many query heads each.
func.func @f(%a0: tensor<?x12xf32>, %a1: !m1.batch, %a2: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected a number of query heads that is a multiple of kv_heads = 2, got 3}}
  %r = m1.attention %a0, %a1, %a2 {scale = 0.5 : f64}
      : (tensor<?x12xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x12xf32>
  return
}

// -----

// attention: a window has a length.
func.func @f(%a0: tensor<?x8xf32>, %a1: !m1.batch, %a2: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected a window of at least 0, got -1}}
  %r = m1.attention %a0, %a1, %a2 {scale = 0.5 : f64, window = -1 : i64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

// attention: the result is q's shape.
func.func @f(%a0: tensor<?x8xf32>, %a1: !m1.batch, %a2: !m1.kv_cache<2x64x4xf32>) {
  // expected-error @+1 {{expected result of shape [rows, columns] = [?, 8], got [?, 4]}}
  %r = m1.attention %a0, %a1, %a2 {scale = 0.5 : f64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// attention: scores are scaled by something.
func.func @f(%a0: tensor<?x8xf32>, %a1: !m1.batch, %a2: !m1.kv_cache<1x64x8xf32>) {
  // expected-error @+1 {{'m1.attention' op expected a finite positive scale, got -5.000000e-01}}
  %r = m1.attention %a0, %a1, %a2 {scale = -0.5 : f64}
    : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<1x64x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// attention: and by a number.
func.func @f(%a0: tensor<?x8xf32>, %a1: !m1.batch, %a2: !m1.kv_cache<1x64x8xf32>) {
  // expected-error @+1 {{'m1.attention' op expected a finite positive scale, got nan}}
  %r = m1.attention %a0, %a1, %a2 {scale = 0x7FF8000000000000 : f64}
    : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<1x64x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rg_lru: both gates have the columns of x.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x4xf32>, %a2: tensor<?x8xf32>,
    %a3: tensor<8xf32>, %a4: !m1.batch, %a5: !m1.scan_state<8xf32>) {
  // expected-error @+1 {{expected input_gate of shape [rows, C] = [?, 8], got [?, 4]}}
  %r = m1.rg_lru %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
      tensor<8xf32>, !m1.batch, !m1.scan_state<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rg_lru: both gates.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<?x4xf32>,
    %a3: tensor<8xf32>, %a4: !m1.batch, %a5: !m1.scan_state<8xf32>) {
  // expected-error @+1 {{expected recurrence_gate of shape [rows, C] = [?, 8], got [?, 4]}}
  %r = m1.rg_lru %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>,
      tensor<8xf32>, !m1.batch, !m1.scan_state<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rg_lru: a lambda a channel.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<?x8xf32>,
    %a3: tensor<4xf32>, %a4: !m1.batch, %a5: !m1.scan_state<8xf32>) {
  // expected-error @+1 {{expected lambda of shape [C] = [8], got [4]}}
  %r = m1.rg_lru %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<4xf32>, !m1.batch, !m1.scan_state<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rg_lru: a number of state a channel.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<?x8xf32>,
    %a3: tensor<8xf32>, %a4: !m1.batch, %a5: !m1.scan_state<8x1xf32>) {
  // expected-error @+1 {{expected state of shape [C] = [8], got [8, 1]}}
  %r = m1.rg_lru %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8xf32>, !m1.batch, !m1.scan_state<8x1xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rg_lru: a result of the columns of x.
func.func @f(%a0: tensor<?x8xf32>, %a1: tensor<?x8xf32>, %a2: tensor<?x8xf32>,
    %a3: tensor<8xf32>, %a4: !m1.batch, %a5: !m1.scan_state<8xf32>) {
  // expected-error @+1 {{expected result of shape [rows, C] = [?, 8], got [?, 4]}}
  %r = m1.rg_lru %a0, %a1, %a2, %a3, %a4, %a5 : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>,
      tensor<8xf32>, !m1.batch, !m1.scan_state<8xf32>) -> tensor<?x4xf32>
  return
}
