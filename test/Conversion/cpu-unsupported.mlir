// RUN: m1-opt %s --m1-convert-to-plan --split-input-file --verify-diagnostics

// Attention reads no cache of f16.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
m1.state @cache : !m1.kv_cache<4x64x16xf16>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %s = m1.get_state @cache : !m1.kv_cache<4x64x16xf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  // expected-error@+1 {{'m1.attention' op the cpu target has no attention with a cache of this type; f32 and bf16 are known, and codes of i8 and f8E4M3FN}}
  %y = m1.attention %h, %batch, %s {scale = 0.25 : f64}
    : (tensor<?x64xf32>, !m1.batch, !m1.kv_cache<4x64x16xf16>) -> tensor<?x64xf32>
  %l = m1.linear %y, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %n = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x512xf32>, tensor<?xi32>
}
