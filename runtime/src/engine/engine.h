// Continuous batching: requests join and leave between steps, n samples of one prompt share its
// prefill, and prompts share prefixes.
//
// Every sample is the same small machine: the tokens it knows, and how many of them its sequence
// has computed. A step feeds each running sample what it has not computed yet: one token when it
// decodes, a chunk when it prefills or recovers from preemption. Prompts of requests with several
// samples are computed once, up to the token before the last, in a parent sequence that samples
// fork from; each then feeds the last prompt token itself, so that a sample that starts late needs
// nothing but the parent.
//
// Order is first come, first served: (request, sample). Decoding samples are served in every step;
// prompt chunks fill what is left of maxTokensPerStep, up to prefillBesideDecoding. A sample begins
// when KV pages are expected to last until those that run with it have ended (page_forecast.h).
// When they run out all the same, cached prefixes go first, then the youngest running sample, which
// later recomputes its tokens.
//
// On an asynchronous backend the engine runs one step ahead: it plans and starts a step before it
// knows the tokens of the one before, which the device feeds by itself, and deals with those tokens
// while the device works. What is known beforehand (lengths, thoughts about to be closed) is
// planned for; a sample that ends unforeseen, by a stop token or string, has then run one step too
// many, whose token nobody takes.
//
// A probe is a sample's copy that lives for some steps (probes.cpp). Samples come first everywhere:
// probes take what steps and pools leave, and are the first to go.
//
// A sample's tokens depend on its prompt, parameters and seed alone, up to the rounding differences
// of batch sizes: the random number of token i of sample j comes from (sampleSeed(seed, j), i).
#ifndef M1RT_ENGINE_ENGINE_H
#define M1RT_ENGINE_ENGINE_H

