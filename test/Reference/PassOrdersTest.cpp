// Passes leave what a module computes unchanged, in whatever order: random modules of the dialect,
// evaluated before and after every prefix of m1-optimize and after passes in random order.
//
// The modules are no models: what passes look for, its near misses (a second use, another bias, one
// branch of two) and everything between, at random. M1_RANDOM_MODULES: how many.
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "RandomCheckpoint.h"
#include "Safetensors.h"
#include "m1c/Reference.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OperationSupport.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <numeric>
#include <set>

using namespace mlir;
using namespace m1test;

namespace {

constexpr int kVocabulary = 11, kState = 4, kHeadDim = 16;

/// A module as text, and its tensors.
class RandomModule {
public:
  explicit RandomModule(uint64_t seed) : random(seed) {
    const std::string table = weight("embed", {kVocabulary, 32});
    line("%h = m1.embedding %tokens, " + table + " : (tensor<?xi32>, " + type({kVocabulary, 32}) +
         ") -> tensor<?x32xf32>");
    pool.push_back({"%h", 32});
    for (int64_t ops = random.integer(4, 16); ops > 0; --ops)
      grow();
    Value last = norm(any());
    Value rows = result(last.width);
    line(rows.name + " = m1.gather_rows " + last.name + ", %batch : (" + last.type() +
         ", !m1.batch) -> " + last.type());
    // What follows the wanted rows, or comes before them: gather_rows is hoisted either way.
    if (random.chance(0.3))
      rows = norm(rows);
    const Value logits = linear(rows, kVocabulary, "");
    line("%next = m1.sample " + logits.name + " : (" + logits.type() + ") -> tensor<?xi32>");
    line("return " + logits.name + ", %next : " + logits.type() + ", tensor<?xi32>");
  }

  std::string text() const {
    std::string all = "m1.model @model {architecture = \"random\", vocab_size = 11 : i64, "
                      "hidden_size = 32 : i64, layers = 1 : i64, max_positions = 512 : i64, "
                      "activation_type = f32, state_type = f32, kv_type = f32}\n" +
                      declarations;
    for (const char *name : {"prefill", "decode"})
      all +=
          std::string("func.func @") + name +
          "(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x11xf32>, tensor<?xi32>) {\n" +
          body + "}\n";
    return all;
  }

  Tensors tensors;

private:
  struct Value {
    std::string name;
    int64_t width;
    std::string type() const { return "tensor<?x" + std::to_string(width) + "xf32>"; }
  };

  static std::string type(const std::vector<int64_t> &shape) {
    std::string text = "tensor<";
    for (int64_t size : shape)
      text += std::to_string(size) + "x";
    return text + "f32>";
  }
  void line(const std::string &text) { body += "  " + text + "\n"; }
  Value result(int64_t width) { return {"%v" + std::to_string(count++), width}; }
  const Value &any() { return pool[size_t(random.integer(0, int64_t(pool.size()) - 1))]; }
  Value any(int64_t width) {
    std::vector<Value> fitting;
    std::copy_if(pool.begin(), pool.end(), std::back_inserter(fitting),
                 [&](const Value &value) { return value.width == width; });
    // Of its own making where there is none, or for a change.
    return fitting.empty() || random.chance(0.2)
               ? linear(any(), width, "")
               : fitting[size_t(random.integer(0, int64_t(fitting.size()) - 1))];
  }

  /// Declares and gets a weight of random values; its value's name.
  std::string weight(const std::string &role, const std::vector<int64_t> &shape,
                     const std::string &transform = "") {
    const std::string name = role + std::to_string(count++);
    Tensor tensor;
    tensor.shape = shape;
    tensor.values.resize(size_t(tensor.count()));
    const double scale = shape.size() == 2 ? 1.5 / std::sqrt(double(shape[1])) : 0.7;
    for (double &value : tensor.values)
      value = roundTo(Stored::f32, scale * random.uniform(-1, 1));
    tensors[name] = tensor;
    declarations += "m1.weight @" + name + " : " + type(shape) + " {sources = [\"" + name + "\"]" +
                    (transform.empty() ? "" : ", transform = #m1<transform " + transform + ">") +
                    "}\n";
    line("%" + name + " = m1.get_weight @" + name + " : " + type(shape));
    return "%" + name;
  }
  std::string state(const std::string &role, const std::string &type) {
    const std::string name = role + std::to_string(count++);
    declarations += "m1.state @" + name + " : " + type + "\n";
    line("%" + name + " = m1.get_state @" + name + " : " + type);
    return "%" + name;
  }

