// M1 (arXiv 2504.10449): a transformer most of whose attention layers have become Mamba layers that
// keep the grouped heads of attention. mamba_config.json says how, config.json describes the
// transformer.
#include "Models.h"

#include "llvm/ADT/StringSwitch.h"

#include <array>

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

namespace {

/// Both files state some sizes; where both do, they must agree.
template <typename T>
void expectEqual(const Fields &mamba, StringRef name, std::optional<T> value, const Fields &config,
                 StringRef configName, const T &expected) {
  if (value && config.has(configName) && *value != expected)
    mamba.conflict(name) << "expected " << expected << " as '" << configName << "' of "
                         << config.getFile() << ", got " << *value;
}

/// Arguments of the Mamba layers that only matter for training or for how they are computed.
bool isHarmlessArgument(StringRef name) {
  return llvm::StringSwitch<bool>(name)
      .Cases(
          {"dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "A_init_range", "conv_init"},
          true)
      .Cases({"use_fast_path", "use_mem_eff_path", "chunk_size", "layer_idx", "device", "dtype"},
             true)
      .Cases({"process_group", "sequence_parallel"}, true)
      .Default(false);
}

bool isReadArgument(StringRef name) {
  return llvm::StringSwitch<bool>(name)
      .Cases({"layer", "d_model", "expand", "d_inner", "d_xb", "d_state", "d_conv", "dt_rank",
              "conv_bias"},
             true)
      .Cases({"repeat_kv_before_conv", "ngroups", "headdim"}, true)
      .Default(false);
}

/// Without weights to look at: Mamba-2 is configured with ngroups, a head size or its default state
/// size 128; Mamba-1 has none of them.
bool looksLikeMamba2(const Fields &ssm, const Fields &mamba) {
  if (std::optional<std::string> layer = ssm.string("layer"))
    return *layer == "Mamba2";
  return llvm::any_of(std::array{&ssm, &mamba}, [](const Fields *fields) {
    return fields->has("ngroups") || fields->has("headdim") ||
           fields->integer("d_state") == std::optional<int64_t>(128);
  });
}

std::optional<bool> holdsMamba2(const CheckpointData &data) {
  for (const SourceTensor &tensor : data.getTensors()) {
    StringRef name = tensor.name;
    if (name.ends_with(".mamba.dt_bias") || name.ends_with(".mamba.norm.weight"))
      return true;
    if (name.ends_with(".mamba.dt_proj.weight"))
      return false;
  }
  return std::nullopt;
}

void warnAboutUnknownFields(const Fields &mamba, EmitError emitWarning) {
  mamba.forEach([&](StringRef name, const llvm::json::Value &) {
    bool known =
        isReadArgument(name) || isHarmlessArgument(name) ||
        llvm::StringSwitch<bool>(name)
            .Cases({"ssm_cfg", "rms_norm_eps", "vocab_size", "intermediate_size", "hidden_act"},
                   true)
            .Cases({"n_layer", "attn_layers", "rms_norm", "residual_in_fp32", "fused_add_norm"},
                   true)
            .Default(false);
    if (!known)
      emitWarning() << mamba.getFile() << ": unknown field '" << name << "' is ignored";
  });
  mamba.expectFlag("rms_norm", true);
}

void checkArguments(const Fields &ssm, bool mamba2) {
  ssm.forEach([&](StringRef name, const llvm::json::Value &value) {
    if (isHarmlessArgument(name) || isReadArgument(name))
      return;
    std::string text = Fields::text(value);
    // Arguments with one supported value.
    StringRef supported =
        llvm::StringSwitch<StringRef>(name)
            .Cases({"bias", "proj_x_bias", "proj_z_bias", "out_proj_bias"}, "false")
            .Cases({"D_has_hdim", "norm_before_gate", "learnable_init_states"}, "false")
            .Case("rmsnorm", "true")
            .Cases({"activation", "hidden_act"}, "\"silu\"")
            .Default("");
    if (supported.empty())
      ssm.error(name) << "unknown argument of the Mamba layers";
    else if (text != supported && !(name == "activation" && text == "\"swish\""))
      ssm.error(name) << "expected " << supported << ", got " << text;
  });
  if (!mamba2 && ssm.has("headdim"))
    ssm.error("headdim") << "not an argument of Mamba-1 layers";
}

class M1 : public Family {
public:
  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    ModelConfig &out = source.model;
    readCommon(source);
    eps = readEps(config);
    intermediateSize = config.size("intermediate_size");
    attention = readAttention(config, out.hiddenSize);
    activation = readActivation(config);
    // M1's attention and MLP modules have no biases, and its attention has no window and no scaling
    // of angles, whatever the transformer's configuration says.
    config.ignore({"attention_bias", "mlp_bias", "use_sliding_window", "sliding_window",
                   "layer_types", "rope_scaling"});
    RotaryConfig angles = readRotary(source, attention.headDim, /*scaling=*/false);
    // What follows builds on these sizes.
    if (config.hasFailed())
      return;
    readMamba(source);
    out.architecture = mamba2 ? "m1-mamba2" : "m1-mamba1";
    if (llvm::is_contained(isAttention, true))
      rotary = angles;
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    h = layer.residual(h, "input_layernorm", [&](Value x) {
      return isAttention[index] ? buildAttention(layer, x)
             : mamba2           ? buildMamba2(layer, x)
                                : buildMamba1(layer, x);
    });
    return layer.residual(h, "post_attention_layernorm", [&](Value x) {
      return layer.gatedMlp(x, intermediateSize, false, {}, activation);
    });
  }

private:
  void readMamba(ConfigSource &source);
  void checkSizes(const Fields &mamba, const Fields &ssm);
  Value buildAttention(Layer &layer, Value x) const;
  Value buildMamba1(Layer &layer, Value x) const;
  Value buildMamba2(Layer &layer, Value x) const;
  /// in_proj of a Mamba layer, in one piece or as older checkpoints have it, split as `columns`.
  SmallVector<Value> project(Layer &layer, Value x, int64_t stepColumns,
                             ArrayRef<int64_t> columns) const;
  Value causalConv(Layer &layer, Value x) const;
  Value repeatHeads(Layer &layer, Value x) const;
  Value projectOut(Layer &layer, Value y) const {
    return layer.project(y, "out_proj", "mamba.out_proj", layer.model.config.hiddenSize);
  }

  AttentionConfig attention;
  std::vector<bool> isAttention;
  ScalarFormula activation = scalars::silu; // of MLPs; that of mixers is silu
  bool mamba2 = false, convBias = true, repeatBeforeConv = true;
  int64_t intermediateSize = 0, dInner = 0, dXb = 0, dState = 0, dConv = 0, dtRank = 0;
};

void M1::readMamba(ConfigSource &source) {
  const Fields &mamba = source.mamba, &config = source.config;
  const ModelConfig &out = source.model;
  Fields ssm = mamba.child("ssm_cfg");
  mamba2 = holdsMamba2(source.data).value_or(looksLikeMamba2(ssm, mamba));
  StringRef layer = mamba2 ? "Mamba2" : "Mamba1";
  if (std::optional<std::string> stated = ssm.string("layer"); stated && *stated != layer)
    ssm.error("layer") << "expected " << layer << " as the rest of the checkpoint says, got "
                       << *stated;
  checkArguments(ssm, mamba2);
  warnAboutUnknownFields(mamba, source.emitWarning);
  expectEqual<std::string>(mamba, "hidden_act", mamba.string("hidden_act"), config, "hidden_act",
                           config.string("hidden_act").value_or("silu"));
  if (mamba.has("hidden_act"))
    activation = readActivation(mamba);

  expectEqual<int64_t>(mamba, "d_model", mamba.integer("d_model"), config, "hidden_size",
                       out.hiddenSize);
  expectEqual<int64_t>(ssm, "d_model", ssm.integer("d_model"), config, "hidden_size",
                       out.hiddenSize);
  expectEqual<int64_t>(mamba, "n_layer", mamba.integer("n_layer"), config, "num_hidden_layers",
                       out.layers);
  expectEqual<int64_t>(mamba, "intermediate_size", mamba.integer("intermediate_size"), config,
                       "intermediate_size", intermediateSize);
  expectEqual<int64_t>(mamba, "vocab_size", mamba.integer("vocab_size"), config, "vocab_size",
                       out.vocabSize);
  expectEqual<double>(mamba, "rms_norm_eps", mamba.number("rms_norm_eps", true), config,
                      "rms_norm_eps", eps);
  if (std::optional<double> stated = mamba.number("rms_norm_eps", true))
    eps = *stated;

  isAttention.assign(out.layers, false);
  if (!mamba.has("attn_layers"))
    mamba.error("attn_layers") << "missing";
  for (int64_t index : mamba.integers("attn_layers")) {
    if (index >= out.layers)
      mamba.conflict("attn_layers") << "expected layers below " << out.layers << ", got " << index;
    else
      isAttention[index] = true;
  }

  ssm.forEach([&](StringRef name, const llvm::json::Value &value) {
    const llvm::json::Value *other = isReadArgument(name) ? mamba.find(name) : nullptr;
    if (other && *other != value)
      ssm.conflict(name) << "expected " << Fields::text(*other) << " as '" << name
                         << "' of the file itself, got " << Fields::text(value);
  });
  auto at = [&](StringRef name) -> const Fields & { return ssm.has(name) ? ssm : mamba; };
  auto size = [&](StringRef name, int64_t maximum = largestSize) {
    return at(name).integer(name, 1, maximum);
  };
  dState = size("d_state", largestHead).value_or(mamba2 ? 128 : 16);
  dConv = size("d_conv", widestConv).value_or(4);
  dInner = size("d_inner").value_or(size("expand").value_or(2) * out.hiddenSize);
  if (dInner > largestSize)
    at("expand").conflict("expand")
        << "expected d_inner = expand * d_model of at most " << largestSize << ", got " << dInner;
  dXb = mamba.require("d_xb", size("d_xb"));
  convBias = at("conv_bias").flag("conv_bias", true);
  repeatBeforeConv = at("repeat_kv_before_conv").flag("repeat_kv_before_conv", true);
  const llvm::json::Value *rank = at("dt_rank").find("dt_rank");
  bool automatic = !rank || rank->getAsString() == std::optional<StringRef>("auto");
  dtRank = automatic ? (out.hiddenSize + 15) / 16 : size("dt_rank").value_or(0);
  // What follows compares these sizes.
  if (!mamba.hasFailed())
    checkSizes(mamba, ssm);
}

void M1::checkSizes(const Fields &mamba, const Fields &ssm) {
  auto at = [&](StringRef name) -> const Fields & { return ssm.has(name) ? ssm : mamba; };
  if (dInner % dState) {
    mamba.conflict("d_inner") << "expected a multiple of d_state " << dState << ", got " << dInner;
    return;
  }
  if (dXb % dState) {
    mamba.conflict("d_xb") << "expected a multiple of d_state " << dState << ", got " << dXb;
    return;
  }
  if (dInner % dXb) {
    mamba.conflict("d_xb") << "expected a divisor of d_inner " << dInner << ", got " << dXb;
    return;
  }
  int64_t groups = dInner / dState;
  if (int64_t stated = at("ngroups").integer("ngroups", 1, largestSize).value_or(groups);
      stated != groups)
    at("ngroups").conflict("ngroups")
        << "expected d_inner / d_state = " << groups << ", got " << stated;
  if (int64_t stated = at("headdim").integer("headdim", 1, largestSize).value_or(dState);
      mamba2 && stated != dState)
    at("headdim").conflict("headdim") << "expected d_state = " << dState << ", got " << stated;
}

Value M1::buildAttention(Layer &layer, Value x) const {
  // The module is called mha, in older checkpoints self_attn.
  std::string module = layer.holds("self_attn.q_proj.weight") ? "self_attn" : "mha";
  std::string output = module + (layer.holds(module + ".o_proj.weight") ? ".o_proj" : ".out_proj");
  if (layer.holds(module + ".q_proj.weight"))
    return layer.attention(x, attention,
                           {module + ".q_proj", module + ".k_proj", module + ".v_proj", output});
  int64_t q = attention.heads * attention.headDim, kv = attention.kvHeads * attention.headDim;
  SmallVector<Value> parts =
      layer.model.split(layer.project(x, "qkv", module + ".in_proj", q + 2 * kv), {q, kv, kv});
  return layer.project(layer.attend(parts[0], parts[1], parts[2], attention), "o", output,
                       layer.model.config.hiddenSize);
}

SmallVector<Value> M1::project(Layer &layer, Value x, int64_t stepColumns,
                               ArrayRef<int64_t> columns) const {
  ModelBuilder &model = layer.model;
  int64_t d = model.config.hiddenSize;
  ModelBuilder::Sources sources;
  int64_t total = 0;
  for (auto [name, n] : {std::pair("in_proj_z", dInner),
                         {"in_proj_x", dXb},
                         {"B_proj", dXb},
                         {"C_proj", dInner},
                         {"dt_proj_down", stepColumns}}) {
    sources.push_back({layer.tensor(Twine("mamba.") + name + ".weight"), {n, d}});
    total += n;
  }
  if (!model.holds(sources[0].name))
    sources = {{layer.tensor("mamba.in_proj.weight"), {total, d}}};
  return model.split(model.linear(x, model.matrix(layer.symbol("in_proj"), sources)), columns);
}

Value M1::causalConv(Layer &layer, Value x) const {
  return layer.causalConv(x, {"mamba.conv1d", dConv, convBias});
}

Value M1::repeatHeads(Layer &layer, Value x) const {
  ModelBuilder &model = layer.model;
  return RepeatHeadsOp::create(model.builder, model.loc,
                               model.rows(dInner, getElementTypeOrSelf(x)), x, dState,
                               dInner / dXb);
}

Value M1::buildMamba1(Layer &layer, Value normed) const {
  ModelBuilder &model = layer.model;
  OpBuilder &builder = model.builder;
  Location loc = model.loc;
  SmallVector<Value> parts = project(layer, normed, dtRank, {dInner, dXb, dXb, dInner, dtRank});
  Value z = parts[0], x = parts[1], b = parts[2], c = parts[3];
  x = repeatBeforeConv ? causalConv(layer, repeatHeads(layer, x))
                       : repeatHeads(layer, causalConv(layer, x));

  // M1 adds the bias in the linear layer and once more in the scan.
  Value dtBias = layer.vector("dt_bias", "mamba.dt_proj.bias", dInner);
  Value dt = model.linear(parts[4], layer.matrix("dt_proj", "mamba.dt_proj.weight", dInner, dtRank),
                          dtBias);
  dt = SoftplusOp::create(builder, loc, model.rows(dInner, model.f32), dt, dtBias);

  Value a = layer.rates(dInner, dState, "mamba.A_log");
  Value d = layer.vector("D", "mamba.D", dInner);
  Value s = model.state(
      layer.symbol("scan_state"),
      ScanStateType::get(builder.getContext(), {dInner, dState}, model.options.stateType));
  Value y = SelectiveScanOp::create(builder, loc, model.rows(dInner, model.f32), x, dt, a, b, c,
                                    Value(), Value(), Value(), model.batch, s, false);
  y = SkipOp::create(builder, loc, y.getType(), y, x, d);
  y = SiluMulOp::create(builder, loc, model.activations(dInner), z, y);
  return projectOut(layer, y);
}

Value M1::buildMamba2(Layer &layer, Value normed) const {
  ModelBuilder &model = layer.model;
  OpBuilder &builder = model.builder;
  Location loc = model.loc;
  int64_t heads = dInner / dState;
  SmallVector<Value> parts = project(layer, normed, heads, {dInner, dXb + dXb + dInner, heads});
  Value z = parts[0], dt = parts[2];
  SmallVector<Value> xbc = model.split(causalConv(layer, parts[1]), {dXb, dXb, dInner});
  Value x = xbc[0];

  Value dtBias = layer.vector("dt_bias", "mamba.dt_bias", heads);
  dt = SoftplusOp::create(builder, loc, model.rows(heads, model.f32), dt, dtBias);
  Value a = layer.vector("A", "mamba.A_log", heads, Transform::NegExp);
  Value d = layer.vector("D", "mamba.D", heads);
  Value s = model.state(
      layer.symbol("scan_state"),
      ScanStateType::get(builder.getContext(), {heads, dState, dState}, model.options.stateType));
  Value y = SsdScanOp::create(builder, loc, model.rows(dInner, model.f32), x, dt, a, xbc[1], xbc[2],
                              Value(), Value(), model.batch, s, false);
  y = SkipOp::create(builder, loc, model.activations(dInner), y, repeatHeads(layer, x), d);
  Value norm = layer.vector("gate_norm", "mamba.norm.weight", dInner);
  // 1e-5: M1's layer does not take the model's eps.
  y = GatedRmsNormOp::create(builder, loc, model.activations(dInner), y, z, norm, heads,
                             APFloat(1e-5));
  return projectOut(layer, y);
}

} // namespace

std::unique_ptr<Family> m1c::createM1Family() { return std::make_unique<M1>(); }
