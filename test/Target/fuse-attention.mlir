// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches))' --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},m1-plan)' | m1-opt --verify-each | FileCheck %s --check-prefix=PLACED
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_80},plan.target(plan-fuse-launches))' | FileCheck %s --check-prefix=APART

// In decode steps of few rows, on sm_90, attention is one launch with the write of its keys and
// values, unless something else reads that cache too. Commands that need not stand between products
// do not: a convolution ends the product that it reads, the residual's follows it, and the product
// of q, k and v does not wait for the attention.
// STATISTICS: plan-fuse-launches attentions 1
// STATISTICS: plan-fuse-launches chains 2

// CHECK-LABEL: plan.function @decode {
// CHECK: plan.launch @rotary_kv_write_64
// CHECK: plan.launch @attention_64_decode_split
// CHECK: plan.launch @attention_64_decode_combine
// CHECK-LABEL: plan.function @decode_8
// CHECK: plan.launch @clear_counters_1_1(wo %[[COUNTERS:[0-9]+]], wo %[[ARRIVED:[0-9]+]]) over sequences
// CHECK-NOT: clear_counters
// CHECK: %[[CACHE:[0-9]+]] = plan.state @cache :
// CHECK: plan.launch @rotary_table_32({{.*}}, wo %[[TABLE:[0-9]+]])
// CHECK: plan.launch @linear_chain_3(ro %{{[0-9]+}}, ro %{{[0-9]+}}, ro %{{[0-9]+}}, ro %{{[0-9]+}}, ro %{{[0-9]+}}, wo %{{[0-9]+}}, rw %{{[0-9]+}}, wo %{{[0-9]+}}, ro %{{[0-9]+}}, ro %{{[0-9]+}}, wo %[[H1:[0-9]+]], ro %{{[0-9]+}}, wo %[[QKV:[0-9]+]], rw %[[ARRIVED]])
// CHECK-NOT: causal_conv1d
// CHECK: %[[K:[0-9]+]] = plan.view %[[QKV]] + 128
// CHECK: %[[V:[0-9]+]] = plan.view %[[QKV]] + 192
// CHECK: plan.launch @rotary_attention_64_decode(ro %[[QKV]], ro %[[K]], ro %[[V]], ro %[[TABLE]], rw %[[CACHE]], ro %{{[0-9]+}}, ro %{{[0-9]+}}, ro %{{[0-9]+}}, wo %[[O:[0-9]+]], wo %{{[0-9]+}}, rw %[[COUNTERS]]) over one
// CHECK: plan.launch @residual_linear_64(ro %[[O]], ro %{{[0-9]+}}, ro %[[H1]], wo
// CHECK: plan.launch @kv_write_32
// CHECK-COUNT-2: plan.launch @attention_64_decode_split
// CHECK-LABEL: plan.function @decode_shared
// CHECK-NOT: @rotary_attention_64_decode(

// PLACED: plan.launch @rotary_attention_64_decode
// APART-NOT: {{rotary_attention|linear_chain}}


m1.weight @embed : tensor<96x64xbf16> {sources = ["e"]}
m1.weight @norm : tensor<64xf32> {sources = ["n"]}
m1.weight @in : tensor<64x64xbf16> {sources = ["i"]}
m1.weight @out : tensor<64x64xbf16> {sources = ["o"]}
m1.weight @qkv : tensor<128x64xbf16> {sources = ["q"]}
m1.weight @hi : tensor<1x16x2xf32> {angles = #m1.rotary_angles<step = 256, frequencies = [
    1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04]>}
m1.weight @lo : tensor<256x16x2xf32> {angles = #m1.rotary_angles<step = 1, frequencies = [
    1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04]>}
