// RUN: m1-opt %s --m1-expand-hybrid-layers --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-expand-hybrid-layers layers 2

// Layers become norms, what the regions hold, and additions; the second layer continues where the
// first ends.
// CHECK-LABEL: func @layers
// CHECK-SAME: %[[H:.*]]: tensor<?x64xf32>, %[[N0:.*]]: tensor<64xf32>, %[[N1:.*]]: tensor<64xf32>, %[[W:.*]]: tensor<64x64xf32>
func.func @layers(%h: tensor<?x64xf32>, %n0: tensor<64xf32>, %n1: tensor<64xf32>, %w:
    tensor<64x64xf32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: %[[X:.*]] = m1.rms_norm %[[H]], %[[N0]] {eps = 1.000000e-05 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  // CHECK-NEXT: %[[Y:.*]] = m1.linear %[[X]], %[[W]]
  // CHECK-NEXT: %[[S:.*]] = m1.add %[[H]], %[[Y]]
  // CHECK-NEXT: %[[X1:.*]] = m1.rms_norm %[[S]], %[[N1]]
  // CHECK-NEXT: %[[S1:.*]] = m1.add %[[S]], %[[X1]]
  %0 = m1.hybrid_layer attention %h, %n0, %n1 {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<?x64xf32> mixer {
  ^bb0(%x: tensor<?x64xbf16>):
    %y = m1.linear %x, %w : (tensor<?x64xbf16>, tensor<64x64xf32>) -> tensor<?x64xbf16>
    m1.yield %y : tensor<?x64xbf16>
  } mlp {
  ^bb0(%x: tensor<?x64xf32>):
    m1.yield %x : tensor<?x64xf32>
  }
  // CHECK-NEXT: m1.rms_norm %[[S1]], %[[N1]]
  // CHECK-NOT: hybrid_layer
  %1 = m1.hybrid_layer mamba2 %0, %n1, %n0 {eps = 1.0e-6 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<?x64xf32> mixer {
  ^bb0(%x: tensor<?x64xf32>):
    m1.yield %x : tensor<?x64xf32>
  } mlp {
  ^bb0(%x: tensor<?x64xf32>):
    m1.yield %x : tensor<?x64xf32>
  }
  return %1 : tensor<?x64xf32>
}

// What is outside of layers stays as it is.
// CHECK-LABEL: func @other
func.func @other(%h: tensor<?x64xf32>, %n: tensor<64xf32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: %[[X:.*]] = m1.rms_norm
  // CHECK-NEXT: %[[Y:.*]] = m1.add %{{.*}}, %[[X]]
  // CHECK-NEXT: return %[[Y]]
  %x = m1.rms_norm %h, %n {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %y = m1.add %h, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
