// The reference evaluator: against the formulas applied straight to checkpoints drawn at random,
// and against the golden files.
#include "m1c/Reference.h"
#include "EvaluatedModel.h"
#include "Formulas.h"
#include "M1/IR/M1.h"
#include "RandomCheckpoint.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>

using namespace mlir;
using namespace m1test;

namespace {

std::vector<int32_t> slice(const std::vector<int32_t> &tokens, size_t begin, size_t end) {
  return std::vector<int32_t>(tokens.begin() + begin, tokens.begin() + end);
}
std::vector<double> slice(const std::vector<double> &rows, size_t columns, size_t begin,
                          size_t end) {
  return std::vector<double>(rows.begin() + begin * columns, rows.begin() + end * columns);
}

/// Σ p log(p / q) of the distributions that two rows of logits give, in nats.
double klDivergence(const double *p, const double *q, size_t count) {
  auto logSum = [count](const double *row) {
    const double top = *std::max_element(row, row + count);
    double sum = 0;
    for (size_t i = 0; i < count; ++i)
      sum += std::exp(row[i] - top);
    return top + std::log(sum);
  };
  const double ofP = logSum(p), ofQ = logSum(q);
  double sum = 0;
  for (size_t i = 0; i < count; ++i)
    sum += std::exp(p[i] - ofP) * (p[i] - ofP - q[i] + ofQ);
  return sum;
}

/// What the passes may leave behind, in the order of the pipeline; the evaluation must not change
/// under any of them.
const char *const pipelines[] = {"", "builtin.module(func.func(m1-expand-gated-mlp))",
                                 "m1-optimize"};

// Checkpoints drawn at random, imported and evaluated step by step (ragged, in chunks, decoding),
// give what the specification's formulas give for each whole sequence. 1e-4: A, D and the rotary
// tables of the module are f32.
TEST(Reference, AgreesWithSpecification) {
  for (int i = 0; i < 60; ++i) {
    uint64_t seed = testSeed() + i;
    Checkpoint checkpoint = drawCheckpoint(seed);
    SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << seed << " " << checkpoint.describe());
    TemporaryDirectory directory;
    checkpoint.write(directory.path);
    Random random(seed ^ 1);
    // One long sequence now and then, so that positions beyond 256 occur.
    auto a = random.tokens(random.chance(0.05) ? 300 : random.integer(4, 30),
                           checkpoint.vocabulary),
         b = random.tokens(9, checkpoint.vocabulary);
    auto wantA = directLogits(checkpoint, a), wantB = directLogits(checkpoint, b);
    size_t v = checkpoint.vocabulary, cut = random.integer(1, a.size() - 2), end = a.size();
    for (const char *pipeline : pipelines) {
      EvaluatedModel model(directory.path, pipeline);
      ASSERT_TRUE(model.reference) << pipeline;
      // First chunk of a with three tokens of b; the rest of a but one, with five of b; last tokens
      // together as decode.
      auto first = model.logits("prefill", {{5, 0, slice(a, 0, cut)}, {2, 0, slice(b, 0, 3)}});
      ASSERT_EQ(first.size(), (cut + 3) * v);
      EXPECT_LE(relativeError(slice(first, v, 0, cut), slice(wantA, v, 0, cut)), 1e-4);
      auto second = model.logits(
          "prefill", {{2, 3, slice(b, 3, 8)}, {5, int32_t(cut), slice(a, cut, end - 1)}});
      ASSERT_EQ(second.size(), (end - 1 - cut + 5) * v);
      EXPECT_LE(relativeError(slice(second, v, 0, 5), slice(wantB, v, 3, 8)), 1e-4);
      EXPECT_LE(
          relativeError(slice(second, v, 5, 5 + end - 1 - cut), slice(wantA, v, cut, end - 1)),
          1e-4);
      auto last = model.logits(
          "decode", {{5, int32_t(end) - 1, slice(a, end - 1, end)}, {2, 8, slice(b, 8, 9)}});
      ASSERT_EQ(last.size(), 2 * v);
      EXPECT_LE(relativeError(slice(last, v, 0, 1), slice(wantA, v, end - 1, end)), 1e-4);
      EXPECT_LE(relativeError(slice(last, v, 1, 2), slice(wantB, v, 8, 9)), 1e-4);
    }
    if (HasFailure())
      break;
  }
}

