// RUN: m1-opt %s --split-input-file --verify-diagnostics

// A target holds kernels and functions only.
plan.target @cpu {
  // expected-error@+1 {{'builtin.module' op is neither a kernel nor a function of the target}}
  builtin.module {}
}

// -----

// Equal keys are one kernel.
plan.target @cpu {
  plan.kernel @a {key = "norm", origin = "generated"}
  // expected-error@+1 {{'plan.kernel' op has the key of kernel @a}}
  plan.kernel @b {key = "norm", origin = "generated"}
}

// -----

plan.target @cpu {
  // expected-error@+1 {{'plan.kernel' op expected a key}}
  plan.kernel @a {key = "", origin = "generated"}
}

// -----

plan.target @cuda {
  // expected-error@+1 {{'plan.kernel' op expected a block of at most 1024 threads, got 2048}}
  plan.kernel @a {key = "norm", origin = "generated", block_size = 2048 : i32}
}

// -----

plan.target @cuda {
  // expected-error@+1 {{'plan.kernel' op expected code of at least 0, got -1}}
  plan.kernel @a {key = "norm", origin = "generated", code = -1 : i32}
}

// -----

plan.target @cuda {
  // expected-error@+1 {{'plan.kernel' op expected block_size of at least 0, got -32}}
  plan.kernel @a {key = "norm", origin = "generated", block_size = -32 : i32}
}

// -----

plan.target @cuda {
  // expected-error@+1 {{'plan.kernel' op expected shared_bytes of at least 0, got -1}}
  plan.kernel @a {key = "norm", origin = "generated", shared_bytes = -1 : i32}
}

// -----

plan.target @cpu {
  // expected-error@+1 {{'plan.function' op expected all three arena sizes or none}}
  plan.function @prefill attributes {temporary_bytes_per_row = 256 : i64} {}
}

// -----

plan.target @cpu {
  // expected-error@+1 {{'plan.function' op expected arenas of a multiple of 256 bytes per row, got 100}}
  plan.function @prefill attributes {temporary_bytes_per_row = 100
      : i64, row_temporary_bytes_per_row = 0 : i64, workspace_bytes = 0 : i64} {}
}

// -----

plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'arith.constant' op is not a command or buffer of a plan}}
    %0 = arith.constant 1 : i32
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.temporary' op expected an offset exactly when the function has arena sizes}}
    %0 = plan.temporary tokens 64 {offset = 0 : i64}
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.temporary' op expected rows to be tokens, logit_rows or one}}
    %0 = plan.temporary sequences 64
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.temporary' op expected a positive number of bytes, got 0}}
    %0 = plan.temporary tokens 0
  }
}

// -----

plan.target @cpu {
  plan.function @prefill attributes {temporary_bytes_per_row = 1024
      : i64, row_temporary_bytes_per_row = 0 : i64, workspace_bytes = 0 : i64} {
    // expected-error@+1 {{'plan.temporary' op expected an offset that is a multiple of 256, got 100}}
    %0 = plan.temporary tokens 64 {offset = 100 : i64}
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    // expected-error@+1 {{'plan.view' op expected an offset of at least 0, got -4}}
    %1 = plan.view %0 + -4
  }
}

// -----

// A view of a view is checked against the temporary's end.
plan.target @cpu {
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    %1 = plan.view %0 + 32
    // expected-error@+1 {{'plan.view' op begins at byte 64 of a temporary of 64 bytes per row}}
    %2 = plan.view %1 + 32
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.port logits
    // expected-error@+1 {{'plan.launch' op expected a grid of at least one group and one row per group, got 0 and 1}}
    plan.launch @k() -> (%0) over tokens grid 0 by 1 label ""
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.weight @w
    // expected-error@+1 {{'plan.launch' op expected outputs other than weights, got @w}}
    plan.launch @k() -> (%0) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    %0 = plan.port logits
    // expected-error@+1 {{'plan.launch' op expected @k to be a kernel of the target}}
    plan.launch @k() -> (%0) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cuda {
  plan.function @prefill {
    %0 = plan.port logits
    // expected-error@+1 {{'plan.gemm' op expected k to be positive, got 0}}
    plan.gemm %0, %0 -> %0 over tokens label ""
      {n = 32 : i32, k = 0 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

plan.target @cuda {
  plan.function @prefill {
    %0 = plan.port logits
    // expected-error@+1 {{'plan.gemm' op expected lda of at least k = 64, got 32}}
    plan.gemm %0, %0 -> %0 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 32 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

plan.target @cuda {
  plan.function @prefill {
    %0 = plan.port logits
    // expected-error@+1 {{'plan.gemm' op expected ldo of at least n = 32, got 31}}
    plan.gemm %0, %0 -> %0 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 31
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// What a step is given stays as it is, whatever command would write it.
plan.target @cuda {
  plan.function @prefill {
    %0 = plan.port positions
    %1 = plan.weight @w
    // expected-error@+1 {{'plan.gemm' op expected outputs other than inputs of the step, got positions}}
    plan.gemm %0, %1 -> %0 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// A temporary holds nothing before a command wrote it, also through a view.
plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    // expected-note@+1 {{the temporary}}
    %0 = plan.temporary tokens 64
    %1 = plan.view %0 + 32
    %2 = plan.temporary tokens 64
    // expected-error@+1 {{'plan.launch' op reads a temporary that no command before it writes}}
    plan.launch @k(%1) -> (%2) over tokens grid 1 by 1 label ""
  }
}

// -----

// The lifetime analysis refuses two temporaries that live at once on the same bytes.
plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill attributes {temporary_bytes_per_row = 512
      : i64, row_temporary_bytes_per_row = 0 : i64, workspace_bytes = 0 : i64} {
    // expected-note@+1 {{the other temporary}}
    %0 = plan.temporary tokens 300 {offset = 0 : i64}
    // expected-error@+1 {{'plan.temporary' op overlaps another temporary that lives at the same time: bytes 256 to 512 and 0 to 300, commands 0 to 1 and 0 to 1}}
    %1 = plan.temporary tokens 256 {offset = 256 : i64}
    plan.launch @k() -> (%0, %1) over tokens grid 1 by 1 label ""
    plan.launch @k(%1) -> (%0) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill attributes {temporary_bytes_per_row = 256
      : i64, row_temporary_bytes_per_row = 0 : i64, workspace_bytes = 0 : i64} {
    // expected-error@+1 {{'plan.temporary' op ends at byte 300 of an arena of 256}}
    %0 = plan.temporary tokens 300 {offset = 0 : i64}
    plan.launch @k() -> (%0) over tokens grid 1 by 1 label ""
  }
}
