#include "ModuleTable.h"
#include "M1/IR/Int4.h"
#include "llvm/ADT/StringMap.h"
#include <cmath>

using namespace mlir;

namespace m1c {

namespace m1 = mlir::m1; // not the schema's
namespace {

template <typename T> using Offset = flatbuffers::Offset<T>;

/// Of what verifiers let through.
fbs::ElementType elementType(Type type) {
  if (type.isF32())
    return fbs::ElementType::f32;
  if (type.isBF16())
    return fbs::ElementType::bf16;
  if (type.isF16())
    return fbs::ElementType::f16;
  if (type.isInteger(32))
    return fbs::ElementType::i32;
  if (type.isSignlessInteger(8))
    return fbs::ElementType::i8;
  if (m1::isInt4Pairs(type))
    return fbs::ElementType::i4x2;
  if (isa<Float8E4M3FNType>(type))
    return fbs::ElementType::f8e4m3;
  llvm_unreachable("the verifiers of weights, states, models and plans name the types");
}

/// Mean and standard deviation that keep activations near those of a trained model: rows of
/// matrices of unit gain, norms near 1, decay rates near -1 (they must stay negative: 1 ± 0.1 does,
/// as dummy values lie within 3.5 deviations), convolution taps of unit gain, biases small. Rows of
/// a quantised weight fill their range and have the scales that give them unit gain.
std::pair<float, float> dummyStatistics(m1::WeightOp weight) {
  auto isInt4 = [](m1::WeightOp codes) {
    std::optional<m1::GroupForm> form = m1::groupFormOf(codes.getTransform());
    return form && form->bits == 4;
  };
  auto deviationOf = [&](m1::WeightOp codes) {
    return (isInt4(codes)                                    ? 7.0f
            : codes.getTransform() == m1::Transform::Fp8Rows ? 448.0f
                                                             : 127.0f) /
           3.5f;
  };
  if (weight.isQuantised())
    return {0.0f, deviationOf(weight)};
  if (m1::WeightOp scaled = weight.getScaled()) {
    if (weight.getTensorType().getElementType().isInteger(8))
      return {16.0f, 0.0f}; // of two levels: 16 times 0x1010 as an f16, 0.0005
    auto columns =
        static_cast<float>(scaled.getTensorType().getDimSize(1) * (isInt4(scaled) ? 2 : 1));
    return {1.0f / (deviationOf(scaled) * std::sqrt(columns)), 0.0f};
  }
  auto shape = weight.getTensorType().getShape();
  StringRef name = weight.getSymName();
  if (weight.getTransform() == m1::Transform::NegExp)
    return {-1.0f, 0.1f};
  if (shape.size() == 2)
    return {0.0f, 1.0f / std::sqrt(static_cast<float>(shape[1]))};
  if (name.contains("norm") || name.ends_with("D"))
    return {1.0f, 0.1f};
  return {0.0f, 0.1f};
}

class TableBuilder {
public:
  TableBuilder(ModuleOp module, llvm::ArrayRef<ArtifactTarget> targets, const Layout &layout,
               const ArtifactOptions &options)
      : module(module), targets(targets), layout(layout), options(options) {}

  std::string build();

private:
  Offset<fbs::TensorType> type(Type element, ArrayRef<int64_t> shape) {
    return fbs::CreateTensorType(fb, elementType(element),
                                 fb.CreateVector(shape.data(), shape.size()));
  }
  Offset<flatbuffers::String> string(StringRef text) {
    return fb.CreateString(text.data(), text.size());
  }
  Offset<flatbuffers::Vector<const fbs::TensorRows *>> sources(const WeightEntry &entry);
  Offset<fbs::Weight> weight(const WeightEntry &entry);
  Offset<fbs::Tokenizer> tokenizer();
  Offset<fbs::GenerationDefaults> generation();
  Offset<fbs::State> state(m1::StateOp op);
  Offset<fbs::Target> target(const ArtifactTarget &target,
                             ArrayRef<std::pair<uint64_t, uint64_t>> code,
                             llvm::ArrayRef<m1rt::TuningTable> tuning);
  Offset<fbs::TuningTable> tuning(const m1rt::TuningTable &table);
  Offset<flatbuffers::Vector<Offset<fbs::WrittenRows>>> writtenRows(plan::LaunchOp launch);
  Offset<fbs::Function> function(plan::FunctionOp op, const llvm::StringMap<uint32_t> &kernels);
  Offset<fbs::Operand> operand(Value buffer);
  Offset<fbs::Parameter> parameter(plan::LaunchOp launch, size_t operand, int64_t bytes,
                                   int64_t stride);
  Offset<fbs::Kernel> kernel(plan::KernelOp op, ArrayRef<plan::LaunchOp> launches);

