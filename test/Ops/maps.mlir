// Elementwise operations, over widths with a rest of every power of two and over vectors.
// RUN: m1-opt %s -o /dev/null

func.func @add(%a: tensor<?x31xf32>, %b: tensor<?x31xbf16>) -> tensor<?x31xf32> {
  %y = m1.add %a, %b : (tensor<?x31xf32>, tensor<?x31xbf16>) -> tensor<?x31xf32>
  return %y : tensor<?x31xf32>
}

func.func @mul(%a: tensor<?x31xf32>, %b: tensor<?x31xf32>) -> tensor<?x31xf32> {
  %y = m1.mul %a, %b : (tensor<?x31xf32>, tensor<?x31xf32>) -> tensor<?x31xf32>
  return %y : tensor<?x31xf32>
}

func.func @mul_bf16(%a: tensor<?x64xbf16>, %b: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %y = m1.mul %a, %b : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %y : tensor<?x64xbf16>
}

func.func @silu_mul(%a: tensor<?x31xf32>, %b: tensor<?x31xbf16>) -> tensor<?x31xf32> {
  %y = m1.silu_mul %a, %b : (tensor<?x31xf32>, tensor<?x31xbf16>) -> tensor<?x31xf32>
  return %y : tensor<?x31xf32>
}

func.func @silu_mul_bf16(%a: tensor<?x96xbf16>, %b: tensor<?x96xbf16>) -> tensor<?x96xbf16> {
  %y = m1.silu_mul %a, %b : (tensor<?x96xbf16>, tensor<?x96xbf16>) -> tensor<?x96xbf16>
  return %y : tensor<?x96xbf16>
}

func.func @bench_silu_mul(%a: tensor<?x8192xbf16>, %b: tensor<?x8192xbf16>)
    -> tensor<?x8192xbf16> attributes {m1.bench} {
  %y = m1.silu_mul %a, %b : (tensor<?x8192xbf16>, tensor<?x8192xbf16>) -> tensor<?x8192xbf16>
  return %y : tensor<?x8192xbf16>
}

func.func @silu(%a: tensor<?x31xf32>) -> tensor<?x31xf32> {
  %y = m1.silu %a : (tensor<?x31xf32>) -> tensor<?x31xf32>
  return %y : tensor<?x31xf32>
}

func.func @silu_bf16(%a: tensor<?x96xbf16>) -> tensor<?x96xbf16> {
  %y = m1.silu %a : (tensor<?x96xbf16>) -> tensor<?x96xbf16>
  return %y : tensor<?x96xbf16>
}

func.func @softplus(%a: tensor<?x31xbf16>) -> tensor<?x31xf32> {
  %y = m1.softplus %a : (tensor<?x31xbf16>) -> tensor<?x31xf32>
  return %y : tensor<?x31xf32>
}

func.func @softplus_bias(%a: tensor<?x24xbf16>, %b: tensor<24xf32>) -> tensor<?x24xf32> {
  %y = m1.softplus %a bias(%b) : (tensor<?x24xbf16>, tensor<24xf32>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @skip(%y: tensor<?x31xf32>, %x: tensor<?x31xf32>, %d: tensor<31xf32>)
    -> tensor<?x31xf32> {
  %s = m1.skip %y, %x, %d : (tensor<?x31xf32>, tensor<?x31xf32>, tensor<31xf32>) -> tensor<?x31xf32>
  return %s : tensor<?x31xf32>
}

func.func @skip_of_heads(%y: tensor<?x36xf32>, %x: tensor<?x36xbf16>, %d: tensor<4xf32>)
    -> tensor<?x36xf32> {
  %s = m1.skip %y, %x, %d : (tensor<?x36xf32>, tensor<?x36xbf16>, tensor<4xf32>) -> tensor<?x36xf32>
  return %s : tensor<?x36xf32>
}

// Every operation that scalar code is made of.
func.func @scalars(%a: tensor<?x31xf32>, %b: tensor<?x31xbf16>, %d: tensor<31xf32>)
    -> tensor<?x31xf32> {
  %y = m1.map %a, %b, %d {label = "scalars"}
      : (tensor<?x31xf32>, tensor<?x31xbf16>, tensor<31xf32>) -> tensor<?x31xf32> {
  ^bb0(%u: f32, %v: f32, %w: f32):
    %one = arith.constant 1.0 : f32
    %0 = arith.subf %u, %v : f32
    %1 = arith.minimumf %0, %v : f32
    %2 = arith.maximumf %1, %w : f32
    %3 = arith.negf %2 : f32
    %4 = math.exp %3 : f32
    %5 = arith.addf %4, %one : f32
    %6 = arith.divf %u, %5 : f32
    %7 = math.tanh %6 : f32
    %8 = math.erf %v : f32
    %9 = math.log1p %4 : f32
    %10 = math.fma %7, %8, %9 : f32
    %11 = arith.cmpf ogt, %u, %w : f32
    %12 = arith.mulf %10, %u : f32
    %13 = arith.select %11, %12, %10 : f32
    %14 = math.sqrt %4 : f32
    %15 = arith.subf %13, %14 : f32
    m1.yield %15 : f32
  }
  return %y : tensor<?x31xf32>
}
