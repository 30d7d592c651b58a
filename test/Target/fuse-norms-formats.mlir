// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches))' | FileCheck %s

// A product of bf16 leaves sums of squares, and then the largest values of its rows, too, for one
// of e4m3: both go on to mean as many sums.
// CHECK: plan.kernel @scaled_linear_3072
// CHECK-SAME: static constexpr int kSquares = [[SUMS:[0-9]+]];
// CHECK: plan.kernel @residual_linear_norm_3072
// CHECK-SAME: leaving the largest
// CHECK-SAME: static constexpr int kSquaresOut = [[SUMS]];
m1.weight @embed : tensor<96x3072xbf16> {sources = ["embed"]}
m1.weight @w : tensor<3072x3072xbf16> {sources = ["w"]}
m1.weight @codes : tensor<3072x3072xf8E4M3FN> {sources = ["codes"],
                                               transform = #m1<transform fp8_rows>}
m1.weight @scale : tensor<3072xf32> {scales_of = @codes}
m1.weight @norm : tensor<3072xf32> {sources = ["norm"]}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x3072xbf16>
  %w = m1.get_weight @w : tensor<3072x3072xbf16>
  %codes = m1.get_weight @codes : tensor<3072x3072xf8E4M3FN>
  %scale = m1.get_weight @scale : tensor<3072xf32>
  %norm = m1.get_weight @norm : tensor<3072xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x3072xbf16>) -> tensor<?x3072xf32>
  %h = m1.silu %e : (tensor<?x3072xf32>) -> tensor<?x3072xbf16>
  %p = m1.linear %h, %w : (tensor<?x3072xbf16>, tensor<3072x3072xbf16>) -> tensor<?x3072xbf16>
  %h1, %n = m1.add_rms_norm %e, %p, %norm {eps = 1.0e-5 : f64}
      : (tensor<?x3072xf32>, tensor<?x3072xbf16>, tensor<3072xf32>) -> (tensor<?x3072xf32>,
         tensor<?x3072xbf16>)
  %z = m1.linear %n, %codes scale(%scale)
      : (tensor<?x3072xbf16>, tensor<3072x3072xf8E4M3FN>, tensor<3072xf32>) -> tensor<?x3072xbf16>
  %t = m1.gather_rows %z, %batch : (tensor<?x3072xbf16>, !m1.batch) -> tensor<?x3072xbf16>
  %l = m1.linear %t, %embed : (tensor<?x3072xbf16>, tensor<96x3072xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}