#include "engine/backend.h"
#include "engine/budget.h"
#include "engine/page_forecast.h"
#include "engine/prefix_cache.h"
#include "engine/stop_matcher.h"
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace m1rt {

/// Turns the tokens of one sample into text, piece by piece; never gives half a UTF-8 character.
class TokenDecoder {
public:
  virtual ~TokenDecoder() = default;
  /// Appends what this token completes.
  virtual void append(int32_t token, std::string *out) = 0;
  /// Appends what is still held back, at the end of the sample.
  virtual void finish(std::string *out) = 0;
};

/// Says, token by token, which ids a sample may choose next: a grammar. One of its own for each
/// sample.
class TokenFilter {
public:
  virtual ~TokenFilter() = default;
  /// The sample's next token: chosen, or fed to close it.
  virtual void accept(int32_t token) = 0;
  /// A bit for each id of the vocabulary, as SamplingRow::allowed; null: every id. Valid until
  /// accept() is called.
  virtual const uint32_t *allowed() = 0;
};

enum class DeadlineAction {
  close, // feed the closing tokens shortly before, and let the sample finish its answer until then
  drop,  // end the sample where it is
};

struct Request {
  std::vector<int32_t> prompt; // at least one token
  uint32_t samples = 1;
  // Samples of it that run at once while samples of other requests wait; 0: any number. A vote that
  // may stop early thus draws a few ballots at a time without leaving places empty. Places that are
  // left go to such requests in turn.
  uint32_t samplesAtOnce = 0;
  // Sample j is number firstSample + j of its seed: any sample can be drawn again alone.
  SamplingParameters sampling;
  uint32_t firstSample = 0;
  std::vector<TokenBias> bias;
  std::function<std::unique_ptr<TokenFilter>()> filters; // may be empty
  // Of each sample; a forced close comes on top. 0 only where the prompt alone is scored.
  uint32_t maxNewTokens = 256;
  std::vector<int32_t> stopTokens;      // end the sample; the token itself is not reported as text
  std::vector<std::string> stopStrings; // end the sample before the string; needs a decoder
  bool wantLogprobs = false;
  // The log probability of every token of the prompt after the first, given those before it, as
  // Event::promptScores. Such a prompt is computed anew and not taken from the prefix cache.
  bool scorePrompt = false;

  // Forced close: after maxThinkTokens tokens, or when the time budget ends, closeTokens are fed as
  // if the model had said them, and the sample may then add closeMaxTokens more.
  std::vector<int32_t> closeTokens;
  uint32_t closeMaxTokens = 32;
  uint32_t maxThinkTokens = 0; // 0: no limit
  // seconds from submission, after which no further step is begun; 0: none
  double timeBudget = 0;
  DeadlineAction atDeadline = DeadlineAction::drop;

  // Probes: whenever a sample has generated probeEvery tokens more, a copy of it is made to say
  // probeTokens and then, greedily and without penalties, up to probeMaxTokens of its own: what it
  // would answer now. The sample itself goes on as if nothing had happened. 0: none.
  uint32_t probeEvery = 0;
  // And whenever another of the samples has ended, by itself or closed by force; but not before the
  // sample has generated probeLength() tokens since its last probe, or its beginning, so that its
  // probes never cost more tokens than itself. With probeEvery, multiples of that within as many
  // tokens (or probeEvery, if that is less) behind such a probe are left out.
  bool probeOnEnd = false;
  std::vector<int32_t> probeTokens; // at least one where there are probes
  uint32_t probeMaxTokens = 16;
  bool probes() const { return probeEvery > 0 || probeOnEnd; }
  /// Tokens of a probe at most.
  size_t probeLength() const { return probeTokens.size() + probeMaxTokens; }
};

enum class FinishReason : uint8_t {
  running,
  stopToken,
  stopString,
  length,
  cancelled,
  dropped,
  failed
};
const char *finishReasonName(FinishReason reason);

/// News of one sample. A sample that ends gives one event with a reason other than `running`, and
/// none after it.
struct Event {
  uint64_t request = 0;
  uint32_t sample = 0;
  std::vector<SampledToken> tokens; // new tokens, closing tokens included
  std::string text;                 // what they add to the text; empty without a decoder
  bool forced = false;              // the sample has been closed by force, now or before
  uint32_t reusedTokens = 0;        // of the prompt: the prefix cache had computed them
  FinishReason reason = FinishReason::running;
  std::string error; // when failed
  // Of the prompt's tokens after the first, in order: with the first news of every sample of a
  // request that asked for them, else null.
  std::shared_ptr<const std::vector<SampledToken>> promptScores;
  // Not 0: the news is of a probe that has ended, taken after so many tokens of the sample. Tokens
  // and text are the probe's, probeTokens included; forced and reason say nothing.
  uint32_t probeAfter = 0;
  // The sample has begun again (forgetWeights): what was told of it before is void, and this event
  // holds its first tokens since.
  bool restarted = false;

  /// Becomes a new one in the memory of its tokens and text.
  void renew() {
    tokens.clear();
    text.clear();
    error.clear();
    promptScores.reset();
    request = 0;
    sample = reusedTokens = probeAfter = 0;
    forced = restarted = false;
    reason = FinishReason::running;
  }
};

/// What becomes of samples that have begun when the model gets other weights.
enum class RunningSamples : uint8_t {
  finish,  // end before
  restart, // begin again from their prompts
  keep,    // go on from the states that they have
};

struct EngineOptions {
  // Samples and parents at once; 0: all sequences of the backend but those of the prefix cache.
  uint32_t maxRunning = 0;
  uint32_t prefixCacheSlots = 4; // sequences kept for prefix reuse; 0 turns it off
  // A snapshot for prompts that repeat is taken at a multiple of this many tokens, one for prompts
  // that begin alike where they part. Each costs its prompt one step more and a copy of the state.
  uint32_t prefixBlock = 64;
  uint32_t shortestPrefix = 16; // fewer tokens are computed again sooner than reused
  // Of maxRunning, places for probes alone. Probes take others only while no sample waits for one.
  uint32_t probePlaces = 0;
  // Requests with a time budget run as many samples at once as their vote gains most by (budget.h);
  // otherwise as many as there are places.
  bool planBudgets = true;
  // Tells the time, by which steps are measured and deadlines kept.
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  uint32_t prefillChunk = 0; // prompt tokens of one sequence in one step; 0: as many as fit
  // Prompt tokens of a step in which samples decode, which wait for them; 0: as many as fit.
  uint32_t prefillBesideDecoding = 0;
  // Prompt tokens that such a step scores at most: their logits are read on the host.
  uint32_t scoresBesideDecoding = 16;
};

struct EngineStats {
  uint64_t steps = 0;
  uint64_t promptTokens = 0;   // of submitted requests, once a request
  uint64_t computedTokens = 0; // fed to the model
  uint64_t reusedTokens = 0;   // prompt tokens taken from the prefix cache
  uint64_t sharedTokens = 0;   // prompt tokens that samples took from their parent
  uint64_t recomputedTokens = 0;
  uint64_t generatedTokens = 0;
  uint64_t preemptions = 0;
  uint64_t prefixHits = 0, prefixMisses = 0;
  uint64_t probes = 0, probesDropped = 0; // begun; of these, ended without an answer
  uint64_t probeTokens = 0;               // of computedTokens, those fed to probes
  double probeSeconds = 0; // their part of modelSeconds, by their share of each step's tokens
  // A step's time goes from its start, or the arrival of the tokens before it when it was started
  // ahead, to the arrival of its own tokens.
  uint64_t decodeSteps = 0, decodeTokens = 0; // of steps in which every sequence took one token
  double decodeSeconds = 0;                   // of these steps
  double modelSeconds = 0;                    // of all steps
  double elapsedSeconds = 0;                  // in Engine::step
};

class Engine {
public:
  using DecoderFactory = std::function<std::unique_ptr<TokenDecoder>()>;

  /// The backend outlives the engine. Without a decoder factory events carry no text and stop
  /// strings are an error.
  Engine(SequenceBackend &backend, const EngineOptions &options, DecoderFactory decoders = {});
  ~Engine();
  Engine(const Engine &) = delete;
  Engine &operator=(const Engine &) = delete;

  /// Whether submit() would take the request; from any thread.
  Status check(const Request &request) const;
  /// Queues a request. An impossible one (empty or too long prompt, token out of range, bad
  /// parameter) is refused with the field's name.
  Status submit(Request request, uint64_t *outRequest);
  /// Ends the samples of the request that still run, at once. Unknown or ended requests are no
  /// error.
  void cancel(uint64_t request);
  /// Ends one sample, whether it runs or waits.
  void cancelSample(uint64_t request, uint32_t sample);

  /// Starts a step if there is work, and takes in the tokens of that step or, when running ahead,
  /// of the one before. An error means that the backend is lost; errors of one sample are events.
  Status step();
  bool idle() const { return live == 0; }

  /// Before the backend's model gets other weights: takes in what is in flight and, to finish them,
  /// steps until the samples that have begun have ended, while no others begin. From then on no
  /// prompt uses what has been computed so far.
  Status forgetWeights(RunningSamples running);

  /// Events since the last call, in order, in the place of those in `out`, whose memory serves for
  /// the next ones: who gives the same vector again and again has events that cost no allocation.
  void takeEvents(std::vector<Event> *out);
  std::vector<Event> takeEvents() {
    std::vector<Event> taken;
    takeEvents(&taken);
    return taken;
  }

  const EngineStats &stats() const { return counters; }
  /// Whether prompts can start from snapshots of earlier ones; false when no sequences are set
  /// aside for them.
  bool prefixReuse() const { return prefixes.enabled(); }
  uint32_t runningSamples() const;
  uint32_t waitingSamples() const;

private:
  struct RequestState;
  struct Track;
  struct PlannedEntry {
    Track *track;
    uint32_t tokens;
    uint32_t scores; // tokens of the prompt that are scored
    bool wantsLogits;
  };
  using Clock = std::chrono::steady_clock;
  /// A step that was started; its tokens have not been taken.
  struct Flight {
    struct Row {
      Track *track;
      size_t scored = 0; // not 0: no token is chosen, the prompt's token at this place is scored
    };
    std::vector<Row> rows;     // of logits
    bool awaited = false;      // no other step may start before its tokens are there
    uint32_t decodeTokens = 0; // when every sequence took one token: how many sequences
    double probeShare = 0;     // of its tokens, those of probes
    Clock::time_point begin;
  };

  Clock::time_point closingTime(const RequestState &request) const;
  Status applyDeadlines();
  void planBudgets();
  BudgetSituation situationOf(const RequestState &request, Clock::time_point now) const;
  bool closesNow(RequestState &request, Clock::time_point now);
  double closingTokens(const Request &wish) const;

  void begin(Track &track);
  void restart(Track &track);
  Status finishRunning();
  Status admit();
  Status admit(uint32_t beyond, bool *outMore);
  Status start(Track &track, bool *outStarted);
  Status startFresh(Track &track, bool *outStarted);
  bool mayStart(const Track &track) const;
  bool pagesWillLast(const Track &track, size_t computed);
  PageForecast::Sequence growthOf(const Track &track, size_t computed);
  bool onlyIdleParents() const;
  bool releaseIdleParent(const Track &track);

  Status plan();
  uint32_t withinScores(const Track &track, uint32_t count, uint32_t most, uint32_t *outScores);
  Status launch();
  Status land();
  Status snapshot(Track &track);
  bool makeRoom(const Track &keep, uint32_t pages);
  void preempt(Track &track);
  void release(Track &track);

  Status startProbes();
  void probeOthers(const Track &ended);
  bool samplesWait() const;
  void acceptProbe(Track &probe, const SampledToken &token);
  void endProbe(Track &probe);
  void dropProbe(Track &probe);
  bool dropYoungestProbe();
  void dropProbes(RequestState &request, const Track *of = nullptr);

  void score(Track &track, size_t place, SampledToken token);
  void accept(Track &track, SampledToken token);
  void append(Track &track, SampledToken token);
  void close(Track &track);
  void finish(Track &track, FinishReason reason, std::string error = {});
  void learnLength(Track &track, FinishReason reason);
  void endUnstarted(const RequestState &request, uint32_t sample, FinishReason reason,
                    const std::string &error = {});
  void dropUnstarted(RequestState &request, FinishReason reason, const std::string &error = {});
  void retireEnded();
  Event &newEvent();
  Event &eventFor(Track &track);

  SequenceBackend &backend;
  EngineOptions options;
  DecoderFactory decoders;
  BackendLimits limits;
  PrefixCache prefixes;
  std::deque<std::unique_ptr<RequestState>> requests; // in order of arrival
  uint64_t nextRequest = 1;
  uint64_t live = 0;          // samples that have not ended
  uint32_t holding = 0;       // tracks that hold a sequence, probes aside
  uint32_t probing = 0;       // probes that hold one
  uint32_t reservedPages = 0; // pages that the entries planned so far will take
  bool draining = false;      // no further sample begins
  // What the step at hand feeds, and prompts that wait until its decoding samples are planned.
  std::vector<PlannedEntry> planned;
  std::vector<Track *> prompts;
  std::deque<Flight> flights; // at most one between calls of step()
  Clock::time_point landed;   // when tokens last arrived
  // Kept from step to step for their memory.
  std::vector<BackendEntry> stepEntries;
  std::vector<SamplingRow> stepRows;
  std::vector<Flight::Row> spareRows;
  std::vector<SampledToken> chosen;
  std::vector<Event> events; // the first `told` of them; those behind are memory for others
  size_t told = 0;
  uint64_t eventEpoch = 0; // counts takeEvents()
  EngineStats counters;
  double stepSeconds = 0; // moving average, to close samples in time
  StepTimes stepTimes;
  Lengths lengths;                                 // of the samples of all requests
  std::optional<PageForecast> forecast;            // of what holds a sequence; only in admit()
  std::map<size_t, Lengths::Table> lengthsToLimit; // by a sample's limit; only in admit()
  double closingLength = 0; // tokens that closed samples added, a moving average
  uint64_t closings = 0;    // so many of them
  uint64_t answers = 0;     // and of these ended before their limits: they said what was wanted
};

} // namespace m1rt

#endif
