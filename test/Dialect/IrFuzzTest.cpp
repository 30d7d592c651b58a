// Text of both dialects, mutated, through parser, verifiers, every pass, and m1-compile to each of
// its stages: nothing may crash or hang. Seeds are the lit tests' modules.
//
// M1_FUZZ_SECONDS: how long (5). M1_TEST_SEED=N repeats one batch, its mutants written to
// standard error.
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "Plan/Plan.h"
#include "m1c/Compiler.h"
#include "m1c/M1ToPlan.h"
#include "m1c/ReadableText.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sstream>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace mlir;

namespace {

/// Modules of the lit tests, without comments; short ones, so that a mutation tells.
std::vector<std::string> readSeeds() {
  std::vector<std::string> seeds;
  for (const char *directory : {"Dialect/M1", "Dialect/Plan", "Conversion", "Ops", "Target"})
    for (auto &entry :
         std::filesystem::directory_iterator(std::string(M1_TEST_SOURCE_DIR "/") + directory)) {
      if (entry.path().extension() != ".mlir")
        continue;
      std::ifstream file(entry.path());
      std::string line, module;
      auto keep = [&] {
        if (module.find_first_not_of(" \n") != std::string::npos && module.size() < 20000)
          seeds.push_back(module);
        module.clear();
      };
      while (std::getline(file, line)) {
        if (line.rfind("// -----", 0) == 0)
          keep();
        else if (line.find("//") == std::string::npos)
          module += line + "\n";
      }
      keep();
    }
  std::sort(seeds.begin(), seeds.end());
  return seeds;
}

/// Words, numbers, names with their sigil, single other characters, and runs of blanks.
std::vector<std::string> tokensOf(const std::string &text) {
  std::vector<std::string> tokens;
  auto isWord = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (size_t i = 0; i < text.size();) {
    size_t end = i + 1;
    char c = text[i];
    if (std::isspace(static_cast<unsigned char>(c)))
      while (end < text.size() && std::isspace(static_cast<unsigned char>(text[end])))
        ++end;
    else if (isWord(c) || c == '%' || c == '@' || c == '!' || c == '#' || c == '^')
      while (end < text.size() && (isWord(text[end]) || (text[end] == '.' && !std::isdigit(c))))
        ++end;
    tokens.push_back(text.substr(i, end - i));
    i = end;
  }
  return tokens;
}

class Mutator {
  size_t below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random); }
  template <typename List> auto &pick(List &list) { return list[below(list.size())]; }

public:
  Mutator(const std::vector<std::string> &seeds, uint64_t seed) : seeds(seeds), random(seed) {
    for (const std::string &text : seeds)
      for (std::string &token : tokensOf(text))
        words.push_back(std::move(token));
  }

  std::string next() {
    std::vector<std::string> tokens = tokensOf(pick(seeds));
    for (int count = 1 + below(3); count > 0 && !tokens.empty(); --count)
      mutate(tokens);
    std::string text;
    for (const std::string &token : tokens)
      text += token;
    return text;
  }

