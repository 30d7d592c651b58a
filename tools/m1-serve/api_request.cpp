#include "api_request.h"
#include "base/json_value.h"
#include <cmath>
#include <set>

using namespace m1rt;

namespace m1serve {

std::string dumped(const Json &value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const char *ApiError::type() const {
  switch (status) {
  case 401:
  case 403:
    return "authentication_error";
  case 404:
    return "not_found_error";
  case 429:
    return "rate_limit_error";
  default:
    return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

Json ApiError::json() const {
  auto orNull = [](const std::string &text) { return text.empty() ? Json() : Json(text); };
  return {
      {"error",
       {{"message", message}, {"type", type()}, {"param", orNull(param)}, {"code", orNull(code)}}}};
}

namespace {

using Error = std::optional<ApiError>;

/// What a value is, for messages.
std::string shown(const Json &value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 40 ? text : std::string("a ") + value.type_name();
}

/// The fields of an object, each asked for once; null counts as absent, as clients send it.
class Fields {
public:
  Fields(const Json &object, std::string prefix) : object(object), prefix(std::move(prefix)) {}

  const Json *find(const std::string &name) {
    known.insert(name);
    auto it = object.find(name);
    return it == object.end() || it->is_null() ? nullptr : &*it;
  }
  std::string path(const std::string &name) const { return prefix + shortened(name); }
  Error wrong(const std::string &name, const std::string &expected, const Json &value) const {
    return ApiError::bad(path(name),
                         "'" + path(name) + "': expected " + expected + ", got " + shown(value));
  }

  Error boolean(const std::string &name, bool *out) {
    const Json *value = find(name);
    if (value && !value->is_boolean())
      return wrong(name, "true or false", *value);
    if (value)
      *out = value->get<bool>();
    return {};
  }
  Error text(const std::string &name, std::string *out) {
    const Json *value = find(name);
    if (value && !value->is_string())
      return wrong(name, "a string", *value);
    if (value)
      *out = value->get<std::string>();
    return {};
  }
  template <typename T>
  Error integer(const std::string &name, uint64_t least, uint64_t most, T *out) {
    const Json *value = find(name);
    if (!value)
      return {};
    const std::string expected =
        "an integer from " + std::to_string(least) + " to " + std::to_string(most);
    uint64_t number = 0;
    if (value->is_number_unsigned())
      number = value->get<uint64_t>();
    else if (value->is_number_float() && value->get<double>() >= 0 &&
             value->get<double>() < 9007199254740992.0 && // 2^53
             std::floor(value->get<double>()) == value->get<double>())
      number = uint64_t(value->get<double>());
    else
      return wrong(name, expected, *value);
    if (number < least || number > most)
      return wrong(name, expected, *value);
    *out = T(number);
    return {};
  }
  template <typename T>
  Error number(const std::string &name, double least, double most, bool leastExcluded, T *out) {
    const Json *value = find(name);
    if (!value)
      return {};
    const double number = value->is_number() ? value->get<double>() : NAN;
    if (!(number >= least && number <= most) || (leastExcluded && number == least)) {
      char expected[80];
      std::snprintf(expected, sizeof expected, "a number %s %g and at most %g",
                    leastExcluded ? "above" : "of at least", least, most);
      return wrong(name, expected, *value);
    }
    *out = T(number);
    return {};
  }

  /// Fields that say nothing about the answer.
  void ignore(std::initializer_list<const char *> names) {
    known.insert(names.begin(), names.end());
  }
  /// A field that is known to others and not supported here, unless it has this harmless value.
  Error refuse(const std::string &name, const Json &harmless, const std::string &why) {
    const Json *value = find(name);
    if (value && *value != harmless)
      return ApiError::bad(path(name), "'" + path(name) + "': " + why);
    return {};
  }
  Error noOthers() const {
    for (const auto &[name, value] : object.items())
      if (!known.count(name) && !value.is_null())
        return ApiError::bad(path(name), "unknown field '" + path(name) + "'");
    return {};
  }

private:
  const Json &object;
  std::string prefix;
  std::set<std::string> known;
};

#define TRY(expression)                                                                            \
  do {                                                                                             \
    if (Error tried = (expression))                                                                \
      return tried;                                                                                \
  } while (false)

Error readStops(Fields &fields, const RequestLimits &limits, ApiRequest *out) {
  const Json *value = fields.find("stop");
  if (!value)
    return {};
  std::vector<std::string> stops;
  if (value->is_string())
    stops.push_back(value->get<std::string>());
  else if (value->is_array())
    for (const Json &item : *value) {
      if (!item.is_string())
        return fields.wrong("stop", "a string or a list of strings", item);
      stops.push_back(item.get<std::string>());
    }
  else
    return fields.wrong("stop", "a string or a list of strings", *value);
  if (stops.size() > limits.stops)
    return ApiError::bad("stop", "'stop': at most " + std::to_string(limits.stops) +
                                     " strings, got " + std::to_string(stops.size()));
  for (const std::string &stop : stops)
    if (stop.empty() || stop.size() > 1024)
      return ApiError::bad("stop", "'stop': expected strings of 1 to 1024 bytes, got one of " +
                                       std::to_string(stop.size()));
  out->stop = std::move(stops);
  return {};
}

Error readBias(Fields &fields, uint32_t vocabulary, const RequestLimits &limits, ApiRequest *out) {
  const Json *value = fields.find("logit_bias");
  if (!value)
    return {};
  if (!value->is_object())
    return fields.wrong("logit_bias", "an object of token ids and numbers", *value);
  if (value->size() > limits.biases)
    return ApiError::bad("logit_bias", "'logit_bias': at most " + std::to_string(limits.biases) +
                                           " tokens, got " + std::to_string(value->size()));
  size_t banned = 0;
  for (const auto &[key, bias] : value->items()) {
    const bool digits = !key.empty() && key.size() < 10 &&
                        key.find_first_not_of("0123456789") == std::string::npos &&
                        (key[0] != '0' || key.size() == 1); // 07 would be another 7
    if (!digits || std::stoul(key) >= vocabulary)
      return ApiError::bad("logit_bias", "'logit_bias': expected token ids from 0 to " +
                                             std::to_string(vocabulary - 1) + ", got '" +
                                             shortened(key) + "'");
    if (!bias.is_number() || !(std::abs(bias.get<double>()) <= 100))
      return ApiError::bad("logit_bias",
                           "'logit_bias': expected numbers from -100 to 100, got " + shown(bias));
    // As everywhere: -100 is a ban.
    const float amount = bias.get<float>();
    out->bias.push_back({int32_t(std::stoul(key)), amount <= -100 ? -INFINITY : amount});
    banned += amount <= -100;
  }
  if (banned == vocabulary)
    return ApiError::bad("logit_bias", "'logit_bias' forbids every token");
  return {};
}

Error readFormat(Fields &fields, ApiRequest *out) {
  const Json *value = fields.find("response_format");
  if (!value)
    return {};
  if (!value->is_object())
    return fields.wrong("response_format", "an object", *value);
  Fields format(*value, "response_format.");
  std::string type;
  TRY(format.text("type", &type));
  if (type == "json_object") {
    out->format.kind = ResponseFormat::Kind::jsonObject;
  } else if (type == "json_schema") {
    const Json *definition = format.find("json_schema");
    if (!definition || !definition->is_object())
      return ApiError::bad("response_format.json_schema",
                           "'response_format.json_schema': expected an object with a schema");
    Fields inner(*definition, "response_format.json_schema.");
    std::string name, description;
    bool strict = false; // every schema is enforced
    TRY(inner.text("name", &name));
    TRY(inner.text("description", &description));
    TRY(inner.boolean("strict", &strict));
    const Json *schema = inner.find("schema");
    if (!schema)
      return ApiError::bad("response_format.json_schema.schema",
                           "'response_format.json_schema.schema' is missing");
    TRY(inner.noOthers());
    out->format.kind = ResponseFormat::Kind::jsonSchema;
    out->format.schema = *schema;
  } else if (type != "text") {
    return ApiError::bad(
        "response_format.type",
        "'response_format.type': expected \"text\", \"json_object\" or \"json_schema\"");
  }
  return format.noOthers();
}

Error readVoteObject(const Json &value, ApiRequest *out) {
  Fields vote(value, "vote.");
  bool exact = false;
  TRY(vote.boolean("decide_early", &exact));
  std::string rule = exact ? "exact" : "off";
  TRY(vote.text("stop_early", &rule));
  if (!parseStopRule(rule, &out->stopRule))
    return ApiError::bad("vote.stop_early",
                         "'vote.stop_early': expected off, exact, confident or confident:P with P "
                         "between 0.5 and 1");
  if (exact && out->stopRule.kind != StopRule::Kind::exact)
    return ApiError::bad("vote.decide_early",
                         "'vote.decide_early' means 'stop_early': \"exact\", not \"" +
                             shortened(rule) + "\"");
  if (vote.find("least_ballots") && out->stopRule.kind != StopRule::Kind::confident)
    return ApiError::bad("vote.least_ballots", "'vote.least_ballots' is without effect: "
                                               "'vote.stop_early' is not confident");
  TRY(vote.integer("least_ballots", 1, 1 << 20, &out->stopRule.leastBallots));
  TRY(vote.integer("probe_every", 1, 1 << 24, &out->probeEvery));
  TRY(vote.boolean("probe_on_end", &out->probeOnEnd));
  return vote.noOthers();
}

Error readVote(Fields &fields, ApiRequest *out) {
  const Json *value = fields.find("vote");
  if (value && value->is_boolean()) {
    out->vote = value->get<bool>();
  } else if (value) {
    if (!value->is_object())
      return fields.wrong("vote", "true, false or an object", *value);
    out->vote = true;
    TRY(readVoteObject(*value, out));
  }
  TRY(fields.number("time_budget", 0, 1e6, true, &out->timeBudget));
  TRY(fields.integer("max_think_tokens", 1, 1 << 24, &out->maxThinkTokens));
  TRY(fields.integer("close_max_tokens", 1, 1 << 16, &out->closeMaxTokens));
  out->closesAtDeadline = out->vote;
  if (fields.find("at_deadline")) {
    std::string action;
    TRY(fields.text("at_deadline", &action));
    if (action != "close" && action != "drop")
      return ApiError::bad("at_deadline", "'at_deadline': expected \"close\" or \"drop\"");
    if (out->timeBudget == 0)
      return ApiError::bad("at_deadline", "'at_deadline' is without effect: no 'time_budget'");
    out->closesAtDeadline = action == "close";
  }
  const bool saysText = out->closes() || out->probes();
  if (saysText)
    out->closeText = "\n\nThe final answer is \\boxed{"; // as m1-run's --close-text
  for (const auto &[name, used] :
       {std::pair("close_text", saysText), std::pair("close_max_tokens", out->closes())})
    if (fields.find(name) && !used)
      return ApiError::bad(name, std::string("'") + name +
                                     "' is without effect: nothing closes the answer (no "
                                     "'max_think_tokens', and no 'time_budget' that closes)");
  TRY(fields.text("close_text", &out->closeText));
  if (saysText && out->closeText.empty())
    return ApiError::bad("close_text", "'close_text': an empty text closes nothing");
  return {};
}

Error readTokens(const Json &value, const std::string &param, uint32_t vocabulary,
                 std::vector<int32_t> *out, const std::string &expected = "a list of token ids") {
  if (!value.is_array())
    return ApiError::bad(param, "'" + param + "': expected " + expected + ", got " + shown(value));
  for (const Json &item : value) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() >= vocabulary)
      return ApiError::bad(param, "'" + param + "': expected token ids from 0 to " +
                                      std::to_string(vocabulary - 1) + ", got " + shown(item));
    out->push_back(item.get<int32_t>());
  }
  return {};
}

/// Fields of other servers, with the values that mean what is done here anyway.
Error readOthers(Fields &fields) {
  const std::pair<const char *, Json> harmless[] = {
      {"use_beam_search", false},
      {"min_tokens", 0},
      {"skip_special_tokens", true},
      {"spaces_between_special_tokens", true},
      {"include_stop_str_in_output", false},
      {"return_token_ids", false},
      {"return_tokens_as_token_ids", false},
      {"length_penalty", 1},
      {"early_stopping", false},
      {"priority", 0},
      {"add_generation_prompt", true},
      {"continue_final_message", false},
      {"cache_prompt", true},
  };
  for (const auto &[name, value] : harmless)
    TRY(fields.refuse(name, value, "only " + dumped(value) + " is supported"));
  return {};
}

/// Objects keep the order of their members, so each key is looked for among all before it: their
/// number is bounded. Of a key that comes twice readers take one or the other value. Either fault
/// ends the reading: it is thrown.
class BodyBuilder final : public JsonBuilder<Json> {
public:
  void beginObject() override {
    keys.emplace_back();
    JsonBuilder::beginObject();
  }
  void key(std::string &name) override {
    constexpr size_t mostMembers = 4096;
    if (keys.back().size() == mostMembers)
      throw ApiError::bad("", "the body: an object has more than " + std::to_string(mostMembers) +
                                  " members");
    if (!keys.back().insert(name).second)
      throw ApiError::bad(shortened(name),
                          "'" + shortened(name) + "' is given twice in one object");
    JsonBuilder::key(name);
  }
  void endObject() override {
    keys.pop_back();
    JsonBuilder::endObject();
  }

private:
  std::vector<std::set<std::string>> keys; // of the objects that have begun
};

Error readObject(const std::string &body, Json *out) {
  BodyBuilder builder;
  std::string fault;
  try {
    if (!parseJson(body, builder, fault))
      return ApiError::bad("", "the body is not JSON: " + fault);
  } catch (const ApiError &error) {
    return error;
  }
  *out = std::move(builder.result);
  if (!out->is_object())
    return ApiError::bad("", "the body: expected a JSON object, got " + shown(*out));
  return {};
}

/// One part of a message's content, which has to be text.
Error readPart(const Json &part, const std::string &path, const std::string &role,
               std::string *text) {
  // What a model refused to say is given back as it said it.
  const bool refusal =
      role == "assistant" && part.is_object() && part.value("type", Json()) == Json("refusal");
  const char *field = refusal ? "refusal" : "text";
  if (!part.is_object() || part.value("type", Json()) != Json(field))
    return ApiError::bad(
        path,
        "'" + path +
            "': only parts {\"type\": \"text\", \"text\": …} are "
            "supported, got " +
            (part.is_object() ? "one of type " + shown(part.value("type", Json())) : shown(part)));
  Fields fields(part, path + ".");
  fields.ignore({"type"});
  const Json *said = fields.find(field);
  if (!said || !said->is_string())
    return fields.wrong(field, "a string", said ? *said : Json());
  *text += said->get<std::string>();
  return fields.noOthers();
}

/// A call or a tool, whose type may be left out of a `call`: a function is an object with a name.
Error readFunction(const Json &value, bool call, const std::string &path, Json *out) {
  if (!value.is_object())
    return ApiError::bad(path, "'" + path + "': expected an object, got " + shown(value));
  *out = value;
  const Json function = value.value("function", Json());
  if (value.value("type", call ? Json("function") : Json()) != Json("function"))
    return {};
  if (!function.is_object() || !function.value("name", Json()).is_string())
    return ApiError::bad(path + ".function", "'" + path +
                                                 ".function': expected an object with a "
                                                 "name, got " +
                                                 shown(function));
  return {};
}

/// Clients send a call's arguments as a text that holds JSON; templates write them as the object.
Error readCalls(const Json &calls, const std::string &path, Json *out) {
  *out = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    Json call, arguments;
    TRY(readFunction(calls[i], true, path + "[" + std::to_string(i) + "]", &call));
    auto function = call.find("function");
    if (function != call.end() && function->is_object()) {
      const Json given = function->value("arguments", Json());
      if (given.is_string() && !readObject(given.get<std::string>(), &arguments))
        (*function)["arguments"] = std::move(arguments);
    }
    out->push_back(std::move(call));
  }
  return {};
}

Error readMessages(const Json &value, const RequestLimits &limits, Json *out) {
  if (!value.is_array() || value.empty())
    return ApiError::bad("messages", "'messages': expected a list of at least one message, got " +
                                         shown(value));
  if (value.size() > limits.messages)
    return ApiError::bad("messages", "'messages': at most " + std::to_string(limits.messages) +
                                         ", got " + std::to_string(value.size()));
  *out = Json::array();
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string path = "messages[" + std::to_string(i) + "]";
    if (!value[i].is_object())
      return ApiError::bad(path, "'" + path + "': expected an object, got " + shown(value[i]));
    Fields fields(value[i], path + ".");
    std::string role;
    TRY(fields.text("role", &role));
    static const std::set<std::string> roles = {"system", "developer", "user", "assistant", "tool"};
    if (!roles.count(role))
      return fields.wrong("role", "system, developer, user, assistant or tool",
                          value[i].value("role", Json()));
    Json message = {{"role", role == "developer" ? "system" : role}};
    const Json *content = fields.find("content");
    if (content && content->is_array()) {
      std::string text;
      for (size_t j = 0; j < content->size(); ++j)
        TRY(readPart((*content)[j], path + ".content[" + std::to_string(j) + "]", role, &text));
      message["content"] = text;
    } else if (content && content->is_string()) {
      message["content"] = *content;
    } else if (content || role != "assistant") {
      return fields.wrong("content", "a string or a list of parts", content ? *content : Json());
    } else {
      message["content"] = "";
    }
    for (const char *text : {"name", "tool_call_id", "reasoning_content"}) {
      std::string given;
      TRY(fields.text(text, &given));
      if (!given.empty())
        message[text] = given;
    }
    if (const Json *calls = fields.find("tool_calls")) {
      if (!calls->is_array())
        return fields.wrong("tool_calls", "a list", *calls);
      TRY(readCalls(*calls, fields.path("tool_calls"), &message["tool_calls"]));
    }
    fields.ignore({"refusal", "annotations", "audio"}); // of an assistant's message, given back
    TRY(fields.noOthers());
    out->push_back(std::move(message));
  }
  return {};
}

Error readPrompts(Fields &fields, uint32_t vocabulary, const RequestLimits &limits,
                  ApiRequest *out) {
  const Json *value = fields.find("prompt");
  if (!value)
    return ApiError::bad("prompt", "'prompt' is missing");
  auto add = [&](const Json &item, const std::string &param) -> Error {
    if (item.is_string()) {
      out->prompts.emplace_back(item.get<std::string>());
      return {};
    }
    std::vector<int32_t> tokens;
    TRY(readTokens(item, param, vocabulary, &tokens, "text or a list of token ids"));
    out->prompts.emplace_back(std::move(tokens));
    return {};
  };
  const bool several = value->is_array() && !value->empty() && !(*value)[0].is_number();
  if (!several)
    return add(*value, "prompt");
  if (value->size() > limits.prompts)
    return ApiError::bad("prompt", "'prompt': at most " + std::to_string(limits.prompts) +
                                       " prompts, got " + std::to_string(value->size()));
  for (size_t i = 0; i < value->size(); ++i)
    TRY(add((*value)[i], "prompt[" + std::to_string(i) + "]"));
  return {};
}

/// What the chat template is given.
Error readTemplate(Fields &fields, const RequestLimits &limits, ApiRequest *out) {
  const Json *messages = fields.find("messages");
  if (!messages)
    return ApiError::bad("messages", "'messages' is missing");
  TRY(readMessages(*messages, limits, &out->messages));
  if (const Json *tools = fields.find("tools"); tools && !(tools->is_array() && tools->empty())) {
    if (!tools->is_array())
      return fields.wrong("tools", "a list", *tools);
    out->tools = Json::array();
    for (size_t i = 0; i < tools->size(); ++i) {
      Json tool;
      TRY(readFunction((*tools)[i], false, "tools[" + std::to_string(i) + "]", &tool));
      out->tools.push_back(std::move(tool));
    }
  }
  if (const Json *choice = fields.find("tool_choice")) {
    if (*choice == "none")
      out->tools = Json();
    else if (*choice != "auto")
      return ApiError::bad("tool_choice",
                           "'tool_choice': only \"auto\" and \"none\" are supported");
  }
  if (const Json *variables = fields.find("chat_template_kwargs")) {
    if (!variables->is_object())
      return fields.wrong("chat_template_kwargs", "an object", *variables);
    out->templateVariables = *variables;
  }
  return {};
}

Error readChat(Fields &fields, const RequestLimits &limits, ApiRequest *out) {
  TRY(readTemplate(fields, limits, out));
  TRY(fields.boolean("separate_reasoning", &out->separateReasoning));
  TRY(fields.boolean("logprobs", &out->logprobs));
  TRY(fields.integer("top_logprobs", 0, limits.topLogprobs, &out->sampling.topLogprobs));
  if (out->sampling.topLogprobs && !out->logprobs)
    return ApiError::bad("top_logprobs", "'top_logprobs' needs 'logprobs': true");
  uint32_t most = 0;
  for (const char *name : {"max_tokens", "max_completion_tokens"}) {
    if (!fields.find(name))
      continue;
    TRY(fields.integer(name, 1, 1 << 24, &most));
    if (out->maxTokens && *out->maxTokens != most)
      return ApiError::bad(name, "'max_tokens' and 'max_completion_tokens' differ");
    out->maxTokens = most;
    out->maxTokensField = name;
  }
  const std::string never = "not supported";
  for (const char *name : {"functions", "function_call", "audio", "prediction",
                           "web_search_options", "reasoning_effort", "verbosity"})
    TRY(fields.refuse(name, Json(), never));
  TRY(fields.refuse("modalities", Json::array({"text"}), "only [\"text\"] is supported"));
  fields.ignore({"parallel_tool_calls"});
  return {};
}

Error readCompletion(Fields &fields, uint32_t vocabulary, const RequestLimits &limits,
                     ApiRequest *out) {
  TRY(readPrompts(fields, vocabulary, limits, out));
  TRY(fields.boolean("echo", &out->echo));
  TRY(fields.boolean("add_special_tokens", &out->specialTokens));
  if (fields.find("logprobs")) {
    TRY(fields.integer("logprobs", 0, limits.topLogprobs, &out->sampling.topLogprobs));
    out->logprobs = true;
  }
  out->maxTokens = 16; // OpenAI's default of this endpoint
  TRY(fields.integer("max_tokens", 0, 1 << 24, &*out->maxTokens));
  if (*out->maxTokens == 0 && !out->scoresPrompt())
    return ApiError::bad("max_tokens", "'max_tokens': 0 needs 'echo' and 'logprobs', or nothing "
                                       "would be said");
  if (*out->maxTokens == 0 && (out->vote || out->timeBudget > 0 || out->maxThinkTokens))
    return ApiError::bad("max_tokens",
                         "'max_tokens': 0 leaves no answer to vote on, to close or to time");
  TRY(fields.refuse("suffix", Json(""), "not supported"));
  if (const Json *best = fields.find("best_of"); best && *best != Json(out->samples))
    return ApiError::bad("best_of", "'best_of': only the value of 'n' is supported");
  return {};
}

} // namespace

