#include "base/json_value.h"
#include "input.h"
#include "interrupt.h"
#include "progress.h"
#include "running.h"
#include "text_run.h"
#include "tool.h"
#include <map>

using namespace m1rt;

namespace m1tool {

namespace {

using Json = nlohmann::ordered_json;

/// One line of the file.
struct Prompt {
  Json id; // as given, otherwise the number of its line, from 0
  Request request;
};

Status messagesOf(const Json &line, const Arguments &arguments, std::vector<ChatMessage> *out) {
  if (!arguments.prompt.system.empty())
    out->push_back({"system", arguments.prompt.system});
  if (auto prompt = line.find("prompt"); prompt != line.end() && !prompt->is_null()) {
    if (!prompt->is_string())
      return error(StatusCode::invalidArgument, "field \"prompt\" is not a string");
    out->push_back({"user", *prompt});
    return {};
  }
  if (!line.contains("messages") || !line["messages"].is_array() || line["messages"].empty())
    return error(StatusCode::invalidArgument,
                 "expected \"prompt\", a string, or \"messages\", a list of {role, content}");
  if (arguments.prompt.raw)
    return error(StatusCode::invalidArgument,
                 "\"messages\" go through the template: not with --raw");
  for (const Json &message : line["messages"]) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string() ||
        !message.contains("content") || !message["content"].is_string())
      return error(StatusCode::invalidArgument,
                   "a message is not {\"role\": text, \"content\": text}");
    out->push_back({message["role"], message["content"]});
  }
  return {};
}

Status readPrompts(const Model &model, const ModelText &text, const Arguments &arguments,
                   std::vector<Prompt> *out, uint32_t *outContext) {
  std::string content;
  M1_TRY(readText(arguments.promptsFile, &content));
  std::istringstream lines(content);
  std::string line;
  for (size_t number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos)
      continue;
    Json json;
    std::string problem;
    Prompt prompt;
    std::vector<ChatMessage> messages;
    Status status = readObjectLine(line, json, problem)
                        ? messagesOf(json, arguments, &messages)
                        : error(StatusCode::invalidArgument, "%s", problem.c_str());
    if (status.ok())
      status = encodePrompt(text, arguments.prompt, messages, &prompt.request.prompt);
    if (status.ok())
      status = fillRequest(model, &text, arguments.generation, &prompt.request);
    uint32_t context = 0;
    if (status.ok())
      status = fitContext(model, arguments, &prompt.request, &context);
    if (!status.ok())
      return std::move(status).prefixed(inputName(arguments.promptsFile) + ":" +
                                        std::to_string(number));
    prompt.request.samples = arguments.samples;
    prompt.request.firstSample = arguments.firstSample;
    prompt.id = json.contains("id") ? json["id"] : Json(number - 1);
    *outContext = std::max(*outContext, context);
    out->push_back(std::move(prompt));
  }
  if (out->empty())
    return error(StatusCode::invalidArgument, "%s: no prompts",
                 inputName(arguments.promptsFile).c_str());
  return {};
}

