#include "../HandTuned.h"
#include "../Ptx.h"
#include "M1/IR/Int4.h"
#include "M1/IR/M1.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cassert>
#include <limits>

using namespace mlir;
namespace mk = m1k::cuda;

namespace m1c::cuda {

mk::Type typeOf(const KernelSpec &spec, StringRef role, std::string &error) {
  Type type = spec.get(role).element;
  if (type.isF32())
    return mk::Type::f32;
  if (type.isBF16())
    return mk::Type::bf16;
  if (type.isF16())
    return mk::Type::f16;
  if (type.isSignlessInteger(8))
    return mk::Type::i8;
  if (m1::isInt4Pairs(type))
    return mk::Type::i4x2;
  if (isa<Float8E4M3FNType>(type))
    return mk::Type::e4m3;
  error = "operand '" + role.str() + "' is neither f32, bf16, f16, i8, e4m3 nor pairs of int4";
  return mk::Type::f32;
}

namespace {

int columnsOf(const KernelSpec &spec, StringRef role) { return int(spec.get(role).dims.back()); }
int64_t stride(const KernelSpec &spec, StringRef role) { return spec.get(role).rowStride; }
bool has(const KernelSpec &spec, StringRef role) { return spec.find(role) >= 0; }
/// The families' numbers of rows are the plan's.
static_assert(int(mk::Domain::one) == int(RowDomain::one) &&
              int(mk::Domain::tokens) == int(RowDomain::tokens) &&
              int(mk::Domain::sequences) == int(RowDomain::sequences) &&
              int(mk::Domain::logit_rows) == int(RowDomain::logit_rows));
mk::Domain domainOf(RowDomain rows) { return static_cast<mk::Domain>(rows); }

/// Whether the weights have scales of groups.
bool hasGroups(const KernelSpec &spec) {
  return has(spec, "scale") && spec.get("scale").dims.size() == 2;
}
/// Columns of a scale of weights in rows of k, and its type.
template <class Facts>
void setGroup(Facts &facts, const KernelSpec &spec, int64_t k, std::string &error) {
  if (!hasGroups(spec))
    return;
  facts.group = int(m1::groupOf(k, columnsOf(spec, "scale")).value_or(0));
  facts.scale_type = typeOf(spec, "scale", error);
}

/// The type of an operand that may be absent.
mk::Type typeIfAny(const KernelSpec &spec, StringRef role, std::string &error) {
  return has(spec, role) ? typeOf(spec, role, error) : mk::Type::f32;
}

mk::SelectiveScan selectiveScan(const KernelSpec &spec, std::string &error) {
  mk::SelectiveScan facts;
  facts.x_type = typeOf(spec, "x", error);
  facts.dt_type = typeOf(spec, "dt", error);
  facts.b_type = typeOf(spec, "b", error);
  facts.c_type = typeOf(spec, "c", error);
  facts.z_type = typeIfAny(spec, "z", error);
  facts.out_type = typeOf(spec, "out", error);
  facts.state_type = typeOf(spec, "state", error);
  facts.d_inner = columnsOf(spec, "out");
  facts.d_state = columnsOf(spec, "a");
  facts.x_columns = columnsOf(spec, "x");
  facts.b_heads = columnsOf(spec, "b") / facts.d_state;
  facts.c_heads = columnsOf(spec, "c") / facts.d_state;
  facts.x_stride = stride(spec, "x");
  facts.dt_stride = stride(spec, "dt");
  facts.b_stride = stride(spec, "b");
  facts.c_stride = stride(spec, "c");
  facts.has_z = has(spec, "z");
  facts.z_stride = facts.has_z ? stride(spec, "z") : 0;
  facts.out_stride = stride(spec, "out");
  facts.has_d = has(spec, "d");
  facts.has_dt_bias = has(spec, "dt_bias");
  facts.delta_softplus = spec.flag("delta_softplus");
  facts.decode = spec.decode;
  return facts;
}

mk::SsdScan ssdScan(const KernelSpec &spec, std::string &error) {
  mk::SsdScan facts;
  facts.x_type = typeOf(spec, "x", error);
  facts.dt_type = typeOf(spec, "dt", error);
  facts.b_type = typeOf(spec, "b", error);
  facts.c_type = typeOf(spec, "c", error);
  facts.out_type = typeOf(spec, "out", error);
  facts.state_type = typeOf(spec, "state", error);
  const auto &state = spec.get("state").dims; // [H, P, N]
  facts.heads = int(state[0]);
  facts.head_dim = int(state[1]);
  facts.d_state = int(state[2]);
  facts.x_heads = columnsOf(spec, "x") / facts.head_dim;
  facts.b_heads = columnsOf(spec, "b") / facts.d_state;
  facts.c_heads = columnsOf(spec, "c") / facts.d_state;
  facts.x_stride = stride(spec, "x");
  facts.dt_stride = stride(spec, "dt");
  facts.b_stride = stride(spec, "b");
  facts.c_stride = stride(spec, "c");
  facts.out_stride = stride(spec, "out");
  facts.has_d = has(spec, "d");
  facts.has_dt_bias = has(spec, "dt_bias");
  facts.delta_softplus = spec.flag("delta_softplus");
  facts.decode = spec.decode;
  return facts;
}

mk::CausalConv1d causalConv1d(const KernelSpec &spec, std::string &error) {
  mk::CausalConv1d facts;
  facts.x_type = typeOf(spec, "x", error);
  facts.state_type = typeOf(spec, "state", error);
  facts.out_type = typeOf(spec, "out", error);
  facts.channels = columnsOf(spec, "out");
  facts.width = columnsOf(spec, "weight");
  facts.repeat = int(spec.integer("repeat"));
  facts.head_size = int(spec.integer("head_size"));
  facts.x_stride = stride(spec, "x");
  facts.out_stride = stride(spec, "out");
  facts.has_bias = has(spec, "bias");
  facts.silu =
      cast<m1::ActivationAttr>(spec.params.get("activation")).getValue() == m1::Activation::Silu;
  facts.decode = spec.decode;
  return facts;
}

mk::GatedRmsNorm gatedRmsNorm(const KernelSpec &spec, std::string &error) {
  mk::GatedRmsNorm facts;
  StringRef y = has(spec, "y") ? "y" : "x"; // of rms_norm
  facts.gated = has(spec, "z");
  facts.norm_first = spec.flag("norm_first");
  facts.y_type = typeOf(spec, y, error);
  facts.z_type = typeIfAny(spec, "z", error);
  facts.out_type = typeOf(spec, "out", error);
  facts.features = columnsOf(spec, "out");
  facts.groups = int(spec.integer("groups"));
  facts.has_weight = has(spec, "weight");
  facts.shared_weight = facts.has_weight && columnsOf(spec, "weight") < facts.features;
  facts.y_stride = stride(spec, y);
  facts.z_stride = facts.gated ? stride(spec, "z") : 0;
  facts.out_stride = stride(spec, "out");
  facts.eps = float(spec.real("eps"));
  facts.domain = domainOf(spec.domain);
  return facts;
}

mk::GatedDelta gatedDelta(const KernelSpec &spec, std::string &error) {
  mk::GatedDelta facts;
  facts.q_type = typeOf(spec, "q", error);
  facts.k_type = typeOf(spec, "k", error);
  facts.v_type = typeOf(spec, "v", error);
  facts.a_type = typeOf(spec, "a", error);
  facts.b_type = typeOf(spec, "b", error);
  facts.out_type = typeOf(spec, "out", error);
  facts.state_type = typeOf(spec, "state", error);
  const auto &state = spec.get("state").dims; // [Hv, Dk, Dv]
  facts.heads = int(state[0]);
  facts.key_size = int(state[1]);
  facts.value_size = int(state[2]);
  facts.key_heads = columnsOf(spec, "k") / facts.key_size;
  facts.q_stride = stride(spec, "q");
  facts.k_stride = stride(spec, "k");
  facts.v_stride = stride(spec, "v");
  facts.a_stride = stride(spec, "a");
  facts.b_stride = stride(spec, "b");
  facts.out_stride = stride(spec, "out");
  facts.has_dt_bias = has(spec, "dt_bias");
  facts.eps = float(spec.real("eps"));
  facts.scale = float(spec.real("scale"));
  facts.decode = spec.decode;
  return facts;
}

mk::Attention attention(const KernelSpec &spec, std::string &error) {
  mk::Attention facts;
  facts.type = typeOf(spec, "q", error);
  facts.kv_type = typeOf(spec, "cache", error);
  facts.head_dim = columnsOf(spec, "cache");
  facts.heads = columnsOf(spec, "q") / facts.head_dim;
  facts.kv_heads = int(spec.get("cache").dims.front());
  facts.q_stride = stride(spec, "q");
  facts.out_stride = stride(spec, "out");
  facts.scale = float(spec.real("scale"));
  facts.decode = spec.decode;
  facts.shared = spec.shared;
  facts.window = int(std::min<int64_t>(spec.integer("window"), std::numeric_limits<int>::max()));
  return facts;
}

mk::KvWrite kvWrite(const KernelSpec &spec, std::string &error) {
  mk::KvWrite facts;
  facts.rotates = has(spec, "q");
  facts.q_type = typeIfAny(spec, "q", error);
  facts.k_type = typeOf(spec, "k", error);
  facts.v_type = typeOf(spec, "v", error);
  facts.out_type = typeIfAny(spec, "out", error);
  facts.kv_type = typeOf(spec, "cache", error);
  facts.kv_heads = int(spec.get("cache").dims.front());
  facts.head_dim = columnsOf(spec, "cache");
  facts.k_stride = stride(spec, "k");
  facts.v_stride = stride(spec, "v");
  if (facts.rotates) {
    facts.heads = columnsOf(spec, "q") / facts.head_dim;
    facts.turned = columnsOf(spec, "table");
    facts.q_stride = stride(spec, "q");
    facts.table_stride = stride(spec, "table");
    facts.out_stride = stride(spec, "out");
  }
  facts.domain = domainOf(spec.domain);
  return facts;
}

mk::Router router(const KernelSpec &spec, std::string &) {
  mk::Router facts;
  facts.experts = columnsOf(spec, "logits");
  facts.chosen = columnsOf(spec, "experts");
  facts.groups = int(spec.integer("groups"));
  facts.kept_groups = int(spec.integer("kept_groups"));
  facts.sigmoid = spec.flag("sigmoid");
  facts.normalize = spec.flag("normalize");
  facts.has_correction = has(spec, "correction");
  facts.scale = float(spec.real("scale"));
  facts.logits_stride = stride(spec, "logits");
  facts.weights_stride = stride(spec, "weights");
  facts.experts_stride = stride(spec, "experts");
  facts.domain = domainOf(spec.domain);
  return facts;
}

mk::ExpertLinear expertLinear(const KernelSpec &spec, std::string &error) {
  mk::ExpertLinear facts;
  const auto &weight = spec.get("weight").dims; // [experts · rows, k]
  facts.x_type = typeOf(spec, "x", error);
  facts.w_type = typeOf(spec, "weight", error);
  facts.out_type = typeOf(spec, "out", error);
  facts.experts = int(spec.integer("count"));
  facts.chosen = columnsOf(spec, "experts");
  facts.rows_per_expert = int(weight[0]) / facts.experts;
  facts.first = int(spec.integer("first"));
  facts.n = columnsOf(spec, "out") / facts.chosen;
  facts.k = int(weight[1]);
  if (facts.w_type == mk::Type::i4x2)
    facts.k = int(
        m1::int4ColumnsOf(columnsOf(spec, "x"), facts.chosen, weight[1], columnsOf(spec, "scale"))
            .value_or(0));
  setGroup(facts, spec, facts.k, error);
  facts.own_columns = columnsOf(spec, "x") != facts.k;
  facts.few_rows = spec.maxRows > 0 && spec.maxRows <= streamedRows;
  facts.x_stride = stride(spec, "x");
  facts.experts_stride = stride(spec, "experts");
  facts.out_stride = stride(spec, "out");
  facts.domain = domainOf(spec.domain);
  return facts;
}

mk::Combine combine(const KernelSpec &spec, std::string &error) {
  mk::Combine facts;
  facts.x_type = typeOf(spec, "x", error);
  facts.weights_type = typeOf(spec, "weights", error);
  facts.out_type = typeOf(spec, "out", error);
  facts.columns = columnsOf(spec, "out");
  facts.parts = columnsOf(spec, "weights");
  facts.x_stride = stride(spec, "x");
  facts.weights_stride = stride(spec, "weights");
  facts.out_stride = stride(spec, "out");
  facts.domain = domainOf(spec.domain);
  return facts;
}

} // namespace

mk::Linear linearOf(const KernelSpec &spec, std::string &error) {
  mk::Linear facts;
  facts.x_type = typeOf(spec, "x", error);
  facts.w_type = typeOf(spec, "weight", error);
  facts.out_type = typeOf(spec, "out", error);
  facts.n = int(spec.get("weight").dims[0]);
  facts.k = columnsOf(spec, "x");
  setGroup(facts, spec, facts.k, error);
  facts.x_stride = stride(spec, "x");
  facts.out_stride = stride(spec, "out");
  facts.max_rows = int(spec.maxRows);
  facts.has_bias = has(spec, "bias");
  facts.domain = domainOf(spec.domain);
  return facts;
}

namespace {

/// The most rows of `x` and k columns that kernels multiply with such weights, in groups or not, as
/// they are.
uint32_t mostRows(Type weight, bool groups, Type x, int64_t k) {
  const bool bytes = weight.isSignlessInteger(8);
  if (!x.isBF16() || k % (bytes ? 16 : 8))
    return streamedRows;
  return groups ? streamedGroupRows : bytes ? tiledRows : streamedRows;
}

mk::TiledLinear tiledLinear(const KernelSpec &spec, std::string &error) {
  mk::TiledLinear facts;
  facts.out_type = typeOf(spec, "out", error);
  facts.n = int(spec.get("weight").dims[0]);
  facts.k = int(spec.get("weight").dims[1]);
  facts.x_stride = stride(spec, "x");
  facts.out_stride = stride(spec, "out");
  facts.has_bias = has(spec, "bias");
  facts.domain = domainOf(spec.domain);
  return facts;
}

/// Decode kernels are shaped for a few hundred sequences, where the states' traffic is what a step
/// waits for; at batch 1 that costs some tenths of a microsecond a layer. One shape for all bounds
/// of a decode function, which share their kernels.
mk::Tuning tuningOf(const KernelSpec &spec, const CudaChip &chip) {
  mk::Tuning tuning = tuningFor(chip);
  if (spec.decode)
    tuning.expected_sequences = 256;
  return tuning;
}

struct HandTunedFamily {
  StringRef op;
  mk::Description (*describe)(const KernelSpec &spec, const std::string &stem,
                              const mk::Tuning &tuning, std::string &error);
  /// Those of the op's facts that it is for; null: all.
  bool (*serves)(const KernelSpec &spec) = nullptr;
  bool boundedRows = false; // its kernels depend on the most rows that they are launched for
};

template <auto factsOf>
mk::Description describeBy(const KernelSpec &spec, const std::string &stem,
                           const mk::Tuning &tuning, std::string &error) {
  return mk::describe(factsOf(spec, error), stem, tuning);
}

bool isGroupedOrPlain(const KernelSpec &norm) {
  return norm.integer("groups") > 1 || !has(norm, "weight");
}
bool writesCodes(const KernelSpec &write) { return m1::isCacheCode(write.get("cache").element); }
bool isOwnLinear(const KernelSpec &linear) { return !isLibraryProduct(linear); }

mk::Description describeOwnLinear(const KernelSpec &spec, const std::string &stem,
                                  const mk::Tuning &tuning, std::string &error) {
  if (spec.maxRows <= streamedRows || hasGroups(spec))
    return mk::describe(linearOf(spec, error), stem, tuning);
  return mk::describe(tiledLinear(spec, error), stem, tuning);
}

const HandTunedFamily families[] = {
    {"selective_scan", describeBy<selectiveScan>},
    {"ssd_scan", describeBy<ssdScan>},
    {"causal_conv1d", describeBy<causalConv1d>},
    {"gated_rms_norm", describeBy<gatedRmsNorm>},
    {"rms_norm", describeBy<gatedRmsNorm>, isGroupedOrPlain},
    {"gated_delta", describeBy<gatedDelta>},
    {"attention", describeBy<attention>},
    {"kv_write", describeBy<kvWrite>, writesCodes},
    {"rotary_kv_write", describeBy<kvWrite>, writesCodes},
    {"router", describeBy<router>},
    {"expert_linear", describeBy<expertLinear>, nullptr, true},
    {"combine", describeBy<combine>},
    {"linear", describeOwnLinear, isOwnLinear, true},
};

const HandTunedFamily *find(StringRef op) {
  auto found =
      llvm::find_if(families, [&](const HandTunedFamily &family) { return family.op == op; });
  return found == std::end(families) ? nullptr : &*found;
}

} // namespace

bool isHandTuned(const KernelSpec &spec) {
  const HandTunedFamily *family = find(spec.op);
  return family && (!family->serves || family->serves(spec));
}

bool dependsOnMaxRows(const KernelSpec &spec) { return find(spec.op)->boundedRows; }

bool isLibraryProduct(const KernelSpec &spec) {
  if (spec.op != "linear")
    return false;
  return spec.maxRows == 0 || spec.maxRows > mostRows(spec.get("weight").element, hasGroups(spec),
                                                      spec.get("x").element, columnsOf(spec, "x"));
}

llvm::SmallVector<uint32_t> boundsOfRows(func::FuncOp decode) {
  llvm::SmallVector<uint32_t> bounds = {streamedRows};
  decode.walk([&](m1::LinearOp linear) {
    auto x = linear.getX().getType();
    const bool groups = linear.getScale() && m1::isOfGroups(linear.getScale().getType());
    const Type weight = linear.getWeight().getType().getElementType();
    bounds.push_back(mostRows(weight, groups, x.getElementType(), x.getDimSize(1)));
    if (isa<Float8E4M3FNType>(weight)) // a single row is rounded in another way than more
      bounds.push_back(1);
  });
  llvm::sort(bounds);
  bounds.erase(llvm::unique(bounds), bounds.end());
  return bounds;
}

mk::Tuning tuningFor(const CudaChip &chip) {
  mk::Tuning tuning;
  tuning.multiprocessors = chip.multiprocessors;
  tuning.block_shared_bytes = chip.blockSharedBytes;
  tuning.multiprocessor_shared_bytes = chip.multiprocessorSharedBytes;
  tuning.warpgroups = chipNumber(chip.name) == 90;
  return tuning;
}

bool canSharePrefixes(const KernelSpec &spec, const CudaChip &chip) {
  return isHandTuned(spec) && describeHandTuned(spec, "shared", chip).error.empty();
}

/// Refuses kernels that would not load.
static void checkFit(mk::Description &description, const CudaChip &chip) {
  for (const mk::Kernel &kernel : description.kernels)
    if (kernel.shared_bytes > chip.blockSharedBytes && description.error.empty())
      description.error = "a block of " + kernel.symbol + " needs " +
                          std::to_string(kernel.shared_bytes) + " bytes of shared memory, " +
                          chip.name.str() + " has " + std::to_string(chip.blockSharedBytes);
}

mk::Description describeHandTuned(const KernelSpec &spec, const std::string &stem,
                                  const CudaChip &chip) {
  std::string error;
  mk::Description description = find(spec.op)->describe(spec, stem, tuningOf(spec, chip), error);
  if (!error.empty())
    description.error = error;
  checkFit(description, chip);
  return description;
}

namespace {

mk::ScanNeighbours::Norm rowNorm(const KernelSpec *norm) {
  mk::ScanNeighbours::Norm facts;
  if (norm) {
    facts.present = true;
    facts.has_weight = has(*norm, "weight");
    facts.eps = float(norm->real("eps"));
  }
  return facts;
}

/// Of either kind of scan: what the neighbours are, and in its facts where its operands come from.
template <class Scan>
mk::ScanNeighbours neighboursOf(const UpdateParts &parts, Scan &scan, std::string &error) {
  mk::ScanNeighbours facts;
  facts.few = parts.few;
  facts.counters = parts.counters;
  if (parts.conv) {
    mk::CausalConv1d conv = causalConv1d(*parts.conv, error);
    facts.conv.width = conv.width;
    facts.conv.channels = conv.channels;
    facts.conv.has_bias = conv.has_bias;
    facts.conv.silu = conv.silu;
    facts.conv.state_type = conv.state_type;
    scan.x_type = conv.x_type;
    scan.x_stride = conv.x_stride;
  }
  facts.dt_norm = rowNorm(parts.dtNorm);
  facts.b_norm = rowNorm(parts.bNorm);
  facts.c_norm = rowNorm(parts.cNorm);
  if (parts.dt) {
    const KernelSpec &source = parts.dtNorm ? *parts.dtNorm : *parts.dt;
    facts.dt_rank = columnsOf(*parts.dt, "x");
    facts.dt_w_type = typeOf(*parts.dt, "weight", error);
    scan.dt_type = typeOf(source, "x", error);
    scan.dt_stride = stride(source, "x");
  }
  if (parts.bNorm) {
    scan.b_type = typeOf(*parts.bNorm, "x", error);
    scan.b_stride = stride(*parts.bNorm, "x");
  }
  if (parts.cNorm) {
    scan.c_type = typeOf(*parts.cNorm, "x", error);
    scan.c_stride = stride(*parts.cNorm, "x");
  }
  return facts;
}

mk::ScanNeighbours ssdNeighbours(const UpdateParts &parts, mk::SsdScan &scan, std::string &error) {
  scan = ssdScan(*parts.scan, error);
  mk::ScanNeighbours facts = neighboursOf(parts, scan, error);
  if (parts.conv) {
    scan.b_type = scan.c_type = scan.x_type;
    facts.conv.x_column = int(parts.xColumn);
    facts.conv.b_column = int(parts.bColumn);
    facts.conv.c_column = int(parts.cColumn);
  }
  if (const KernelSpec *behind = parts.norm ? parts.norm : parts.gate) {
    StringRef z = parts.norm ? StringRef("z") : StringRef(behind->operands.front().role);
    facts.has_z = true;
    facts.z_type = typeOf(*behind, z, error);
    facts.z_stride = stride(*behind, z);
    scan.out_type = typeOf(*behind, "out", error);
    scan.out_stride = stride(*behind, "out");
  }
  if (parts.norm) {
    mk::GatedRmsNorm norm = gatedRmsNorm(*parts.norm, error);
    facts.norm_groups = norm.groups;
    facts.has_norm_weight = norm.has_weight;
    facts.shared_norm_weight = norm.shared_weight;
    facts.norm_eps = norm.eps;
    if (error.empty() && norm.norm_first)
      error = "the norm comes before the gate";
  }
  return facts;
}

mk::DeltaUpdate deltaUpdate(const UpdateParts &parts, std::string &error) {
  assert(parts.conv && !parts.gate && "its step takes in a convolution, and a norm with its gate");
  mk::DeltaUpdate facts;
  facts.delta = gatedDelta(*parts.scan, error);
  facts.counters = parts.counters;
  facts.has_norm = parts.norm;
  mk::CausalConv1d conv = causalConv1d(*parts.conv, error);
  facts.x_type = conv.x_type;
  facts.x_stride = conv.x_stride;
  facts.conv_state_type = conv.state_type;
  facts.conv_width = conv.width;
  facts.conv_channels = conv.channels;
  facts.has_conv_bias = conv.has_bias;
  facts.conv_silu = conv.silu;
  facts.v_column = int(parts.xColumn);
  facts.q_column = int(parts.bColumn);
  facts.k_column = int(parts.cColumn);
  if (parts.norm) {
    mk::GatedRmsNorm norm = gatedRmsNorm(*parts.norm, error);
    if (error.empty() && norm.groups != facts.delta.heads)
      error = "the norm is not one of heads";
    facts.delta.out_type = norm.out_type;
    facts.delta.out_stride = norm.out_stride;
    facts.z_type = norm.z_type;
    facts.z_stride = norm.z_stride;
    facts.norm_first = norm.norm_first;
    facts.has_norm_weight = norm.has_weight;
    facts.shared_norm_weight = norm.shared_weight;
    facts.norm_eps = norm.eps;
  }
  return facts;
}

} // namespace

mk::Description describeUpdate(const UpdateParts &parts, const std::string &stem,
                               const CudaChip &chip) {
  mk::Description description;
  std::string error;
  const mk::Tuning tuning = tuningOf(*parts.scan, chip);
  if (parts.scan->op == "ssd_scan") {
    mk::SsdScan scan;
    mk::ScanNeighbours neighbours = ssdNeighbours(parts, scan, error);
    description = mk::describe(scan, neighbours, stem, tuning);
  } else if (parts.scan->op == "gated_delta") {
    description = mk::describe(deltaUpdate(parts, error), stem, tuning);
  } else {
    mk::SelectiveScan scan = selectiveScan(*parts.scan, error);
    mk::ScanNeighbours neighbours = neighboursOf(parts, scan, error);
    if (parts.conv) {
      // Where x repeats, within the convolution or after it, heads are the scan's.
      mk::CausalConv1d conv = causalConv1d(*parts.conv, error);
      if (error.empty() &&
          (scan.x_columns != conv.channels || (conv.repeat > 1 && conv.head_size != scan.d_state)))
        error = "the convolution and the scan disagree";
      scan.x_columns = conv.channels / conv.repeat;
    }
    description = mk::describe(scan, neighbours, stem, tuning);
  }
  if (!error.empty())
    description.error = error;
  checkFit(description, chip);
  return description;
}

int countersOf(const UpdateParts &parts) {
  std::string error;
  if (parts.conv && parts.scan->op == "gated_delta")
    return mk::counters_of(deltaUpdate(parts, error));
  if (parts.scan->op != "ssd_scan" || !parts.conv)
    return 0;
  mk::SsdScan scan;
  mk::ScanNeighbours neighbours = ssdNeighbours(parts, scan, error);
  return mk::counters_of(scan, neighbours);
}

static mk::AttentionStep attentionStep(const KernelSpec &write, const KernelSpec &spec,
                                       std::string &error) {
  mk::AttentionStep facts;
  facts.attention = attention(spec, error);
  for (StringRef role : {"q", "k", "v"})
    if (has(write, role) && typeOf(write, role, error) != facts.attention.type)
      error = "what is turned and written has another type than what attends";
  if (has(write, "q")) {
    facts.attention.q_stride = stride(write, "q");
    facts.turned = columnsOf(write, "table");
    facts.table_stride = stride(write, "table");
  }
  facts.k_stride = stride(write, "k");
  facts.v_stride = stride(write, "v");
  return facts;
}

mk::Description describeAttentionStep(const KernelSpec &write, const KernelSpec &spec, int counters,
                                      const std::string &stem, const CudaChip &chip) {
  std::string error;
  mk::AttentionStep facts = attentionStep(write, spec, error);
  facts.counters = counters;
  mk::Description description = mk::describe(facts, stem, tuningFor(chip));
  if (!error.empty())
    description.error = error;
  checkFit(description, chip);
  return description;
}

int countersOf(const KernelSpec &write, const KernelSpec &spec) {
  std::string error;
  return mk::counters_of(attentionStep(write, spec, error));
}

mk::Description describeClearCounters(ArrayRef<int> counts, const std::string &stem,
                                      const CudaChip &chip) {
  mk::ClearCounters facts;
  facts.counts.assign(counts.begin(), counts.end());
  return mk::describe(facts, stem, tuningFor(chip));
}

mk::Description describeLinear(const mk::Linear &facts, const std::string &stem,
                               const CudaChip &chip) {
  mk::Description description = mk::describe(facts, stem, tuningFor(chip));
  checkFit(description, chip);
  return description;
}

mk::CausalConv1d convolutionOf(const KernelSpec &conv, std::string &error) {
  return causalConv1d(conv, error);
}

mk::Description describeLinearChain(const mk::LinearChain &facts, const std::string &stem,
                                    const CudaChip &chip) {
  mk::Description description = mk::describe(facts, stem, tuningFor(chip));
  checkFit(description, chip);
  return description;
}

mk::Description describeGatedProduct(const mk::GatedProduct &facts, const std::string &stem,
                                     const CudaChip &chip) {
  mk::Description description = mk::describe(facts, stem, tuningFor(chip));
  checkFit(description, chip);
  return description;
}

mk::Description describeDequantize(const KernelSpec &linear, Type element, const std::string &stem,
                                   const CudaChip &chip) {
  mk::Dequantize facts;
  std::string error;
  facts.w_type = typeOf(linear, "weight", error);
  facts.out_type = element.isF32() ? mk::Type::f32 : mk::Type::bf16;
  facts.n = int(linear.get("weight").dims[0]);
  facts.k = columnsOf(linear, "x");
  setGroup(facts, linear, facts.k, error);
  mk::Description description = mk::describe(facts, stem, tuningFor(chip));
  if (!error.empty())
    description.error = error;
  return description;
}

mk::Description describeQuantizeRows(const KernelSpec &linear, Type element,
                                     const std::string &stem, const CudaChip &chip) {
  mk::QuantizeRows facts;
  std::string error;
  facts.x_type = typeOf(linear, "x", error);
  facts.out_type = isa<Float8E4M3FNType>(element) ? mk::Type::e4m3
                   : element.isF32()              ? mk::Type::f32
                                                  : mk::Type::bf16;
  facts.k = columnsOf(linear, "x");
  facts.x_stride = stride(linear, "x");
  facts.domain = domainOf(linear.domain);
  mk::Description description = mk::describe(facts, stem, tuningFor(chip));
  if (!error.empty())
    description.error = error;
  return description;
}

mk::Description describeQuantizeRows(const mk::QuantizeRows &facts, const std::string &stem,
                                     const CudaChip &chip) {
  return mk::describe(facts, stem, tuningFor(chip));
}

RowDomain rowsOf(mk::Domain domain) { return static_cast<RowDomain>(domain); }

} // namespace m1c::cuda
