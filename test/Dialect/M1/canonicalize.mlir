// RUN: m1-opt %s --canonicalize | FileCheck %s

// A split into one piece is its input.
// CHECK-LABEL: func @split_one
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>
func.func @split_one(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // CHECK-NEXT: return %[[X]]
  %p = m1.split %x : tensor<?x4xf32> -> tensor<?x4xf32>
  return %p : tensor<?x4xf32>
}

// A split of a piece becomes part of the outer split, in order.
// CHECK-LABEL: func @split_nested
func.func @split_nested(%x: tensor<?x8xf32>)
    -> (tensor<?x1xf32>, tensor<?x2xf32>, tensor<?x3xf32>, tensor<?x2xf32>) {
  // CHECK-NEXT: %[[P:.*]]:4 = m1.split %{{.*}} : tensor<?x8xf32> -> tensor<?x1xf32>, tensor<?x2xf32>, tensor<?x3xf32>, tensor<?x2xf32>
  // CHECK-NEXT: return %[[P]]#0, %[[P]]#1, %[[P]]#2, %[[P]]#3
  %p:3 = m1.split %x : tensor<?x8xf32> -> tensor<?x1xf32>, tensor<?x5xf32>, tensor<?x2xf32>
  %q:2 = m1.split %p#1 : tensor<?x5xf32> -> tensor<?x2xf32>, tensor<?x3xf32>
  return %p#0, %q#0, %q#1, %p#2 : tensor<?x1xf32>, tensor<?x2xf32>, tensor<?x3xf32>, tensor<?x2xf32>
}

// A piece that is used whole as well stays.
// CHECK-LABEL: func @split_used
func.func @split_used(%x: tensor<?x4xf32>) -> (tensor<?x3xf32>, tensor<?x1xf32>) {
  // CHECK-COUNT-2: m1.split
  %p:2 = m1.split %x : tensor<?x4xf32> -> tensor<?x3xf32>, tensor<?x1xf32>
  %q:2 = m1.split %p#0 : tensor<?x3xf32> -> tensor<?x1xf32>, tensor<?x2xf32>
  return %p#0, %q#0 : tensor<?x3xf32>, tensor<?x1xf32>
}

// Heads repeated once are themselves; repeated twice, they are not.
// CHECK-LABEL: func @repeat
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>
func.func @repeat(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x8xf32>) {
  // CHECK-NEXT: %[[R:.*]] = m1.repeat_heads
  // CHECK-NEXT: return %[[X]], %[[R]]
  %a = m1.repeat_heads %x {head_size = 2 : i64, repeat = 1 : i64} : tensor<?x4xf32>
      -> tensor<?x4xf32>
  %b = m1.repeat_heads %x {head_size = 2 : i64, repeat = 2 : i64} : tensor<?x4xf32>
      -> tensor<?x8xf32>
  return %a, %b : tensor<?x4xf32>, tensor<?x8xf32>
}
