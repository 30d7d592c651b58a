// Products with weights: sizes that are and are not multiples of tiles and registers, every mix of
// types, bias, and quantised weights whose groups end early.
// RUN: m1-opt %s -o /dev/null

func.func @linear_f32(%x: tensor<?x64xf32>, %w: tensor<4x64xf32>)
    -> tensor<?x4xf32> {
  %y = m1.linear %x, %w
      : (tensor<?x64xf32>, tensor<4x64xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

func.func @linear_odd(%x: tensor<?x37xf32>, %w: tensor<67x37xf32>, %b: tensor<67xf32>)
    -> tensor<?x67xf32> {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x37xf32>, tensor<67x37xf32>, tensor<67xf32>) -> tensor<?x67xf32>
  return %y : tensor<?x67xf32>
}

func.func @linear_f32_bf16(%x: tensor<?x127xf32>, %w: tensor<33x127xbf16>)
    -> tensor<?x33xbf16> {
  %y = m1.linear %x, %w
      : (tensor<?x127xf32>, tensor<33x127xbf16>) -> tensor<?x33xbf16>
  return %y : tensor<?x33xbf16>
}

func.func @linear_bf16(%x: tensor<?x96xbf16>, %w: tensor<130x96xbf16>, %b: tensor<130xf32>)
    -> tensor<?x130xbf16> {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x96xbf16>, tensor<130x96xbf16>, tensor<130xf32>) -> tensor<?x130xbf16>
  return %y : tensor<?x130xbf16>
}

func.func @linear_bf16_to_f32(%x: tensor<?x95xbf16>, %w: tensor<66x95xbf16>)
    -> tensor<?x66xf32> {
  %y = m1.linear %x, %w
      : (tensor<?x95xbf16>, tensor<66x95xbf16>) -> tensor<?x66xf32>
  return %y : tensor<?x66xf32>
}

func.func @linear_bf16_f32(%x: tensor<?x33xbf16>, %w: tensor<7x33xf32>, %b: tensor<7xf32>)
    -> tensor<?x7xbf16> {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x33xbf16>, tensor<7x33xf32>, tensor<7xf32>) -> tensor<?x7xbf16>
  return %y : tensor<?x7xbf16>
}

func.func @linear_aligned(%x: tensor<?x512xbf16>, %w: tensor<256x512xbf16>)
    -> tensor<?x256xbf16> {
  %y = m1.linear %x, %w
      : (tensor<?x512xbf16>, tensor<256x512xbf16>) -> tensor<?x256xbf16>
  return %y : tensor<?x256xbf16>
}

func.func @linear_int8(%x: tensor<?x96xbf16>, %w: tensor<130x96xbf16>, %b: tensor<130xf32>)
    -> tensor<?x130xbf16> attributes {m1.quantize = "int8"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x96xbf16>, tensor<130x96xbf16>, tensor<130xf32>) -> tensor<?x130xbf16>
  return %y : tensor<?x130xbf16>
}

func.func @linear_int8_odd(%x: tensor<?x37xf32>, %w: tensor<67x37xf32>, %b: tensor<67xf32>)
    -> tensor<?x67xf32> attributes {m1.quantize = "int8"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x37xf32>, tensor<67x37xf32>, tensor<67xf32>) -> tensor<?x67xf32>
  return %y : tensor<?x67xf32>
}

func.func @linear_int8_to_f32(%x: tensor<?x75xbf16>, %w: tensor<7x75xbf16>)
    -> tensor<?x7xf32> attributes {m1.quantize = "int8"} {
  %y = m1.linear %x, %w
      : (tensor<?x75xbf16>, tensor<7x75xbf16>) -> tensor<?x7xf32>
  return %y : tensor<?x7xf32>
}

// Rows are rounded to e4m3 as well: of sizes that kernels take in vectors and in tensor cores, and
// odd ones.
func.func @linear_fp8(%x: tensor<?x96xbf16>, %w: tensor<130x96xbf16>, %b: tensor<130xf32>)
    -> tensor<?x130xbf16> attributes {m1.quantize = "fp8"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x96xbf16>, tensor<130x96xbf16>, tensor<130xf32>) -> tensor<?x130xbf16>
  return %y : tensor<?x130xbf16>
}

func.func @linear_fp8_aligned(%x: tensor<?x512xbf16>, %w: tensor<256x512xbf16>)
    -> tensor<?x256xbf16> attributes {m1.quantize = "fp8"} {
  %y = m1.linear %x, %w
      : (tensor<?x512xbf16>, tensor<256x512xbf16>) -> tensor<?x256xbf16>
  return %y : tensor<?x256xbf16>
}

func.func @linear_fp8_odd(%x: tensor<?x37xf32>, %w: tensor<67x37xf32>, %b: tensor<67xf32>)
    -> tensor<?x67xf32> attributes {m1.quantize = "fp8"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x37xf32>, tensor<67x37xf32>, tensor<67xf32>) -> tensor<?x67xf32>
  return %y : tensor<?x67xf32>
}

