// RUN: m1-opt %s --m1-convert-to-plan --split-input-file --verify-diagnostics

// Functions that are no step of a model are refused.
// expected-error@+1 {{'func.func' op expected a function (tokens, batch) -> (logits, next tokens) of one block}}
func.func @prefill(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  return %x : tensor<?x64xf32>
}

// -----

// What has to be expanded first is refused.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
m1.weight @gate : tensor<160x64xf32> {sources = ["g"]}
m1.weight @down : tensor<64x160xf32> {sources = ["d"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x512xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  %g = m1.get_weight @gate : tensor<160x64xf32>
  %d = m1.get_weight @down : tensor<64x160xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<512x64xf32>) -> tensor<?x64xf32>
  // expected-error@+1 {{'m1.gated_mlp' op has no kernel: it has to be expanded before the conversion to a plan}}
  %y = m1.gated_mlp %h, %g, %g, %d
    : (tensor<?x64xf32>, tensor<160x64xf32>, tensor<160x64xf32>, tensor<64x160xf32>)
        -> tensor<?x64xf32>
  %l = m1.linear %y, %e : (tensor<?x64xf32>, tensor<512x64xf32>) -> tensor<?x512xf32>
  %s = m1.sample %l : (tensor<?x512xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x512xf32>, tensor<?xi32>
}

// -----

// So is an operation on weights alone: nothing says how many rows it has.
m1.weight @embed : tensor<512x64xf32> {sources = ["e"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<512x64xf32>, tensor<512xi32>) {
  %e = m1.get_weight @embed : tensor<512x64xf32>
  // expected-error@+1 {{'m1.silu' op expected an operand with rows}}
  %y = m1.silu %e : (tensor<512x64xf32>) -> tensor<512x64xf32>
  %s = m1.sample %y : (tensor<512x64xf32>) -> tensor<512xi32>
  return %y, %s : tensor<512x64xf32>, tensor<512xi32>
}

// -----

// Results that no kernel writes are refused.
// expected-error@+1 {{'func.func' op expected results that kernels write}}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?xi32>, tensor<?xi32>) {
  return %tokens, %tokens : tensor<?xi32>, tensor<?xi32>
}
