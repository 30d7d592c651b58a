// The engine on a real session: state slots, KV pages, forks and preemption of the toy model, whose
// results do not depend on batching.
#include "ToyModel.h"
#include "engine/engine.h"
#include "model/session.h"
#include <gtest/gtest.h>
#include <map>
#include <random>

using namespace m1rt;

namespace {

struct Outcome {
  std::vector<int32_t> tokens;
  FinishReason reason = FinishReason::running;
};
using Outcomes = std::map<std::pair<uint64_t, uint32_t>, Outcome>;

/// What the reference says to the request when it is alone.
std::vector<int32_t> alone(const Request &request, uint32_t sample) {
  std::vector<int32_t> tokens = request.prompt, out;
  while (out.size() < request.maxNewTokens) {
    SamplingRow row;
    row.parameters = request.sampling;
    row.parameters.seed = sampleSeed(request.sampling.seed, sample);
    row.counter = out.size();
    SampledToken token;
    sampleOnHost(toy::referenceLogits(tokens).data(), TOY_VOCABULARY, row, &token);
    out.push_back(token.token);
    tokens.push_back(token.token);
    if (std::count(request.stopTokens.begin(), request.stopTokens.end(), token.token))
      break;
  }
  return out;
}

/// A session that the engine runs ahead, as on a GPU: the tokens that a step takes from a sampling
/// are the session's own affair on every device.
class RunAhead : public SequenceBackend {
public:
  explicit RunAhead(Session &session) : session(session) {}
  BackendLimits limits() const override {
    BackendLimits limits = session.limits();
    limits.asynchronous = true;
    return limits;
  }
  uint32_t freePages() const override { return session.freePages(); }
  Status create(SequenceId *out) override { return session.create(out); }
  Status fork(SequenceId source, SequenceId *out) override { return session.fork(source, out); }
  Status destroy(SequenceId sequence) override { return session.destroy(sequence); }
  Status step(const BackendEntry *entries, uint32_t count) override {
    return session.step(entries, count);
  }
  Status sample(const SamplingRow *rows, uint32_t count) override {
    return session.sample(rows, count);
  }
  Status takeChosen(SampledToken *out) override { return session.takeChosen(out); }

private:
  Session &session;
};

void collect(Engine &engine, Outcomes &outcomes) {
  for (Event &event : engine.takeEvents()) {
    Outcome &outcome = outcomes[{event.request, event.sample}];
    EXPECT_EQ(outcome.reason, FinishReason::running) << "an event after the end";
    for (SampledToken &token : event.tokens)
      outcome.tokens.push_back(token.token);
    outcome.reason = event.reason;
    EXPECT_EQ(event.error, "");
  }
}

// Random arrivals, lengths, samples and cancellations on pools so small that samples wait, are
// preempted and recomputed, with prompts that share beginnings: every sample's tokens are those of
// a run alone, a cancelled one's a beginning of them, and in the end no page is lost.
TEST(EngineSession, EqualsRunsAlone) {
  const std::string path = toy::temporaryPath("engine.m1a");
  toy::writeFile(path, toy::artifact());
  ModelOptions modelOptions;
  modelOptions.deviceOptions.threads = 2;
  std::unique_ptr<Model> model;
  ASSERT_TRUE(Model::load(path, modelOptions, &model).ok());

  std::mt19937 random(23);
  uint64_t preemptions = 0, reused = 0, shared = 0;
  for (int round = 0; round < 16; ++round) {
    SessionOptions sessionOptions;
    sessionOptions.maxSequences = 2 + random() % 7;
    sessionOptions.maxContext = 64;
    sessionOptions.kvPages = 9 + random() % 14; // one sequence of 64 needs 8
    sessionOptions.maxTokensPerStep = 9 + random() % 20;
    std::unique_ptr<Session> session;
    ASSERT_TRUE(Session::create(*model, sessionOptions, &session).ok());
    EngineOptions engineOptions;
    engineOptions.prefixCacheSlots = random() % 3;
    engineOptions.prefixBlock = engineOptions.shortestPrefix = 4;
    {
      RunAhead ahead(*session);
      SequenceBackend &backend = round % 2 ? static_cast<SequenceBackend &>(ahead) : *session;
      Engine engine(backend, engineOptions);
      std::map<uint64_t, Request> requests;
      std::vector<uint64_t> cancelled;
      Outcomes outcomes;
      const std::vector<int32_t> common = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
      int submitted = 0;
      for (int step = 0; submitted < 14 || !engine.idle(); ++step) {
        ASSERT_LT(step, 5000) << "no progress";
        if (submitted < 14 && random() % 4 == 0) {
          Request request;
          request.prompt.assign(common.begin(),
                                common.begin() + ptrdiff_t(random() % common.size()));
          for (unsigned i = 1 + random() % 12; i > 0; --i)
            request.prompt.push_back(int32_t(random() % TOY_VOCABULARY));
          request.samples = random() % 3 ? 1 : 1 + random() % 5;
          request.maxNewTokens = 1 + random() % 30;
          if (random() % 2) {
            request.sampling.temperature = 1.5f;
            request.sampling.topK = random() % 2 ? 20 : 0;
            request.sampling.seed = random();
          }
          request.stopTokens = {60};
          uint64_t id = 0;
          Status status = engine.submit(request, &id);
          ASSERT_TRUE(status.ok()) << status.message();
          requests[id] = request;
          ++submitted;
        }
        if (!requests.empty() && random() % 25 == 0) {
          cancelled.push_back(
              std::next(requests.begin(), ptrdiff_t(random() % requests.size()))->first);
          engine.cancel(cancelled.back());
        }
        Status status = engine.step();
        ASSERT_TRUE(status.ok()) << status.message();
        collect(engine, outcomes);
      }
      for (auto &[id, request] : requests)
        for (uint32_t sample = 0; sample < request.samples; ++sample) {
          const Outcome &outcome = outcomes[{id, sample}];
          std::vector<int32_t> expected = alone(request, sample);
          if (outcome.reason == FinishReason::cancelled) {
            ASSERT_TRUE(std::count(cancelled.begin(), cancelled.end(), id));
            ASSERT_LE(outcome.tokens.size(), expected.size());
            expected.resize(outcome.tokens.size());
          } else {
            ASSERT_TRUE(outcome.reason == FinishReason::length ||
                        outcome.reason == FinishReason::stopToken);
          }
          ASSERT_EQ(outcome.tokens, expected)
              << "round " << round << ", request " << id << ", sample " << sample;
        }
      preemptions += engine.stats().preemptions;
      reused += engine.stats().reusedTokens;
      shared += engine.stats().sharedTokens;
    }
    EXPECT_EQ(session->freePages(), sessionOptions.kvPages);
    EXPECT_EQ(session->usedSequences(), 0u);
  }
  // The pools were small enough for everything to happen.
  EXPECT_GT(preemptions, 0u);
  EXPECT_GT(reused, 0u);
  EXPECT_GT(shared, 0u);
}

} // namespace
