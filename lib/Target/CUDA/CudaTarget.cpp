#include "m1c/CudaTarget.h"
#include "Toolchain.h"
#include "m1c/Target.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace m1c {
namespace {

class CudaTarget : public Target {
public:
  explicit CudaTarget(CudaOptions options) : options(std::move(options)) {}
  KernelSelector &selector() override { return kernelSelector; }
  void optimize(plan::TargetOp plan) override { kernelSelector.fuseLaunches(plan); }

  llvm::Expected<std::vector<CodeObject>> generate(plan::TargetOp plan, CodeTexts &texts) override {
    auto code = compileCudaKernels(plan.getContext(), kernelSelector.kernels(), options);
    if (!code)
      return code.takeError();
    // Each chip's objects come in the same order: the generated kernels, if any, then the sources.
    llvm::StringMap<int> codeOf;
    int next =
        llvm::any_of(kernelSelector.kernels(), [](const CudaKernel &k) { return k.source.empty(); })
            ? 1
            : 0;
    for (const CudaKernel &kernel : kernelSelector.kernels())
      codeOf[kernel.symbol] = kernel.source.empty() ? 0 : next++;
    for (plan::KernelOp kernel : plan.getOps<plan::KernelOp>())
      kernel.setCode(codeOf.lookup(kernel.getSymName()));
    if (texts.wantAssembly)
      for (const CodeObject &object : *code)
        if (object.format == "ptx")
          texts.assembly += object.bytes;
    if (!texts.wantCode)
      code->clear();
    return code;
  }

private:
  CudaOptions options;
  CudaSelector kernelSelector;
};

} // namespace

llvm::Expected<std::unique_ptr<Target>> createCudaTarget(llvm::StringRef suffix) {
  auto options = parseCudaTarget(suffix);
  if (!options)
    return options.takeError();
  if (auto toolchain = cuda::Toolchain::open(); !toolchain)
    return toolchain.takeError();
  return std::make_unique<CudaTarget>(std::move(*options));
}

} // namespace m1c
