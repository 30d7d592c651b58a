#ifndef M1_IMPORT_PASSES
#define M1_IMPORT_PASSES

include "mlir/Pass/PassBase.td"

def M1ImportPass : Pass<"m1-import", "::mlir::ModuleOp"> {
  let summary = "replace the module by the unfused model of a checkpoint directory";
  let description = [{
    Reads config.json, mamba_config.json and the headers of the safetensors files of `directory`,
    and puts in the place of whatever the module holds: `m1.model`, a `m1.weight` for each tensor, a
    `m1.state` for each scan, convolution and cache, and the functions `prefill` and `decode`,
    whose layers are residual branches: norm, mixer or MLP, addition. Weights name their tensors; no
    data is read. With `dummy`, the configurations suffice.

    It refuses what m1-compile refuses: files that are missing or malformed, fields or values that
    would change the maths and are not understood, tensors that are missing, surplus or of another
    shape, each named.

    Before:
    ```mlir
    module {}
    ```
    After `--m1-import=directory=MODEL_DIR`:
    ```mlir
    m1.model @model {architecture = "m1-mamba1", …}
    m1.weight @embed_tokens : tensor<512x64xf32> {sources = ["model.embed_tokens.weight"]}
    …
    m1.state @layers.0.scan_state : !m1.scan_state<64x16xf32>
    func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
        -> (tensor<?x512xf32>, tensor<?xi32>) {
      …
      %x = m1.rms_norm %h, %n {eps = 1.0e-5 : f64} : …
      … // mixer
      %h1 = m1.add %h, %y : …
      …
    }
    ```
    Next: `m1-expand-gated-mlp`, or all of `m1-optimize`.
  }];
  let options =
      [Option<"directory", "directory", "std::string", "\"\"", "directory of the checkpoint">,
       Option<"activationType", "activation-type", "std::string", "\"f32\"", "f32 or bf16">,
       Option<"stateType", "state-type", "std::string", "\"f32\"", "f32, bf16 or f16">,
       Option<"kvType", "kv-type", "std::string", "\"f32\"", "f32, bf16, f16, int8 or fp8">,
       Option<"dummy", "dummy", "bool", "false", "read only the configuration">,
       Option<"widenMatrices", "widen-matrices", "bool", "false", "all matrices in f32">,
       Option<"maxPositions", "max-positions", "int64_t", "0", "longest context; 0: the model's">];
  let statistics = [Statistic<"layers", "layers", "layers imported">,
                    Statistic<"weights", "weights", "weights imported">,
                    Statistic<"states", "states", "states imported">];
  let dependentDialects = ["::mlir::m1::M1Dialect", "::mlir::func::FuncDialect"];
}

#endif
