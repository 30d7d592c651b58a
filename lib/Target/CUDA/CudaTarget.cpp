#include "m1c/CudaTarget.h"
#include "FuseLaunches.h"
#include "GeneratedKernels.h"
#include "Ptx.h"
#include "Toolchain.h"
#include "m1c/Target.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace m1c {
namespace {

constexpr llvm::StringLiteral device = "cuda";

/// One chip. The first of several is "cuda" and keeps PTX, for newer GPUs than any of them.
class CudaTarget : public Target {
public:
  CudaTarget(const CudaChip &chip, bool isFirst)
      : chip(chip), isFirst(isFirst), kernelSelector(chip) {}
  std::string name() const override {
    return isFirst ? device.str() : (device + ":" + chip.name).str();
  }
  void describe(plan::TargetOp plan) const override { plan.setChip(chip.name); }
  KernelSelector &selector() override { return kernelSelector; }

  FailureOr<Operation *> generateKernels(plan::TargetOp plan, OpBuilder &builder) override {
    auto kernels = kernelsOf(plan);
    if (failed(kernels))
      return failure();
    return generateCudaKernels(builder, *kernels, chip).getOperation();
  }

  llvm::Expected<std::vector<CodeObject>> generateCode(plan::TargetOp plan, Operation *bodies,
                                                       CodeRequest &request) override {
    auto kernels = kernelsOf(plan);
    if (failed(kernels))
      return llvm::createStringError(""); // as kernelsOf has reported
    llvm::SmallVector<llvm::StringRef> generated;
    for (const CudaKernel &kernel : *kernels)
      if (kernel.source.empty())
        generated.push_back(kernel.symbol);
    if (auto error = checkBodies(plan, bodies, gpu::GPUModuleOp::getOperationName(), generated))
      return std::move(error);
    // PTX of a chip's own instructions runs nowhere else.
    bool keepsPtx = isFirst && llvm::isDigit(chip.name.back());
    auto code = compileCudaKernels(cast_or_null<gpu::GPUModuleOp>(bodies), *kernels, chip,
                                   keepsPtx || request.wantAssembly, request);
    if (!code)
      return code.takeError();
    // The generated kernels, if any, then the sources.
    llvm::StringMap<int> codeOf;
    int next = bodies ? 1 : 0;
    for (const CudaKernel &kernel : *kernels)
      codeOf[kernel.symbol] = kernel.source.empty() ? 0 : next++;
    for (plan::KernelOp kernel : plan.getOps<plan::KernelOp>())
      kernel.setCode(codeOf.lookup(kernel.getSymName()));
    if (request.wantAssembly)
      for (const CodeObject &object : *code)
        if (object.format == "ptx")
          request.assembly += object.bytes;
    if (!keepsPtx)
      llvm::erase_if(*code, [](const CodeObject &object) { return object.format == "ptx"; });
    if (!request.wantCode)
      code->clear();
    return code;
  }

private:
  /// Those of the plan, in its order.
  static FailureOr<std::vector<CudaKernel>> kernelsOf(plan::TargetOp plan) {
    std::vector<CudaKernel> kernels;
    for (plan::KernelOp op : plan.getOps<plan::KernelOp>()) {
      CudaKernel kernel;
      kernel.symbol = op.getSymName().str();
      kernel.source = op.getSource().value_or("").str();
      if (kernel.source.empty()) {
        DictionaryAttr facts = op.getFactsAttr();
        auto size = [&](StringRef name) {
          auto value = facts ? facts.getAs<IntegerAttr>(name) : IntegerAttr();
          return value && value.getInt() > 0 ? unsigned(value.getInt()) : 0u;
        };
        kernel.width = size("width");
        kernel.gridX = size("grid_x");
        kernel.blockSize = op.getBlockSize();
        auto emitError = [&] { return op.emitOpError() << "@" << op.getSymName() << ": "; };
        if (!kernel.width || !kernel.gridX || !kernel.blockSize)
          return emitError() << "has neither source nor facts with width and grid_x";
        auto spec = KernelSpec::fromAttribute(facts, emitError);
        if (failed(spec))
          return failure();
        if (!cuda::findGeneratedFamily(spec->op))
          return emitError() << "has no source, and '" << spec->op
                             << "' is none of the operations with generated CUDA kernels";
        if (!cuda::isShapeOf(*spec, {kernel.width, kernel.blockSize, kernel.gridX}))
          return emitError() << "expected width, block size and grid_x that fit each other and the "
                                "operands, got "
                             << kernel.width << ", " << kernel.blockSize << " and " << kernel.gridX;
        kernel.spec = std::move(*spec);
      }
      kernels.push_back(std::move(kernel));
    }
    return kernels;
  }

  const CudaChip &chip;
  bool isFirst;
  CudaSelector kernelSelector;
};

llvm::Expected<std::vector<std::unique_ptr<Target>>> create(llvm::StringRef suffix) {
  auto chips = parseCudaChips(suffix);
  if (!chips)
    return chips.takeError();
  std::vector<std::unique_ptr<Target>> targets;
  for (const CudaChip *chip : *chips)
    targets.push_back(std::make_unique<CudaTarget>(*chip, targets.empty()));
  return targets;
}

llvm::Expected<std::unique_ptr<Target>> ofPlan(plan::TargetOp plan) {
  const CudaChip *chip = findCudaChip(plan.getChip().value_or(""));
  if (!chip)
    return llvm::createStringError("plan.target @" + plan.getSymName() +
                                   ": expected a chip as --target cuda:CHIP takes it, got '" +
                                   plan.getChip().value_or("") + "'");
  return std::make_unique<CudaTarget>(*chip, plan.getSymName() == device);
}

} // namespace

void registerCudaTarget() {
  registerTarget({device, "cuda[:sm_80,sm_90]", create, ofPlan, [](OpPassManager &passes) {
                    passes.addPass(createFuseLaunchesPass());
                    passes.addPass(createFuseGatedProductsPass());
                  }});
  registerCudaPasses();
}

} // namespace m1c
