#include "GeneratedKernels.h"
#include "HandTuned.h"
#include "M1/IR/Int4.h"
#include "Plan/Plan.h"
#include "Ptx.h"
#include "m1c/CudaTarget.h"
#include "m1k_abi.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace m1c {

namespace {

// Arenas, weights, states and batch arrays all begin at multiples of this, in bytes.
constexpr uint64_t baseAlignment = 256;

unsigned alignmentOf(Value buffer) {
  uint64_t bits = baseAlignment;
  while (auto view = buffer.getDefiningOp<plan::ViewOp>()) {
    bits |= uint64_t(view.getOffset());
    buffer = view.getSource();
  }
  return unsigned(bits & (~bits + 1)); // lowest set bit
}

} // namespace

std::string CudaSelector::stemFor(const KernelSpec &spec, const std::string &key) {
  auto [entry, inserted] = stems.try_emplace(key);
  if (inserted) {
    std::string name = spec.name.empty() ? spec.op : spec.name;
    const OperandSpec &shaping =
        spec.outputs ? spec.operands[spec.operands.size() - spec.outputs] : spec.operands.front();
    for (int64_t dim : shaping.dims)
      name += "_" + std::to_string(dim);
    if (spec.decode && key.find(" decode") != std::string::npos)
      name += "_decode";
    int use = uses[name]++;
    entry->second = use ? name + "_v" + std::to_string(use) : name;
  }
  return entry->second;
}

bool CudaSelector::canShare(const KernelSpec &spec) const {
  return cuda::canSharePrefixes(spec, chip);
}

llvm::SmallVector<uint32_t> CudaSelector::smallBatches(func::FuncOp decode) const {
  return cuda::boundsOfRows(decode);
}

LogicalResult CudaSelector::select(const KernelSpec &spec, PlanEmitter &emitter) {
  if (spec.op == "linear" && isa<Float8E4M3FNType>(spec.get("weight").element)) {
    if (cuda::chipNumber(chip.name) < 89)
      return emitter.error() << "has no kernel on the cuda target for weights of f8E4M3FN on "
                             << chip.name
                             << ", which has no instructions for it (sm_89 and newer do); compile "
                                "the model with --quantize int8";
    assert(spec.find("row_scale") < 0 && "m1.quantize_rows before it has no kernel");
  }
  if (const int scale = spec.find("scale"); scale >= 0) {
    const OperandSpec &scales = spec.operands[static_cast<size_t>(scale)];
    if (scales.dims.size() > 2)
      return emitter.error() << "has no kernel on the cuda target for weights in groups of 16 "
                                "columns or with minimums; compile the checkpoint for it";
  }
  if (cuda::isLibraryProduct(spec))
    return selectLibraryProduct(spec, emitter);
  if (cuda::isHandTuned(spec))
    return selectHandTuned(spec, emitter);
  if (const cuda::GeneratedFamily *family = cuda::findGeneratedFamily(spec.op)) {
    if (family->companion)
      emitter.declare(family->companion(spec, chip));
    return selectGenerated(spec, emitter);
  }
  return emitter.error() << "has no kernel on the cuda target; compile the model with --target cpu";
}

/// Whether the library multiplies e4m3 numbers with a scale for each row of either on this chip,
/// and these: in f32 their sums would be less exact than what is around them. It adds no bias of
/// f32, which a bias is where results are.
static bool multipliesCodes(const KernelSpec &linear, const CudaChip &chip) {
  const OperandSpec &x = linear.get("x"), &weight = linear.get("weight");
  return isa<Float8E4M3FNType>(weight.element) && x.element.isBF16() &&
         (linear.find("bias") < 0 || linear.get("out").element.isBF16()) &&
         cuda::chipNumber(chip.name) == 90 && weight.dims[0] % 16 == 0 && weight.dims[1] % 16 == 0;
}

