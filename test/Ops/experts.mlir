// Mixtures of experts: routing by softmax and by sigmoids, their products, the weighted sum.
// RUN: m1-opt %s -o /dev/null

func.func @experts_softmax(%x: tensor<?x12xf32>, %l: tensor<?x6xf32>, %up: tensor<30x12xf32>,
    %down: tensor<72x5xf32>) -> tensor<?x12xf32> {
  %p, %i = m1.router %l
      {normalize, scale = 1.0 : f64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  %h = m1.expert_linear %x, %i, %up {count = 6 : i64}
      : (tensor<?x12xf32>, tensor<?x2xi32>, tensor<30x12xf32>) -> tensor<?x10xf32>
  %g = m1.silu %h : (tensor<?x10xf32>) -> tensor<?x10xf32>
  %o = m1.expert_linear %g, %i, %down {count = 6 : i64}
      : (tensor<?x10xf32>, tensor<?x2xi32>, tensor<72x5xf32>) -> tensor<?x24xf32>
  %y = m1.combine %o, %p : (tensor<?x24xf32>, tensor<?x2xf32>) -> tensor<?x12xf32>
  return %y : tensor<?x12xf32>
}

func.func @experts_sigmoid(%x: tensor<?x12xf32>, %l: tensor<?x6xf32>, %up: tensor<30x12xf32>,
    %down: tensor<72x5xf32>, %e: tensor<6xf32>) -> tensor<?x12xf32> {
  %p, %i = m1.router %l correction(%e)
      {sigmoid, groups = 3 : i64, kept_groups = 2 : i64, scale = 2.5 : f64}
      : (tensor<?x6xf32>, tensor<6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  %h = m1.expert_linear %x, %i, %up {count = 6 : i64}
      : (tensor<?x12xf32>, tensor<?x2xi32>, tensor<30x12xf32>) -> tensor<?x10xf32>
  %g = m1.silu %h : (tensor<?x10xf32>) -> tensor<?x10xf32>
  %o = m1.expert_linear %g, %i, %down {count = 6 : i64}
      : (tensor<?x10xf32>, tensor<?x2xi32>, tensor<72x5xf32>) -> tensor<?x24xf32>
  %y = m1.combine %o, %p : (tensor<?x24xf32>, tensor<?x2xf32>) -> tensor<?x12xf32>
  return %y : tensor<?x12xf32>
}

func.func @experts_bf16(%x: tensor<?x32xbf16>, %l: tensor<?x8xf32>, %up: tensor<192x32xbf16>,
    %down: tensor<256x24xbf16>) -> tensor<?x32xbf16> {
  %p, %i = m1.router %l
      {normalize, scale = 1.0 : f64}
      : (tensor<?x8xf32>) -> (tensor<?x3xf32>, tensor<?x3xi32>)
  %h = m1.expert_linear %x, %i, %up {count = 8 : i64}
      : (tensor<?x32xbf16>, tensor<?x3xi32>, tensor<192x32xbf16>) -> tensor<?x72xbf16>
  %g = m1.silu %h : (tensor<?x72xbf16>) -> tensor<?x72xbf16>
  %o = m1.expert_linear %g, %i, %down {count = 8 : i64}
      : (tensor<?x72xbf16>, tensor<?x3xi32>, tensor<256x24xbf16>) -> tensor<?x96xbf16>
  %y = m1.combine %o, %p : (tensor<?x96xbf16>, tensor<?x3xf32>) -> tensor<?x32xbf16>
  return %y : tensor<?x32xbf16>
}

func.func @experts_int8(%x: tensor<?x32xbf16>, %l: tensor<?x8xf32>, %up: tensor<192x32xbf16>,
    %down: tensor<256x24xbf16>) -> tensor<?x32xbf16> attributes {m1.quantize = "int8"} {
  %p, %i = m1.router %l
      {scale = 1.0 : f64}
      : (tensor<?x8xf32>) -> (tensor<?x3xf32>, tensor<?x3xi32>)
  %h = m1.expert_linear %x, %i, %up {count = 8 : i64}
      : (tensor<?x32xbf16>, tensor<?x3xi32>, tensor<192x32xbf16>) -> tensor<?x72xbf16>
  %g = m1.silu %h : (tensor<?x72xbf16>) -> tensor<?x72xbf16>
  %o = m1.expert_linear %g, %i, %down {count = 8 : i64}
      : (tensor<?x72xbf16>, tensor<?x3xi32>, tensor<256x24xbf16>) -> tensor<?x96xbf16>
  %y = m1.combine %o, %p : (tensor<?x96xbf16>, tensor<?x3xf32>) -> tensor<?x32xbf16>
  return %y : tensor<?x32xbf16>
}

func.func @experts_int4(%x: tensor<?x40xbf16>, %l: tensor<?x4xf32>, %up: tensor<288x40xbf16>,
    %down: tensor<160x72xbf16>) -> tensor<?x40xbf16> attributes {m1.quantize = "int4"} {
  %p, %i = m1.router %l
      {scale = 1.0 : f64}
      : (tensor<?x4xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  %h = m1.expert_linear %x, %i, %up {count = 4 : i64}
      : (tensor<?x40xbf16>, tensor<?x2xi32>, tensor<288x40xbf16>) -> tensor<?x144xbf16>
  %g = m1.silu %h : (tensor<?x144xbf16>) -> tensor<?x144xbf16>
  %o = m1.expert_linear %g, %i, %down {count = 4 : i64}
      : (tensor<?x144xbf16>, tensor<?x2xi32>, tensor<160x72xbf16>) -> tensor<?x80xbf16>
  %y = m1.combine %o, %p : (tensor<?x80xbf16>, tensor<?x2xf32>) -> tensor<?x40xbf16>
  return %y : tensor<?x40xbf16>
}

func.func @experts_int8_groups(%x: tensor<?x40xbf16>, %l: tensor<?x4xf32>, %up: tensor<144x40xbf16>,
    %down: tensor<160x36xbf16>) -> tensor<?x40xbf16> attributes {m1.quantize = "int8:32"} {
  %p, %i = m1.router %l
      {scale = 1.0 : f64}
      : (tensor<?x4xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  %h = m1.expert_linear %x, %i, %up {count = 4 : i64}
      : (tensor<?x40xbf16>, tensor<?x2xi32>, tensor<144x40xbf16>) -> tensor<?x72xbf16>
  %g = m1.silu %h : (tensor<?x72xbf16>) -> tensor<?x72xbf16>
  %o = m1.expert_linear %g, %i, %down {count = 4 : i64}
      : (tensor<?x72xbf16>, tensor<?x2xi32>, tensor<160x36xbf16>) -> tensor<?x80xbf16>
  %y = m1.combine %o, %p : (tensor<?x80xbf16>, tensor<?x2xf32>) -> tensor<?x40xbf16>
  return %y : tensor<?x40xbf16>
}

func.func @bench_experts(%x: tensor<?x2048xbf16>, %l: tensor<?x32xf32>,
    %up: tensor<24576x2048xbf16>, %down: tensor<65536x768xbf16>)
    -> tensor<?x2048xbf16> attributes {m1.bench} {
  %p, %i = m1.router %l
      {normalize, scale = 1.0 : f64}
      : (tensor<?x32xf32>) -> (tensor<?x4xf32>, tensor<?x4xi32>)
  %h = m1.expert_linear %x, %i, %up {count = 32 : i64}
      : (tensor<?x2048xbf16>, tensor<?x4xi32>, tensor<24576x2048xbf16>) -> tensor<?x3072xbf16>
  %g = m1.silu %h : (tensor<?x3072xbf16>) -> tensor<?x3072xbf16>
  %o = m1.expert_linear %g, %i, %down {count = 32 : i64}
      : (tensor<?x3072xbf16>, tensor<?x4xi32>, tensor<65536x768xbf16>) -> tensor<?x8192xbf16>
  %y = m1.combine %o, %p : (tensor<?x8192xbf16>, tensor<?x4xf32>) -> tensor<?x2048xbf16>
  return %y : tensor<?x2048xbf16>
}
