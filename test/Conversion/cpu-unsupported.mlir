// RUN: m1-opt %s --m1-convert-to-plan --split-input-file --verify-diagnostics

// The hand-tuned scans hold no f16 state.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
m1.weight @A : tensor<64x16xf32> {sources = ["a"]}
m1.state @scan : !m1.scan_state<64x16xf16>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %A = m1.get_weight @A : tensor<64x16xf32>
  %s = m1.get_state @scan : !m1.scan_state<64x16xf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  // expected-error@+1 {{'m1.selective_scan' op the cpu target has no selective_scan with a state of this type; f32 and bf16 are known}}
  %y = m1.selective_scan %h, %h, %A, %h, %h, %batch, %s
    : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64x16xf32>, tensor<?x64xf32>, tensor<?x64xf32>,
        !m1.batch, !m1.scan_state<64x16xf16>)
    -> tensor<?x64xf32>
  %l = m1.linear %y, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %n = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x512xf32>, tensor<?xi32>
}