  ModuleOp module;
  llvm::ArrayRef<ArtifactTarget> targets;
  const Layout &layout;
  const ArtifactOptions &options;
  flatbuffers::FlatBufferBuilder fb;
  llvm::StringMap<uint32_t> weightIndex, stateIndex, tensorIndex;
  std::vector<Offset<fbs::CheckpointTensor>> tensors;
  uint32_t version = 1; // the least that knows all of it, see artifact_header.h
};

fbs::WeightTransform transformOf(m1::WeightOp weight) {
  const bool isScales = bool(weight.getScalesOfAttr());
  m1::WeightOp source = isScales ? weight.getScaled() : weight;
  switch (source ? source.getTransform() : m1::Transform::None) {
  case m1::Transform::None:
    return fbs::WeightTransform::none;
  case m1::Transform::NegExp:
    return fbs::WeightTransform::neg_exp;
  case m1::Transform::Double:
    return fbs::WeightTransform::twice;
  case m1::Transform::PlusOne:
    return fbs::WeightTransform::plus_one;
  case m1::Transform::Int8Rows:
  case m1::Transform::Int8Groups16:
  case m1::Transform::Int8Groups32:
  case m1::Transform::Int8Groups64:
  case m1::Transform::Int8Groups128:
    return isScales ? fbs::WeightTransform::int8_scales : fbs::WeightTransform::int8_rows;
  case m1::Transform::Fp8Rows:
    return isScales ? fbs::WeightTransform::fp8_scales : fbs::WeightTransform::fp8_rows;
  case m1::Transform::Int4Groups32:
  case m1::Transform::Int4Groups64:
  case m1::Transform::Int4Groups128:
    return isScales ? fbs::WeightTransform::int4_scales : fbs::WeightTransform::int4_groups;
  }
  llvm_unreachable("all transforms are handled");
}

/// Adds its tensors to those of the checkpoint.
Offset<flatbuffers::Vector<const fbs::TensorRows *>>
TableBuilder::sources(const WeightEntry &entry) {
  if (entry.sources.empty())
    return 0;
  std::vector<fbs::TensorRows> all;
  for (const SourceRows &rows : entry.sources) {
    auto [at, isNew] = tensorIndex.try_emplace(rows.tensor, static_cast<uint32_t>(tensors.size()));
    if (isNew) {
      auto name = string(rows.tensor);
      auto shape = fb.CreateVector(rows.shape.data(), rows.shape.size());
      tensors.push_back(fbs::CreateCheckpointTensor(fb, name, shape));
    }
    all.emplace_back(at->second, rows.first, rows.count);
  }
  return fb.CreateVectorOfStructs(all);
}

Offset<fbs::Weight> TableBuilder::weight(const WeightEntry &entry) {
  m1::WeightOp op = entry.op;
  auto tensor = op.getTensorType();
  auto name = string(op.getSymName());
  auto weightType = type(tensor.getElementType(), tensor.getShape());
  fbs::Segment data(entry.offset, entry.size);
  auto [mean, deviation] = dummyStatistics(op);
  auto rows = sources(entry);
  return fbs::CreateWeight(fb, name, weightType, entry.file, entry.dummy ? nullptr : &data,
                           entry.dummy, entry.dummy ? deviation : 0.0f, entry.dummy ? mean : 0.0f,
                           rows, rows.IsNull() ? fbs::WeightTransform::none : transformOf(op));
}

// The plan dialect's numbers are the schema's.
static_assert(int(plan::RowDomain::one) == int(fbs::RowDomain::one) &&
              int(plan::RowDomain::tokens) == int(fbs::RowDomain::tokens) &&
              int(plan::RowDomain::sequences) == int(fbs::RowDomain::sequences) &&
              int(plan::RowDomain::logit_rows) == int(fbs::RowDomain::logit_rows));
static_assert(int(plan::Port::tokens) == int(fbs::Port::tokens) &&
              int(plan::Port::block_tables) == int(fbs::Port::block_tables) &&
              plan::getMaxEnumValForPort() == unsigned(fbs::Port::MAX));

fbs::StateKind kindOf(m1::StateTypeInterface type) {
  for (auto candidate : fbs::EnumValuesStateKind())
    if (type.getKind() == fbs::EnumNameStateKind(candidate))
      return candidate;
  return fbs::StateKind::scan;
}

Offset<fbs::State> TableBuilder::state(m1::StateOp op) {
  auto stateType = cast<m1::StateTypeInterface>(op.getType());
  llvm::SmallVector<int64_t> shape = stateType.getStorageShape();
  fbs::StateKind kind = kindOf(stateType);
  Type element = stateType.getElementType();
  uint64_t bytes = element.getIntOrFloatBitWidth() / 8;
  for (int64_t dim : shape)
    bytes *= static_cast<uint64_t>(dim);
  auto name = string(op.getSymName());
  return fbs::CreateState(fb, name, kind, type(element, shape), bytes,
                          static_cast<uint32_t>(op.getWindow().value_or(0)));
}

Offset<fbs::Operand> TableBuilder::operand(Value buffer) {
  if (!buffer)
    return 0;
  plan::BufferBase base = plan::resolveBuffer(buffer);
  auto offset = static_cast<uint64_t>(base.offset);
  if (auto op = dyn_cast<plan::WeightOp>(base.base))
    return fbs::CreateOperand(fb, fbs::OperandKind::weight, weightIndex.at(op.getWeight()), 0,
                              offset);
  if (auto op = dyn_cast<plan::StateOp>(base.base))
    return fbs::CreateOperand(fb, fbs::OperandKind::state, stateIndex.at(op.getState()), 0, offset);
  if (auto op = dyn_cast<plan::PortOp>(base.base))
    return fbs::CreateOperand(fb, fbs::OperandKind::port, static_cast<uint32_t>(op.getPort()), 0,
                              offset);
  auto temporary = cast<plan::TemporaryOp>(base.base);
  if (temporary.getRows() == plan::RowDomain::one)
    return fbs::CreateOperand(fb, fbs::OperandKind::workspace, 0, 0,
                              *temporary.getOffset() + offset);
  auto kind = temporary.getRows() == plan::RowDomain::tokens ? fbs::OperandKind::temporary
                                                             : fbs::OperandKind::row_temporary;
  return fbs::CreateOperand(fb, kind, 0, *temporary.getOffset(), offset);
}

Offset<flatbuffers::Vector<Offset<fbs::WrittenRows>>>
TableBuilder::writtenRows(plan::LaunchOp launch) {
  const std::optional<ArrayAttr> entries = launch.getWrittenRows();
  if (!entries)
    return 0;
  std::vector<Offset<fbs::WrittenRows>> list;
  for (Attribute entry : *entries) {
    const plan::WrittenRows rows = *plan::readWrittenRows(entry); // verified
    const int64_t size = rows.element.getIntOrFloatBitWidth() / 8;
    list.push_back(fbs::CreateWrittenRows(
        fb, static_cast<uint32_t>(rows.operand), elementType(rows.element),
        static_cast<uint64_t>(rows.columns * size), static_cast<uint64_t>(rows.stride * size)));
  }
  return fb.CreateVector(list);
}

Offset<fbs::Parameter> TableBuilder::parameter(plan::LaunchOp launch, size_t operand, int64_t bytes,
                                               int64_t stride) {
  static_assert(int(plan::Access::ro) == int(fbs::Access::read) &&
                int(plan::Access::wo) == int(fbs::Access::write) &&
                int(plan::Access::rw) == int(fbs::Access::read_write));
  Operation *base = plan::resolveBuffer(launch.getBuffers()[operand]).base;
  auto access = static_cast<fbs::Access>(launch.getAccess(operand));
  auto type = fbs::ElementType::u8; // rows: the kernel's own affair
  int8_t port = -1, kind = -1;
  if (auto weight = dyn_cast<plan::WeightOp>(base)) {
    type = elementType(cast<ShapedType>(weight.getWeightType()).getElementType());
  } else if (auto state = dyn_cast<plan::StateOp>(base)) {
    auto stateType = cast<m1::StateTypeInterface>(state.getStateType());
    type = elementType(stateType.getElementType());
    kind = static_cast<int8_t>(kindOf(stateType));
  } else if (auto op = dyn_cast<plan::PortOp>(base);
             op && op.getPort() != plan::Port::logits && op.getPort() != plan::Port::next_tokens) {
    type = fbs::ElementType::i32;
    port = static_cast<int8_t>(op.getPort());
  }
  return fbs::CreateParameter(fb, access, type, static_cast<uint64_t>(bytes),
                              static_cast<uint64_t>(stride), port, kind);
}

/// `launches`: all of this kernel. What they have in common the loader holds every launch to.
Offset<fbs::Kernel> TableBuilder::kernel(plan::KernelOp op, ArrayRef<plan::LaunchOp> launches) {
  auto symbol = string(op.getSymName()), origin = string(op.getOrigin());
  std::vector<Offset<fbs::Parameter>> parameters;
  bool decode = !launches.empty(), readsPositions = false, readsPages = false;
  uint32_t maxRows = 0;
  plan::LaunchOp first = launches.empty() ? plan::LaunchOp() : launches[0];
  if (std::optional<ArrayRef<int64_t>> extents = op.getExtents(); extents && first)
    for (size_t i = 0; i < extents->size() / 2; ++i) {
      parameters.push_back(parameter(first, i, (*extents)[2 * i], (*extents)[2 * i + 1]));
      Operation *base = plan::resolveBuffer(first.getBuffers()[i]).base;
      if (auto port = dyn_cast<plan::PortOp>(base))
        readsPositions |= port.getPort() == plan::Port::positions;
      if (auto state = dyn_cast<plan::StateOp>(base))
        readsPages |=
            kindOf(cast<m1::StateTypeInterface>(state.getStateType())) == fbs::StateKind::kv;
    }
  std::vector<fbs::RowDomain> domains;
  for (plan::LaunchOp launch : launches) {
    auto function = cast<plan::FunctionOp>(launch->getParentOp());
    const auto domain = static_cast<fbs::RowDomain>(launch.getDomain());
    if (!llvm::is_contained(domains, domain))
      domains.push_back(domain);
    decode &= function.getEntryName().starts_with("decode");
    const uint32_t rows = function.getMaxRows();
    maxRows = launch == first ? rows : rows && maxRows ? std::max(maxRows, rows) : 0;
  }
  auto list = fb.CreateVector(parameters);
  auto domainList = fb.CreateVector(domains);
  Offset<flatbuffers::Vector<Offset<fbs::TensorMap>>> maps;
  if (std::optional<ArrayRef<int64_t>> numbers = op.getTensorMaps()) {
    std::vector<Offset<fbs::TensorMap>> tables;
    for (const plan::TensorMap &map : plan::readTensorMaps(*numbers))
      tables.push_back(fbs::CreateTensorMap(fb, uint32_t(map.operand), uint32_t(map.rows),
                                            uint32_t(map.columns), uint64_t(map.rowBytes),
                                            uint32_t(map.boxRows)));
    maps = fb.CreateVector(tables);
  }
  if (op.getTensorMaps() || op.getCooperative())
    version = 2;
  m1::ModelOp model = m1::getModel(module);
  return fbs::CreateKernel(
      fb, symbol, op.getCode(), op.getBlockSize(), op.getSharedBytes(), origin, op.getLaunchEarly(),
      list, first ? first.getGridX() : 0, first ? first.getRowsPerGroup() : 0, domainList, decode,
      maxRows, readsPositions ? static_cast<uint32_t>(model.getMaxPositions()) : 0,
      readsPages ? static_cast<uint32_t>(model.getPageSize()) : 0, maps, op.getCooperative());
}

Offset<fbs::Function> TableBuilder::function(plan::FunctionOp op,
                                             const llvm::StringMap<uint32_t> &kernels) {
  std::vector<Offset<fbs::CommandHolder>> commands;
  for (Operation &command : *op.getBody().begin()) {
    if (auto launch = dyn_cast<plan::LaunchOp>(command)) {
      std::vector<Offset<fbs::Operand>> operands;
      for (Value value : launch.getOperands())
        operands.push_back(operand(value));
      auto list = fb.CreateVector(operands);
      auto label = string(launch.getLabel());
      auto table =
          fbs::CreateLaunch(fb, kernels.lookup(launch.getKernel()), list,
                            static_cast<fbs::RowDomain>(launch.getDomain()), launch.getGridX(),
                            launch.getRowsPerGroup(), label, launch.getTokenBytes(),
                            launch.getLogitRowBytes(), writtenRows(launch));
      commands.push_back(fbs::CreateCommandHolder(fb, fbs::Command::Launch, table.Union()));
    } else if (auto gemm = dyn_cast<plan::GemmOp>(command)) {
      auto a = operand(gemm.getA()), w = operand(gemm.getW()), out = operand(gemm.getOut()),
           bias = operand(gemm.getBias()), aScale = operand(gemm.getAScale()),
           wScale = operand(gemm.getWScale());
      if (gemm.getAScale())
        version = 2;
      auto label = string(gemm.getLabel());
      auto table = fbs::CreateGemm(
          fb, a, w, out, bias, static_cast<fbs::RowDomain>(gemm.getDomain()), gemm.getN(),
          gemm.getK(), gemm.getLda(), gemm.getLdo(), elementType(gemm.getAType()),
          elementType(gemm.getWType()), elementType(gemm.getOutType()), label, aScale, wScale);
      commands.push_back(fbs::CreateCommandHolder(fb, fbs::Command::Gemm, table.Union()));
    }
  }
  auto name = string(op.getEntryName());
  auto list = fb.CreateVector(commands);
  return fbs::CreateFunction(fb, name, list, *op.getTemporaryBytesPerRow(),
                             *op.getRowTemporaryBytesPerRow(), *op.getWorkspaceBytes(),
                             op.getMaxRows(), op.getMinRows());
}

Offset<fbs::TuningTable> TableBuilder::tuning(const m1rt::TuningTable &table) {
  std::vector<Offset<fbs::TunedProduct>> products;
  for (const auto &[shape, product] : table.products) {
    auto algorithm = fb.CreateVector(product.algorithm.data(), product.algorithm.size());
    products.push_back(fbs::CreateTunedProduct(
        fb, shape.m, shape.n, shape.k, shape.lda, shape.ldo, shape.inputType, shape.outType,
        shape.bias, shape.alignment, algorithm, float(product.seconds * 1e6),
        float(product.heuristicSeconds * 1e6)));
  }
  auto gpu = string(table.gpu), chip = string(table.chip);
  auto productList = fb.CreateVector(products);
  return fbs::CreateTuningTable(fb, gpu, chip, table.cublaslt, productList);
}

Offset<fbs::Target> TableBuilder::target(const ArtifactTarget &target,
                                         ArrayRef<std::pair<uint64_t, uint64_t>> segments,
                                         llvm::ArrayRef<m1rt::TuningTable> tuning) {
  plan::TargetOp op = target.plan;
  std::vector<Offset<fbs::Code>> code;
  for (auto [object, segment] : llvm::zip_equal(target.code, segments)) {
    fbs::Segment data(segment.first, segment.second);
    auto format = string(object.format), chip = string(object.chip);
    code.push_back(fbs::CreateCode(fb, format, chip, &data));
  }
  llvm::StringMap<uint32_t> kernelIndex;
  llvm::StringMap<llvm::SmallVector<plan::LaunchOp>> launches; // by kernel
  op.walk([&](plan::LaunchOp launch) { launches[launch.getKernel()].push_back(launch); });
  std::vector<Offset<fbs::Kernel>> kernels;
  std::vector<Offset<fbs::Function>> functions;
  for (auto kernel : op.getOps<plan::KernelOp>()) {
    kernelIndex[kernel.getSymName()] = static_cast<uint32_t>(kernels.size());
    kernels.push_back(this->kernel(kernel, launches[kernel.getSymName()]));
  }
  for (auto entry : op.getOps<plan::FunctionOp>())
    functions.push_back(function(entry, kernelIndex));
  std::vector<Offset<flatbuffers::String>> features;
  if (op.getCpuFeatures())
    for (auto feature : op.getCpuFeatures()->getAsRange<StringAttr>())
      features.push_back(string(feature.getValue()));
  auto name = string(op.getSymName()), cpu = string(op.getCpu().value_or(""));
  auto featureList = fb.CreateVector(features);
  auto codeList = fb.CreateVector(code);
  auto kernelList = fb.CreateVector(kernels);
  auto functionList = fb.CreateVector(functions);
  std::vector<Offset<fbs::TuningTable>> tables;
  for (const m1rt::TuningTable &table : tuning)
    tables.push_back(this->tuning(table));
  auto tuningList = tables.empty() ? Offset<flatbuffers::Vector<Offset<fbs::TuningTable>>>()
                                   : fb.CreateVector(tables);
  return fbs::CreateTarget(fb, name, featureList, cpu, codeList, kernelList, functionList,
                           tuningList);
}

/// Null without one, as the other part of an artifact that may be missing.
Offset<fbs::Tokenizer> TableBuilder::tokenizer() {
  if (options.tokenizer.empty())
    return {};
  fbs::Segment data(layout.tokenizerOffset, options.tokenizer.size());
  auto chat = string(options.chatTemplate), bos = string(options.bosToken),
       eos = string(options.eosToken);
  return fbs::CreateTokenizer(fb, &data, chat, bos, eos);
}

Offset<fbs::GenerationDefaults> TableBuilder::generation() {
  const GenerationDefaults &from = options.generation;
  if (from.empty())
    return {};
  fbs::GenerationDefaultsBuilder table(fb);
  if (from.temperature)
    table.add_temperature(static_cast<float>(*from.temperature));
  if (from.topK)
    table.add_top_k(static_cast<uint32_t>(*from.topK));
  if (from.topP)
    table.add_top_p(static_cast<float>(*from.topP));
  if (from.minP)
    table.add_min_p(static_cast<float>(*from.minP));
  if (from.repetitionPenalty)
    table.add_repetition_penalty(static_cast<float>(*from.repetitionPenalty));
  return table.Finish();
}

std::string TableBuilder::build() {
  fb.ForceDefaults(true); // every scalar is stored, so the size does not depend on values
  m1::ModelOp model = m1::getModel(module);
  assert(model && "compile() asks for it");

  std::vector<Offset<fbs::Weight>> weights;
  for (const WeightEntry &entry : layout.weights) {
    weightIndex[m1::WeightOp(entry.op).getSymName()] = static_cast<uint32_t>(weights.size());
    weights.push_back(weight(entry));
  }
  std::vector<Offset<fbs::State>> states;
  for (auto op : module.getOps<m1::StateOp>()) {
    stateIndex[op.getSymName()] = static_cast<uint32_t>(states.size());
    states.push_back(state(op));
  }
  std::vector<Offset<fbs::ExternalFile>> files;
  for (const ExternalFileEntry &file : layout.files) {
    auto name = string(file.name);
    auto digest = fb.CreateVector(file.digest);
    files.push_back(fbs::CreateExternalFile(fb, name, file.size, digest));
  }
  std::vector<Offset<fbs::Target>> targetTables;
  for (auto [entry, code, tuning] : llvm::zip_equal(targets, layout.code, layout.tuning))
    targetTables.push_back(target(entry, code, tuning));
  const Offset<fbs::Tokenizer> tokenizerTable = tokenizer();
  std::vector<Offset<fbs::KeyValue>> properties;
  for (auto &[key, value] : options.properties) {
    auto k = string(key), v = string(value);
    properties.push_back(fbs::CreateKeyValue(fb, k, v));
  }
  const Offset<fbs::GenerationDefaults> generationTable = generation();
  Offset<fbs::ModuleText> moduleText;
  if (!options.moduleText.empty()) {
    fbs::Segment data(layout.moduleTextOffset, options.moduleText.packed.size());
    moduleText = fbs::CreateModuleText(fb, &data, options.moduleText.bytes);
  }
  std::vector<int32_t> eosIds(model.getEosIds().begin(), model.getEosIds().end());

  auto producer = string(options.producer), architecture = string(model.getArchitecture());
  auto eosList = fb.CreateVector(eosIds);
  auto weightList = fb.CreateVector(weights);
  auto tensorList = fb.CreateVector(tensors);
  auto fileList = fb.CreateVector(files);
  auto stateList = fb.CreateVector(states);
  auto targetList = fb.CreateVector(targetTables);
  auto propertyList = fb.CreateVector(properties);
  fbs::ModuleBuilder builder(fb);
  builder.add_version(version);
  builder.add_producer(producer);
  builder.add_architecture(architecture);
  builder.add_vocab_size(static_cast<uint32_t>(model.getVocabSize()));
  builder.add_hidden_size(static_cast<uint32_t>(model.getHiddenSize()));
  builder.add_layers(static_cast<uint32_t>(model.getLayers()));
  builder.add_max_positions(static_cast<uint32_t>(model.getMaxPositions()));
  builder.add_page_size(static_cast<uint32_t>(model.getPageSize()));
  builder.add_bos_id(static_cast<int32_t>(model.getBosId()));
  builder.add_eos_ids(eosList);
  builder.add_activation_type(elementType(model.getActivationType()));
  builder.add_state_type(elementType(model.getStateType()));
  builder.add_kv_type(elementType(model.getKvType()));
  builder.add_weights(weightList);
  builder.add_external_files(fileList);
  builder.add_dummy_seed(options.dummySeed);
  builder.add_states(stateList);
  builder.add_targets(targetList);
  if (!tokenizerTable.IsNull())
    builder.add_tokenizer(tokenizerTable);
  builder.add_properties(propertyList);
  fbs::Segment checks(layout.checksOffset, layout.checksSize);
  builder.add_weight_checks(&checks);
  if (!generationTable.IsNull())
    builder.add_generation_defaults(generationTable);
  if (!moduleText.IsNull())
    builder.add_module_text(moduleText);
  builder.add_checkpoint_tensors(tensorList);
  fb.Finish(builder.Finish(), fbs::ModuleIdentifier());
  return std::string(reinterpret_cast<const char *>(fb.GetBufferPointer()), fb.GetSize());
}

} // namespace

std::string buildModuleTable(ModuleOp module, llvm::ArrayRef<ArtifactTarget> targets,
                             const Layout &layout, const ArtifactOptions &options) {
  return TableBuilder(module, targets, layout, options).build();
}

} // namespace m1c
