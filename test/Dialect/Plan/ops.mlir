// RUN: m1-opt %s | m1-opt | FileCheck %s
// RUN: m1-opt %s --mlir-print-op-generic | m1-opt | FileCheck %s

// Every op of the dialect prints as it parses.
// CHECK-LABEL: plan.target @cpu attributes {cpu = "x86-64-v3", cpu_features = ["avx2", "fma"]}
plan.target @cpu attributes {cpu = "x86-64-v3", cpu_features = ["avx2", "fma"]} {
  // CHECK: plan.kernel @norm {block_size = 128 : i32, key = "norm", launch_early, origin = "generated", shared_bytes = 64 : i32}
  plan.kernel @norm {key = "norm", origin = "generated", block_size = 128
      : i32, shared_bytes = 64 : i32, launch_early}
  // CHECK: plan.function @prefill attributes {row_temporary_bytes_per_row = 256 : i64, temporary_bytes_per_row = 1024 : i64, workspace_bytes = 512 : i64}
  plan.function @prefill attributes {temporary_bytes_per_row = 1024
      : i64, row_temporary_bytes_per_row = 256 : i64, workspace_bytes = 512 : i64} {
    // CHECK: %[[W:.*]] = plan.weight @norm_weight
    %w = plan.weight @norm_weight
    // CHECK: %[[S:.*]] = plan.state @scan_state
    %s = plan.state @scan_state
    // CHECK: %[[P:.*]] = plan.port slots
    %p = plan.port slots
    // CHECK: %[[X:.*]] = plan.temporary tokens 512 {offset = 0 : i64}
    %x = plan.temporary tokens 512 {offset = 0 : i64}
    // CHECK: %[[Y:.*]] = plan.temporary tokens 512 {offset = 512 : i64}
    %y = plan.temporary tokens 512 {offset = 512 : i64}
    // CHECK: %[[A:.*]] = plan.temporary one 512 {offset = 0 : i64}
    %a = plan.temporary one 512 {offset = 0 : i64}
    // CHECK: plan.launch @norm() -> (%[[X]], %[[A]]) over one grid 1 by 1 label "" {logit_row_bytes = 8 : i64, token_bytes = 64 : i64}
    plan.launch @norm() -> (%x, %a) over one grid 1 by 1 label "" {token_bytes = 64
        : i64, logit_row_bytes = 8 : i64}
    // CHECK: %[[V:.*]] = plan.view %[[X]] + 256
    %v = plan.view %x + 256
    // CHECK: plan.launch @norm(%[[V]], %[[W]], %[[S]], %[[P]]) -> (%[[Y]]) over sequences grid 3 by 2 label "norm 0"
    plan.launch @norm(%v, %w, %s, %p) -> (%y) over sequences grid 3 by 2 label "norm 0"
    // CHECK: %[[L:.*]] = plan.port logits
    %l = plan.port logits
    // CHECK: plan.gemm %[[Y]], %[[W]] -> %[[L]] over logit_rows label "head"
    plan.gemm %y, %w -> %l over logit_rows label "head"
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
    // CHECK: plan.gemm %[[Y]], %[[W]] bias %[[A]] -> %[[L]] over tokens label "biased"
    plan.gemm %y, %w bias %a -> %l over tokens label "biased"
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}
