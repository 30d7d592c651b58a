#include "generation.h"
#include "base/json_value.h"
#include "command_line.h"
#include "input.h"
#include <cassert>
#include <charconv>
#include <cmath>

using namespace m1rt;

namespace m1tool {

/// NAME=VALUE, for CLI11's check().
static std::string isTemplateArg(const std::string &text) {
  const size_t equal = text.find('=');
  const std::string name = text.substr(0, equal);
  return equal == std::string::npos || name.empty() || name == "messages"
             ? "expected NAME=VALUE, of another name than messages, got " + text
             : "";
}

/// ID=VALUE.
static bool parseBias(const std::string &text, TokenBias *out) {
  const char *end = text.data() + text.size();
  const auto [equals, token] = std::from_chars(text.data(), end, out->token);
  if (token != std::errc() || equals == end || *equals != '=')
    return false;
  const char *number = equals + 1;
  if (end - number > 1 && number[0] == '+' && number[1] != '-') // which from_chars does not take
    ++number;
  const auto [rest, bias] = std::from_chars(number, end, out->bias);
  return bias == std::errc() && rest == end && !std::isnan(out->bias) && out->bias != HUGE_VALF;
}

static std::string isBias(const std::string &text) {
  TokenBias bias;
  return parseBias(text, &bias) ? "" : "expected ID=VALUE, with a number or -inf, got " + text;
}

void addPromptOptions(CLI::App &app, PromptOptions *out) {
  const char *group = "Prompt";
  app.add_option("--system", out->system, "System message")->group(group)->type_name("TEXT");
  app.add_flag("--raw", out->raw, "The prompt as it is, without the chat template")->group(group);
  app.add_flag("--parse-special", out->parseSpecial,
               "Control tokens that messages spell count; otherwise they are text")
      ->group(group);
  app.add_option("--template-arg", out->templateArgs,
                 "A variable of the chat template, as JSON or else as text; may be given several "
                 "times")
      ->group(group)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("NAME=VALUE")
      ->check(isTemplateArg)
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--prefill", out->prefill,
                 "How the answer begins, such as '<think>\\n'; special tokens in it count")
      ->group(group)
      ->type_name("TEXT");
}

void addGenerationOptions(CLI::App &app, GenerationOptions *out) {
  const char *group = "Generation";
  SamplingParameters &sampling = out->sampling;
  out->flags = &app;
  app.add_flag("--model-defaults", out->modelDefaults,
               "Sampling as the model's generation_config.json asks, where no flag says otherwise")
      ->group(group);
  app.add_option("--temperature", sampling.temperature, "0: always the likeliest token")
      ->group(group)
      ->capture_default_str()
      ->check(numberIn(0.0, 100.0));
  app.add_option("--top-k", sampling.topK, "Sample from the k likeliest tokens; 0: all")
      ->group(group)
      ->capture_default_str()
      ->check(CLI::Range(0, INT32_MAX));
  app.add_option("--top-p", sampling.topP,
                 "Sample from the likeliest tokens that hold this much probability")
      ->group(group)
      ->capture_default_str()
      ->check(numberIn(0.0, 1.0));
  app.add_option("--min-p", sampling.minP,
                 "Drop tokens less likely than this share of the likeliest")
      ->group(group)
      ->capture_default_str()
      ->check(numberIn(0.0, 1.0));
  app.add_option("--repetition-penalty", sampling.repetitionPenalty,
                 "Of tokens already seen; 1: none")
      ->group(group)
      ->capture_default_str()
      ->check(numberIn(0.01, 100.0));
  app.add_option("--presence-penalty", sampling.presencePenalty,
                 "Taken off the logits of tokens that the answer holds; 0: none")
      ->group(group)
      ->capture_default_str()
      ->check(numberIn(-100.0, 100.0));
  app.add_option("--frequency-penalty", sampling.frequencyPenalty,
                 "The same, times their occurrences there; 0: none")
      ->group(group)
      ->capture_default_str()
      ->check(numberIn(-100.0, 100.0));
  app.add_option("--logit-bias", out->logitBias,
                 "Added to a token's logit, -inf: never; may be given several times")
      ->group(group)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("ID=VALUE")
      ->check(isBias)
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--seed", sampling.seed, "Same seed, same samples")
      ->group(group)
      ->capture_default_str()
      ->check(isSeed);
  app.add_option("--stop", out->stop,
                 "End a sample before this text (\\n: a line break); may be given several times")
      ->group(group)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("TEXT")
      ->expected(1)
      ->allow_extra_args(false); // which would take [a,b] for two texts
  app.add_option("--stop-token", out->stopTokens,
                 "End a sample with this token id, too; may be given several times")
      ->group(group)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("ID")
      ->expected(1);
  app.add_flag("--ignore-eos", out->ignoreEos, "Go on after an end-of-sequence token")
      ->group(group);

  group = "Many samples";
  app.add_option("--max-think-tokens", out->maxThinkTokens,
                 "Close a sample by force after this many tokens; 0: never")
      ->group(group)
      ->capture_default_str()
      ->check(CLI::Range(0, INT32_MAX));
  app.add_option("--close-text", out->closeText,
                 "What a sample that is closed by force is made to say (\\n: a line break)")
      ->group(group)
      ->capture_default_str()
      ->type_name("TEXT");
  app.add_option("--close-max-tokens", out->closeMaxTokens,
                 "Tokens that a sample may add to that at most")
      ->group(group)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  app.add_flag("--drop-at-deadline", out->dropAtDeadline,
               "Drop running samples at the end of the budget instead of closing them")
      ->group(group);
}

