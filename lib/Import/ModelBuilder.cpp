// The layers of llama, qwen2 and M1 as m1 operations.
#include "ModelBuilder.h"

#include "m1k_abi.h"

#include <cmath>

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

/// Positions of one KV page.
static constexpr int64_t pageSize = M1_PAGE_SIZE;

/// One wrong field makes tensors of every layer wrong; more are only counted.
static constexpr int shownTensors = 5;

ModelBuilder::ModelBuilder(MLIRContext &context, const ModelConfig &config,
                           const ImportOptions &options, const CheckpointData &data)
    : config(config), options(options), data(data), builder(&context),
      loc(UnknownLoc::get(&context)), f32(builder.getF32Type()), symbols(&context) {}

OwningOpRef<ModuleOp> ModelBuilder::build() {
  OwningOpRef<ModuleOp> owner = ModuleOp::create(loc);
  module = *owner;
  symbols.setInsertionPointToStart(module.getBody());
  declareModel();
  buildFunction("prefill");
  buildFunction("decode");
  if (wrongTensors > shownTensors)
    emitError(loc) << wrongTensors - shownTensors
                   << " further tensors are missing or of a wrong shape";
  return owner;
}

void ModelBuilder::declareModel() {
  int64_t positions = options.maxPositions ? options.maxPositions : config.maxPositions;
  ModelOp::create(symbols, loc, "model", config.getArchitecture(), config.vocabSize,
                  config.hiddenSize, config.layers, positions, pageSize, config.bosId,
                  config.eosIds, options.activationType, options.stateType, options.kvType);
}

void ModelBuilder::buildFunction(StringRef name) {
  auto tokensType = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  auto type = builder.getFunctionType({tokensType, BatchType::get(builder.getContext())},
                                      {rows(config.vocabSize, f32), tokensType});
  builder.setInsertionPointToEnd(module.getBody());
  auto function = func::FuncOp::create(builder, loc, name, type);
  if (name == "prefill")
    symbols.setInsertionPoint(function);
  Block *entry = function.addEntryBlock();
  builder.setInsertionPointToStart(entry);
  batch = entry->getArgument(1);
  table = config.hasAttention() ? rotaryTable() : Value();

  int64_t d = config.hiddenSize;
  auto embeddings = [&] {
    return matrix("embed_tokens", {{"model.embed_tokens.weight", {config.vocabSize, d}}});
  };
  Value h = EmbeddingOp::create(builder, loc, rows(d, f32), entry->getArgument(0), embeddings());
  for (int64_t layer = 0; layer < config.layers; ++layer)
    h = buildLayer(layer, h);
  h = GatherRowsOp::create(builder, loc, h.getType(), h, batch);
  Value norm = vector("norm", {"model.norm.weight", {d}});
  Value x = RmsNormOp::create(builder, loc, rows(d, options.activationType), h, norm,
                              APFloat(config.rmsNormEps));
  Value head =
      config.tied ? embeddings() : matrix("lm_head", {{"lm_head.weight", {config.vocabSize, d}}});
  Value logits = LinearOp::create(builder, loc, rows(config.vocabSize, f32), x, head, Value());
  Value next = SampleOp::create(builder, loc, tokensType, logits);
  func::ReturnOp::create(builder, loc, ValueRange{logits, next});
}

//===----------------------------------------------------------------------===//
// Weights and states
//===----------------------------------------------------------------------===//

bool ModelBuilder::holds(StringRef name) const { return !options.dummy && data.find(name); }

void ModelBuilder::checkSource(const Source &source) {
  used.insert(source.name);
  if (options.dummy)
    return;
  const SourceTensor *tensor = data.find(source.name);
  if (tensor && tensor->shape == source.shape)
    return;
  if (++wrongTensors > shownTensors)
    return;
  if (!tensor)
    emitError(loc) << "missing tensor '" << source.name << "'";
  else
    emitError(loc) << "tensor '" << source.name << "': expected shape [" << source.shape
                   << "], got [" << tensor->shape << "]";
}