m1.weight @conv : tensor<64x4xf32> {sources = ["c"]}
m1.state @conv_state : !m1.conv_state<3x64xbf16>
m1.state @cache : !m1.kv_cache<1x64x32xbf16>
m1.state @other : !m1.kv_cache<1x64x32xbf16>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %v = m1.get_weight @norm : tensor<64xf32>
  %wi = m1.get_weight @in : tensor<64x64xbf16>
  %wo = m1.get_weight @out : tensor<64x64xbf16>
  %wq = m1.get_weight @qkv : tensor<128x64xbf16>
  %hi = m1.get_weight @hi : tensor<1x16x2xf32>
  %lo = m1.get_weight @lo : tensor<256x16x2xf32>
  %w4 = m1.get_weight @conv : tensor<64x4xf32>
  %cs = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %c = m1.get_state @cache : !m1.kv_cache<1x64x32xbf16>
  %c2 = m1.get_state @other : !m1.kv_cache<1x64x32xbf16>
  %table = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<1x16x2xf32>, tensor<256x16x2xf32>) -> tensor<?x32xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %n = m1.rms_norm %h, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %i = m1.linear %n, %wi : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %s = m1.causal_conv1d %i, %w4, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %y0 = m1.linear %s, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h1 = m1.add %h, %y0 : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %qkv = m1.linear %n, %wq : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %q, %k, %w = m1.split %qkv
      : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>
  %q1 = m1.rotary_kv_write %q, %k, %w, %table, %batch, %c
      : (tensor<?x64xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x32xf32>, !m1.batch,
         !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  %o = m1.attention %q1, %batch, %c {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  %y1 = m1.linear %o, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h2 = m1.add %h1, %y1 : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %q2 = m1.silu %h2 : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %k2, %w2 = m1.split %q2 : tensor<?x64xbf16> -> tensor<?x32xbf16>, tensor<?x32xbf16>
  m1.kv_write %k2, %w2, %batch, %c2
      : tensor<?x32xbf16>, tensor<?x32xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>
  %o2 = m1.attention %q2, %batch, %c2 {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  %o3 = m1.attention %o2, %batch, %c2 {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  %r = m1.gather_rows %o3, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %r, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %t = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %v = m1.get_weight @norm : tensor<64xf32>
  %wi = m1.get_weight @in : tensor<64x64xbf16>
  %wo = m1.get_weight @out : tensor<64x64xbf16>
  %wq = m1.get_weight @qkv : tensor<128x64xbf16>
  %hi = m1.get_weight @hi : tensor<1x16x2xf32>
  %lo = m1.get_weight @lo : tensor<256x16x2xf32>
  %w4 = m1.get_weight @conv : tensor<64x4xf32>
  %cs = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %c = m1.get_state @cache : !m1.kv_cache<1x64x32xbf16>
  %c2 = m1.get_state @other : !m1.kv_cache<1x64x32xbf16>
  %table = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<1x16x2xf32>, tensor<256x16x2xf32>) -> tensor<?x32xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %n = m1.rms_norm %h, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %i = m1.linear %n, %wi : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %s = m1.causal_conv1d %i, %w4, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %y0 = m1.linear %s, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h1 = m1.add %h, %y0 : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %qkv = m1.linear %n, %wq : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %q, %k, %w = m1.split %qkv
      : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>
  %q1 = m1.rotary_kv_write %q, %k, %w, %table, %batch, %c
      : (tensor<?x64xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?x32xf32>, !m1.batch,
         !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  %o = m1.attention %q1, %batch, %c {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  %y1 = m1.linear %o, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %h2 = m1.add %h1, %y1 : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %q2 = m1.silu %h2 : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %k2, %w2 = m1.split %q2 : tensor<?x64xbf16> -> tensor<?x32xbf16>, tensor<?x32xbf16>
  m1.kv_write %k2, %w2, %batch, %c2
      : tensor<?x32xbf16>, tensor<?x32xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>
  %o2 = m1.attention %q2, %batch, %c2 {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  %o3 = m1.attention %o2, %batch, %c2 {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<1x64x32xbf16>) -> tensor<?x64xbf16>
  %r = m1.gather_rows %o3, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %r, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %t = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x96xf32>, tensor<?xi32>
}