func.func @linear_fp8_to_f32(%x: tensor<?x75xbf16>, %w: tensor<7x75xbf16>)
    -> tensor<?x7xf32> attributes {m1.quantize = "fp8"} {
  %y = m1.linear %x, %w
      : (tensor<?x75xbf16>, tensor<7x75xbf16>) -> tensor<?x7xf32>
  return %y : tensor<?x7xf32>
}

func.func @linear_fp8_f32(%x: tensor<?x64xf32>, %w: tensor<48x64xbf16>)
    -> tensor<?x48xf32> attributes {m1.quantize = "fp8"} {
  %y = m1.linear %x, %w
      : (tensor<?x64xf32>, tensor<48x64xbf16>) -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}

func.func @quantize_rows(%x: tensor<?x45xf32>) -> tensor<?x45xbf16> {
  %c, %s = m1.quantize_rows %x : (tensor<?x45xf32>) -> (tensor<?x45xbf16>, tensor<?xf32>)
  return %c : tensor<?x45xbf16>
}

func.func @linear_int4(%x: tensor<?x256xbf16>, %w: tensor<9x256xbf16>, %b: tensor<9xf32>)
    -> tensor<?x9xbf16> attributes {m1.quantize = "int4:64"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x256xbf16>, tensor<9x256xbf16>, tensor<9xf32>) -> tensor<?x9xbf16>
  return %y : tensor<?x9xbf16>
}

func.func @linear_int4_ends_early(%x: tensor<?x313xbf16>, %w: tensor<5x313xbf16>, %b: tensor<5xf32>)
    -> tensor<?x5xf32> attributes {m1.quantize = "int4"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x313xbf16>, tensor<5x313xbf16>, tensor<5xf32>) -> tensor<?x5xf32>
  return %y : tensor<?x5xf32>
}

func.func @linear_int4_f32(%x: tensor<?x177xf32>, %w: tensor<9x177xbf16>, %b: tensor<9xf32>)
    -> tensor<?x9xf32> attributes {m1.quantize = "int4:64"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x177xf32>, tensor<9x177xbf16>, tensor<9xf32>) -> tensor<?x9xf32>
  return %y : tensor<?x9xf32>
}

func.func @linear_int4_128(%x: tensor<?x235xf32>, %w: tensor<4x235xbf16>)
    -> tensor<?x4xf32> attributes {m1.quantize = "int4:128"} {
  %y = m1.linear %x, %w
      : (tensor<?x235xf32>, tensor<4x235xbf16>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

func.func @linear_int8_groups(%x: tensor<?x256xbf16>, %w: tensor<9x256xbf16>, %b: tensor<9xf32>)
    -> tensor<?x9xbf16> attributes {m1.quantize = "int8:64"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x256xbf16>, tensor<9x256xbf16>, tensor<9xf32>) -> tensor<?x9xbf16>
  return %y : tensor<?x9xbf16>
}

func.func @linear_int8_groups_end_early(%x: tensor<?x313xbf16>, %w: tensor<5x313xbf16>,
    %b: tensor<5xf32>) -> tensor<?x5xf32> attributes {m1.quantize = "int8:32"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x313xbf16>, tensor<5x313xbf16>, tensor<5xf32>) -> tensor<?x5xf32>
  return %y : tensor<?x5xf32>
}

func.func @linear_int8_groups_f32(%x: tensor<?x177xf32>, %w: tensor<9x177xbf16>, %b: tensor<9xf32>)
    -> tensor<?x9xf32> attributes {m1.quantize = "int8:32"} {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x177xf32>, tensor<9x177xbf16>, tensor<9xf32>) -> tensor<?x9xf32>
  return %y : tensor<?x9xf32>
}

