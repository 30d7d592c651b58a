// What requests are read as, and how each kind of wrong one is refused.
#include "api_request.h"
#include "keys.h"
#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace m1serve;

namespace {

constexpr uint32_t vocabulary = 100;

ApiRequest read(const std::string &fields, bool chat = true) {
  ApiRequest request;
  const std::string body =
      chat ? R"({"messages": [{"role": "user", "content": "hi"}])" : R"({"prompt": "hi")";
  auto error = readRequest(body + (fields.empty() ? "" : ", ") + fields + "}", chat, vocabulary, {},
                           &request);
  EXPECT_FALSE(error) << fields << ": " << (error ? error->message : "");
  return request;
}

/// The field that is named at fault.
std::string param(const std::string &fields, bool chat = true) {
  ApiRequest request;
  const std::string body =
      chat ? R"({"messages": [{"role": "user", "content": "hi"}])" : R"({"prompt": "hi")";
  auto error = readRequest(body + ", " + fields + "}", chat, vocabulary, {}, &request);
  EXPECT_TRUE(error) << fields;
  if (!error)
    return "no error";
  EXPECT_EQ(error->status, 400);
  EXPECT_NE(error->message.find(error->param), std::string::npos) << error->message;
  return error->param;
}

} // namespace

TEST(ServeRequest, Defaults) {
  const ApiRequest request = read("");
  EXPECT_EQ(request.sampling.temperature, 1);
  EXPECT_EQ(request.samples, 1u);
  EXPECT_FALSE(request.maxTokens);
  EXPECT_FALSE(request.stream || request.logprobs || request.seed);
  EXPECT_EQ(read("", false).maxTokens, 16u);
  EXPECT_TRUE(read("", false).specialTokens);
  EXPECT_FALSE(read(R"("add_special_tokens": false)", false).specialTokens);
}

TEST(ServeRequest, Fields) {
  const ApiRequest request = read(
      R"("n": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "seed": -1,
         "repetition_penalty": 1.1, "presence_penalty": -2, "frequency_penalty": 0.5,
         "logit_bias": {"5": 1.5, "7": -100}, "max_completion_tokens": 9, "stop": ["a", "b"],
         "stop_token_ids": [3, 4], "skip_special_tokens": true, "min_tokens": 0,
         "length_penalty": 1.0, "priority": 0, "add_generation_prompt": true,
         "continue_final_message": false, "cache_prompt": true, "early_stopping": false,
         "logprobs": true, "top_logprobs": 2, "ignore_eos": true, "stream": true,
         "stream_options": {"include_usage": true}, "user": "x", "metadata": {"a": 1},
         "tools": null)");
  EXPECT_EQ(request.samples, 3u);
  EXPECT_EQ(request.sampling.topK, 7u);
  EXPECT_EQ(request.seed, UINT64_MAX);
  EXPECT_EQ(request.sampling.presencePenalty, -2);
  EXPECT_EQ(request.maxTokens, 9u);
  EXPECT_EQ(request.maxTokensField, "max_completion_tokens");
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.stopTokens, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(request.sampling.topLogprobs, 2u);
  EXPECT_TRUE(request.ignoreEos && request.stream && request.includeUsage);
  ASSERT_EQ(request.bias.size(), 2u);
  EXPECT_EQ(request.bias[0].bias, 1.5f);
  EXPECT_EQ(request.bias[1].bias, -INFINITY);
  EXPECT_EQ(read(R"("stop": "x")").stop, std::vector<std::string>{"x"});
  EXPECT_EQ(read(R"("top_k": -1)").sampling.topK, 0u);
  EXPECT_EQ(read(R"("max_tokens": 5.0, "seed": 7.0)").maxTokens, 5u);
  EXPECT_EQ(read(R"("seed": 1e3)").seed, 1000u);
  // Of the likeliest tokens that reach no probability the first is left.
  EXPECT_GT(read(R"("top_p": 0)").sampling.topP, 0);
  EXPECT_LT(read(R"("top_p": 0)").sampling.topP, 1e-3f);
  for (const bool chat : {true, false})
    EXPECT_EQ(read(R"("response_format": {"type": "json_object"})", chat).format.kind,
              ResponseFormat::Kind::jsonObject);
}

