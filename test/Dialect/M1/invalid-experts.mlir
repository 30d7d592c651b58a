// Every message of the verifiers of mixtures of experts.
// RUN: m1-opt %s --split-input-file --verify-diagnostics

// router: each weight belongs to an expert.
func.func @f(%l: tensor<?x6xf32>) {
  // expected-error @+1 {{expected experts of shape [rows, k] = [?, 2], got [?, 3]}}
  %w, %e = m1.router %l {scale = 1.0 : f64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x3xi32>)
  return
}

// -----

// router: one correction an expert.
func.func @f(%l: tensor<?x6xf32>, %c: tensor<5xf32>) {
  // expected-error @+1 {{expected correction of shape [experts] = [6], got [5]}}
  %w, %e = m1.router %l correction(%c) {scale = 1.0 : f64}
      : (tensor<?x6xf32>, tensor<5xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  return
}

// -----

// router: scale is a number.
func.func @f(%l: tensor<?x6xf32>) {
  // expected-error @+1 {{expected a finite scale, got INF}}
  %w, %e = m1.router %l {scale = 0x7FF0000000000000 : f64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  return
}

// -----

// router: groups are positive.
func.func @f(%l: tensor<?x6xf32>) {
  // expected-error @+1 {{expected positive groups, got 0}}
  %w, %e = m1.router %l {scale = 1.0 : f64, groups = 0 : i64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  return
}

// -----

// router: kept_groups are positive.
func.func @f(%l: tensor<?x6xf32>) {
  // expected-error @+1 {{expected positive kept_groups, got 0}}
  %w, %e = m1.router %l {scale = 1.0 : f64, kept_groups = 0 : i64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  return
}

// -----

// router: groups are equal.
func.func @f(%l: tensor<?x6xf32>) {
  // expected-error @+1 {{expected 6 experts in equal groups of two or more, got 4 groups}}
  %w, %e = m1.router %l {scale = 1.0 : f64, groups = 4 : i64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  return
}

// -----

// router: a group has two experts.
func.func @f(%l: tensor<?x6xf32>) {
  // expected-error @+1 {{expected 6 experts in equal groups of two or more, got 6 groups}}
  %w, %e = m1.router %l {scale = 1.0 : f64, groups = 6 : i64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  return
}

// -----

// router: no more groups are kept than there are.
func.func @f(%l: tensor<?x6xf32>) {
  // expected-error @+1 {{expected kept_groups of at most 3, got 4}}
  %w, %e = m1.router %l {scale = 1.0 : f64, groups = 3 : i64, kept_groups = 4 : i64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  return
}

// -----

// router: the kept groups have enough experts.
func.func @f(%l: tensor<?x6xf32>) {
  // expected-error @+1 {{expected from 1 to 2 experts a row, got 3}}
  %w, %e = m1.router %l {scale = 1.0 : f64, groups = 3 : i64}
      : (tensor<?x6xf32>) -> (tensor<?x3xf32>, tensor<?x3xi32>)
  return
}

// -----

// expert_linear: there are experts.
func.func @f(%x: tensor<?x8xf32>, %e: tensor<?x2xi32>, %w: tensor<30x8xf32>) {
  // expected-error @+1 {{expected positive count, got 0}}
  %y = m1.expert_linear %x, %e, %w {count = 0 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<30x8xf32>) -> tensor<?x10xf32>
  return
}

// -----

// expert_linear: experts have equally many rows.
func.func @f(%x: tensor<?x8xf32>, %e: tensor<?x2xi32>, %w: tensor<31x8xf32>) {
  // expected-error @+1 {{expected rows of weight that are a multiple of count = 6, got 31}}
  %y = m1.expert_linear %x, %e, %w {count = 6 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<31x8xf32>) -> tensor<?x10xf32>
  return
}

// -----

// expert_linear: x has columns for one expert or for all of a row.
func.func @f(%x: tensor<?x9xf32>, %e: tensor<?x2xi32>, %w: tensor<30x8xf32>) {
  // expected-error @+1 {{expected x of shape [rows, k·K] = [?, 16], got [?, 9]}}
  %y = m1.expert_linear %x, %e, %w {count = 6 : i64}
      : (tensor<?x9xf32>, tensor<?x2xi32>, tensor<30x8xf32>) -> tensor<?x10xf32>
  return
}

// -----

// expert_linear: the result is as wide for each expert.
func.func @f(%x: tensor<?x8xf32>, %e: tensor<?x2xi32>, %w: tensor<30x8xf32>) {
  // expected-error @+1 {{expected result of shape [rows, k·N] = [?, 10], got [?, 11]}}
  %y = m1.expert_linear %x, %e, %w {count = 6 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<30x8xf32>) -> tensor<?x11xf32>
  return
}

// -----

// expert_linear: the rows that are used are the expert's.
func.func @f(%x: tensor<?x8xf32>, %e: tensor<?x2xi32>, %w: tensor<30x8xf32>) {
  // expected-error @+1 {{expected first and N within the 5 rows of an expert, got 1 and 5}}
  %y = m1.expert_linear %x, %e, %w {count = 6 : i64, first = 1 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<30x8xf32>) -> tensor<?x10xf32>
  return
}

// -----

// combine: x has a part for each weight.
func.func @f(%x: tensor<?x9xf32>, %w: tensor<?x2xf32>) {
  // expected-error @+1 {{expected x of shape [rows, k·C] = [?, 8], got [?, 9]}}
  %y = m1.combine %x, %w : (tensor<?x9xf32>, tensor<?x2xf32>) -> tensor<?x4xf32>
  return
}

// -----

// expert_linear: a quantised weight needs the scales of all experts' rows.
func.func @f(%x: tensor<?x8xf32>, %e: tensor<?x2xi32>, %w: tensor<30x8xi8>, %s: tensor<5xf32>) {
  // expected-error @+1 {{expected scale of shape [E·R] = [30], got [5]}}
  %y = m1.expert_linear %x, %e, %w scale(%s) {count = 6 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<30x8xi8>, tensor<5xf32>) -> tensor<?x10xf32>
  return
}

// -----

// expert_linear: rows of int4 are as long as those of x.
func.func @f(%x: tensor<?x8xf32>, %e: tensor<?x2xi32>, %w: tensor<30x128xui8>,
             %s: tensor<30x2xbf16>) {
  // expected-error @+1 {{expected weight and scale of int4 for rows of K columns with x of K or k·K = 8, got 'tensor<30x128xui8>'}}
  %y = m1.expert_linear %x, %e, %w scale(%s) {count = 6 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<30x128xui8>, tensor<30x2xbf16>)
        -> tensor<?x10xf32>
  return
}
