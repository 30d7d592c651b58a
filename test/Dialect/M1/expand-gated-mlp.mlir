// RUN: m1-opt %s --m1-expand-gated-mlp --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-expand-gated-mlp mlps 1

// The gate is the silu side; inner rows have the type of x, the result its own.
// CHECK-LABEL: func @mlp
// CHECK-SAME: %[[X:.*]]: tensor<?x64xbf16>, %[[G:.*]]: tensor<160x64xf32>, %[[U:.*]]: tensor<160x64xf32>, %[[D:.*]]: tensor<64x160xf32>
func.func @mlp(%x: tensor<?x64xbf16>, %g: tensor<160x64xf32>, %u: tensor<160x64xf32>, %d:
    tensor<64x160xf32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: %[[A:.*]] = m1.linear %[[X]], %[[G]] : (tensor<?x64xbf16>, tensor<160x64xf32>) -> tensor<?x160xbf16>
  // CHECK-NEXT: %[[B:.*]] = m1.linear %[[X]], %[[U]]
  // CHECK-NEXT: %[[C:.*]] = m1.silu_mul %[[A]], %[[B]]
  // CHECK-NEXT: %[[Y:.*]] = m1.linear %[[C]], %[[D]] : (tensor<?x160xbf16>, tensor<64x160xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: return %[[Y]]
  %y = m1.gated_mlp %x, %g, %u, %d : (tensor<?x64xbf16>, tensor<160x64xf32>, tensor<160x64xf32>,
      tensor<64x160xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// What is no gated MLP stays as it is.
// CHECK-LABEL: func @other
func.func @other(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: %[[A:.*]] = m1.linear
  // CHECK-NEXT: %[[Y:.*]] = m1.silu_mul %[[A]], %[[A]]
  // CHECK-NEXT: return %[[Y]]
  %a = m1.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %y = m1.silu_mul %a, %a : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