// What a message quotes of a request is bounded, and ends with a whole character.
TEST(ServeRequest, LongNames) {
  std::string name;
  for (int i = 0; i < 1000; ++i)
    name += "ü";
  const std::string field = param("\"a" + name + "\": 1");
  EXPECT_LT(field.size(), 100u);
  EXPECT_EQ(Json(field).dump(), "\"" + field + "\""); // throws where it is no UTF-8
  EXPECT_EQ(shortened("short"), "short");
  EXPECT_EQ(shortened("aüüü", 4), "aü…");
}

TEST(ServeRequest, Tokenize) {
  auto fault = [](const std::string &body) {
    TokenizeRequest request;
    auto error = readTokenizeRequest(body, {}, &request);
    return error ? error->param : "none";
  };
  const std::string messages = R"("messages": [{"role": "user", "content": "a"}])";
  EXPECT_EQ(fault(R"({"prompt": "a", "messages": null, "add_special_tokens": false})"), "none");
  EXPECT_EQ(fault("{" + messages + R"(, "tools": [{}], "chat_template_kwargs": {"a": 1}})"),
            "none");
  EXPECT_EQ(fault("{}"), "prompt");
  EXPECT_EQ(fault(R"({"prompt": "a", )" + messages + "}"), "prompt");
  EXPECT_EQ(fault(R"({"prompt": "a", "tools": [{}]})"), "tools");
  EXPECT_EQ(fault("{" + messages + R"(, "add_special_tokens": true})"), "add_special_tokens");
  EXPECT_EQ(fault(R"({"prompt": "a", "model": 5})"), "model");
  TokenizeRequest request;
  EXPECT_EQ(readTokenizeRequest("{}", {}, &request)->message,
            "give one of 'prompt' and 'messages'");
  EXPECT_EQ(readTokenizeRequest("{" + messages + R"(, "add_special_tokens": true})", {}, &request)
                ->message,
            "'add_special_tokens': the template of the chat brings its own");
  std::string model;
  std::vector<int32_t> tokens;
  EXPECT_FALSE(readDetokenizeRequest(R"({"tokens": [1, 2], "model": null})", 3, &model, &tokens));
  EXPECT_EQ(tokens, (std::vector<int32_t>{1, 2}));
  for (const char *body : {"{}", R"({"tokens": null})", R"({"tokens": [3]})", R"({"tokens": 1})"})
    EXPECT_EQ(readDetokenizeRequest(body, 3, &model, &tokens)->param, "tokens") << body;
  EXPECT_EQ(readDetokenizeRequest("{}", 3, &model, &tokens)->message, "'tokens' is missing");
}

