// From a checkpoint directory, a module of the m1 or plan dialect, or an artifact whose code is
// made anew, to an artifact: what m1-compile does.
#ifndef M1C_COMPILER_H
#define M1C_COMPILER_H

#include "m1c/Artifact.h"
#include <functional>

namespace m1c {

enum class Emit { m1, m1Optimized, plan, kernels, llvm, assembly, artifact };

struct CompileOptions {
  std::string model; // a checkpoint directory, an artifact, or a file of text or bytecode
  // directories that weights outside an artifact may lie in, besides its own and those below it
  std::vector<std::string> allowExternal;
  // of a file of text or bytecode: where its weights and the tokenizer come from; empty: none
  std::string checkpoint;
  // file; "-" is standard output for everything but an artifact
  std::string output;
  std::string target = "cpu";          // as for createTargets
  std::string cpu = "native";          // of a target "cpu" without a suffix
  std::string activationType = "bf16"; // f32, bf16
  std::string stateType = "f32";       // f32, bf16, f16
  std::string kvType;                  // f32, bf16, int8, fp8; empty: that of the activations
  // int8[:32|64|128], fp8, int4[:32|64|128], stored: linears keep integers of the checkpoint in
  // groups; empty: weights are bf16, or f32
  std::string quantize;
  std::string quantizeKeep; // a regular expression of names of weights that keep theirs
  std::string calibrate;    // a file of prompts for the scales of int4; empty: none
  WeightStorage weights = WeightStorage::embed;
  uint64_t dummySeed = 0;
  int64_t maxContext = 0; // 0: what config.json says
  Emit emit = Emit::artifact;
  std::string saveTemps; // directory for every stage's text; empty: none
  /// Passes in the place of those between import and kernels, as m1-opt takes them; empty: those.
  std::string passPipeline;
  std::vector<std::string> printIrAfter; // names of passes; their IR goes to standard error
  bool printIrAfterAll = false;
  std::vector<std::string> tuning; // tables that m1-bench --tune made, for the artifact
  std::string cache;               // directory of compiled kernels (KernelCache.h); empty: none
  std::string producer;
  std::vector<std::string> given; // flags that were given and that a MODEL may have settled
};

/// What a compilation reports while it runs; every member may be empty.
struct CompileListener {
  std::function<void(llvm::StringRef stage)> stageBegins;
  std::function<void(llvm::StringRef stage, double seconds)> stageEnds;
  std::function<void(uint64_t done, uint64_t total)> weightsWritten; // bytes
  std::function<void(bool isWarning, llvm::StringRef message)> diagnostic;
  /// What the user may want to know, for instance of the model's weights.
  std::function<void(llvm::StringRef message)> note;
  /// What a pass could do for speed and did not, and why. Empty: not asked for.
  std::function<void(llvm::StringRef message)> remark;
};

/// Compiles. False after an error, which `listener.diagnostic` received; then there is no output
/// file.
bool compile(const CompileOptions &options, const CompileListener &listener,
             ArtifactSizes *outSizes);

} // namespace m1c

#endif
