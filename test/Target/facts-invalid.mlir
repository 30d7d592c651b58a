// Facts that no operation has are refused before code generation reads them, with the kernel's
// name and what is wrong.
// RUN: m1-opt %s --split-input-file --verify-diagnostics --m1-generate-kernels

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: no kernel is of op 'linea'}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linea", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<32x64xf32>, 0], ["out", tensor<32xf32>, 32]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

// A role that the op asks for is absent.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: facts: }}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<32xf32>, 32]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: operand 1, 'wait', is none of 'linear' or not in its place}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<64xf32>, 64], ["wait", tensor<32x64xf32>, 0], ["out", tensor<32xf32>, 32]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

// Operands out of order.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: operand 1, 'x', is none of 'linear' or not in its place}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["weight",
      tensor<32x64xf32>, 0], ["x", tensor<64xf32>, 64], ["out", tensor<32xf32>, 32]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected output 'out' of 'linear', got 'result'}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<32x64xf32>, 0], ["result", tensor<32xf32>, 32]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

// Outputs that the op doesn't have.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected 1 outputs of 'linear', got 2}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<32x64xf32>, 0], ["out", tensor<32xf32>, 32], ["out",
      tensor<32xf32>, 32]], outputs = 2 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

// Sizes that do not go together: the op's own verifier says so.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: facts: 'm1.linear' op expected weight of shape [N, K] = [32, 60], got [32, 64]}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<60xf32>, 60], ["weight", tensor<32x64xf32>, 0], ["out", tensor<32xf32>, 32]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected operand 'x' of rows that are no longer than their stride, 32}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<64xf32>, 32], ["weight", tensor<32x64xf32>, 0], ["out", tensor<32xf32>, 32]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected operand 'weight' of sizes below 2^31}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<4294967296x64xf32>, 0], ["out", tensor<32xf32>, 32]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected operand 'x' not to be empty}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<0xf32>, 64], ["weight", tensor<32x0xf32>, 0], ["out", tensor<32xf32>, 32]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

// A parameter that code generation reads is absent, of another kind, or unknown.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: facts: 'm1.rms_norm' op requires attribute 'eps'}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "rms_norm", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<64xf32>, 0], ["out", tensor<64xf32>, 64]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: facts: 'm1.rms_norm' op}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "rms_norm", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<64xf32>, 0], ["out", tensor<64xf32>, 64]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64, params = {eps = "small"}}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: 'rms_norm' has no parameter 'epsilon'}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "rms_norm", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<64xf32>, 0], ["out", tensor<64xf32>, 64]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64, params = {epsilon = 1.0e-5 : f64}}
}

// -----

// An array of the batch is absent.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected operand 1 to be 'logit_rows' for 'gather_rows', got 'out'}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "gather_rows", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 3 : i64,
      max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected operand 'logit_rows' to be an array of i32}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "gather_rows", operands = [["x",
      tensor<64xf32>, 64], ["logit_rows", tensor<f32>, 0], ["out", tensor<64xf32>, 64]],
      outputs = 1 : i64, rows = 3 : i64, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected rows that 'gather_rows' can have, got sequences}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "gather_rows", operands = [["x",
      tensor<64xf32>, 64], ["logit_rows", tensor<i32>, 0], ["out", tensor<64xf32>, 64]],
      outputs = 1 : i64, rows = 2 : i64, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: 'gather_rows' does not concern itself with shared prefixes}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "gather_rows", operands = [["x",
      tensor<64xf32>, 64], ["logit_rows", tensor<i32>, 0], ["out", tensor<64xf32>, 64]],
      outputs = 1 : i64, rows = 3 : i64, max_rows = 0 : i64, shared}
}

// -----

// A state of another rank.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: operand 'state': }}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "causal_conv1d", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<64x4xf32>, 0], ["state", tensor<3xf32>, 0],
      ["sequence_starts", tensor<i32>, 0], ["slots", tensor<i32>, 0], ["positions", tensor<i32>,
      0], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

// The code of a map: absent, malformed, with values from nowhere, of other operations, unfinished.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected the code of a map as parameter 'body'}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "map", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: instruction 0 of parameter 'body': expected [operation, numbers of operands, attributes], got 7 : i64}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "map", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64, params = {body = [7]}}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: instruction 0 of parameter 'body': value 1 is none of those before it}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "map", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64, params = {body = [["arith.addf", array<i64: 0, 1>], ["m1.yield",
      array<i64: 1>]]}}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: instruction 0 of parameter 'body': unknown operation 'arith.cosf'}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "map", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64, params = {body = [["arith.cosf", array<i64: 0>], ["m1.yield",
      array<i64: 1>]]}}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: instruction 0 of parameter 'body': 'math.sin' is no scalar arithmetic}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "map", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64, params = {body = [["math.sin", array<i64: 0>], ["m1.yield",
      array<i64: 1>]]}}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: instruction 0 of parameter 'body': expected m1.yield of one value as the last, and only there}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "map", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64, params = {body = [["math.exp", array<i64: 0>]]}}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: facts: 'arith.addf' op expected 2 operands, but found 1}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "map", operands = [["x",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64, params = {body = [["arith.addf", array<i64: 0>], ["m1.yield",
      array<i64: 1>]]}}
}

