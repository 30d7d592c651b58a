#include "text_run.h"
#include "engine/engine.h"
#include "interrupt.h"
#include "model/sizing.h"
#include "progress.h"
#include "text/model_text.h"
#include "token_ids.h"
#include "tool.h"
#include "trace.h"
#include "vote/vote.h"
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

using namespace m1rt;

namespace m1tool {

namespace {

struct SampleResult {
  std::vector<SampledToken> tokens;
  std::string text, error;
  bool forced = false;
  size_t closedAt = 0;   // when forced: offset in `text` of what came with the closing text
  bool answered = false; // the box that the closing text opened has closed: the rest is not wanted
  FinishReason reason = FinishReason::running;
};

/// A model with its text side, and an engine on a session sized for the work.
struct Running {
  std::unique_ptr<ModelText> text; // null: the artifact has no tokenizer
  std::unique_ptr<Session> session;
  std::unique_ptr<Engine> engine; // destroyed first
};

Status start(Model &model, const Arguments &arguments, std::unique_ptr<ModelText> text,
             uint32_t sequences, uint32_t context, uint32_t cacheSlots, Running *out) {
  SizeWish wish;
  wish.sequences = sequences;
  wish.context = context;
  wish.prefillTokens = arguments.prefillChunk;
  wish.cacheSequences = cacheSlots;
  SessionOptions size;
  M1_TRY(sizeSession(model, wish, &size));
  M1_TRY(Session::create(model, size, &out->session));
  EngineOptions options;
  options.prefixCacheSlots = cacheSlots;
  out->text = std::move(text);
  Engine::DecoderFactory decoders;
  if (const ModelText *side = out->text.get())
    decoders = [side] { return side->createDecoder(/*skipSpecial=*/true); };
  out->engine = std::make_unique<Engine>(*out->session, options, std::move(decoders));
  return {};
}

Status fillRequest(const Model &model, const ModelText *text, const Arguments &arguments,
                   Request *out) {
  out->samples = arguments.samples;
  out->maxNewTokens = arguments.maxNewTokens;
  out->sampling.temperature = float(arguments.temperature);
  out->sampling.topK = arguments.topK;
  out->sampling.topP = float(arguments.topP);
  out->sampling.minP = float(arguments.minP);
  out->sampling.repetitionPenalty = float(arguments.repetitionPenalty);
  out->sampling.seed = arguments.seed;
  out->firstSample = arguments.firstSample;
  out->sampling.topLogprobs = arguments.logprobs;
  out->wantLogprobs = arguments.wantLogprobs;
  out->stopStrings = arguments.stop;
  for (const std::string &stop : arguments.stop)
    M1_TRY(text->checkStopText(stop));
  out->stopTokens = arguments.stopTokens;
  for (int32_t token : arguments.stopTokens)
    if (token < 0 || uint32_t(token) >= model.module().vocab_size())
      return error(StatusCode::invalidArgument,
                   "--stop-token %d cannot match: the vocabulary has ids 0 to %u", token,
                   model.module().vocab_size() - 1);
  if (!arguments.ignoreEos && model.module().eos_ids())
    out->stopTokens.insert(out->stopTokens.end(), model.module().eos_ids()->begin(),
                           model.module().eos_ids()->end());
  out->timeBudget = arguments.timeBudget;
  out->maxThinkTokens = arguments.maxThinkTokens;
  out->atDeadline = arguments.dropAtDeadline ? DeadlineAction::drop : DeadlineAction::close;
  const bool closes =
      arguments.maxThinkTokens || (arguments.timeBudget > 0 && !arguments.dropAtDeadline);
  if (closes) {
    if (!text)
      return error(StatusCode::unsupported, "--max-think-tokens and --time-budget close answers "
                                            "with a text: the artifact has no tokenizer");
    if (Status status = text->encode(arguments.closeText, false, &out->closeTokens); !status.ok())
      return std::move(status).prefixed("--close-text");
    out->closeMaxTokens = arguments.closeMaxTokens;
  }
  return {};
}

void printStats(const Model &model, const Running &running, double loadSeconds, double seconds) {
  const EngineStats &stats = running.engine->stats();
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  auto per = [](double count, double time) { return time > 0 ? count / time : 0; };
  std::FILE *out = stderr;
  std::fprintf(out, "load              %.3f s, weights %s\n", loadSeconds,
               bytesText(model.weightBytes()).c_str());
  std::fprintf(out, "generated         %llu tokens in %.3f s, %.1f tokens/s\n",
               (unsigned long long)stats.generatedTokens, seconds,
               per(double(stats.generatedTokens), seconds));
  std::fprintf(out, "prefill           %llu tokens in %.3f s, %.1f tokens/s\n",
               (unsigned long long)(stats.computedTokens - stats.decodeTokens),
               stats.modelSeconds - stats.decodeSeconds,
               per(double(stats.computedTokens - stats.decodeTokens),
                   stats.modelSeconds - stats.decodeSeconds));
  std::fprintf(out, "decode            %llu tokens in %llu steps in %.3f s, %.1f tokens/s\n",
               (unsigned long long)stats.decodeTokens, (unsigned long long)stats.decodeSteps,
               stats.decodeSeconds, per(double(stats.decodeTokens), stats.decodeSeconds));
  std::fprintf(out, "steps             %llu, %.3f s in the model (%.1f %% of the time)\n",
               (unsigned long long)stats.steps, stats.modelSeconds,
               100 * per(stats.modelSeconds, seconds));
  std::fprintf(out,
               "tokens computed   %llu (prompt %llu, shared by samples %llu, reused prefixes %llu, "
               "recomputed %llu)\n",
               (unsigned long long)stats.computedTokens, (unsigned long long)stats.promptTokens,
               (unsigned long long)stats.sharedTokens, (unsigned long long)stats.reusedTokens,
               (unsigned long long)stats.recomputedTokens);
  if (running.engine->prefixReuse())
    std::fprintf(out, "prefix reuse      %llu hits, %llu misses\n",
                 (unsigned long long)stats.prefixHits, (unsigned long long)stats.prefixMisses);
  else
    std::fprintf(out, "prefix reuse      off: no sequences are set aside for it\n");
  std::fprintf(out, "preemptions       %llu\n", (unsigned long long)stats.preemptions);
  std::fprintf(out, "largest memory    %s\n", bytesText(uint64_t(usage.ru_maxrss) * 1024).c_str());
}

void printIds(const std::vector<SampledToken> &tokens, bool *first) {
  for (const SampledToken &token : tokens) {
    std::printf(*first ? "%d" : " %d", token.token);
    *first = false;
  }
}

nlohmann::json jsonOf(const SampleResult &sample, const Arguments &arguments, bool hasText) {
  nlohmann::json out;
  if (hasText)
    out["text"] = sample.text;
  nlohmann::json ids = nlohmann::json::array(), logprobs = nlohmann::json::array();
  for (const SampledToken &token : sample.tokens) {
    ids.push_back(token.token);
    nlohmann::json entry = {{"token", token.token}, {"logprob", token.logprob}};
    for (const TokenLogprob &other : token.top)
      entry["top"].push_back({{"token", other.token}, {"logprob", other.logprob}});
    logprobs.push_back(std::move(entry));
  }
  out["tokens"] = std::move(ids);
  if (arguments.wantLogprobs)
    out["logprobs"] = std::move(logprobs);
  out["finish_reason"] = finishReasonName(sample.reason);
  out["forced"] = sample.forced;
  if (!sample.error.empty())
    out["error"] = sample.error;
  return out;
}

struct TallyEntry {
  std::string answer; // of the first sample that gave it
  uint32_t votes = 0;
  int first = 0; // index of that sample
};

/// The answers of the samples with their votes, most votes first, ties to the earlier answer.
/// Samples without a \\boxed{} have none.
std::vector<TallyEntry> tallyVotes(const std::vector<SampleResult> &results) {
  std::vector<std::optional<Answer>> answers;
  for (const SampleResult &result : results) {
    std::optional<std::string> boxed;
    if (result.reason != FinishReason::failed)
      boxed = extractBoxed(result.text);
    answers.push_back(boxed ? std::optional<Answer>(Answer(*boxed)) : std::nullopt);
  }
  const VoteResult vote = majorityVote(answers);
  std::map<int, uint32_t> votes; // by the group, which is the index of its first sample
  for (int group : vote.group)
    if (group >= 0)
      ++votes[group];
  std::vector<TallyEntry> tally;
  for (auto [first, count] : votes)
    tally.push_back({answers[first]->text(), count, first});
  std::sort(tally.begin(), tally.end(), [](const TallyEntry &a, const TallyEntry &b) {
    return a.votes != b.votes ? a.votes > b.votes : a.first < b.first;
  });
  return tally;
}

/// Why a streamed answer ends where it does, when it did not end by itself: for a person at a
/// terminal.
void noteEnd(FinishReason reason, bool forced) {
  const char *note = forced                           ? "closed by force"
                     : reason == FinishReason::length ? "cut off by --max-new-tokens or the context"
                     : reason == FinishReason::dropped   ? "dropped at the end of --time-budget"
                     : reason == FinishReason::cancelled ? "stopped"
                                                         : nullptr;
  if (note && isatty(STDERR_FILENO))
    std::fprintf(stderr, "[%s]\n", note);
}

Status outputError() {
  return error(StatusCode::ioError, "cannot write the output: %s", std::strerror(errno));
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Text for a person: what cannot be UTF-8 after a stop string cut is replaced by the JSON writer.
std::string dumped(const nlohmann::json &value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// How the samples ended.
struct Counts {
  uint32_t finished = 0; // by themselves
  uint32_t length = 0;   // cut by --max-new-tokens or the context
  uint32_t forced = 0;   // closed by force
  uint32_t dropped = 0;  // by the deadline or Ctrl-C
  uint32_t failed = 0;
};

Counts countEnds(const std::vector<SampleResult> &results) {
  Counts counts;
  for (const SampleResult &result : results) {
    switch (result.reason) {
    case FinishReason::failed:
      ++counts.failed;
      break;
    case FinishReason::dropped:
    case FinishReason::cancelled:
      ++(result.forced ? counts.forced : counts.dropped);
      break;
    case FinishReason::stopToken:
    case FinishReason::stopString:
      ++(result.forced ? counts.forced : counts.finished);
      break;
    default:
      ++(result.forced ? counts.forced : counts.length);
    }
  }
  return counts;
}

/// What a run of samples has given.
struct Outcome {
  std::vector<SampleResult> samples;
  Counts counts;
  std::vector<TallyEntry> tally; // with --vote
  size_t promptTokens = 0;
  uint64_t tokens = 0;
  double seconds = 0;
  bool showText = false; // otherwise token ids: the prompt was given as such
};

void printJson(const Outcome &outcome, const Arguments &arguments) {
  nlohmann::json out;
  for (const SampleResult &sample : outcome.samples)
    out["samples"].push_back(jsonOf(sample, arguments, outcome.showText));
  const Counts &counts = outcome.counts;
  out["prompt_tokens"] = outcome.promptTokens;
  out["counts"] = {{"finished", counts.finished},
                   {"length", counts.length},
                   {"forced", counts.forced},
                   {"dropped", counts.dropped},
                   {"failed", counts.failed}};
  if (arguments.vote) {
    nlohmann::json entries = nlohmann::json::array();
    for (const TallyEntry &entry : outcome.tally)
      entries.push_back({{"answer", entry.answer}, {"votes", entry.votes}});
    out["vote"] = {{"answer", outcome.tally.empty() ? nlohmann::json()
                                                    : nlohmann::json(outcome.tally.front().answer)},
                   {"tally", entries}};
  }
  out["seconds"] = outcome.seconds;
  out["tokens_per_second"] = outcome.seconds > 0 ? double(outcome.tokens) / outcome.seconds : 0;
  std::printf("%s\n", dumped(out).c_str());
}

void printSamples(const Outcome &outcome) {
  for (size_t i = 0; i < outcome.samples.size(); ++i) {
    const SampleResult &sample = outcome.samples[i];
    std::printf("--- sample %zu (%s%s)\n", i, finishReasonName(sample.reason),
                sample.forced ? ", forced" : "");
    if (outcome.showText) {
      std::printf("%s\n", sample.text.c_str());
    } else {
      bool first = true;
      printIds(sample.tokens, &first);
      std::printf("\n");
    }
  }
}

void printCounts(const Outcome &outcome) {
  const Counts &counts = outcome.counts;
  std::printf("%u finished, %u cut by length, %u forced, %u dropped, %u failed; %llu tokens in "
              "%.2f s, %.1f "
              "tokens/s\n",
              counts.finished, counts.length, counts.forced, counts.dropped, counts.failed,
              (unsigned long long)outcome.tokens, outcome.seconds,
              outcome.seconds > 0 ? double(outcome.tokens) / outcome.seconds : 0.0);
}

void printTally(const Outcome &outcome) {
  size_t silent = outcome.samples.size();
  for (const TallyEntry &entry : outcome.tally) {
    std::printf("%4u  %s\n", entry.votes, entry.answer.c_str());
    silent -= entry.votes;
  }
  if (silent)
    std::printf("%4zu  (without an answer)\n", silent);
  std::printf("answer: %s\n",
              outcome.tally.empty() ? "none" : outcome.tally.front().answer.c_str());
}

} // namespace

Status runPrompt(Model &model, const Arguments &arguments, double loadSeconds) {
  std::unique_ptr<ModelText> text;
  Status textStatus = ModelText::load(model.artifact(), &text);
  const bool needsText = arguments.inputIds.empty() || arguments.vote || !arguments.stop.empty();
  if (!textStatus.ok() && (needsText || textStatus.code() != StatusCode::unsupported))
    return textStatus;

  Request request;
  if (!arguments.inputIds.empty()) {
    M1_TRY(readTokenIds(arguments.inputIds, model.module().vocab_size(), &request.prompt));
  } else {
    std::string prompt = arguments.prompt;
    if (!arguments.promptFile.empty())
      M1_TRY(readFile(arguments.promptFile, &prompt));
    if (arguments.raw) {
      M1_TRY(text->encode(prompt, true, &request.prompt));
    } else {
      std::vector<ChatMessage> messages;
      if (!arguments.system.empty())
        messages.push_back({"system", arguments.system});
      messages.push_back({"user", prompt});
      M1_TRY(text->encodeChat(messages, &request.prompt));
    }
  }
  M1_TRY(fillRequest(model, text.get(), arguments, &request));

  const uint64_t closing =
      request.closeTokens.size() + (request.closeTokens.empty() ? 0 : request.closeMaxTokens);
  // The last new token is never fed.
  const uint64_t longest = uint64_t(model.module().max_positions()) + 1;
  if (!arguments.maxNewTokensGiven && request.prompt.size() < longest)
    request.maxNewTokens =
        uint32_t(std::min<uint64_t>(request.maxNewTokens, longest - request.prompt.size()));
  const uint64_t length = request.prompt.size() + uint64_t(request.maxNewTokens) - 1;
  if (length >= longest)
    return error(StatusCode::invalidArgument,
                 "a prompt of %zu tokens and %u new ones: the model was compiled for contexts of "
                 "at most %u tokens",
                 request.prompt.size(), request.maxNewTokens, model.module().max_positions());
  const uint32_t context =
      uint32_t(std::min<uint64_t>(length + closing + 1, model.module().max_positions()));
  // The prompt that several samples fork from is a sequence, too.
  const uint32_t slots = arguments.slots
                             ? arguments.slots
                             : std::min(arguments.samples, fastestBatch(model, arguments.threads)) +
                                   (arguments.samples > 1);
  // One prompt: there is no other whose prefix could be reused.
  Running running;
  M1_TRY(start(model, arguments, std::move(text), slots, context, 0, &running));
  Engine &engine = *running.engine;

  Trace trace;
  if (!arguments.trace.empty())
    M1_TRY(trace.open(arguments.trace, model, *running.session));

  Outcome outcome;
  outcome.promptTokens = request.prompt.size();
  const double began = now();
  uint64_t id = 0;
  M1_TRY(engine.submit(std::move(request), &id));
  outcome.samples.resize(arguments.samples);
  outcome.showText = running.text && arguments.inputIds.empty();
  uint32_t ended = 0;
  const bool stream = arguments.samples == 1 && !arguments.json;
  bool firstId = true;
  Progress progress(!stream);
  while (ended < arguments.samples) {
    if (takeInterrupt())
      engine.cancel(id);
    trace.beginStep();
    M1_TRY(engine.step());
    trace.endStep(engine);
    for (Event &event : engine.takeEvents()) {
      SampleResult &result = outcome.samples[event.sample];
      if (stream) {
        if (outcome.showText)
          std::fwrite(event.text.data(), 1, event.text.size(), stdout);
        else
          printIds(event.tokens, &firstId);
        if (std::fflush(stdout) != 0)
          return outputError();
      }
      if (event.forced && !result.forced)
        result.closedAt = result.text.size();
      result.text += event.text;
      std::move(event.tokens.begin(), event.tokens.end(), std::back_inserter(result.tokens));
      result.forced |= event.forced;
      if (event.reason != FinishReason::running) {
        result.reason = result.answered ? FinishReason::stopString : event.reason;
        result.error = event.error;
        ++ended;
      } else if (result.forced && !result.answered &&
                 extractBoxed(result.text.substr(result.closedAt))) {
        result.answered = true;
        engine.cancelSample(id, event.sample);
      }
    }
    progress.show(ended, arguments.samples, engine.stats().generatedTokens, arguments.timeBudget);
  }
  progress.clear();
  outcome.seconds = now() - began;
  M1_TRY(trace.close());
  outcome.tokens = engine.stats().generatedTokens;
  outcome.counts = countEnds(outcome.samples);
  if (arguments.vote)
    outcome.tally = tallyVotes(outcome.samples);

  if (arguments.json) {
    printJson(outcome, arguments);
  } else {
    if (stream) {
      std::printf("\n");
      std::fflush(stdout);
      noteEnd(outcome.samples[0].reason, outcome.samples[0].forced);
    } else if (!arguments.vote) {
      printSamples(outcome);
    }
    if (!stream)
      printCounts(outcome);
    if (arguments.vote)
      printTally(outcome);
  }
  if (arguments.stats)
    printStats(model, running, loadSeconds, outcome.seconds);
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    return outputError();
  if (outcome.counts.failed == outcome.samples.size())
    return error(StatusCode::deviceError, "%s: %s",
                 outcome.samples.size() == 1 ? "the sample failed" : "every sample failed",
                 outcome.samples[0].error.c_str());
  return {};
}

Status runChat(Model &model, const Arguments &arguments, double loadSeconds) {
  std::unique_ptr<ModelText> text;
  M1_TRY(ModelText::load(model.artifact(), &text));
  Running running;
  M1_TRY(start(model, arguments, std::move(text), 1, 0, std::max(arguments.prefixCache, 1u),
               &running));
  const bool terminal = isatty(STDIN_FILENO);
  if (terminal)
    std::fprintf(stderr, "Ctrl-C stops an answer; Ctrl-D or /exit ends. /new starts over.\n");

  std::vector<ChatMessage> history;
  auto reset = [&] {
    history.clear();
    if (!arguments.system.empty())
      history.push_back({"system", arguments.system});
  };
  reset();
  double seconds = 0; // of answers
  while (true) {
    if (terminal) {
      std::printf("> ");
      std::fflush(stdout);
    }
    std::string line;
    if (!std::getline(std::cin, line)) {
      if (takeInterrupt()) { // at the prompt: forget the line
        std::cin.clear();
        clearerr(stdin);
        std::printf("\n");
        continue;
      }
      if (terminal)
        std::printf("\n");
      break;
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos)
      continue;
    if (line == "/exit" || line == "/quit")
      break;
    if (line == "/new") {
      reset();
      continue;
    }
    history.push_back({"user", line});
    Request request;
    M1_TRY(fillRequest(model, running.text.get(), arguments, &request));
    request.samples = 1;
    Status status = running.text->encodeChat(history, &request.prompt);
    uint64_t id = 0;
    if (status.ok())
      status = running.engine->submit(std::move(request), &id);
    if (!status.ok()) { // a bad turn does not end the conversation
      std::fprintf(stderr, "m1-run: error: %s%s\n", status.message().c_str(),
                   history.size() > 2 ? "; /new starts over" : "");
      history.pop_back();
      continue;
    }
    std::string answer;
    bool forced = false;
    FinishReason reason = FinishReason::running;
    const double began = now();
    while (!running.engine->idle()) {
      if (takeInterrupt())
        running.engine->cancel(id);
      M1_TRY(running.engine->step());
      for (const Event &event : running.engine->takeEvents()) {
        std::fwrite(event.text.data(), 1, event.text.size(), stdout);
        if (std::fflush(stdout) != 0)
          return outputError();
        answer += event.text;
        forced |= event.forced;
        reason = event.reason;
        if (event.reason == FinishReason::failed)
          std::fprintf(stderr, "m1-run: error: %s", event.error.c_str());
      }
    }
    seconds += now() - began;
    std::printf("\n");
    std::fflush(stdout);
    noteEnd(reason, forced);
    history.push_back({"assistant", answer});
  }
  if (arguments.stats)
    printStats(model, running, loadSeconds, seconds);
  return std::fflush(stdout) != 0 || std::ferror(stdout) ? outputError() : Status();
}

} // namespace m1tool