// Every wrong value is refused with its field's name.
TEST(ServeRequest, WrongValues) {
  for (const char *field : {R"("n": 0)",
                            R"("n": 1e9)",
                            R"("n": "1")",
                            R"("n": 1.5)",
                            R"("temperature": -1)",
                            R"("temperature": "hot")",
                            R"("temperature": 101)",
                            R"("top_p": -0.1)",
                            R"("top_p": 1.1)",
                            R"("top_k": -2)",
                            R"("min_p": 2)",
                            R"("repetition_penalty": 0)",
                            R"("presence_penalty": 3)",
                            R"("frequency_penalty": -3)",
                            R"("seed": 1.5)",
                            R"("seed": 1e300)",
                            R"("temperature": true)",
                            R"("stop": [null])",
                            R"("logit_bias": {"1": null})",
                            R"("seed": "x")",
                            R"("stop": 1)",
                            R"("stop": [1])",
                            R"("stop": [""])",
                            R"("stream": 1)",
                            R"("logprobs": 3)",
                            R"("top_logprobs": 2)",
                            R"("max_tokens": 0)",
                            R"("max_completion_tokens": -1)",
                            R"("ignore_eos": "no")",
                            R"("logit_bias": [])",
                            R"("logit_bias": {"100": 1})",
                            R"("logit_bias": {"-1": 1})",
                            R"("logit_bias": {"1": 101})",
                            R"("logit_bias": {"x": 1})",
                            R"("time_budget": 0)",
                            R"("vote": "yes")",
                            R"("stream_options": {"include_usage": true})",
                            R"("response_format": "json")",
                            R"("tools": "all")",
                            R"("at_deadline": "close")",
                            R"("close_text": "x")",
                            R"("chat_template_kwargs": 1)",
                            R"("nonsense": 1)",
                            R"("functions": [])",
                            R"("reasoning_effort": "low")",
                            R"("modalities": ["audio"])",
                            R"("tool_choice": "required")",
                            R"("at_deadline": "")",
                            R"("stop_token_ids": 5)",
                            R"("stop_token_ids": [100])",
                            R"("min_tokens": 1)",
                            R"("skip_special_tokens": false)",
                            R"("logit_bias": {"1": 1, "01": 2})"}) {
    const std::string text = field;
    EXPECT_EQ(param(text), text.substr(1, text.find('"', 1) - 1)) << text;
  }
  EXPECT_EQ(param(R"("response_format": {"type": "xml"})"), "response_format.type");
  EXPECT_EQ(param(R"("response_format": {"type": "json_schema"})"), "response_format.json_schema");
  EXPECT_EQ(param(R"("response_format": {"type": "json_schema", "json_schema": {}})"),
            "response_format.json_schema.schema");
  for (const char *field : {"name", "description", "strict"})
    EXPECT_EQ(
        param(R"("response_format": {"type": "json_schema", "json_schema": {"schema": {}, ")" +
              std::string(field) + "\": 5}}"),
        "response_format.json_schema." + std::string(field));
  std::string bans = R"("logit_bias": {"0": -100)";
  for (uint32_t token = 1; token < vocabulary; ++token)
    bans += ", \"" + std::to_string(token) + "\": -100";
  EXPECT_EQ(param(bans + "}"), "logit_bias");
  EXPECT_EQ(read(bans.substr(0, bans.rfind(',')) + "}").bias.size(), vocabulary - 1);
  EXPECT_EQ(param(R"("vote": {"depth": 1})"), "vote.depth");
  EXPECT_EQ(param(R"("vote": {"probe_every": 0})"), "vote.probe_every");
  EXPECT_EQ(param(R"("vote": {"probe_every": 1.5})"), "vote.probe_every");
  EXPECT_EQ(param(R"("vote": {"probe_on_end": 1})"), "vote.probe_on_end");
  EXPECT_EQ(param(R"("vote": {"stop_early": "soon"})"), "vote.stop_early");
  EXPECT_EQ(param(R"("vote": {"stop_early": "confident:0.5"})"), "vote.stop_early");
  EXPECT_EQ(param(R"("vote": {"stop_early": "confident", "least_ballots": 0})"),
            "vote.least_ballots");
  EXPECT_EQ(param(R"("vote": {"stop_early": "exact", "least_ballots": 2})"), "vote.least_ballots");
  EXPECT_EQ(param(R"("vote": {"stop_early": "off", "decide_early": true})"), "vote.decide_early");
  EXPECT_EQ(param(R"("vote": {"probe_every": 8}, "close_text": "")"), "close_text");
  EXPECT_EQ(param(R"("vote": {"probe_every": 8}, "close_max_tokens": 5)"), "close_max_tokens");
  EXPECT_EQ(param(R"("max_tokens": 5, "max_completion_tokens": 6)"), "max_completion_tokens");
  EXPECT_EQ(param(R"("best_of": 2)", false), "best_of");
  EXPECT_EQ(param(R"("suffix": "x")", false), "suffix");
  EXPECT_EQ(param(R"("echo": true, "max_tokens": 0)", false), "max_tokens");
  EXPECT_EQ(param(R"("logprobs": 1, "max_tokens": 0)", false), "max_tokens");
  EXPECT_EQ(param(R"("echo": true, "logprobs": 1, "max_tokens": 0, "vote": true)", false),
            "max_tokens");
}