  /// `bias`: the name of one, or empty.
  Value linear(Value x, int64_t width, const std::string &bias) {
    const std::string w = weight("w", {width, x.width});
    const Value y = result(width);
    line(y.name + " = m1.linear " + x.name + ", " + w +
         (bias.empty() ? "" : " bias(" + bias + ")") + " : (" + x.type() + ", " +
         type({width, x.width}) + (bias.empty() ? "" : ", " + type({width})) + ") -> " + y.type());
    pool.push_back(y);
    return y;
  }
  Value norm(Value x) {
    const std::string w = weight("norm", {x.width});
    const Value y = result(x.width);
    line(y.name + " = m1.rms_norm " + x.name + ", " + w + " {eps = 1.0e-5 : f64} : (" + x.type() +
         ", " + type({x.width}) + ") -> " + y.type());
    pool.push_back(y);
    return y;
  }
  Value unary(const std::string &op, Value x) {
    const Value y = result(x.width);
    line(y.name + " = m1." + op + " " + x.name + " : (" + x.type() + ") -> " + y.type());
    pool.push_back(y);
    return y;
  }
  Value binary(const std::string &op, Value a, Value b) {
    const Value y = result(a.width);
    line(y.name + " = m1." + op + " " + a.name + ", " + b.name + " : (" + a.type() + ", " +
         b.type() + ") -> " + y.type());
    pool.push_back(y);
    return y;
  }
  /// factor · x, or f(factor · x).
  Value scaled(Value x, const std::string &op = "") {
    const Value y = result(x.width);
    line(y.name + " = m1.map " + x.name + " : (" + x.type() + ") -> " + y.type() +
         " {\n  ^bb0(%a: f32):\n    %c = arith.constant 0.75 : f32\n    %p = arith.mulf " +
         (random.chance(0.5) ? "%a, %c" : "%c, %a") + " : f32\n" +
         (op.empty() ? "" : "    %q = " + op + " %p : f32\n") + "    m1.yield " +
         (op.empty() ? "%p" : "%q") + " : f32\n  }");
    pool.push_back(y);
    return y;
  }
  /// Multipliers before and after a linear, and of the branch that a residual sum adds.
  void multipliers() {
    Value x = any(random.pick({16, 32}));
    if (random.chance(0.7))
      maybeUse(x = scaled(x, random.chance(0.2) ? "math.tanh" : ""));
    const std::string bias = random.chance(0.2) ? weight("b", {32}) : "";
    Value y = linear(x, 32, bias);
    if (random.chance(0.3))
      linear(x, random.pick({8, 24}), "");
    if (random.chance(0.7))
      maybeUse(y = scaled(y, random.chance(0.2) ? "math.tanh" : ""));
    const Value sum = random.chance(0.5) ? binary("add", any(32), y) : binary("add", y, any(32));
    if (random.chance(0.7))
      norm(sum);
    else
      scaled(sum);
  }

  /// Products of products outgrow any type.
  Value product(Value a, Value b) { return norm(binary("mul", a, b)); }
  Value softplus(Value x, const std::string &bias) {
    const Value y = result(x.width);
    line(y.name + " = m1.softplus " + x.name + (bias.empty() ? "" : " bias(" + bias + ")") +
         " : (" + x.type() + (bias.empty() ? "" : ", " + type({x.width})) + ") -> " + y.type());
    pool.push_back(y);
    return y;
  }
  Value repeated(Value x, int64_t headSize, int64_t repeat) {
    const Value y = result(x.width * repeat);
    line(y.name + " = m1.repeat_heads " + x.name + " {head_size = " + std::to_string(headSize) +
         " : i64, repeat = " + std::to_string(repeat) + " : i64} : " + x.type() + " -> " +
         y.type());
    pool.push_back(y);
    return y;
  }
  /// Sometimes another reader, in whose way a fusion then is.
  void maybeUse(Value x) {
    if (random.chance(0.25))
      unary("silu", x);
  }

