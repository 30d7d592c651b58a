// op_cases DIR [CPU]: compiles the table of op cases for a machine with a GPU.
//
// DIR/NAME.f32.m1a (.bf16.m1a where something is bf16) with a CPU and a CUDA target, beside it
// NAME.*.safetensors as check_golden_artifacts.py reads it; DIR/bench/NAME.m1a for m1-bench.
#include "OpCases.h"
#include "RandomCheckpoint.h"

#include "mlir/IR/MLIRContext.h"
#include <cstdio>
#include <filesystem>

using namespace m1test;

namespace {

/// Prompts of one token and of more than a page, each with greedy tokens behind it.
Tensors golden(const OpCase &test, const std::string &directory) {
  constexpr int decoded = 6;
  Tensors tensors;
  for (int64_t length : {1, 70}) {
    Random random(static_cast<uint64_t>(length));
    std::vector<int32_t> prompt = random.tokens(length, test.vocabulary);
    const std::string prefix = "len" + std::to_string(length) + ".";
    OpEvaluator reference(test, directory);
    auto result = reference.step({{0, prompt}});
    auto add = [&](const std::string &name, Stored type, std::vector<int64_t> shape,
                   const auto &values) {
      tensors[prefix + name] = {type, std::move(shape), {values.begin(), values.end()}};
    };
    add("input_ids", Stored::i32, {length}, prompt);
    add("prefill_logits", Stored::f32, {length, test.vocabulary}, result.logits);
    std::vector<int32_t> tokens;
    std::vector<double> logits;
    for (int i = 0; i < decoded && !result.nextTokens.empty(); ++i) {
      tokens.push_back(result.nextTokens.back());
      result = reference.step({{0, {tokens.back()}}});
      logits.insert(logits.end(), result.logits.begin(), result.logits.end());
    }
    add("greedy_ids", Stored::i32, {decoded}, tokens);
    add("decode_logits", Stored::f32, {decoded, test.vocabulary}, logits);
  }
  return tensors;
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: op_cases DIR [CPU]\n");
    return 2;
  }
  const std::string out = argv[1], cpu = argc > 2 ? argv[2] : "x86-64-v3";
  std::filesystem::create_directories(out + "/bench");
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  OpTable table;
  if (!readOpCases(context, table))
    return 1;
  int failures = 0;
  for (const OpCase &test : table.cases) {
    TemporaryDirectory directory;
    writeOpCase(test, directory.path);
    const std::string stem = test.name + (test.rounds ? ".bf16" : ".f32"),
                      artifact =
                          out + (test.forBench ? "/bench/" + test.name : "/" + stem) + ".m1a";
    std::string problem =
        compileOpCase(test, directory.path,
                      test.forBench ? "cuda:sm_90" : "cpu:" + cpu + ",cuda:sm_90", artifact);
    if (!problem.empty()) {
      std::fprintf(stderr, "%s: %s", test.name.c_str(), problem.c_str());
      failures += !lacksKernel(problem);
      continue;
    }
    if (!test.forBench)
      writeSafetensors(out + "/" + stem + ".safetensors", golden(test, directory.path));
  }
  std::printf("%zu cases, %d failed\n", table.cases.size(), failures);
  return failures ? 1 : 0;
}
