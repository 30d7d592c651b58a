#include "input.h"
#include "interrupt.h"
#include "line_editor.h"
#include "running.h"
#include "samples.h"
#include "text_run.h"
#include "tool.h"
#include <algorithm>
#include <cerrno>
#include <iostream>
#include <string_view>
#include <unistd.h>

using namespace m1rt;

namespace m1tool {

namespace {

constexpr char kHelp[] =
    "/new           start over\n"
    "/undo          take back the last message and its answer\n"
    "/system TEXT   from now on another system message; without TEXT, none\n"
    "/save FILE     write the conversation as JSON, messages of {role, content}\n"
    "/exit          end, as Ctrl-D does\n"
    "Ctrl-C stops an answer. A message that begins like a command takes a blank before it.\n";

/// The conversation, and what is cut off its front to fit the context.
class Conversation {
public:
  explicit Conversation(std::string system) : system(std::move(system)) {}

  void setSystem(std::string text) { system = std::move(text); }
  void clear() { turns.clear(); }
  /// False when there is nothing to take back.
  bool undo() {
    if (turns.empty())
      return false;
    while (turns.back().role != "user")
      turns.pop_back();
    turns.pop_back();
    return true;
  }
  void say(const char *role, std::string text) { turns.push_back({role, std::move(text)}); }
  size_t messages() const { return turns.size(); }

  /// The system message and the turns without the first `skipped`.
  std::vector<ChatMessage> from(size_t skipped) const {
    std::vector<ChatMessage> out;
    if (!system.empty())
      out.push_back({"system", system});
    out.insert(out.end(), turns.begin() + std::ptrdiff_t(skipped), turns.end());
    return out;
  }
  /// The index of the first user's message after `index`; the last one has none after it.
  size_t nextTurn(size_t index) const {
    for (size_t i = index + 1; i < turns.size(); ++i)
      if (turns[i].role == "user")
        return i;
    return turns.size();
  }

private:
  std::string system;
  std::vector<ChatMessage> turns; // user and assistant
};

class Chat {
public:
  Chat(Model &model, const Arguments &arguments, Running &running)
      : model(model), arguments(arguments), running(running),
        conversation(arguments.prompt.system) {}

  Status run();
  double seconds = 0; // of answers
  uint32_t answered = 0, failed = 0;

private:
  bool readLine(std::string *out);
  bool command(const std::string &line, bool *outEnd);
  Status save(const std::string &path) const;
  Status turn(const std::string &line);
  Status encode(std::vector<int32_t> *out);
  Status answer(Request request, std::string *out);
  void complain(const std::string &message) const { say("m1-run", "error", message); }

