// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},m1-plan)' --m1-statistics 2>%t.statistics | m1-opt --verify-each | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_80,sm_90,sm_100},m1-plan)' | FileCheck %s --check-prefix=CHIPS
// RUN: m1-compile %s --weights dummy:1 --target cuda:sm_90 --remarks -o %t.m1a 2>&1 | FileCheck %s --check-prefix=REMARKS
// RUN: m1-dump %t.m1a | FileCheck %s --check-prefix=DUMP
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},m1-plan)' -o %t.plan.mlir
// RUN: m1-opt %t.plan.mlir --m1-plan | diff - %t.plan.mlir
// RUN: m1-compile %t.plan.mlir --emit plan | grep . > %t.again.mlir
// RUN: grep . %t.plan.mlir | diff - %t.again.mlir
// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches,plan-fuse-gated-products))' -o %t.fused.mlir
// RUN: m1-opt %t.fused.mlir --m1-plan | diff - %t.plan.mlir

// Prefill is there twice: for many rows the product and the silu·mul that alone reads it are one
// launch, and the rows between them need no memory. The small product keeps its own. From 16000
// rows on no last round of 132 blocks costs more than it may. A plan that went through the passes,
// with places or without, goes through them again unchanged.
// STATISTICS: plan-fuse-gated-products functions 1
// STATISTICS: plan-fuse-gated-products gates 1

// CHECK: plan.kernel @gated_product_1024x1024 {{.*}}tensor_maps = array<i64: 0, 0, 1024, 2048, 128, 1, 2048, 1024, 2048, 64, 2, 0, 1024, 2048, 16>}
// CHECK-SAME: extents [2048, 2048, 4194304, 0, 2048, 2048]
// CHECK-LABEL: plan.function @prefill attributes
// CHECK-NOT: min_rows
// CHECK: plan.gemm
// CHECK: plan.launch @silu_mul_1024
// CHECK-LABEL: plan.function @prefill_16000 attributes
// CHECK-SAME: entry = "prefill"
// CHECK-SAME: min_rows = 16000 : i32
// CHECK: plan.launch @gated_product_1024x1024(ro %{{[0-9]+}}, ro %{{[0-9]+}}, wo %[[Y:[0-9]+]]) over tokens grid 132 by 1073741824 label "linear"
// CHECK-SAME: token_bytes = 4096
// CHECK-NEXT: %{{[0-9]+}} = plan.temporary
// CHECK: plan.gemm %[[Y]]
// CHECK: plan.launch @silu_mul_128
// CHECK-LABEL: plan.function @decode

// Only on that chip.
// CHIPS-LABEL: plan.target @cuda attributes {chip = "sm_80"}
// CHIPS-NOT: min_rows
// CHIPS-LABEL: plan.target @"cuda:sm_90"
// CHIPS: min_rows
// CHIPS-LABEL: plan.target @"cuda:sm_100"
// CHIPS-NOT: min_rows

// REMARKS: plan-fuse-gated-products{{.*}}it is too small to gain

// DUMP: entry point prefill: {{.*}} workspace{{$}}
// DUMP: entry point prefill: {{.*}}; from 16000 tokens on

m1.model @model {architecture = "test", vocab_size = 96 : i64, hidden_size = 1024 : i64,
    layers = 1 : i64, max_positions = 64 : i64, activation_type = bf16, state_type = f32,
    kv_type = bf16}
m1.weight @embed : tensor<96x1024xbf16> {sources = ["e"]}
m1.weight @up : tensor<2048x1024xbf16> {sources = ["u"]}
m1.weight @down : tensor<1024x1024xbf16> {sources = ["d"]}
m1.weight @small : tensor<256x1024xbf16> {sources = ["s"]}
m1.weight @back : tensor<1024x128xbf16> {sources = ["b"]}
m1.weight @conv : tensor<1024x4xf32> {sources = ["c"]}
m1.state @conv_state : !m1.conv_state<3x1024xbf16>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x1024xbf16>
  %u = m1.get_weight @up : tensor<2048x1024xbf16>
  %d = m1.get_weight @down : tensor<1024x1024xbf16>
  %s = m1.get_weight @small : tensor<256x1024xbf16>
  %b = m1.get_weight @back : tensor<1024x128xbf16>
  %w = m1.get_weight @conv : tensor<1024x4xf32>
  %cs = m1.get_state @conv_state : !m1.conv_state<3x1024xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x1024xbf16>) -> tensor<?x1024xf32>
  %x = m1.silu %h : (tensor<?x1024xf32>) -> tensor<?x1024xbf16>
  %g = m1.linear %x, %u : (tensor<?x1024xbf16>, tensor<2048x1024xbf16>) -> tensor<?x2048xbf16>
  %g0, %g1 = m1.split %g : tensor<?x2048xbf16> -> tensor<?x1024xbf16>, tensor<?x1024xbf16>
  %y = m1.silu_mul %g0, %g1 : (tensor<?x1024xbf16>, tensor<?x1024xbf16>) -> tensor<?x1024xbf16>
  %z = m1.linear %y, %d : (tensor<?x1024xbf16>, tensor<1024x1024xbf16>) -> tensor<?x1024xbf16>
  %a = m1.linear %z, %s : (tensor<?x1024xbf16>, tensor<256x1024xbf16>) -> tensor<?x256xbf16>
  %a0, %a1 = m1.split %a : tensor<?x256xbf16> -> tensor<?x128xbf16>, tensor<?x128xbf16>
  %c = m1.silu_mul %a0, %a1 : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
  %o = m1.linear %c, %b : (tensor<?x128xbf16>, tensor<1024x128xbf16>) -> tensor<?x1024xbf16>
  %m = m1.causal_conv1d %o, %w, %batch, %cs {activation = #m1<activation silu>}
      : (tensor<?x1024xbf16>, tensor<1024x4xf32>, !m1.batch, !m1.conv_state<3x1024xbf16>)
      -> tensor<?x1024xbf16>
  %r = m1.gather_rows %m, %batch : (tensor<?x1024xbf16>, !m1.batch) -> tensor<?x1024xbf16>
  %l = m1.linear %r, %e : (tensor<?x1024xbf16>, tensor<96x1024xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x1024xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x1024xbf16>) -> tensor<?x1024xf32>
  %x = m1.silu %h : (tensor<?x1024xf32>) -> tensor<?x1024xbf16>
  %r = m1.gather_rows %x, %batch : (tensor<?x1024xbf16>, !m1.batch) -> tensor<?x1024xbf16>
  %l = m1.linear %r, %e : (tensor<?x1024xbf16>, tensor<96x1024xbf16>) -> tensor<?x96xf32>
  %n = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x96xf32>, tensor<?xi32>
}
