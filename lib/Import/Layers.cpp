#include "Family.h"

#include "m1k_abi.h"

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

Value Layer::matrix(const Twine &part, const Twine &source, int64_t n, int64_t k) {
  return model.matrix(symbol(part), {{tensor(source), {n, k}}});
}

Value Layer::vector(const Twine &part, const Twine &source, int64_t n, Transform transform) {
  return model.vector(symbol(part), {tensor(source), {n}}, transform);
}

Value Layer::rmsNorm(Value h, const Twine &norm) {
  int64_t d = model.config.hiddenSize;
  Value weight = vector(norm, norm + ".weight", d);
  return RmsNormOp::create(model.builder, model.loc, model.activations(d), h, weight,
                           APFloat(model.config.family->getEps()));
}

Value Layer::residual(Value h, const Twine &norm, llvm::function_ref<Value(Value)> branch) {
  Value y = branch(rmsNorm(h, norm));
  return AddOp::create(model.builder, model.loc, h.getType(), h, y);
}

Value Layer::project(Value x, const Twine &part, const Twine &module, int64_t n, bool bias) {
  Value weight = matrix(part, module + ".weight", n, ModelBuilder::columnsOf(x));
  return model.linear(x, weight, bias ? vector(part + "_bias", module + ".bias", n) : Value());
}

Value Layer::gatedMlp(Value x, int64_t size, bool bias, const MlpNames &names) {
  int64_t d = ModelBuilder::columnsOf(x);
  if (!bias) {
    Value gate = matrix("gate", names.gate + ".weight", size, d),
          up = matrix("up", names.up + ".weight", size, d),
          down = matrix("down", names.down + ".weight", d, size);
    return GatedMlpOp::create(model.builder, model.loc, model.activations(d), x, gate, up, down);
  }
  Value gate = project(x, "gate", names.gate, size, true),
        up = project(x, "up", names.up, size, true);
  Value hidden = SiluMulOp::create(model.builder, model.loc, gate.getType(), gate, up);
  return project(hidden, "down", names.down, d, true);
}

Value Layer::attention(Value x, const AttentionConfig &config, const AttentionNames &names) {
  int64_t q = config.heads * config.headDim, kv = config.kvHeads * config.headDim;
  Value y =
      attend(project(x, "q", names.q, q, config.bias), project(x, "k", names.k, kv, config.bias),
             project(x, "v", names.v, kv, config.bias), config);
  return project(y, "o", names.output, model.config.hiddenSize, config.outputBias);
}

Value Layer::attend(Value q, Value k, Value v, const AttentionConfig &config) {
  OpBuilder &builder = model.builder;
  Location loc = model.loc;
  auto rotate = [&](Value value) -> Value {
    if (!model.table)
      return value;
    return RotaryEmbeddingOp::create(builder, loc, value.getType(), value, model.table,
                                     config.headDim);
  };
  auto cacheType = KVCacheType::get(
      builder.getContext(), {config.kvHeads, M1_PAGE_SIZE, config.headDim}, model.options.kvType);
  Value cache = model.state(symbol("kv"), cacheType);
  q = rotate(q);
  k = rotate(k);
  KVWriteOp::create(builder, loc, k, v, model.batch, cache);
  return AttentionOp::create(builder, loc, q.getType(), q, model.batch, cache,
                             APFloat(config.scale));
}

Value Layer::causalConv(Value x, const ConvNames &conv) {
  OpBuilder &builder = model.builder;
  int64_t c = ModelBuilder::columnsOf(x);
  // The checkpoint keeps the input channel of each group, which is one.
  Value weight =
      model.weight(symbol("conv"), {c, conv.width},
                   {{tensor(conv.module + ".weight"), {c, 1, conv.width}}}, /*matrix=*/false);
  Value bias = conv.bias ? vector("conv_bias", conv.module + ".bias", c) : Value();
  Value last = model.state(
      symbol("conv_state"),
      ConvStateType::get(builder.getContext(), {conv.width - 1, c}, model.options.activationType));
  bool silu = conv.activation == Activation::Silu;
  Value y = CausalConv1dOp::create(builder, model.loc,
                                   silu ? model.rows(c, model.f32) : model.activations(c), x,
                                   weight, bias, model.batch, last, Activation::None, 1, 1);
  return silu ? SiluOp::create(builder, model.loc, model.activations(c), y) : y;
}

