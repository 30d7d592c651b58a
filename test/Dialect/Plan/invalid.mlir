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
    plan.launch @k(wo %0) over tokens grid 0 by 1 label ""
  }
}

// -----

m1.weight @w : tensor<4xf32> {sources = ["w"]}
plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.weight @w : tensor<4xf32>
    // expected-error@+1 {{'plan.launch' op expected outputs other than weights, got @w}}
    plan.launch @k(wo %0) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    %0 = plan.port logits
    // expected-error@+1 {{'plan.launch' op expected @k to be a kernel of the target}}
    plan.launch @k(wo %0) over tokens grid 1 by 1 label ""
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

// What a step is given stays as it is.
plan.target @cuda {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.port positions
    // expected-error@+1 {{'plan.launch' op expected outputs other than inputs of the step, got positions}}
    plan.launch @k(wo %0) over tokens grid 1 by 1 label ""
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
    plan.launch @k(ro %1, wo %2) over tokens grid 1 by 1 label ""
  }
}

// -----

// The lifetime analysis refuses two temporaries that live at once on the same bytes.
plan.target @cpu {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill attributes {temporary_bytes_per_row = 512
      : i64, row_temporary_bytes_per_row = 0 : i64, workspace_bytes = 0 : i64} {
    // expected-note@+1 {{the other temporary}}
    %0 = plan.temporary tokens 300 {offset = 0 : i64}
    // expected-error@+1 {{'plan.temporary' op overlaps another temporary that lives at the same time: bytes 256 to 512 and 0 to 300, commands 0 to 1 and 0 to 1}}
    %1 = plan.temporary tokens 256 {offset = 256 : i64}
    plan.launch @fill(wo %0, wo %1) over tokens grid 1 by 1 label ""
    plan.launch @k(ro %1, wo %0) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill attributes {temporary_bytes_per_row = 256
      : i64, row_temporary_bytes_per_row = 0 : i64, workspace_bytes = 0 : i64} {
    // expected-error@+1 {{'plan.temporary' op ends at byte 300 of an arena of 256}}
    %0 = plan.temporary tokens 300 {offset = 0 : i64}
    plan.launch @k(wo %0) over tokens grid 1 by 1 label ""
  }
}

// -----

// A view of itself is refused, not followed.
plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.view' op uses a buffer before its definition}}
    %2 = plan.view %2 + 32
  }
}

// -----

// So is one of two that are views of each other.
plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.view' op uses a buffer before its definition}}
    %2 = plan.view %3 + 32
    %3 = plan.view %2 + 32
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    // expected-error@+1 {{'plan.launch' op uses a buffer before its definition}}
    plan.launch @k(wo %0) over tokens grid 1 by 1 label ""
    %0 = plan.temporary tokens 64
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    %0 = plan.port logits
    %1 = plan.view %0 + 9223372036854775807
    // expected-error@+1 {{'plan.view' op begins beyond any buffer}}
    %2 = plan.view %1 + 1
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.temporary' op expected an end that 64 bits hold}}
    %0 = plan.temporary tokens 9223372036854775807
  }
}

// -----

plan.target @cpu {
  // expected-error@+1 {{'plan.function' op expected a body without arguments, got 1}}
  "plan.function"() <{sym_name = "prefill"}> ({
  ^bb0(%0: !plan.buffer):
  }) : () -> ()
}

// -----

// Symbols that a plan names are there, are what they should be, and have the type that is said.
m1.state @w : !m1.scan_state<64x16xf32>
plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.weight' op expected @w to be an m1.weight beside the target}}
    %0 = plan.weight @w : tensor<64x16xf32>
  }
}

// -----

plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.state' op expected @nowhere to be an m1.state beside the target}}
    %0 = plan.state @nowhere : !m1.scan_state<64x16xf32>
  }
}

// -----

// expected-note@+1 {{declared here}}
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cpu {
  plan.function @prefill {
    // expected-error@+1 {{'plan.weight' op expected the type of @w, got 'tensor<32x64xf32>'}}
    %0 = plan.weight @w : tensor<32x64xf32>
  }
}

// -----

// Groups run in any order: what they write nothing else of the launch may be, state or temporary.
m1.state @s : !m1.scan_state<64x16xf32>
plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.state @s : !m1.scan_state<64x16xf32>
    %1 = plan.state @s : !m1.scan_state<64x16xf32>
    // expected-error@+1 {{'plan.launch' op writes operand 1, which is operand 0 as well}}
    plan.launch @k(ro %0, rw %1) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cpu {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    plan.launch @fill(wo %0) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.launch' op writes operand 1, which is operand 0 as well}}
    plan.launch @k(ro %0, wo %0) over tokens grid 1 by 1 label ""
  }
}

