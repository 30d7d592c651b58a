// The engine for days, in minutes: requests come, are cancelled, run out of time, close and share
// prefixes, on pools so small that samples are preempted all the time. Every token of every sample
// must be the one that the toy model says after the tokens before it, or belong to the one forced
// close; every sample ends once; nothing is left behind, and memory stays flat.
//
// Usage: m1-engine-soak [SAMPLES [SEED]]
#include "engine/engine.h"
#include "toy_backend.h"
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <random>

#if M1_SANITIZED
#include <sanitizer/allocator_interface.h>
#endif

using namespace m1rt;
using namespace m1rt::test;

namespace {

struct Sample {
  std::vector<int32_t> tokens;
  bool forced = false, ended = false;
};
struct Running {
  Request request;
  bool cancelled = false;
  std::vector<Sample> samples;
  uint32_t open = 0;
};

#define REQUIRE(condition, ...)                                                                    \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      std::printf("line %d: %s: ", __LINE__, #condition);                                          \
      std::printf(__VA_ARGS__);                                                                    \
      std::printf("\n");                                                                           \
      std::exit(1);                                                                                \
    }                                                                                              \
  } while (0)

/// What the process holds on the heap. (Resident pages also count what an allocator keeps after
/// free: a sanitizer's quarantine grows to hundreds of megabytes.)
uint64_t allocatedBytes() {
#if M1_SANITIZED
  return __sanitizer_get_current_allocated_bytes();
#else
  const struct mallinfo2 heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
#endif
}

/// The first token of a sample that is neither drawn after those before it nor one of the closing
/// tokens said from position `closedAt` on, or that follows a stop token; the number of its tokens
/// where all are right.
size_t rightTokens(const Request &request, const Sample &sample, uint32_t number, size_t closedAt,
                   uint32_t vocabulary) {
  const uint64_t seed = sampleSeed(request.sampling.seed, request.firstSample + number);
  const size_t closedUntil = closedAt + request.closeTokens.size();
  std::vector<int32_t> tokens = request.prompt;
  for (size_t said = 0; said < sample.tokens.size(); ++said) {
    const bool closes = said >= closedAt && said < closedUntil;
    const int32_t right = closes ? request.closeTokens[said - closedAt]
                                 : ToyBackend::draw(hashOf(tokens), seed, said, vocabulary);
    if (sample.tokens[said] != right)
      return said;
    tokens.push_back(right);
    if (!closes && !request.stopTokens.empty() && request.stopTokens[0] == right)
      return said + 1;
  }
  return sample.tokens.size();
}

/// A sample's tokens are those of a run alone; of one that was closed by force, with one run of the
/// closing tokens in it. Where that begins can be ambiguous (a closing token may be what would have
/// been drawn), so one place that explains all tokens is enough.
void check(const Running &running, uint32_t number, FinishReason reason,
           const BackendLimits &limits) {
  const Request &request = running.request;
  const Sample &sample = running.samples[number];
  const size_t said = sample.tokens.size(), never = said + 1;
  size_t right = rightTokens(request, sample, number, never, limits.vocabulary);
  for (size_t closedAt = 1; sample.forced && right < said && closedAt <= said; ++closedAt)
    right = std::max(right, rightTokens(request, sample, number, closedAt, limits.vocabulary));
  REQUIRE(right == said, "token %zu of sample %u is not the one of a run alone", right, number);
  const bool stopped =
      said > 0 && !request.stopTokens.empty() && request.stopTokens[0] == sample.tokens.back();
  if (reason == FinishReason::stopToken)
    REQUIRE(stopped, "ended by a stop token that it did not say");
  if (reason == FinishReason::length && !sample.forced)
    REQUIRE(sample.tokens.size() >= request.maxNewTokens ||
                request.prompt.size() + said > limits.maxContext,
            "ended by length after %zu tokens", sample.tokens.size());
  if (reason == FinishReason::cancelled)
    REQUIRE(running.cancelled, "nobody cancelled it");
}

} // namespace