// How a vote stops and is probed.
TEST(ServeRequest, Votes) {
  using Kind = m1rt::StopRule::Kind;
  auto read = [](const std::string &fields) {
    ApiRequest request;
    const auto error =
        readRequest(R"({"messages": [{"role": "user", "content": "x"}], )" + fields + "}", true,
                    vocabulary, {}, &request);
    EXPECT_FALSE(error) << error->message;
    return request;
  };
  EXPECT_EQ(read(R"("vote": true)").stopRule.kind, Kind::off);
  EXPECT_EQ(read(R"("vote": {"decide_early": true})").stopRule.kind, Kind::exact);
  EXPECT_EQ(read(R"("vote": {"decide_early": true, "stop_early": "exact"})").stopRule.kind,
            Kind::exact);
  const ApiRequest request = read(
      R"("vote": {"stop_early": "confident:0.9", "least_ballots": 2, "probe_on_end": true},
         "close_text": "so \\boxed{")");
  EXPECT_TRUE(request.vote && request.probes() && request.probeOnEnd && !request.closes());
  EXPECT_EQ(request.stopRule.kind, Kind::confident);
  EXPECT_EQ(request.stopRule.confidence, 0.9);
  EXPECT_EQ(request.stopRule.leastBallots, 2u);
  EXPECT_EQ(request.closeText, "so \\boxed{");
  EXPECT_EQ(read(R"("vote": {"probe_every": 32})").probeEvery, 32u);
}

// A prompt can be scored without an answer.
TEST(ServeRequest, ScoredPrompts) {
  ApiRequest request;
  ASSERT_FALSE(readRequest(R"({"prompt": [1, 2], "echo": true, "logprobs": 0, "max_tokens": 0})",
                           false, vocabulary, {}, &request));
  EXPECT_TRUE(request.scoresPrompt());
  EXPECT_EQ(request.maxTokens, 0u);
}