/// f32 when computing in f32 needs more than bf16 to hold what the checkpoint stores, else bf16.
Type ModelBuilder::matrixElementType(const Sources &sources) const {
  if (options.widenMatrices)
    return f32;
  Type bf16 = BFloat16Type::get(builder.getContext());
  if (!options.activationType.isF32())
    return bf16;
  bool narrow = llvm::all_of(sources, [&](const Source &source) {
    const SourceTensor *tensor = data.find(source.name);
    return (tensor ? tensor->type : config.storedType.value_or(StoredType::bf16)) ==
           StoredType::bf16;
  });
  return narrow ? bf16 : f32;
}

Value ModelBuilder::weight(StringRef symbol, ArrayRef<int64_t> shape, const Sources &sources,
                           bool matrix, Transform transform) {
  auto type = RankedTensorType::get(shape, matrix ? matrixElementType(sources) : f32);
  if (declared.insert(symbol).second) {
    SmallVector<StringRef> names;
    for (const Source &source : sources) {
      checkSource(source);
      names.push_back(source.name);
    }
    WeightOp::create(symbols, loc, symbol, type, symbols.getStrArrayAttr(names), transform,
                     ElementsAttr(), RotaryAnglesAttr());
  }
  return GetWeightOp::create(builder, loc, type, symbol);
}

/// Sources are [N_i, K], joined to [ΣN_i, K].
Value ModelBuilder::matrix(StringRef symbol, const Sources &sources) {
  int64_t n = 0;
  for (const Source &source : sources)
    n += source.shape[0];
  return weight(symbol, {n, sources[0].shape[1]}, sources, /*matrix=*/true);
}

Value ModelBuilder::vector(StringRef symbol, const Source &source, Transform transform) {
  return weight(symbol, source.shape, {source}, /*matrix=*/false, transform);
}

Value ModelBuilder::state(StringRef symbol, Type type) {
  if (declared.insert(symbol).second)
    StateOp::create(symbols, loc, symbol, type);
  return GetStateOp::create(builder, loc, type, symbol);
}

Value ModelBuilder::rotaryTable() {
  int64_t half = config.headDim / 2;
  auto positions = cast<ModelOp>(module.getBody()->front()).getMaxPositions();
  auto angles = [&](StringRef symbol, int64_t count, int64_t step) -> Value {
    auto type = RankedTensorType::get({count, half, 2}, f32);
    if (declared.insert(symbol).second) {
      auto init = RotaryAnglesAttr::get(builder.getContext(), config.ropeTheta, step,
                                        config.ropeScaling, config.ropeFactor, config.ropeLow,
                                        config.ropeHigh, config.ropeOriginal);
      WeightOp::create(symbols, loc, symbol, type, ArrayAttr(), Transform::None, ElementsAttr(),
                       init);
    }
    return GetWeightOp::create(builder, loc, type, symbol);
  };
  Value hi = angles("rotary_hi", llvm::divideCeil(positions, rotaryStep), rotaryStep);
  Value lo = angles("rotary_lo", rotaryStep, 1);
  return RotaryTableOp::create(builder, loc, rows(config.headDim, f32), batch, hi, lo);
}

//===----------------------------------------------------------------------===//
// Small pieces
//===----------------------------------------------------------------------===//

RankedTensorType ModelBuilder::rows(int64_t columns, Type elementType) const {
  return RankedTensorType::get({ShapedType::kDynamic, columns}, elementType);
}

Value ModelBuilder::linear(Value x, Value weight, Value bias) {
  int64_t n = cast<RankedTensorType>(weight.getType()).getDimSize(0);
  return LinearOp::create(builder, loc, rows(n, options.activationType), x, weight, bias);
}

