#include "Family.h"

#include "M1/IR/Scalars.h"
#include "m1k_abi.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cmath>

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
  int64_t d = ModelBuilder::columnsOf(h);
  const Family &family = *model.config.family;
  Value weight = vector(norm, norm + ".weight", d,
                        family.hasZeroCentredNorms() ? Transform::PlusOne : Transform::None);
  return RmsNormOp::create(model.builder, model.loc, model.activations(d), h, weight,
                           APFloat(family.getEps()), /*groups=*/1);
}

Value Layer::residual(Value h, const Twine &norm, llvm::function_ref<Value(Value)> branch,
                      double multiplier) {
  return add(h, model.scale(branch(rmsNorm(h, norm)), multiplier));
}

Value Layer::add(Value h, Value branch) {
  return AddOp::create(model.builder, model.loc, h.getType(), h, branch);
}

Value Layer::mul(Value a, Value b) {
  return MulOp::create(model.builder, model.loc, a.getType(), a, b);
}

Value Layer::sum(Value a, Value b) {
  return createMap(model.builder, model.loc, "sum", a.getType(), {a, b},
                   [](ImplicitLocOpBuilder &builder, ValueRange v) -> Value {
                     return arith::AddFOp::create(builder, v[0], v[1]);
                   });
}

Value Layer::sigmoidMul(Value a, Value b) {
  return createGate(model.builder, model.loc, "sigmoid_mul", b.getType(), a, b, scalars::sigmoid);
}

Value Layer::sigmoid(Value x) {
  return createUnary(model.builder, model.loc, "sigmoid", x.getType(), x, scalars::sigmoid);
}

Value Layer::activate(ScalarFormula activation, Value x) {
  return createUnary(model.builder, model.loc, "activation", x.getType(), x, activation);
}

Value Layer::siluMul(Value a, Value b) {
  return SiluMulOp::create(model.builder, model.loc, a.getType(), a, b);
}

Value Layer::gate(ScalarFormula activation, Value a, Value b) {
  return activation == scalars::silu
             ? siluMul(a, b)
             : createGate(model.builder, model.loc, "gate", a.getType(), a, b, activation);
}

Value Layer::project(Value x, const Twine &part, const Twine &module, int64_t n, bool bias) {
  Value weight = matrix(part, module + ".weight", n, ModelBuilder::columnsOf(x));
  return model.linear(x, weight, bias ? vector(part + "_bias", module + ".bias", n) : Value());
}

Value Layer::gatedMlp(Value x, int64_t size, bool bias, const MlpNames &names,
                      ScalarFormula activation) {
  int64_t d = ModelBuilder::columnsOf(x);
  if (!bias && activation == scalars::silu) {
    Value gate = matrix("gate", names.gate + ".weight", size, d),
          up = matrix("up", names.up + ".weight", size, d),
          down = matrix("down", names.down + ".weight", d, size);
    return GatedMlpOp::create(model.builder, model.loc, model.activations(d), x, gate, up, down);
  }
  Value gated = project(x, "gate", names.gate, size, bias),
        up = project(x, "up", names.up, size, bias);
  return project(gate(activation, gated, up), "down", names.down, d, bias);
}

Layer::Route Layer::route(Value x, const ExpertsConfig &config, const std::string &router,
                          const std::string &correction) {
  OpBuilder &builder = model.builder;
  Value weight = matrix("router", router + ".weight", config.count, ModelBuilder::columnsOf(x));
  // Experts are chosen in f32: rounding could change the choice.
  Value logits =
      LinearOp::create(builder, model.loc, model.rows(config.count, model.f32), x, weight, Value());
  Value bias = correction.empty() ? Value() : vector("correction", correction, config.count);
  auto routed = RouterOp::create(builder, model.loc, model.rows(config.chosen, model.f32),
                                 model.rows(config.chosen, builder.getI32Type()), logits, bias,
                                 config.sigmoid, config.normalize, APFloat(config.scale),
                                 config.groups, config.keptGroups);
  return {routed.getWeights(), routed.getExperts()};
}

Value Layer::expertLinear(Value x, Value experts, Value weight, int64_t count, int64_t columns,
                          int64_t first) {
  int64_t chosen = ModelBuilder::columnsOf(experts);
  return ExpertLinearOp::create(model.builder, model.loc, model.activations(chosen * columns), x,
                                experts, weight, /*scale=*/Value(), count, first);
}

Value Layer::combine(Value x, Value weights) {
  int64_t parts = ModelBuilder::columnsOf(weights);
  return CombineOp::create(model.builder, model.loc,
                           model.activations(ModelBuilder::columnsOf(x) / parts), x, weights);
}

