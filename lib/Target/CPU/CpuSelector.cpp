// The CPU's table of kernels.
#include "KernelWriter.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace m1c {

#include "CpuFamilies.inc"

const CpuFamily *findCpuFamily(StringRef op) {
  static const std::vector<CpuFamily> families = allFamilies();
  auto found =
      llvm::find_if(families, [&](const CpuFamily &f) { return llvm::is_contained(f.ops, op); });
  return found == families.end() ? nullptr : &*found;
}

int64_t rowsPerGroup(const KernelSpec &spec, const CpuInfo &cpu) {
  const CpuFamily &family = *findCpuFamily(spec.op);
  if (family.isPerSequence)
    return 1;
  if (family.rowsPerGroup)
    return family.rowsPerGroup(spec, cpu);
  // Rows of about 16 k elements a group: some microseconds, well above the cost of handing a group
  // to a thread.
  int64_t columns = spec.operands.back().dims.empty() ? spec.operands.front().dims.back()
                                                      : spec.operands.back().dims.back();
  return std::clamp<int64_t>(16384 / std::max<int64_t>(columns, 1), 1, 64);
}

/// What of the spec its family does not cover; empty when all is well.
static std::string findUnsupported(const CpuFamily &family, const KernelSpec &spec) {
  return family.unsupported ? family.unsupported(spec) : "";
}

/// Columns of neighbouring rows lie in sets of a cache that differ by the row's length: where it is
/// a large power of two, all in a few. An odd number of cache lines takes them through all.
int64_t CpuSelector::rowStride(int64_t columns, Type element) const {
  constexpr int64_t lineBits = 64 * 8, leastLines = 16;
  const int64_t bits = columns * element.getIntOrFloatBitWidth(), lines = bits / lineBits;
  if (bits % lineBits != 0 || lines % 2 != 0 || lines < leastLines)
    return columns;
  return columns + lineBits / element.getIntOrFloatBitWidth();
}

LogicalResult CpuSelector::select(const KernelSpec &spec, PlanEmitter &emitter) {
  if (spec.op == "linear" && isa<Float8E4M3FNType>(spec.get("weight").element) &&
      spec.find("row_scale") < 0)
    return quantiseRows(spec, emitter);
  llvm::SmallVector<Value> operands;
  for (size_t i = 0; i < spec.operands.size(); ++i)
    operands.push_back(emitter.operand(i));
  return launch(spec, operands, emitter);
}

/// A linear that quantises its rows: a launch for that, then one that multiplies the codes. They
/// are held as bf16, which vectors and tiles multiply.
LogicalResult CpuSelector::quantiseRows(const KernelSpec &linear, PlanEmitter &emitter) {
  const auto at = static_cast<size_t>(linear.find("x"));
  const OperandSpec &x = linear.operands[at];
  const int64_t columns = x.dims.back();
  MLIRContext *context = x.element.getContext();
  const int64_t stride = rowStride(columns, BFloat16Type::get(context));
  const OperandSpec codes{"codes", BFloat16Type::get(context), {columns}, stride},
      scale{"scale", Float32Type::get(context), {}, 1};
  Value codesBuffer = emitter.temporary(linear.domain, uint64_t(stride) * 2),
        scaleBuffer = emitter.temporary(linear.domain, sizeof(float));

  KernelSpec rows;
  rows.op = rows.name = "quantize_rows";
  rows.params = DictionaryAttr::get(context);
  rows.operands = {x, codes, scale};
  rows.outputs = 2;
  rows.domain = linear.domain;
  rows.decode = linear.decode;
  rows.maxRows = linear.maxRows;
  if (failed(launch(rows, {emitter.operand(at), codesBuffer, scaleBuffer}, emitter)))
    return failure();

  KernelSpec product = linear;
  llvm::SmallVector<Value> operands;
  for (size_t i = 0; i < linear.operands.size(); ++i)
    operands.push_back(i == at ? codesBuffer : emitter.operand(i));
  product.operands[at] = OperandSpec{"x", codes.element, {columns}, stride};
  const int behind = linear.find("scale") + 1;
  product.operands.insert(product.operands.begin() + behind,
                          OperandSpec{"row_scale", scale.element, {}, 1});
  operands.insert(operands.begin() + behind, scaleBuffer);
  return launch(product, operands, emitter);
}

LogicalResult CpuSelector::launch(const KernelSpec &spec, llvm::ArrayRef<Value> operands,
                                  PlanEmitter &emitter) {
  const CpuFamily *family = findCpuFamily(spec.op);
  if (!family)
    return emitter.error() << "the cpu target has no kernel for '" << spec.op << "'";
  if (std::string reason = findUnsupported(*family, spec); !reason.empty())
    return emitter.error() << "the cpu target has no " << spec.op << " with " << reason;
  KernelChoice choice;
  choice.domain = family->isPerSequence ? RowDomain::sequences : spec.domain;
  // The code compares its rows with their number.
  choice.key = spec.key() + " over " + plan::stringifyRowDomain(choice.domain).str() +
               (family->differsInDecode && spec.decode ? " decode" : "");
  choice.name = spec.name.empty() ? spec.op : spec.name;
  for (int64_t size : spec.operands.back().dims)
    choice.name += "_" + std::to_string(size);
  choice.origin = family->origin;
  choice.gridX = family->gridX ? family->gridX(spec) : 1;
  choice.rowsPerGroup = static_cast<uint32_t>(rowsPerGroup(spec, cpu));
  choice.spec = &spec;
  emitter.launch(choice, operands, spec.outputs);
  return success();
}

FailureOr<OwningOpRef<ModuleOp>> generateCpuKernels(MLIRContext *context, const CpuInfo &cpu,
                                                    llvm::ArrayRef<CpuKernel> kernels) {
  context->loadDialect<arith::ArithDialect, func::FuncDialect, LLVM::LLVMDialect, math::MathDialect,
                       scf::SCFDialect, vector::VectorDialect>();
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(context));
  for (const CpuKernel &kernel : kernels) {
    const CpuFamily *family = findCpuFamily(kernel.spec.op);
    if (!family)
      return emitError(module->getLoc())
             << "kernel " << kernel.symbol << ": the cpu target has no kernel for '"
             << kernel.spec.op << "'";
    if (std::string reason = findUnsupported(*family, kernel.spec); !reason.empty())
      return emitError(module->getLoc()) << "kernel " << kernel.symbol << ": the cpu target has no "
                                         << kernel.spec.op << " with " << reason;
    KernelWriter writer(*module, cpu, kernel);
    family->write(writer);
  }
  return module;
}

} // namespace m1c
