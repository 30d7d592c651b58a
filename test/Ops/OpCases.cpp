#include "OpCases.h"

#include "M1/IR/M1.h"
#include "M1/IR/Scalars.h"
#include "M1/Transforms/Passes.h"
#include "RandomCheckpoint.h"
#include "m1c/Compiler.h"
#include "m1c/Reference.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include <algorithm>
#include <cmath>
#include <filesystem>

using namespace mlir;

namespace m1test {
namespace {

/// Makes the model of one case.
class ModelOfCase {
public:
  ModelOfCase(func::FuncOp function, ModuleOp table, OpCase &test)
      : function(function), test(test), b(function.getContext()), loc(function.getLoc()),
        random(seedOf(test.name)) {
    test.model = ModuleOp::create(loc);
    b.setInsertionPointToEnd(test.model->getBody());
    for (Operation &op : *table.getBody())
      if (!isa<func::FuncOp>(op))
        b.clone(op);
  }

  bool build() {
    auto result = function.getResultTypes().size() == 1
                      ? dyn_cast<RankedTensorType>(function.getResultTypes()[0])
                      : RankedTensorType();
    if (!result || result.getRank() != 2 || !isa<FloatType>(result.getElementType())) {
      function.emitError("expected one result of rows");
      return false;
    }
    test.vocabulary = result.getDimSize(1);
    test.rounds |= result.getElementType().isBF16();
    declareModel();
    for (BlockArgument argument : function.getArguments())
      if (!declare(argument))
        return false;
    for (Type type : {Type(b.getF32Type()), Type(b.getBF16Type())})
      declareRows(type);
    for (const char *name : {"prefill", "decode"})
      buildFunction(name);
    return succeeded(verify(*test.model));
  }

private:
  static uint64_t seedOf(StringRef name) {
    uint64_t seed = 14695981039346656037u; // FNV-1a, the same everywhere
    for (char c : name)
      seed = (seed ^ static_cast<unsigned char>(c)) * 1099511628211u;
    return seed;
  }
  static bool isRows(Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.getRank() == 2 && tensor.isDynamicDim(0);
  }
  void parse(const std::string &text) {
    // Into the module, behind what is there.
    OwningOpRef<ModuleOp> parsed = parseSourceString<ModuleOp>(text, b.getContext());
    if (parsed)
      for (Operation &op : *parsed->getBody())
        b.clone(op);
  }

  void declareModel() {
    parse("m1.model @model {architecture = \"case\", vocab_size = " +
          std::to_string(test.vocabulary) +
          " : i64, hidden_size = 1 : i64, layers = 1 : i64, max_positions = 4096 : i64, "
          "activation_type = f32, state_type = f32, kv_type = f32}");
  }

  /// A weight of random values, its elements about as large as a trained one's.
  void declareWeight(const std::string &name, RankedTensorType type, const std::string &transform,
                     double scale) {
    std::string typeText;
    llvm::raw_string_ostream(typeText) << type;
    parse("m1.weight @" + name + " : " + typeText + " {sources = [\"" + name + "\"]" + transform +
          "}");
    if (test.forBench)
      return;
    Tensor tensor;
    tensor.type = type.getElementType().isBF16() ? Stored::bf16 : Stored::f32;
    tensor.shape.assign(type.getShape().begin(), type.getShape().end());
    tensor.values.resize(static_cast<size_t>(tensor.count()));
    for (double &value : tensor.values)
      value = roundTo(tensor.type, scale * random.uniform(-1, 1));
    test.tensors[name] = tensor;
  }

  bool declare(BlockArgument argument) {
    const std::string name = "arg" + std::to_string(argument.getArgNumber());
    auto tensor = dyn_cast<RankedTensorType>(argument.getType());
    if (isRows(argument.getType())) {
      test.rounds |= tensor.getElementType().isBF16();
      return true;
    }
    if (isa<m1::BatchType>(argument.getType()))
      return true;
    if (isa<m1::StateTypeInterface>(argument.getType())) {
      std::string type;
      llvm::raw_string_ostream(type) << argument.getType();
      parse("m1.state @" + name + " : " + type);
      // As every state's type ends.
      test.roundsStates |= StringRef(type).ends_with("xf16>");
      test.rounds |= test.roundsStates || StringRef(type).ends_with("bf16>");
      return true;
    }
    if (!tensor || !tensor.hasStaticShape()) {
      function.emitError("no case has an argument of type ") << argument.getType();
      return false;
    }
    test.rounds |= tensor.getElementType().isBF16();
    std::string transform;
    if (Attribute given = function.getArgAttr(argument.getArgNumber(), "m1.transform")) {
      llvm::raw_string_ostream(transform) << ", transform = " << given;
    }
    declareWeight(name, tensor, transform,
                  tensor.getRank() < 2 ? 0.7 : 1.5 / std::sqrt(double(tensor.getShape().back())));
    return true;
  }

