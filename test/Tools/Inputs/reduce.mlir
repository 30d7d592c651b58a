m1.weight @nothing_weight : tensor<4xf32> {sources = ["a"]}
m1.state @nothing_state : !m1.conv_state<1x4xf32>
func.func @nothing_first(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  return %x : tensor<?x4xf32>
}
func.func @interesting(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = m1.silu %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
func.func @nothing_last(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = m1.mul %x, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
