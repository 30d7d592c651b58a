// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches{chains=false}))' --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cpu:x86-64-v3},plan.target(plan-fuse-launches))' | FileCheck %s --check-prefix=CPU

// In both decode functions the convolution goes into the scan; in that of few rows the silu·mul
// goes into the product that it alone reads. Prefill keeps its launches.
// STATISTICS: plan-fuse-launches convolutions 2
// STATISTICS: plan-fuse-launches gates 1
// STATISTICS: plan-fuse-launches kernels-erased {{[1-9]}}

// CHECK: plan.kernel @gated_linear_128{{.*}} source
// CHECK: plan.kernel @conv_selective_scan_64_decode{{.*}} source
// CHECK-LABEL: plan.function @prefill
// CHECK: plan.launch @causal_conv1d_64
// CHECK: plan.launch @selective_scan_64
// CHECK: plan.launch @silu_mul_128
// CHECK-LABEL: plan.function @decode
// CHECK-NOT: causal_conv1d
// CHECK: %[[CONV:.*]] = plan.state @conv_state
// CHECK: %[[SCAN:.*]] = plan.state @scan_state
// CHECK: plan.launch @conv_selective_scan_64_decode({{.*}}rw %[[CONV]], rw %[[SCAN]], {{.*}}wo %{{.*}}) over sequences
// CHECK: plan.gemm
// CHECK: plan.launch @silu_mul_128
// CHECK-LABEL: plan.function @decode_8
// CHECK: plan.launch @conv_selective_scan_64_decode
// CHECK: plan.launch @gated_linear_128
// CHECK-NOT: silu_mul

// Other devices keep their plans.
// CPU: plan.launch @causal_conv1d_64
// CPU-NOT: conv_selective_scan

m1.weight @embed : tensor<96x64xbf16> {sources = ["e"]}
m1.weight @conv : tensor<64x4xf32> {sources = ["c"]}
m1.weight @A : tensor<64x16xf32> {sources = ["a"]}
m1.weight @up : tensor<256x64xbf16> {sources = ["u"]}
m1.weight @down : tensor<64x128xbf16> {sources = ["d"]}
m1.state @conv_state : !m1.conv_state<3x64xbf16>
m1.state @scan_state : !m1.scan_state<64x16xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %c = m1.get_weight @conv : tensor<64x4xf32>
  %a = m1.get_weight @A : tensor<64x16xf32>
  %u = m1.get_weight @up : tensor<256x64xbf16>
  %d = m1.get_weight @down : tensor<64x128xbf16>
  %cs = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %ss = m1.get_state @scan_state : !m1.scan_state<64x16xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %b = m1.silu %h : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %x = m1.causal_conv1d %b, %c, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %y = m1.selective_scan %x, %b, %a, %b, %b, %batch, %ss
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64x16xf32>, tensor<?x64xbf16>,
         tensor<?x64xbf16>, !m1.batch, !m1.scan_state<64x16xf32>) -> tensor<?x64xbf16>
  %g = m1.linear %y, %u : (tensor<?x64xbf16>, tensor<256x64xbf16>) -> tensor<?x256xbf16>
  %g0, %g1 = m1.split %g : tensor<?x256xbf16> -> tensor<?x128xbf16>, tensor<?x128xbf16>
  %s = m1.silu_mul %g0, %g1 : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
  %o = m1.linear %s, %d : (tensor<?x128xbf16>, tensor<64x128xbf16>) -> tensor<?x64xbf16>
  %r = m1.gather_rows %o, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %r, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %c = m1.get_weight @conv : tensor<64x4xf32>
  %a = m1.get_weight @A : tensor<64x16xf32>
  %u = m1.get_weight @up : tensor<256x64xbf16>
  %d = m1.get_weight @down : tensor<64x128xbf16>
  %cs = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %ss = m1.get_state @scan_state : !m1.scan_state<64x16xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %b = m1.silu %h : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %x = m1.causal_conv1d %b, %c, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %y = m1.selective_scan %x, %b, %a, %b, %b, %batch, %ss
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64x16xf32>, tensor<?x64xbf16>,
         tensor<?x64xbf16>, !m1.batch, !m1.scan_state<64x16xf32>) -> tensor<?x64xbf16>
  %g = m1.linear %y, %u : (tensor<?x64xbf16>, tensor<256x64xbf16>) -> tensor<?x256xbf16>
  %g0, %g1 = m1.split %g : tensor<?x256xbf16> -> tensor<?x128xbf16>, tensor<?x128xbf16>
  %s = m1.silu_mul %g0, %g1 : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
  %o = m1.linear %s, %d : (tensor<?x128xbf16>, tensor<64x128xbf16>) -> tensor<?x64xbf16>
  %r = m1.gather_rows %o, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %r, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