Error readTokenizeRequest(const std::string &body, const RequestLimits &limits,
                          TokenizeRequest *out) {
  Json object;
  TRY(readObject(body, &object));
  Fields fields(object, "");
  TRY(fields.text("model", &out->chat.model));
  if (!fields.find("messages") == !fields.find("prompt"))
    return ApiError::bad("prompt", "give one of 'prompt' and 'messages'");
  if (fields.find("prompt")) {
    TRY(fields.text("prompt", &out->prompt.emplace()));
    TRY(fields.boolean("add_special_tokens", &out->specialTokens));
  } else {
    TRY(fields.refuse("add_special_tokens", false, "the template of the chat brings its own"));
    TRY(readTemplate(fields, limits, &out->chat));
  }
  return fields.noOthers();
}

Error readDetokenizeRequest(const std::string &body, uint32_t vocabulary, std::string *model,
                            std::vector<int32_t> *tokens) {
  Json object;
  TRY(readObject(body, &object));
  Fields fields(object, "");
  TRY(fields.text("model", model));
  const Json *list = fields.find("tokens");
  if (!list)
    return ApiError::bad("tokens", "'tokens' is missing");
  TRY(readTokens(*list, "tokens", vocabulary, tokens));
  return fields.noOthers();
}

Error readRequest(const std::string &body, bool chat, uint32_t vocabulary,
                  const RequestLimits &limits, ApiRequest *out) {
  Json object;
  TRY(readObject(body, &object));
  Fields fields(object, "");
  out->chat = chat;
  TRY(fields.text("model", &out->model));
  TRY(fields.integer("n", 1, limits.samples, &out->samples));
  TRY(fields.boolean("stream", &out->stream));
  if (const Json *options = fields.find("stream_options")) {
    if (!options->is_object())
      return fields.wrong("stream_options", "an object", *options);
    if (!out->stream)
      return ApiError::bad("stream_options", "'stream_options' needs 'stream': true");
    Fields inner(*options, "stream_options.");
    TRY(inner.boolean("include_usage", &out->includeUsage));
    inner.ignore({"include_obfuscation"});
    TRY(inner.noOthers());
  }
  SamplingParameters &sampling = out->sampling;
  sampling.temperature = 1; // OpenAI's default
  TRY(fields.number("temperature", 0, 100, false, &sampling.temperature));
  TRY(fields.number("top_p", 0, 1, false, &sampling.topP));
  if (sampling.topP == 0) // the likeliest token alone
    sampling.topP = 1e-6f;
  if (const Json *k = fields.find("top_k"); k && *k == Json(-1))
    sampling.topK = 0; // as other servers say "all"
  else
    TRY(fields.integer("top_k", 0, 1 << 30, &sampling.topK));
  TRY(fields.number("min_p", 0, 1, false, &sampling.minP));
  TRY(fields.number("repetition_penalty", 0.01, 100, false, &sampling.repetitionPenalty));
  TRY(fields.number("presence_penalty", -2, 2, false, &sampling.presencePenalty));
  TRY(fields.number("frequency_penalty", -2, 2, false, &sampling.frequencyPenalty));
  TRY(readBias(fields, vocabulary, limits, out));
  if (fields.find("seed")) {
    // Clients send signed ones, too; they are taken by their bits.
    const Json &seed = *fields.find("seed");
    uint64_t whole = 0;
    if (seed.is_number_float() && !fields.integer("seed", 0, UINT64_MAX, &whole)) {
      out->seed = whole;
    } else if (seed.is_number_integer()) {
      out->seed = seed.is_number_unsigned() ? seed.get<uint64_t>() : uint64_t(seed.get<int64_t>());
    } else {
      return fields.wrong("seed", "an integer of 64 bits", seed);
    }
  }
  TRY(readStops(fields, limits, out));
  if (const Json *ids = fields.find("stop_token_ids")) {
    TRY(readTokens(*ids, "stop_token_ids", vocabulary, &out->stopTokens));
    if (out->stopTokens.size() > limits.stops)
      return ApiError::bad("stop_token_ids", "'stop_token_ids': at most " +
                                                 std::to_string(limits.stops) + " ids, got " +
                                                 std::to_string(out->stopTokens.size()));
  }
  TRY(readOthers(fields));
  TRY(fields.boolean("ignore_eos", &out->ignoreEos));
  TRY(readVote(fields, out));
  TRY(readFormat(fields, out));
  TRY(chat ? readChat(fields, limits, out) : readCompletion(fields, vocabulary, limits, out));
  if (uint64_t(out->samples) * std::max<size_t>(out->prompts.size(), 1) > limits.samples)
    return ApiError::bad("n", "'n': at most " + std::to_string(limits.samples) +
                                  " samples of all prompts together");
  if (out->vote && out->prompts.size() > 1)
    return ApiError::bad("vote", "'vote' is for one prompt");
  fields.ignore({"user", "metadata", "store", "service_tier", "safety_identifier",
                 "prompt_cache_key", "prompt_cache_retention"});
  return fields.noOthers();
}

} // namespace m1serve
