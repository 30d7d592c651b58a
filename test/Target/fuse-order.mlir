// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches))' --remarks-filter-missed='plan-.*' --remark-format=emitRemark 2>%t.remarks | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARKS --input-file=%t.remarks

// One launch does at its last part's place what all of them did: a command between them that uses
// the same state has to come first, or last. Here a second convolution moves the window on that the
// first one has moved.
// CHECK-LABEL: plan.function @decode_8
// CHECK: plan.launch @causal_conv1d_64_decode(
// CHECK: plan.launch @causal_conv1d_64_decode_v1(
// CHECK: plan.launch @selective_scan_64_decode(
// CHECK-NOT: conv_selective_scan
// REMARKS: @causal_conv1d_64_decode: a command between them uses what they write, or writes it

m1.weight @embed : tensor<96x64xbf16> {sources = ["e"]}
m1.weight @x_proj : tensor<96x64xbf16> {sources = ["x"]}
m1.weight @A : tensor<64x16xf32> {sources = ["a"]}
m1.weight @conv : tensor<64x4xf32> {sources = ["c"]}
m1.state @scan_state : !m1.scan_state<64x16xf32>
m1.state @conv_state : !m1.conv_state<3x64xbf16>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %x_proj = m1.get_weight @x_proj : tensor<96x64xbf16>
  %A = m1.get_weight @A : tensor<64x16xf32>
  %conv = m1.get_weight @conv : tensor<64x4xf32>
  %scan_state = m1.get_state @scan_state : !m1.scan_state<64x16xf32>
  %conv_state = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %p = m1.linear %h, %x_proj : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xbf16>
  %dt, %b, %c = m1.split %p : tensor<?x96xbf16>
      -> tensor<?x64xbf16>, tensor<?x16xbf16>, tensor<?x16xbf16>
  %x = m1.causal_conv1d %h, %conv, %batch, %conv_state {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %x2 = m1.causal_conv1d %dt, %conv, %batch, %conv_state {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %y = m1.selective_scan %x, %x2, %A, %b, %c, %batch, %scan_state {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64x16xf32>, tensor<?x16xbf16>,
         tensor<?x16xbf16>, !m1.batch, !m1.scan_state<64x16xf32>) -> tensor<?x64xbf16>
  %t = m1.gather_rows %y, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xbf16>
  %x_proj = m1.get_weight @x_proj : tensor<96x64xbf16>
  %A = m1.get_weight @A : tensor<64x16xf32>
  %conv = m1.get_weight @conv : tensor<64x4xf32>
  %scan_state = m1.get_state @scan_state : !m1.scan_state<64x16xf32>
  %conv_state = m1.get_state @conv_state : !m1.conv_state<3x64xbf16>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %h = m1.silu %e : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %p = m1.linear %h, %x_proj : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xbf16>
  %dt, %b, %c = m1.split %p : tensor<?x96xbf16>
      -> tensor<?x64xbf16>, tensor<?x16xbf16>, tensor<?x16xbf16>
  %x = m1.causal_conv1d %h, %conv, %batch, %conv_state {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %x2 = m1.causal_conv1d %dt, %conv, %batch, %conv_state {activation = #m1<activation silu>}
      : (tensor<?x64xbf16>, tensor<64x4xf32>, !m1.batch, !m1.conv_state<3x64xbf16>)
      -> tensor<?x64xbf16>
  %y = m1.selective_scan %x, %x2, %A, %b, %c, %batch, %scan_state {delta_softplus}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64x16xf32>, tensor<?x16xbf16>,
         tensor<?x16xbf16>, !m1.batch, !m1.scan_state<64x16xf32>) -> tensor<?x64xbf16>
  %t = m1.gather_rows %y, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %l = m1.linear %t, %embed : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
