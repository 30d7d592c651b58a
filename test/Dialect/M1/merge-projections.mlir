// RUN: m1-opt %s --m1-merge-projections --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-merge-projections merged 8

// CHECK: m1.weight @l.0.q_k_v : tensor<8x4xf32> {sources = ["q", "k0", "k1", "v"]}
// CHECK: m1.weight @l.0.q_bias_k_bias : tensor<6xf32> {sources = ["qb", "kb"]}
m1.weight @l.0.q : tensor<4x4xf32> {sources = ["q"]}
m1.weight @l.0.k : tensor<2x4xf32> {sources = ["k0", "k1"]}
m1.weight @l.0.v : tensor<2x4xf32> {sources = ["v"]}
m1.weight @l.0.n : tensor<2x4xbf16> {sources = ["n"]}
m1.weight @l.0.t : tensor<2x4xf32> {sources = ["t"], transform = #m1<transform double>}
m1.weight @l.0.q_bias : tensor<4xf32> {sources = ["qb"]}
m1.weight @l.0.k_bias : tensor<2xf32> {sources = ["kb"]}
m1.weight @tied : tensor<8x4xf32> {sources = ["e"]}
m1.weight @head : tensor<8x4xf32> {sources = ["h"]}

// All linears of x become one; every piece keeps its place, and a split weight joins with its own
// sources in order.
// CHECK-LABEL: func @merges
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>
func.func @merges(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>) {
  %wq = m1.get_weight @l.0.q : tensor<4x4xf32>
  %wk = m1.get_weight @l.0.k : tensor<2x4xf32>
  // CHECK: %[[W:.*]] = m1.get_weight @l.0.q_k_v : tensor<8x4xf32>
  // CHECK-NEXT: %[[Y:.*]] = m1.linear %[[X]], %[[W]] : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  // CHECK-NEXT: %[[P:.*]]:3 = m1.split %[[Y]] : tensor<?x8xf32> -> tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>
  %q = m1.linear %x, %wq : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %k = m1.linear %x, %wk : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  %wv = m1.get_weight @l.0.v : tensor<2x4xf32>
  %v = m1.linear %x, %wv : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  // CHECK: return %[[P]]#0, %[[P]]#1, %[[P]]#2
  return %q, %k, %v : tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>
}

// Biases join too; the function reuses the weight that the first made, but here v is left out, so
// it is another one.
// CHECK-LABEL: func @biases
func.func @biases(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>) {
  %wq = m1.get_weight @l.0.q : tensor<4x4xf32>
  %wk = m1.get_weight @l.0.k : tensor<2x4xf32>
  %bq = m1.get_weight @l.0.q_bias : tensor<4xf32>
  %bk = m1.get_weight @l.0.k_bias : tensor<2xf32>
  // CHECK: m1.get_weight @l.0.q_k : tensor<6x4xf32>
  // CHECK: m1.get_weight @l.0.q_bias_k_bias : tensor<6xf32>
  // CHECK: m1.linear %{{.*}}, %{{.*}} bias(%{{.*}}) : {{.*}} -> tensor<?x6xf32>
  %q = m1.linear %x, %wq bias(%bq)
      : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %k = m1.linear %x, %wk bias(%bk)
      : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  return %q, %k : tensor<?x4xf32>, tensor<?x2xf32>
}

// Not merged: one with a bias and one without, other weight or result types, a transform, a weight
// that is no symbol, another x.
// CHECK-LABEL: func @refuses
func.func @refuses(%x: tensor<?x4xf32>, %x1: tensor<?x4xf32>, %w: tensor<2x4xf32>)
    -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xbf16>, tensor<?x2xf32>,
        tensor<?x2xf32>, tensor<?x2xf32>) {
  %wq = m1.get_weight @l.0.q : tensor<4x4xf32>
  %bq = m1.get_weight @l.0.q_bias : tensor<4xf32>
  %wk = m1.get_weight @l.0.k : tensor<2x4xf32>
  %wv = m1.get_weight @l.0.v : tensor<2x4xf32>
  %wn = m1.get_weight @l.0.n : tensor<2x4xbf16>
  %wt = m1.get_weight @l.0.t : tensor<2x4xf32>
  // CHECK-COUNT-7: m1.linear
  // CHECK-NOT: m1.split
  %0 = m1.linear %x, %wq bias(%bq)
      : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %1 = m1.linear %x, %wk : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  %2 = m1.linear %x, %wn : (tensor<?x4xf32>, tensor<2x4xbf16>) -> tensor<?x2xf32>
  %3 = m1.linear %x, %wv : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xbf16>
  %4 = m1.linear %x, %wt : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  %5 = m1.linear %x, %w : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  %6 = m1.linear %x1, %wk : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  return %0, %1, %2, %3, %4, %5, %6
      : tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xbf16>, tensor<?x2xf32>,
      tensor<?x2xf32>, tensor<?x2xf32>
}

