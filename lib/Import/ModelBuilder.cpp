#include "ModelBuilder.h"

#include "Family.h"
#include "M1/IR/Scalars.h"
#include "m1k_abi.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

/// Positions of one KV page.
static constexpr int64_t pageSize = M1_PAGE_SIZE;

/// One wrong field makes tensors of every layer wrong; more are only counted.
static constexpr int shownTensors = 5;

ModelBuilder::ModelBuilder(MLIRContext &context, const ModelConfig &config,
                           const ImportOptions &options, const CheckpointData &data)
    : config(config), options(options), builder(&context), loc(UnknownLoc::get(&context)),
      f32(builder.getF32Type()), data(data), symbols(&context) {}

OwningOpRef<ModuleOp> ModelBuilder::build() {
  OwningOpRef<ModuleOp> owner = ModuleOp::create(loc);
  module = *owner;
  symbols.setInsertionPointToStart(module.getBody());
  declareModel();
  buildFunction("prefill");
  buildFunction("decode");
  if (wrongTensors > shownTensors)
    emitError(loc) << wrongTensors - shownTensors << " further tensors are missing or wrong";
  if (wrongTensors)
    emitRemark(loc) << "names and shapes of tensors follow " << config.family->sizes;
  return owner;
}

void ModelBuilder::declareModel() {
  int64_t positions = options.maxPositions ? options.maxPositions : config.maxPositions;
  SmallVector<int64_t> eosIds(config.eosIds);
  if (options.endToken >= 0 && !llvm::is_contained(eosIds, options.endToken))
    eosIds.push_back(options.endToken);
  ModelOp::create(symbols, loc, "model", config.architecture, config.vocabSize, config.hiddenSize,
                  config.layers, positions, pageSize, config.bosId, eosIds, options.activationType,
                  options.stateType, options.kvType);
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
  const Family &family = *config.family;
  table = family.getRotary() ? rotaryTable(*family.getRotary()) : Value();

  int64_t d = config.hiddenSize;
  auto embeddings = [&] {
    return matrix("embed_tokens", {{family.embeddings(), {config.vocabSize, d}}});
  };
  Value tokens = embeddings();
  Value h =
      EmbeddingOp::create(builder, tokens.getLoc(), rows(d, f32), entry->getArgument(0), tokens);
  embedded = h = scale(h, family.getEmbeddingMultiplier());
  const Location around = loc;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    loc = named(("layers." + Twine(layer)).str());
    h = family.buildLayer(*this, layer, h);
  }
  loc = around;
  h = GatherRowsOp::create(builder, loc, h.getType(), h, batch);
  Value norm = vector("norm", {family.finalNorm(), {d}},
                      family.hasZeroCentredNorms() ? Transform::PlusOne : Transform::None);
  Value x = RmsNormOp::create(builder, norm.getLoc(), activations(d), h, norm,
                              APFloat(family.getEps()), /*groups=*/1);
  Value head =
      config.tied ? embeddings() : matrix("lm_head", {{family.head(), {config.vocabSize, d}}});
  Value logits =
      LinearOp::create(builder, head.getLoc(), rows(config.vocabSize, f32), x, head, Value());
  logits = scale(logits, family.getLogitsMultiplier());
  if (double cap = family.getLogitsCap())
    logits = createMap(
        builder, loc, "soft_cap", logits.getType(), logits,
        [&](ImplicitLocOpBuilder &b, ValueRange v) { return scalars::softCap(b, v[0], cap); });
  IntegerAttr ids; // only where some are missing
  if (options.tokenizerIds && options.tokenizerIds < config.vocabSize)
    ids = builder.getI64IntegerAttr(options.tokenizerIds);
  Value next = SampleOp::create(builder, loc, tokensType, logits, ids);
  func::ReturnOp::create(builder, loc, ValueRange{logits, next});
}

//===----------------------------------------------------------------------===//
// Weights and states
//===----------------------------------------------------------------------===//