private:
  /// A random token that `like` is one of: a number for a number, a name for a name.
  size_t find(const std::vector<std::string> &tokens, char like) {
    for (int tries = 0; tries < 50; ++tries)
      if (size_t at = below(tokens.size()); kindOf(tokens[at]) == like)
        return at;
    return below(tokens.size());
  }
  static char kindOf(const std::string &token) {
    char c = token[0];
    return std::isdigit(static_cast<unsigned char>(c))   ? '0'
           : std::isalpha(static_cast<unsigned char>(c)) ? 'a'
                                                         : c;
  }
  void mutate(std::vector<std::string> &tokens) {
    static const std::vector<std::string> numbers = {
        "0",   "1",   "2",          "3",          "7",
        "64",  "65",  "256",        "1024",       "4294967295",
        "-1",  "-64", "2147483647", "2147483648", "9223372036854775807",
        "0.0", "1e9", "1000000007"};
    static const std::vector<std::string> types = {"f32",
                                                   "bf16",
                                                   "f16",
                                                   "f64",
                                                   "i32",
                                                   "i64",
                                                   "i1",
                                                   "index",
                                                   "tensor<?x8xf32>",
                                                   "!m1.batch",
                                                   "!plan.buffer",
                                                   "tensor<*xf32>",
                                                   "!m1.scan_state<4x4xf32>",
                                                   "none"};
    static const std::string kinds = "0a%@!#";
    size_t at = find(tokens, pick(kinds));
    switch (below(9)) {
    case 0:
      tokens[find(tokens, '0')] = pick(numbers);
      break;
    case 1:
      std::swap(tokens[at], tokens[find(tokens, kindOf(tokens[at]))]);
      break;
    case 2: { // another word of its kind from anywhere
      char kind = kindOf(tokens[at]);
      for (int tries = 0; tries < 200; ++tries)
        if (const std::string &word = pick(words); kindOf(word) == kind) {
          tokens[at] = word;
          break;
        }
      break;
    }
    case 3:
      tokens.erase(tokens.begin() + at);
      break;
    case 4:
      tokens.insert(tokens.begin() + at, tokens[at]);
      break;
    case 5: { // a line goes, comes twice, or moves
      auto line = [&](size_t from) {
        size_t begin = from, end = from;
        auto isEnd = [&](size_t i) { return tokens[i].find('\n') != std::string::npos; };
        while (begin > 0 && !isEnd(begin - 1))
          --begin;
        while (end + 1 < tokens.size() && !isEnd(end))
          ++end;
        return std::pair(begin, end + 1);
      };
      auto [begin, end] = line(at);
      std::vector<std::string> copy(tokens.begin() + begin, tokens.begin() + end);
      if (below(2))
        tokens.erase(tokens.begin() + begin, tokens.begin() + end);
      if (below(2) && !tokens.empty()) {
        size_t target = line(below(tokens.size())).first;
        tokens.insert(tokens.begin() + target, copy.begin(), copy.end());
      }
      break;
    }
    case 6:
      tokens[at] = pick(types);
      break;
    case 7: // a comma-separated operand more or less
      if (below(2))
        tokens.insert(tokens.begin() + at, {tokens[find(tokens, '%')], ", "});
      else if (size_t comma = find(tokens, ','); comma + 1 < tokens.size())
        tokens.erase(tokens.begin() + comma, tokens.begin() + comma + 2);
      break;
    case 8: // two modules in one
      for (std::string &token : tokensOf(pick(seeds)))
        tokens.push_back(std::move(token));
      break;
    }
  }

  const std::vector<std::string> &seeds;
  std::mt19937_64 random;
  std::vector<std::string> words;
};

/// Passes in some order, each verified after; failing is as good as succeeding. False when a
/// pipeline here names what no pass is.
bool run(ModuleOp module, std::mt19937_64 &random) {
  static const char *const pipelines[] = {
      "builtin.module(m1-optimize)",
      "builtin.module(m1-convert-to-plan{target=cpu:x86-64-v3},m1-plan,canonicalize,cse)",
      "builtin.module(m1-convert-to-plan{target=cuda:sm_90},m1-plan)",
      ("builtin.module(m1-optimize,"
       "m1-convert-to-plan{target=cpu:x86-64-v3,cuda:sm_80,sm_120},m1-plan)"),
      "builtin.module(canonicalize,cse)",
      "builtin.module(m1-generate-kernels)",
      "builtin.module(m1-optimize,m1-convert-to-plan{target=cpu:x86-64-v3},m1-generate-kernels)",
      "builtin.module(m1-convert-to-plan{target=cuda:sm_90},m1-plan,m1-generate-kernels)",
      "builtin.module(m1-eliminate-dead,m1-plan,m1-eliminate-dead)",
      "builtin.module(m1-merge-projections,m1-fold-doubled-bias)",
      "builtin.module(func.func(m1-fuse-scan,m1-fuse-silu-mul,m1-hoist-gather-rows))",
      "builtin.module(m1-fuse-conv-silu,func.func(m1-fuse-residual-norm,m1-expand-gated-mlp))",
      "builtin.module(func.func(m1-expand-gated-mlp,m1-fuse-rotary-kv-write))",
  };
  for (int count = 0; count < 3; ++count) {
    OwningOpRef<ModuleOp> copy = module.clone();
    for (int step = 0; step < 2; ++step) {
      auto parsed = parsePassPipeline(pipelines[random() % std::size(pipelines)]);
      if (failed(parsed))
        return false;
      PassManager passes(module.getContext());
      static_cast<OpPassManager &>(passes) = std::move(*parsed);
      if (failed(passes.run(*copy)))
        break;
    }
  }
  return true;
}

