// The C API over text and the engine.
#include "api/engine_handle.h"
#include "model/sizing.h"
#include <cstdlib>
#include <cstring>

using namespace m1rt;

static_assert(int(FinishReason::failed) == M1_FINISH_FAILED &&
                  int(FinishReason::stopToken) == M1_FINISH_STOP_TOKEN &&
                  int(FinishReason::dropped) == M1_FINISH_DROPPED,
              "the C API's reasons are the engine's");

Status LoadedModel::findText(ModelText **out) {
  std::lock_guard<std::mutex> lock(textMutex);
  *out = nullptr;
  if (!text) {
    std::unique_ptr<ModelText> loaded;
    Status status = ModelText::load(model->artifact(), &loaded);
    if (status.code() == StatusCode::unsupported)
      return Status();
    M1_TRY(status);
    text = std::move(loaded);
  }
  *out = text.get();
  return Status();
}

namespace {

Status needText(m1_model *model, ModelText **out) {
  M1_TRY(model->loaded->findText(out));
  return *out ? Status()
              : error(StatusCode::unsupported,
                      "%s: was compiled without a tokenizer; give token ids",
                      model->loaded->model->artifact().path().c_str());
}

/// Copies into memory that C code can own.
template <typename T> Status copyOut(const T *data, size_t count, T **out) {
  T *copy = static_cast<T *>(std::malloc(std::max<size_t>(count * sizeof(T), 1)));
  if (!copy)
    return error(StatusCode::outOfMemory, "out of host memory");
  if (count)
    std::memcpy(copy, data, count * sizeof(T));
  *out = copy;
  return Status();
}

Status checkArray(const void *data, size_t count, const char *what) {
  return data || count == 0
             ? Status()
             : error(StatusCode::invalidArgument, "%s is null but its count is %zu", what, count);
}

constexpr uint32_t mostSamples = 1u << 20;

Status convert(const m1_engine &engine, const m1_request &source, Request *out) {
  M1_TRY(checkArray(source.tokens, source.token_count, "tokens"));
  M1_TRY(checkArray(source.stop_tokens, source.stop_token_count, "stop_tokens"));
  M1_TRY(checkArray(source.stop_strings, source.stop_string_count, "stop_strings"));
  M1_TRY(checkArray(source.close_tokens, source.close_token_count, "close_tokens"));
  M1_TRY(checkArray(source.probe_tokens, source.probe_token_count, "probe_tokens"));
  M1_TRY(checkArray(source.logit_bias, source.logit_bias_count, "logit_bias"));
  if (source.samples > mostSamples)
    return error(StatusCode::invalidArgument, "samples: expected at most %u, got %u", mostSamples,
                 source.samples);
  unsigned action = 0; // C may have put any number into the enumeration
  static_assert(sizeof action == sizeof source.at_deadline, "the size of C's enumerations");
  std::memcpy(&action, &source.at_deadline, sizeof action);
  if (action != M1_DEADLINE_DROP && action != M1_DEADLINE_CLOSE)
    return error(StatusCode::invalidArgument, "at_deadline: %u is no m1_deadline_action", action);
  if (source.close_token_count == 0 && source.max_think_tokens > 0)
    return error(StatusCode::invalidArgument, "max_think_tokens: needs close_tokens");
  if (source.close_token_count == 0 && source.time_budget > 0 && action == M1_DEADLINE_CLOSE)
    return error(StatusCode::invalidArgument, "at_deadline: to close samples needs close_tokens");
  out->prompt.assign(source.tokens, source.tokens + source.token_count);
  out->samples = source.samples;
  out->maxNewTokens = source.max_new_tokens;
  out->sampling.temperature = source.temperature;
  out->sampling.topK = source.top_k;
  out->sampling.topP = source.top_p;
  out->sampling.minP = source.min_p;
  out->sampling.repetitionPenalty = source.repetition_penalty;
  out->sampling.frequencyPenalty = source.frequency_penalty;
  out->sampling.presencePenalty = source.presence_penalty;
  out->sampling.seed = source.seed;
  out->firstSample = source.first_sample;
  for (size_t i = 0; i < source.logit_bias_count; ++i)
    out->bias.push_back({source.logit_bias[i].token, source.logit_bias[i].bias});
  out->sampling.topLogprobs = source.top_logprobs;
  out->wantLogprobs = source.want_logprobs || source.top_logprobs > 0;
  const schema::Module &module = engine.loaded->model->module();
  for (size_t i = 0; i < source.stop_token_count; ++i)
    if (source.stop_tokens[i] < 0 || uint32_t(source.stop_tokens[i]) >= module.vocab_size())
      return error(StatusCode::invalidArgument,
                   "stop token %zu is %d and cannot match: the vocabulary has ids 0 to %u", i,
                   source.stop_tokens[i], module.vocab_size() - 1);
  if (source.stop_tokens)
    out->stopTokens.assign(source.stop_tokens, source.stop_tokens + source.stop_token_count);
  else if (!source.ignore_eos && module.eos_ids())
    out->stopTokens.assign(module.eos_ids()->begin(), module.eos_ids()->end());
  for (size_t i = 0; i < source.stop_string_count; ++i) {
    if (!source.stop_strings[i])
      return error(StatusCode::invalidArgument, "stop string %zu is null", i);
    if (engine.text)
      M1_TRY(engine.text->checkStopText(source.stop_strings[i]));
    out->stopStrings.push_back(source.stop_strings[i]);
  }
  out->closeTokens.assign(source.close_tokens, source.close_tokens + source.close_token_count);
  out->closeMaxTokens = source.close_max_tokens;
  out->maxThinkTokens = source.max_think_tokens;
  out->timeBudget = source.time_budget;
  out->probeEvery = source.probe_every;
  out->probeOnEnd = source.probe_on_end;
  if (source.probe_token_count)
    out->probeTokens.assign(source.probe_tokens, source.probe_tokens + source.probe_token_count);
  out->probeMaxTokens = source.probe_max_tokens;
  out->atDeadline = action == M1_DEADLINE_CLOSE ? DeadlineAction::close : DeadlineAction::drop;
  return Status();
}

Status needAlive(const m1_engine &engine) {
  return engine.lost ? error(StatusCode::deviceError,
                             "an earlier step has failed: the engine can only be destroyed")
                     : Status();
}

/// Makes the borrowed view of an event.
void describe(m1_engine &engine, const Event &event, m1_event *out) {
  size_t top = 0;
  engine.tokens.clear();
  engine.logprobs.clear();
  engine.topLogprobs.clear();
  for (const SampledToken &token : event.tokens) {
    engine.tokens.push_back(token.token);
    engine.logprobs.push_back(token.logprob);
    top = std::max(top, token.top.size());
  }
  // tokens that were fed by force have no alternatives: padded
  for (const SampledToken &token : event.tokens)
    for (size_t i = 0; i < top; ++i)
      engine.topLogprobs.push_back(i < token.top.size()
                                       ? m1_token_logprob{token.top[i].token, token.top[i].logprob}
                                       : m1_token_logprob{-1, 0});
  *out = m1_event();
  out->request = event.request;
  out->sample = event.sample;
  out->tokens = engine.tokens.data();
  out->token_count = event.tokens.size();
  out->probe_after = event.probeAfter;
  out->logprobs = engine.wantLogprobs.count(event.request) && !event.probeAfter
                      ? engine.logprobs.data()
                      : nullptr;
  out->top_logprobs = top ? engine.topLogprobs.data() : nullptr;
  out->top_count = top;
  out->text = event.text.c_str();
  out->forced = event.forced;
  out->restarted = event.restarted;
  out->reason = m1_finish_reason(event.reason);
  out->error = event.error.c_str();
}

/// For functions that change the engine and return no status: without effect on a lost engine, and
/// an engine that they leave half changed is lost.
template <typename Body> void change(m1_engine *engine, Body body) {
  if (engine)
    m1_status_destroy(guardedOn(engine, [&]() -> Status {
      M1_TRY(needAlive(*engine));
      engine->lost = true;
      body();
      engine->lost = false;
      return Status();
    }));
}

} // namespace