  /// The arguments that are rows of the type, and how many columns they have together.
  int64_t columnsOf(Type type, SmallVector<BlockArgument> *arguments = nullptr) {
    int64_t columns = 0;
    for (BlockArgument argument : function.getArguments())
      if (isRows(argument.getType()) &&
          cast<RankedTensorType>(argument.getType()).getElementType() == type) {
        columns += cast<RankedTensorType>(argument.getType()).getDimSize(1);
        if (arguments)
          arguments->push_back(argument);
      }
    return columns;
  }
  std::string tableOf(Type type) { return type.isBF16() ? "rows_bf16" : "rows_f32"; }
  RankedTensorType tableType(Type type) {
    return RankedTensorType::get({test.vocabulary, columnsOf(type)}, type);
  }
  void declareRows(Type type) {
    if (columnsOf(type))
      declareWeight(tableOf(type), tableType(type), "", 1.5);
  }

  static RankedTensorType rows(int64_t columns, Type type) {
    return RankedTensorType::get({ShapedType::kDynamic, columns}, type);
  }
  Value as(Type type, Value x) {
    auto have = cast<RankedTensorType>(x.getType());
    if (have.getElementType() == type)
      return x;
    return m1::createMap(b, loc, "cast", rows(have.getDimSize(1), type), x,
                         [](ImplicitLocOpBuilder &, ValueRange v) -> Value { return v[0]; });
  }
  Value weight(const std::string &name, Type type) {
    return m1::GetWeightOp::create(b, loc, type, name);
  }

  void buildFunction(const char *name) {
    OpBuilder::InsertionGuard guard(b);
    Type tokens = RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type());
    auto logitsType = rows(test.vocabulary, b.getF32Type());
    auto built = func::FuncOp::create(
        b, loc, name,
        b.getFunctionType({tokens, m1::BatchType::get(b.getContext())}, {logitsType, tokens}));
    Block *entry = built.addEntryBlock();
    b.setInsertionPointToEnd(entry);
    IRMapping mapping;
    for (Type type : {Type(b.getF32Type()), Type(b.getBF16Type())}) {
      SmallVector<BlockArgument> arguments;
      const int64_t columns = columnsOf(type, &arguments);
      if (arguments.empty())
        continue;
      Value all =
          m1::EmbeddingOp::create(b, loc, rows(columns, b.getF32Type()), entry->getArgument(0),
                                  weight(tableOf(type), tableType(type)));
      all = as(type, all);
      if (arguments.size() == 1) {
        mapping.map(arguments.front(), all);
        continue;
      }
      SmallVector<Type> types;
      for (BlockArgument argument : arguments)
        types.push_back(argument.getType());
      auto split = m1::SplitOp::create(b, loc, types, all);
      for (auto [argument, piece] : llvm::zip_equal(arguments, split.getPieces()))
        mapping.map(argument, piece);
    }
    for (BlockArgument argument : function.getArguments()) {
      const std::string symbol = "arg" + std::to_string(argument.getArgNumber());
      if (isa<m1::BatchType>(argument.getType()))
        mapping.map(argument, entry->getArgument(1));
      else if (isa<m1::StateTypeInterface>(argument.getType()))
        mapping.map(argument, m1::GetStateOp::create(b, loc, argument.getType(), symbol));
      else if (!isRows(argument.getType()))
        mapping.map(argument, weight(symbol, argument.getType()));
    }
    for (Operation &op : function.getBody().front().without_terminator())
      b.clone(op, mapping);
    Value result = mapping.lookup(function.getBody().front().getTerminator()->getOperand(0));
    result = m1::GatherRowsOp::create(b, loc, result.getType(), result, entry->getArgument(1));
    result = as(b.getF32Type(), result);
    Value next = m1::SampleOp::create(b, loc, tokens, result, IntegerAttr());
    func::ReturnOp::create(b, loc, ValueRange{result, next});
  }

