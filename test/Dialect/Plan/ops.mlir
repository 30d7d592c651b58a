// RUN: m1-opt %s | m1-opt | FileCheck %s
// RUN: m1-opt %s --mlir-print-op-generic | m1-opt | FileCheck %s
// Text and bytecode are one module: through either, the same text comes back.
// RUN: m1-opt %s -o %t.mlir && m1-opt %t.mlir | diff - %t.mlir
// RUN: m1-opt %s --emit-bytecode | m1-opt | diff - %t.mlir
// RUN: m1-opt %s | FileCheck %s --check-prefix=BLANKS --strict-whitespace

m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
m1.weight @bias : tensor<32xf32> {sources = ["b"]}
m1.state @scan_state : !m1.scan_state<64x16xf32>

// One blank between words.
// BLANKS: {{[^ ]}} plan.port slots
// BLANKS: {{[^ ]}} plan.temporary tokens 512 {
// BLANKS: ) over sequences grid 3 by 2 label

// Every op of the dialect prints as it parses.
// CHECK-LABEL: plan.target @cpu attributes {cpu = "x86-64-v3", cpu_features = ["avx2", "fma"]}
plan.target @cpu attributes {cpu = "x86-64-v3", cpu_features = ["avx2", "fma"]} {
  // CHECK: plan.kernel @norm {block_size = 128 : i32, key = "norm", launch_early, origin = "generated", shared_bytes = 64 : i32}
  plan.kernel @norm {key = "norm", origin = "generated", block_size = 128
      : i32, shared_bytes = 64 : i32, launch_early}
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.kernel @take {key = "take", origin = "generated"}
  plan.kernel @make {key = "make", origin = "generated"}
  // CHECK: plan.function @prefill attributes {row_temporary_bytes_per_row = 256 : i64, temporary_bytes_per_row = 1024 : i64, workspace_bytes = 4608 : i64}
  plan.function @prefill attributes {temporary_bytes_per_row = 1024
      : i64, row_temporary_bytes_per_row = 256 : i64, workspace_bytes = 4608 : i64} {
    // CHECK: %[[W:.*]] = plan.weight @w : tensor<32x64xbf16>
    %w = plan.weight @w : tensor<32x64xbf16>
    // CHECK: %[[S:.*]] = plan.state @scan_state : !m1.scan_state<64x16xf32>
    %s = plan.state @scan_state : !m1.scan_state<64x16xf32>
    // CHECK: %[[P:.*]] = plan.port slots
    %p = plan.port slots
    // CHECK: %[[X:.*]] = plan.temporary tokens 512 {offset = 0 : i64}
    %x = plan.temporary tokens 512 {offset = 0 : i64}
    // CHECK: %[[Y:.*]] = plan.temporary tokens 512 {offset = 512 : i64}
    %y = plan.temporary tokens 512 {offset = 512 : i64}
    // CHECK: %[[A:.*]] = plan.temporary one 512 {offset = 0 : i64}
    %a = plan.temporary one 512 {offset = 0 : i64}
    // CHECK: plan.launch @fill(wo %[[X]], wo %[[A]]) over one grid 1 by 1 label "" {logit_row_bytes = 8 : i64, token_bytes = 64 : i64}
    plan.launch @fill(wo %x, wo %a) over one grid 1 by 1 label "" {token_bytes = 64
        : i64, logit_row_bytes = 8 : i64}
    // CHECK: %[[V:.*]] = plan.view %[[X]] + 256
    %v = plan.view %x + 256
    // CHECK: plan.launch @norm(ro %[[V]], ro %[[W]], rw %[[S]], ro %[[P]], wo %[[Y]]) over sequences grid 3 by 2 label "norm 0"
    plan.launch @norm(ro %v, ro %w, rw %s, ro %p, wo %y) over sequences grid 3 by 2 label "norm 0"
    // CHECK: plan.gemm %[[X]], %[[W]] -> %[[Y]] over tokens label "product"
    plan.gemm %x, %w -> %y over tokens label "product"
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
    // CHECK: %[[M:.*]] = plan.temporary one 4096
    %m = plan.temporary one 4096 {offset = 512 : i64}
    plan.launch @make(wo %m) over one grid 1 by 1 label ""
    // CHECK: plan.gemm %[[X]], %[[M]] -> %[[Y]] over tokens label "made"
    plan.gemm %x, %m -> %y over tokens label "made"
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
    // CHECK: %[[R:.*]] = plan.temporary logit_rows 128
    %r = plan.temporary logit_rows 128 {offset = 0 : i64}
    plan.launch @take(ro %x, wo %r) over logit_rows grid 1 by 1 label ""
    // CHECK: %[[L:.*]] = plan.port logits
    %l = plan.port logits
    // CHECK: %[[B:.*]] = plan.weight @bias
    %b = plan.weight @bias : tensor<32xf32>
    // CHECK: plan.gemm %[[R]], %[[W]] bias %[[B]] -> %[[L]] over logit_rows label "head"
    plan.gemm %r, %w bias %b -> %l over logit_rows label "head"
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}
