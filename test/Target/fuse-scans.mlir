// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches{chains=false}))' --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics

// In decode steps of few rows scans take in what stands around them; in the others the selective
// scan takes in its convolution alone.
// STATISTICS-DAG: plan-fuse-launches convolutions 2
// STATISTICS-DAG: plan-fuse-launches projections 1
// STATISTICS-DAG: plan-fuse-launches scan-gates 1
// STATISTICS-DAG: plan-fuse-launches scan-norms 4

// CHECK-LABEL: plan.function @decode
// CHECK-NOT: clear_counters
// CHECK: plan.launch @rms_norm_16
// CHECK: plan.launch @causal_conv1d_96
// CHECK: plan.launch @ssd_scan_64
// CHECK: plan.launch @gated_rms_norm_64
// CHECK: plan.launch @gated_delta_64

// Norms of dt's row, of B and of C, and dt's projection; a norm of all channels leaves sums of
// squares to the product behind it; heads of q and k that two value heads share have counters, as
// B and C have that the channels of more than a block do.
// CHECK-LABEL: plan.function @decode_8
// CHECK: %[[COUNTERS:.*]] = plan.temporary tokens 12
// CHECK-NEXT: plan.launch @clear_counters_3(wo %[[COUNTERS]]) over sequences
// CHECK-NOT: rms_norm_{{8|16}}
// CHECK: plan.launch @dt_selective_scan_64_decode(
// CHECK: %[[SQUARES:.*]] = plan.temporary tokens 16
// CHECK: plan.launch @conv_ssd_scan_norm_64_decode({{.*}}wo %[[SQUARES]], rw %[[COUNTERS]])
// CHECK: plan.launch @scaled_linear_64({{.*}}ro %[[SQUARES]], wo
// CHECK: %[[DELTA:.*]] = plan.view %[[COUNTERS]] + 4
// CHECK: plan.launch @conv_gated_delta_norm_64_decode({{.*}}rw %[[DELTA]])
// CHECK-NOT: {{causal_conv1d|gated_rms_norm|@ssd_scan|@gated_delta}}