void addProbeOptions(CLI::App &app, GenerationOptions *out) {
  const char *group = "Many samples";
  app.add_option("--probe-every", out->probeEvery,
                 "Ask every sample after so many tokens, and so many more, what it would answer: a "
                 "copy of it is fed --close-text; its answer is a provisional ballot. 0: never")
      ->group(group)
      ->capture_default_str()
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 24));
  app.add_flag("--probe-on-end", out->probeOnEnd,
               "Ask the samples that run in the same way whenever one of their prompt's ends, but "
               "none before it has said as many tokens as that may cost since it was last asked")
      ->group(group);
}

std::string checkGeneration(const CLI::App &app, const GenerationOptions &options,
                            const std::string &timeBudgetFlag) {
  auto given = [&](const char *option) { return app.count(option) > 0; };
  if (options.dropAtDeadline && options.timeBudget == 0)
    return "--drop-at-deadline needs " + timeBudgetFlag;
  for (const char *option : {"--close-text", "--close-max-tokens"})
    if (!options.closes() && given(option) &&
        !(options.probes() && option == std::string("--close-text")))
      return std::string(option) +
             " is for samples that are closed by force: by --max-think-tokens, or by " +
             timeBudgetFlag + " without --drop-at-deadline";
  if ((options.closes() || options.probes()) && options.closeText.empty())
    return "--close-text: an empty text closes nothing";
  if (options.maxThinkTokens >= options.maxNewTokens)
    return "--max-think-tokens " + std::to_string(options.maxThinkTokens) +
           " is never reached: samples end after --max-new-tokens " +
           std::to_string(options.maxNewTokens);
  return "";
}

static Status readBias(const std::string &text, uint32_t vocabulary, TokenBias *out) {
  (void)parseBias(text, out); // isBias() has seen it
  if (out->token < 0 || uint32_t(out->token) >= vocabulary)
    return error(StatusCode::invalidArgument, "--logit-bias %s: the vocabulary has ids 0 to %u",
                 text.c_str(), vocabulary - 1);
  return {};
}

void applyModelDefaults(const char *tool, const Model &model, GenerationOptions *options) {
  if (!options->modelDefaults)
    return;
  const GenerationDefaults defaults = model.artifact().generationDefaults();
  std::string said;
  auto take = [&](const char *flag, const auto &from, auto &to) {
    if (!from || options->flags->count(flag) > 0)
      return;
    to = *from;
    said +=
        (said.empty() ? "" : ", ") + std::string(flag + 2) + " " + formatted("%g", double(*from));
  };
  SamplingParameters &sampling = options->sampling;
  take("--temperature", defaults.temperature, sampling.temperature);
  take("--top-k", defaults.topK, sampling.topK);
  take("--top-p", defaults.topP, sampling.topP);
  take("--min-p", defaults.minP, sampling.minP);
  take("--repetition-penalty", defaults.repetitionPenalty, sampling.repetitionPenalty);
  std::fprintf(stderr, "%s: the model's defaults: %s\n", tool,
               !said.empty()      ? said.c_str()
               : defaults.empty() ? "it names none"
                                  : "flags replace all of them");
}

