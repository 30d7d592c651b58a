// RUN: m1-opt %s --split-input-file --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches,plan-fuse-gated-products))' --remarks-filter-missed='plan-.*' --remark-format=emitRemark --verify-diagnostics -o /dev/null

// Why launches stay apart: each reason is a remark at the operation whose launch it is about, as
// often as there are plans (for 8 rows, for 64) that have the launch.

// A sum and a norm of what no product writes, a gather that no norm reads, a map that CUDA C++ has
// no text for.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @w : tensor<64x64xbf16> {sources = ["w"]}
m1.weight @norm : tensor<64xf32> {sources = ["norm"]}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %w = m1.get_weight @w : tensor<64x64xbf16>
  %norm = m1.get_weight @norm : tensor<64xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@add_rms_norm_64: no streamed product writes what is added, for the norm alone}}
  %h1, %n = m1.add_rms_norm %e, %h, %norm {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>) -> (tensor<?x64xf32>,
         tensor<?x64xbf16>)
  // expected-remark @+1 {{@linear_64_decode: its map has no text}}
  %p = m1.linear %n, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %q = m1.map %p {label = "ordered"} : (tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%x: f32):
    %half = arith.constant 0.5 : f32
    %o = arith.cmpf ord, %x, %half : f32
    %z = arith.select %o, %x, %half : f32
    m1.yield %z : f32
  }
  // expected-remark @+1 {{@add_64: no streamed product writes what is added, for the sum alone}}
  %a = m1.add %h1, %h : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %b = m1.mul %a, %q : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %b, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// A product takes on one map: not one more with a residual, nor with a norm. A norm of groups is
// no kernel that gathers.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @w : tensor<64x64xbf16> {sources = ["w"]}
m1.weight @wide : tensor<128x64xbf16> {sources = ["wide"]}
m1.weight @norm : tensor<64xf32> {sources = ["norm"]}
m1.weight @norm32 : tensor<32xf32> {sources = ["norm32"]}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %w = m1.get_weight @w : tensor<64x64xbf16>
  %wide = m1.get_weight @wide : tensor<128x64xbf16>
  %norm = m1.get_weight @norm : tensor<64xf32>
  %norm32 = m1.get_weight @norm32 : tensor<32xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %p = m1.linear %h, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %q = m1.silu %p : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@add_rms_norm_64: what the norm multiplies is a map already}}
  %h1, %n = m1.add_rms_norm %e, %q, %norm {eps = 1.0e-5 : f64, factor = 0.5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>) -> (tensor<?x64xf32>,
         tensor<?x64xbf16>)
  // expected-remark @+1 {{@linear_128_decode: no map alone reads both halves}}
  %u = m1.linear %n, %wide : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %u0, %u1 = m1.split %u : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %g = m1.silu_mul %u0, %u1 : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %v = m1.mul %g, %u0 : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %x = m1.linear %v, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %y = m1.silu %x : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@sum_64: what it adds is a map already, or has no text}}
  %a = m1.map %h1, %y {label = "sum"} : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32> {
  ^bb0(%r: f32, %z: f32):
    %half = arith.constant 0.5 : f32
    %scaled = arith.mulf %half, %z : f32
    %sum = arith.addf %r, %scaled : f32
    m1.yield %sum : f32
  }
  %b = m1.silu %a : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: the norm does not read rows like it}}
  %k = m1.gather_rows %b, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %t = m1.rms_norm %k, %norm32 {eps = 1.0e-5 : f64, groups = 2 : i64}
      : (tensor<?x64xbf16>, tensor<32xf32>) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// Selective scans: a convolution with another reader, or x that is some of its columns; a