// -----

// A buffer that is read and written has to hold something.
plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    // expected-note@+1 {{the temporary}}
    %0 = plan.temporary tokens 64
    // expected-error@+1 {{'plan.launch' op reads a temporary that no command before it writes}}
    plan.launch @k(rw %0) over tokens grid 1 by 1 label ""
  }
}

// -----

// All launches of a kernel give it the same list of operands.
plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    %1 = plan.temporary tokens 64
    // expected-note@+1 {{another launch}}
    plan.launch @k(wo %0) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.launch' op expected the operands of the kernel's other launches, (wo), got (ro, wo)}}
    plan.launch @k(ro %0, wo %1) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    // expected-error@+1 {{expected ro, wo or rw, got 'write'}}
    plan.launch @k(write %0) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    // expected-error@+1 {{'plan.launch' op expected an access for each of 1 buffers, got 2}}
    "plan.launch"(%0) <{accesses = array<i32: 1, 1>, domain = #plan<rows tokens>, grid_x = 1
        : i32, kernel = @k, label = "", rows_per_group = 1 : i32}> : (!plan.buffer) -> ()
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    // expected-error@+1 {{'plan.launch' op expected accesses of 0 (ro), 1 (wo) and 2 (rw), got 3}}
    "plan.launch"(%0) <{accesses = array<i32: 3>, domain = #plan<rows tokens>, grid_x = 1
        : i32, kernel = @k, label = "", rows_per_group = 1 : i32}> : (!plan.buffer) -> ()
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    // expected-error@+1 {{'plan.launch' op expected written_rows of [operand that is written, f32, bf16 or i32, columns, columns from row to row], got [1, f32, 16, 16]}}
    plan.launch @k(wo %0) over tokens grid 1 by 1 label "" {written_rows = [[1, f32, 16, 16]]}
  }
}

// -----

plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %0 = plan.temporary tokens 64
    // expected-error@+1 {{expected written_rows of [operand that is written, f32, bf16 or i32, columns, columns from row to row], got "no rows"}}
    plan.launch @k(wo %0) over tokens grid 1 by 1 label "" {written_rows = ["no rows"]}
  }
}

// -----

// A product multiplies what tensor cores and f32 pipes do.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected w_type to be f32 or bf16, got 'f64'}}
    plan.gemm %0, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = f64, out_type = f32}
  }
}

// -----

// Its rows are those of the step or of the logits.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected rows over tokens or logit_rows, got sequences}}
    plan.gemm %0, %w -> %1 over sequences label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// Its rows lie within their buffers.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected a within 128 bytes per row, got a stride of 256 and an end at byte 128}}
    plan.gemm %0, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 128 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// Pieces of rows, too.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    %v = plan.view %0 + 32
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected a within 128 bytes per row, got a stride of 128 and an end at byte 160}}
    plan.gemm %v, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// And are as many as those of the product.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected a to have rows over tokens, got logit_rows}}
    plan.gemm %2, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// Logits are there for the rows that want them.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected out to be rows over tokens, got port logits}}
    plan.gemm %0, %w -> %l over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// A state is no matrix of rows.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected a to be a temporary or the logits}}
    plan.gemm %w, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// The matrix is a weight of its size.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected w to be a weight of type 'tensor<16x64xbf16>', got 'tensor<32x64xbf16>'}}
    plan.gemm %0, %w -> %1 over tokens label ""
      {n = 16 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// Or a temporary of all its bytes.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.temporary one 2048
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    plan.launch @fill(wo %0, wo %w) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected w to be a weight or the first 4096 bytes of a temporary over one, got 2048 bytes from byte 0 of one over one}}
    plan.gemm %0, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// Which a command before wrote.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    // expected-note@+1 {{the temporary}}
    %w = plan.temporary one 4096
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    plan.launch @fill(wo %0) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op reads a temporary that no command before it writes}}
    plan.gemm %0, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// In the type of the rows, as nothing converts it.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.temporary one 8192
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    plan.launch @fill(wo %0, wo %w) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected a temporary as w to have the type of a, 'bf16', got 'f32'}}
    plan.gemm %0, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = f32, out_type = f32}
  }
}

