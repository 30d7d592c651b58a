// Runs a dataset's samples through a sampler and records each as it ends.
#ifndef M1_TOOLS_EVAL_EVALUATION_H
#define M1_TOOLS_EVAL_EVALUATION_H

#include "dataset.h"
#include "records.h"
#include "voting.h"
#include <functional>

namespace m1tool {

/// Samples first … first + count − 1 of one problem.
struct SampleJob {
  std::string problem; // text
  uint32_t first = 0, count = 0;
  uint64_t seed = 0;  // of the problem; sample j is its number j
  double elapsed = 0; // seconds of the problem's time budget that earlier runs used
  // Samples of it that should run at once while other jobs keep the device busy; 0: any number.
  uint32_t atOnce = 0;
};

struct FinishedSample {
  uint64_t job = 0;
  uint32_t sample = 0; // of the problem
  SampleResult result;
};

/// A running sample that was asked what it would answer.
struct ProbedSample {
  uint64_t job = 0;
  uint32_t sample = 0; // of the problem
  std::optional<std::string> answer;
};

/// Draws samples: an engine, or a stand-in in tests.
class Sampler {
public:
  virtual ~Sampler() = default;
  /// Queues a job. A refused one (too long a prompt) is an error that concerns it alone.
  virtual m1rt::Status submit(const SampleJob &job, uint64_t *outJob) = 0;
  /// Works for a moment; samples that ended are appended. An error ends the evaluation.
  virtual m1rt::Status work(std::vector<FinishedSample> *out) = 0;
  /// What probes have said since the last call.
  virtual std::vector<ProbedSample> takeProbes() { return {}; }
  virtual m1rt::EngineStats stats() const { return {}; }
  /// Samples that wait for a place: more jobs are only queued while there are few.
  virtual uint32_t waiting() const = 0;
  /// Ends what has not ended of a job; each of these samples is reported as cancelled.
  virtual void cancelJob(uint64_t job) = 0;
  /// Ends everything; what has not ended is not reported.
  virtual void cancel() = 0;
};

struct EvaluationOptions {
  uint32_t samples = 1;
  uint64_t seed = 0;
  // finish a problem before the next begins: time budgets count from submission
  bool oneAtATime = false;
  uint32_t maxWaiting = 16; // queue another problem while fewer samples wait
  // Votes that stop: samples that a problem's vote does not need are ended, or never begun. So that
  // they stop in time, a problem draws `ballotsAtOnce` while others fill the device, and
  // `openProblems` are queued; when so many fewer are, `begunTogether` more begin.
  m1rt::StopRule stop;
  bool weighByConfidence = false; // in these votes
  uint32_t ballotsAtOnce = 4;
  uint32_t openProblems = 1, begunTogether = 1;
  // Of several ranks: the place of the next problem to begin, past the end when there is none left.
  // Empty: all of them in order.
  std::function<uint64_t()> draw;
  uint32_t mostOpen = UINT32_MAX; // problems begun and not ended: the rest is for other ranks
};

struct EvaluationProgress {
  uint64_t done = 0, all = 0; // samples, earlier runs included
  uint64_t tokens = 0;        // of this run
};

/// Draws every sample that the file does not hold yet and that its problem's vote needs; samples
/// there of a problem with the same id but another text or answer are an error. `interrupted` is
/// asked between steps; when it says so the run ends early with everything recorded so far and
/// `*outComplete` false.
m1rt::Status evaluate(const std::vector<Problem> &problems, const EvaluationOptions &options,
                      Sampler &sampler, RecordFile &records,
                      const std::function<bool()> &interrupted,
                      const std::function<void(const EvaluationProgress &)> &progress,
                      bool *outComplete);

} // namespace m1tool

#endif
