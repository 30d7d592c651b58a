// The passes that stay inside the m1 dialect, in the order of the pipeline m1-optimize.
#ifndef M1_PASSES_TD
#define M1_PASSES_TD

include "mlir/Pass/PassBase.td"

def ExpandHybridLayersPass : Pass<"m1-expand-hybrid-layers", "::mlir::func::FuncOp"> {
  let summary = "replace layers by norms, mixer, MLP and residual additions";
  let description = [{
    Inlines both regions of every `m1.hybrid_layer`, with the norms and additions that the op stands for. It refuses nothing: every layer
    expands.

    Before:
    ```mlir
    %h1 = m1.hybrid_layer mamba1 %h, %n0, %n1 {eps = 1.0e-5 : f64} : (...) -> tensor<?x64xf32> mixer {
    ^bb0(%x: tensor<?x64xf32>):
      %y = ... // mixer
      m1.yield %y : tensor<?x64xf32>
    } mlp { ... }
    ```
    After:
    ```mlir
    %x = m1.rms_norm %h, %n0 {eps = 1.0e-5 : f64} : (...) -> tensor<?x64xf32>
    %y = ... // mixer
    %s = m1.add %h, %y : (...) -> tensor<?x64xf32>
    %x1 = m1.rms_norm %s, %n1 {eps = 1.0e-5 : f64} : (...) -> tensor<?x64xf32>
    %y1 = ... // MLP
    %h1 = m1.add %s, %y1 : (...) -> tensor<?x64xf32>
    ```
    Next: `m1-expand-gated-mlp`.
  }];
  let statistics = [Statistic<"layers", "layers", "layers expanded">];
}

#endif