// -----

// So is the bias.
m1.weight @w : tensor<32x64xbf16> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xbf16>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %2 = plan.temporary logit_rows 128
    %l = plan.port logits
    plan.launch @fill(wo %0, wo %2) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected bias to be a weight of type 'tensor<32xf32>', got 'tensor<32x64xbf16>'}}
    plan.gemm %0, %w bias %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = bf16, out_type = f32}
  }
}

// -----

// What kernels touch of rows lies within the rows.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [132, 132]
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    // expected-error@+1 {{'plan.launch' op touches 132 of every 132 bytes of operand 0 from byte 0, which has rows of 128 bytes}}
    plan.launch @fill(wo %0) over tokens grid 1 by 1 label ""
  }
}

// -----

// Also behind an offset.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [64, 128]
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    %1 = plan.view %0 + 96
    // expected-error@+1 {{'plan.launch' op touches 64 of every 128 bytes of operand 0 from byte 96, which has rows of 128 bytes}}
    plan.launch @fill(wo %1) over tokens grid 1 by 1 label ""
  }
}

// -----

// Workspace has a size.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [256, 0]
  plan.function @prefill {
    %0 = plan.temporary one 128
    // expected-error@+1 {{'plan.launch' op touches 256 of every 0 bytes of operand 0 from byte 0, which is workspace of 128 bytes}}
    plan.launch @fill(wo %0) over tokens grid 1 by 1 label ""
  }
}

// -----

// So has a weight.
m1.weight @w : tensor<8xf32> {sources = ["w"]}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [64, 0]
  plan.function @prefill {
    %0 = plan.weight @w : tensor<8xf32>
    // expected-error@+1 {{'plan.launch' op touches 64 of every 0 bytes of operand 0 from byte 0, which is a weight of 32 bytes}}
    plan.launch @fill(ro %0) over tokens grid 1 by 1 label ""
  }
}

// -----

// Arrays of the batch are the runtime's.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [4, 4]
  plan.function @prefill {
    %0 = plan.port slots
    // expected-error@+1 {{'plan.launch' op touches 4 of every 4 bytes of operand 0 from byte 0, which is a batch array}}
    plan.launch @fill(ro %0) over tokens grid 1 by 1 label ""
  }
}

// -----

// Results of the runtime are rows.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [4, 0]
  plan.function @prefill {
    %0 = plan.port next_tokens
    // expected-error@+1 {{'plan.launch' op touches 4 of every 0 bytes of operand 0 from byte 0, which are rows}}
    plan.launch @fill(wo %0) over logit_rows grid 1 by 1 label ""
  }
}

// -----

// Every operand has its extent.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [128, 128]
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    // expected-error@+1 {{'plan.launch' op expected 1 operands, as @fill has extents, got 2}}
    plan.launch @fill(wo %0, wo %1) over tokens grid 1 by 1 label ""
  }
}

// -----

// Extents are no negative numbers.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [-4, 128]
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    // expected-error@+1 {{'plan.launch' op touches -4 of every 128 bytes of operand 0 from byte 0, which is out of range}}
    plan.launch @fill(wo %0) over tokens grid 1 by 1 label ""
  }
}

// -----

plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"} extents [9223372036854775807, 128]
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    %1 = plan.view %0 + 64
    // expected-error@+1 {{'plan.launch' op touches 9223372036854775807 of every 128 bytes of operand 0 from byte 64, which 64 bits do not hold}}
    plan.launch @fill(wo %1) over tokens grid 1 by 1 label ""
  }
}

// -----

// A kernel has one grid, whoever launches it.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    // expected-note@+1 {{another launch}}
    plan.launch @fill(wo %0) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.launch' op expected the grid of the kernel's other launches, 1 by 1, got 2 by 1}}
    plan.launch @fill(wo %0) over tokens grid 2 by 1 label ""
  }
}

// -----

// A tensor map is five numbers.
plan.target @cuda {
  // expected-error@+1 {{'plan.kernel' op expected five numbers for each tensor map, got 4}}
  plan.kernel @fill {key = "fill", origin = "tuned", tensor_maps = array<i64: 0, 0, 64, 128>}
      extents [128, 128]
}

// -----

// Tensor maps are of operands.
plan.target @cuda {
  // expected-error@+1 {{'plan.kernel' op expected tensor maps of operands with extents, got operand 1}}
  plan.kernel @fill {key = "fill", origin = "tuned", tensor_maps = array<i64: 1, 0, 64, 128, 16>}
      extents [128, 128]
}

