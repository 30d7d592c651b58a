// Compiling a checkpoint and stepping the artifact through the C API.
#ifndef M1_TEST_INTEGRATION_COMPILEDMODEL_H
#define M1_TEST_INTEGRATION_COMPILEDMODEL_H

#include "m1/runtime.h"
#include <cstdint>
#include <string>
#include <vector>

namespace m1test {

struct Types {
  std::string activation = "f32", state = "f32", kv = "f32";
  std::string cpu = "native"; // instruction set
  std::string quantize = {};  // as m1-compile takes it
};

/// Compiles `directory` to `artifact`. The messages of the compiler; empty when
/// all went well.
std::string compileModel(const std::string &directory, const std::string &artifact,
                         const Types &types);

/// A loaded artifact and one session of it. Errors end up in `problem`, and later calls do nothing.
class CompiledModel {
public:
  CompiledModel(const std::string &artifact, uint32_t maxSequences, uint32_t maxTokens,
                uint32_t maxContext);
  ~CompiledModel();
  CompiledModel(const CompiledModel &) = delete;

  m1_model *get() const { return model; }
  m1_sequence newSequence();
  m1_sequence fork(m1_sequence sequence);

  struct Entry {
    m1_sequence sequence;
    std::vector<int32_t> tokens;
    int64_t logits = -1; // logits are wanted for the last so many tokens; -1: for all
  };
  struct Result {
    std::vector<double> logits;      // [L, V]
    std::vector<int32_t> nextTokens; // [L]
  };
  /// One step; L rows of logits are those that the entries ask for, in their order.
  Result step(const std::vector<Entry> &entries);

  std::string problem;
  uint32_t vocabulary = 0;

private:
  bool check(m1_status *status);
  m1_model *model = nullptr;
  m1_session *session = nullptr;
};

} // namespace m1test

#endif