  func::FuncOp function;
  OpCase &test;
  OpBuilder b;
  Location loc;
  Random random;
};

} // namespace

bool readOpCases(MLIRContext &context, OpTable &table) {
  context.loadDialect<m1::M1Dialect, func::FuncDialect, arith::ArithDialect, math::MathDialect>();
  std::vector<std::string> files;
  for (const auto &entry : std::filesystem::directory_iterator(M1_OP_CASES))
    if (entry.path().extension() == ".mlir")
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const std::string &file : files) {
    OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(file, &context);
    if (!module)
      return false;
    for (auto function : module->getOps<func::FuncOp>()) {
      OpCase test;
      test.name = function.getSymName().str();
      test.forBench = function->hasAttr("m1.bench");
      if (!ModelOfCase(function, *module, test).build())
        return false;
      if (auto format = function->getAttrOfType<StringAttr>("m1.quantize")) {
        PassManager passes(&context);
        passes.addPass(m1::createQuantizeWeightsPass({format.str(), ""}));
        if (failed(passes.run(*test.model)))
          return false;
      }
      test.model->walk(
          [&](Operation *op) { table.ops.insert(op->getName().getStringRef().str()); });
      table.cases.push_back(std::move(test));
    }
  }
  return true;
}

void writeOpCase(const OpCase &test, const std::string &directory) {
  std::string text;
  llvm::raw_string_ostream(text) << *test.model;
  writeFile(directory + "/model.mlir", text);
  if (!test.tensors.empty())
    writeSafetensors(directory + "/model.safetensors", test.tensors);
}

struct OpEvaluator::Implementation {
  m1c::CheckpointData data;
  std::unique_ptr<m1c::Reference> reference;
  std::vector<int32_t> done = std::vector<int32_t>(16, 0); // tokens of each sequence
};

OpEvaluator::OpEvaluator(const OpCase &test, const std::string &directory)
    : implementation(std::make_unique<Implementation>()) {
  ModuleOp module = *test.model;
  if (failed(implementation->data.open(directory, [&] { return module.emitError(); })))
    return;
  if (auto reference = m1c::Reference::create(module, implementation->data); succeeded(reference))
    implementation->reference = std::move(*reference);
}

OpEvaluator::~OpEvaluator() = default;

OpEvaluator::Result OpEvaluator::step(const std::vector<Entry> &entries) {
  if (!implementation->reference)
    return {};
  std::vector<m1c::ReferenceSequence> sequences;
  bool decodes = true;
  for (const Entry &entry : entries) {
    int32_t &before = implementation->done.at(static_cast<size_t>(entry.sequence));
    sequences.push_back({entry.sequence, before, entry.tokens});
    decodes &= before > 0 && entry.tokens.size() == 1;
    before += static_cast<int32_t>(entry.tokens.size());
  }
  auto result = implementation->reference->run(decodes ? "decode" : "prefill",
                                               m1c::makeReferenceBatch(sequences));
  if (failed(result))
    return {};
  return {result->logits, result->nextTokens};
}

bool lacksKernel(const std::string &message) {
  return message.find("has no kernel on the cuda target") != std::string::npos;
}

std::string compileOpCase(const OpCase &test, const std::string &directory,
                          const std::string &target, const std::string &artifact) {
  m1c::CompileOptions options;
  options.model = directory + "/model.mlir";
  if (test.forBench)
    options.weights = m1c::WeightStorage::dummy, options.dummySeed = 1;
  else
    options.checkpoint = directory;
  options.output = artifact;
  options.passPipeline =
      "builtin.module(func.func(m1-expand-gated-mlp),m1-convert-to-plan{target=" + target +
      "},m1-plan)";
  options.producer = "test";
  std::string messages;
  m1c::CompileListener listener;
  listener.diagnostic = [&](bool isWarning, StringRef message) {
    if (!isWarning)
      messages += message.str() + "\n";
  };
  if (!m1c::compile(options, listener, nullptr) && messages.empty())
    messages = "failed without a message";
  return messages;
}

} // namespace m1test