// The golden files, computed by the authors' code in f32, agree with the evaluator to 1e-4 and in
// every greedy token.
TEST(Reference, Goldens) {
  if (!std::filesystem::exists(M1_GOLDENS))
    GTEST_SKIP() << M1_GOLDENS << " is not there";
  for (const auto &entry : std::filesystem::directory_iterator(M1_GOLDENS)) {
    if (!std::filesystem::exists(entry.path() / "golden.safetensors"))
      continue;
    SCOPED_TRACE(entry.path().filename().string());
    Tensors golden = readSafetensors((entry.path() / "golden.safetensors").string());
    EvaluatedModel model(entry.path().string());
    ASSERT_TRUE(model.reference);
    double worst = 0;
    for (const auto &[name, ids] : golden) {
      size_t dot = name.find(".input_ids");
      if (dot == std::string::npos)
        continue;
      std::string prefix = name.substr(0, dot);
      std::vector<int32_t> tokens(ids.values.begin(), ids.values.end());
      model.reference->clearStates();
      auto prefill = model.logits("prefill", {{0, 0, tokens}});
      worst = std::max(worst, relativeError(prefill, golden[prefix + ".prefill_logits"].values));
      std::vector<double> decode;
      for (double token : golden[prefix + ".greedy_ids"].values) {
        auto row = decode.empty() ? prefill : decode;
        size_t v = golden[prefix + ".prefill_logits"].shape[1];
        EXPECT_EQ(std::max_element(row.end() - v, row.end()) - (row.end() - v), token);
        auto next = model.logits("decode", {{0, int32_t(tokens.size()), {int32_t(token)}}});
        tokens.push_back(int32_t(token));
        decode.insert(decode.end(), next.begin(), next.end());
      }
      if (golden.count(prefix + ".decode_logits")) {
        worst = std::max(worst, relativeError(decode, golden[prefix + ".decode_logits"].values));
      } else {
        const auto &all = golden[prefix + ".all_logits"].values;
        decode.insert(decode.begin(), prefill.begin(), prefill.end());
        decode.resize(all.size()); // the golden's last token may not have been fed
        worst = std::max(worst, relativeError(decode, all));
      }
    }
    std::cout << entry.path().filename().string() << ": worst relative error " << worst << "\n";
    EXPECT_LE(worst, 1e-4);
  }
}

// What int8, fp8 and int4 weights, and caches of codes, cost: the logits of the goldens' prompts by
// a quantised model, without any other rounding, against those of the authors' code;
// docs/numerics.md has the reason of the bounds.
class QuantisedGoldens : public testing::TestWithParam<std::pair<const char *, double>> {};

