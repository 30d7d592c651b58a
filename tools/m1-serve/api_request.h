// What a request of OpenAI's interface asks for, read from its JSON. Every field that is not
// understood and could change the answer is refused by name.
#ifndef M1_TOOLS_SERVE_API_REQUEST_H
#define M1_TOOLS_SERVE_API_REQUEST_H

#include "base/shortened.h"
#include "engine/engine.h"
#include "vote/ballots.h"
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace m1serve {

using m1rt::shortened;

using Json = nlohmann::ordered_json;

/// As one line; bytes that are no UTF-8 are replaced.
std::string dumped(const Json &value);

/// An answer other than 200, in OpenAI's form.
struct ApiError {
  int status = 400;
  std::string message;
  std::string param; // the field at fault; empty: none
  std::string code;  // empty: none
  uint32_t retryAfter = 0;

  static ApiError bad(std::string param, std::string message) {
    return {400, std::move(message), std::move(param), {}, 0};
  }
  const char *type() const;
  Json json() const;
};

struct RequestLimits {
  size_t messages = 2048;
  size_t prompts = 256;
  uint32_t samples = 4096; // of all prompts together
  size_t stops = 16;
  size_t biases = 1024;
  uint32_t topLogprobs = 20;
  // of echoed prompts' tokens, in one response: 20 bytes or more each as JSON, and several times
  // that while it is made
  size_t promptLogprobs = 1 << 19;
};

struct ResponseFormat {
  enum class Kind { text, jsonObject, jsonSchema } kind = Kind::text;
  Json schema; // of jsonSchema
};

struct ApiRequest {
  bool chat = false;
  std::string model; // empty: the one that there is

  // chat
  Json messages; // each with role and text content
  Json tools;    // null: none
  Json templateVariables = Json::object();
  bool separateReasoning = true;
  ResponseFormat format;
  // completions: texts or token ids
  std::vector<std::variant<std::string, std::vector<int32_t>>> prompts;
  bool echo = false;
  bool specialTokens = true; // around texts

  uint32_t samples = 1; // of each prompt
  bool stream = false, includeUsage = false;
  m1rt::SamplingParameters sampling;
  std::vector<m1rt::TokenBias> bias;
  std::optional<uint64_t> seed;
  std::optional<uint32_t> maxTokens;
  std::string maxTokensField = "max_tokens"; // by which name it was given
  std::vector<std::string> stop;
  std::vector<int32_t> stopTokens; // beside the model's own
  bool logprobs = false;
  bool ignoreEos = false;
  /// Whether log probabilities of the prompt are part of the answer.
  bool scoresPrompt() const { return echo && logprobs; }

  bool vote = false;
  m1rt::StopRule stopRule; // of the vote
  uint32_t probeEvery = 0;
  bool probeOnEnd = false;
  bool probes() const { return probeEvery > 0 || probeOnEnd; }
  double timeBudget = 0;
  uint32_t maxThinkTokens = 0;
  bool closesAtDeadline = false;
  bool closes() const { return maxThinkTokens > 0 || (timeBudget > 0 && closesAtDeadline); }
  std::string closeText; // also what probes are fed
  uint32_t closeMaxTokens = 32;
};

/// `body` into *out. `vocabulary`: ids that the model knows.
std::optional<ApiError> readRequest(const std::string &body, bool chat, uint32_t vocabulary,
                                    const RequestLimits &limits, ApiRequest *out);

/// A request for the tokens of a text, or of messages as a chat's prompt.
struct TokenizeRequest {
  std::optional<std::string> prompt;
  bool specialTokens = true; // around it
  ApiRequest chat;           // without a prompt: messages, tools and variables; the model's name
};
std::optional<ApiError> readTokenizeRequest(const std::string &body, const RequestLimits &limits,
                                            TokenizeRequest *out);
std::optional<ApiError> readDetokenizeRequest(const std::string &body, uint32_t vocabulary,
                                              std::string *model, std::vector<int32_t> *tokens);

} // namespace m1serve

#endif
