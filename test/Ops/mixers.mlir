// Operations that keep a state of each sequence: heads of B, C and x by their columns, head sizes
// that are not the state's, skip, gate and bias.
// RUN: m1-opt %s -o /dev/null

func.func @conv(%x: tensor<?x24xf32>, %w: tensor<24x4xf32>, %e: tensor<24xf32>,
    %batch: !m1.batch, %s: !m1.conv_state<3x24xf32>) -> tensor<?x24xf32> {
  %y = m1.causal_conv1d %x, %w bias(%e), %batch, %s
      : (tensor<?x24xf32>, tensor<24x4xf32>, tensor<24xf32>, !m1.batch,
         !m1.conv_state<3x24xf32>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @conv_repeated(%x: tensor<?x16xbf16>, %w: tensor<32x4xf32>, %e: tensor<32xf32>,
    %batch: !m1.batch, %s: !m1.conv_state<3x16xbf16>) -> tensor<?x32xbf16> {
  %y = m1.causal_conv1d %x, %w bias(%e), %batch, %s
      {activation = #m1<activation silu>, head_size = 8 : i64, repeat = 2 : i64}
      : (tensor<?x16xbf16>, tensor<32x4xf32>, tensor<32xf32>, !m1.batch,
         !m1.conv_state<3x16xbf16>) -> tensor<?x32xbf16>
  return %y : tensor<?x32xbf16>
}

func.func @conv_short(%x: tensor<?x12xbf16>, %w: tensor<12x3xf32>, %batch: !m1.batch,
    %s: !m1.conv_state<2x12xbf16>) -> tensor<?x12xbf16> {
  %y = m1.causal_conv1d %x, %w, %batch, %s
      : (tensor<?x12xbf16>, tensor<12x3xf32>, !m1.batch, !m1.conv_state<2x12xbf16>)
      -> tensor<?x12xbf16>
  return %y : tensor<?x12xbf16>
}

func.func @selective_scan(%x: tensor<?x24xf32>, %dt: tensor<?x24xf32>,
    %a: tensor<24x5xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x5xf32>,
    %c: tensor<?x10xf32>, %batch: !m1.batch, %s: !m1.scan_state<24x5xf32>) -> tensor<?x24xf32> {
  %delta = m1.softplus %dt : (tensor<?x24xf32>) -> tensor<?x24xf32>
  %y = m1.selective_scan %x, %delta, %a, %b, %c, %batch, %s
      : (tensor<?x24xf32>, tensor<?x24xf32>, tensor<24x5xf32>, tensor<?x5xf32>, tensor<?x10xf32>,
         !m1.batch, !m1.scan_state<24x5xf32>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @selective_scan_whole(%x: tensor<?x16xbf16>, %dt: tensor<?x32xbf16>,
    %a: tensor<32x16xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x16xbf16>,
    %c: tensor<?x32xbf16>, %d: tensor<32xf32>, %z: tensor<?x32xbf16>, %e: tensor<32xf32>,
    %batch: !m1.batch, %s: !m1.scan_state<32x16xf32>) -> tensor<?x32xbf16> {
  %y = m1.selective_scan %x, %dt, %a, %b, %c skip(%d) gate(%z) dt_bias(%e),
      %batch, %s {delta_softplus}
      : (tensor<?x16xbf16>, tensor<?x32xbf16>, tensor<32x16xf32>, tensor<?x16xbf16>,
         tensor<?x32xbf16>, tensor<32xf32>, tensor<?x32xbf16>, tensor<32xf32>, !m1.batch,
         !m1.scan_state<32x16xf32>) -> tensor<?x32xbf16>
  return %y : tensor<?x32xbf16>
}

func.func @bench_selective_scan(%x: tensor<?x3072xbf16>, %dt: tensor<?x3072xbf16>,
    %a: tensor<3072x16xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x1024xbf16>,
    %c: tensor<?x3072xbf16>, %d: tensor<3072xf32>, %z: tensor<?x3072xbf16>, %e: tensor<3072xf32>,
    %batch: !m1.batch, %s: !m1.scan_state<3072x16xf32>)
    -> tensor<?x3072xbf16> attributes {m1.bench} {
  %y = m1.selective_scan %x, %dt, %a, %b, %c skip(%d) gate(%z) dt_bias(%e),
      %batch, %s {delta_softplus}
      : (tensor<?x3072xbf16>, tensor<?x3072xbf16>, tensor<3072x16xf32>, tensor<?x1024xbf16>,
         tensor<?x3072xbf16>, tensor<3072xf32>, tensor<?x3072xbf16>, tensor<3072xf32>, !m1.batch,
         !m1.scan_state<3072x16xf32>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @ssd_scan(%x: tensor<?x60xf32>, %dt: tensor<?x6xf32>,
    %a: tensor<6xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x48xf32>,
    %c: tensor<?x48xf32>, %d: tensor<6xf32>, %batch: !m1.batch, %s: !m1.scan_state<6x10x16xf32>)
        -> tensor<?x60xf32> {
  %delta = m1.softplus %dt : (tensor<?x6xf32>) -> tensor<?x6xf32>
  %y = m1.ssd_scan %x, %delta, %a, %b, %c skip(%d), %batch, %s
      : (tensor<?x60xf32>, tensor<?x6xf32>, tensor<6xf32>, tensor<?x48xf32>, tensor<?x48xf32>,
         tensor<6xf32>, !m1.batch, !m1.scan_state<6x10x16xf32>) -> tensor<?x60xf32>
  return %y : tensor<?x60xf32>
}

func.func @ssd_scan_m1(%x: tensor<?x32xbf16>, %dt: tensor<?x4xbf16>,
    %a: tensor<4xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x32xbf16>,
    %c: tensor<?x64xbf16>, %d: tensor<4xf32>, %e: tensor<4xf32>, %batch: !m1.batch,
    %s: !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16> {
  %y = m1.ssd_scan %x, %dt, %a, %b, %c skip(%d) dt_bias(%e), %batch, %s {delta_softplus}
      : (tensor<?x32xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x32xbf16>,
         tensor<?x64xbf16>, tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x16x16xf32>)
           -> tensor<?x64xbf16>
  return %y : tensor<?x64xbf16>
}

func.func @ssd_scan_bf16_state(%x: tensor<?x32xf32>, %dt: tensor<?x4xf32>,
    %a: tensor<4xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x16xf32>,
    %c: tensor<?x16xf32>, %e: tensor<4xf32>, %batch: !m1.batch, %s: !m1.scan_state<4x8x16xbf16>)
        -> tensor<?x32xf32> {
  %y = m1.ssd_scan %x, %dt, %a, %b, %c dt_bias(%e), %batch, %s {delta_softplus}
      : (tensor<?x32xf32>, tensor<?x4xf32>, tensor<4xf32>, tensor<?x16xf32>, tensor<?x16xf32>,
         tensor<4xf32>, !m1.batch, !m1.scan_state<4x8x16xbf16>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}

func.func @bench_ssd_scan(%x: tensor<?x1024xbf16>, %dt: tensor<?x24xbf16>,
    %a: tensor<24xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x1024xbf16>,
    %c: tensor<?x3072xbf16>, %d: tensor<24xf32>, %e: tensor<24xf32>, %batch: !m1.batch,
    %s: !m1.scan_state<24x128x128xf32>) -> tensor<?x3072xbf16> attributes {m1.bench} {
  %y = m1.ssd_scan %x, %dt, %a, %b, %c skip(%d) dt_bias(%e), %batch, %s {delta_softplus}
      : (tensor<?x1024xbf16>, tensor<?x24xbf16>, tensor<24xf32>, tensor<?x1024xbf16>,
         tensor<?x3072xbf16>, tensor<24xf32>, tensor<24xf32>, !m1.batch,
         !m1.scan_state<24x128x128xf32>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @gated_delta(%q: tensor<?x24xf32>, %k: tensor<?x24xf32>, %v: tensor<?x80xf32>,
    %a: tensor<?x4xf32>, %b: tensor<?x4xf32>,
    %g: tensor<4xf32> {m1.transform = #m1<transform neg_exp>}, %e: tensor<4xf32>,
    %batch: !m1.batch, %s: !m1.scan_state<4x12x20xf32>) -> tensor<?x80xf32> {
  %y = m1.gated_delta %q, %k, %v, %a, %b, %g dt_bias(%e), %batch, %s
      {eps = 1.0e-6 : f64, scale = 0.25 : f64}
      : (tensor<?x24xf32>, tensor<?x24xf32>, tensor<?x80xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x12x20xf32>) -> tensor<?x80xf32>
  return %y : tensor<?x80xf32>
}

func.func @gated_delta_bf16(%q: tensor<?x32xbf16>, %k: tensor<?x32xbf16>, %v: tensor<?x32xbf16>,
    %a: tensor<?x2xbf16>, %b: tensor<?x2xbf16>,
    %g: tensor<2xf32> {m1.transform = #m1<transform neg_exp>}, %batch: !m1.batch,
    %s: !m1.scan_state<2x16x16xf32>) -> tensor<?x32xbf16> {
  %y = m1.gated_delta %q, %k, %v, %a, %b, %g, %batch, %s
      {eps = 1.0e-6 : f64, scale = 0.25 : f64}
      : (tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x2xbf16>,
         tensor<?x2xbf16>, tensor<2xf32>, !m1.batch, !m1.scan_state<2x16x16xf32>)
      -> tensor<?x32xbf16>
  return %y : tensor<?x32xbf16>
}

func.func @bench_gated_delta(%q: tensor<?x2048xbf16>, %k: tensor<?x2048xbf16>,
    %v: tensor<?x4096xbf16>, %a: tensor<?x32xbf16>, %b: tensor<?x32xbf16>,
    %g: tensor<32xf32> {m1.transform = #m1<transform neg_exp>}, %e: tensor<32xf32>,
    %batch: !m1.batch, %s: !m1.scan_state<32x128x128xf32>)
    -> tensor<?x4096xbf16> attributes {m1.bench} {
  %y = m1.gated_delta %q, %k, %v, %a, %b, %g dt_bias(%e), %batch, %s
      {eps = 1.0e-6 : f64, scale = 0.25 : f64}
      : (tensor<?x2048xbf16>, tensor<?x2048xbf16>, tensor<?x4096xbf16>, tensor<?x32xbf16>,
         tensor<?x32xbf16>, tensor<32xf32>, tensor<32xf32>, !m1.batch,
         !m1.scan_state<32x128x128xf32>) -> tensor<?x4096xbf16>
  return %y : tensor<?x4096xbf16>
}

func.func @rg_lru(%x: tensor<?x151xf32>, %i: tensor<?x151xf32>, %r: tensor<?x151xf32>,
    %l: tensor<151xf32>, %batch: !m1.batch, %s: !m1.scan_state<151xf32>) -> tensor<?x151xf32> {
  %y = m1.rg_lru %x, %i, %r, %l, %batch, %s
      : (tensor<?x151xf32>, tensor<?x151xf32>, tensor<?x151xf32>, tensor<151xf32>, !m1.batch,
         !m1.scan_state<151xf32>) -> tensor<?x151xf32>
  return %y : tensor<?x151xf32>
}

// Channels that forget little: what of an input enters is the root of a difference near zero.
func.func @rg_lru_slow(%x: tensor<?x24xf32>, %i: tensor<?x24xf32>, %r: tensor<?x24xf32>,
    %l: tensor<24xf32> {m1.transform = #m1<transform neg_exp>}, %batch: !m1.batch,
    %s: !m1.scan_state<24xf32>) -> tensor<?x24xf32> {
  %slow = m1.map %r {label = "slow"} : (tensor<?x24xf32>) -> tensor<?x24xf32> {
  ^bb0(%u: f32):
    %six = arith.constant 6.0 : f32
    %v = arith.subf %u, %six : f32
    m1.yield %v : f32
  }
  %y = m1.rg_lru %x, %i, %slow, %l, %batch, %s
      : (tensor<?x24xf32>, tensor<?x24xf32>, tensor<?x24xf32>, tensor<24xf32>, !m1.batch,
         !m1.scan_state<24xf32>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @rg_lru_bf16(%x: tensor<?x128xbf16>, %i: tensor<?x128xbf16>, %r: tensor<?x128xbf16>,
    %l: tensor<128xf32>, %batch: !m1.batch, %s: !m1.scan_state<128xf32>) -> tensor<?x128xbf16> {
  %y = m1.rg_lru %x, %i, %r, %l, %batch, %s
      : (tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<128xf32>, !m1.batch,
         !m1.scan_state<128xf32>) -> tensor<?x128xbf16>
  return %y : tensor<?x128xbf16>
}

func.func @rg_lru_bf16_state(%x: tensor<?x20xf32>, %i: tensor<?x20xbf16>, %r: tensor<?x20xf32>,
    %l: tensor<20xf32>, %batch: !m1.batch, %s: !m1.scan_state<20xbf16>) -> tensor<?x20xf32> {
  %y = m1.rg_lru %x, %i, %r, %l, %batch, %s
      : (tensor<?x20xf32>, tensor<?x20xbf16>, tensor<?x20xf32>, tensor<20xf32>, !m1.batch,
         !m1.scan_state<20xbf16>) -> tensor<?x20xf32>
  return %y : tensor<?x20xf32>
}

func.func @bench_rg_lru(%x: tensor<?x2560xbf16>, %i: tensor<?x2560xbf16>, %r: tensor<?x2560xbf16>,
    %l: tensor<2560xf32>, %batch: !m1.batch, %s: !m1.scan_state<2560xf32>)
    -> tensor<?x2560xbf16> attributes {m1.bench} {
  %y = m1.rg_lru %x, %i, %r, %l, %batch, %s
      : (tensor<?x2560xbf16>, tensor<?x2560xbf16>, tensor<?x2560xbf16>, tensor<2560xf32>,
         !m1.batch, !m1.scan_state<2560xf32>) -> tensor<?x2560xbf16>
  return %y : tensor<?x2560xbf16>
}

// States of f16, with rows of f32, so that nothing else rounds.
func.func @selective_scan_f16_state(%x: tensor<?x24xf32>, %dt: tensor<?x24xf32>,
    %a: tensor<24x5xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x5xf32>,
    %c: tensor<?x10xf32>, %e: tensor<24xf32>, %batch: !m1.batch, %s: !m1.scan_state<24x5xf16>)
        -> tensor<?x24xf32> {
  %y = m1.selective_scan %x, %dt, %a, %b, %c dt_bias(%e), %batch, %s {delta_softplus}
      : (tensor<?x24xf32>, tensor<?x24xf32>, tensor<24x5xf32>, tensor<?x5xf32>, tensor<?x10xf32>,
         tensor<24xf32>, !m1.batch, !m1.scan_state<24x5xf16>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @ssd_scan_f16_state(%x: tensor<?x60xf32>, %dt: tensor<?x6xf32>,
    %a: tensor<6xf32> {m1.transform = #m1<transform neg_exp>}, %b: tensor<?x16xf32>,
    %c: tensor<?x48xf32>, %e: tensor<6xf32>, %batch: !m1.batch, %s: !m1.scan_state<6x10x16xf16>)
        -> tensor<?x60xf32> {
  %y = m1.ssd_scan %x, %dt, %a, %b, %c dt_bias(%e), %batch, %s {delta_softplus}
      : (tensor<?x60xf32>, tensor<?x6xf32>, tensor<6xf32>, tensor<?x16xf32>, tensor<?x48xf32>,
         tensor<6xf32>, !m1.batch, !m1.scan_state<6x10x16xf16>) -> tensor<?x60xf32>
  return %y : tensor<?x60xf32>
}

func.func @gated_delta_f16_state(%q: tensor<?x24xf32>, %k: tensor<?x24xf32>,
    %v: tensor<?x80xf32>, %a: tensor<?x4xf32>, %b: tensor<?x4xf32>,
    %g: tensor<4xf32> {m1.transform = #m1<transform neg_exp>}, %batch: !m1.batch,
    %s: !m1.scan_state<4x12x20xf16>) -> tensor<?x80xf32> {
  %y = m1.gated_delta %q, %k, %v, %a, %b, %g, %batch, %s
      {eps = 1.0e-6 : f64, scale = 0.25 : f64}
      : (tensor<?x24xf32>, tensor<?x24xf32>, tensor<?x80xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, !m1.batch, !m1.scan_state<4x12x20xf16>) -> tensor<?x80xf32>
  return %y : tensor<?x80xf32>
}

func.func @rg_lru_f16_state(%x: tensor<?x151xf32>, %i: tensor<?x151xf32>, %r: tensor<?x151xf32>,
    %l: tensor<151xf32>, %batch: !m1.batch, %s: !m1.scan_state<151xf16>) -> tensor<?x151xf32> {
  %y = m1.rg_lru %x, %i, %r, %l, %batch, %s
      : (tensor<?x151xf32>, tensor<?x151xf32>, tensor<?x151xf32>, tensor<151xf32>, !m1.batch,
         !m1.scan_state<151xf16>) -> tensor<?x151xf32>
  return %y : tensor<?x151xf32>
}

func.func @conv_f16_state(%x: tensor<?x24xf32>, %w: tensor<24x4xf32>, %batch: !m1.batch,
    %s: !m1.conv_state<3x24xf16>) -> tensor<?x24xf32> {
  %y = m1.causal_conv1d %x, %w, %batch, %s
      : (tensor<?x24xf32>, tensor<24x4xf32>, !m1.batch, !m1.conv_state<3x24xf16>)
      -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}
