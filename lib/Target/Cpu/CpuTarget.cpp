#include "m1c/CpuTarget.h"
#include "m1c/Target.h"

using namespace mlir;

namespace m1c {
namespace {

class CpuTarget : public Target {
public:
  explicit CpuTarget(CpuInfo cpu) : kernelSelector(std::move(cpu)) {}
  KernelSelector &selector() override { return kernelSelector; }

  llvm::Expected<std::vector<CodeObject>> generate(plan::TargetOp plan, CodeTexts &texts) override {
    const CpuInfo &cpu = kernelSelector.cpuInfo();
    OpBuilder b(plan);
    plan.setCpu(cpu.name);
    llvm::SmallVector<llvm::StringRef> features(cpu.requiredFeatures.begin(),
                                                cpu.requiredFeatures.end());
    plan.setCpuFeaturesAttr(b.getStrArrayAttr(features));
    OwningOpRef<ModuleOp> module =
        generateCpuKernels(plan.getContext(), cpu, kernelSelector.kernels());
    auto code = compileCpuKernels(*module, cpu, kernelSelector.kernels(),
                                  {texts.wantLlvm, texts.wantAssembly, texts.wantCode});
    if (!code)
      return code.takeError();
    texts.llvm += code->llvmIr;
    texts.assembly += code->assembly;
    std::vector<CodeObject> objects;
    if (texts.wantCode)
      objects.push_back({"elf", "", std::move(code->elf)});
    return objects;
  }

private:
  CpuSelector kernelSelector;
};

} // namespace

llvm::Expected<std::unique_ptr<Target>> createCpuTarget(llvm::StringRef cpu) {
  auto info = resolveCpu(cpu);
  if (!info)
    return info.takeError();
  return std::make_unique<CpuTarget>(std::move(*info));
}

} // namespace m1c
