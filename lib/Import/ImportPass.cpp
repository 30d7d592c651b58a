// m1-import: brings a checkpoint into m1-opt.
#include "M1/IR/M1.h"
#include "Support/PassStatistic.h"
#include "m1c/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace m1c {

using namespace mlir;

#define GEN_PASS_DECL
#define GEN_PASS_DEF_M1IMPORTPASS
#define GEN_PASS_REGISTRATION
#include "Import/ImportPasses.h.inc"

namespace {

struct ImportPass : impl::M1ImportPassBase<ImportPass> {
  using M1ImportPassBase::M1ImportPassBase;
  m1::PassStatistic layers{*this, "layers"};
  m1::PassStatistic weights{*this, "weights"};
  m1::PassStatistic states{*this, "states"};

  void runOnOperation() override {
    if (directory.empty()) {
      getOperation().emitError("expected a directory, as in --m1-import=directory=MODEL_DIR");
      return signalPassFailure();
    }
    Builder builder(&getContext());
    auto type = [&](StringRef name, bool isCache = false) -> Type {
      if (name == "f32")
        return builder.getF32Type();
      if (name == "bf16")
        return builder.getBF16Type();
      if (name == "f16")
        return builder.getF16Type();
      if (isCache && name == "int8")
        return builder.getI8Type();
      if (isCache && name == "fp8")
        return Float8E4M3FNType::get(&getContext());
      emitError(getOperation().getLoc())
          << "expected type f32, bf16" << (isCache ? ", f16, int8 or fp8" : " or f16") << ", got "
          << name;
      return {};
    };
    ImportOptions options;
    options.activationType = type(activationType);
    options.stateType = type(stateType);
    options.kvType = type(kvType, /*isCache=*/true);
    options.dummy = dummy;
    options.widenMatrices = widenMatrices;
    options.maxPositions = maxPositions;
    if (!options.activationType || !options.stateType || !options.kvType)
      return signalPassFailure();
    CheckpointData data;
    FailureOr<OwningOpRef<ModuleOp>> imported =
        importCheckpoint(getContext(), directory, options, data);
    if (failed(imported))
      return signalPassFailure();
    Block *body = getOperation().getBody();
    body->clear();
    body->getOperations().splice(body->end(), (*imported)->getBody()->getOperations());
    layers += m1::getModel(getOperation()).getLayers();
    weights += llvm::range_size(getOperation().getOps<m1::WeightOp>());
    states += llvm::range_size(getOperation().getOps<m1::StateOp>());
  }
};

} // namespace

void registerImportPass() { registerM1ImportPass(); }

} // namespace m1c