extern "C" {

static m1_status *encode(const char *function, m1_model *model, const char *text, bool addSpecial,
                         bool parseSpecial, int32_t **out_tokens, size_t *out_count) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments(
        function,
        {{"model", model}, {"text", text}, {"out_tokens", out_tokens}, {"out_count", out_count}}));
    ModelText *side = nullptr;
    M1_TRY(needText(model, &side));
    std::vector<int32_t> tokens;
    M1_TRY(side->encode(text, addSpecial, &tokens, parseSpecial));
    M1_TRY(copyOut(tokens.data(), tokens.size(), out_tokens));
    *out_count = tokens.size();
    return Status();
  });
}

m1_status *m1_model_encode(m1_model *model, const char *text, bool add_special,
                           int32_t **out_tokens, size_t *out_count) {
  return encode("m1_model_encode", model, text, add_special, true, out_tokens, out_count);
}

m1_status *m1_model_encode_plain(m1_model *model, const char *text, bool add_special,
                                 int32_t **out_tokens, size_t *out_count) {
  return encode("m1_model_encode_plain", model, text, add_special, false, out_tokens, out_count);
}

void m1_chat_options_init(m1_chat_options *out_options) {
  if (out_options)
    *out_options = m1_chat_options();
}

m1_status *m1_model_encode_chat(m1_model *model, const m1_chat_message *messages,
                                size_t message_count, int32_t **out_tokens, size_t *out_count) {
  return m1_model_encode_chat_with(model, messages, message_count, nullptr, out_tokens, out_count);
}