m1.weight @embed : tensor<96x64xbf16> {sources = ["e"]}
m1.weight @w : tensor<64x64xbf16> {sources = ["w"]}
m1.weight @x_proj : tensor<40x64xbf16> {sources = ["x"]}
m1.weight @dt_proj : tensor<64x8xbf16> {sources = ["d"]}
m1.weight @A : tensor<64x16xf32> {sources = ["a"]}
m1.weight @norm8 : tensor<8xf32> {sources = ["n8"]}
m1.weight @norm16 : tensor<16xf32> {sources = ["n16"]}
m1.weight @norm64 : tensor<64xf32> {sources = ["n64"]}
m1.weight @wide : tensor<164x64xbf16> {sources = ["i"]}
m1.weight @conv : tensor<96x4xf32> {sources = ["c"]}
m1.weight @heads : tensor<4xf32> {sources = ["h"]}
m1.weight @deltas : tensor<200x64xbf16> {sources = ["q"]}
m1.weight @conv2 : tensor<128x4xf32> {sources = ["c2"]}
m1.state @scan_state : !m1.scan_state<64x16xf32>
m1.state @conv_state : !m1.conv_state<3x96xbf16>
m1.state @ssd_state : !m1.scan_state<4x16x16xf32>
m1.state @conv_state2 : !m1.conv_state<3x128xbf16>
m1.state @delta_state : !m1.scan_state<4x16x16xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %w = m1.get_weight @w : tensor<64x64xbf16>
  %x_proj = m1.get_weight @x_proj : tensor<40x64xbf16>
  %dt_proj = m1.get_weight @dt_proj : tensor<64x8xbf16>
  %A = m1.get_weight @A : tensor<64x16xf32>
  %norm8 = m1.get_weight @norm8 : tensor<8xf32>
  %norm16 = m1.get_weight @norm16 : tensor<16xf32>
  %norm64 = m1.get_weight @norm64 : tensor<64xf32>
  %wide = m1.get_weight @wide : tensor<164x64xbf16>
  %conv = m1.get_weight @conv : tensor<96x4xf32>
  %heads = m1.get_weight @heads : tensor<4xf32>
  %deltas = m1.get_weight @deltas : tensor<200x64xbf16>
  %conv2 = m1.get_weight @conv2 : tensor<128x4xf32>
  %scan_state = m1.get_state @scan_state : !m1.scan_state<64x16xf32>
  %conv_state = m1.get_state @conv_state : !m1.conv_state<3x96xbf16>
  %ssd_state = m1.get_state @ssd_state : !m1.scan_state<4x16x16xf32>
  %conv_state2 = m1.get_state @conv_state2 : !m1.conv_state<3x128xbf16>
  %delta_state = m1.get_state @delta_state : !m1.scan_state<4x16x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %p = m1.linear %h, %x_proj : (tensor<?x64xbf16>, tensor<40x64xbf16>) -> tensor<?x40xbf16>
  %r, %b, %c = m1.split %p : tensor<?x40xbf16>
      -> tensor<?x8xbf16>, tensor<?x16xbf16>, tensor<?x16xbf16>
  %rn = m1.rms_norm %r, %norm8 {eps = 1.0e-5 : f64}
      : (tensor<?x8xbf16>, tensor<8xf32>) -> tensor<?x8xbf16>
  %bn = m1.rms_norm %b, %norm16 {eps = 1.0e-5 : f64}
      : (tensor<?x16xbf16>, tensor<16xf32>) -> tensor<?x16xbf16>
  %cn = m1.rms_norm %c, %norm16 {eps = 1.0e-5 : f64}
      : (tensor<?x16xbf16>, tensor<16xf32>) -> tensor<?x16xbf16>
  %dt = m1.linear %rn, %dt_proj : (tensor<?x8xbf16>, tensor<64x8xbf16>) -> tensor<?x64xbf16>
  %y = m1.selective_scan %h, %dt, %A, %bn, %cn, %batch, %scan_state {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64x16xf32>, tensor<?x16xbf16>,
         tensor<?x16xbf16>, !m1.batch, !m1.scan_state<64x16xf32>) -> tensor<?x64xbf16>

  %i = m1.linear %y, %wide : (tensor<?x64xbf16>, tensor<164x64xbf16>) -> tensor<?x164xbf16>
  %z, %xbc, %dt2 = m1.split %i : tensor<?x164xbf16>
      -> tensor<?x64xbf16>, tensor<?x96xbf16>, tensor<?x4xbf16>
  %v = m1.causal_conv1d %xbc, %conv, %batch, %conv_state {activation = #m1<activation silu>}
      : (tensor<?x96xbf16>, tensor<96x4xf32>, !m1.batch, !m1.conv_state<3x96xbf16>)
      -> tensor<?x96xbf16>
  %x2, %b2, %c2 = m1.split %v : tensor<?x96xbf16>
      -> tensor<?x64xbf16>, tensor<?x16xbf16>, tensor<?x16xbf16>
  %s = m1.ssd_scan %x2, %dt2, %heads, %b2, %c2, %batch, %ssd_state {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch, !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  %g = m1.gated_rms_norm %s, %z, %norm64 {eps = 1.0e-5 : f64, groups = 1 : i64}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  %o = m1.linear %g, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>

  %qkv = m1.linear %o, %deltas : (tensor<?x64xbf16>, tensor<200x64xbf16>) -> tensor<?x200xbf16>
  %m, %z3, %a3, %b3 = m1.split %qkv : tensor<?x200xbf16>
      -> tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<?x4xbf16>
  %m1 = m1.causal_conv1d %m, %conv2, %batch, %conv_state2 {activation = #m1<activation silu>}
      : (tensor<?x128xbf16>, tensor<128x4xf32>, !m1.batch, !m1.conv_state<3x128xbf16>)
      -> tensor<?x128xbf16>
  %q3, %k3, %v3 = m1.split %m1 : tensor<?x128xbf16>
      -> tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x64xbf16>
  %d = m1.gated_delta %q3, %k3, %v3, %a3, %b3, %heads, %batch, %delta_state
      {eps = 1.0e-6 : f64, scale = 0.25 : f64}
      : (tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x64xbf16>, tensor<?x4xbf16>,
         tensor<?x4xbf16>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x16x16xf32>)
      -> tensor<?x64xbf16>
  %f = m1.gated_rms_norm %d, %z3, %norm16 {eps = 1.0e-6 : f64, groups = 4 : i64, norm_first}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<16xf32>) -> tensor<?x64xbf16>
  %t = m1.gather_rows %f, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %w = m1.get_weight @w : tensor<64x64xbf16>
  %x_proj = m1.get_weight @x_proj : tensor<40x64xbf16>
  %dt_proj = m1.get_weight @dt_proj : tensor<64x8xbf16>
  %A = m1.get_weight @A : tensor<64x16xf32>
  %norm8 = m1.get_weight @norm8 : tensor<8xf32>
  %norm16 = m1.get_weight @norm16 : tensor<16xf32>
  %norm64 = m1.get_weight @norm64 : tensor<64xf32>
  %wide = m1.get_weight @wide : tensor<164x64xbf16>
  %conv = m1.get_weight @conv : tensor<96x4xf32>
  %heads = m1.get_weight @heads : tensor<4xf32>
  %deltas = m1.get_weight @deltas : tensor<200x64xbf16>
  %conv2 = m1.get_weight @conv2 : tensor<128x4xf32>
  %scan_state = m1.get_state @scan_state : !m1.scan_state<64x16xf32>
  %conv_state = m1.get_state @conv_state : !m1.conv_state<3x96xbf16>
  %ssd_state = m1.get_state @ssd_state : !m1.scan_state<4x16x16xf32>
  %conv_state2 = m1.get_state @conv_state2 : !m1.conv_state<3x128xbf16>
  %delta_state = m1.get_state @delta_state : !m1.scan_state<4x16x16xf32>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %p = m1.linear %h, %x_proj : (tensor<?x64xbf16>, tensor<40x64xbf16>) -> tensor<?x40xbf16>
  %r, %b, %c = m1.split %p : tensor<?x40xbf16>
      -> tensor<?x8xbf16>, tensor<?x16xbf16>, tensor<?x16xbf16>
  %rn = m1.rms_norm %r, %norm8 {eps = 1.0e-5 : f64}
      : (tensor<?x8xbf16>, tensor<8xf32>) -> tensor<?x8xbf16>
  %bn = m1.rms_norm %b, %norm16 {eps = 1.0e-5 : f64}
      : (tensor<?x16xbf16>, tensor<16xf32>) -> tensor<?x16xbf16>
  %cn = m1.rms_norm %c, %norm16 {eps = 1.0e-5 : f64}
      : (tensor<?x16xbf16>, tensor<16xf32>) -> tensor<?x16xbf16>
  %dt = m1.linear %rn, %dt_proj : (tensor<?x8xbf16>, tensor<64x8xbf16>) -> tensor<?x64xbf16>
  %y = m1.selective_scan %h, %dt, %A, %bn, %cn, %batch, %scan_state {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64x16xf32>, tensor<?x16xbf16>,
         tensor<?x16xbf16>, !m1.batch, !m1.scan_state<64x16xf32>) -> tensor<?x64xbf16>

  %i = m1.linear %y, %wide : (tensor<?x64xbf16>, tensor<164x64xbf16>) -> tensor<?x164xbf16>
  %z, %xbc, %dt2 = m1.split %i : tensor<?x164xbf16>
      -> tensor<?x64xbf16>, tensor<?x96xbf16>, tensor<?x4xbf16>
  %v = m1.causal_conv1d %xbc, %conv, %batch, %conv_state {activation = #m1<activation silu>}
      : (tensor<?x96xbf16>, tensor<96x4xf32>, !m1.batch, !m1.conv_state<3x96xbf16>)
      -> tensor<?x96xbf16>
  %x2, %b2, %c2 = m1.split %v : tensor<?x96xbf16>
      -> tensor<?x64xbf16>, tensor<?x16xbf16>, tensor<?x16xbf16>
  %s = m1.ssd_scan %x2, %dt2, %heads, %b2, %c2, %batch, %ssd_state {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<4xf32>, tensor<?x16xbf16>, tensor<?x16xbf16>,
         !m1.batch, !m1.scan_state<4x16x16xf32>) -> tensor<?x64xbf16>
  %g = m1.gated_rms_norm %s, %z, %norm64 {eps = 1.0e-5 : f64, groups = 1 : i64}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  %o = m1.linear %g, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>

  %qkv = m1.linear %o, %deltas : (tensor<?x64xbf16>, tensor<200x64xbf16>) -> tensor<?x200xbf16>
  %m, %z3, %a3, %b3 = m1.split %qkv : tensor<?x200xbf16>
      -> tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x4xbf16>, tensor<?x4xbf16>
  %m1 = m1.causal_conv1d %m, %conv2, %batch, %conv_state2 {activation = #m1<activation silu>}
      : (tensor<?x128xbf16>, tensor<128x4xf32>, !m1.batch, !m1.conv_state<3x128xbf16>)
      -> tensor<?x128xbf16>
  %q3, %k3, %v3 = m1.split %m1 : tensor<?x128xbf16>
      -> tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x64xbf16>
  %d = m1.gated_delta %q3, %k3, %v3, %a3, %b3, %heads, %batch, %delta_state
      {eps = 1.0e-6 : f64, scale = 0.25 : f64}
      : (tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x64xbf16>, tensor<?x4xbf16>,
         tensor<?x4xbf16>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x16x16xf32>)
      -> tensor<?x64xbf16>
  %f = m1.gated_rms_norm %d, %z3, %norm16 {eps = 1.0e-6 : f64, groups = 4 : i64, norm_first}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<16xf32>) -> tensor<?x64xbf16>
  %t = m1.gather_rows %f, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