/// What m1-compile does with a file of the text, up to one of the stages that --emit names. Code
/// for GPUs goes as far as LLVM's: behind it are NVIDIA's compilers.
void compileText(const std::string &text, const std::string &directory, std::mt19937_64 &random) {
  static const struct {
    m1c::Emit emit;
    const char *target;
  } stages[] = {
      {m1c::Emit::m1, "cpu"},        {m1c::Emit::m1Optimized, "cpu"},
      {m1c::Emit::plan, "cpu,cuda"}, {m1c::Emit::kernels, "cpu,cuda:sm_86"},
      {m1c::Emit::llvm, "cpu"},      {m1c::Emit::llvm, "cuda"},
      {m1c::Emit::assembly, "cpu"},  {m1c::Emit::artifact, "cpu"},
      {m1c::Emit::artifact, "cpu"},
  };
  static const char *const quantized[] = {"", "", "", "int8", "int8:32", "fp8", "int4", "stored"};
  m1c::CompileOptions options;
  options.model = directory + "/mutant.mlir";
  options.output = directory + "/out";
  std::ofstream(options.model) << text;
  const auto &stage = stages[random() % std::size(stages)];
  options.emit = stage.emit;
  options.target = stage.target;
  options.cpu = random() % 2 ? "x86-64-v3" : "sapphirerapids";
  options.quantize = quantized[random() % std::size(quantized)];
  options.weights = m1c::WeightStorage::dummy;
  m1c::compile(options, {}, nullptr);
}

/// Ends the process after 20 s of its processor time from now on, or after ten minutes where it
/// waits, for something or for a processor; `on` false: does not.
void limitTime(bool on) {
  itimerval limit = {};
  limit.it_value.tv_sec = on ? 20 : 0;
  setitimer(ITIMER_PROF, &limit, nullptr);
  alarm(on ? 600 : 0);
}

/// What a child process does: 50 mutants, every fourth of them compiled as well.
bool runBatch(const std::vector<std::string> &seeds, uint64_t seed, const std::string &directory,
              bool shows) {
  Mutator mutator(seeds, seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 50; ++i) {
    std::string text = mutator.next();
    if (shows)
      std::cerr << "// -----\n" << text << std::endl;
    MLIRContext context(MLIRContext::Threading::DISABLED);
    context.loadDialect<m1::M1Dialect, plan::PlanDialect, func::FuncDialect, arith::ArithDialect,
                        LLVM::LLVMDialect>();
    ScopedDiagnosticHandler quiet(&context, [](Diagnostic &) { return success(); });
    if (m1c::holdsIndexArray(text)) // MLIR's parser, not the project's
      continue;
    limitTime(true);
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
    if (module && !run(*module, random))
      return false;
    if (i % 4 == 0)
      compileText(text, directory, random);
    limitTime(false);
  }
  return true;
}

TEST(IrFuzz, MutatedModules) {
  m1::registerM1Passes();
  m1::registerOptimizePipeline();
  plan::registerPlanPasses();
  m1c::registerConversionPasses();
  registerTransformsPasses();
  std::vector<std::string> seeds = readSeeds();
  ASSERT_GT(seeds.size(), 50u);
  std::string directory = testing::TempDir() + "m1-ir-fuzz-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  struct Remover {
    const std::string &path;
    ~Remover() { std::filesystem::remove_all(path); }
  } remover{directory};
  if (const char *given = std::getenv("M1_TEST_SEED")) {
    EXPECT_TRUE(runBatch(seeds, std::strtoull(given, nullptr, 10), directory, true));
    return;
  }
  const char *given = std::getenv("M1_FUZZ_SECONDS");
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(given ? std::atoi(given) : 5);
  // By hand others each time, in CI the same.
  std::mt19937_64 draws(given ? std::random_device{}() : 1);
  size_t batches = 0;
  while (std::chrono::steady_clock::now() < end) {
    uint64_t seed = draws();
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // Not the test's own failures, which a child inherits.
      _exit(runBatch(seeds, seed, directory, false) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << "M1_TEST_SEED=" << seed << ": "
        << (WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "a pipeline is none");
    ++batches;
  }
  std::cout << batches * 50 << " mutants" << std::endl;
}

} // namespace