Status fillRequest(const Model &model, const ModelText *text, const GenerationOptions &options,
                   Request *out) {
  const schema::Module &module = model.module();
  out->maxNewTokens = options.maxNewTokens;
  out->sampling = options.sampling;
  out->wantLogprobs = options.wantLogprobs;
  for (const std::string &bias : options.logitBias) {
    out->bias.emplace_back();
    M1_TRY(readBias(bias, module.vocab_size(), &out->bias.back()));
  }
  assert((text || options.stop.empty()) && "who takes --stop has loaded the tokenizer");
  if (!text && (options.closes() || options.probes()))
    return error(StatusCode::unsupported,
                 "--max-think-tokens, time budgets and probes close answers with --close-text: the "
                 "artifact has no tokenizer to read that text with");
  for (const std::string &stop : options.stop) {
    out->stopStrings.push_back(unescaped(stop));
    M1_TRY(text->checkStopText(out->stopStrings.back()));
  }
  out->stopTokens = options.stopTokens;
  for (int32_t token : options.stopTokens)
    if (token < 0 || uint32_t(token) >= module.vocab_size())
      return error(StatusCode::invalidArgument,
                   "--stop-token %d cannot match: the vocabulary has ids 0 to %u", token,
                   module.vocab_size() - 1);
  if (!options.ignoreEos && module.eos_ids())
    out->stopTokens.insert(out->stopTokens.end(), module.eos_ids()->begin(),
                           module.eos_ids()->end());
  out->timeBudget = options.timeBudget;
  out->maxThinkTokens = options.maxThinkTokens;
  out->atDeadline = options.dropAtDeadline ? DeadlineAction::drop : DeadlineAction::close;
  std::vector<int32_t> closing;
  if (options.closes() || options.probes())
    if (Status status = text->encode(unescaped(options.closeText), false, &closing); !status.ok())
      return std::move(status).prefixed("--close-text");
  out->probeEvery = options.probeEvery;
  out->probeOnEnd = options.probeOnEnd;
  if (options.probes())
    out->probeTokens = closing;
  if (options.closes()) {
    out->closeTokens = std::move(closing);
    out->closeMaxTokens = options.closeMaxTokens;
  }
  return {};
}

/// A JSON value for templates; false where it is nested too deeply.
static bool valueOf(const nlohmann::ordered_json &json, int depth, jinja::Value *out) {
  constexpr int mostDepth = 32;
  if (json.is_boolean())
    *out = json.get<bool>();
  else if (json.is_number_integer())
    *out = json.get<int64_t>();
  else if (json.is_number())
    *out = json.get<double>();
  else if (json.is_string())
    *out = json.get<std::string>();
  else if (json.is_null())
    *out = nullptr;
  else if (depth == mostDepth)
    return false;
  if (json.is_array()) {
    jinja::List list;
    for (const auto &item : json) {
      list.emplace_back();
      if (!valueOf(item, depth + 1, &list.back()))
        return false;
    }
    *out = std::move(list);
  } else if (json.is_object()) {
    jinja::Dict dict;
    for (const auto &[name, item] : json.items()) {
      jinja::Value value;
      if (!valueOf(item, depth + 1, &value))
        return false;
      dict.set(name, std::move(value));
    }
    *out = std::move(dict);
  }
  return true;
}

static Status readTemplateArgs(const std::vector<std::string> &arguments, jinja::Dict *out) {
  for (const std::string &argument : arguments) {
    const size_t equal = argument.find('='); // isTemplateArg() has seen it
    const std::string name = argument.substr(0, equal);
    const std::string text = argument.substr(equal + 1);
    const auto json = readJsonOrDiscard<nlohmann::ordered_json>(text);
    jinja::Value value = text;
    if (!json.is_discarded() && !valueOf(json, 0, &value))
      return error(StatusCode::invalidArgument, "--template-arg %s: is nested too deeply",
                   name.c_str());
    out->set(name, std::move(value));
  }
  return {};
}

Status encodePrompt(const ModelText &text, const PromptOptions &options,
                    const std::vector<ChatMessage> &messages, std::vector<int32_t> *out) {
  if (options.raw) {
    M1_TRY(text.encode(messages.back().content, true, out));
  } else {
    jinja::Dict variables;
    M1_TRY(readTemplateArgs(options.templateArgs, &variables));
    M1_TRY(text.encodeChat(messages, out, options.parseSpecial, &variables));
  }
  if (options.prefill.empty())
    return {};
  std::vector<int32_t> beginning;
  if (Status status = text.encode(unescaped(options.prefill), false, &beginning); !status.ok())
    return std::move(status).prefixed("--prefill");
  out->insert(out->end(), beginning.begin(), beginning.end());
  return {};
}

} // namespace m1tool