Value Layer::experts(Value x, Value routed, const ExpertsConfig &config, const ExpertNames &names,
                     ScalarFormula activation) {
  int64_t d = ModelBuilder::columnsOf(x), size = config.size;
  // Those of a layer are many tensors, or one with the experts as its first dimension.
  const bool isJoined = holds(names.experts + ".down_proj");
  if (isJoined && !names.gate.empty())
    return joinedExperts(x, config, names.router, names.experts + ".gate_up_proj",
                         names.experts + ".down_proj", activation, names.correction);
  Route chosen = route(routed, config, names.router, names.correction);
  auto weight = [&](StringRef part, const std::string &module, int64_t n, int64_t k) {
    if (isJoined)
      return model.weight(symbol("experts_" + part), {config.count * n, k},
                          {{tensor(names.experts + "." + module), {config.count, n, k}}},
                          /*matrix=*/true);
    ModelBuilder::Sources sources;
    for (int64_t e = 0; e < config.count; ++e)
      sources.push_back(
          {tensor(names.experts + "." + Twine(e) + "." + module + ".weight"), {n, k}});
    return model.matrix(symbol("experts_" + part), sources);
  };
  auto linear = [&](Value rows, StringRef part, const std::string &module, int64_t n, int64_t k) {
    return expertLinear(rows, chosen.experts, weight(part, module, n, k), config.count, n);
  };
  Value inner;
  if (names.gate.empty()) {
    inner = activate(activation, linear(x, "up", names.up, size, d));
  } else {
    Value gated = linear(x, "gate", names.gate, size, d);
    inner = gate(activation, gated, linear(x, "up", names.up, size, d));
  }
  return combine(linear(inner, "down", names.down, d, size), chosen.weights);
}

Value Layer::joinedExperts(Value x, const ExpertsConfig &config, const std::string &router,
                           const std::string &input, const std::string &output,
                           ScalarFormula activation, const std::string &correction) {
  int64_t d = ModelBuilder::columnsOf(x), size = config.size, count = config.count;
  Route chosen = route(x, config, router, correction);
  auto weight = [&](StringRef part, const std::string &name, int64_t n, int64_t k) {
    return model.weight(symbol(part), {count * n, k}, {{tensor(name), {count, n, k}}},
                        /*matrix=*/true);
  };
  Value both = weight("experts_gate_up", input, 2 * size, d);
  Value gate = expertLinear(x, chosen.experts, both, count, size),
        up = expertLinear(x, chosen.experts, both, count, size, size);
  Value down = weight("experts_down", output, d, size);
  return combine(expertLinear(this->gate(activation, gate, up), chosen.experts, down, count, d),
                 chosen.weights);
}

Value Layer::attention(Value x, const AttentionConfig &config, const AttentionNames &names) {
  int64_t d = model.config.hiddenSize, width = config.headDim, q = config.heads * width,
          kv = config.kvHeads * width;
  Value queries, gate;
  if (config.gated) {
    // Rows of q and of the gate take turns, head by head.
    ModelBuilder::Sources rows, biases;
    for (int64_t part : {0, 1})
      for (int64_t head = 0; head < config.heads; ++head) {
        const int64_t first = (2 * head + part) * width;
        rows.push_back({tensor(names.q + ".weight"), {2 * q, d}, first, width});
        biases.push_back({tensor(names.q + ".bias"), {2 * q}, first, width});
      }
    Value weight = model.matrix(symbol("q_gate"), rows),
          bias = config.bias
                     ? model.weight(symbol("q_gate_bias"), {2 * q}, biases, /*matrix=*/false)
                     : Value();
    SmallVector<Value> parts = model.split(model.linear(x, weight, bias), {q, q});
    queries = parts[0];
    gate = parts[1];
  } else {
    queries = project(x, "q", names.q, q, config.bias);
  }
  Value y = attend(queries, project(x, "k", names.k, kv, config.bias),
                   project(x, "v", names.v, kv, config.bias), config, names);
  if (gate)
    y = sigmoidMul(gate, y);
  return project(y, "o", names.output, d, config.outputBias);
}