// -----

// Rows of a tensor map are multiples of 16 bytes.
plan.target @cuda {
  // expected-error@+1 {{'plan.kernel' op expected a tensor map of [operand, rows, columns, bytes of a row (a multiple of 16), rows of a box (1 to 256)], got [0, 0, 50, 100, 16]}}
  plan.kernel @fill {key = "fill", origin = "tuned", tensor_maps = array<i64: 0, 0, 50, 100, 16>}
      extents [100, 100]
}

// -----

// A tensor map lies within what the kernel touches.
plan.target @cuda {
  // expected-error@+1 {{'plan.kernel' op has a tensor map of operand 0 that is not within its 4096 bytes every 0}}
  plan.kernel @fill {key = "fill", origin = "tuned", tensor_maps = array<i64: 0, 33, 64, 128, 16>}
      extents [4096, 0]
}

// -----

// Kernels with tensor maps have no body in PTX: other functions must be there.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "tuned", tensor_maps = array<i64: 0, 0, 64, 128, 16>}
      extents [128, 128]
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    // expected-error@+1 {{'plan.launch' op expected a function with min_rows, as @fill takes tensor maps}}
    plan.launch @fill(wo %0) over tokens grid 1 by 1 label ""
  }
}

// -----

// Tensor maps begin at multiples of 16 bytes.
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "tuned", tensor_maps = array<i64: 0, 0, 32, 128, 16>}
      extents [64, 128]
  plan.function @prefill attributes {min_rows = 4 : i32} {
    %0 = plan.temporary tokens 128
    %1 = plan.view %0 + 8
    // expected-error@+1 {{'plan.launch' op expected operand 0, a tensor map, to begin at a multiple of 16 bytes, got 8}}
    plan.launch @fill(wo %1) over tokens grid 1 by 1 label ""
  }
}

// -----

// A function is for some numbers of rows.
plan.target @cuda {
  // expected-error@+1 {{'plan.function' op expected min_rows of 0 to max_rows = 8, got 9}}
  plan.function @prefill attributes {min_rows = 9 : i32, max_rows = 8 : i32} {
  }
}

// -----

// Scales stand on both sides, which only the generic form can say otherwise …
plan.target @cuda {
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    // expected-error@+1 {{'plan.gemm' op expected scales of both a and w, got those of a alone}}
    "plan.gemm"(%0, %0, %0, %0) <{a_type = f8E4M3FN, w_type = f8E4M3FN, out_type = f32,
        n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32 : i32, label = "",
        domain = #plan<rows tokens>,
        operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1>}>
        : (!plan.buffer, !plan.buffer, !plan.buffer, !plan.buffer) -> ()
  }
}

// -----

// … of weights that have them …
m1.weight @w : tensor<32x64xf8E4M3FN> {sources = ["w"], transform = #m1<transform fp8_rows>}
plan.target @cuda {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @w : tensor<32x64xf8E4M3FN>
    %0 = plan.temporary tokens 128
    %1 = plan.temporary tokens 128
    %s = plan.temporary tokens 4
    plan.launch @fill(wo %0, wo %s) over tokens grid 1 by 1 label ""
    // expected-error@+1 {{'plan.gemm' op expected w_scale to be a weight of type 'tensor<32xf32>', got 'tensor<32x64xf8E4M3FN>'}}
    plan.gemm %0, %w scales %s, %w -> %1 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = f8E4M3FN, w_type = f8E4M3FN, out_type = f32}
  }
}

// -----

// … of e4m3 numbers …
plan.target @cuda {
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    // expected-error@+1 {{'plan.gemm' op expected a_type to be f8E4M3FN with scales, got 'bf16'}}
    plan.gemm %0, %0 scales %0, %0 -> %0 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = bf16, w_type = f8E4M3FN, out_type = f32}
  }
}

// -----

// … which have some.
plan.target @cuda {
  plan.function @prefill {
    %0 = plan.temporary tokens 128
    // expected-error@+1 {{'plan.gemm' op expected a_type to be f32 or bf16, got 'f8E4M3FN'}}
    plan.gemm %0, %0 -> %0 over tokens label ""
      {n = 32 : i32, k = 64 : i32, lda = 64 : i32, ldo = 32
          : i32, a_type = f8E4M3FN, w_type = f8E4M3FN, out_type = f32}
  }
}
