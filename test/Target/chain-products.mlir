// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_90 -o %t.plan
// RUN: m1-opt %t.plan --pass-pipeline='builtin.module(plan.target(plan-fuse-launches))' | FileCheck %s --check-prefixes=CHECK,APART
// RUN: sed -e '/@decode_8/,$s/wo %13)/wo %8)/' -e '/@decode_8/,$s/view %13/view %8/' -e '/@decode_8/,$s/ro %12, ro %13/ro %12, ro %8/' -e '/@decode_8/,${/%13 = plan.temporary/d}' %t.plan > %t.reused
// RUN: m1-opt %t.reused --pass-pipeline='builtin.module(plan.target(plan-fuse-launches))' | FileCheck %s --check-prefixes=CHECK,REUSED

// A chain of products orders what they do by its operands. Where two of them are places of one
// temporary, as here of rows that two products read, none of its products writes that: the one that
// does stays apart, in a plan whose third product leaves its rows there.
// CHECK-LABEL: plan.function @decode_8
// CHECK: plan.launch @silu_128(ro %{{[0-9]+}}, wo %[[H:[0-9]+]])
// CHECK: %[[RIGHT:[0-9]+]] = plan.view %[[H]] + 128
// APART: plan.launch @linear_chain_3(ro %[[H]], ro %[[W:[0-9]+]], wo %[[P:[0-9]+]], ro %[[RIGHT]],
// APART-SAME: wo %{{[0-9]+}}, ro %[[UP:[0-9]+]], wo %{{[0-9]+}}, rw %{{[0-9]+}})
// REUSED: plan.launch @linear_chain_2(ro %[[H]], ro %[[W:[0-9]+]], wo %[[P:[0-9]+]], ro %[[RIGHT]],
// REUSED-SAME: wo %{{[0-9]+}}, rw %{{[0-9]+}})
// REUSED: plan.launch @linear_128_decode(ro %[[P]], ro %{{[0-9]+}}, wo %[[H]])

m1.weight @embed : tensor<96x128xbf16> {sources = ["e"]}
m1.weight @w : tensor<64x64xbf16> {sources = ["w"]}
m1.weight @up : tensor<128x64xbf16> {sources = ["u"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x128xbf16>
  %w = m1.get_weight @w : tensor<64x64xbf16>
  %up = m1.get_weight @up : tensor<128x64xbf16>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x128xbf16>) -> tensor<?x128xf32>
  %h = m1.silu %e : (tensor<?x128xf32>) -> tensor<?x128xbf16>
  %a, %b = m1.split %h : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %p = m1.linear %a, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %q = m1.linear %b, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %m = m1.mul %p, %q : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %u = m1.linear %p, %up : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %c, %d = m1.split %u : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %v = m1.mul %m, %c : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %z = m1.mul %v, %d : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %r = m1.linear %z, %up : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %t = m1.gather_rows %r, %batch : (tensor<?x128xbf16>, !m1.batch) -> tensor<?x128xbf16>
  %l = m1.linear %t, %embed : (tensor<?x128xbf16>, tensor<96x128xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x128xbf16>
  %w = m1.get_weight @w : tensor<64x64xbf16>
  %up = m1.get_weight @up : tensor<128x64xbf16>
  %e = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x128xbf16>) -> tensor<?x128xf32>
  %h = m1.silu %e : (tensor<?x128xf32>) -> tensor<?x128xbf16>
  %a, %b = m1.split %h : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %p = m1.linear %a, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %q = m1.linear %b, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %m = m1.mul %p, %q : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %u = m1.linear %p, %up : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %c, %d = m1.split %u : tensor<?x128xbf16> -> tensor<?x64xbf16>, tensor<?x64xbf16>
  %v = m1.mul %m, %c : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %z = m1.mul %v, %d : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %r = m1.linear %z, %up : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %t = m1.gather_rows %r, %batch : (tensor<?x128xbf16>, !m1.batch) -> tensor<?x128xbf16>
  %l = m1.linear %t, %embed : (tensor<?x128xbf16>, tensor<96x128xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
