// Norms of rows and of groups of columns, alone, after the residual addition, and with gates before
// and after.
// RUN: m1-opt %s -o /dev/null

func.func @rms_norm_15(%x: tensor<?x15xf32>, %w: tensor<15xf32>) -> tensor<?x15xf32> {
  %y = m1.rms_norm %x, %w {eps = 1.0e-5 : f64, groups = 1 : i64}
      : (tensor<?x15xf32>, tensor<15xf32>) -> tensor<?x15xf32>
  return %y : tensor<?x15xf32>
}

func.func @rms_norm_203(%x: tensor<?x203xbf16>, %w: tensor<203xf32>) -> tensor<?x203xbf16> {
  %y = m1.rms_norm %x, %w {eps = 1.0e-5 : f64, groups = 1 : i64}
      : (tensor<?x203xbf16>, tensor<203xf32>) -> tensor<?x203xbf16>
  return %y : tensor<?x203xbf16>
}

func.func @rms_norm_64(%x: tensor<?x64xbf16>, %w: tensor<64xf32>) -> tensor<?x64xbf16> {
  %y = m1.rms_norm %x, %w {eps = 1.0e-5 : f64, groups = 1 : i64}
      : (tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  return %y : tensor<?x64xbf16>
}

func.func @rms_norm_of_heads(%x: tensor<?x192xbf16>, %w: tensor<64xf32>) -> tensor<?x192xbf16> {
  %y = m1.rms_norm %x, %w {eps = 1.0e-5 : f64, groups = 3 : i64}
      : (tensor<?x192xbf16>, tensor<64xf32>) -> tensor<?x192xbf16>
  return %y : tensor<?x192xbf16>
}

func.func @rms_norm_of_groups(%x: tensor<?x35xf32>, %w: tensor<35xf32>) -> tensor<?x35xf32> {
  %y = m1.rms_norm %x, %w {eps = 1.0e-5 : f64, groups = 5 : i64}
      : (tensor<?x35xf32>, tensor<35xf32>) -> tensor<?x35xf32>
  return %y : tensor<?x35xf32>
}

func.func @rms_norm_without_weight(%x: tensor<?x35xf32>) -> tensor<?x35xf32> {
  %y = m1.rms_norm %x {eps = 1.0e-5 : f64, groups = 5 : i64}
      : (tensor<?x35xf32>) -> tensor<?x35xf32>
  return %y : tensor<?x35xf32>
}

func.func @bench_rms_norm(%x: tensor<?x3072xbf16>, %w: tensor<3072xf32>)
    -> tensor<?x3072xbf16> attributes {m1.bench} {
  %y = m1.rms_norm %x, %w {eps = 1.0e-5 : f64, groups = 1 : i64}
      : (tensor<?x3072xbf16>, tensor<3072xf32>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @add_rms_norm_f32(%r: tensor<?x15xf32>, %x: tensor<?x15xf32>, %w: tensor<15xf32>)
    -> tensor<?x15xf32> {
  %s, %n = m1.add_rms_norm %r, %x, %w {eps = 1.0e-5 : f64}
      : (tensor<?x15xf32>, tensor<?x15xf32>, tensor<15xf32>) -> (tensor<?x15xf32>, tensor<?x15xf32>)
  %y = m1.add %s, %n : (tensor<?x15xf32>, tensor<?x15xf32>) -> tensor<?x15xf32>
  return %y : tensor<?x15xf32>
}

func.func @add_rms_norm_bf16(%r: tensor<?x203xf32>, %x: tensor<?x203xbf16>, %w: tensor<203xf32>)
    -> tensor<?x203xf32> {
  %s, %n = m1.add_rms_norm %r, %x, %w {eps = 1.0e-5 : f64}
      : (tensor<?x203xf32>, tensor<?x203xbf16>, tensor<203xf32>) -> (tensor<?x203xf32>,
         tensor<?x203xbf16>)
  %y = m1.add %s, %n : (tensor<?x203xf32>, tensor<?x203xbf16>) -> tensor<?x203xf32>
  return %y : tensor<?x203xf32>
}

func.func @add_rms_norm_aligned(%r: tensor<?x64xf32>, %x: tensor<?x64xbf16>, %w: tensor<64xf32>)
    -> tensor<?x64xf32> {
  %s, %n = m1.add_rms_norm %r, %x, %w {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>) -> (tensor<?x64xf32>,
         tensor<?x64xbf16>)
  %y = m1.add %s, %n : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

func.func @add_rms_norm_factor(%r: tensor<?x203xf32>, %x: tensor<?x203xbf16>, %w: tensor<203xf32>)
    -> tensor<?x203xf32> {
  %s, %n = m1.add_rms_norm %r, %x, %w {eps = 1.0e-5 : f64, factor = 0.22 : f64}
      : (tensor<?x203xf32>, tensor<?x203xbf16>, tensor<203xf32>) -> (tensor<?x203xf32>,
         tensor<?x203xbf16>)
  %y = m1.add %s, %n : (tensor<?x203xf32>, tensor<?x203xbf16>) -> tensor<?x203xf32>
  return %y : tensor<?x203xf32>
}

func.func @bench_add_rms_norm(%r: tensor<?x3072xf32>, %x: tensor<?x3072xbf16>, %w: tensor<3072xf32>)
    -> tensor<?x3072xf32> attributes {m1.bench} {
  %s, %n = m1.add_rms_norm %r, %x, %w {eps = 1.0e-5 : f64}
      : (tensor<?x3072xf32>, tensor<?x3072xbf16>, tensor<3072xf32>) -> (tensor<?x3072xf32>,
         tensor<?x3072xbf16>)
  %y = m1.add %s, %n : (tensor<?x3072xf32>, tensor<?x3072xbf16>) -> tensor<?x3072xf32>
  return %y : tensor<?x3072xf32>
}

func.func @gated_norm(%y: tensor<?x40xf32>, %z: tensor<?x40xbf16>, %w: tensor<40xf32>)
    -> tensor<?x40xbf16> {
  %g = m1.gated_rms_norm %y, %z, %w {eps = 1.0e-5 : f64, groups = 1 : i64}
      : (tensor<?x40xf32>, tensor<?x40xbf16>, tensor<40xf32>) -> tensor<?x40xbf16>
  return %g : tensor<?x40xbf16>
}

func.func @gated_norm_groups(%y: tensor<?x35xf32>, %z: tensor<?x35xf32>, %w: tensor<35xf32>)
    -> tensor<?x35xf32> {
  %g = m1.gated_rms_norm %y, %z, %w {eps = 1.0e-5 : f64, groups = 5 : i64}
      : (tensor<?x35xf32>, tensor<?x35xf32>, tensor<35xf32>) -> tensor<?x35xf32>
  return %g : tensor<?x35xf32>
}

func.func @gated_norm_first(%y: tensor<?x192xbf16>, %z: tensor<?x192xbf16>, %w: tensor<64xf32>)
    -> tensor<?x192xbf16> {
  %g = m1.gated_rms_norm %y, %z, %w {eps = 1.0e-5 : f64, groups = 3 : i64, norm_first}
      : (tensor<?x192xbf16>, tensor<?x192xbf16>, tensor<64xf32>) -> tensor<?x192xbf16>
  return %g : tensor<?x192xbf16>
}

func.func @gated_norm_first_odd(%y: tensor<?x35xf32>, %z: tensor<?x35xf32>, %w: tensor<7xf32>)
    -> tensor<?x35xf32> {
  %g = m1.gated_rms_norm %y, %z, %w {eps = 1.0e-5 : f64, groups = 5 : i64, norm_first}
      : (tensor<?x35xf32>, tensor<?x35xf32>, tensor<7xf32>) -> tensor<?x35xf32>
  return %g : tensor<?x35xf32>
}
