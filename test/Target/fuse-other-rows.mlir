// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_90 -o %t.mlir
// RUN: m1-opt %t.mlir --pass-pipeline='builtin.module(plan.target(plan-fuse-launches))' | FileCheck %s --check-prefix=FUSED
// RUN: sed -e '/plan.kernel @linear_100_decode/s/rows = 1 : i64/rows = 3 : i64/' %t.mlir > %t.other.mlir
// RUN: m1-opt %t.other.mlir --pass-pipeline='builtin.module(plan.target(plan-fuse-launches))' --remarks-filter-missed='plan-.*' --remark-format=emitRemark -o %t.apart.mlir 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: FileCheck %s --check-prefix=APART --input-file=%t.apart.mlir

// A scan leaves its norm's sums of squares to the products that apply its scale, unless the plan's
// text says of one that it is a kernel for rows of logits.
// FUSED-LABEL: plan.function @decode_8
// FUSED: plan.launch @ssd_scan_norm_64
// REMARK: @gated_rms_norm_64_decode: a product that reads it has a norm, or other rows
// APART-LABEL: plan.function @decode_8
// APART-NOT: @ssd_scan_norm_64
// APART: plan.launch @gated_rms_norm_64

m1.weight @embed : tensor<96x64xbf16> {sources = ["embed"]}
m1.weight @wide : tensor<100x64xbf16> {sources = ["wide"]}
m1.weight @heads : tensor<4xf32> {sources = ["heads"]}
m1.weight @norm : tensor<64xf32> {sources = ["norm"]}
m1.state @ss : !m1.scan_state<4x16x16xf32>
m1.state @ss2 : !m1.scan_state<4x16x16xf32>
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %wide = m1.get_weight @wide : tensor<100x64xbf16>
  %heads = m1.get_weight @heads : tensor<4xf32>
  %norm = m1.get_weight @norm : tensor<64xf32>
  %ss = m1.get_state @ss : !m1.scan_state<4x16x16xf32>
  %ss2 = m1.get_state @ss2 : !m1.scan_state<4x16x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %i = m1.linear %h, %wide : (tensor<?x64xbf16>, tensor<100x64xbf16>) -> tensor<?x100xbf16>
  %x, %b, %k, %dt = m1.split %i : tensor<?x100xbf16> -> tensor<?x64xbf16>, tensor<?x16xbf16>,
      tensor<?x16xbf16>, tensor<?x4xbf16>
  %y = m1.ssd_scan %x, %dt, %heads, %b, %k, %batch, %ss {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch,
         !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  %g = m1.gated_rms_norm %y, %h, %norm {eps = 1.0e-5 : f64, groups = 1 : i64}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  %j = m1.linear %g, %wide : (tensor<?x64xbf16>, tensor<100x64xbf16>) -> tensor<?x100xbf16>
  %x2, %b2, %k2, %dt2 = m1.split %j : tensor<?x100xbf16> -> tensor<?x64xbf16>,
      tensor<?x16xbf16>, tensor<?x16xbf16>, tensor<?x4xbf16>
  %y2 = m1.ssd_scan %x2, %dt2, %heads, %b2, %k2, %batch, %ss2 {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch,
         !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  %g2 = m1.gated_rms_norm %y2, %h, %norm {eps = 1.0e-5 : f64, groups = 4 : i64}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  %t = m1.gather_rows %g2, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %s = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x96xf32>, tensor<?xi32>
}