LogicalResult CudaSelector::selectLibraryProduct(const KernelSpec &spec, PlanEmitter &emitter) {
  const OperandSpec &x = spec.get("x"), &weight = spec.get("weight");
  const Value codes = emitter.operand(spec.find("weight"));
  if (spec.find("scale") < 0)
    return selectGemm(spec, emitter, codes, weight.element, {});
  RoundedRows rows;
  const bool ofCodes = multipliesCodes(spec, chip);
  if (isa<Float8E4M3FNType>(weight.element)) {
    FailureOr<RoundedRows> rounded = roundRows(spec, emitter, ofCodes ? weight.element : x.element);
    if (failed(rounded))
      return failure();
    rows = *rounded;
    if (ofCodes)
      return selectGemm(spec, emitter, codes, weight.element, rows);
  }
  // Of numbers that a launch before it makes of the weights.
  std::string stem = "dequantize_";
  if (const OperandSpec &scale = spec.get("scale"); scale.dims.size() == 2)
    stem += std::string(m1::isInt4Pairs(weight.element) ? "int4_" : "int8_") +
            (scale.element.isF16() ? "f16_" : "") + std::to_string(scale.dims.back()) + "_";
  if (isa<Float8E4M3FNType>(weight.element))
    stem += "e4m3_";
  stem += std::string(x.element.isF32() ? "f32_" : "bf16_") + std::to_string(weight.dims[0]) + "x" +
          std::to_string(x.dims.back());
  m1k::cuda::Description description = cuda::describeDequantize(spec, x.element, stem, chip);
  if (!description.error.empty())
    return emitter.error() << "has no CUDA kernel: " << description.error;
  Value numbers = emitter.temporary(RowDomain::one, uint64_t(description.workspace_bytes));
  launchHandTuned(emitter, stem, description.kernels.front(), "dequantize",
                  {codes, emitter.operand(spec.find("scale")), numbers}, 1);
  return selectGemm(spec, emitter, numbers, x.element, rows);
}

FailureOr<CudaSelector::RoundedRows> CudaSelector::roundRows(const KernelSpec &spec,
                                                             PlanEmitter &emitter, Type element) {
  const OperandSpec &x = spec.get("x");
  const int64_t columns = x.dims.back();
  auto nameOf = [](Type type) { return type.isF32() ? "f32" : type.isBF16() ? "bf16" : "e4m3"; };
  std::string stem = std::string("quantize_rows_") + nameOf(x.element) + "_" + nameOf(element) +
                     "_" + std::to_string(columns);
  if (x.rowStride != columns)
    stem += "_of_" + std::to_string(x.rowStride);
  if (spec.domain != RowDomain::tokens)
    stem += "_" + plan::stringifyRowDomain(spec.domain).str();
  m1k::cuda::Description description = cuda::describeQuantizeRows(spec, element, stem, chip);
  if (!description.error.empty())
    return emitter.error() << "has no CUDA kernel: " << description.error;
  RoundedRows rows;
  rows.values =
      emitter.temporary(spec.domain, uint64_t(columns) * (element.getIntOrFloatBitWidth() / 8));
  SmallVector<Value> operands = {emitter.operand(spec.find("x")), rows.values};
  KernelSpec codes; // what plan-fuse-launches knows the launch by
  if (isa<Float8E4M3FNType>(element)) {
    operands.push_back(rows.scales = emitter.temporary(spec.domain, sizeof(float)));
    codes.op = codes.name = "quantize_rows";
    codes.params = DictionaryAttr::get(element.getContext());
    codes.operands = {x,
                      {"codes", element, {columns}, columns},
                      {"scale", Float32Type::get(element.getContext()), {}, 1}};
    codes.outputs = 2;
    codes.domain = spec.domain;
  }
  launchHandTuned(emitter, stem, description.kernels.front(), "quantize_rows", operands,
                  operands.size() - 1, rows.scales ? &codes : nullptr);
  return rows;
}

LogicalResult CudaSelector::selectGemm(const KernelSpec &spec, PlanEmitter &emitter, Value weight,
                                       Type element, RoundedRows rows) {
  const OperandSpec &x = spec.get("x"), &w = spec.get("weight"), &out = spec.get("out");
  if (x.element.isF32() && !out.element.isF32()) // cuBLASLt has no such product
    return emitter.error() << "has no kernel on the cuda target with rows of f32 and results of "
                           << out.element << "; compile the model with --target cpu";
  GemmChoice choice;
  choice.domain = spec.domain;
  choice.a = rows.values ? rows.values : emitter.operand(spec.find("x"));
  choice.w = weight;
  choice.out = emitter.operand(spec.find("out"));
  if (int bias = spec.find("bias"); bias >= 0)
    choice.bias = emitter.operand(bias);
  choice.aType = x.element;
  if (rows.scales) {
    choice.aType = element;
    choice.aScale = rows.scales;
    choice.wScale = emitter.operand(spec.find("scale"));
  }
  choice.n = uint32_t(w.dims[0]);
  choice.k = uint32_t(x.dims.back());
  choice.lda = uint32_t(rows.values ? x.dims.back() : x.rowStride);
  choice.ldo = uint32_t(out.rowStride);
  choice.wType = element;
  choice.outType = out.element;
  emitter.gemm(choice);
  return success();
}

