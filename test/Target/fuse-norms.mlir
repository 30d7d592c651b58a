// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches{chains=false}))' --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},m1-plan)' | m1-opt --verify-each | FileCheck %s --check-prefix=PLACED
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan.function(plan-place-buffers)))' -o %t.placed.mlir
// RUN: m1-opt %t.placed.mlir --m1-plan | diff - %t.placed.mlir
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches))' --m1-statistics 2>%t.statistics | FileCheck %s --check-prefix=CHAINCHECK
// RUN: FileCheck %s --check-prefix=CHAINED --input-file=%t.statistics
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_80},plan.target(plan-fuse-launches))' | FileCheck %s --check-prefix=APART
// RUN: m1-compile %s --weights dummy:1 --target cuda:sm_90 --remarks -o %t.m1a 2>&1 | FileCheck %s --check-prefix=REMARKS

// Where few rows stream their weights, a residual and the norm of its sum go into the products on
// both sides. The norm that a convolution reads too stays, and so do all in functions of many rows.
// STATISTICS: plan-fuse-launches gates 1
// STATISTICS: plan-fuse-launches gathers 3
// STATISTICS: plan-fuse-launches norms 1
// STATISTICS: plan-fuse-launches residuals 1

// CHECK-LABEL: plan.function @decode
// CHECK-COUNT-2: plan.launch @add_rms_norm_64
// CHECK-LABEL: plan.function @decode_8
// CHECK: plan.launch @rms_norm_64({{.*}}, wo %[[N0:[0-9]+]])
// CHECK: %[[SUM:[0-9]+]] = plan.temporary tokens 256
// CHECK: %[[NORMED:[0-9]+]] = plan.temporary tokens 128
// CHECK: %[[SQUARES:[0-9]+]] = plan.temporary tokens 32
// CHECK-NEXT: plan.launch @residual_linear_norm_64(ro %[[N0]], ro %{{[0-9]+}}, ro %[[H:[0-9]+]], ro %{{[0-9]+}}, wo %[[SUM]], wo %[[NORMED]], wo %[[SQUARES]]) over tokens grid 8 by 8
// CHECK: plan.launch @scaled_gated_linear_128(ro %[[NORMED]], ro %{{[0-9]+}}, ro %[[SQUARES]], wo %[[GATED:[0-9]+]])
// CHECK: plan.launch @linear_64{{[a-z0-9_]*}}(ro %[[GATED]], {{.*}}, wo %[[DOWN:[0-9]+]])
// CHECK: plan.launch @add_rms_norm_64(ro %[[SUM]], ro %[[DOWN]], {{.*}}, wo %[[SUM1:[0-9]+]], wo %{{[0-9]+}})
// CHECK: plan.launch @causal_conv1d_64
// CHECK: plan.launch @residual_linear_64(ro %{{[0-9]+}}, ro %{{[0-9]+}}, ro %[[SUM1]], wo %[[LAST:[0-9]+]]) over tokens
// CHECK-NOT: plan.launch @{{add_64|gather_rows}}
// CHECK: plan.launch @gathered_rms_norm_64(ro %[[LAST]], ro %{{[0-9]+}}, ro %{{[0-9]+}}, wo %{{[0-9]+}}) over logit_rows

// PLACED: plan.launch @linear_chain_3

// On sm_90 products that follow one another are one launch: what one writes and another reads is
// one operand of it.
// CHAINED: plan-fuse-launches chains 1
// CHAINCHECK: plan.kernel @linear_chain_3 {block_size = 288 : i32, cooperative,
// CHAINCHECK-LABEL: plan.function @decode_8
// CHAINCHECK: plan.launch @clear_counters_1(wo %[[ARRIVED:[0-9]+]]) over sequences
// CHAINCHECK: plan.launch @rms_norm_64({{.*}}, wo %[[N0:[0-9]+]])
// CHAINCHECK-NOT: plan.launch
// CHAINCHECK: plan.launch @linear_chain_3(ro %[[N0]], ro %{{[0-9]+}}, ro %{{[0-9]+}}, ro %{{[0-9]+}}, wo %[[SUM:[0-9]+]], wo %{{[0-9]+}}, wo %{{[0-9]+}}, ro %{{[0-9]+}}, wo %{{[0-9]+}}, ro %{{[0-9]+}}, wo %[[DOWN:[0-9]+]], rw %[[ARRIVED]]) over tokens grid 132 by 8
// CHAINCHECK: plan.launch @add_rms_norm_64(ro %[[SUM]], ro %[[DOWN]],
// CHAINCHECK: plan.launch @residual_linear_64
// APART-NOT: linear_chain
// APART: plan.launch @residual_linear_norm_64

