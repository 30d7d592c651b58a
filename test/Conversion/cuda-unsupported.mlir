// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_90 --split-input-file --verify-diagnostics

// The library of products takes no rows of f32 to results of bf16.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  // expected-error@+1 {{'m1.linear' op has no kernel on the cuda target with rows of f32 and results of 'bf16'; compile the model with --target cpu}}
  %y = m1.linear %h, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xbf16>
  %l = m1.linear %h, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %n = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x512xf32>, tensor<?xi32>
}

// -----

// A hand-tuned kernel says what it does not cover.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
m1.weight @conv : tensor<64x17xf32> {sources = ["c"]}
m1.state @inputs : !m1.conv_state<16x64xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %w = m1.get_weight @conv : tensor<64x17xf32>
  %s = m1.get_state @inputs : !m1.conv_state<16x64xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  // expected-error@+1 {{'m1.causal_conv1d' op has no CUDA kernel: expected a convolution of width 1 to 16, got 17}}
  %y = m1.causal_conv1d %h, %w, %batch, %s
      : (tensor<?x64xf32>, tensor<64x17xf32>, !m1.batch, !m1.conv_state<16x64xf32>)
      -> tensor<?x64xf32>
  %l = m1.linear %y, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %n = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x512xf32>, tensor<?xi32>
}

// -----

m1.weight @embed : tensor<512x1024xf32> {sources = ["e"]}
m1.state @kv : !m1.kv_cache<1x64x1024xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x1024xf32>
  %kv = m1.get_state @kv : !m1.kv_cache<1x64x1024xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x1024xf32>) -> tensor<?x1024xf32>
  // expected-error@+1 {{'m1.attention' op has no CUDA kernel: expected head_dim of 1 to 512, got 1024}}
  %y = m1.attention %h, %batch, %kv {scale = 0.1 : f64}
      : (tensor<?x1024xf32>, !m1.batch, !m1.kv_cache<1x64x1024xf32>) -> tensor<?x1024xf32>
  %l = m1.linear %y, %e : (tensor<?x1024xf32>, tensor<512x1024xf32>) -> tensor<?x512xf32>
  %n = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x512xf32>, tensor<?xi32>
}

// -----

// Rows that a pass has rounded before are left to the CPU.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
m1.weight @w : tensor<64x64xf8E4M3FN> {sources = ["w"], transform = #m1<transform fp8_rows>}
m1.weight @s : tensor<64xf32> {scales_of = @w}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %w = m1.get_weight @w : tensor<64x64xf8E4M3FN>
  %s = m1.get_weight @s : tensor<64xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  // expected-error@+1 {{'m1.quantize_rows' op has no kernel on the cuda target; compile the model with --target cpu}}
  %c, %r = m1.quantize_rows %h : (tensor<?x64xf32>) -> (tensor<?x64xf8E4M3FN>, tensor<?xf32>)
  %y = m1.linear %c, %w scale(%s) row_scale(%r)
      : (tensor<?x64xf8E4M3FN>, tensor<64x64xf8E4M3FN>, tensor<64xf32>, tensor<?xf32>)
      -> tensor<?x64xf32>
  %g = m1.gather_rows %y, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  %l = m1.linear %g, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %n = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x512xf32>, tensor<?xi32>
}