SmallVector<Value> ModelBuilder::split(Value x, ArrayRef<int64_t> columns) {
  SmallVector<Type> types;
  for (int64_t count : columns)
    types.push_back(rows(count, getElementTypeOrSelf(x)));
  return llvm::to_vector_of<Value>(SplitOp::create(builder, loc, types, x).getPieces());
}

static std::string symbolOf(int64_t layer, const Twine &part) {
  return ("layers." + Twine(layer) + "." + part).str();
}

static std::string tensorOf(int64_t layer, const Twine &part) {
  return ("model.layers." + Twine(layer) + "." + part).str();
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

Value ModelBuilder::buildLayer(int64_t layer, Value h) {
  bool mamba2 = config.kind == ModelConfig::Kind::m1Mamba2;
  MixerKind kind = config.isAttention[layer] ? MixerKind::Attention
                   : mamba2                  ? MixerKind::Mamba2
                                             : MixerKind::Mamba1;
  Value mixerNorm = vector(symbolOf(layer, "input_layernorm"),
                           {tensorOf(layer, "input_layernorm.weight"), {config.hiddenSize}});
  Value mlpNorm = vector(symbolOf(layer, "post_attention_layernorm"),
                         {tensorOf(layer, "post_attention_layernorm.weight"), {config.hiddenSize}});
  auto op = HybridLayerOp::create(builder, loc, h.getType(), h, mixerNorm, mlpNorm, kind,
                                  APFloat(config.rmsNormEps));
  OpBuilder::InsertionGuard guard(builder);
  auto fill = [&](Region &region, auto build) {
    Block *body = builder.createBlock(&region, region.end(),
                                      rows(config.hiddenSize, options.activationType), loc);
    YieldOp::create(builder, loc, build(body->getArgument(0)));
  };
  fill(op.getMixer(), [&](Value x) {
    return kind == MixerKind::Attention ? buildAttention(layer, x)
           : mamba2                     ? buildMamba2(layer, x)
                                        : buildMamba1(layer, x);
  });
  fill(op.getMlp(), [&](Value x) { return buildMlp(layer, x); });
  return op.getResult();
}

Value ModelBuilder::buildMlp(int64_t layer, Value x) {
  int64_t d = config.hiddenSize, i = config.intermediateSize;
  auto weightOf = [&](StringRef part, int64_t n, int64_t k) {
    return matrix(symbolOf(layer, part),
                  {{tensorOf(layer, "mlp." + part + "_proj.weight"), {n, k}}});
  };
  Value gate = weightOf("gate", i, d), up = weightOf("up", i, d), down = weightOf("down", d, i);
  if (!config.mlpBias)
    return GatedMlpOp::create(builder, loc, rows(d, options.activationType), x, gate, up, down);
  auto biasOf = [&](StringRef part, int64_t n) {
    return vector(symbolOf(layer, part + "_bias"),
                  {tensorOf(layer, "mlp." + part + "_proj.bias"), {n}});
  };
  Value a = linear(x, gate, biasOf("gate", i)), b = linear(x, up, biasOf("up", i));
  Value hidden = SiluMulOp::create(builder, loc, a.getType(), a, b);
  return linear(hidden, down, biasOf("down", d));
}

Value ModelBuilder::buildAttention(int64_t layer, Value x) {
  int64_t d = config.hiddenSize, q = config.heads * config.headDim,
          kv = config.kvHeads * config.headDim;
  // M1 names the module mha, its older checkpoints and plain transformers self_attn.
  StringRef module =
      config.isM1() && !holds(tensorOf(layer, "self_attn.q_proj.weight")) ? "mha" : "self_attn";
  bool merged = config.isM1() && !holds(tensorOf(layer, module + ".q_proj.weight"));
  StringRef outName =
      holds(tensorOf(layer, module + ".o_proj.weight")) || !config.isM1() ? "o_proj" : "out_proj";

  SmallVector<Value> parts;
  if (merged) {
    Value weight = matrix(symbolOf(layer, "qkv"),
                          {{tensorOf(layer, module + ".in_proj.weight"), {q + 2 * kv, d}}});
    parts = split(linear(x, weight), {q, kv, kv});
  } else {
    for (auto [part, n] : {std::pair<StringRef, int64_t>{"q", q}, {"k", kv}, {"v", kv}}) {
      std::string prefix = tensorOf(layer, module + "." + part + "_proj");
      Value bias = config.attentionBias
                       ? vector(symbolOf(layer, part + "_bias"), {prefix + ".bias", {n}})
                       : Value();
      parts.push_back(
          linear(x, matrix(symbolOf(layer, part), {{prefix + ".weight", {n, d}}}), bias));
    }
  }
  auto rotate = [&](Value value) -> Value {
    return RotaryEmbeddingOp::create(builder, loc, value.getType(), value, table, config.headDim);
  };
  auto cacheType = KVCacheType::get(builder.getContext(),
                                    {config.kvHeads, pageSize, config.headDim}, options.kvType);
  Value cache = state(symbolOf(layer, "kv"), cacheType);
  Value rotatedQ = rotate(parts[0]), rotatedK = rotate(parts[1]);
  KVWriteOp::create(builder, loc, rotatedK, parts[2], batch, cache);
  Value y = AttentionOp::create(builder, loc, rotatedQ.getType(), rotatedQ, batch, cache,
                                APFloat(1 / std::sqrt(double(config.headDim))));
  std::string prefix = tensorOf(layer, module + "." + outName);
  Value bias =
      config.outputBias ? vector(symbolOf(layer, "o_bias"), {prefix + ".bias", {d}}) : Value();
  return linear(y, matrix(symbolOf(layer, "o"), {{prefix + ".weight", {d, q}}}), bias);
}

Value ModelBuilder::mambaProjection(int64_t layer, Value x,
                                    ArrayRef<std::pair<StringRef, int64_t>> parts) {
  Sources sources;
  int64_t total = 0;
  for (auto [name, n] : parts) {
    sources.push_back({tensorOf(layer, "mamba." + name + ".weight"), {n, config.hiddenSize}});
    total += n;
  }
  if (!holds(sources[0].name))
    sources = {{tensorOf(layer, "mamba.in_proj.weight"), {total, config.hiddenSize}}};
  return linear(x, matrix(symbolOf(layer, "in_proj"), sources));
}

Value ModelBuilder::causalConv(int64_t layer, Value x) {
  int64_t c = cast<RankedTensorType>(x.getType()).getDimSize(1), width = config.dConv;
  // The checkpoint keeps the input channel of each group, which is one.
  Value weight = this->weight(symbolOf(layer, "conv"), {c, width},
                              {{tensorOf(layer, "mamba.conv1d.weight"), {c, 1, width}}}, false);
  Value bias = config.convBias ? vector(symbolOf(layer, "conv_bias"),
                                        {tensorOf(layer, "mamba.conv1d.bias"), {c}})
                               : Value();
  auto stateType = ConvStateType::get(builder.getContext(), {width - 1, c}, options.activationType);
  Value last = state(symbolOf(layer, "conv_state"), stateType);
  Value y = CausalConv1dOp::create(builder, loc, rows(c, f32), x, weight, bias, batch, last,
                                   Activation::None, 1, 1);
  return SiluOp::create(builder, loc, rows(c, options.activationType), y);
}

Value ModelBuilder::repeatHeads(Value x) {
  return RepeatHeadsOp::create(builder, loc, rows(config.dInner, getElementTypeOrSelf(x)), x,
                               config.dState, config.dInner / config.dXb);
}

Value ModelBuilder::buildMamba1(int64_t layer, Value normed) {
  int64_t inner = config.dInner, xb = config.dXb, n = config.dState, rank = config.dtRank;
  Value projected = mambaProjection(layer, normed,
                                    {{"in_proj_z", inner},
                                     {"in_proj_x", xb},
                                     {"B_proj", xb},
                                     {"C_proj", inner},
                                     {"dt_proj_down", rank}});
  SmallVector<Value> parts = split(projected, {inner, xb, xb, inner, rank});
  Value z = parts[0], x = parts[1], b = parts[2], c = parts[3];
  x = config.repeatBeforeConv ? causalConv(layer, repeatHeads(x))
                              : repeatHeads(causalConv(layer, x));

  // M1 adds the bias in the linear layer and once more in the scan.
  Value dtBias =
      vector(symbolOf(layer, "dt_bias"), {tensorOf(layer, "mamba.dt_proj.bias"), {inner}});
  Value dt = linear(parts[4],
                    matrix(symbolOf(layer, "dt_proj"),
                           {{tensorOf(layer, "mamba.dt_proj.weight"), {inner, rank}}}),
                    dtBias);
  dt = SoftplusOp::create(builder, loc, rows(inner, f32), dt, dtBias);

  Value a =
      vector(symbolOf(layer, "A"), {tensorOf(layer, "mamba.A_log"), {inner, n}}, Transform::NegExp);
  Value d = vector(symbolOf(layer, "D"), {tensorOf(layer, "mamba.D"), {inner}});
  Value s = state(symbolOf(layer, "scan_state"),
                  ScanStateType::get(builder.getContext(), {inner, n}, options.stateType));
  Value y = SelectiveScanOp::create(builder, loc, rows(inner, f32), x, dt, a, b, c, Value(),
                                    Value(), Value(), batch, s, false);
  y = SkipOp::create(builder, loc, y.getType(), y, x, d);
  y = SiluMulOp::create(builder, loc, rows(inner, options.activationType), z, y);
  return linear(y, matrix(symbolOf(layer, "out_proj"), {{tensorOf(layer, "mamba.out_proj.weight"),
                                                         {config.hiddenSize, inner}}}));
}

Value ModelBuilder::buildMamba2(int64_t layer, Value normed) {
  int64_t inner = config.dInner, xb = config.dXb, n = config.dState, heads = inner / n;
  Value projected = mambaProjection(layer, normed,
                                    {{"in_proj_z", inner},
                                     {"in_proj_x", xb},
                                     {"B_proj", xb},
                                     {"C_proj", inner},
                                     {"dt_proj_down", heads}});
  SmallVector<Value> parts = split(projected, {inner, xb + xb + inner, heads});
  Value z = parts[0], dt = parts[2];
  SmallVector<Value> xbc = split(causalConv(layer, parts[1]), {xb, xb, inner});
  Value x = xbc[0];

  Value dtBias = vector(symbolOf(layer, "dt_bias"), {tensorOf(layer, "mamba.dt_bias"), {heads}});
  dt = SoftplusOp::create(builder, loc, rows(heads, f32), dt, dtBias);
  Value a =
      vector(symbolOf(layer, "A"), {tensorOf(layer, "mamba.A_log"), {heads}}, Transform::NegExp);
  Value d = vector(symbolOf(layer, "D"), {tensorOf(layer, "mamba.D"), {heads}});
  Value s = state(symbolOf(layer, "scan_state"),
                  ScanStateType::get(builder.getContext(), {heads, n, n}, options.stateType));
  Value y = SsdScanOp::create(builder, loc, rows(inner, f32), x, dt, a, xbc[1], xbc[2], Value(),
                              Value(), batch, s, false);
  y = SkipOp::create(builder, loc, rows(inner, options.activationType), y, repeatHeads(x), d);

  Value norm =
      vector(symbolOf(layer, "gate_norm"), {tensorOf(layer, "mamba.norm.weight"), {inner}});
  // 1e-5: M1's layer does not take the model's eps.
  y = GatedRmsNormOp::create(builder, loc, rows(inner, options.activationType), y, z, norm, heads,
                             APFloat(1e-5));
  return linear(y, matrix(symbolOf(layer, "out_proj"), {{tensorOf(layer, "mamba.out_proj.weight"),
                                                         {config.hiddenSize, inner}}}));
}
