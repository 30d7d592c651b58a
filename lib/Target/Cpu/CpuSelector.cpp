// The CPU's table of kernels: for each op its writer, its grid and who wrote it.
#include "HandKernels.h"
#include "KernelWriter.h"
#include "m1k_cpu.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace m1c {
namespace {

struct Family {
  void (*write)(KernelWriter &);
  const char *origin; // generated, or the file of kernels/cpu
};

const llvm::StringMap<Family> &families() {
  static const llvm::StringMap<Family> table = {
      {"linear", {writeLinear, "generated"}},
      {"embedding", {writeEmbedding, "generated"}},
      {"gather_rows", {writeGatherRows, "generated"}},
      {"rms_norm", {writeRmsNorm, "generated"}},
      {"add_rms_norm", {writeRmsNorm, "generated"}},
      {"gated_rms_norm", {writeGatedRmsNorm, "generated"}},
      {"add", {writeElementwise, "generated"}},
      {"mul", {writeElementwise, "generated"}},
      {"silu", {writeElementwise, "generated"}},
      {"silu_mul", {writeElementwise, "generated"}},
      {"softplus", {writeElementwise, "generated"}},
      {"skip", {writeElementwise, "generated"}},
      {"repeat_heads", {writeRepeatHeads, "generated"}},
      {"sample", {writeSample, "generated"}},
      {"rotary_table", {writeRotaryTable, "generated"}},
      {"rotary_embedding", {writeRotaryEmbedding, "generated"}},
      {"kv_write", {writeKvWrite, "generated"}},
      {"rotary_kv_write", {writeKvWrite, "generated"}},
      {"selective_scan", {writeSelectiveScan, "selective_scan"}},
      {"ssd_scan", {writeSsdScan, "ssd_scan"}},
      {"causal_conv1d", {writeCausalConv1d, "causal_conv1d"}},
      {"attention", {writeAttention, "attention"}},
  };
  return table;
}

bool isPerSequence(const KernelSpec &spec) {
  return spec.op == "selective_scan" || spec.op == "ssd_scan" || spec.op == "causal_conv1d";
}

/// What the hand-tuned kernels do not cover; empty when all is well.
std::string unsupported(const KernelSpec &spec) {
  for (StringRef role : {"state", "cache"})
    if (int i = spec.find(role);
        i >= 0 && families().lookup(spec.op).origin != StringRef("generated"))
      if (Type element = spec.operands[i].element; !element.isF32() && !element.isBF16())
        return "the cpu target has no " + spec.op + " with a " + role.str() +
               " of this type; f32 and bf16 are known";
  if (spec.op == "ssd_scan" && spec.get("state").dims[1] != spec.get("state").dims[2])
    return "the cpu target has no ssd_scan with a head size of " +
           std::to_string(spec.get("state").dims[1]) + " that differs from the state size of " +
           std::to_string(spec.get("state").dims[2]);
  return "";
}

uint32_t gridX(const KernelSpec &spec) {
  auto blocks = [](int64_t n) {
    return static_cast<uint32_t>((n + M1K_CPU_CHANNEL_BLOCK - 1) / M1K_CPU_CHANNEL_BLOCK);
  };
  if (spec.op == "linear")
    return linearGridX(spec);
  if (spec.op == "causal_conv1d")
    return blocks(spec.get("x").dims[0]);
  if (isPerSequence(spec))
    return blocks(spec.get("out").dims[0]);
  if (spec.op == "attention")
    return static_cast<uint32_t>(spec.get("cache").dims[0]);
  return 1;
}

} // namespace

int64_t rowsPerGroup(const KernelSpec &spec) {
  if (isPerSequence(spec))
    return 1;
  if (spec.op == "attention")
    return spec.decode ? 1 : M1K_CPU_ATTENTION_TOKENS;
  // 64 tokens: x of a few thousand columns stays in L2 beside the block of weights, and weights
  // come from memory once in 64 tokens.
  if (spec.op == "linear")
    return 64;
  // Rows of about 16 k elements a group: some microseconds, well above the cost of handing a group
  // to a thread.
  int64_t columns = spec.operands.back().dims.empty() ? spec.operands.front().dims.back()
                                                      : spec.operands.back().dims.back();
  return std::clamp<int64_t>(16384 / std::max<int64_t>(columns, 1), 1, 64);
}

LogicalResult CpuSelector::select(const KernelSpec &spec, PlanEmitter &emitter) {
  auto family = families().find(spec.op);
  if (family == families().end())
    return emitter.error() << "the cpu target has no kernel for '" << spec.op << "'";
  if (std::string reason = unsupported(spec); !reason.empty())
    return emitter.error() << reason;
  KernelChoice choice;
  choice.key = spec.key() + (spec.op == "attention" && spec.decode ? " decode" : "");
  choice.name = spec.op;
  for (int64_t size : spec.operands.back().dims)
    choice.name += "_" + std::to_string(size);
  choice.origin = family->second.origin;
  choice.domain = isPerSequence(spec) ? Rows::sequences : spec.domain;
  choice.gridX = gridX(spec);
  choice.rowsPerGroup = static_cast<uint32_t>(rowsPerGroup(spec));
  llvm::SmallVector<Value> operands;
  for (size_t i = 0; i < spec.operands.size(); ++i)
    operands.push_back(emitter.operand(i));
  bool isNew = false;
  std::string symbol = emitter.launch(choice, operands, spec.outputs, &isNew);
  if (isNew)
    collected.push_back({symbol, spec});
  return success();
}

OwningOpRef<ModuleOp> generateCpuKernels(MLIRContext *context, const CpuInfo &cpu,
                                         llvm::ArrayRef<CpuKernel> kernels) {
  context->loadDialect<arith::ArithDialect, func::FuncDialect, LLVM::LLVMDialect, math::MathDialect,
                       scf::SCFDialect, vector::VectorDialect>();
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(context));
  for (const CpuKernel &kernel : kernels) {
    KernelWriter writer(*module, cpu, kernel);
    families().lookup(kernel.spec.op).write(writer);
  }
  return module;
}

} // namespace m1c
