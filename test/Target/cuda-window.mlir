// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_90 | FileCheck %s

// A window is a constant of the attention kernels, in prefill and in decode; without one there is a
// kernel of its own. Pages that sequences share are not read once for all of them where a layer has
// a window: there is no function for it.
// CHECK: plan.kernel @[[WINDOW:attention_64]]_split {{.*}}window = 8{{.*}}kWindow = 8;
// CHECK: plan.kernel @[[WINDOW]]_prefill {{.*}}kWindow = 8;
// CHECK: plan.kernel @[[ALL:attention_64_v1]]_split {{.*}}window = 0{{.*}}kWindow = 0;
// CHECK: plan.kernel @[[DECODE:attention_64_decode]]_split {{.*}}kWindow = 8;
// CHECK-LABEL: plan.function @prefill
// CHECK: plan.launch @[[WINDOW]]_prefill
// CHECK: plan.launch @[[ALL]]_prefill
// CHECK-LABEL: plan.function @decode
// CHECK: plan.launch @[[DECODE]]_split
// CHECK-NOT: plan.function @decode_shared

m1.weight @embed : tensor<96x64xbf16> {sources = ["e"]}
m1.state @cache : !m1.kv_cache<2x64x16xbf16>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %c = m1.get_state @cache : !m1.kv_cache<2x64x16xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %q = m1.silu %h : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %k, %v = m1.split %q : tensor<?x64xbf16> -> tensor<?x32xbf16>, tensor<?x32xbf16>
  m1.kv_write %k, %v, %batch, %c
      : tensor<?x32xbf16>, tensor<?x32xbf16>, !m1.batch, !m1.kv_cache<2x64x16xbf16>
  %o = m1.attention %q, %batch, %c {scale = 0.25 : f64, window = 8 : i64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<2x64x16xbf16>) -> tensor<?x64xbf16>
  %p = m1.attention %o, %batch, %c {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<2x64x16xbf16>) -> tensor<?x64xbf16>
  %r = m1.gather_rows %p, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %r, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %c = m1.get_state @cache : !m1.kv_cache<2x64x16xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %q = m1.silu %h : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %k, %v = m1.split %q : tensor<?x64xbf16> -> tensor<?x32xbf16>, tensor<?x32xbf16>
  m1.kv_write %k, %v, %batch, %c
      : tensor<?x32xbf16>, tensor<?x32xbf16>, !m1.batch, !m1.kv_cache<2x64x16xbf16>
  %o = m1.attention %q, %batch, %c {scale = 0.25 : f64, window = 8 : i64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<2x64x16xbf16>) -> tensor<?x64xbf16>
  %p = m1.attention %o, %batch, %c {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<2x64x16xbf16>) -> tensor<?x64xbf16>
  %r = m1.gather_rows %p, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %r, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