/// The location of what is made of a layer or tensor.
Location ModelBuilder::named(StringRef name) { return NameLoc::get(builder.getStringAttr(name)); }

bool ModelBuilder::holds(StringRef name) const { return !options.dummy && data.find(name); }

std::string ModelBuilder::oneOf(ArrayRef<std::string> names) {
  const std::string *found =
      llvm::find_if(names, [&](const std::string &name) { return holds(name); });
  if (found == names.end())
    return names.front();
  for (const std::string &name : ArrayRef<std::string>(found + 1, names.end()))
    if (holds(name) && used.insert(name).second)
      checkCopy(*data.find(name), *data.find(*found));
  return *found;
}

/// Whether the file holds the same under both names.
static bool areEqual(const SourceTensor &a, const SourceTensor &b) {
  if (a.type != b.type || a.shape != b.shape || a.isTransformed != b.isTransformed ||
      !a.code != !b.code)
    return false;
  if (!a.code)
    return a.data == b.data;
  return llvm::equal(a.code->getParts(), b.code->getParts(), areEqual);
}

void ModelBuilder::checkCopy(const SourceTensor &copy, const SourceTensor &tensor) {
  if (areEqual(copy, tensor) || ++wrongTensors > shownTensors)
    return;
  emitError(UnknownLoc::get(builder.getContext()))
      << "tensor '" << copy.name << "' differs from '" << tensor.name
      << "', of which it is another layer's copy";
}

void ModelBuilder::checkSource(const Source &source) {
  used.insert(source.name);
  if (options.dummy)
    return;
  const SourceTensor *tensor = data.find(source.name);
  if (tensor && tensor->shape == source.shape)
    return;
  if (++wrongTensors > shownTensors)
    return;
  Location unnamed = UnknownLoc::get(builder.getContext()); // the tensor's name says where
  if (!tensor)
    emitError(unnamed) << "missing tensor '" << source.name << "'";
  else
    emitError(unnamed) << "tensor '" << source.name << "': expected shape [" << source.shape
                       << "], got [" << tensor->shape << "] in "
                       << data.getFiles()[tensor->file].path;
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
    if (llvm::any_of(sources, [&](const Source &source) {
          const SourceTensor *tensor = data.find(source.name);
          return tensor && tensor->isTransformed;
        }))
      transform = Transform::None;
    SmallVector<StringRef> names;
    SmallVector<int64_t> rows;
    bool inParts = llvm::any_of(sources, [](const Source &source) { return source.count; });
    for (const Source &source : sources) {
      checkSource(source);
      names.push_back(source.name);
      if (inParts)
        rows.append({source.first, source.rows()});
    }
    WeightOp::create(symbols, loc, symbol, type, symbols.getStrArrayAttr(names),
                     inParts ? symbols.getDenseI64ArrayAttr(rows) : DenseI64ArrayAttr(), transform,
                     ElementsAttr(), RotaryAnglesAttr());
  }
  return GetWeightOp::create(builder, named(symbol), type, symbol);
}

Value ModelBuilder::matrix(StringRef symbol, const Sources &sources) {
  int64_t n = 0;
  for (const Source &source : sources)
    n += source.rows();
  return weight(symbol, {n, sources[0].shape[1]}, sources, /*matrix=*/true);
}

Value ModelBuilder::vector(StringRef symbol, const Source &source, Transform transform) {
  return weight(symbol, source.shape, {source}, /*matrix=*/false, transform);
}

Value ModelBuilder::state(StringRef symbol, Type type) {
  if (declared.insert(symbol).second)
    StateOp::create(symbols, loc, symbol, type, IntegerAttr());
  return GetStateOp::create(builder, named(symbol), type, symbol);
}