// projection of dt with another reader, or a bias.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @c : tensor<64x4xf32> {sources = ["c"]}
m1.weight @c2 : tensor<80x4xf32> {sources = ["c2"]}
m1.weight @A : tensor<64x16xf32> {sources = ["A"]}
m1.weight @dtw : tensor<64x64xbf16> {sources = ["dtw"]}
m1.weight @bias : tensor<64xf32> {sources = ["bias"]}
m1.weight @wb : tensor<16x64xbf16> {sources = ["wb"]}
m1.weight @w2 : tensor<80x64xbf16> {sources = ["w2"]}
m1.state @cs : !m1.conv_state<3x64xbf16>
m1.state @cs2 : !m1.conv_state<3x80xbf16>
m1.state @ss : !m1.scan_state<64x16xf32>
m1.state @ss2 : !m1.scan_state<64x16xf32>
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %c = m1.get_weight @c : tensor<64x4xf32>
  %c2 = m1.get_weight @c2 : tensor<80x4xf32>
  %A = m1.get_weight @A : tensor<64x16xf32>
  %dtw = m1.get_weight @dtw : tensor<64x64xbf16>
  %bias = m1.get_weight @bias : tensor<64xf32>
  %wb = m1.get_weight @wb : tensor<16x64xbf16>
  %w2 = m1.get_weight @w2 : tensor<80x64xbf16>
  %cs = m1.get_state @cs : !m1.conv_state<3x64xbf16>
  %cs2 = m1.get_state @cs2 : !m1.conv_state<3x80xbf16>
  %ss = m1.get_state @ss : !m1.scan_state<64x16xf32>
  %ss2 = m1.get_state @ss2 : !m1.scan_state<64x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@causal_conv1d_64_decode: no scan is its only reader}}
  %x = m1.causal_conv1d %h, %c, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %b = m1.linear %h, %wb : (tensor<?x64xbf16>, tensor<16x64xbf16>) -> tensor<?x16xbf16>
  // expected-remark @+1 {{@linear_64_decode: no scan is its only reader}}
  %d = m1.linear %h, %dtw : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %y = m1.selective_scan %x, %d, %A, %b, %b, %batch, %ss
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64x16xf32>, tensor<?x16xbf16>,
         tensor<?x16xbf16>, !m1.batch,
         !m1.scan_state<64x16xf32>) -> tensor<?x64xbf16>
  %m = m1.mul %y, %x : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %n = m1.mul %m, %d : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %i2 = m1.linear %n, %w2 : (tensor<?x64xbf16>, tensor<80x64xbf16>) -> tensor<?x80xbf16>
  // expected-remark @+1 {{@causal_conv1d_80_decode: not x alone of the scan is what it leaves}}
  %v2 = m1.causal_conv1d %i2, %c2, %batch, %cs2 {activation = #m1<activation silu>}
      : (tensor<?x80xbf16>, tensor<80x4xf32>, !m1.batch, !m1.conv_state<3x80xbf16>)
      -> tensor<?x80xbf16>
  %k2, %x2 = m1.split %v2 : tensor<?x80xbf16> -> tensor<?x16xbf16>, tensor<?x64xbf16>
  // expected-remark @+1 {{@linear_64_decode_v1: a scan projects dt with plain weights and no bias of their own}}
  %d2 = m1.linear %n, %dtw bias(%bias)
      : (tensor<?x64xbf16>, tensor<64x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  %y2 = m1.selective_scan %x2, %d2, %A, %b, %b, %batch, %ss2
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64x16xf32>, tensor<?x16xbf16>,
         tensor<?x16xbf16>, !m1.batch,
         !m1.scan_state<64x16xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %y2, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// SSD scans: inputs that are no columns of the convolution, or one more that is.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @wide : tensor<100x64xbf16> {sources = ["wide"]}
m1.weight @c : tensor<96x4xf32> {sources = ["c"]}
m1.weight @c2 : tensor<100x4xf32> {sources = ["c2"]}
m1.weight @heads : tensor<4xf32> {sources = ["heads"]}
m1.weight @wb : tensor<16x64xbf16> {sources = ["wb"]}
m1.state @cs : !m1.conv_state<3x96xbf16>
m1.state @cs2 : !m1.conv_state<3x100xbf16>
m1.state @ss : !m1.scan_state<4x16x16xf32>
m1.state @ss2 : !m1.scan_state<4x16x16xf32>
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %wide = m1.get_weight @wide : tensor<100x64xbf16>
  %c = m1.get_weight @c : tensor<96x4xf32>
  %c2 = m1.get_weight @c2 : tensor<100x4xf32>
  %heads = m1.get_weight @heads : tensor<4xf32>
  %wb = m1.get_weight @wb : tensor<16x64xbf16>
  %cs = m1.get_state @cs : !m1.conv_state<3x96xbf16>
  %cs2 = m1.get_state @cs2 : !m1.conv_state<3x100xbf16>
  %ss = m1.get_state @ss : !m1.scan_state<4x16x16xf32>
  %ss2 = m1.get_state @ss2 : !m1.scan_state<4x16x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %i = m1.linear %h, %wide : (tensor<?x64xbf16>, tensor<100x64xbf16>) -> tensor<?x100xbf16>
  %o = m1.linear %h, %wb : (tensor<?x64xbf16>, tensor<16x64xbf16>) -> tensor<?x16xbf16>
  %xbc, %dt = m1.split %i : tensor<?x100xbf16> -> tensor<?x96xbf16>, tensor<?x4xbf16>
  // expected-remark @+2 {{@causal_conv1d_96_decode: of many sequences what several blocks read is convolved once before}}
  // expected-remark @+1 {{@causal_conv1d_96_decode: not all inputs of the scan are columns of it}}
  %v = m1.causal_conv1d %xbc, %c, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x96xbf16>, tensor<96x4xf32>, !m1.batch, !m1.conv_state<3x96xbf16>)
      -> tensor<?x96xbf16>
  %x, %b, %k = m1.split %v : tensor<?x96xbf16> -> tensor<?x64xbf16>, tensor<?x16xbf16>,
      tensor<?x16xbf16>
  %y = m1.ssd_scan %x, %dt, %heads, %b, %o, %batch, %ss {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch,
         !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  %i2 = m1.linear %y, %wide : (tensor<?x64xbf16>, tensor<100x64xbf16>) -> tensor<?x100xbf16>
  // expected-remark @+2 {{@causal_conv1d_100_decode: of many sequences what several blocks read is convolved once before}}
  // expected-remark @+1 {{@causal_conv1d_100_decode: another input of the scan is a column of it}}
  %v2 = m1.causal_conv1d %i2, %c2, %batch, %cs2 {activation = #m1<activation silu>}
      : (tensor<?x100xbf16>, tensor<100x4xf32>, !m1.batch, !m1.conv_state<3x100xbf16>)
      -> tensor<?x100xbf16>
  %x2, %b2, %k2, %dt2 = m1.split %v2 : tensor<?x100xbf16>
      -> tensor<?x64xbf16>, tensor<?x16xbf16>, tensor<?x16xbf16>, tensor<?x4xbf16>
  %y2 = m1.ssd_scan %x2, %dt2, %heads, %b2, %k2, %batch, %ss2 {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch,
         !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %y2, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// A convolution that repeats heads.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @wide : tensor<52x64xbf16> {sources = ["wide"]}
m1.weight @c : tensor<96x4xf32> {sources = ["c"]}
m1.weight @heads : tensor<4xf32> {sources = ["heads"]}
m1.state @cs : !m1.conv_state<3x48xbf16>
m1.state @ss : !m1.scan_state<4x16x16xf32>
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %wide = m1.get_weight @wide : tensor<52x64xbf16>
  %c = m1.get_weight @c : tensor<96x4xf32>
  %heads = m1.get_weight @heads : tensor<4xf32>
  %cs = m1.get_state @cs : !m1.conv_state<3x48xbf16>
  %ss = m1.get_state @ss : !m1.scan_state<4x16x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %i = m1.linear %h, %wide : (tensor<?x64xbf16>, tensor<52x64xbf16>) -> tensor<?x52xbf16>
  %xbc, %dt = m1.split %i : tensor<?x52xbf16> -> tensor<?x48xbf16>, tensor<?x4xbf16>
  // expected-remark @+2 {{@causal_conv1d_96_decode: of many sequences what several blocks read is convolved once before}}
  // expected-remark @+1 {{@causal_conv1d_96_decode: it repeats heads}}
  %v = m1.causal_conv1d %xbc, %c, %batch, %cs {activation = #m1<activation silu>,
      head_size = 16 : i64, repeat = 2 : i64}
      : (tensor<?x48xbf16>, tensor<96x4xf32>, !m1.batch, !m1.conv_state<3x48xbf16>)
      -> tensor<?x96xbf16>
  %x, %b, %k = m1.split %v : tensor<?x96xbf16> -> tensor<?x64xbf16>, tensor<?x16xbf16>,
      tensor<?x16xbf16>
  %y = m1.ssd_scan %x, %dt, %heads, %b, %k, %batch, %ss {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch,
         !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %y, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// Prompts: a half with another reader, results of another type, rows of logits, a map that CUDA C++
// has no text for.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @wide : tensor<128x64xbf16> {sources = ["wide"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %wide = m1.get_weight @wide : tensor<128x64xbf16>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{no map alone reads both halves in order}}
  %u0 = m1.linear %h, %wide : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %a0, %b0 = m1.split %u0 : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %s0 = m1.silu_mul %a0, %b0 : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %g0 = m1.mul %s0, %a0 : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{it is none of bf16 rows and weights without a bias}}
  %u1 = m1.linear %g0, %wide : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %a1, %b1 = m1.split %u1 : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %f = m1.silu_mul %a1, %b1 : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %g1 = m1.silu %f : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{its map has no text}}
  %u2 = m1.linear %g1, %wide : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %a2, %b2 = m1.split %u2 : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %g2 = m1.map %a2, %b2 {label = "ordered"} : (tensor<?x64xbf16>, tensor<?x64xbf16>)
      -> tensor<?x64xbf16> {
  ^bb0(%x: f32, %y: f32):
    %o = arith.cmpf ord, %x, %y : f32
    %z = arith.select %o, %x, %y : f32
    m1.yield %z : f32
  }
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %k = m1.gather_rows %g2, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  // expected-remark @+1 {{only rows of logits pass it}}
  %u3 = m1.linear %k, %wide : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %a3, %b3 = m1.split %u3 : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %t = m1.silu_mul %a3, %b3 : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// Prompts with weights in e4m3: what a map makes of rows and a vector is not rounded where it is
// made.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @codes : tensor<64x64xf8E4M3FN> {sources = ["codes"], transform = #m1<transform fp8_rows>}
m1.weight @scale : tensor<64xf32> {scales_of = @codes}
m1.weight @vector : tensor<64xf32> {sources = ["vector"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %codes = m1.get_weight @codes : tensor<64x64xf8E4M3FN>
  %scale = m1.get_weight @scale : tensor<64xf32>
  %vector = m1.get_weight @vector : tensor<64xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gate_64: what becomes e4m3 is not made of whole rows}}
  %g = m1.map %h, %vector {label = "gate"}
      : (tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16> {
  ^bb0(%x: f32, %y: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %x : f32
    %p = math.exp %n : f32
    %q = arith.addf %one, %p : f32
    %s = arith.divf %x, %q : f32
    %r = arith.mulf %s, %y : f32
    m1.yield %r : f32
  }
  %z = m1.linear %g, %codes scale(%scale)
      : (tensor<?x64xbf16>, tensor<64x64xf8E4M3FN>, tensor<64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %z, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// A convolution that repeats other heads than the scan's.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @wide : tensor<128x64xbf16> {sources = ["wide"]}
m1.weight @c : tensor<128x4xf32> {sources = ["c"]}
m1.weight @A : tensor<128x16xf32> {sources = ["A"]}
m1.weight @wb : tensor<16x64xbf16> {sources = ["wb"]}
m1.state @cs : !m1.conv_state<3x64xbf16>
m1.state @ss : !m1.scan_state<128x16xf32>
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %wide = m1.get_weight @wide : tensor<128x64xbf16>
  %c = m1.get_weight @c : tensor<128x4xf32>
  %A = m1.get_weight @A : tensor<128x16xf32>
  %wb = m1.get_weight @wb : tensor<16x64xbf16>
  %cs = m1.get_state @cs : !m1.conv_state<3x64xbf16>
  %ss = m1.get_state @ss : !m1.scan_state<128x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@causal_conv1d_128_decode: the convolution and the scan disagree}}
  %x = m1.causal_conv1d %h, %c, %batch, %cs {activation = #m1<activation silu>,
      head_size = 32 : i64, repeat = 2 : i64}
      : (tensor<?x64xbf16>, tensor<128x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x128xbf16>
  %b = m1.linear %h, %wb : (tensor<?x64xbf16>, tensor<16x64xbf16>) -> tensor<?x16xbf16>
  %i = m1.linear %h, %wide : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %d = m1.silu %i : (tensor<?x128xbf16>) -> tensor<?x128xbf16>
  %y = m1.selective_scan %x, %d, %A, %b, %b, %batch, %ss
      : (tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<128x16xf32>, tensor<?x16xbf16>,
         tensor<?x16xbf16>, !m1.batch,
         !m1.scan_state<128x16xf32>) -> tensor<?x128xbf16>
  %y0, %y1 = m1.split %y : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %y0, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// Norms that come before the gate, behind SSD scans: of all channels, and of groups.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @wide : tensor<100x64xbf16> {sources = ["wide"]}
m1.weight @heads : tensor<4xf32> {sources = ["heads"]}
m1.weight @norm : tensor<64xf32> {sources = ["norm"]}
m1.state @ss : !m1.scan_state<4x16x16xf32>
m1.state @ss2 : !m1.scan_state<4x16x16xf32>
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %wide = m1.get_weight @wide : tensor<100x64xbf16>
  %heads = m1.get_weight @heads : tensor<4xf32>
  %norm = m1.get_weight @norm : tensor<64xf32>
  %ss = m1.get_state @ss : !m1.scan_state<4x16x16xf32>
  %ss2 = m1.get_state @ss2 : !m1.scan_state<4x16x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %i = m1.linear %h, %wide : (tensor<?x64xbf16>, tensor<100x64xbf16>) -> tensor<?x100xbf16>
  %x, %b, %k, %dt = m1.split %i : tensor<?x100xbf16> -> tensor<?x64xbf16>, tensor<?x16xbf16>,
      tensor<?x16xbf16>, tensor<?x4xbf16>
  %y = m1.ssd_scan %x, %dt, %heads, %b, %k, %batch, %ss {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch,
         !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{the norm comes before the gate}}
  %g = m1.gated_rms_norm %y, %h, %norm {eps = 1.0e-5 : f64, groups = 1 : i64, norm_first}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  %j = m1.linear %g, %wide : (tensor<?x64xbf16>, tensor<100x64xbf16>) -> tensor<?x100xbf16>
  %x2, %b2, %k2, %dt2 = m1.split %j : tensor<?x100xbf16> -> tensor<?x64xbf16>,
      tensor<?x16xbf16>, tensor<?x16xbf16>, tensor<?x4xbf16>
  %y2 = m1.ssd_scan %x2, %dt2, %heads, %b2, %k2, %batch, %ss2 {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch,
         !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{the norm comes before the gate}}
  %g2 = m1.gated_rms_norm %y2, %h, %norm {eps = 1.0e-5 : f64, groups = 4 : i64, norm_first}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %g2, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// A gated delta rule whose norm is not one of heads.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @c : tensor<128x4xf32> {sources = ["c"]}
m1.weight @wide : tensor<128x64xbf16> {sources = ["wide"]}
m1.weight @wa : tensor<4x64xbf16> {sources = ["wa"]}
m1.weight @decay : tensor<4xf32> {sources = ["decay"]}
m1.weight @norm : tensor<64xf32> {sources = ["norm"]}
m1.state @cs : !m1.conv_state<3x128xbf16>
m1.state @ss : !m1.scan_state<4x16x16xf32>
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %c = m1.get_weight @c : tensor<128x4xf32>
  %wide = m1.get_weight @wide : tensor<128x64xbf16>
  %wa = m1.get_weight @wa : tensor<4x64xbf16>
  %decay = m1.get_weight @decay : tensor<4xf32>
  %norm = m1.get_weight @norm : tensor<64xf32>
  %cs = m1.get_state @cs : !m1.conv_state<3x128xbf16>
  %ss = m1.get_state @ss : !m1.scan_state<4x16x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %i = m1.linear %h, %wide : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  // expected-remark @+1 {{@causal_conv1d_128_decode: of many sequences what several blocks read is convolved once before}}
  %qkv = m1.causal_conv1d %i, %c, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x128xbf16>, tensor<128x4xf32>, !m1.batch, !m1.conv_state<3x128xbf16>)
      -> tensor<?x128xbf16>
  %q, %k, %v = m1.split %qkv : tensor<?x128xbf16> -> tensor<?x32xbf16>, tensor<?x32xbf16>,
      tensor<?x64xbf16>
  %a = m1.linear %h, %wa : (tensor<?x64xbf16>, tensor<4x64xbf16>) -> tensor<?x4xbf16>
  %b = m1.silu %a : (tensor<?x4xbf16>) -> tensor<?x4xbf16>
  %y = m1.gated_delta %q, %k, %v, %b, %b, %decay, %batch, %ss {eps = 1.0e-6 : f64,
      scale = 0.25 : f64}
      : (tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x64xbf16>, tensor<?x4xbf16>,
         tensor<?x4xbf16>, tensor<4xf32>, !m1.batch,
         !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{the norm is not one of heads}}
  %g = m1.gated_rms_norm %y, %h, %norm {eps = 1.0e-5 : f64, groups = 2 : i64}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %g, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}

// -----

// Keys and values of f32 for rows of bf16 that attend.
m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.state @cache : !m1.kv_cache<1x64x32xbf16>
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %cache = m1.get_state @cache : !m1.kv_cache<1x64x32xbf16>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %k, %v = m1.split %e : tensor<?x64xf32> -> tensor<?x32xf32>, tensor<?x32xf32>
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x32xf32>, tensor<?x32xf32>, !m1.batch, !m1.kv_cache<1x64x32xbf16>
  // expected-remark @+1 {{what is turned and written has another type than what attends}}
  %o = m1.attention %h, %batch, %cache {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  // expected-remark @+1 {{@gather_rows_64: no RMS norm is its only reader}}
  %t = m1.gather_rows %o, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}
