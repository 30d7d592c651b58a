// RUN: m1-opt %s --m1-fuse-residual-norm --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-fuse-residual-norm norms 2

m1.weight @w : tensor<4xf32> {sources = ["w"]}

// The sum keeps its other uses; a weight that is read later is read earlier.
// CHECK-LABEL: func @fuses
// CHECK-SAME: %[[H:.*]]: tensor<?x4xf32>, %[[Y:.*]]: tensor<?x4xbf16>
func.func @fuses(%h: tensor<?x4xf32>, %y: tensor<?x4xbf16>) -> (tensor<?x4xf32>, tensor<?x4xbf16>) {
  // CHECK-NEXT: %[[W:.*]] = m1.get_weight @w
  // CHECK-NEXT: %[[S:.*]], %[[N:.*]] = m1.add_rms_norm %[[H]], %[[Y]], %[[W]] {eps = 1.000000e-05 : f64} : {{.*}} -> (tensor<?x4xf32>, tensor<?x4xbf16>)
  // CHECK-NEXT: return %[[S]], %[[N]]
  %s = m1.add %h, %y : (tensor<?x4xf32>, tensor<?x4xbf16>) -> tensor<?x4xf32>
  %w = m1.get_weight @w : tensor<4xf32>
  %n = m1.rms_norm %s, %w {eps = 1.0e-5 : f64}
      : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xbf16>
  return %s, %n : tensor<?x4xf32>, tensor<?x4xbf16>
}

// Of two norms of one sum the first fuses, the second reads the sum; a norm of anything else stays.
// CHECK-LABEL: func @two
func.func @two(%h: tensor<?x4xf32>, %w: tensor<4xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK-NEXT: %[[S:.*]], %{{.*}} = m1.add_rms_norm
  // CHECK-NEXT: m1.rms_norm %[[S]]
  // CHECK-NEXT: m1.rms_norm %arg0
  %s = m1.add %h, %h : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %n = m1.rms_norm %s, %w {eps = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %n1 = m1.rms_norm %s, %w {eps = 1.0e-6 : f64}
      : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %n2 = m1.rms_norm %h, %w {eps = 1.0e-6 : f64}
      : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %n, %n1, %n2 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// A weight that is computed after the addition cannot be moved before it.
// CHECK-LABEL: func @computed
func.func @computed(%h: tensor<?x4xf32>, %f: tensor<4xf32>) -> tensor<?x4xf32> {
  // CHECK: m1.add
  // CHECK: m1.rms_norm
  %s = m1.add %h, %h : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %w = arith.addf %f, %f : tensor<4xf32>
  %n = m1.rms_norm %s, %w {eps = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %n : tensor<?x4xf32>
}
