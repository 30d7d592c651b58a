// Wrappers of kernels/cpu: a plan kernel whose body is one call with constants, which specialise
// the callee once it is inlined.
#include "../CallWriter.h"
#include "M1/IR/Int4.h"
#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;

namespace m1c {
namespace {

void writeSelectiveScan(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_selective_scan");
  call.pointers({"out", "x", "dt", "a", "b", "c", "d", "z", "dt_bias", "state", "sequence_starts",
                 "slots", "positions"});
  call.grid();
  int64_t channels = w.columns("out"), states = w.operand("a").dims[1];
  int64_t share =
      std::gcd(channels / (w.columns("b") / states), channels / (w.columns("c") / states));
  if (w.columns("x") != channels)
    share = std::gcd(share, states);
  for (int64_t value : {channels, w.columns("x"), w.columns("b"), w.columns("c"), states, share,
                        int64_t(w.spec.flag("delta_softplus")), int64_t(M1K_CPU_CHANNEL_BLOCK)})
    call.integer(value);
  call.type("state");
  for (StringRef role : {"out", "x", "dt", "b", "c", "z"})
    call.rows(role);
  call.call();
}

void writeSsdScan(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_ssd_scan");
  call.pointers({"out", "x", "dt", "a", "b", "c", "d", "dt_bias", "state", "sequence_starts",
                 "slots", "positions"});
  call.grid();
  const auto &state = w.operand("state").dims; // [H, P, N]
  for (int64_t value : {state[0], state[1], state[2], w.columns("x") / state[1],
                        w.columns("b") / state[2], w.columns("c") / state[2],
                        int64_t(w.spec.flag("delta_softplus")), int64_t(M1K_CPU_CHANNEL_BLOCK)})
    call.integer(value);
  call.type("state");
  for (StringRef role : {"out", "x", "dt", "b", "c"})
    call.rows(role);
  call.call();
}

void writeGatedDelta(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_gated_delta");
  call.pointers({"out", "q", "k", "v", "a", "b", "decay", "dt_bias", "state", "sequence_starts",
                 "slots", "positions"});
  call.grid();
  const auto &state = w.operand("state").dims; // [Hv, Dk, Dv]
  for (int64_t value : {state[0], w.columns("k") / state[1], state[1], state[2]})
    call.integer(value);
  call.real(w.real("eps"));
  call.real(w.real("scale"));
  call.integer(M1K_CPU_CHANNEL_BLOCK);
  call.type("state");
  for (StringRef role : {"out", "q", "k", "v", "a", "b"})
    call.rows(role);
  call.call();
}

void writeCausalConv1d(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_causal_conv1d");
  call.pointers({"out", "x", "weight", "bias", "state", "sequence_starts", "slots", "positions"});
  call.grid();
  bool silu =
      cast<m1::ActivationAttr>(w.spec.params.get("activation")).getValue() == m1::Activation::Silu;
  for (int64_t value : {w.columns("x"), w.operand("weight").dims[1], w.integer("repeat"),
                        w.integer("head_size"), int64_t(silu), int64_t(M1K_CPU_CHANNEL_BLOCK)})
    call.integer(value);
  call.type("state");
  call.rows("out");
  call.rows("x");
  call.call();
}

void writeAttention(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_attention");
  const OperandSpec &cache = w.operand("cache");
  call.pointers({"out", "q", "cache", "sequence_starts", "context_lengths", "block_tables"});
  call.grid();
  for (int64_t value : {w.columns("q") / cache.dims[2], cache.dims[0], cache.dims[2]})
    call.integer(value);
  call.real(w.real("scale"));
  call.integer(w.integer("window"));
  call.integer(rowsPerGroup(w.spec, w.cpu));
  call.type("cache");
  call.rows("out");
  call.rows("q");
  call.call();
}

void writeRouter(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_router");
  call.pointers({"weights", "experts", "logits", "correction"});
  call.rowsOfGroup();
  for (int64_t value : {w.columns("logits"), w.columns("experts"), int64_t(w.spec.flag("sigmoid")),
                        int64_t(w.spec.flag("normalize"))})
    call.integer(value);
  call.real(w.real("scale"));
  call.integer(w.integer("groups"));
  call.integer(w.integer("kept_groups"));
  for (StringRef role : {"weights", "experts", "logits"})
    call.integer64(w.operand(role).rowStride);
  call.call();
}

void writeExpertLinear(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_expert_linear");
  call.pointers({"out", "x", "experts", "weight", "scale"});
  call.groupX();
  call.rowsOfGroup();
  const auto &weight = w.operand("weight").dims;
  int64_t chosen = w.columns("experts"), k = weight[1], group = 0;
  if (w.has("scale") && w.operand("scale").dims.size() > 1) {
    const OperandSpec &scale = w.operand("scale");
    if (m1::isInt4Pairs(w.operand("weight").element))
      k = *m1::int4ColumnsOf(w.columns("x"), chosen, k, scale.dims[1]); // verified
    group = *m1::groupOf(k, scale.dims, scale.element);
  }
  for (int64_t value :
       {weight[0] / w.integer("count"), w.integer("first"), w.columns("out") / chosen, k, chosen,
        int64_t(w.columns("x") != k), int64_t(M1K_CPU_EXPERT_BLOCK), group})
    call.integer(value);
  call.type("weight");
  call.scaleType();
  call.rows("out");
  call.rows("x");
  call.integer64(w.operand("experts").rowStride);
  call.call();
}

void writeCombine(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_combine");
  call.pointers({"out", "x", "weights"});
  call.rowsOfGroup();
  call.integer(w.columns("out"));
  call.integer(w.columns("weights"));
  for (StringRef role : {"out", "x", "weights"})
    call.rows(role);
  call.call();
}

/// A cache whose elements the kernel does not convert.
std::string badCache(const KernelSpec &spec) {
  Type element = spec.get("cache").element;
  if (element.isF32() || element.isBF16() || m1::isCacheCode(element))
    return "";
  return "a cache of this type; f32 and bf16 are known, and codes of i8 and f8E4M3FN";
}

uint32_t blocksOf(const KernelSpec &spec, StringRef role) {
  return llvm::divideCeil(spec.get(role).dims[0], M1K_CPU_CHANNEL_BLOCK);
}
uint32_t outBlocks(const KernelSpec &spec) { return blocksOf(spec, "out"); }
uint32_t inputBlocks(const KernelSpec &spec) { return blocksOf(spec, "x"); }

} // namespace

std::vector<CpuFamily> handTunedFamilies() {
  CpuFamily attention{"attention", {"attention"}, writeAttention};
  attention.differsInDecode = true;
  attention.gridX = [](const KernelSpec &s) { return uint32_t(s.get("cache").dims[0]); };
  attention.rowsPerGroup = [](const KernelSpec &s, const CpuInfo &) -> int64_t {
    return s.decode ? 1 : M1K_CPU_ATTENTION_TOKENS;
  };
  attention.unsupported = badCache;
  std::vector<CpuFamily> families = {
      {"selective_scan", {"selective_scan"}, writeSelectiveScan, true, false, outBlocks},
      {"ssd_scan", {"ssd_scan"}, writeSsdScan, true, false, outBlocks},
      {"gated_delta", {"gated_delta"}, writeGatedDelta, true, false, outBlocks},
      {"causal_conv1d", {"causal_conv1d"}, writeCausalConv1d, true, false, inputBlocks}};
  families.push_back(attention);
  families.push_back({"experts", {"router"}, writeRouter});
  families.push_back({"experts", {"combine"}, writeCombine});
  CpuFamily experts{"experts", {"expert_linear"}, writeExpertLinear};
  experts.gridX = [](const KernelSpec &s) {
    int64_t n = s.get("out").dims[0] / s.get("experts").dims[0];
    return uint32_t(s.integer("count") * llvm::divideCeil(n, M1K_CPU_EXPERT_BLOCK));
  };
  experts.rowsPerGroup = [](const KernelSpec &, const CpuInfo &) -> int64_t {
    return M1K_CPU_EXPERT_TOKENS;
  };
  families.push_back(experts);
  return families;
}

} // namespace m1c
