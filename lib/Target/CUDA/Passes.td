#ifndef M1_CUDA_PASSES
#define M1_CUDA_PASSES

include "mlir/Pass/PassBase.td"

def FuseLaunchesPass : Pass<"plan-fuse-launches", "::mlir::plan::TargetOp"> {
  let summary = "One launch for two of a decode step that one CUDA kernel does together";
  let description = [{
    In the functions of decode steps of a cuda target, a convolution's step joins the selective scan
    that alone reads it, and a product that streams its weights joins the silu·mul that alone reads
    both of its halves. The kernels stem from the `facts` of both; kernels that no launch is left of
    go.

    It refuses, with a remark that says why, a convolution or product that something else reads too,
    and pairs whose types or head sizes the kernels do not take. Prefill keeps its launches: there
    a launch costs nothing. Other devices are left alone.

    Before:
    ```mlir
    plan.launch @causal_conv1d_64_decode(ro %x, ro %w, rw %cs, …, wo %c) over tokens …
    plan.launch @selective_scan_64_decode(ro %c, …, rw %s, …, wo %y) over sequences …
    ```
    After:
    ```mlir
    plan.launch @conv_selective_scan_64_decode(ro %x, ro %w, …, rw %cs, rw %s, …, wo %y) over …
    ```
    Next: `plan-place-buffers`. It runs after `m1-convert-to-plan`.
  }];
  let statistics = [Statistic<"numConvolutions", "convolutions", "Convolutions inside a scan">,
                    Statistic<"numGates", "gates", "Products with silu·mul inside">,
                    Statistic<"numKernels", "kernels-erased", "Kernels without a launch">];
  let dependentDialects = ["::mlir::plan::PlanDialect"];
}

#endif
