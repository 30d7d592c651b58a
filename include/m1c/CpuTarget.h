// The CPU target: which kernels it takes, their code, and the way to a shared ELF object.
#ifndef M1C_CPUTARGET_H
#define M1C_CPUTARGET_H

#include "m1c/KernelSelector.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/Support/Error.h"
#include <memory>
#include <string>
#include <vector>

namespace llvm {
class TargetMachine;
}

namespace m1c {

/// An instruction set to compile for.
struct CpuInfo {
  std::string name;         // as given to --cpu
  std::string llvmCpu;      // -mcpu
  std::string llvmFeatures; // -mattr, "+a,-b"
  std::vector<std::string>
      requiredFeatures; // what the generated code may use, as /proc/cpuinfo names it; sorted
  bool avx512 = false;
  bool avx512Bf16 = false;
  bool amxBf16 = false;
};

/// One of --cpu: native, x86-64-v3, x86-64-v4, cooperlake, sapphirerapids. The error names the
/// value and what is accepted; so does a native CPU without AVX2 and FMA, the least the kernels are
/// written for.
llvm::Expected<CpuInfo> resolveCpu(llvm::StringRef name);
/// A list as --cpu takes it: names separated by commas, of which no two ask the same of a
/// processor, or `all`.
llvm::Expected<std::vector<CpuInfo>> parseCpus(llvm::StringRef list);

/// A kernel of a plan on the way to its code, which follows from its spec.
struct CpuKernel {
  std::string symbol;
  KernelSpec spec;
};

/// Every op is one launch.
class CpuSelector : public KernelSelector {
public:
  explicit CpuSelector(CpuInfo cpu) : cpu(std::move(cpu)) {}
  int64_t rowStride(int64_t columns, mlir::Type element) const override;
  mlir::LogicalResult select(const KernelSpec &spec, PlanEmitter &emitter) override;
  const CpuInfo &cpuInfo() const { return cpu; }

private:
  mlir::LogicalResult launch(const KernelSpec &spec, llvm::ArrayRef<mlir::Value> operands,
                             PlanEmitter &emitter);
  mlir::LogicalResult quantiseRows(const KernelSpec &linear, PlanEmitter &emitter);
  CpuInfo cpu;
};

/// The kernels as functions over vectors, loops and pointers, each `(operands, dims, group_x,
/// group_y)` as in m1k_abi.h. Fails with an error at the context for an op that there is no kernel
/// of.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
generateCpuKernels(mlir::MLIRContext *context, const CpuInfo &cpu,
                   llvm::ArrayRef<CpuKernel> kernels);

/// What came out of compiling a kernel module; texts only when asked for.
struct CpuCode {
  std::string elf;
  std::string llvmIr; // before optimisation, hand-tuned kernels linked in
  std::string assembly;
};
struct CpuCodeOptions {
  bool keepLlvmIr = false;
  bool keepAssembly = false;
  bool emitElf = true;
};
/// Lowers to LLVM, links the hand-tuned kernels, optimises and links a shared object that needs no
/// other library: its only undefined symbols are memcpy, memset and memmove. `module` is consumed.
/// Errors name the stage.
llvm::Expected<CpuCode> compileCpuKernels(mlir::ModuleOp module, const CpuInfo &cpu,
                                          llvm::ArrayRef<CpuKernel> kernels,
                                          const CpuCodeOptions &options);

} // namespace m1c

#endif