// Integers of the checkpoint that lie in other forms are not joined: they could not stay so.
// CHECK-LABEL: func @forms
func.func @forms(%x: tensor<?x256xf32>)
    -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x3xf32>, tensor<?x3xf32>) {
  // CHECK-DAG: m1.get_weight @form.q_k : tensor<6x256xf32>
  // CHECK-DAG: m1.get_weight @form.v : tensor<2x256xf32>
  // CHECK-DAG: m1.get_weight @form.a_b : tensor<6x256xf32>
  %wq = m1.get_weight @form.q : tensor<4x256xf32>
  %wk = m1.get_weight @form.k : tensor<2x256xf32>
  %wv = m1.get_weight @form.v : tensor<2x256xf32>
  %wa = m1.get_weight @form.a : tensor<3x256xf32>
  %wb = m1.get_weight @form.b : tensor<3x256xf32>
  %q = m1.linear %x, %wq : (tensor<?x256xf32>, tensor<4x256xf32>) -> tensor<?x4xf32>
  %k = m1.linear %x, %wk : (tensor<?x256xf32>, tensor<2x256xf32>) -> tensor<?x2xf32>
  %v = m1.linear %x, %wv : (tensor<?x256xf32>, tensor<2x256xf32>) -> tensor<?x2xf32>
  %a = m1.linear %x, %wa : (tensor<?x256xf32>, tensor<3x256xf32>) -> tensor<?x3xf32>
  %b = m1.linear %x, %wb : (tensor<?x256xf32>, tensor<3x256xf32>) -> tensor<?x3xf32>
  return %q, %k, %v, %a, %b
      : tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x3xf32>, tensor<?x3xf32>
}
m1.weight @form.q : tensor<4x256xf32>
    {sources = ["fq"], m1.stored_codes = #m1<transform int4_groups_32>,
     m1.stored_scales = vector<12xi8>}
m1.weight @form.k : tensor<2x256xf32>
    {sources = ["fk"], m1.stored_codes = #m1<transform int4_groups_32>,
     m1.stored_scales = vector<12xi8>}
m1.weight @form.v : tensor<2x256xf32>
    {sources = ["fv"], m1.stored_codes = #m1<transform int8_groups_16>,
     m1.stored_scales = vector<10xi8>}
m1.weight @form.a : tensor<3x256xf32> {sources = ["fa"]}
m1.weight @form.b : tensor<3x256xf32> {sources = ["fb"]}

// A table that an embedding reads as well would be stored twice.
// CHECK-LABEL: func @tied_table
func.func @tied_table(%tokens: tensor<?xi32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-NOT: m1.split
  // CHECK: return
  %t = m1.get_weight @tied : tensor<8x4xf32>
  %w = m1.get_weight @head : tensor<8x4xf32>
  %x = m1.embedding %tokens, %t : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %a = m1.linear %x, %t : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  %b = m1.linear %x, %w : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return %a, %b : tensor<?x8xf32>, tensor<?x8xf32>
}

// A second function shares the merged weight.
// CHECK-LABEL: func @again
func.func @again(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>) {
  // CHECK: m1.get_weight @l.0.q_k : tensor<6x4xf32>
  %wq = m1.get_weight @l.0.q : tensor<4x4xf32>
  %wk = m1.get_weight @l.0.k : tensor<2x4xf32>
  %q = m1.linear %x, %wq : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %k = m1.linear %x, %wk : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  return %q, %k : tensor<?x4xf32>, tensor<?x2xf32>
}

// What two layers share stays one weight: q and k of both are merged, while what only one of them
// has beside them is not.
// CHECK-LABEL: func @shared
func.func @shared(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>)
    -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x4xf32>, tensor<?x2xf32>) {
  %wq = m1.get_weight @l.0.q : tensor<4x4xf32>
  %wk = m1.get_weight @l.0.k : tensor<2x4xf32>
  %wv = m1.get_weight @l.0.v : tensor<2x4xf32>
  // CHECK: %[[W:.*]] = m1.get_weight @l.0.q_k : tensor<6x4xf32>
  // CHECK-NEXT: m1.linear %{{.*}}, %[[W]] : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<?x6xf32>
  %q0 = m1.linear %x, %wq : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %k0 = m1.linear %x, %wk : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  // CHECK: m1.linear %{{.*}} : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  %v0 = m1.linear %x, %wv : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  // CHECK: %[[V:.*]] = m1.get_weight @l.0.q_k : tensor<6x4xf32>
  // CHECK-NEXT: m1.linear %{{.*}}, %[[V]] : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<?x6xf32>
  %q1 = m1.linear %y, %wq : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %k1 = m1.linear %y, %wk : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  return %q0, %k0, %v0, %q1, %k1
      : tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x4xf32>, tensor<?x2xf32>
}