m1_status *m1_model_encode_chat_with(m1_model *model, const m1_chat_message *messages,
                                     size_t message_count, const m1_chat_options *options,
                                     int32_t **out_tokens, size_t *out_count) {
  return guarded([&]() -> Status {
    M1_TRY(
        requireArguments("m1_model_encode_chat_with",
                         {{"model", model}, {"out_tokens", out_tokens}, {"out_count", out_count}}));
    M1_TRY(checkArray(messages, message_count, "messages"));
    ModelText *side = nullptr;
    M1_TRY(needText(model, &side));
    std::vector<ChatMessage> conversation;
    for (size_t i = 0; i < message_count; ++i) {
      if (!messages[i].role || !messages[i].content)
        return error(StatusCode::invalidArgument, "message %zu: role or content is null", i);
      conversation.push_back({messages[i].role, messages[i].content});
    }
    std::vector<int32_t> tokens;
    M1_TRY(side->encodeChat(conversation, &tokens, options && options->parse_special));
    M1_TRY(copyOut(tokens.data(), tokens.size(), out_tokens));
    *out_count = tokens.size();
    return Status();
  });
}

m1_status *m1_model_decode(m1_model *model, const int32_t *tokens, size_t count, char **out_text) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_model_decode", {{"model", model}, {"out_text", out_text}}));
    M1_TRY(checkArray(tokens, count, "tokens"));
    ModelText *side = nullptr;
    M1_TRY(needText(model, &side));
    const uint32_t vocabulary = model->loaded->model->module().vocab_size();
    for (size_t i = 0; i < count; ++i)
      if (tokens[i] < 0 || uint32_t(tokens[i]) >= vocabulary)
        return error(StatusCode::invalidArgument, "token %zu is %d, the vocabulary has ids 0 to %u",
                     i, tokens[i], vocabulary - 1);
    std::string text = side->decode(std::vector<int32_t>(tokens, tokens + count), true);
    return copyOut(text.c_str(), text.size() + 1, out_text);
  });
}

void m1_tokens_destroy(int32_t *tokens) { std::free(tokens); }
void m1_text_destroy(char *text) { std::free(text); }

void m1_engine_options_init(m1_engine_options *out_options) {
  if (!out_options)
    return;
  *out_options = m1_engine_options();
  out_options->max_samples = 1;
  out_options->prefix_cache_slots = EngineOptions().prefixCacheSlots;
}

m1_status *m1_engine_create(m1_model *model, const m1_engine_options *options,
                            m1_engine **out_engine) {
  return guardedOn(model, [&]() -> Status {
    M1_TRY(requireArguments("m1_engine_create", {{"model", model}, {"out_engine", out_engine}}));
    m1_engine_options chosen;
    m1_engine_options_init(&chosen);
    if (options)
      chosen = *options;
    Model &base = *model->loaded->model;
    if (chosen.max_samples == 0)
      chosen.max_samples = fastestBatch(base, model->loaded->threads);
    const uint32_t longest = base.module().max_positions();
    if (chosen.max_context > longest)
      return error(StatusCode::invalidArgument,
                   "max_context of %u tokens: the model was compiled for at most %u",
                   chosen.max_context, longest);
    std::unique_ptr<m1_engine> engine(new m1_engine(model->loaded));
    ModelText *side = nullptr;
    M1_TRY(model->loaded->findText(&side));
    engine->text = side;

    SizeWish wish;
    // One more than run: the prompt that several samples fork from is a sequence, too.
    wish.sequences =
        chosen.max_samples + (chosen.max_samples > 1 && chosen.max_samples < UINT32_MAX ? 1 : 0);
    if (chosen.probe_places > UINT32_MAX - wish.sequences)
      return error(StatusCode::invalidArgument,
                   "probe_places: %u beside %u samples is beyond 32 bits", chosen.probe_places,
                   chosen.max_samples);
    wish.sequences += chosen.probe_places;
    wish.context = chosen.max_context;
    wish.prefillTokens = chosen.prefill_tokens_per_step;
    wish.cacheSequences = chosen.prefix_cache_slots;
    SessionOptions size;
    M1_TRY(sizeSession(base, wish, &size));
    M1_TRY(Session::create(base, size, &engine->session));
    EngineOptions engineOptions;
    engineOptions.prefixCacheSlots = chosen.prefix_cache_slots;
    engineOptions.probePlaces = chosen.probe_places;
    engineOptions.prefillBesideDecoding = prefillBesideDecoding(base, wish);
    Engine::DecoderFactory decoders;
    if (side)
      decoders = [side] { return side->createDecoder(/*skipSpecial=*/true); };
    engine->engine = std::make_unique<Engine>(*engine->session, engineOptions, std::move(decoders));
    *out_engine = engine.release();
    return Status();
  });
}

