// A plan with a kernel that is the text's own, and calls what nobody has.
m1.model @model {architecture = "own", vocab_size = 64, hidden_size = 64, layers = 1,
    max_positions = 64, activation_type = f32, state_type = f32, kv_type = f32}
plan.target @cpu attributes {cpu = "x86-64-v3"} {
  plan.kernel @k {key = "k", origin = "generated", block_size = 32 : i32}
      facts {op = "gather_rows", operands = [["x", tensor<64xf32>, 64], ["logit_rows",
      tensor<i32>, 0], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, rows = 3 : i64,
      max_rows = 0 : i64, width = 2 : i64, grid_x = 1 : i64}
}
module @kernels attributes {m1.kernels_of = "cpu"} {
  func.func private @nowhere()
  func.func @k(%operands: !llvm.ptr, %dims: !llvm.ptr, %x: i32, %y: i32) {
    func.call @nowhere() : () -> ()
    return
  }
}