func.func @linear_int8_groups_128(%x: tensor<?x235xf32>, %w: tensor<4x235xbf16>)
    -> tensor<?x4xf32> attributes {m1.quantize = "int8:128"} {
  %y = m1.linear %x, %w
      : (tensor<?x235xf32>, tensor<4x235xbf16>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

func.func @bench_linear_square(%x: tensor<?x3072xbf16>, %w: tensor<3072x3072xbf16>)
    -> tensor<?x3072xbf16> attributes {m1.bench} {
  %y = m1.linear %x, %w
      : (tensor<?x3072xbf16>, tensor<3072x3072xbf16>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @bench_linear_down(%x: tensor<?x8192xbf16>, %w: tensor<3072x8192xbf16>)
    -> tensor<?x3072xbf16> attributes {m1.bench} {
  %y = m1.linear %x, %w
      : (tensor<?x8192xbf16>, tensor<3072x8192xbf16>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @bench_linear_down_int8(%x: tensor<?x8192xbf16>, %w: tensor<3072x8192xbf16>)
    -> tensor<?x3072xbf16> attributes {m1.quantize = "int8", m1.bench} {
  %y = m1.linear %x, %w
      : (tensor<?x8192xbf16>, tensor<3072x8192xbf16>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @bench_linear_down_fp8(%x: tensor<?x8192xbf16>, %w: tensor<3072x8192xbf16>)
    -> tensor<?x3072xbf16> attributes {m1.quantize = "fp8", m1.bench} {
  %y = m1.linear %x, %w
      : (tensor<?x8192xbf16>, tensor<3072x8192xbf16>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @gated_mlp(%x: tensor<?x24xbf16>, %gate: tensor<40x24xbf16>, %up: tensor<40x24xbf16>,
                     %down: tensor<16x40xbf16>) -> tensor<?x16xbf16> {
  %y = m1.gated_mlp %x, %gate, %up, %down
      : (tensor<?x24xbf16>, tensor<40x24xbf16>, tensor<40x24xbf16>, tensor<16x40xbf16>)
      -> tensor<?x16xbf16>
  return %y : tensor<?x16xbf16>
}

// Maps before and after products: multipliers of rows and columns, activations, gates of other
// formulas, sums with a multiplier.
func.func @linear_scaled(%x: tensor<?x64xbf16>, %w: tensor<36x64xbf16>, %c: tensor<12xf32>)
    -> tensor<?x36xbf16> {
  %s = m1.map %x : (tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%a: f32):
    %k = arith.constant 1.25 : f32
    %p = arith.mulf %a, %k : f32
    m1.yield %p : f32
  }
  %y = m1.linear %s, %w : (tensor<?x64xbf16>, tensor<36x64xbf16>) -> tensor<?x36xbf16>
  %z = m1.map %y, %c : (tensor<?x36xbf16>, tensor<12xf32>) -> tensor<?x36xbf16> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    m1.yield %p : f32
  }
  return %z : tensor<?x36xbf16>
}

func.func @linear_activated(%x: tensor<?x33xf32>, %w: tensor<20x33xf32>, %b: tensor<20xf32>)
    -> tensor<?x20xf32> {
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x33xf32>, tensor<20x33xf32>, tensor<20xf32>) -> tensor<?x20xf32>
  %z = m1.map %y : (tensor<?x20xf32>) -> tensor<?x20xf32> {
  ^bb0(%a: f32):
    %zero = arith.constant 0.0 : f32
    %half = arith.constant 0.5 : f32
    %most = arith.maximumf %a, %zero : f32
    %least = arith.minimumf %a, %half : f32
    %e = math.erf %least : f32
    %t = math.tanh %a : f32
    %less = arith.cmpf olt, %a, %half : f32
    %u = arith.select %less, %e, %t : f32
    %s = math.sqrt %most : f32
    %n = arith.negf %most : f32
    %x1 = math.exp %n : f32
    %l = math.log1p %most : f32
    %q = arith.divf %x1, %half : f32
    %d = arith.subf %q, %u : f32
    %f = math.fma %l, %s, %d : f32
    %r = arith.addf %f, %half : f32
    m1.yield %r : f32
  }
  return %z : tensor<?x20xf32>
}

func.func @linear_gated(%x: tensor<?x64xbf16>, %w: tensor<80x64xbf16>) -> tensor<?x40xbf16> {
  %y = m1.linear %x, %w : (tensor<?x64xbf16>, tensor<80x64xbf16>) -> tensor<?x80xbf16>
  %g, %u = m1.split %y : tensor<?x80xbf16> -> tensor<?x40xbf16>, tensor<?x40xbf16>
  %z = m1.map %u, %g : (tensor<?x40xbf16>, tensor<?x40xbf16>) -> tensor<?x40xbf16> {
  ^bb0(%b: f32, %a: f32):
    %k = arith.constant 0.875 : f32
    %s = arith.mulf %a, %k : f32
    %t = math.tanh %s : f32
    %p = arith.mulf %t, %b : f32
    m1.yield %p : f32
  }
  return %z : tensor<?x40xbf16>
}

func.func @linear_branches(%x: tensor<?x64xbf16>, %w: tensor<64x64xbf16>, %v: tensor<64x64xbf16>,
                           %n: tensor<64xf32>, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %a = m1.linear %x, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h1 = m1.map %h, %a : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32> {
  ^bb0(%r: f32, %e: f32):
    %k = arith.constant 0.235702261 : f32
    %p = arith.mulf %e, %k : f32
    %s = arith.addf %r, %p : f32
    m1.yield %s : f32
  }
  %b = m1.linear %x, %v : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h2, %r = m1.add_rms_norm %h1, %b, %n {eps = 1.0e-5 : f64, factor = 0.9375 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>)
      -> (tensor<?x64xf32>, tensor<?x64xbf16>)
  %c = m1.linear %r, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %y = m1.add %h2, %c : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