// -----

// An operand of a map whose length the result's is no multiple of.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: facts: 'm1.map' op expected input 1 of a length that divides C = 64, got 7}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "map", operands = [["x",
      tensor<64xf32>, 64], ["d", tensor<7xf32>, 0], ["out", tensor<64xf32>, 64]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64, params = {body = [["arith.addf",
      array<i64: 0, 1>], ["m1.yield", array<i64: 2>]]}}
}

// -----

// What the device has no kernel for: a cache of f16.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  plan.kernel @k {key = "k", origin = "attention"} facts {op = "attention", operands = [["q",
      tensor<64xf32>, 64], ["cache", tensor<2x64x16xf16>, 0], ["sequence_starts", tensor<i32>, 0],
      ["context_lengths", tensor<i32>, 0], ["block_tables", tensor<i32>, 0], ["out",
      tensor<64xf32>, 64]], outputs = 1 : i64, params = {scale = 2.500000e-01 : f64, window = 0 :
      i64}, rows = 1 : i64, max_rows = 0 : i64}
}
// expected-error @unknown {{kernel k: the cpu target has no attention with a cache of this type; f32 and bf16 are known, and codes of i8 and f8E4M3FN}}

// -----

// Shapes of CUDA kernels: a width that does not divide the row, a grid too small, threads too many.
plan.target @cuda attributes {chip = "sm_90"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected width, block size and grid_x that fit each other and the operands, got 8, 32 and 1}}
  plan.kernel @k {key = "k", origin = "generated", block_size = 32 : i32}
      facts {op = "gather_rows", operands = [["x", tensor<60xf32>, 60], ["logit_rows",
      tensor<i32>, 0], ["out", tensor<60xf32>, 60]], outputs = 1 : i64, rows = 3 : i64,
      max_rows = 0 : i64, width = 8 : i64, grid_x = 1 : i64}
}

// -----

plan.target @cuda attributes {chip = "sm_90"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected width, block size and grid_x that fit each other and the operands, got 4, 128 and 2}}
  plan.kernel @k {key = "k", origin = "generated", block_size = 128 : i32}
      facts {op = "gather_rows", operands = [["x", tensor<4096xf32>, 4096], ["logit_rows",
      tensor<i32>, 0], ["out", tensor<4096xf32>, 4096]], outputs = 1 : i64, rows = 3 : i64,
      max_rows = 0 : i64, width = 4 : i64, grid_x = 2 : i64}
}

// -----

plan.target @cuda attributes {chip = "sm_90"} {
  // expected-error @+1 {{'plan.kernel' op @k: has neither source nor facts with width and grid_x}}
  plan.kernel @k {key = "k", origin = "generated", block_size = 32 : i32}
      facts {op = "gather_rows", operands = [["x", tensor<64xf32>, 64], ["logit_rows",
      tensor<i32>, 0], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 3 : i64,
      max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op has no facts to generate its code from}}
  plan.kernel @k {key = "k", origin = "generated"}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected facts with op, operands, outputs, rows and max_rows}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [],
      outputs = 1 : i64, rows = 1 : i32, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected facts within bounds: outputs among the operands, rows of 0 to 3, max_rows of 32 bits}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected operands as [role, tensor type, row stride] in facts, got ["x", tensor<?xf32>, 64]}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<?xf32>, 64]], outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

// An output without rows.
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  // expected-error @+1 {{'plan.kernel' op @k: expected output 'out' to have rows}}
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "linear", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<32x64xf32>, 0], ["out", tensor<32xf32>, 0]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64}
}

// -----

// Operations that become maps before the plan have no kernels of their own.
// expected-error @unknown {{kernel k: the cpu target has no kernel for 'silu'}}
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  plan.kernel @k {key = "k", origin = "generated"} facts {op = "silu", operands = [["a",
      tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64}
}

// -----

plan.target @cuda attributes {chip = "sm_90"} {
  // expected-error @+1 {{'plan.kernel' op @k: has no source, and 'linear' is none of the operations with generated CUDA kernels}}
  plan.kernel @k {key = "k", origin = "generated", block_size = 32 : i32}
      facts {op = "linear", operands = [["x", tensor<64xbf16>, 64], ["weight",
      tensor<32x64xbf16>, 0], ["out", tensor<32xbf16>, 32]], outputs = 1 : i64, rows = 1 : i64,
      max_rows = 0 : i64, width = 8 : i64, grid_x = 1 : i64}
}