// REMARKS: not only streamed products read the norm

m1.model @model {architecture = "test", vocab_size = 96 : i64, hidden_size = 64 : i64,
    layers = 2 : i64, max_positions = 64 : i64, activation_type = bf16, state_type = f32,
    kv_type = bf16}
m1.weight @embed : tensor<96x64xbf16> {sources = ["e"]}
m1.weight @norm : tensor<64xf32> {sources = ["n"]}
m1.weight @out : tensor<64x64xbf16> {sources = ["o"]}
m1.weight @up : tensor<256x64xbf16> {sources = ["u"]}
m1.weight @down : tensor<64x128xbf16> {sources = ["d"]}
m1.weight @conv : tensor<64x4xf32> {sources = ["c"]}
m1.state @conv_state : !m1.conv_state<3x64xbf16>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %v = m1.get_weight @norm : tensor<64xf32>
  %wo = m1.get_weight @out : tensor<64x64xbf16>
  %u = m1.get_weight @up : tensor<256x64xbf16>
  %d = m1.get_weight @down : tensor<64x128xbf16>
  %c = m1.get_weight @conv : tensor<64x4xf32>
  %cs = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %n0 = m1.rms_norm %h, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %y0 = m1.linear %n0, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h1, %n1 = m1.add_rms_norm %h, %y0, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>)
      -> (tensor<?x64xf32>, tensor<?x64xbf16>)
  %g = m1.linear %n1, %u : (tensor<?x64xbf16>, tensor<256x64xbf16>) -> tensor<?x256xbf16>
  %g0, %g1 = m1.split %g : tensor<?x256xbf16> -> tensor<?x128xbf16>, tensor<?x128xbf16>
  %s = m1.silu_mul %g0, %g1 : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
  %y1 = m1.linear %s, %d : (tensor<?x128xbf16>, tensor<64x128xbf16>) -> tensor<?x64xbf16>
  %h2, %n2 = m1.add_rms_norm %h1, %y1, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>)
      -> (tensor<?x64xf32>, tensor<?x64xbf16>)
  %x = m1.causal_conv1d %n2, %c, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %y2 = m1.linear %x, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h3 = m1.add %h2, %y2 : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %r = m1.gather_rows %h3, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  %n3 = m1.rms_norm %r, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %l = m1.linear %n3, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %t = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %v = m1.get_weight @norm : tensor<64xf32>
  %wo = m1.get_weight @out : tensor<64x64xbf16>
  %u = m1.get_weight @up : tensor<256x64xbf16>
  %d = m1.get_weight @down : tensor<64x128xbf16>
  %c = m1.get_weight @conv : tensor<64x4xf32>
  %cs = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %n0 = m1.rms_norm %h, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %y0 = m1.linear %n0, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h1, %n1 = m1.add_rms_norm %h, %y0, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>)
      -> (tensor<?x64xf32>, tensor<?x64xbf16>)
  %g = m1.linear %n1, %u : (tensor<?x64xbf16>, tensor<256x64xbf16>) -> tensor<?x256xbf16>
  %g0, %g1 = m1.split %g : tensor<?x256xbf16> -> tensor<?x128xbf16>, tensor<?x128xbf16>
  %s = m1.silu_mul %g0, %g1 : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
  %y1 = m1.linear %s, %d : (tensor<?x128xbf16>, tensor<64x128xbf16>) -> tensor<?x64xbf16>
  %h2, %n2 = m1.add_rms_norm %h1, %y1, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>)
      -> (tensor<?x64xf32>, tensor<?x64xbf16>)
  %x = m1.causal_conv1d %n2, %c, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %y2 = m1.linear %x, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h3 = m1.add %h2, %y2 : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %r = m1.gather_rows %h3, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  %n3 = m1.rms_norm %r, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %l = m1.linear %n3, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %t = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x96xf32>, tensor<?xi32>
}