// What each message says, whole: the field, what was expected and, where it helps, what came.
TEST(ServeRequest, Messages) {
  const auto message = [](const std::string &body, bool chat) {
    ApiRequest request;
    RequestLimits limits;
    limits.messages = limits.prompts = limits.stops = limits.biases = 2;
    limits.samples = 8;
    const auto error = readRequest(body, chat, vocabulary, limits, &request);
    return error ? error->message : "none";
  };
  const std::string hi = R"({"messages": [{"role": "user", "content": "hi"}], )";
  const std::pair<const char *, const char *> chats[] = {
      {R"("n": 9)", "'n': expected an integer from 1 to 8, got 9"},
      {R"("min_p": 2)", "'min_p': expected a number of at least 0 and at most 1, got 2"},
      {R"("time_budget": 0)", "'time_budget': expected a number above 0 and at most 1e+06, got 0"},
      {R"("stream": 1)", "'stream': expected true or false, got 1"},
      {R"("model": 5)", "'model': expected a string, got 5"},
      {R"("seed": "x")", "'seed': expected an integer of 64 bits, got \"x\""},
      {R"("nonsense": 1)", "unknown field 'nonsense'"},
      {R"("stream_options": 1)", "'stream_options': expected an object, got 1"},
      {R"("stream_options": {})", "'stream_options' needs 'stream': true"},
      {R"("stop": [1])", "'stop': expected a string or a list of strings, got 1"},
      {R"("stop": ["a", "b", "c"])", "'stop': at most 2 strings, got 3"},
      {R"("stop": "")", "'stop': expected strings of 1 to 1024 bytes, got one of 0"},
      {R"("stop_token_ids": 5)", "'stop_token_ids': expected a list of token ids, got 5"},
      {R"("stop_token_ids": [100])", "'stop_token_ids': expected token ids from 0 to 99, got 100"},
      {R"("stop_token_ids": [1, 2, 3])", "'stop_token_ids': at most 2 ids, got 3"},
      {R"("logit_bias": [])", "'logit_bias': expected an object of token ids and numbers, got []"},
      {R"("logit_bias": {"1": 0, "2": 0, "3": 0})", "'logit_bias': at most 2 tokens, got 3"},
      {R"("logit_bias": {"x": 1})", "'logit_bias': expected token ids from 0 to 99, got 'x'"},
      {R"("logit_bias": {"1ééééééééééééééééééééééééééééééééééééééééé": 1})",
       "'logit_bias': expected token ids from 0 to 99, got "
       "'1ééééééééééééééééééééééééééééééééééééééé…'"},
      {R"("logit_bias": {"1": 101})", "'logit_bias': expected numbers from -100 to 100, got 101"},
      {R"("min_tokens": 1)", "'min_tokens': only 0 is supported"},
      {R"("response_format": "json")", "'response_format': expected an object, got \"json\""},
      {R"("response_format": {"type": "xml"})",
       R"('response_format.type': expected "text", "json_object" or "json_schema")"},
      {R"("response_format": {"type": "json_schema"})",
       "'response_format.json_schema': expected an object with a schema"},
      {R"("response_format": {"type": "json_schema", "json_schema": {}})",
       "'response_format.json_schema.schema' is missing"},
      {R"("vote": "yes")", "'vote': expected true, false or an object, got \"yes\""},
      {R"("vote": {"stop_early": "soon"})",
       "'vote.stop_early': expected off, exact, confident or confident:P with P between 0.5 and "
       "1"},
      {R"("vote": {"stop_early": "off", "decide_early": true})",
       R"('vote.decide_early' means 'stop_early': "exact", not "off")"},
      {R"("vote": {"least_ballots": 2})",
       "'vote.least_ballots' is without effect: 'vote.stop_early' is not confident"},
      {R"("at_deadline": "")", R"('at_deadline': expected "close" or "drop")"},
      {R"("at_deadline": "drop")", "'at_deadline' is without effect: no 'time_budget'"},
      {R"("close_max_tokens": 5)",
       "'close_max_tokens' is without effect: nothing closes the answer (no 'max_think_tokens', "
       "and no 'time_budget' that closes)"},
      {R"("max_think_tokens": 5, "close_text": "")", "'close_text': an empty text closes nothing"},
      {R"("top_logprobs": 2)", "'top_logprobs' needs 'logprobs': true"},
      {R"("max_tokens": 5, "max_completion_tokens": 6)",
       "'max_tokens' and 'max_completion_tokens' differ"},
      {R"("functions": [])", "'functions': not supported"},
      {R"("modalities": ["audio"])", R"('modalities': only ["text"] is supported)"},
      {R"("tools": 1)", "'tools': expected a list, got 1"},
      {R"("tools": [5])", "'tools[0]': expected an object, got 5"},
      {R"("tools": [{"type": "function"}])",
       "'tools[0].function': expected an object with a name, got null"},
      {R"("tool_choice": "required")", R"('tool_choice': only "auto" and "none" are supported)"},
      {R"("chat_template_kwargs": 1)", "'chat_template_kwargs': expected an object, got 1"},
      {R"("n": 1, "n": 2)", "'n' is given twice in one object"},
  };
  for (const auto &[fields, says] : chats)
    EXPECT_EQ(message(hi + fields + "}", true), says);
  const std::pair<const char *, const char *> lists[] = {
      {"{}", "'messages': expected a list of at least one message, got {}"},
      {"[1, 2, 3]", "'messages': at most 2, got 3"},
      {"[1]", "'messages[0]': expected an object, got 1"},
      {R"([{"role": "robot"}])", "'messages[0].role': expected system, developer, user, assistant "
                                 "or tool, got \"robot\""},
      {R"([{"role": "user"}])",
       "'messages[0].content': expected a string or a list of parts, got null"},
      {R"([{"role": "user", "content": [5]}])",
       R"('messages[0].content[0]': only parts {"type": "text", "text": …} are supported, got 5)"},
      {R"([{"role": "user", "content": [{"type": "image_url"}]}])",
       R"('messages[0].content[0]': only parts {"type": "text", "text": …} are supported, got )"
       R"(one of type "image_url")"},
      {R"([{"role": "assistant", "tool_calls": 1}])",
       "'messages[0].tool_calls': expected a list, got 1"},
  };
  for (const auto &[list, says] : lists)
    EXPECT_EQ(message(std::string("{\"messages\": ") + list + "}", true), says);
  EXPECT_EQ(message("{}", true), "'messages' is missing");
  EXPECT_EQ(message("[]", true), "the body: expected a JSON object, got []");
  EXPECT_EQ(message("{", true).rfind("the body is not JSON: ", 0), 0u);
  std::string members = "{\"0\": 0";
  for (int i = 1; i <= 4096; ++i)
    members += ", \"" + std::to_string(i) + "\": 0";
  EXPECT_EQ(message(members + "}", true), "the body: an object has more than 4096 members");
  std::string bans = hi + R"("logit_bias": {"0": -100)";
  for (uint32_t token = 1; token < vocabulary; ++token)
    bans += ", \"" + std::to_string(token) + "\": -100";
  ApiRequest request;
  EXPECT_EQ(readRequest(bans + "}}", true, vocabulary, {}, &request)->message,
            "'logit_bias' forbids every token");
  const std::pair<const char *, const char *> completions[] = {
      {"{}", "'prompt' is missing"},
      {R"({"prompt": 5})", "'prompt': expected text or a list of token ids, got 5"},
      {R"({"prompt": ["a", [100]]})", "'prompt[1]': expected token ids from 0 to 99, got 100"},
      {R"({"prompt": ["a", "b", "c"]})", "'prompt': at most 2 prompts, got 3"},
      {R"({"prompt": ["a", "b"], "n": 5})", "'n': at most 8 samples of all prompts together"},
      {R"({"prompt": ["a", "b"], "vote": true})", "'vote' is for one prompt"},
      {R"({"prompt": "a", "max_tokens": 0})",
       "'max_tokens': 0 needs 'echo' and 'logprobs', or nothing would be said"},
      {R"({"prompt": "a", "max_tokens": 0, "echo": true, "logprobs": 1, "time_budget": 1})",
       "'max_tokens': 0 leaves no answer to vote on, to close or to time"},
      {R"({"prompt": "a", "best_of": 2})", "'best_of': only the value of 'n' is supported"},
  };
  for (const auto &[body, says] : completions)
    EXPECT_EQ(message(body, false), says);
}

