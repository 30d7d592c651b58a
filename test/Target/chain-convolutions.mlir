// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches))' | FileCheck %s

// A chain does a convolution where the product before it stands. Here the second product's
// convolution moves the window on that the first one's moves after it: that stays behind the chain.
// CHECK-LABEL: plan.function @decode_8
// CHECK: %[[STATE:[0-9]+]] = plan.state @conv_state
// CHECK: plan.launch @linear_chain_2({{.*}}rw %[[STATE]], wo %[[V:[0-9]+]], rw
// CHECK-NOT: plan.launch @linear
// CHECK: plan.launch @causal_conv1d_64_decode({{.*}}, wo %[[U:[0-9]+]])
// CHECK: plan.launch @mul_64(ro %[[U]], ro %[[V]],

m1.weight @embed : tensor<96x64xbf16> {sources = ["e"]}
m1.weight @w : tensor<64x64xbf16> {sources = ["w"]}
m1.weight @w2 : tensor<64x64xbf16> {sources = ["v"]}
m1.weight @conv : tensor<64x4xf32> {sources = ["c"]}
m1.state @conv_state : !m1.conv_state<3x64xbf16>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %w = m1.get_weight @w : tensor<64x64xbf16>
  %w2 = m1.get_weight @w2 : tensor<64x64xbf16>
  %conv = m1.get_weight @conv : tensor<64x4xf32>
  %state = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %a = m1.linear %h, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %b = m1.linear %h, %w2 : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %v = m1.causal_conv1d %b, %conv, %batch, %state {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %u = m1.causal_conv1d %a, %conv, %batch, %state {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %m = m1.mul %u, %v : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %t = m1.gather_rows %m, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %w = m1.get_weight @w : tensor<64x64xbf16>
  %w2 = m1.get_weight @w2 : tensor<64x64xbf16>
  %conv = m1.get_weight @conv : tensor<64x4xf32>
  %state = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %a = m1.linear %h, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %b = m1.linear %h, %w2 : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %v = m1.causal_conv1d %b, %conv, %batch, %state {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %u = m1.causal_conv1d %a, %conv, %batch, %state {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %m = m1.mul %u, %v : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %t = m1.gather_rows %m, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