Value ModelBuilder::rotaryTable(const RotaryConfig &rotary) {
  int64_t half = rotary.width / 2;
  auto positions = cast<ModelOp>(module.getBody()->front()).getMaxPositions();
  auto angles = [&](StringRef symbol, int64_t count, int64_t step, double scale) -> Value {
    auto type = RankedTensorType::get({count, half, 2}, f32);
    if (declared.insert(symbol).second) {
      auto init = RotaryAnglesAttr::get(builder.getContext(), step, rotary.frequencies, scale);
      WeightOp::create(symbols, loc, symbol, type, ArrayAttr(), DenseI64ArrayAttr(),
                       Transform::None, ElementsAttr(), init);
    }
    return GetWeightOp::create(builder, loc, type, symbol);
  };
  // An angle is the sum of one of each table: the product of two rotations, so that one of them
  // carries the factor.
  Value hi = angles("rotary_hi", llvm::divideCeil(positions, rotaryStep), rotaryStep, rotary.scale);
  Value lo = angles("rotary_lo", rotaryStep, 1, 1);
  return RotaryTableOp::create(builder, loc, rows(rotary.width, f32), batch, hi, lo);
}

//===----------------------------------------------------------------------===//
// Small pieces
//===----------------------------------------------------------------------===//

RankedTensorType ModelBuilder::rows(int64_t columns, Type elementType) const {
  return RankedTensorType::get({ShapedType::kDynamic, columns}, elementType);
}

Value ModelBuilder::linear(Value x, Value weight, Value bias) {
  int64_t n = cast<RankedTensorType>(weight.getType()).getDimSize(0);
  return LinearOp::create(builder, weight.getLoc(), activations(n), x, weight, bias);
}

Value ModelBuilder::scale(Value x, double factor) {
  return factor == 1 ? x : createScale(builder, loc, x.getType(), x, factor);
}

/// A vector that no file holds.
Value ModelBuilder::constant(StringRef symbol, ArrayRef<float> values) {
  auto type = RankedTensorType::get({int64_t(values.size())}, f32);
  if (declared.insert(symbol).second)
    WeightOp::create(symbols, loc, symbol, type, ArrayAttr(), DenseI64ArrayAttr(), Transform::None,
                     DenseElementsAttr::get(type, values), RotaryAnglesAttr());
  return GetWeightOp::create(builder, loc, type, symbol);
}

Value ModelBuilder::concatenate(Value a, Value b) {
  auto type = rows(2 * columnsOf(a), getElementTypeOrSelf(a));
  auto twice = [&](Value x) -> Value {
    return RepeatHeadsOp::create(builder, loc, type, x, columnsOf(x), /*repeat=*/2);
  };
  // A value for each half of the columns.
  Value isFirst = constant("is_first_half", {1, 0});
  return createMap(builder, loc, "concatenate", type, {twice(a), twice(b), isFirst},
                   [](ImplicitLocOpBuilder &b, ValueRange v) -> Value {
                     Value first = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, v[2],
                                                         scalars::constant(b, 0.5, v[2]));
                     return arith::SelectOp::create(b, first, v[0], v[1]);
                   });
}

Value ModelBuilder::scaleColumns(Value x, StringRef symbol, ArrayRef<int64_t> columns,
                                 ArrayRef<double> factors) {
  SmallVector<float> values;
  for (auto [count, factor] : llvm::zip_equal(columns, factors))
    values.append(count, float(factor));
  Value weight = constant(symbol, values);
  return createMap(builder, loc, "scale_columns", x.getType(), {x, weight},
                   [](ImplicitLocOpBuilder &b, ValueRange v) -> Value {
                     return arith::MulFOp::create(b, v[0], v[1]);
                   });
}

SmallVector<Value> ModelBuilder::split(Value x, ArrayRef<int64_t> columns) {
  SmallVector<Type> types;
  for (int64_t count : columns)
    types.push_back(rows(count, getElementTypeOrSelf(x)));
  return llvm::to_vector_of<Value>(SplitOp::create(builder, loc, types, x).getPieces());
}