  Model &model;
  const Arguments &arguments;
  Running &running;
  Conversation conversation;
  size_t skipped = 0; // messages left out of the context, from the first
  bool terminal = isatty(STDIN_FILENO);
  std::unique_ptr<LineEditor> editor;
};

/// False at the end of the input.
bool Chat::readLine(std::string *out) {
  while (true) {
    if (!editor)
      return bool(std::getline(std::cin, *out));
    switch (editor->read(out)) {
    case LineEditor::Result::line:
      return true;
    case LineEditor::Result::interrupted: // forget the line
      (void)takeInterrupt();
      std::printf("\n");
      break;
    case LineEditor::Result::end:
      std::printf("\n");
      return false;
    }
  }
}

Status Chat::save(const std::string &path) const {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const ChatMessage &message : conversation.from(0))
    json.push_back({{"role", message.role}, {"content", message.content}});
  const std::string text =
      json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  OutputFile file;
  M1_TRY(file.open(path));
  M1_TRY(file.write(text.data(), text.size()));
  return file.commit();
}

/// Whether the line was a command, which is then done.
bool Chat::command(const std::string &line, bool *outEnd) {
  // Another slash or a sign in the first word makes it a message: a path, a fraction.
  const size_t space = line.find_first_of(" \t\r\n");
  const std::string word = line.substr(0, space);
  if (word.size() < 2 || word[0] != '/' ||
      word.find_first_not_of("abcdefghijklmnopqrstuvwxyz", 1) != std::string::npos)
    return false;
  const size_t begin =
      space == std::string::npos ? space : line.find_first_not_of(" \t\r\n", space);
  std::string rest;
  if (begin != std::string::npos)
    rest = line.substr(begin, line.find_last_not_of(" \t\r\n") + 1 - begin);
  if (word == "/exit" || word == "/quit") {
    *outEnd = true;
  } else if (word == "/help") {
    std::fputs(kHelp, stderr);
  } else if (word == "/new") {
    conversation.clear();
    skipped = 0;
  } else if (word == "/undo") {
    if (!conversation.undo())
      complain("/undo: nothing has been said yet");
    skipped = 0;
  } else if (word == "/system") {
    conversation.setSystem(rest);
  } else if (word == "/save") {
    if (rest.empty())
      complain("/save: expected a file");
    else if (Status status = save(rest); !status.ok())
      complain("/save: " + status.message());
    else if (terminal)
      std::fprintf(stderr, "[saved]\n");
  } else {
    complain(word + ": no such command; /help lists them");
  }
  return true;
}

/// The conversation as the model's prompt, without its oldest turns when they leave no room for an
/// answer.
Status Chat::encode(std::vector<int32_t> *out) {
  const uint32_t context = running.engines->single()->session->limits().maxContext;
  // Room for the answer: what it may take, but no more than a quarter of the context.
  const size_t room = std::min<size_t>(arguments.generation.maxNewTokens, context / 4);
  const size_t before = skipped;
  for (;;) {
    M1_TRY(encodePrompt(*running.text, arguments.prompt, conversation.from(skipped), out));
    const size_t next = conversation.nextTurn(skipped);
    if (out->size() + room <= context || next >= conversation.messages())
      break;
    skipped = next;
  }
  if (out->size() > context)
    return error(StatusCode::invalidArgument,
                 "this message alone makes a prompt of %zu tokens, which does not fit the context "
                 "of %u tokens; send a shorter one",
                 out->size(), context);
  if (skipped > before)
    std::fprintf(stderr,
                 "[the first %zu messages no longer fit the context of %u tokens and are "
                 "left out]\n",
                 skipped, context);
  return {};
}

/// Of an answer; Ctrl-C, which stops it, may come while the terminal takes no more.
static bool show(std::string_view text) {
  if (std::fflush(stdout) != 0) // what commands have printed comes first
    return false;
  while (!text.empty()) {
    const ssize_t count = ::write(STDOUT_FILENO, text.data(), text.size());
    if (count < 0 && errno != EINTR)
      return false;
    text.remove_prefix(size_t(std::max<ssize_t>(count, 0)));
  }
  return true;
}

Status Chat::answer(Request request, std::string *out) {
  uint64_t id = 0;
  M1_TRY(running.engines->single()->engine->submit(std::move(request), &id));
  SampleResult sample;
  const double began = now();
  while (!running.engines->single()->engine->idle()) {
    if (takeInterrupt())
      running.engines->single()->engine->cancel(id);
    M1_TRY(running.engines->single()->engine->step());
    for (Event &event : running.engines->single()->engine->takeEvents()) {
      if (!show(event.text))
        return outputError();
      if (sample.take(event))
        running.engines->single()->engine->cancelSample(id, 0);
    }
  }
  seconds += now() - began;
  if (!show("\n"))
    return outputError();
  if (sample.reason == FinishReason::failed)
    complain(sample.error);
  else
    noteEnd(sample);
  ++(sample.reason == FinishReason::failed ? failed : answered);
  *out = std::move(sample.text);
  return {};
}

/// A bad turn is an error that is shown and forgotten; the status is of what ends the program.
Status Chat::turn(const std::string &line) {
  conversation.say("user", line);
  Request request;
  M1_TRY(fillRequest(model, running.text.get(), arguments.generation, &request));
  Status status = encode(&request.prompt);
  if (!status.ok()) {
    complain(status.message());
    conversation.undo();
    ++failed;
    return {};
  }
  std::string text;
  M1_TRY(answer(std::move(request), &text));
  conversation.say("assistant", unescaped(arguments.prompt.prefill) + text);
  return {};
}

Status Chat::run() {
  if (terminal) {
    editor = LineEditor::create();
    std::fprintf(stderr, "Ctrl-C stops an answer; Ctrl-D or /exit ends; /help lists commands.\n");
  }
  std::string line;
  for (bool end = false; !end && readLine(&line);)
    if (line.find_first_not_of(" \t\r\n") != std::string::npos && !command(line, &end))
      M1_TRY(turn(line));
  return {};
}

} // namespace

Status runChat(Model &model, const Arguments &arguments, double loadSeconds) {
  std::unique_ptr<ModelText> text;
  M1_TRY(ModelText::load(model.artifact(), &text));
  Running running;
  constexpr uint32_t cacheSlots = 4; // states of earlier turns, for /undo
  M1_TRY(start({&model}, arguments, std::move(text), 1, 0, cacheSlots, &running));
  Chat chat(model, arguments, running);
  M1_TRY(chat.run());
  if (arguments.stats)
    printStats(model, running, loadSeconds, chat.seconds);
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    return outputError();
  if (chat.failed && !chat.answered)
    return error(StatusCode::invalidArgument, "no message was answered");
  return {};
}

} // namespace m1tool