int main(int argc, char **argv) {
  const uint64_t wanted = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20000;
  const uint32_t seed =
      argc > 2 ? uint32_t(std::strtoul(argv[2], nullptr, 10)) : std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  auto pick = [&](uint32_t low, uint32_t high) { return low + random() % (high - low + 1); };
  uint64_t samples = 0, pools = 0, preemptions = 0, reused = 0, ends[8] = {}, early = 0;
  while (samples < wanted) {
    BackendLimits limits;
    limits.vocabulary = 50;
    limits.maxSequences = pick(1, 9);
    limits.maxTokensPerStep = pick(limits.maxSequences, 40);
    limits.maxLogitRows = pick(1, 9);
    limits.pageSize = pick(1, 9);
    limits.maxContext = pick(20, 90);
    limits.window = pick(0, 2) ? 0 : pick(1, limits.maxContext);
    const uint32_t whole = limits.mostPages(limits.maxContext);
    limits.kvPages = pick(0, 4) == 0 ? 0 : whole + pick(0, whole);
    limits.asynchronous = pick(0, 2) > 0;
    ToyBackend backend(limits);
    EngineOptions options;
    options.prefixCacheSlots = pick(0, 3);
    options.prefixBlock = pick(1, 12);
    options.shortestPrefix = pick(1, 12);
    options.prefillChunk = pick(0, 1) ? pick(1, 10) : 0;
    options.maxRunning = pick(0, 1) ? pick(1, 9) : 0;
    options.probePlaces = pick(0, 2);
    {
      Engine engine(backend, options);
      std::map<uint64_t, Running> running;
      std::vector<int32_t> shared(pick(0, limits.maxContext / 2));
      for (int32_t &token : shared)
        token = int32_t(pick(0, limits.vocabulary - 1));
      const uint64_t arrivals = pick(1, 400);
      uint64_t arrived = 0;
      while (arrived < arrivals || !engine.idle()) {
        if (arrived < arrivals && pick(0, 3) == 0) {
          ++arrived;
          Running added;
          Request &request = added.request;
          if (pick(0, 1))
            request.prompt = shared;
          for (uint32_t i = pick(1, limits.maxContext / 3); i > 0; --i)
            request.prompt.push_back(int32_t(pick(0, limits.vocabulary - 1)));
          request.samples = pick(0, 2) ? 1 : pick(1, 12);
          request.firstSample = pick(0, 3);
          request.sampling.seed = random();
          request.maxNewTokens = pick(1, 30);
          request.wantLogprobs = pick(0, 7) == 0;
          if (pick(0, 1))
            request.stopTokens = {int32_t(pick(0, limits.vocabulary - 1))};
          if (pick(0, 3) == 0) {
            request.closeTokens.assign(pick(1, 4), int32_t(pick(0, limits.vocabulary - 1)));
            request.closeMaxTokens = pick(1, 6);
            if (pick(0, 1))
              request.maxThinkTokens = pick(1, 25);
          }
          if (pick(0, 15) == 0) {
            request.timeBudget = 1e-6 * pick(1, 5000);
            request.atDeadline = pick(0, 1) ? DeadlineAction::close : DeadlineAction::drop;
          }
          if (pick(0, 3) == 0) {
            request.probeEvery = pick(0, 12);
            request.probeOnEnd = request.probeEvery == 0 || pick(0, 1);
            request.probeTokens.assign(pick(1, 4), int32_t(pick(0, limits.vocabulary - 1)));
            request.probeMaxTokens = pick(1, 6);
          }
          request.scorePrompt = pick(0, 7) == 0;
          uint64_t id = 0;
          Request copy = request;
          const Status status = engine.submit(std::move(copy), &id);
          const bool fits = request.prompt.size() <= limits.maxContext;
          REQUIRE(status.ok() == fits, "%s", status.message().c_str());
          if (fits) {
            added.samples.resize(request.samples);
            added.open = request.samples;
            running.emplace(id, std::move(added));
          }
        }
        if (!running.empty() && pick(0, 40) == 0) {
          auto victim = std::next(running.begin(), pick(0, uint32_t(running.size() - 1)));
          victim->second.cancelled = true;
          if (pick(0, 1))
            engine.cancel(victim->first);
          else
            engine.cancelSample(victim->first, pick(0, victim->second.request.samples));
        }
        const Status status = engine.step();
        REQUIRE(status.ok(), "%s", status.message().c_str());
        for (Event &event : engine.takeEvents()) {
          auto found = running.find(event.request);
          REQUIRE(found != running.end(), "an event of request %llu, which has ended",
                  (unsigned long long)event.request);
          Sample &sample = found->second.samples[event.sample];
          REQUIRE(!sample.ended, "an event after the end");
          if (event.probeAfter)
            continue;
          if (event.promptScores)
            REQUIRE(event.promptScores->size() + 1 == found->second.request.prompt.size(),
                    "%zu scores of a prompt", event.promptScores->size());
          for (const SampledToken &token : event.tokens)
            sample.tokens.push_back(token.token);
          sample.forced |= event.forced;
          if (event.reason == FinishReason::running)
            continue;
          REQUIRE(event.reason != FinishReason::failed, "%s", event.error.c_str());
          sample.ended = true;
          check(found->second, event.sample, event.reason, limits);
          ++ends[int(event.reason)];
          ++samples;
          if (--found->second.open == 0)
            running.erase(found);
        }
      }
      REQUIRE(running.empty(), "%zu requests without an end", running.size());
      preemptions += engine.stats().preemptions;
      reused += engine.stats().reusedTokens;
    }
    REQUIRE(backend.liveSequences() == 0 && backend.usedPages() == 0, "sequences are left behind");
    ++pools;
    if (early == 0 && samples >= wanted / 5)
      early = allocatedBytes();
  }
  const uint64_t late = allocatedBytes();
  std::printf("%llu samples in %llu pools: %llu by a stop token, %llu by length, %llu cancelled, "
              "%llu dropped; %llu preemptions, %llu tokens reused; %.1f MB, %.1f MB at a fifth\n",
              (unsigned long long)samples, (unsigned long long)pools,
              (unsigned long long)ends[int(FinishReason::stopToken)],
              (unsigned long long)ends[int(FinishReason::length)],
              (unsigned long long)ends[int(FinishReason::cancelled)],
              (unsigned long long)ends[int(FinishReason::dropped)], (unsigned long long)preemptions,
              (unsigned long long)reused, double(late) / 1e6, double(early) / 1e6);
  REQUIRE(late < early + (1 << 20), "memory grows");
  return 0;
}
