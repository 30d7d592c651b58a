// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_90 | FileCheck %s
// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_80 | FileCheck %s --check-prefix=OTHER

// On Hopper prompts of a gated delta rule have two launches for few sequences, the second of which
// begins early, before two for many. All that the first reads the third or the fourth reads too, so
// that outputs, which the second writes while the first runs, are put nowhere else.
// CHECK-DAG: plan.kernel @[[RECORDS:gated_delta_256_prepare_to_16]]
// CHECK-DAG: plan.kernel @[[CHAIN:gated_delta_256_chunks_to_16]] {{.*}}launch_early
// CHECK-LABEL: plan.function @prefill
// CHECK: plan.launch @[[RECORDS]](ro %[[X:[0-9]+]], ro %[[X]], ro %[[X]], ro %[[A:[0-9]+]], ro %[[A]], {{.*}}wo %[[ONE:[0-9]+]], wo %[[TOKENS:[0-9]+]]) over one grid 132
// CHECK-NEXT: plan.launch @[[CHAIN]](ro %[[X]], ro %[[X]], rw {{.*}}wo %[[OUT:[0-9]+]], rw %[[ONE]], rw %[[TOKENS]]) over one grid 64
// CHECK-NEXT: plan.launch @gated_delta_256_prepare_from_17(ro %[[X]], ro %[[X]], ro %[[A]], ro %[[A]], {{.*}}rw %[[ONE]], rw %[[TOKENS]]) over tokens
// CHECK-NEXT: plan.launch @gated_delta_256_chunks_from_17(ro %[[X]], ro %[[X]], ro %[[X]], rw {{.*}}wo %[[OUT]], rw %[[ONE]], rw %[[TOKENS]]) over sequences
// CHECK-LABEL: plan.function @decode
// CHECK: plan.launch @gated_delta_256_decode(

// OTHER-LABEL: plan.function @prefill
// OTHER: plan.launch @gated_delta_256_prepare(
// OTHER-NEXT: plan.launch @gated_delta_256_chunks(
// OTHER-LABEL: plan.function @decode

m1.model @model {architecture = "test", vocab_size = 256 : i64, hidden_size = 256 : i64, layers =
    1 : i64, max_positions = 4096 : i64, activation_type = bf16, state_type = f32, kv_type = bf16}
m1.weight @embed : tensor<256x256xbf16> {sources = ["e"]}
m1.weight @gates : tensor<2x256xbf16> {sources = ["g"]}
m1.weight @decay : tensor<2xf32> {sources = ["d"]}
m1.state @h : !m1.scan_state<2x128x128xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x256xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<256x256xbf16>
  %w = m1.get_weight @gates : tensor<2x256xbf16>
  %decay = m1.get_weight @decay : tensor<2xf32>
  %s = m1.get_state @h : !m1.scan_state<2x128x128xf32>
  %f = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<256x256xbf16>) -> tensor<?x256xf32>
  %x = m1.silu %f : (tensor<?x256xf32>) -> tensor<?x256xbf16>
  %a = m1.linear %x, %w : (tensor<?x256xbf16>, tensor<2x256xbf16>) -> tensor<?x2xbf16>
  %y = m1.gated_delta %x, %x, %x, %a, %a, %decay, %batch, %s
      {eps = 1.0e-6 : f64, scale = 0.1 : f64}
      : (tensor<?x256xbf16>, tensor<?x256xbf16>, tensor<?x256xbf16>, tensor<?x2xbf16>,
         tensor<?x2xbf16>, tensor<2xf32>, !m1.batch, !m1.scan_state<2x128x128xf32>)
      -> tensor<?x256xbf16>
  %r = m1.gather_rows %y, %batch : (tensor<?x256xbf16>, !m1.batch) -> tensor<?x256xbf16>
  %l = m1.linear %r, %e : (tensor<?x256xbf16>, tensor<256x256xbf16>) -> tensor<?x256xf32>
  %t = m1.sample %l : (tensor<?x256xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x256xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x256xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<256x256xbf16>
  %w = m1.get_weight @gates : tensor<2x256xbf16>
  %decay = m1.get_weight @decay : tensor<2xf32>
  %s = m1.get_state @h : !m1.scan_state<2x128x128xf32>
  %f = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<256x256xbf16>) -> tensor<?x256xf32>
  %x = m1.silu %f : (tensor<?x256xf32>) -> tensor<?x256xbf16>
  %a = m1.linear %x, %w : (tensor<?x256xbf16>, tensor<2x256xbf16>) -> tensor<?x2xbf16>
  %y = m1.gated_delta %x, %x, %x, %a, %a, %decay, %batch, %s
      {eps = 1.0e-6 : f64, scale = 0.1 : f64}
      : (tensor<?x256xbf16>, tensor<?x256xbf16>, tensor<?x256xbf16>, tensor<?x2xbf16>,
         tensor<?x2xbf16>, tensor<2xf32>, !m1.batch, !m1.scan_state<2x128x128xf32>)
      -> tensor<?x256xbf16>
  %r = m1.gather_rows %y, %batch : (tensor<?x256xbf16>, !m1.batch) -> tensor<?x256xbf16>
  %l = m1.linear %r, %e : (tensor<?x256xbf16>, tensor<256x256xbf16>) -> tensor<?x256xf32>
  %t = m1.sample %l : (tensor<?x256xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x256xf32>, tensor<?xi32>
}