void print(const Json &json) {
  std::printf("%s\n", json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

/// A prompt whose samples have not all ended.
struct Course {
  Json id;
  size_t promptTokens = 0;
  std::vector<SampleResult> samples;
  Ballots ballots;
  uint32_t ended = 0;
  bool stoppedEarly = false;
};

/// The prompts that the engines work on. Prints samples, and votes, as they end.
class Courses {
public:
  Courses(Engines &engines, const Arguments &arguments) : engines(engines), arguments(arguments) {}

  Status begin(Prompt prompt);
  void cancelAll();
  void take(Event &event);
  /// Forgets those whose samples have all ended, and ends what votes do not need.
  void settle();

  bool empty() const { return running.empty(); }
  uint64_t ended() const { return endedSamples; }
  uint64_t failed() const { return failedSamples; }

private:
  Engines &engines;
  const Arguments &arguments;
  std::map<uint64_t, Course> running; // by the engines' request
  uint64_t endedSamples = 0, failedSamples = 0;
};

Status Courses::begin(Prompt prompt) {
  Course course{std::move(prompt.id), prompt.request.prompt.size(),
                std::vector<SampleResult>(arguments.samples),
                Ballots(arguments.samples, arguments.voting.stop)};
  uint64_t id = 0;
  M1_TRY(engines.submit(std::move(prompt.request), &id));
  running.emplace(id, std::move(course));
  return {};
}

void Courses::cancelAll() {
  for (const auto &[id, course] : running)
    engines.cancel(id);
}

void Courses::take(Event &event) {
  Course &course = running.at(event.request);
  SampleResult &sample = course.samples[event.sample];
  if (sample.take(event))
    engines.cancelSample(event.request, event.sample);
  if (sample.ended())
    sample.notNeeded = course.stoppedEarly && sample.reason == FinishReason::cancelled;
  if (arguments.vote)
    tellBallots(sample, event.sample, arguments.voting, &course.ballots);
  if (!sample.ended())
    return;
  ++endedSamples;
  ++course.ended;
  failedSamples += sample.reason == FinishReason::failed;
  if (!sample.notNeeded) {
    Json out = {{"id", course.id}, {"sample", event.sample}};
    out.update(Json(jsonOf(sample, true, arguments.generation.wantLogprobs)));
    print(out);
  }
}

void Courses::settle() {
  for (auto it = running.begin(); it != running.end();) {
    Course &course = it->second;
    if (course.ended == arguments.samples) {
      if (arguments.vote)
        print({{"id", course.id},
               {"prompt_tokens", course.promptTokens},
               {"counts", jsonOf(countEnds(course.samples))},
               {"vote", jsonOf(course.ballots.tally(), arguments.voting, course.stoppedEarly)},
               {"no_ballot", silencesOf(course.samples)}});
      it = running.erase(it);
      continue;
    }
    if (arguments.vote && !course.stoppedEarly && course.ballots.decided()) {
      course.stoppedEarly = true;
      engines.cancel(it->first);
    }
    ++it;
  }
}

} // namespace

Status runPrompts(const std::vector<Model *> &models, const Arguments &arguments,
                  double loadSeconds) {
  Model &model = *models[0];
  const uint32_t devices = uint32_t(models.size());
  std::unique_ptr<ModelText> text;
  M1_TRY(ModelText::load(model.artifact(), &text));
  std::vector<Prompt> prompts;
  uint32_t context = 0;
  M1_TRY(readPrompts(model, *text, arguments, &prompts, &context));
  const uint64_t all = uint64_t(prompts.size()) * arguments.samples;
  const uint32_t slots = slotsFor(model, arguments, all, devices);
  Running running;
  M1_TRY(start(models, arguments, std::move(text), slots, context, 2, &running));
  Engines &engines = *running.engines;

  Courses courses(engines, arguments);
  std::vector<Event> events;
  size_t next = 0;
  bool stopped = false;
  SampleProgress progress(true);
  const double began = now();
  while ((next < prompts.size() && !stopped) || !courses.empty()) {
    if (takeInterrupt()) {
      stopped = true;
      courses.cancelAll();
    }
    // Enough to refill places as they come free.
    while (!stopped && next < prompts.size() &&
           engines.waitingSamples() < std::max(1u, slots * devices / 8))
      M1_TRY(courses.begin(std::move(prompts[next++])));
    M1_TRY(engines.step());
    engines.takeEvents(&events);
    for (Event &event : events)
      courses.take(event);
    courses.settle();
    if (std::fflush(stdout) != 0)
      return outputError();
    progress.show(courses.ended(), all, engines.stats().generatedTokens, 0);
  }
  progress.clear();
  if (arguments.stats)
    printStats(model, running, loadSeconds, now() - began);
  if (stopped)
    return error(StatusCode::cancelled, "stopped: %zu of %zu prompts were begun", next,
                 prompts.size());
  if (courses.failed() == all)
    return error(StatusCode::deviceError, "every sample failed");
  return {};
}

} // namespace m1tool
