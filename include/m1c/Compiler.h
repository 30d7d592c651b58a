// From a checkpoint directory to an artifact: what m1-compile does.
#ifndef M1C_COMPILER_H
#define M1C_COMPILER_H

#include "m1c/Artifact.h"
#include <functional>

namespace m1c {

enum class Emit { m1, m1Optimized, plan, llvm, assembly, artifact };

struct CompileOptions {
  std::string modelDirectory;
  // file; "-" is standard output for everything but an artifact
  std::string output;
  std::vector<std::string> targets = {"cpu"}; // cpu, cuda, cuda:sm_80,sm_90
  std::string cpu = "native";
  std::string activationType = "bf16"; // f32, bf16
  std::string stateType = "f32";       // f32, bf16
  std::string kvType;                  // f32, bf16; empty: that of the activations
  WeightStorage weights = WeightStorage::embed;
  uint64_t dummySeed = 0;
  int64_t maxContext = 0; // 0: what config.json says
  Emit emit = Emit::artifact;
  std::string saveTemps; // directory for every stage's text; empty: none
  std::string producer;
};

/// What a compilation reports while it runs; every member may be empty.
struct CompileListener {
  std::function<void(llvm::StringRef stage)> stageBegins;
  std::function<void(llvm::StringRef stage, double seconds)> stageEnds;
  std::function<void(uint64_t done, uint64_t total)> weightsWritten; // bytes
  std::function<void(bool isWarning, llvm::StringRef message)> diagnostic;
};

/// Compiles. False after an error, which `listener.diagnostic` received; then there is no output
/// file.
bool compile(const CompileOptions &options, const CompileListener &listener,
             ArtifactSizes *outSizes);

} // namespace m1c

#endif
