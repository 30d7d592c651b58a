// Bodies follow from the facts alone; parameters that are absent have the defaults of the op.
// RUN: m1-opt %s --m1-generate-kernels | FileCheck %s

plan.target @cpu attributes {cpu = "x86-64-v3"} {
  plan.kernel @norm {key = "norm", origin = "generated"} facts {op = "rms_norm", operands = [["x",
      tensor<64xf32>, 64], ["weight", tensor<64xf32>, 0], ["out", tensor<64xf32>, 64]],
      outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64, params = {eps = 1.0e-5 : f64}}
  plan.kernel @conv {key = "conv", origin = "causal_conv1d"} facts {op = "causal_conv1d",
      operands = [["x", tensor<64xf32>, 64], ["weight", tensor<64x1xf32>, 0], ["state",
      tensor<0x64xf32>, 0], ["sequence_starts", tensor<i32>, 0], ["slots", tensor<i32>, 0],
      ["positions", tensor<i32>, 0], ["out", tensor<64xf32>, 64]], outputs = 1 : i64,
      rows = 1 : i64, max_rows = 0 : i64}
  plan.kernel @skip {key = "skip", origin = "generated"} facts {op = "map", name = "skip",
      operands = [["y", tensor<64xf32>, 64], ["x", tensor<64xf32>, 128], ["d", tensor<8xf32>, 0],
      ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 1 : i64, max_rows = 0 : i64,
      params = {body = [["math.fma", array<i64: 2, 1, 0>], ["m1.yield", array<i64: 3>]]}}
}
// CHECK: module @cpu_kernels
// CHECK: func.func @norm
// CHECK: func.func @conv
// CHECK: func.func @skip

plan.target @cuda attributes {chip = "sm_90"} {
  plan.kernel @gather {key = "gather", origin = "generated", block_size = 32 : i32}
      facts {op = "gather_rows", operands = [["x", tensor<64xf32>, 64], ["logit_rows",
      tensor<i32>, 0], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 3 : i64,
      max_rows = 0 : i64, width = 8 : i64, grid_x = 1 : i64}
}
// CHECK: gpu.module @cuda_kernels_sm_90
// CHECK: gpu.func @gather
