// RUN: m1-opt %s --m1-fuse-maps --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-fuse-maps maps 3
// STATISTICS: m1-fuse-maps multipliers 3

// A multiplier becomes the norm's factor, whose sum is of the branch without it.
// CHECK-LABEL: func @factor
// CHECK-SAME: %[[H:.*]]: tensor<?x4xf32>, %[[Y:.*]]: tensor<?x4xbf16>, %[[W:.*]]: tensor<4xf32>
func.func @factor(%h: tensor<?x4xf32>, %y: tensor<?x4xbf16>, %w: tensor<4xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xbf16>) {
  // CHECK-NEXT: m1.add_rms_norm %[[H]], %[[Y]], %[[W]] {eps = 1.000000e-05 : f64, factor = 2.500000e-01 : f64}
  // CHECK-NEXT: return
  %x = m1.map %y {label = "scale"} : (tensor<?x4xbf16>) -> tensor<?x4xbf16> {
  ^bb0(%a: f32):
    %c = arith.constant 0.25 : f32
    %p = arith.mulf %a, %c : f32
    m1.yield %p : f32
  }
  %s, %n = m1.add_rms_norm %h, %x, %w {eps = 1.0e-5 : f64}
      : (tensor<?x4xf32>, tensor<?x4xbf16>, tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x4xbf16>)
  return %s, %n : tensor<?x4xf32>, tensor<?x4xbf16>
}

// One of a linear's rows joins what reads its results, which a second linear of the same rows does
// not hinder.
// CHECK-LABEL: func @through
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>, %[[W:.*]]: tensor<6x4xf32>, %[[V:.*]]: tensor<6xf32>
func.func @through(%x: tensor<?x4xf32>, %w: tensor<6x4xf32>, %v: tensor<6xf32>)
    -> (tensor<?x6xf32>, tensor<?x6xf32>) {
  // CHECK-NEXT: %[[Y:.*]] = m1.linear %[[X]], %[[W]]
  // CHECK-NEXT: %[[R:.*]] = m1.map %[[Y]], %[[V]] {label = "scale_columns"}
  // CHECK-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32):
  // CHECK-NEXT: %[[C:.*]] = arith.constant 1.250000e+00 : f32
  // CHECK-NEXT: %[[P:.*]] = arith.mulf %[[A]], %[[C]]
  // CHECK-NEXT: %[[Q:.*]] = arith.mulf %[[P]], %[[B]]
  // CHECK-NEXT: m1.yield %[[Q]]
  // CHECK: %[[Z:.*]] = m1.linear %[[X]], %[[W]]
  // CHECK-NEXT: return %[[R]], %[[Z]]
  %s = m1.map %x {label = "scale"} : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%a: f32):
    %c = arith.constant 1.25 : f32
    %p = arith.mulf %a, %c : f32
    m1.yield %p : f32
  }
  %y = m1.linear %s, %w : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<?x6xf32>
  %r = m1.map %y, %v {label = "scale_columns"}
      : (tensor<?x6xf32>, tensor<6xf32>) -> tensor<?x6xf32> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    m1.yield %p : f32
  }
  %z = m1.linear %x, %w : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<?x6xf32>
  return %r, %z : tensor<?x6xf32>, tensor<?x6xf32>
}

// Results of no more columns take it without a reader that is a map; more columns, and a bias, do
// not.
// CHECK-LABEL: func @narrow
func.func @narrow(%x: tensor<?x4xf32>, %w: tensor<3x4xf32>, %v: tensor<6x4xf32>, %b: tensor<3xf32>)
    -> (tensor<?x3xf32>, tensor<?x6xf32>, tensor<?x3xf32>) {
  // CHECK-NEXT: m1.linear %arg0, %arg1
  // CHECK-NEXT: m1.map {{.*}} {label = "scale"} : (tensor<?x3xf32>)
  // CHECK: m1.map %arg0 {label = "scale"}
  // CHECK: m1.linear
  // CHECK: m1.map %arg0 {label = "scale"}
  // CHECK: m1.linear {{.*}} bias
  %s = m1.map %x {label = "scale"} : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%a: f32):
    %c = arith.constant 1.25 : f32
    %p = arith.mulf %c, %a : f32
    m1.yield %p : f32
  }
  %y = m1.linear %s, %w : (tensor<?x4xf32>, tensor<3x4xf32>) -> tensor<?x3xf32>
  %s1 = m1.map %x {label = "scale"} : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%a: f32):
    %c = arith.constant 1.25 : f32
    %p = arith.mulf %a, %c : f32
    m1.yield %p : f32
  }
  %z = m1.linear %s1, %v : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<?x6xf32>
  %s2 = m1.map %x {label = "scale"} : (tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%a: f32):
    %c = arith.constant 1.25 : f32
    %p = arith.mulf %a, %c : f32
    m1.yield %p : f32
  }
  %q = m1.linear %s2, %w bias(%b)
      : (tensor<?x4xf32>, tensor<3x4xf32>, tensor<3xf32>) -> tensor<?x3xf32>
  return %y, %z, %q : tensor<?x3xf32>, tensor<?x6xf32>, tensor<?x3xf32>
}

