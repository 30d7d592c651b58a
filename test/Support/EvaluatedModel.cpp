#include "EvaluatedModel.h"

#include "M1/IR/Groups.h"
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "Quantize.h"
#include "m1c/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/bit.h"

#include <algorithm>
#include <cmath>

using namespace mlir;

namespace m1test {
namespace {

/// Each value of the row: its integer times the scale of its group. `bits`: 8 or 4.
void quantiseRow(double *values, int64_t count, int bits, int64_t group) {
  std::vector<float> row(values, values + count);
  std::vector<uint16_t> scales((count + group - 1) / group);
  if (bits == 8)
    m1c::int8GroupScales(row, group, scales.data());
  else
    m1c::int4Scales(row, {}, group, scales.data());
  const float least = bits == 8 ? -127 : -8, largest = bits == 8 ? 127 : 7;
  for (int64_t i = 0; i < count; ++i) {
    float scale = llvm::bit_cast<float>(uint32_t(scales[i / group]) << 16);
    values[i] =
        scale != 0 ? double(scale) * std::nearbyint(std::clamp(row[i] / scale, least, largest)) : 0;
  }
}

/// The same with one scale, a float.
void quantiseRow(double *values, int64_t count) {
  std::vector<float> row(values, values + count);
  std::vector<int8_t> codes(count);
  m1c::quantizeInt8(row, codes.data());
  for (int64_t i = 0; i < count; ++i)
    values[i] = double(m1c::int8Scale(row)) * codes[i];
}

} // namespace

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

Checkpoint EvaluatedModel::quantised(Checkpoint checkpoint) {
  for (auto weight : module->getOps<m1::WeightOp>()) {
    std::optional<m1::GroupForm> form = m1::groupFormOf(weight.getTransform());
    if (!form && weight.getTransform() != m1::Transform::Int8Rows)
      continue;
    for (auto source : weight.getSourcesAttr().getAsRange<StringAttr>()) {
      Tensor &tensor = checkpoint.tensors.at(source.str());
      const int64_t columns = tensor.shape.back();
      for (int64_t begin = 0; begin < tensor.count(); begin += columns) {
        if (form)
          quantiseRow(&tensor.values[begin], columns, form->bits, form->group);
        else
          quantiseRow(&tensor.values[begin], columns);
      }
    }
  }
  return checkpoint;
}

} // namespace m1test