LogicalResult CudaSelector::selectGenerated(const KernelSpec &spec, PlanEmitter &emitter) {
  const cuda::GeneratedFamily &family = *cuda::findGeneratedFamily(spec.op);
  SmallVector<unsigned> alignments;
  SmallVector<Value> operands;
  for (size_t i = 0; i < spec.operands.size(); ++i) {
    operands.push_back(emitter.operand(i));
    alignments.push_back(alignmentOf(operands.back()));
  }
  cuda::KernelShape shape = cuda::shapeGeneratedKernel(spec, alignments);
  KernelChoice choice;
  choice.key = spec.key() + " width " + std::to_string(shape.width);
  if (family.differsInDecode && spec.decode)
    choice.key += " decode";
  choice.name = stemFor(spec, choice.key);
  choice.origin = "generated";
  choice.blockSize = shape.blockSize;
  choice.domain = family.isPerSequence ? RowDomain::sequences : spec.domain;
  choice.gridX = shape.gridX;
  choice.shape = {{"width", shape.width}, {"grid_x", shape.gridX}};
  emitter.launch(choice, operands, spec.outputs);
  return success();
}

LogicalResult CudaSelector::selectHandTuned(const KernelSpec &spec, PlanEmitter &emitter) {
  std::string key = spec.key() + " over " + plan::stringifyRowDomain(spec.domain).str();
  if (spec.decode)
    key += " decode";
  if (cuda::dependsOnMaxRows(spec))
    key += " rows " + std::to_string(spec.maxRows);
  m1k::cuda::Description description = cuda::describeHandTuned(spec, stemFor(spec, key), chip);
  if (!description.error.empty())
    return emitter.error() << "has no CUDA kernel: " << description.error;
  Value workspace, temporary;
  for (auto [index, kernel] : llvm::enumerate(description.kernels)) {
    SmallVector<Value> operands;
    size_t firstOutput = kernel.operands.size();
    for (auto [position, role] : llvm::enumerate(kernel.operands)) {
      int operand = spec.find(role);
      bool isOutput = operand < 0 || size_t(operand) + spec.outputs >= spec.operands.size();
      if (isOutput && firstOutput == kernel.operands.size())
        firstOutput = position;
      if (operand >= 0) {
        operands.push_back(emitter.operand(operand));
      } else if (role == "workspace") {
        if (!workspace)
          workspace = emitter.temporary(RowDomain::one, uint64_t(description.workspace_bytes));
        operands.push_back(workspace);
      } else {
        assert(role == "temporary" && "an operand of the spec, or memory of the launches' own");
        if (!temporary)
          temporary =
              emitter.temporary(RowDomain::tokens, uint64_t(description.temporary_bytes_per_row));
        operands.push_back(temporary);
      }
    }
    launchHandTuned(emitter, key + " part " + std::to_string(index), kernel, spec.op, operands,
                    kernel.operands.size() - firstOutput);
  }
  return success();
}

void CudaSelector::launchHandTuned(PlanEmitter &emitter, const std::string &key,
                                   const m1k::cuda::Kernel &kernel, const std::string &origin,
                                   ArrayRef<Value> operands, size_t outputs,
                                   const KernelSpec *spec) {
  KernelChoice choice;
  choice.spec = spec;
  choice.key = key;
  choice.name = kernel.symbol;
  choice.origin = origin;
  choice.blockSize = uint32_t(kernel.threads);
  choice.sharedBytes = uint32_t(kernel.shared_bytes);
  choice.domain = cuda::rowsOf(kernel.domain);
  choice.gridX = uint32_t(kernel.grid_x);
  choice.rowsPerGroup = uint32_t(kernel.rows_per_group);
  choice.launchEarly = kernel.launch_early;
  choice.source = kernel.source;
  [[maybe_unused]] std::string symbol = emitter.launch(choice, operands, outputs);
  assert(symbol == kernel.symbol && "stems are of one key each");
}

} // namespace m1c