  void convolution() {
    Value x = any(random.pick({8, 16}));
    if (random.chance(0.5)) {
      x = repeated(x, 4, 2);
      maybeUse(x);
    }
    const std::string w = weight("conv", {x.width, 4});
    const std::string bias = random.chance(0.5) ? weight("b", {x.width}) : "";
    const std::string held = "!m1.conv_state<3x" + std::to_string(x.width) + "xf32>";
    const std::string kept = state("conv_state", held);
    const Value y = result(x.width);
    line(y.name + " = m1.causal_conv1d " + x.name + ", " + w +
         (bias.empty() ? "" : " bias(" + bias + ")") + ", %batch, " + kept + " : (" + x.type() +
         ", " + type({x.width, 4}) + (bias.empty() ? "" : ", " + type({x.width})) +
         ", !m1.batch, " + held + ") -> " + y.type());
    pool.push_back(y);
    if (random.chance(0.7))
      unary("silu", y);
    maybeUse(y);
  }

  void scan() {
    const bool ssd = random.chance(0.4);
    const int64_t width = 16, heads = 4, rates = ssd ? heads : width;
    Value x = random.chance(0.4) ? repeated(any(8), 4, 2) : any(width);
    const std::string bias = random.chance(0.7) ? weight("dt_bias", {rates}) : "";
    Value dt = linear(any(), rates, random.chance(0.4) ? bias : "");
    dt = softplus(dt, bias);
    maybeUse(dt);
    const Value b = any(random.chance(0.5) ? kState : kState * heads), c = any(kState * heads);
    const std::string a =
        ssd ? weight("A_log", {heads}, "neg_exp") : weight("A_log", {width, kState}, "neg_exp");
    const std::string held = ssd ? "!m1.scan_state<4x4x4xf32>" : "!m1.scan_state<16x4xf32>";
    const std::string kept = state("scan_state", held);
    Value y = result(width);
    line(y.name + " = m1." + (ssd ? "ssd_scan " : "selective_scan ") + x.name + ", " + dt.name +
         ", " + a + ", " + b.name + ", " + c.name + ", %batch, " + kept + " : (" + x.type() + ", " +
         dt.type() + ", " + (ssd ? type({heads}) : type({width, kState})) + ", " + b.type() + ", " +
         c.type() + ", !m1.batch, " + held + ") -> " + y.type());
    pool.push_back(y);
    if (random.chance(0.6)) { // the skip of the scan's own x, or of another value
      const Value through = random.chance(0.7) ? x : any(width);
      const std::string d = weight("D", {ssd ? heads : width});
      const Value skipped = result(width);
      line(skipped.name + " = m1.skip " + y.name + ", " + through.name + ", " + d + " : (" +
           y.type() + ", " + through.type() + ", " + type({ssd ? heads : width}) + ") -> " +
           skipped.type());
      pool.push_back(skipped);
      y = skipped;
    }
    maybeUse(y);
    if (random.chance(0.6)) {
      const Value gate = unary("silu", any(width));
      random.chance(0.5) ? product(gate, y) : product(y, gate);
      maybeUse(gate);
    }
  }

  void attention() {
    const Value q = any(2 * kHeadDim), k = any(kHeadDim), v = any(kHeadDim);
    const std::string held = "!m1.kv_cache<1x64x16xf32>";
    const std::string kept = state("kv", held);
    if (!rotary) {
      rotary = true;
      const std::string frequencies = "frequencies = [1.0, 0.5, 0.1, 0.05, 0.01, 5.0e-3, 1.0e-3, "
                                      "1.0e-4]";
      declarations += "m1.weight @hi : tensor<2x8x2xf32> {angles = #m1.rotary_angles<step = 256, " +
                      frequencies +
                      ">}\nm1.weight @lo : tensor<256x8x2xf32> {angles = "
                      "#m1.rotary_angles<step = 1, " +
                      frequencies + ">}\n";
      line("%hi = m1.get_weight @hi : tensor<2x8x2xf32>");
      line("%lo = m1.get_weight @lo : tensor<256x8x2xf32>");
      line("%rotary = m1.rotary_table %batch, %hi, %lo : (!m1.batch, tensor<2x8x2xf32>, "
           "tensor<256x8x2xf32>) -> tensor<?x16xf32>");
    }
    auto turned = [&](Value x) {
      const Value y = result(x.width);
      line(y.name + " = m1.rotary_embedding " + x.name + ", %rotary {head_dim = 16 : i64} : (" +
           x.type() + ", tensor<?x16xf32>) -> " + y.type());
      maybeUse(y);
      return y;
    };
    const Value turnedQ = random.chance(0.85) ? turned(q) : q,
                turnedK = random.chance(0.85) ? turned(k) : k;
    line("m1.kv_write " + turnedK.name + ", " + v.name + ", %batch, " + kept + " : " +
         turnedK.type() + ", " + v.type() + ", !m1.batch, " + held);
    const Value y = result(q.width);
    line(y.name + " = m1.attention " + turnedQ.name + ", %batch, " + kept +
         " {scale = 0.25 : f64} : (" + q.type() + ", !m1.batch, " + held + ") -> " + y.type());
    pool.push_back(y);
  }