Value Layer::attend(Value q, Value k, Value v, const AttentionConfig &config,
                    const AttentionNames &names) {
  OpBuilder &builder = model.builder;
  Location loc = model.loc;
  auto prepare = [&](Value rows, int64_t heads, StringRef part, const std::string &norm) {
    if (config.qkNorm) {
      Value weight = vector(part + "_norm", norm + ".weight", config.headDim,
                            config.zeroCentredNorm ? Transform::PlusOne : Transform::None);
      rows = RmsNormOp::create(builder, loc, rows.getType(), rows, weight,
                               APFloat(model.config.family->getEps()), heads);
    }
    if (model.table)
      rows = RotaryEmbeddingOp::create(builder, loc, rows.getType(), rows, model.table,
                                       config.headDim);
    return rows;
  };
  auto cacheType = KVCacheType::get(
      builder.getContext(), {config.kvHeads, M1_PAGE_SIZE, config.headDim}, model.options.kvType);
  Value cache = model.state(symbol("kv"), cacheType);
  q = prepare(q, config.heads, "q", names.qNorm);
  k = prepare(k, config.kvHeads, "k", names.kNorm);
  KVWriteOp::create(builder, loc, k, v, model.batch, cache);
  return AttentionOp::create(builder, loc, q.getType(), q, model.batch, cache,
                             APFloat(config.scale), config.window);
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
  const bool plain = !conv.activation;
  Value y = CausalConv1dOp::create(builder, model.loc,
                                   plain ? model.activations(c) : model.rows(c, model.f32), x,
                                   weight, bias, model.batch, last, Activation::None, 1, 1);
  if (plain)
    return y;
  if (conv.activation == scalars::silu)
    return SiluOp::create(builder, model.loc, model.activations(c), y);
  return createUnary(builder, model.loc, "activation", model.activations(c), y, conv.activation);
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
  x = causalConv(parts[0],
                 {module + ".conv1d", config.convWidth, config.convBias, config.activation});
  parts = model.split(project(x, "x_proj", module + ".x_proj", config.rank + 2 * states),
                      {config.rank, states, states});
  static constexpr StringRef names[] = {"dt", "b", "c"};
  if (config.norms != Mamba1Config::Norms::none)
    for (auto [part, name] : llvm::zip(parts, names)) {
      int64_t n = ModelBuilder::columnsOf(part);
      Value weight = config.norms == Mamba1Config::Norms::weighted
                         ? vector(name + "_norm", module + "." + name + "_layernorm.weight", n)
                         : Value();
      part = RmsNormOp::create(builder, loc, model.activations(n), part, weight,
                               APFloat(config.normEps), /*groups=*/1);
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
  y = siluMul(z, y);
  return project(y, "out_proj", module + ".out_proj", model.config.hiddenSize, config.bias);
}

Value Layer::mamba2(Value x, const Mamba2Config &config, const Twine &moduleName) {
  OpBuilder &builder = model.builder;
  Location loc = model.loc;
  std::string module = moduleName.str();
  int64_t inner = config.inner(), heads = config.heads, shared = config.groups * config.states;
  Value projected =
      project(x, "in_proj", module + ".in_proj", 2 * inner + 2 * shared + heads, config.bias);
  if (!config.columnMultipliers.empty())
    projected = model.scaleColumns(projected, "in_proj_multipliers",
                                   {inner, inner, shared, shared, heads}, config.columnMultipliers);
  SmallVector<Value> parts = model.split(projected, {inner, inner + 2 * shared, heads});
  Value z = parts[0];
  SmallVector<Value> xbc = model.split(causalConv(parts[1], {module + ".conv1d", config.convWidth,
                                                             config.convBias, config.activation}),
                                       {inner, shared, shared});
  Value dt = SoftplusOp::create(builder, loc, model.rows(heads, model.f32), parts[2],
                                vector("dt_bias", module + ".dt_bias", heads));
  if (config.leastStep > 0 || std::isfinite(config.largestStep))
    dt = createMap(builder, loc, "clip", dt.getType(), dt,
                   [&](ImplicitLocOpBuilder &b, ValueRange v) -> Value {
                     Value least = scalars::constant(b, config.leastStep, v[0]);
                     Value raised = arith::MaximumFOp::create(b, v[0], least);
                     if (!std::isfinite(config.largestStep))
                       return raised;
                     return arith::MinimumFOp::create(
                         b, raised, scalars::constant(b, config.largestStep, v[0]));
                   });
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
    y = siluMul(z, y);
  else
    y = GatedRmsNormOp::create(builder, loc, model.activations(inner), y, z,
                               vector("gate_norm", module + ".norm.weight", inner),
                               config.norm == Mamba2Config::Norm::full ? 1 : config.groups,
                               APFloat(config.normEps),
                               config.norm == Mamba2Config::Norm::groupedFirst);
  return project(y, "out_proj", module + ".out_proj", model.config.hiddenSize, config.outputBias);
}
