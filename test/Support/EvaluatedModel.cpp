#include "EvaluatedModel.h"

#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "m1c/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

namespace m1test {

EvaluatedModel::EvaluatedModel(const std::string &directory, const std::string &pipeline,
                               llvm::StringRef kvType) {
  [[maybe_unused]] static const bool registered = [] {
    m1::registerM1Passes();
    m1::registerOptimizePipeline();
    return true;
  }();
  context.loadDialect<m1::M1Dialect, func::FuncDialect>();
  m1c::ImportOptions options;
  options.activationType = options.stateType = options.kvType = Float32Type::get(&context);
  if (kvType == "int8")
    options.kvType = IntegerType::get(&context, 8);
  else if (kvType == "fp8")
    options.kvType = Float8E4M3FNType::get(&context);
  auto imported = m1c::importCheckpoint(context, directory, options, data);
  if (failed(imported))
    return;
  module = std::move(*imported);
  if (!pipeline.empty()) {
    PassManager passes(&context, ModuleOp::getOperationName());
    if (failed(parsePassPipeline(pipeline, passes)) || failed(passes.run(*module)))
      return;
  }
  auto created = m1c::Reference::create(*module, data);
  if (succeeded(created))
    reference = std::move(*created);
}

std::vector<double> EvaluatedModel::logits(llvm::StringRef function,
                                           const std::vector<m1c::ReferenceSequence> &sequences) {
  auto result = reference->run(function, m1c::makeReferenceBatch(sequences));
  return failed(result) ? std::vector<double>() : result->logits;
}

} // namespace m1test
