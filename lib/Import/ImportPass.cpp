// m1-import: brings a checkpoint into m1-opt.
#include "m1c/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace m1c;

namespace {

struct ImportPass : PassWrapper<ImportPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ImportPass)

  ImportPass() = default;
  ImportPass(const ImportPass &other) : PassWrapper(other) {}

  StringRef getArgument() const override { return "m1-import"; }
  StringRef getDescription() const override {
    return "replace the module by the unfused model of a checkpoint directory";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<mlir::m1::M1Dialect, func::FuncDialect>();
  }

  void runOnOperation() override {
    Builder builder(&getContext());
    auto type = [&](StringRef name) -> Type {
      if (name == "f32")
        return builder.getF32Type();
      if (name == "bf16")
        return builder.getBF16Type();
      if (name == "f16")
        return builder.getF16Type();
      emitError(getOperation().getLoc()) << "expected type f32, bf16 or f16, got " << name;
      return {};
    };
    ImportOptions options;
    options.activationType = type(activationType);
    options.stateType = type(stateType);
    options.kvType = type(kvType);
    options.dummy = dummy;
    options.widenMatrices = widenMatrices;
    options.maxPositions = maxPositions;
    if (!options.activationType || !options.stateType || !options.kvType)
      return signalPassFailure();
    CheckpointData data;
    FailureOr<OwningOpRef<ModuleOp>> imported = importCheckpoint(getContext(), directory, options, data);
    if (failed(imported))
      return signalPassFailure();
    Block *body = getOperation().getBody();
    body->clear();
    body->getOperations().splice(body->end(), (*imported)->getBody()->getOperations());
  }

  Option<std::string> directory{*this, "directory", llvm::cl::desc("directory of the checkpoint")};
  Option<std::string> activationType{*this, "activation-type", llvm::cl::desc("f32 or bf16"),
                                     llvm::cl::init("f32")};
  Option<std::string> stateType{*this, "state-type", llvm::cl::desc("f32, bf16 or f16"),
                                llvm::cl::init("f32")};
  Option<std::string> kvType{*this, "kv-type", llvm::cl::desc("f32, bf16 or f16"), llvm::cl::init("f32")};
  Option<bool> dummy{*this, "dummy", llvm::cl::desc("read only the configuration"), llvm::cl::init(false)};
  Option<bool> widenMatrices{*this, "widen-matrices", llvm::cl::desc("all matrices in f32"),
                             llvm::cl::init(false)};
  Option<int64_t> maxPositions{*this, "max-positions", llvm::cl::desc("longest context; 0: the model's"),
                               llvm::cl::init(0)};
};

} // namespace

void m1c::registerImportPass() { PassRegistration<ImportPass>(); }