TEST_P(QuantisedGoldens, AreNear) {
  const auto [format, bound] = GetParam();
  if (!std::filesystem::exists(M1_GOLDENS))
    GTEST_SKIP() << M1_GOLDENS << " is not there";
  for (const auto &entry : std::filesystem::directory_iterator(M1_GOLDENS)) {
    if (!std::filesystem::exists(entry.path() / "golden.safetensors"))
      continue;
    SCOPED_TRACE(entry.path().filename().string());
    Tensors golden = readSafetensors((entry.path() / "golden.safetensors").string());
    llvm::StringRef name = format;
    const bool ofCache = name.consume_front("kv ");
    EvaluatedModel model(entry.path().string(),
                         ofCache ? "m1-optimize"
                                 : "m1-optimize,m1-quantize-weights{format=" + name.str() + "}",
                         ofCache ? name : "f32");
    ASSERT_TRUE(model.reference);
    std::vector<double> got, want;
    double divergence = 0;
    size_t rows = 0;
    for (const auto &[tensor, ids] : golden) {
      size_t dot = tensor.find(".input_ids");
      if (dot == std::string::npos)
        continue;
      const auto &wanted = golden[tensor.substr(0, dot) + ".prefill_logits"];
      model.reference->clearStates();
      auto logits = model.logits(
          "prefill", {{0, 0, std::vector<int32_t>(ids.values.begin(), ids.values.end())}});
      got.insert(got.end(), logits.begin(), logits.end());
      want.insert(want.end(), wanted.values.begin(), wanted.values.end());
      for (size_t v = wanted.shape[1], row = 0; row < logits.size() / v; ++row, ++rows)
        divergence += klDivergence(&wanted.values[row * v], &logits[row * v], v);
    }
    double error = normError(got, want);
    std::cout << format << " " << entry.path().filename().string() << ": relative error " << error
              << ", KL divergence " << divergence / rows << " nats a token\n";
    EXPECT_LE(error, bound);
    EXPECT_GT(error, 1e-4) << "nothing was quantised";
  }
}
INSTANTIATE_TEST_SUITE_P(Formats, QuantisedGoldens,
                         testing::Values(std::pair("int8", 6e-2), std::pair("int8:32", 6e-2),
                                         std::pair("fp8", 3e-1), std::pair("int4:32", 6e-1),
                                         std::pair("int4:64", 7e-1), std::pair("int4:128", 7e-1),
                                         std::pair("kv int8", 3e-2), std::pair("kv fp8", 1.5e-1)));

/// A module in text, ready to evaluate; what was reported ends up in `messages`.
struct Parsed {
  explicit Parsed(const std::string &text) {
    context.loadDialect<m1::M1Dialect, func::FuncDialect, arith::ArithDialect>();
    context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
      messages += diagnostic.str() + "\n";
      return success();
    });
    module = parseSourceString<ModuleOp>(text, &context);
    if (!module)
      return;
    auto created = m1c::Reference::create(*module, data);
    if (succeeded(created))
      reference = std::move(*created);
  }
  MLIRContext context;
  m1c::CheckpointData data;
  OwningOpRef<ModuleOp> module;
  std::unique_ptr<m1c::Reference> reference;
  std::string messages;
};

// A map on rows of known values, with a vector whose values two columns share; and the operations
// that are maps under a name.
TEST(Reference, MapsAreTheirScalarCode) {
  Parsed parsed(R"(
    m1.weight @table : tensor<2x4xf32>
        {value = dense<[[0.5, -1.0, 2.0, 30.0], [-0.25, 0.0, 1.0, -40.0]]> : tensor<2x4xf32>}
    m1.weight @d : tensor<2xf32> {value = dense<[3.0, -2.0]> : tensor<2xf32>}
    func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
        -> (tensor<?x4xf32>, tensor<?xi32>) {
      %table = m1.get_weight @table : tensor<2x4xf32>
      %d = m1.get_weight @d : tensor<2xf32>
      %x = m1.embedding %tokens, %table : (tensor<?xi32>, tensor<2x4xf32>) -> tensor<?x4xf32>
      %s = m1.softplus %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
      %g = m1.silu_mul %x, %s : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
      %k = m1.skip %g, %x, %d : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<2xf32>) -> tensor<?x4xf32>
      %y = m1.map %k, %x, %d
          : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<2xf32>) -> tensor<?x4xf32> {
      ^bb0(%u: f32, %v: f32, %w: f32):
        %zero = arith.constant 0.0 : f32
        %positive = arith.cmpf ogt, %v, %zero : f32
        %a = math.tanh %v : f32
        %b = math.erf %v : f32
        %c = arith.select %positive, %a, %b : f32
        %least = arith.minimumf %v, %w : f32
        %most = arith.maximumf %c, %least : f32
        %t = arith.divf %most, %w : f32
        %n = arith.negf %t : f32
        %r = arith.subf %u, %n : f32
        m1.yield %r : f32
      }
      %next = m1.sample %y : (tensor<?x4xf32>) -> tensor<?xi32>
      return %y, %next : tensor<?x4xf32>, tensor<?xi32>
    })");
  ASSERT_TRUE(parsed.reference) << parsed.messages;
  auto result = parsed.reference->run("prefill", m1c::makeReferenceBatch({{0, 0, {1, 0}}}));
  ASSERT_TRUE(succeeded(result)) << parsed.messages;
  const double table[2][4] = {{0.5, -1, 2, 30}, {-0.25, 0, 1, -40}}, d[2] = {3, -2};
  for (int row = 0; row < 2; ++row)
    for (int c = 0; c < 4; ++c) {
      double x = table[1 - row][c], w = d[c / 2];
      double k = x / (1 + std::exp(-x)) * std::log1p(std::exp(x)) + w * x;
      double want = k + std::max(x > 0 ? std::tanh(x) : std::erf(x), std::min(x, w)) / w;
      EXPECT_NEAR(result->logits[row * 4 + c], want, 1e-9 * std::max(1.0, std::abs(want)))
          << row << " " << c;
    }
}