  void gatedRecurrence() {
    const Value x = any(16), input = any(16), recurrence = any(16);
    const std::string lambda = weight("lambda", {16}), held = "!m1.scan_state<16xf32>";
    const std::string kept = state("rg_lru_state", held);
    const Value y = result(16);
    line(y.name + " = m1.rg_lru " + x.name + ", " + input.name + ", " + recurrence.name + ", " +
         lambda + ", %batch, " + kept + " : (" + x.type() + ", " + input.type() + ", " +
         recurrence.type() + ", " + type({16}) + ", !m1.batch, " + held + ") -> " + y.type());
    pool.push_back(y);
    maybeUse(y);
  }

  void grow() {
    switch (random.integer(0, 12)) {
    case 0: { // linears of one input, some with a bias
      const Value x = any();
      const bool biased = random.chance(0.3);
      for (int64_t i = random.integer(1, 3); i > 0; --i) {
        const int64_t width = random.pick({4, 8, 16, 24, 32});
        linear(x, width, biased || random.chance(0.1) ? weight("b", {width}) : "");
      }
      break;
    }
    case 1:
      binary("silu_mul", any(16), any(16));
      pool.push_back(norm(pool.back()));
      break;
    case 2: { // a gate, fused or not
      const Value gate = unary("silu", any(16));
      random.chance(0.5) ? product(gate, any(16)) : product(any(16), gate);
      maybeUse(gate);
      break;
    }
    case 3: { // the residual stream
      const Value sum = binary("add", any(32), any(32));
      norm(sum);
      maybeUse(sum);
      break;
    }
    case 4: {
      const std::string bias = weight("b", {16});
      const Value x = linear(any(), 16, bias);
      softplus(x, random.chance(0.7) ? bias : weight("b", {16}));
      maybeUse(x);
      break;
    }
    case 5: {
      const Value x = any();
      const std::string gate = weight("gate", {24, x.width}), up = weight("up", {24, x.width}),
                        down = weight("down", {32, 24});
      const Value y = result(32);
      line(y.name + " = m1.gated_mlp " + x.name + ", " + gate + ", " + up + ", " + down + " : (" +
           x.type() + ", " + type({24, x.width}) + ", " + type({24, x.width}) + ", " +
           type({32, 24}) + ") -> " + y.type());
      pool.push_back(norm(y));
      break;
    }
    case 6:
      convolution();
      break;
    case 7:
      scan();
      break;
    case 8:
      attention();
      break;
    case 9:
      gatedRecurrence();
      break;
    case 10: {
      const Value x = any(32), a = result(8), b = result(24);
      line(a.name + ", " + b.name + " = m1.split " + x.name + " : " + x.type() + " -> " + a.type() +
           ", " + b.type());
      pool.push_back(a);
      pool.push_back(b);
      break;
    }
    case 11:
      multipliers();
      break;
    default:
      norm(any());
    }
  }

