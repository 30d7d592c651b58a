#include "base/counted.h"
#include "input.h"
#include "interrupt.h"
#include "progress.h"
#include "running.h"
#include "text_run.h"
#include "tool.h"
#include "trace.h"

using namespace m1rt;

namespace m1tool {

namespace {

void printIds(const std::vector<SampledToken> &tokens, bool *first) {
  for (const SampledToken &token : tokens) {
    std::printf(*first ? "%d" : " %d", token.token);
    *first = false;
  }
}

/// What a run of samples has given.
struct Outcome {
  std::vector<SampleResult> samples;
  Counts counts;
  std::vector<Ballots::Entry> tally; // with --vote
  bool stoppedEarly = false;         // the vote, before its samples ended
  size_t promptTokens = 0;
  uint64_t tokens = 0;
  double seconds = 0;
  EngineStats stats;
  bool showText = false; // otherwise token ids: the prompt was given as such
};

nlohmann::json summaryOf(const Outcome &outcome, const Arguments &arguments) {
  nlohmann::json out;
  out["prompt_tokens"] = outcome.promptTokens;
  out["counts"] = jsonOf(outcome.counts);
  if (arguments.vote) {
    out["vote"] = jsonOf(outcome.tally, arguments.voting, outcome.stoppedEarly);
    out["no_ballot"] = silencesOf(outcome.samples);
    if (arguments.generation.probes())
      out["probes"] = probesOf(outcome.stats);
  }
  out["seconds"] = outcome.seconds;
  out["tokens_per_second"] = outcome.seconds > 0 ? double(outcome.tokens) / outcome.seconds : 0;
  return out;
}

void printJson(const Outcome &outcome, const Arguments &arguments) {
  nlohmann::json out = summaryOf(outcome, arguments);
  for (const SampleResult &sample : outcome.samples)
    out["samples"].push_back(jsonOf(sample, outcome.showText, arguments.generation.wantLogprobs));
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
  std::printf("%u finished, %u cut by length, %u forced, %u dropped, %u failed", counts.finished,
              counts.length, counts.forced, counts.dropped, counts.failed);
  if (counts.notNeeded)
    std::printf(", %u not needed", counts.notNeeded);
  std::printf("; %s in %.2f s, %.1f tokens/s\n", counted(outcome.tokens, "token").c_str(),
              outcome.seconds,
              outcome.seconds > 0 ? double(outcome.tokens) / outcome.seconds : 0.0);
  if (outcome.stats.probes)
    std::printf("%s (%llu dropped): %s, %.2f s\n", counted(outcome.stats.probes, "probe").c_str(),
                (unsigned long long)outcome.stats.probesDropped,
                counted(outcome.stats.probeTokens, "token").c_str(), outcome.stats.probeSeconds);
}

void printTally(const Outcome &outcome, const Arguments &arguments) {
  size_t silent = 0;
  for (const SampleResult &sample : outcome.samples)
    silent += !sample.notNeeded && !ballotOf(sample) && !provisionalOf(sample);
  for (const Ballots::Entry &entry : outcome.tally) {
    if (arguments.voting.byConfidence)
      std::printf("%7.2f  ", entry.weight);
    std::printf("%4u  %s", entry.votes, entry.answer.c_str());
    std::printf(entry.provisional ? " (%u provisional)\n" : "\n", entry.provisional);
  }
  if (silent)
    std::printf("%4zu  (without an answer)\n", silent);
  std::printf("answer: %s\n",
              outcome.tally.empty() ? "none" : outcome.tally.front().answer.c_str());
}

/// One line of --json-stream: what is new of a sample.
void streamEvent(const Event &event, const SampleResult &sample, const Outcome &outcome,
                 const Arguments &arguments) {
  if (event.probeAfter) {
    std::printf("%s\n", dumped({{"sample", event.sample},
                                {"probes", jsonOf(std::vector<ProbeResult>{sample.probes.back()})}})
                            .c_str());
    return;
  }
  nlohmann::json out = {{"sample", event.sample}, {"tokens", nlohmann::json::array()}};
  for (const SampledToken &token : event.tokens)
    out["tokens"].push_back(token.token);
  if (outcome.showText)
    out["text"] = event.text;
  if (arguments.generation.wantLogprobs)
    out["logprobs"] = jsonOf(event.tokens);
  if (sample.ended()) {
    out["finish_reason"] = finishReasonName(sample.reason);
    out["forced"] = sample.forced;
    if (!sample.error.empty())
      out["error"] = sample.error;
  }
  std::printf("%s\n", dumped(out).c_str());
}

/// The prompt of the command line, in tokens.
Status readPrompt(const Model &model, const ModelText *text, const Arguments &arguments,
                  std::vector<int32_t> *out) {
  if (!arguments.inputIds.empty())
    return readTokenIds(arguments.inputIds, model.module().vocab_size(), out);
  std::string prompt = arguments.promptText;
  if (!arguments.promptFile.empty())
    M1_TRY(readText(arguments.promptFile, &prompt));
  std::vector<ChatMessage> messages;
  if (!arguments.prompt.system.empty())
    messages.push_back({"system", arguments.prompt.system});
  messages.push_back({"user", prompt});
  return encodePrompt(*text, arguments.prompt, messages, out);
}

/// Steps until every sample has ended, streaming where that was asked for.
Status runSamples(Running &running, const Arguments &arguments, uint64_t id, Trace &trace,
                  Outcome *out) {
  Engines &engines = *running.engines;
  out->samples.resize(arguments.samples);
  Ballots ballots(arguments.samples, arguments.voting.stop);
  uint32_t ended = 0;
  bool firstId = true;
  std::vector<Event> events;
  const bool stream = arguments.samples == 1 && !arguments.json && !arguments.jsonStream;
  SampleProgress progress(!stream && !arguments.jsonStream);
  while (ended < arguments.samples) {
    if (takeInterrupt())
      engines.cancel(id);
    trace.beginStep();
    M1_TRY(engines.step());
    if (DeviceEngine *device = engines.single())
      trace.endStep(*device->engine);
    engines.takeEvents(&events);
    for (Event &event : events) {
      SampleResult &sample = out->samples[event.sample];
      if (stream && out->showText)
        std::fwrite(event.text.data(), 1, event.text.size(), stdout);
      else if (stream)
        printIds(event.tokens, &firstId);
      Event shown;
      if (arguments.jsonStream)
        shown = event;
      if (sample.take(event))
        engines.cancelSample(id, event.sample);
      if (sample.ended()) {
        ++ended;
        sample.notNeeded = out->stoppedEarly && sample.reason == FinishReason::cancelled;
      }
      if (arguments.vote)
        tellBallots(sample, event.sample, arguments.voting, &ballots);
      if (arguments.jsonStream)
        streamEvent(shown, sample, *out, arguments);
      if ((stream || arguments.jsonStream) && std::fflush(stdout) != 0)
        return outputError();
    }
    if (arguments.vote && !out->stoppedEarly && ballots.decided()) {
      out->stoppedEarly = true;
      engines.cancel(id);
    }
    progress.show(ended, arguments.samples, engines.stats().generatedTokens,
                  arguments.generation.timeBudget);
  }
  progress.clear();
  if (arguments.vote)
    out->tally = ballots.tally();
  return {};
}

void print(const Outcome &outcome, const Arguments &arguments) {
  if (arguments.jsonStream) {
    std::printf("%s\n", dumped(summaryOf(outcome, arguments)).c_str());
    return;
  }
  if (arguments.json) {
    printJson(outcome, arguments);
    return;
  }
  const bool streamed = arguments.samples == 1;
  if (streamed) {
    std::printf("\n");
    std::fflush(stdout);
    noteEnd(outcome.samples[0]);
  } else {
    if (!arguments.vote)
      printSamples(outcome);
    printCounts(outcome);
  }
  if (arguments.vote)
    printTally(outcome, arguments);
}

} // namespace

Status runPrompt(const std::vector<Model *> &models, const Arguments &arguments,
                 double loadSeconds) {
  Model &model = *models[0];
  std::unique_ptr<ModelText> text;
  Status textStatus = ModelText::load(model.artifact(), &text);
  const bool needsText =
      arguments.inputIds.empty() || arguments.vote || !arguments.generation.stop.empty();
  if (!textStatus.ok() && (needsText || textStatus.code() != StatusCode::unsupported))
    return textStatus;

  Request request;
  M1_TRY(readPrompt(model, text.get(), arguments, &request.prompt));
  M1_TRY(fillRequest(model, text.get(), arguments.generation, &request));
  request.samples = arguments.samples;
  request.firstSample = arguments.firstSample;
  uint32_t context = 0;
  M1_TRY(fitContext(model, arguments, &request, &context));
  const uint32_t slots = slotsFor(model, arguments, arguments.samples, uint32_t(models.size()));
  // One prompt: there is no other whose prefix could be reused.
  Running running;
  M1_TRY(start(models, arguments, std::move(text), slots, context, 0, &running));

  Trace trace;
  if (!arguments.trace.empty())
    M1_TRY(trace.open(arguments.trace, model, *running.engines->single()->session));

  Outcome outcome;
  outcome.promptTokens = request.prompt.size();
  outcome.showText = running.text && arguments.inputIds.empty();
  const double began = now();
  uint64_t id = 0;
  M1_TRY(running.engines->submit(std::move(request), &id));
  M1_TRY(runSamples(running, arguments, id, trace, &outcome));
  outcome.seconds = now() - began;
  M1_TRY(trace.close());
  outcome.stats = running.engines->stats();
  outcome.tokens = outcome.stats.generatedTokens;
  outcome.counts = countEnds(outcome.samples);

  print(outcome, arguments);
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

} // namespace m1tool
