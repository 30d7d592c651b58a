#include "m1c/CpuTarget.h"
#include "m1c/Target.h"

using namespace mlir;

namespace m1c {
namespace {

constexpr llvm::StringLiteral device = "cpu";

/// One instruction set. The first of several is "cpu"; the loader takes the one that has most of
/// what its processor can do.
class CpuTarget : public Target {
public:
  CpuTarget(CpuInfo cpu, bool isFirst) : isFirst(isFirst), kernelSelector(std::move(cpu)) {}
  std::string name() const override {
    return isFirst ? device.str() : (device + ":" + kernelSelector.cpuInfo().name).str();
  }
  KernelSelector &selector() override { return kernelSelector; }

  void describe(plan::TargetOp plan) const override {
    const CpuInfo &cpu = kernelSelector.cpuInfo();
    plan.setCpu(cpu.name);
    llvm::SmallVector<llvm::StringRef> features(cpu.requiredFeatures.begin(),
                                                cpu.requiredFeatures.end());
    plan.setCpuFeaturesAttr(Builder(plan.getContext()).getStrArrayAttr(features));
  }

  FailureOr<Operation *> generateKernels(plan::TargetOp plan, OpBuilder &builder) override {
    auto kernels = kernelsOf(plan);
    if (failed(kernels))
      return failure();
    auto bodies = generateCpuKernels(plan.getContext(), kernelSelector.cpuInfo(), *kernels);
    if (failed(bodies))
      return failure();
    (*bodies)->setSymName(name() + "_kernels");
    return builder.insert(bodies->release().getOperation());
  }

  llvm::Expected<std::vector<CodeObject>> generateCode(plan::TargetOp plan, Operation *bodies,
                                                       CodeRequest &request) override {
    auto kernels = kernelsOf(plan);
    if (failed(kernels))
      return llvm::createStringError(""); // as kernelsOf has reported
    llvm::SmallVector<llvm::StringRef> symbols;
    for (const CpuKernel &kernel : *kernels)
      symbols.push_back(kernel.symbol);
    if (auto error = checkBodies(plan, bodies, ModuleOp::getOperationName(), symbols))
      return std::move(error);
    const CpuInfo &cpu = kernelSelector.cpuInfo();
    std::string key;
    if (request.cache && !request.wantLlvm && !request.wantAssembly) {
      std::string text;
      llvm::raw_string_ostream(text) << *bodies;
      key = KernelCache::key(
          {"cpu", KernelCache::compilerIdentity(), cpu.name, cpu.llvmCpu, cpu.llvmFeatures, text});
      if (auto kept = request.cache.find(key, 1))
        return std::vector<CodeObject>{{"elf", "", std::move(kept->front())}};
    }
    auto code = compileCpuKernels(cast<ModuleOp>(bodies), cpu, *kernels,
                                  {request.wantLlvm, request.wantAssembly, request.wantCode});
    if (!code)
      return code.takeError();
    request.llvm += code->llvmIr;
    request.assembly += code->assembly;
    std::vector<CodeObject> objects;
    if (!key.empty())
      request.cache.store(key, {code->elf});
    if (request.wantCode)
      objects.push_back({"elf", "", std::move(code->elf)});
    return objects;
  }

private:
  static FailureOr<std::vector<CpuKernel>> kernelsOf(plan::TargetOp plan) {
    std::vector<CpuKernel> kernels;
    for (plan::KernelOp op : plan.getOps<plan::KernelOp>()) {
      if (!op.getFactsAttr())
        return op.emitOpError("has no facts to generate its code from");
      auto emitError = [&] { return op.emitOpError() << "@" << op.getSymName() << ": "; };
      auto spec = KernelSpec::fromAttribute(op.getFactsAttr(), emitError);
      if (failed(spec))
        return failure();
      kernels.push_back({op.getSymName().str(), std::move(*spec)});
    }
    return kernels;
  }

  bool isFirst;
  CpuSelector kernelSelector;
};

llvm::Expected<std::vector<std::unique_ptr<Target>>> create(llvm::StringRef suffix) {
  auto cpus = parseCpus(suffix.empty() ? "native" : suffix);
  if (!cpus)
    return cpus.takeError();
  std::vector<std::unique_ptr<Target>> targets;
  for (CpuInfo &cpu : *cpus)
    targets.push_back(std::make_unique<CpuTarget>(std::move(cpu), targets.empty()));
  return targets;
}

llvm::Expected<std::unique_ptr<Target>> ofPlan(plan::TargetOp plan) {
  auto cpu = resolveCpu(plan.getCpu().value_or("native"));
  if (!cpu)
    return cpu.takeError();
  return std::make_unique<CpuTarget>(std::move(*cpu), plan.getSymName() == device);
}

} // namespace

void registerCpuTarget() {
  registerTarget({device, "cpu[:x86-64-v3,x86-64-v4]", create, ofPlan, nullptr});
}

} // namespace m1c
