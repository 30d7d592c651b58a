// RUN: m1-opt %s --pass-pipeline='builtin.module(plan.target(plan.function(plan-place-buffers)))' --split-input-file --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics

// Temporaries that do not live at the same time share bytes, those of one command do not; a view
// keeps its temporary alive.
// CHECK-LABEL: plan.target @chain
plan.target @chain {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.kernel @k {key = "k", origin = "generated"}
  // CHECK: plan.function @prefill attributes {row_temporary_bytes_per_row = 0 : i64, temporary_bytes_per_row = 1536 : i64, workspace_bytes = 0 : i64}
  plan.function @prefill {
    // CHECK: plan.temporary tokens 1000 {offset = 0 : i64}
    %0 = plan.temporary tokens 1000
    %1 = plan.view %0 + 500
    // CHECK: plan.temporary tokens 400 {offset = 1024 : i64}
    %2 = plan.temporary tokens 400
    plan.launch @fill(wo %0) over tokens grid 1 by 1 label "a"
    plan.launch @k(ro %1, wo %2) over tokens grid 1 by 1 label "b"
    // CHECK: plan.temporary tokens 600 {offset = 0 : i64}
    %3 = plan.temporary tokens 600
    plan.launch @k(ro %2, wo %3) over tokens grid 1 by 1 label "c"
  }
}

// -----

// Each domain of rows has its arena, and what no command uses is erased with its views.
// CHECK-LABEL: plan.target @arenas
plan.target @arenas {
  plan.kernel @k {key = "k", origin = "generated"}
  // CHECK: plan.function @decode attributes {row_temporary_bytes_per_row = 256 : i64, temporary_bytes_per_row = 0 : i64, workspace_bytes = 4096 : i64}
  plan.function @decode {
    // CHECK-NOT: plan.temporary tokens
    %0 = plan.temporary tokens 512
    %1 = plan.view %0 + 64
    // CHECK: plan.temporary one 4096 {offset = 0 : i64}
    %2 = plan.temporary one 4096
    // CHECK: plan.temporary logit_rows 10 {offset = 0 : i64}
    %3 = plan.temporary logit_rows 10
    plan.launch @k(wo %2, wo %3) over logit_rows grid 1 by 1 label "a"
  }
}

// What the pass did is counted.
// STATISTICS-DAG: plan-place-buffers bytes-per-row-saved 768
// STATISTICS-DAG: plan-place-buffers temporaries-erased 1
// STATISTICS-DAG: plan-place-buffers temporaries-placed 5