  Random random;
  int64_t count = 0;
  bool rotary = false;
  std::string declarations, body;
  std::vector<Value> pool;
};

/// The passes of m1-optimize, as its pipeline has them.
const std::vector<std::string> &pipeline() {
  static const std::vector<std::string> passes = [] {
    m1::registerM1Passes();
    registerTransformsPasses();
    MLIRContext context;
    PassManager manager(&context);
    m1::buildOptimizePipeline(manager);
    std::string text;
    llvm::raw_string_ostream out(text);
    manager.printAsTextualPipeline(out);
    // any(a,func.func(b,c),d): one pass each.
    std::vector<std::string> list;
    llvm::StringRef rest = text;
    rest = rest.drop_front(rest.find('(') + 1);
    bool nested = false;
    int options = 0;
    std::string current;
    auto flush = [&] {
      if (!current.empty())
        list.push_back(nested ? "func.func(" + current + ")" : current);
      current.clear();
    };
    for (size_t i = 0; i < rest.size(); ++i) {
      if (options == 0 && rest.substr(i).starts_with("func.func(")) {
        nested = true, i += 9;
      } else if (options == 0 && rest[i] == ')') {
        flush();
        nested = false;
      } else if (options == 0 && rest[i] == ',') {
        flush();
      } else {
        options += rest[i] == '{' ? 1 : rest[i] == '}' ? -1 : 0;
        current += rest[i];
      }
    }
    return list;
  }();
  return passes;
}

class PassOrders : public testing::Test {
protected:
  PassOrders() {
    DialectRegistry registry;
    registry.insert<m1::M1Dialect, func::FuncDialect, arith::ArithDialect, math::MathDialect>();
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Logits of two prompts and of one more token of each, after `passes` (indices into pipeline());
  /// empty, with a failure, where anything goes wrong.
  std::vector<double> logits(const std::string &text, const m1c::CheckpointData &data,
                             const std::vector<size_t> &passes) {
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
    if (!module) {
      ADD_FAILURE() << "does not parse:\n" << text;
      return {};
    }
    for (size_t pass : passes) {
      PassManager manager(&context, ModuleOp::getOperationName());
      const OperationFingerPrint before(module.get());
      if (failed(parsePassPipeline(pipeline()[pass], manager)) || failed(manager.run(*module))) {
        ADD_FAILURE() << pipeline()[pass] << " failed";
        return {};
      }
      if (before != OperationFingerPrint(module.get()))
        effective.insert(pipeline()[pass]);
    }
    auto reference = m1c::Reference::create(*module, data);
    if (failed(reference))
      return {};
    std::vector<double> all;
    for (const auto &[function, sequences] :
         {std::pair("prefill", std::vector<m1c::ReferenceSequence>{{0, 0, {1, 2, 3, 4, 5}},
                                                                   {1, 0, {7, 0, 10}}}),
          std::pair("decode", std::vector<m1c::ReferenceSequence>{{0, 5, {6}}, {1, 3, {9}}})}) {
      auto step = (*reference)->run(function, m1c::makeReferenceBatch(sequences));
      if (failed(step)) {
        ADD_FAILURE() << function << " cannot be evaluated";
        return {};
      }
      all.insert(all.end(), step->logits.begin(), step->logits.end());
    }
    return all;
  }

  MLIRContext context;
  std::set<std::string> effective; // passes that have changed a module
};

TEST_F(PassOrders, LeaveResultsUnchanged) {
  ASSERT_GE(pipeline().size(), 10u);
  const char *given = std::getenv("M1_RANDOM_MODULES");
  const int modules = given ? std::atoi(given) : 300;
  const uint64_t first = testSeed();
  TemporaryDirectory directory;
  for (int i = 0; i < modules && !HasFailure(); ++i) {
    const uint64_t seed = first + uint64_t(i);
    const RandomModule random(seed);
    const std::string text = random.text();
    SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << seed << "\n" << text);
    writeSafetensors(directory / "model.safetensors", random.tensors);
    m1c::CheckpointData data;
    ASSERT_TRUE(
        succeeded(data.open(directory.path, [&] { return emitError(UnknownLoc::get(&context)); })));
    const std::vector<double> want = logits(text, data, {});
    ASSERT_FALSE(want.empty());
    // Float64, other orders of summation: 1e-9 of the largest logit.
    const double scale = std::abs(*std::max_element(
        want.begin(), want.end(), [](double a, double b) { return std::abs(a) < std::abs(b); }));
    ASSERT_TRUE(std::isfinite(scale));
    auto check = [&](const std::vector<size_t> &passes) {
      std::string names;
      for (size_t pass : passes)
        names += " " + pipeline()[pass];
      const std::vector<double> got = logits(text, data, passes);
      ASSERT_EQ(got.size(), want.size()) << names;
      for (size_t k = 0; k < want.size(); ++k)
        ASSERT_LE(std::abs(got[k] - want[k]), 1e-9 * scale) << "logit " << k << " after" << names;
    };
    // One prefix of the pipeline in turn, the whole of it, and an order at random.
    std::vector<size_t> order(pipeline().size());
    std::iota(order.begin(), order.end(), size_t(0));
    check(order);
    check({order.begin(), order.begin() + ptrdiff_t(1 + size_t(i) % (order.size() - 1))});
    Random shuffle(seed ^ 3);
    std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
    order.resize(size_t(shuffle.integer(1, int64_t(order.size()))));
    check(order);
  }
  // The modules have something for every pass.
  if (modules >= 100)
    for (const std::string &pass : pipeline())
      EXPECT_TRUE(effective.count(pass)) << pass;
}

} // namespace