Value Layer::rates(int64_t n, int64_t states, const Twine &source) {
  return model.vector(symbol("A"), {tensor(source), {n, states}}, Transform::NegExp);
}

Value Layer::mamba1(Value x, const Mamba1Config &config, const Twine &moduleName) {
  OpBuilder &builder = model.builder;
  Location loc = model.loc;
  std::string module = moduleName.str();
  int64_t inner = config.inner, states = config.states;
  SmallVector<Value> parts = model.split(
      project(x, "in_proj", module + ".in_proj", 2 * inner, config.bias), {inner, inner});
  Value z = parts[1];
  x = causalConv(parts[0], {module + ".conv1d", config.convWidth, config.convBias});
  parts = model.split(project(x, "x_proj", module + ".x_proj", config.rank + 2 * states),
                      {config.rank, states, states});
  if (config.norms != Mamba1Config::Norms::none)
    for (auto [part, name] : llvm::zip(parts, ArrayRef<StringRef>{"dt", "b", "c"})) {
      int64_t n = ModelBuilder::columnsOf(part);
      Value weight = config.norms == Mamba1Config::Norms::weighted
                         ? vector(name + "_norm", module + "." + name + "_layernorm.weight", n)
                         : model.ones("ones_" + std::to_string(n), n);
      part = RmsNormOp::create(builder, loc, model.activations(n), part, weight,
                               APFloat(config.normEps));
    }
  Value dt = project(parts[0], "dt_proj", module + ".dt_proj", inner);
  dt = SoftplusOp::create(builder, loc, model.rows(inner, model.f32), dt,
                          vector("dt_bias", module + ".dt_proj.bias", inner));
  Value state =
      model.state(symbol("scan_state"), ScanStateType::get(builder.getContext(), {inner, states},
                                                           model.options.stateType));
  Value y = SelectiveScanOp::create(builder, loc, model.rows(inner, model.f32), x, dt,
                                    rates(inner, states, module + ".A_log"), parts[1], parts[2],
                                    Value(), Value(), Value(), model.batch, state, false);
  y = SkipOp::create(builder, loc, y.getType(), y, x, vector("D", module + ".D", inner));
  y = SiluMulOp::create(builder, loc, model.activations(inner), z, y);
  return project(y, "out_proj", module + ".out_proj", model.config.hiddenSize, config.bias);
}

Value Layer::mamba2(Value x, const Mamba2Config &config, const Twine &moduleName) {
  OpBuilder &builder = model.builder;
  Location loc = model.loc;
  std::string module = moduleName.str();
  int64_t inner = config.inner(), heads = config.heads, shared = config.groups * config.states;
  SmallVector<Value> parts = model.split(
      project(x, "in_proj", module + ".in_proj", 2 * inner + 2 * shared + heads, config.bias),
      {inner, inner + 2 * shared, heads});
  Value z = parts[0];
  SmallVector<Value> xbc =
      model.split(causalConv(parts[1], {module + ".conv1d", config.convWidth, config.convBias}),
                  {inner, shared, shared});
  Value dt = SoftplusOp::create(builder, loc, model.rows(heads, model.f32), parts[2],
                                vector("dt_bias", module + ".dt_bias", heads));
  Value state =
      model.state(symbol("scan_state"),
                  ScanStateType::get(builder.getContext(), {heads, config.headDim, config.states},
                                     model.options.stateType));
  Value y = SsdScanOp::create(builder, loc, model.rows(inner, model.f32), xbc[0], dt,
                              vector("A", module + ".A_log", heads, Transform::NegExp), xbc[1],
                              xbc[2], Value(), Value(), model.batch, state, false);
  y = SkipOp::create(builder, loc, model.activations(inner), y, xbc[0],
                     vector("D", module + ".D", heads));
  if (config.norm == Mamba2Config::Norm::none)
    y = SiluMulOp::create(builder, loc, model.activations(inner), z, y);
  else
    y = GatedRmsNormOp::create(builder, loc, model.activations(inner), y, z,
                               vector("gate_norm", module + ".norm.weight", inner),
                               config.norm == Mamba2Config::Norm::grouped ? config.groups : 1,
                               APFloat(config.normEps));
  return project(y, "out_proj", module + ".out_proj", model.config.hiddenSize, config.bias);
}
