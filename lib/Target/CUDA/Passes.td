#ifndef M1_CUDA_PASSES
#define M1_CUDA_PASSES

include "mlir/Pass/PassBase.td"

def FuseLaunchesPass : Pass<"plan-fuse-launches", "::mlir::plan::TargetOp"> {
  let summary = "One launch for several of a decode step that one CUDA kernel does together";
  let description = [{
    In the functions of decode steps of a cuda target, a convolution's step joins the selective scan
    that alone reads it. A product that streams its weights takes on what its neighbours do: the
    silu·mul that alone reads both of its halves, the addition of a residual to it alone, and the
    RMS norm of that sum where only such products read it: the first leaves sum ∘ weight and sums
    of squares, the others scale their rows. In all functions a norm takes the rows itself that a
    gather takes for it alone. The kernels stem from the `facts` of all; kernels that no launch is
    left of go.

    It refuses, with a remark that says why, a convolution or product that something else reads too,
    and neighbours whose types or head sizes the kernels do not take. Prefill keeps its other
    launches: there a launch costs nothing. Other devices are left alone.

    Before:
    ```mlir
    plan.launch @causal_conv1d_64_decode(ro %x, ro %w, rw %cs, …, wo %c) over tokens …
    plan.launch @selective_scan_64_decode(ro %c, …, rw %s, …, wo %y) over sequences …
    ```
    After:
    ```mlir
    plan.launch @conv_selective_scan_64_decode(ro %x, ro %w, …, rw %cs, rw %s, …, wo %y) over …
    ```
    Before:
    ```mlir
    plan.launch @linear_64(ro %y, ro %w0, wo %x) over tokens …
    plan.launch @add_rms_norm_64(ro %h, ro %x, ro %v, wo %h1, wo %n) over tokens …
    plan.launch @linear_256(ro %n, ro %w1, wo %u) over tokens …
    ```
    After:
    ```mlir
    plan.launch @residual_linear_norm_64(ro %y, ro %w0, ro %h, ro %v, wo %h1, wo %n, wo %s) over …
    plan.launch @scaled_linear_256(ro %n, ro %w1, ro %s, wo %u) over tokens …
    ```
    Next: `plan-place-buffers`. It runs after `m1-convert-to-plan`.
  }];
  let statistics = [Statistic<"numConvolutions", "convolutions", "Convolutions inside a scan">,
                    Statistic<"numGates", "gates", "Products with silu·mul inside">,
                    Statistic<"numGathers", "gathers", "Norms that gather their rows">,
                    Statistic<"numNorms", "norms", "RMS norms split between products">,
                    Statistic<"numResiduals", "residuals", "Products with a residual inside">,
                    Statistic<"numKernels", "kernels-erased", "Kernels without a launch">];
  let dependentDialects = ["::mlir::m1::M1Dialect", "::mlir::plan::PlanDialect"];
}

#endif
