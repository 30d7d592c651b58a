// RUN: m1-opt %s --m1-fold-doubled-bias --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-fold-doubled-bias biases 2

// CHECK: m1.weight @b_doubled : tensor<8xf32> {sources = ["dt.bias"], transform = #m1<transform double>}
// CHECK-NOT: doubled_0
m1.weight @b : tensor<8xf32> {sources = ["dt.bias"]}
m1.weight @c : tensor<8xf32> {sources = ["other"]}
m1.weight @v : tensor<8xf32> {value = dense<1.0> : tensor<8xf32>}

// The bias that is added twice becomes one doubled weight, read where it is used.
// CHECK-LABEL: func @folds
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>, %[[W:.*]]: tensor<8x4xf32>
func.func @folds(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) -> tensor<?x8xf32> {
  %b = m1.get_weight @b : tensor<8xf32>
  // CHECK: %[[Y:.*]] = m1.linear %[[X]], %[[W]] : (
  // CHECK: %[[B:.*]] = m1.get_weight @b_doubled : tensor<8xf32>
  // CHECK: m1.softplus %[[Y]] bias(%[[B]])
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %z = m1.softplus %y bias(%b) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}

// A second function uses the same new weight, even when it reads the bias twice.
// CHECK-LABEL: func @shares
func.func @shares(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) -> tensor<?x8xf32> {
  %b = m1.get_weight @b : tensor<8xf32>
  %b1 = m1.get_weight @b : tensor<8xf32>
  // CHECK: m1.get_weight @b_doubled : tensor<8xf32>
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %z = m1.softplus %y bias(%b1) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}

// Different biases stay.
// CHECK-LABEL: func @different
func.func @different(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) -> tensor<?x8xf32> {
  // CHECK-NOT: doubled
  // CHECK: m1.linear %{{.*}}, %{{.*}} bias(
  %b = m1.get_weight @b : tensor<8xf32>
  %c = m1.get_weight @c : tensor<8xf32>
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %z = m1.softplus %y bias(%c) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}

// Another reader of the linear needs its bias.
// CHECK-LABEL: func @other_use
func.func @other_use(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-NOT: doubled
  // CHECK: m1.linear %{{.*}}, %{{.*}} bias(
  %b = m1.get_weight @b : tensor<8xf32>
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %z = m1.softplus %y bias(%b) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %y, %z : tensor<?x8xf32>, tensor<?x8xf32>
}

// A constant has no sources to double.
// CHECK-LABEL: func @constant
func.func @constant(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) -> tensor<?x8xf32> {
  // CHECK-NOT: doubled
  // CHECK: m1.linear %{{.*}}, %{{.*}} bias(
  %b = m1.get_weight @v : tensor<8xf32>
  %y = m1.linear %x, %w bias(%b)
      : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %z = m1.softplus %y bias(%b) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}