void m1_engine_destroy(m1_engine *engine) { destroyAlone(engine); }

void m1_request_init(m1_request *out_request) {
  if (!out_request)
    return;
  Request defaults;
  *out_request = m1_request();
  out_request->samples = defaults.samples;
  out_request->max_new_tokens = defaults.maxNewTokens;
  out_request->top_p = defaults.sampling.topP;
  out_request->repetition_penalty = defaults.sampling.repetitionPenalty;
  out_request->close_max_tokens = defaults.closeMaxTokens;
  out_request->probe_max_tokens = defaults.probeMaxTokens;
}

m1_status *m1_engine_submit(m1_engine *engine, const m1_request *request, uint64_t *out_request) {
  return guardedOn(engine, [&]() -> Status {
    M1_TRY(requireArguments("m1_engine_submit", {{"engine", engine}, {"request", request}}));
    M1_TRY(needAlive(*engine));
    Request converted;
    M1_TRY(convert(*engine, *request, &converted));
    // The entry is made first: a request that runs must not be called a failure.
    decltype(engine->wantLogprobs) entry;
    if (converted.wantLogprobs) {
      engine->wantLogprobs.reserve(engine->wantLogprobs.size() + 1);
      entry[0] = request->samples;
    }
    uint64_t id = 0;
    M1_TRY(engine->engine->submit(std::move(converted), &id));
    if (auto node = entry.extract(uint64_t(0))) {
      node.key() = id;
      engine->wantLogprobs.insert(std::move(node));
    }
    if (out_request)
      *out_request = id;
    return Status();
  });
}

void m1_engine_cancel(m1_engine *engine, uint64_t request) {
  change(engine, [&] { engine->engine->cancel(request); });
}

void m1_engine_cancel_sample(m1_engine *engine, uint64_t request, uint32_t sample) {
  change(engine, [&] { engine->engine->cancelSample(request, sample); });
}

m1_status *m1_engine_step(m1_engine *engine) {
  return guardedOn(engine, [&]() -> Status {
    M1_TRY(requireArguments("m1_engine_step", {{"engine", engine}}));
    M1_TRY(needAlive(*engine));
    engine->lost = true; // also when something is thrown
    M1_TRY(engine->engine->step());
    engine->lost = false;
    return Status();
  });
}

bool m1_engine_is_idle(const m1_engine *engine) {
  if (!engine)
    return true;
  InUse inUse(engine->loaded->usage);
  return inUse && engine->engine->idle();
}

bool m1_engine_poll(m1_engine *engine, m1_event *out_event) {
  if (!engine || !out_event)
    return false;
  bool found = false;
  m1_status_destroy(guardedOn(engine, [&] {
    if (engine->nextEvent == engine->events.size()) {
      engine->engine->takeEvents(&engine->events);
      engine->nextEvent = 0;
    }
    if (engine->events.empty())
      return Status();
    const Event &event = engine->events[engine->nextEvent];
    describe(*engine, event, out_event);
    auto wanted = engine->wantLogprobs.find(event.request);
    if (event.reason != FinishReason::running && wanted != engine->wantLogprobs.end() &&
        --wanted->second == 0)
      engine->wantLogprobs.erase(wanted);
    ++engine->nextEvent;
    found = true;
    return Status();
  }));
  return found;
}

void m1_engine_get_stats(const m1_engine *engine, m1_engine_stats *out_stats) {
  if (!out_stats)
    return;
  *out_stats = m1_engine_stats();
  if (!engine)
    return;
  InUse inUse(engine->loaded->usage);
  if (!inUse)
    return;
  const EngineStats &stats = engine->engine->stats();
  const BackendLimits limits = engine->session->limits();
  out_stats->running_samples = engine->engine->runningSamples();
  out_stats->waiting_samples = engine->engine->waitingSamples();
  out_stats->kv_pages = limits.kvPages;
  out_stats->kv_pages_used = limits.kvPages - engine->session->freePages();
  out_stats->steps = stats.steps;
  out_stats->generated_tokens = stats.generatedTokens;
  out_stats->computed_tokens = stats.computedTokens;
  out_stats->reused_tokens = stats.reusedTokens;
  out_stats->shared_tokens = stats.sharedTokens;
  out_stats->recomputed_tokens = stats.recomputedTokens;
  out_stats->preemptions = stats.preemptions;
  out_stats->model_seconds = stats.modelSeconds;
  out_stats->elapsed_seconds = stats.elapsedSeconds;
  out_stats->probes = stats.probes;
  out_stats->probes_dropped = stats.probesDropped;
  out_stats->probe_tokens = stats.probeTokens;
  out_stats->probe_seconds = stats.probeSeconds;
}

} // extern "C"
