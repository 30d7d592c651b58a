// What does not fit a block's shared memory on a chip is refused there and taken where it fits.
// RUN: not m1-opt %s --m1-convert-to-plan=target=cuda:sm_86 2>&1 | FileCheck %s --check-prefix=SMALL
// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_80 | FileCheck %s

// SMALL: error: {{.*}} a block of attention_512_generic needs 135692 bytes of shared memory,
// SMALL-SAME: sm_86 has 101376
// CHECK: plan.kernel @attention_512_generic {{.*}}shared_bytes = 135692

m1.weight @embed : tensor<512x512xf32> {sources = ["e"]}
m1.state @kv : !m1.kv_cache<1x64x512xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x512xf32>
  %kv = m1.get_state @kv : !m1.kv_cache<1x64x512xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x512xf32>) -> tensor<?x512xf32>
  %y = m1.attention %h, %batch, %kv {scale = 0.1 : f64}
      : (tensor<?x512xf32>, !m1.batch, !m1.kv_cache<1x64x512xf32>) -> tensor<?x512xf32>
  %g = m1.gather_rows %y, %batch : (tensor<?x512xf32>, !m1.batch) -> tensor<?x512xf32>
  %l = m1.linear %g, %e : (tensor<?x512xf32>, tensor<512x512xf32>) -> tensor<?x512xf32>
  %n = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x512xf32>, tensor<?xi32>
}
