// A step to measure: the context it runs in, its batch arrays, and the bytes it must move at least.
#ifndef M1_BENCH_WORKLOAD_H
#define M1_BENCH_WORKLOAD_H

#include "model/model.h"
#include "model/shared_prefixes.h"

namespace m1bench {

using m1rt::Status;
namespace schema = ::m1::schema;

/// `decode`: one token of each of `sequences`, whose contexts hold `context` tokens after it.
/// Otherwise `context` tokens of each, from an empty state. The first `shared` tokens of a decode
/// step's contexts are one prompt's, whose whole pages all sequences share.
struct Case {
  bool decode = true;
  uint32_t sequences = 1;
  uint32_t context = 1;
  uint32_t shared = 0;

  uint32_t tokens() const { return decode ? sequences : sequences * context; }
};

/// The least that a command or a step must move and compute.
struct Cost {
  double weightBytes = 0;
  double stateBytes = 0; // scan and convolution state, read and written
  double kvBytes = 0;    // keys and values read and written
  // what a launch or product reads and writes of rows between operations
  double activationBytes = 0;
  double flops = 0; // of matrix products
  /// Weights, states and caches: what no fusion can avoid.
  double bytes() const { return weightBytes + stateBytes + kvBytes; }
};

/// States and KV pages filled with random values, and a step over them that can be run again and
/// again.
class Workload {
public:
  static Status create(m1rt::Model &model, const Case &what, std::unique_ptr<Workload> *out);
  ~Workload();

  Status run(std::vector<m1rt::CommandTime> *profile = nullptr);
  Status finish();
  /// Of some of the last step's logits, so that runs can be compared.
  Status checksum(uint32_t *out);

  const schema::Function &function() const;
  /// Cost of one command (indices of Function.commands), or of the step: weights that several
  /// commands use count once there.
  Cost costOf(uint32_t command) const;
  Cost stepCost() const;
  /// The kernel's symbol, or "gemm".
  std::string kernelOf(uint32_t command) const;

private:
  Workload(m1rt::Model &model, const Case &what) : model(model), what(what) {}
  Status allocateStates(m1rt::ContextOptions &options);
  Status fillWithCodes(const schema::State &state, uint64_t pages, void *memory);
  void buildArrays(uint32_t pagesPerSequence);
  void sharePages();
  uint32_t commonTokens() const; // of the contexts, in whole pages
  void addOperand(const schema::Operand &operand, Cost &cost, bool weights) const;

  m1rt::Model &model;
  Case what;
  std::vector<void *> states;
  std::unique_ptr<m1rt::Context> context;
  std::vector<int32_t> arrays[m1rt::portCount];
  m1rt::SharedPrefixes prefixes;
  m1rt::Step step;
};

} // namespace m1bench

#endif