// The squares of what a weight of linears is multiplied by, column by column, of all steps since.
TEST(Reference, ObservesInputsOfLinears) {
  Parsed parsed(R"(
    m1.weight @table : tensor<2x3xf32>
        {value = dense<[[0.5, -1.0, 2.0], [3.0, 0.0, 1.0]]> : tensor<2x3xf32>}
    m1.weight @w : tensor<2x3xf32>
        {value = dense<[[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]> : tensor<2x3xf32>}
    func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
        -> (tensor<?x2xf32>, tensor<?xi32>) {
      %table = m1.get_weight @table : tensor<2x3xf32>
      %w = m1.get_weight @w : tensor<2x3xf32>
      %x = m1.embedding %tokens, %table : (tensor<?xi32>, tensor<2x3xf32>) -> tensor<?x3xf32>
      %y = m1.linear %x, %w : (tensor<?x3xf32>, tensor<2x3xf32>) -> tensor<?x2xf32>
      %next = m1.sample %y : (tensor<?x2xf32>) -> tensor<?xi32>
      return %y, %next : tensor<?x2xf32>, tensor<?xi32>
    })");
  ASSERT_TRUE(parsed.reference) << parsed.messages;
  llvm::StringMap<m1c::ReferenceInputs> inputs;
  parsed.reference->observe(&inputs);
  for (const std::vector<int32_t> &tokens : {std::vector<int32_t>{0, 1}, std::vector<int32_t>{0}})
    ASSERT_TRUE(
        succeeded(parsed.reference->run("prefill", m1c::makeReferenceBatch({{0, 0, tokens}}))));
  ASSERT_EQ(inputs.size(), 1u);
  EXPECT_EQ(inputs["w"].rows, 3);
  EXPECT_EQ(inputs["w"].squares, (std::vector<double>{9.5, 2, 9}));
}

// States keep the nearest number of their type: ties to even, denormal numbers, infinity beyond.
TEST(Reference, RoundsStates) {
  using m1c::reference::rounded, m1c::reference::StateFormat;
  EXPECT_EQ(rounded(StateFormat::exact, 0.1), 0.1);
  for (const auto &[value, want] : std::vector<std::pair<double, double>>{{1 + 0x1p-11, 1},
                                                                          {1 + 0x3p-11, 1 + 0x1p-9},
                                                                          {-0.1, -0x1.998p-4},
                                                                          {0x1p-25, 0},
                                                                          {0x3p-25, 0x1p-23},
                                                                          {65519, 65504},
                                                                          {65520, INFINITY},
                                                                          {-1e9, -INFINITY}})
    EXPECT_EQ(rounded(StateFormat::f16, value), want) << value;
  for (const auto &[value, want] : std::vector<std::pair<double, double>>{
           {1 + 0x1p-8, 1}, {1 + 0x3p-8, 1 + 0x1p-6}, {65520, 65536}, {0x1.ffp127, INFINITY}})
    EXPECT_EQ(rounded(StateFormat::bf16, value), want) << value;
}

// The largest logit among the ids that count, the first among equals; a row with a NaN among them
// has none, one behind them is not looked at.
TEST(Reference, SampleOfTheIdsThatCount) {
  Parsed parsed(R"(
    m1.weight @table : tensor<4x5xf32> {value = dense<[[1.0, 3.0, 3.0, 4.0, 9.0],
        [1.0, 0.0, 0.5, 0x7FC00000, 9.0], [0x7FC00000, 2.0, 1.0, 0.0, 0.0],
        [-3.0, -2.0, -1.0, 0.0, 0.0]]> : tensor<4x5xf32>}
    func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
        -> (tensor<?x5xf32>, tensor<?xi32>) {
      %table = m1.get_weight @table : tensor<4x5xf32>
      %x = m1.embedding %tokens, %table : (tensor<?xi32>, tensor<4x5xf32>) -> tensor<?x5xf32>
      %next = m1.sample %x {ids = 3 : i64} : (tensor<?x5xf32>) -> tensor<?xi32>
      return %x, %next : tensor<?x5xf32>, tensor<?xi32>
    })");
  ASSERT_TRUE(parsed.reference) << parsed.messages;
  auto result = parsed.reference->run("prefill", m1c::makeReferenceBatch({{0, 0, {0, 1, 2, 3}}}));
  ASSERT_TRUE(succeeded(result)) << parsed.messages;
  EXPECT_EQ(result->nextTokens, (std::vector<int32_t>{1, 0, -1, 2}));
}

// Angles at any position, far beyond what a test can feed: tables of f32 and the addition formulas
// leave 2.5e-7, where an angle computed in f32 would be off by 1e-2.
TEST(Reference, RotaryAnglesAreExactFarOut) {
  std::string frequencies;
  for (int i = 0; i < 32; ++i) {
    char text[32];
    std::snprintf(text, sizeof(text), "%s%.17e", i ? ", " : "", std::pow(5e5, -2.0 * i / 64));
    frequencies += text;
  }
  auto weight = [&](const char *name, int rows, int step) {
    return "m1.weight @" + std::string(name) + " : tensor<" + std::to_string(rows) +
           "x32x2xf32> {angles = #m1.rotary_angles<step = " + std::to_string(step) +
           ", frequencies = [" + frequencies + "]>}\n";
  };
  Parsed parsed(weight("hi", 512, 256) + weight("lo", 256, 1) + R"(
    func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
        -> (tensor<?x64xf32>, tensor<?xi32>) {
      %hi = m1.get_weight @hi : tensor<512x32x2xf32>
      %lo = m1.get_weight @lo : tensor<256x32x2xf32>
      %table = m1.rotary_table %batch, %hi, %lo
          : (!m1.batch, tensor<512x32x2xf32>, tensor<256x32x2xf32>) -> tensor<?x64xf32>
      %next = m1.sample %table : (tensor<?x64xf32>) -> tensor<?xi32>
      return %table, %next : tensor<?x64xf32>, tensor<?xi32>
    })");
  ASSERT_TRUE(parsed.reference) << parsed.messages;
  Random random(testSeed());
  auto batch = m1c::makeReferenceBatch({{0, 0, random.tokens(500, 10)}});
  for (int32_t &position : batch.positions)
    position = static_cast<int32_t>(random.integer(0, 131071));
  auto result = parsed.reference->run("prefill", batch);
  ASSERT_TRUE(succeeded(result)) << parsed.messages;
  double worst = 0;
  for (size_t t = 0; t < batch.positions.size(); ++t)
    for (int i = 0; i < 32; ++i) {
      double angle = batch.positions[t] * std::pow(5e5, -2.0 * i / 64);
      worst = std::max(worst, std::abs(result->logits[t * 64 + i] - std::cos(angle)));
      worst = std::max(worst, std::abs(result->logits[t * 64 + 32 + i] - std::sin(angle)));
    }
  EXPECT_LE(worst, 2.5e-7);
}

// What cannot be evaluated says so: a sequence that goes on without having begun, a token outside
// the vocabulary, a position beyond the rotary tables, a function or data that is not there, other
// functions and operations than those of a model.
TEST(Reference, Errors) {
  EvaluatedModel model(std::string(M1_GOLDENS) + "/m1-mamba1-f32");
  ASSERT_TRUE(model.reference);
  std::string messages;
  model.context.getDiagEngine().registerHandler([&](Diagnostic &diagnostic) {
    messages += diagnostic.str() + "\n";
    return success();
  });
  EXPECT_TRUE(model.logits("decode", {{3, 7, {1}}}).empty());
  EXPECT_NE(messages.find("reads the state of a sequence that did not start in any step before"),
            std::string::npos)
      << messages;
  messages.clear();
  EXPECT_TRUE(model.logits("prefill", {{3, 0, {1, 512}}}).empty());
  EXPECT_NE(messages.find("token id 512 is outside the vocabulary of 512"), std::string::npos)
      << messages;
  messages.clear();
  EXPECT_TRUE(model.logits("decode", {{3, 4096, {1}}}).empty());
  EXPECT_NE(messages.find("position 4096 is beyond the 4096 that the tables serve"),
            std::string::npos)
      << messages;
  messages.clear();
  EXPECT_TRUE(model.logits("train", {{3, 0, {1}}}).empty());
  EXPECT_NE(messages.find("has no function 'train'"), std::string::npos) << messages;

  const std::pair<const char *, const char *> modules[] = {
      {"m1.weight @w : tensor<2xi32> {value = dense<1> : tensor<2xi32>}",
       "'m1.weight' op cannot be evaluated: expected elements of f32, bf16, f16, i8, ui8 or "
       "f8E4M3FN, "
       "got 'i32'"},
      {"func.func private @prefill(tensor<?xi32>, !m1.batch) -> (tensor<?x4xf32>, tensor<?xi32>)",
       "'func.func' op cannot be evaluated: it has no body"},
      {"func.func @prefill(%x: tensor<?x4xf32>, %b: !m1.batch) -> tensor<?x4xf32> {"
       "  return %x : tensor<?x4xf32>\n}",
       "'func.func' op cannot be evaluated: expected (tokens, batch) -> (logits, next tokens), got "
       "'(tensor<?x4xf32>, !m1.batch) -> tensor<?x4xf32>'"},
      {"func.func @prefill(%t: tensor<?xi32>, %b: !m1.batch) -> (tensor<1x4xf32>, tensor<?xi32>) {"
       "  %c = arith.constant dense<0.0> : tensor<1x4xf32>\n"
       "  return %c, %t : tensor<1x4xf32>, tensor<?xi32>\n}",
       "'arith.constant' op has no reference evaluation"}};
  for (auto [text, message] : modules) {
    Parsed parsed(text);
    if (parsed.reference)
      EXPECT_TRUE(failed(parsed.reference->run("prefill", m1c::makeReferenceBatch({{0, 0, {1}}}))));
    EXPECT_EQ(parsed.messages, std::string(message) + "\n");
  }

  Parsed absent(R"(m1.weight @w : tensor<4xf32> {sources = ["nowhere"]})");
  EXPECT_FALSE(absent.reference);
  EXPECT_NE(absent.messages.find("nowhere"), std::string::npos) << absent.messages;
}

} // namespace
