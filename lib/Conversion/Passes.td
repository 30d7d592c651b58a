#ifndef M1_CONVERSION_PASSES
#define M1_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"

def ConvertToPlanPass : Pass<"m1-convert-to-plan", "::mlir::ModuleOp"> {
  let summary = "Turn every m1 op into a launch of a kernel of its shapes";
  let description = [{
    For each of `target`, a list as m1-compile's --target takes it, a `plan.target` is made: each
    function of the m1 dialect becomes a `plan.function`, each op a `plan.launch` of the kernel that
    the target's table names; `m1.split` becomes views. Ops with equal shapes, strides, types
    and attributes share a `plan.kernel`, so kernels follow the number of distinct layers.

    It refuses functions other than (tokens, batch) -> (logits, next tokens) of one block;
    `m1.gated_mlp`, which `m1-expand-gated-mlp` expands before; operations without an operand of the
    step's rows; and what the cpu target has no kernel for (caches of f16, Mamba-2 heads of another
    size than their state).

    Before:
    ```mlir
    %y = m1.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %1 = plan.temporary tokens 256
    plan.launch @silu_64(ro %0, wo %1) over tokens grid 1 by 64 label "silu"
    ```
    Next: `plan-fuse-launches`, then `plan-place-buffers`: both are `--m1-plan`.
  }];
  let options = [Option<"target", "target", "std::string", "\"cpu:x86-64-v3\"",
                        "Devices to plan for, as in cpu:x86-64-v3,cuda:sm_90">];
  let statistics = [Statistic<"numLaunches", "launches", "Launches in all functions">,
                    Statistic<"numKernels", "kernels", "Distinct kernels">];
  let dependentDialects = ["::mlir::plan::PlanDialect"];
}

def GenerateKernelsPass : Pass<"m1-generate-kernels", "::mlir::ModuleOp"> {
  let summary = "Write the bodies of the kernels of every plan";
  let description = [{
    Beside each `plan.target`, an operation with a function for each kernel that the compiler writes
    itself, from the kernel's `facts`: for cpu a module of functions over vectors and pointers, for
    cuda a `gpu.module`. Its attribute `m1.kernels_of` names the plan. Hand-tuned CUDA kernels have
    their `source` in the plan, hand-tuned CPU kernels are calls that code generation inlines.

    It refuses plans of devices that are not known here, and kernels without facts. Plans whose
    kernels are there keep them.

    Before:
    ```mlir
    plan.target @cuda attributes {chip = "sm_90"} {
      plan.kernel @silu_64 {…} facts {op = "silu", …}
      …
    }
    ```
    After:
    ```mlir
    plan.target @cuda attributes {chip = "sm_90"} { … }
    gpu.module @cuda_kernels_sm_90 attributes {m1.kernels_of = "cuda"} {
      gpu.func @silu_64(…) kernel { … }
    }
    ```
    Next: the target's code generation, down to LLVM and PTX.
  }];
  let statistics = [Statistic<"numKernels", "kernels", "Kernels written">];
  let dependentDialects = ["::mlir::m1::M1Dialect", "::mlir::plan::PlanDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect",
                           "::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect",
                           "::mlir::func::FuncDialect", "::mlir::gpu::GPUDialect",
                           "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

#endif