TEST(ServeRequest, Chats) {
  auto fault = [](const std::string &messages) {
    ApiRequest request;
    auto error = readRequest("{\"messages\": " + messages + "}", true, vocabulary, {}, &request);
    return error ? error->param : "none";
  };
  EXPECT_EQ(fault("[]"), "messages");
  EXPECT_EQ(fault("{}"), "messages");
  EXPECT_EQ(fault("[1]"), "messages[0]");
  EXPECT_EQ(fault(R"([{"role": "robot", "content": "x"}])"), "messages[0].role");
  EXPECT_EQ(fault(R"([{"role": "user"}])"), "messages[0].content");
  EXPECT_EQ(fault(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
            "messages[0].content[0]");
  EXPECT_EQ(fault(R"([{"role": "user", "content": [{"type": "text", "text": 5}]}])"),
            "messages[0].content[0].text");
  EXPECT_EQ(fault(R"([{"role": "user", "content": "x", "mood": 1}])"), "messages[0].mood");
  EXPECT_EQ(fault(R"([{"role": "user", "content": [{"type": "text", "text": "x", "mood": 1}]}])"),
            "messages[0].content[0].mood");
  EXPECT_EQ(fault(R"([{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}])"),
            "messages[0].content[0]");
  EXPECT_EQ(fault(R"([{"role": "assistant", "content": [{"type": "refusal", "refusal": "x"}]}])"),
            "none");
  ApiRequest request;
  EXPECT_FALSE(readRequest(R"({"messages": [{"role": "developer", "content": [
      {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]})",
                           true, vocabulary, {}, &request));
  EXPECT_EQ(request.messages[0]["role"], "system");
  EXPECT_EQ(request.messages[0]["content"], "ab");
}

// Calls that are given back: their arguments are the object that the text holds, as templates write
// it; what is no JSON stays text.
TEST(ServeRequest, Calls) {
  auto read = [](const std::string &more, ApiRequest *request) {
    auto error = readRequest(R"({"messages": [{"role": "user", "content": "x"}, )" + more + "}",
                             true, vocabulary, {}, request);
    return error ? error->param : "none";
  };
  const std::string end = R"(]}])", begin = R"({"role": "assistant", "tool_calls": [)";
  ApiRequest request;
  EXPECT_EQ(read(begin + R"({"id": "1", "type": "function",
      "function": {"name": "f", "arguments": "{\"a\": [1]}"}},
      {"function": {"name": "g", "arguments": "a b"}}, {"type": "custom"})" +
                     end,
                 &request),
            "none");
  const auto &calls = request.messages[1]["tool_calls"];
  EXPECT_EQ(calls[0]["function"]["arguments"].dump(), R"({"a":[1]})");
  EXPECT_EQ(calls[1]["function"]["arguments"], "a b");
  EXPECT_EQ(read(begin + "5" + end, &request), "messages[1].tool_calls[0]");
  EXPECT_EQ(read(begin + "{}" + end, &request), "messages[1].tool_calls[0].function");
  EXPECT_EQ(read(begin + R"({"function": {"name": 1}})" + end, &request),
            "messages[1].tool_calls[0].function");
  const std::string message = R"({"role": "user", "content": "y"}], "tools": )";
  EXPECT_EQ(read(message + R"([{"type": "function", "function": {"name": "f"}}])", &request),
            "none");
  EXPECT_EQ(read(message + "[5]", &request), "tools[0]");
  EXPECT_EQ(read(message + R"([{"type": "function"}])", &request), "tools[0].function");
}

