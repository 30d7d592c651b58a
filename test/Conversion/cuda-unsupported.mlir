// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_90 --verify-diagnostics

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
