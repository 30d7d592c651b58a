// REQUIRES: cuda-toolkit
// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_90 | FileCheck %s

// One kernel for sequences of any length, of which a thread walks one channel, and one for decode,
// of eight channels a thread; both over sequences, with the state read and written.
// CHECK-DAG: plan.kernel @rg_lru_2560 {{.*}}block_size = 128{{.*}}grid_x = 20
// CHECK-DAG: plan.kernel @rg_lru_2560_decode {{.*}}block_size = 128{{.*}}grid_x = 3
// CHECK-LABEL: plan.function @prefill
// CHECK: plan.launch @rg_lru_2560(ro %{{.*}}, ro %{{.*}}, ro %{{.*}}, ro %{{.*}}, rw %{{.*}}, ro %{{.*}}, ro %{{.*}}, ro %{{.*}}, wo %{{.*}}) over sequences
// CHECK-LABEL: plan.function @decode
// CHECK: plan.launch @rg_lru_2560_decode(

// In decode the inputs come 16 bytes at a time, and nothing is in local memory. A walk asks for 16
// tokens before it works on the first.
// RUN: m1-compile %s --emit asm --target cuda:sm_90 --weights dummy:1 | FileCheck %s --check-prefix=PTX
// PTX-LABEL: .visible .entry rg_lru_2560(
// PTX-NOT: .local
// PTX-COUNT-48: ld.global.b16
// PTX: ex2.approx.f32
// PTX-LABEL: .visible .entry rg_lru_2560_decode(
// PTX-NOT: .local
// PTX-COUNT-3: ld.global.v4.b32
// PTX: sqrt.approx.f32
// PTX: st.global.v4.b32

m1.model @model {architecture = "test", vocab_size = 2560 : i64, hidden_size = 2560 : i64, layers =
    1 : i64, max_positions = 4096 : i64, activation_type = bf16, state_type = f32, kv_type = bf16}
m1.weight @embed : tensor<2560x2560xbf16> {sources = ["e"]}
m1.weight @lambda : tensor<2560xf32> {sources = ["l"]}
m1.state @h : !m1.scan_state<2560xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x2560xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<2560x2560xbf16>
  %lambda = m1.get_weight @lambda : tensor<2560xf32>
  %s = m1.get_state @h : !m1.scan_state<2560xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<2560x2560xbf16>) -> tensor<?x2560xf32>
  %x = m1.silu %h : (tensor<?x2560xf32>) -> tensor<?x2560xbf16>
  %y = m1.rg_lru %x, %x, %x, %lambda, %batch, %s
      : (tensor<?x2560xbf16>, tensor<?x2560xbf16>, tensor<?x2560xbf16>, tensor<2560xf32>,
         !m1.batch, !m1.scan_state<2560xf32>) -> tensor<?x2560xbf16>
  %r = m1.gather_rows %y, %batch : (tensor<?x2560xbf16>, !m1.batch) -> tensor<?x2560xbf16>
  %l = m1.linear %r, %e
      : (tensor<?x2560xbf16>, tensor<2560x2560xbf16>) -> tensor<?x2560xf32>
  %t = m1.sample %l : (tensor<?x2560xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x2560xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x2560xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<2560x2560xbf16>
  %lambda = m1.get_weight @lambda : tensor<2560xf32>
  %s = m1.get_state @h : !m1.scan_state<2560xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<2560x2560xbf16>) -> tensor<?x2560xf32>
  %x = m1.silu %h : (tensor<?x2560xf32>) -> tensor<?x2560xbf16>
  %y = m1.rg_lru %x, %x, %x, %lambda, %batch, %s
      : (tensor<?x2560xbf16>, tensor<?x2560xbf16>, tensor<?x2560xbf16>, tensor<2560xf32>,
         !m1.batch, !m1.scan_state<2560xf32>) -> tensor<?x2560xbf16>
  %r = m1.gather_rows %y, %batch : (tensor<?x2560xbf16>, !m1.batch) -> tensor<?x2560xbf16>
  %l = m1.linear %r, %e
      : (tensor<?x2560xbf16>, tensor<2560x2560xbf16>) -> tensor<?x2560xf32>
  %t = m1.sample %l : (tensor<?x2560xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x2560xf32>, tensor<?xi32>
}
