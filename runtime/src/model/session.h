// Sequences on a model: their state slots and KV pages, and steps over them.
#ifndef M1RT_MODEL_SESSION_H
#define M1RT_MODEL_SESSION_H

#include "engine/backend.h"
#include "model/model.h"
#include "model/page_pool.h"
#include "model/shared_prefixes.h"
#include <memory>
#include <unordered_map>
#include <vector>

namespace m1rt {

struct SessionOptions {
  uint32_t maxSequences = 1;
  uint32_t maxTokensPerStep = 512;
  uint32_t maxContext = 0; // 0: the model's max_positions, or less when kvPages holds less
  uint32_t kvPages = 0;    // 0: enough for maxSequences sequences of maxContext tokens (kvPagesFor)
  uint32_t maxLogitRows = 0; // 0: the smaller of maxSequences and maxTokensPerStep
  // Saved bytes from which decode steps share prefixes; UINT64_MAX: what pays on the device.
  uint64_t sharedBytesFrom = UINT64_MAX;
};

/// Pages for so many sequences at their longest while a step feeds the most tokens.
uint64_t kvPagesFor(const BackendLimits &limits, uint64_t sequences);

class Session final : public SequenceBackend {
public:
  static Status create(Model &model, const SessionOptions &options, std::unique_ptr<Session> *out);
  ~Session() override;
  Session(const Session &) = delete;
  Session &operator=(const Session &) = delete;

  BackendLimits limits() const override { return bounds; }
  uint32_t freePages() const override { return pages.free(); }
  uint32_t usedSequences() const { return uint32_t(sequences.size()); }

  Status create(SequenceId *out) override;
  Status fork(SequenceId source, SequenceId *out) override;
  Status reset(SequenceId sequence);
  Status destroy(SequenceId sequence) override;
  Status length(SequenceId sequence, uint32_t *out) const;

  /// Does beforehand what the first steps would do besides their work, where the device has such:
  /// loads code, chooses how products are computed, captures graphs. No sequence notices.
  Status warmUp();

  Status step(const BackendEntry *entries, uint32_t count) override;
  Status sample(const SamplingRow *rows, uint32_t count) override;
  Status takeChosen(SampledToken *out) override;
  /// Of the last step: the likeliest token of every logits row; logits rows [first, first + count).
  Status nextTokens(int32_t *out);
  Status logits(uint32_t first, uint32_t count, float *out);
  uint32_t logitRows() const { return stepLogitRows; }

  /// From here on every step fails that computes something that is no number, and names the launch.
  void setCheckNumerics(bool on) { checkNumerics = on; }
  /// When set, every step fills it with the times of its commands, and is one pass.
  void setProfile(std::vector<CommandTime> *profile) { this->profile = profile; }
  /// Index into Target.functions of the last step.
  uint32_t lastFunction() const { return function; }

private:
  struct Sequence {
    uint32_t slot = 0;
    uint32_t length = 0;
    uint32_t behind = 0;         // leading pages given back: nothing sees them any more
    std::vector<uint32_t> pages; // those after them
    uint64_t forkedIn = 0;       // number of the batch of forks that it is of; 0: of none
  };

  Session(Model &model, const SessionOptions &options, const BackendLimits &bounds)
      : model(model), options(options), bounds(bounds) {}
  Status allocate();
  Status find(SequenceId id, Sequence **out) const;
  Status validate(const BackendEntry *entries, uint32_t count, uint32_t *outNewPages);
  void buildArrays(const BackendEntry *entries, uint32_t begin, uint32_t end);
  Status runPass(const BackendEntry *entries, uint32_t begin, uint32_t end, uint32_t firstLogitRow);
  int functionFor(uint32_t sequences, uint64_t tokens) const;
  int sharedFunctionFor(uint32_t begin, uint32_t end);
  void releasePages(Sequence &sequence);
  void releaseBehind(Sequence &sequence);
  Status copyForks();

  Model &model;
  SessionOptions options;
  BackendLimits bounds;
  uint32_t maxPages = 0; // row stride of block tables
  bool hasPages() const { return model.pageBytes() > 0; }

  std::vector<void *> states; // of each of Module.states: slots or pages, the last one for padding
  std::unique_ptr<Context> context;

  PagePool pages;
  std::vector<uint32_t> freeSlots;
  mutable std::unordered_map<SequenceId, Sequence> sequences;
  SequenceId nextSequence = 1;
  // What forks copy, all at once before the next step, or before a slot or page gets another owner.
  std::vector<CopyRange> forkCopies;
  uint64_t forkBatch = 1;

  std::vector<int32_t> arrays[portCount];
  StepTraits traits;
  PrefixWork prefixWork;
  std::vector<SequencePages> pagesOfPass;
  SharedPrefixes shared; // of the pass at hand, when its function is decode_shared
  // Step.chosenRows of the step at hand; empty when no entry wants it
  std::vector<int32_t> chosenRows;
  // logits rows of the last sampling that a step can take tokens from
  uint32_t sampledRows = 0;
  uint32_t untaken = 0;                  // samplings whose tokens were not taken
  std::vector<Sequence *> stepSequences; // of the entries of the step at hand
  std::vector<bool> seenSlots;           // of them
  m1_dims dims = {};                     // of the last pass
  uint32_t stepLogitRows = 0;            // of the last step
  uint32_t function = 0;
  std::vector<CommandTime> *profile = nullptr;
  bool checkNumerics = false;
  bool lost = false; // the device failed
};

} // namespace m1rt

#endif