// Maps of maps are one, ops of the dialect among them; residual sums stay, each with its branch.
// CHECK-LABEL: func @maps
// CHECK-SAME: %[[H:.*]]: tensor<?x4xf32>, %[[X:.*]]: tensor<?x4xbf16>, %[[Y:.*]]: tensor<?x4xbf16>
func.func @maps(%h: tensor<?x4xf32>, %x: tensor<?x4xbf16>, %y: tensor<?x4xbf16>)
    -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK-NEXT: %[[S:.*]] = m1.map %[[H]], %[[X]] {label = "add"}
  // CHECK-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32):
  // CHECK-NEXT: %[[C:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[P:.*]] = arith.mulf %[[B]], %[[C]]
  // CHECK-NEXT: %[[Q:.*]] = arith.addf %[[A]], %[[P]]
  // CHECK-NEXT: m1.yield %[[Q]]
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[T:.*]] = m1.map %[[S]], %[[X]], %[[Y]] {label = "add"}
  // CHECK: %[[U:.*]] = m1.silu %[[H]]
  // CHECK-NEXT: %[[V:.*]] = m1.mul %[[U]], %[[U]]
  // CHECK-NEXT: return %[[T]], %[[V]]
  %x1 = m1.map %x {label = "scale"} : (tensor<?x4xbf16>) -> tensor<?x4xbf16> {
  ^bb0(%a: f32):
    %c = arith.constant 0.5 : f32
    %p = arith.mulf %a, %c : f32
    m1.yield %p : f32
  }
  %s = m1.add %h, %x1 : (tensor<?x4xf32>, tensor<?x4xbf16>) -> tensor<?x4xf32>
  %g = m1.silu_mul %x, %y : (tensor<?x4xbf16>, tensor<?x4xbf16>) -> tensor<?x4xbf16>
  %t = m1.add %s, %g : (tensor<?x4xf32>, tensor<?x4xbf16>) -> tensor<?x4xf32>
  %u = m1.silu %h : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = m1.mul %u, %u : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %t, %v : tensor<?x4xf32>, tensor<?x4xf32>
}

// A multiplier that is no finite number stays a map, as it is no factor.
// CHECK-LABEL: func @infinite
func.func @infinite(%h: tensor<?x4xf32>, %y: tensor<?x4xbf16>, %w: tensor<4xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xbf16>) {
  // CHECK-NEXT: %[[X:.*]] = m1.map
  // CHECK: m1.add_rms_norm %{{.*}}, %[[X]], %{{.*}} {eps = 1.000000e-05 : f64} :
  %x = m1.map %y {label = "scale"} : (tensor<?x4xbf16>) -> tensor<?x4xbf16> {
  ^bb0(%a: f32):
    %c = arith.constant 0x7F800000 : f32
    %p = arith.mulf %a, %c : f32
    m1.yield %p : f32
  }
  %s, %n = m1.add_rms_norm %h, %x, %w {eps = 1.0e-5 : f64}
      : (tensor<?x4xf32>, tensor<?x4xbf16>, tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x4xbf16>)
  return %s, %n : tensor<?x4xf32>, tensor<?x4xbf16>
}

// More inputs than a launch may have are not one map's.
// CHECK-LABEL: func @inputs
func.func @inputs(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // CHECK-NEXT: %[[Y:.*]] = m1.map
  // CHECK: m1.map %[[Y]], %arg0
  %y = m1.map %x, %x, %x, %x, %x, %x, %x, %x, %x {label = "first"}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%a0: f32, %a1: f32, %a2: f32, %a3: f32, %a4: f32, %a5: f32, %a6: f32, %a7: f32, %a8: f32):
    %p = arith.mulf %a0, %a8 : f32
    m1.yield %p : f32
  }
  %z = m1.map %y, %x, %x, %x, %x, %x, %x, %x, %x {label = "second"}
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%b0: f32, %b1: f32, %b2: f32, %b3: f32, %b4: f32, %b5: f32, %b6: f32, %b7: f32, %b8: f32):
    %p = arith.mulf %b0, %b8 : f32
    m1.yield %p : f32
  }
  return %z : tensor<?x4xf32>
}
