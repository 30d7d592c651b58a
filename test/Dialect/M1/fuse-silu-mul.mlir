// RUN: m1-opt %s --m1-fuse-silu-mul --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-fuse-silu-mul gates 2

// A silu on either side fuses and becomes the first operand.
// CHECK-LABEL: func @fuses
// CHECK-SAME: %[[A:.*]]: tensor<?x4xf32>, %[[B:.*]]: tensor<?x4xf32>
func.func @fuses(%a: tensor<?x4xf32>, %b: tensor<?x4xf32>) -> (tensor<?x4xbf16>, tensor<?x4xf32>) {
  // CHECK-NEXT: %[[L:.*]] = m1.silu_mul %[[A]], %[[B]] : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xbf16>
  // CHECK-NEXT: %[[R:.*]] = m1.silu_mul %[[B]], %[[A]]
  // CHECK-NEXT: return %[[L]], %[[R]]
  %s = m1.silu %a : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %l = m1.mul %s, %b : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xbf16>
  %t = m1.silu %b : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %r = m1.mul %a, %t : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %l, %r : tensor<?x4xbf16>, tensor<?x4xf32>
}

// A silu with another use would be computed twice; its square is such a case.
// CHECK-LABEL: func @refuses
func.func @refuses(%a: tensor<?x4xf32>, %b: tensor<?x4xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK-NOT: silu_mul
  // CHECK: return
  %s = m1.silu %a : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %m = m1.mul %s, %b : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %t = m1.silu %b : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %q = m1.mul %t, %t : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %s, %m, %q : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
