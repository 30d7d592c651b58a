#ifndef M1_CONVERSION_PASSES
#define M1_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"

def M1ConvertToPlanPass : Pass<"m1-convert-to-plan", "::mlir::ModuleOp"> {
  let summary = "Turn every m1 op into a launch of a kernel of its shapes";
  let description = [{
    Each function of the m1 dialect becomes a `plan.function`, each op a `plan.launch` of the kernel
    that the target's table names; `m1.split` becomes views. Ops with equal shapes, strides, types
    and attributes share a `plan.kernel`, so kernels follow the number of distinct layers.

    It refuses functions other than (tokens, batch) -> (logits, next tokens) of one block;
    `m1.gated_mlp`, which `m1-expand-gated-mlp` expands before; operations without an operand of the
    step's rows; and what the cpu target has no kernel for (states in f16, Mamba-2 heads of another
    size than their state).

    Before:
    ```mlir
    %y = m1.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %1 = plan.temporary tokens 256
    plan.launch @silu_64(%0) -> (%1) over tokens grid 1 by 64 label "silu"
    ```
    Next: `plan-place-buffers`.
  }];
  let options = [Option<"cpu", "cpu", "std::string", "\"x86-64-v3\"",
                        "Instruction set that the kernels are chosen for">];
  let statistics = [Statistic<"numLaunches", "launches", "Launches in all functions">,
                    Statistic<"numKernels", "kernels", "Distinct kernels">];
  let dependentDialects = ["::mlir::plan::PlanDialect"];
}

#endif