TEST(ServeRequest, Prompts) {
  auto count = [](const std::string &prompt) -> int {
    ApiRequest request;
    auto error = readRequest("{\"prompt\": " + prompt + "}", false, vocabulary, {}, &request);
    return error ? -1 : int(request.prompts.size());
  };
  EXPECT_EQ(count(R"("a")"), 1);
  EXPECT_EQ(count(R"(["a", "b"])"), 2);
  EXPECT_EQ(count("[1, 2]"), 1);
  EXPECT_EQ(count("[[1], [2], [3]]"), 3);
  EXPECT_EQ(count("[100]"), -1);
  EXPECT_EQ(count("[1, \"a\"]"), -1);
  EXPECT_EQ(count("{}"), -1);
}

// A body that is no JSON object, or one made to exhaust stack or time, is an error like others.
TEST(ServeRequest, Bodies) {
  std::string members = "{";
  for (int i = 0; i < 30000; ++i)
    members += "\"" + std::to_string(i) + "\":0,";
  for (const std::string &body :
       {members + "\"x\":0}", std::string(""), std::string("[]"), std::string("{"),
        std::string("{\"a\": \xFF}"), "{\"messages\": " + std::string(500000, '['),
        std::string("null")}) {
    ApiRequest request;
    auto error = readRequest(body, true, vocabulary, {}, &request);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->status, 400);
  }
}

// A key that comes twice means one value to one reader and another to the next.
TEST(ServeRequest, KeysOnce) {
  EXPECT_EQ(param(R"("temperature": 0, "temperature": 0)"), "temperature");
  EXPECT_EQ(param(R"("metadata": {"a": 1, "b": {"a": 1, "a": 2}})"), "a");
  EXPECT_EQ(param(R"("messages": [{"role": "user", "content": "x"}])"), "messages");
  read(R"("metadata": {"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]})");
}

TEST(ServeKeys, AdmitsKeysAlone) {
  const std::string path = testing::TempDir() + "keys" + std::to_string(getpid());
  std::ofstream(path) << "# two keys\n\nsk-0123456789abcdef\n  sk-fedcba9876543210  \r\n";
  ApiKeys keys;
  ASSERT_TRUE(ApiKeys::read(path, &keys).ok());
  EXPECT_TRUE(keys.admits("Bearer sk-0123456789abcdef"));
  EXPECT_TRUE(keys.admits("bearer sk-fedcba9876543210"));
  for (const char *wrong : {"", "Bearer ", "Bearer sk-0123456789abcde", "sk-0123456789abcdef",
                            "Basic sk-0123456789abcdef", "Bearer # two keys"})
    EXPECT_FALSE(keys.admits(wrong)) << wrong;
  ApiKeys weak;
  const auto message = [&] { return ApiKeys::read(path, &weak).message(); };
  const std::string flag = "--api-key-file " + path;
  std::ofstream(path) << "short\n";
  EXPECT_EQ(message(), flag + " line 1: a key of fewer than 16 characters can be guessed");
  std::ofstream(path) << "sk-0123456789\tabcdef\n";
  EXPECT_EQ(message(), flag + " line 1: a control character, which no header can hold");
  std::ofstream(path) << "# none\n";
  EXPECT_EQ(message(), flag + ": no key in it");
  std::remove(path.c_str());
  EXPECT_EQ(message(), "--api-key-file: " + path + ": cannot read: No such file or directory");
}
