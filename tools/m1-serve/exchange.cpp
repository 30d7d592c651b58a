#include "exchange.h"
#include "ballot.h"
#include "quoted.h"
#include <algorithm>
#include <cmath>

using namespace m1rt;
using m1tool::appendQuoted;

namespace m1serve {

/// JSON has no infinities; OpenAI's interface says -9999 for "never".
static double finiteLogprob(float logprob) {
  return std::isfinite(logprob) ? double(logprob) : -9999.0;
}

static size_t charactersOf(std::string_view text) {
  return size_t(
      std::count_if(text.begin(), text.end(), [](char c) { return (uint8_t(c) & 0xC0) != 0x80; }));
}

Exchange::Exchange(const ModelFacts &facts, ApiRequest asked, const std::vector<Prompt> &prompts,
                   std::string id, int socket, bool chunked)
    : request(std::move(asked)), id(std::move(id)), socket(socket), chunked(chunked),
      created(std::chrono::duration_cast<std::chrono::seconds>(
                  std::chrono::system_clock::now().time_since_epoch())
                  .count()),
      facts(facts) {
  for (const Prompt &prompt : prompts) {
    promptTokens += prompt.tokens.size();
    const bool thinking = request.chat && ReasoningSplitter::opensThought(prompt.text);
    for (uint32_t j = 0; j < request.samples; ++j) {
      choices.emplace_back(thinking);
      if (request.echo)
        choices.back().characters = charactersOf(prompt.text);
    }
    if (request.echo)
      echoes.push_back(
          {request.scoresPrompt() ? prompt.tokens : std::vector<int32_t>(), prompt.text});
  }
  open = choices.size();
  if (request.vote)
    ballots.emplace(uint32_t(choices.size()), request.stopRule);
  Json common = {{"id", this->id},
                 {"object", !request.chat    ? "text_completion"
                            : request.stream ? "chat.completion.chunk"
                                             : "chat.completion"},
                 {"created", created},
                 {"model", facts.name},
                 {"system_fingerprint", facts.fingerprint}};
  head = dumped(common);
  head.back() = ','; // in place of the closing brace
}

void Exchange::note(Choice &choice, const std::vector<SampledToken> &tokens) {
  choice.tokens += uint32_t(tokens.size());
  completionTokens += tokens.size();
  if (!request.logprobs)
    return;
  auto textOf = [&](int32_t token) { return facts.tokenizer->decode(&token, 1, false); };
  auto entryOf = [&](int32_t token, float logprob) {
    Json bytes = Json::array();
    for (char byte : facts.tokenizer->tokenBytes(token))
      bytes.push_back(uint8_t(byte));
    return Json{{"token", textOf(token)}, {"logprob", finiteLogprob(logprob)}, {"bytes", bytes}};
  };
  for (const SampledToken &token : tokens) {
    Json entry = entryOf(token.token, token.logprob), top = Json::array();
    for (const TokenLogprob &other : token.top)
      top.push_back(entryOf(other.token, other.logprob));
    entry["top_logprobs"] = std::move(top);
    choice.logprobs.push_back(std::move(entry));
    choice.offsets.push_back(choice.characters);
    choice.characters += charactersOf(textOf(token.token));
  }
}

/// What stands before the answer's own: null for the first token, and for all where the samples
/// ended before the prompt was scored. Offsets follow the echoed text, in which a token that was
/// added to it has no characters.
void Exchange::addPrompt(const Prompt &prompt, const Choice &choice, Json *tokens, Json *logprobs,
                         Json *tops, Json *offsets) const {
  const std::string &text = prompt.text;
  size_t at = 0, characters = 0;
  for (size_t i = 0; i < prompt.tokens.size(); ++i) {
    const int32_t id = prompt.tokens[i];
    const std::string said = facts.tokenizer->decode(&id, 1, false);
    const SampledToken *score =
        i > 0 && choice.promptScores ? &(*choice.promptScores)[i - 1] : nullptr;
    tokens->push_back(said);
    logprobs->push_back(score ? Json(finiteLogprob(score->logprob)) : Json());
    tops->push_back(score ? Json::object() : Json());
    if (score)
      for (const TokenLogprob &other : score->top)
        tops->back().emplace(facts.tokenizer->decode(&other.token, 1, false),
                             Json(finiteLogprob(other.logprob)));
    offsets->push_back(characters);
    const std::string_view bytes = facts.tokenizer->tokenBytes(id);
    size_t size = 0;
    if (text.compare(at, bytes.size(), bytes) == 0)
      size = bytes.size();
    else if (text.compare(at, said.size(), said) == 0 || !facts.tokenizer->isSpecial(id))
      size = std::min(said.size(), text.size() - at);
    characters += charactersOf(std::string_view(text).substr(at, size));
    at += size;
  }
}

/// In the endpoint's form, behind those of an echoed prompt in the `first` ones of a choice; what
/// was given is forgotten.
Json Exchange::logprobsOf(size_t index, Choice &choice, bool first) const {
  if (!request.logprobs)
    return {};
  Json entries = std::exchange(choice.logprobs, Json::array());
  const std::vector<size_t> own = std::exchange(choice.offsets, {});
  if (request.chat)
    return {{"content", std::move(entries)}, {"refusal", nullptr}};
  Json tokens = Json::array(), logprobs = Json::array(), tops = Json::array(),
       offsets = Json::array();
  if (request.scoresPrompt() && first)
    addPrompt(echoes[index / request.samples], choice, &tokens, &logprobs, &tops, &offsets);
  for (size_t offset : own)
    offsets.push_back(offset);
  for (const Json &entry : entries) {
    tokens.push_back(entry["token"]);
    logprobs.push_back(entry["logprob"]);
    Json top = Json::object();
    for (const Json &other : entry["top_logprobs"])
      top.emplace(other["token"].get<std::string>(), Json(other["logprob"])); // once, the likeliest
    tops.push_back(std::move(top));
  }
  return {{"tokens", tokens},
          {"token_logprobs", logprobs},
          {"top_logprobs", request.sampling.topLogprobs ? tops : Json()},
          {"text_offset", offsets}};
}

void Exchange::take(size_t prompt, Event &event, const End &end) {
  const size_t index = prompt * request.samples + event.sample;
  Choice &choice = choices[index];
  if (ended() || choice.ended)
    return;
  if (event.probeAfter) { // no part of the sample
    ++probes;
    probeTokens += event.tokens.size();
    if (ballots)
      ballots->probe(uint32_t(index), m1tool::boxedAnswer(event.text));
    return voteChanged(prompt, end);
  }
  if (event.reason == FinishReason::failed)
    return fail({500, event.error, {}, {}, 0});
  if (event.reason == FinishReason::cancelled)
    return fail({503, "the request was cancelled", {}, {}, 0});
  if (!event.tokens.empty() && firstToken == Clock::time_point())
    firstToken = Clock::now();
  if (event.reusedTokens > choice.cached) { // the samples of a prompt share it
    uint32_t known = 0;
    for (uint32_t j = 0; j < request.samples; ++j)
      known = std::max(known, choices[prompt * request.samples + j].cached);
    choice.cached = event.reusedTokens;
    cachedTokens += std::max(known, choice.cached) - known;
  }
  if (event.forced && !choice.forced) {
    choice.forced = true;
    choice.closedAt = choice.text.size();
  }
  if (event.promptScores)
    choice.promptScores = event.promptScores;
  choice.text += event.text;
  note(choice, event.tokens);
  ReasoningSplitter::Piece piece;
  if (request.chat && request.separateReasoning) {
    const bool thought = choice.splitter.thinking();
    piece = choice.splitter.push(event.text);
    if (thought)
      choice.reasoningTokens += uint32_t(event.tokens.size());
  } else {
    piece.content = event.text;
  }
  FinishReason reason = event.reason;
  if (reason == FinishReason::running && choice.forced &&
      extractBoxed(choice.text.substr(choice.closedAt))) {
    // The box that the closing text opened has closed: the rest is not wanted.
    end(prompt, event.sample);
    reason = FinishReason::stopString;
  }
  if (reason != FinishReason::running && request.chat && request.separateReasoning) {
    ReasoningSplitter::Piece rest = choice.splitter.finish();
    piece.reasoning += rest.reasoning;
    piece.content += rest.content;
  }
  if (request.stream) {
    if (!piece.content.empty() || !piece.reasoning.empty() || !choice.said ||
        !choice.logprobs.empty())
      chunk(index, piece);
  } else {
    choice.reasoning += piece.reasoning;
    choice.content += piece.content;
  }
  if (reason != FinishReason::running)
    finish(index, reason, end);
}

void Exchange::finish(size_t index, FinishReason reason, const End &end) {
  Choice &choice = choices[index];
  const bool stopped = reason == FinishReason::stopToken || reason == FinishReason::stopString;
  choice.finish = stopped ? "stop" : "length";
  choice.detail = choice.forced ? "closed" : reason == FinishReason::dropped ? "dropped" : "";
  choice.ended = true;
  --open;
  if (request.stream)
    lastChunk(index);
  if (ballots) {
    if (m1tool::wasUnfinished(reason, choice.forced))
      ballots->addUnfinished(uint32_t(index));
    else
      ballots->add(uint32_t(index), m1tool::ballotOf(reason, choice.forced, choice.text));
  }
  voteChanged(index / request.samples, end);
}

/// After an end, or the answer of a probe: tells the vote's state, and ends what it does not need.
void Exchange::voteChanged(size_t prompt, const End &end) {
  if (ballots && request.stream)
    send("\"choices\":[],\"vote\":" + dumped(voteJson()) + "}");
  if (ballots && open > 0 && ballots->decided()) {
    end(prompt, std::nullopt);
    for (size_t i = 0; i < choices.size(); ++i)
      if (!choices[i].ended) {
        choices[i].ended = true;
        choices[i].finish = "length";
        choices[i].detail = "decided";
        if (request.stream)
          lastChunk(i);
      }
    open = 0;
  }
  if (open == 0 && request.stream)
    close();
}

/// The end of the stream: usage when asked for, and the word that nothing follows.
void Exchange::close() {
  if (request.includeUsage)
    send("\"choices\":[],\"usage\":" + dumped(usage()) + "}");
  frame("[DONE]");
}

void Exchange::fail(ApiError error) {
  if (ended())
    return;
  if (request.stream) {
    frame(dumped(error.json()));
    frame("[DONE]");
  }
  failure = std::move(error);
}

// Events of tokens are written in place: a thousand streams have a hundred thousand a second.
void Exchange::chunk(size_t index, const ReasoningSplitter::Piece &piece) {
  Choice &choice = choices[index];
  const bool first = !std::exchange(choice.said, true);
  beginEvent();
  const size_t begin = outgoing.size();
  outgoing += head;
  outgoing += "\"choices\":[{\"index\":";
  outgoing += std::to_string(index);
  if (request.chat) {
    outgoing += first ? ",\"delta\":{\"role\":\"assistant\"," : ",\"delta\":{";
    if (!piece.reasoning.empty()) {
      outgoing += "\"reasoning_content\":";
      appendQuoted(piece.reasoning, &outgoing);
    }
    if (!piece.content.empty() || piece.reasoning.empty()) {
      outgoing += piece.reasoning.empty() ? "\"content\":" : ",\"content\":";
      appendQuoted(piece.content, &outgoing);
    }
    outgoing += '}';
  } else {
    outgoing += ",\"text\":";
    appendQuoted(first && request.echo ? echoes[index / request.samples].text + piece.content
                                       : piece.content,
                 &outgoing);
  }
  outgoing += ",\"logprobs\":";
  outgoing += request.logprobs ? dumped(logprobsOf(index, choice, first)) : "null";
  outgoing += ",\"finish_reason\":null}]";
  outgoing += request.includeUsage ? ",\"usage\":null}" : "}";
  if (first && request.echo)
    echoed += outgoing.size() - begin;
  endEvent();
}

void Exchange::lastChunk(size_t index) {
  Choice &choice = choices[index];
  std::string text = "\"choices\":[{\"index\":" + std::to_string(index);
  text += request.chat ? ",\"delta\":{}" : ",\"text\":\"\"";
  text += ",\"logprobs\":null,\"finish_reason\":\"" + choice.finish + "\"";
  if (!choice.detail.empty())
    text += ",\"finish_detail\":\"" + choice.detail + "\"";
  send(text + "}]" + (request.includeUsage ? ",\"usage\":null}" : "}"));
}

/// One event of the stream: the common head and these fields.
void Exchange::send(const std::string &fields) { frame(head + fields); }

void Exchange::frame(const std::string &data) {
  beginEvent();
  outgoing += data;
  endEvent();
}

void Exchange::heartbeat() {
  beginChunk();
  outgoing += ": \n\n";
  endChunk();
}

void Exchange::beginEvent() {
  beginChunk();
  outgoing += "data: ";
}

void Exchange::endEvent() {
  outgoing += "\n\n";
  endChunk();
}

constexpr size_t sizeDigits = 8; // of a chunk; leading zeros are part of the syntax

void Exchange::beginChunk() {
  if (sent == outgoing.size()) {
    outgoing.clear();
    sent = 0;
  }
  if (!chunked)
    return;
  chunkAt = outgoing.size();
  outgoing.append(sizeDigits, '0');
  outgoing += "\r\n";
}

void Exchange::endChunk() {
  if (!chunked)
    return;
  size_t size = outgoing.size() - chunkAt - sizeDigits - 2;
  for (size_t digit = sizeDigits; size > 0; size >>= 4)
    outgoing[chunkAt + --digit] = "0123456789abcdef"[size & 15];
  outgoing += "\r\n";
}

Json Exchange::voteJson() const {
  Json tally = Json::array();
  for (const Ballots::Entry &entry : ballots->tally()) {
    tally.push_back({{"answer", entry.answer}, {"votes", entry.votes}});
    if (entry.provisional)
      tally.back()["provisional"] = entry.provisional;
  }
  const bool voted = !tally.empty();
  Json vote = {{"answer", voted ? tally[0]["answer"] : Json()},
               {"votes", voted ? tally[0]["votes"] : Json(0)},
               {"ended", ballots->ended()},
               {"samples", choices.size()},
               {"tally", std::move(tally)}};
  if (request.probes())
    vote["probes"] = {{"answered", probes}, {"tokens", probeTokens}};
  if (request.timeBudget > 0) {
    const std::chrono::duration<double> spent = Clock::now() - arrived;
    vote["seconds_left"] = std::max(0.0, request.timeBudget - spent.count());
  }
  return vote;
}

Json Exchange::usage() const {
  uint64_t reasoning = 0;
  for (const Choice &choice : choices)
    reasoning += choice.reasoningTokens;
  Json usage = {{"prompt_tokens", promptTokens},
                {"completion_tokens", completionTokens},
                {"total_tokens", promptTokens + completionTokens},
                {"prompt_tokens_details", {{"cached_tokens", cachedTokens}}}};
  if (request.chat)
    usage["completion_tokens_details"] = {{"reasoning_tokens", reasoning}};
  return usage;
}

Json Exchange::response() const {
  Json out = Json::parse(head.substr(0, head.size() - 1) + "}");
  Json list = Json::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    Choice choice = choices[i];
    Json entry = {{"index", i}};
    if (request.chat) {
      entry["message"] = {{"role", "assistant"}, {"content", choice.content}, {"refusal", nullptr}};
      if (!choice.reasoning.empty())
        entry["message"]["reasoning_content"] = choice.reasoning;
    } else {
      entry["text"] = (request.echo ? echoes[i / request.samples].text : "") + choice.content;
    }
    entry["logprobs"] = logprobsOf(i, choice, /*first=*/true);
    entry["finish_reason"] = choice.finish;
    if (!choice.detail.empty())
      entry["finish_detail"] = choice.detail;
    list.push_back(std::move(entry));
  }
  out["choices"] = std::move(list);
  out["usage"] = usage();
  if (ballots)
    out["vote"] = voteJson();
  return out;
}

void Exchange::wait() {
  std::unique_lock<std::mutex> lock(mutex);
  done.wait(lock, [&] { return released; });
}

void Exchange::release() {
  std::lock_guard<std::mutex> lock(mutex);
  released = true;
  done.notify_all();
}

} // namespace m1serve
