// A model whose one weight no checkpoint holds.
m1.model @model {architecture = "tied", vocab_size = 4, hidden_size = 8, layers = 1,
    max_positions = 64, activation_type = f32, state_type = f32, kv_type = f32}
m1.weight @table : tensor<4x8xf32> {sources = ["no.such.tensor"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x4xf32>, tensor<?xi32>) {
  %table = m1.get_weight @table : tensor<4x8xf32>
  %x = m1.embedding %tokens, %table : (tensor<?xi32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %g = m1.gather_rows %x, %batch : (tensor<?x8xf32>, !m1.batch) -> tensor<?x8xf32>
  %l = m1.linear %g, %table : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %n = m1.sample %l : (tensor<?x4xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x4xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x4xf32>, tensor<?xi32>) {
  %table = m1.get_weight @table : tensor<4x8xf32>
  %x = m1.embedding %tokens, %table : (tensor<?xi32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %g = m1.gather_rows %x, %batch : (tensor<?x8xf32>, !m1.batch) -> tensor<?x8xf32>
  %l = m1.linear %g, %table : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %n = m1.sample %l : (tensor<?x4xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x4xf32>, tensor<?xi32>
}
