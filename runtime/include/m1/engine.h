/* The engine: text or tokens in, many samples out. Requests join and leave between steps, samples
 * of one prompt share its prefill, prompts share prefixes. The conventions are those of
 * m1/runtime.h.
 *
 *   m1_engine_create → m1_engine_submit …
 *   → while (!m1_engine_is_idle) { m1_engine_step; while (m1_engine_poll) … }
 *   → m1_engine_destroy
 *
 * An engine belongs to one thread. To cancel or submit from another, hand the wish over to the
 * thread that calls m1_engine_step. */
#ifndef M1_ENGINE_H
#define M1_ENGINE_H

#include "m1/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Text ---- */

/* Token ids of a UTF-8 text. `add_special` puts the tokens before it that the tokenizer wants at a
 * text's beginning, unless they are written there; control tokens written in the text are
 * recognised either way. out_tokens: owned, release with m1_tokens_destroy.
 * M1_STATUS_UNSUPPORTED without a tokenizer. */
M1_API m1_status *m1_model_encode(m1_model *model, const char *text, bool add_special,
                                  int32_t **out_tokens, size_t *out_count);
/* The same without control tokens: what the text spells of them stays text, as befits what others
 * have written. */
M1_API m1_status *m1_model_encode_plain(m1_model *model, const char *text, bool add_special,
                                        int32_t **out_tokens, size_t *out_count);

typedef struct m1_chat_message {
  const char *role; /* "system", "user", "assistant" */
  const char *content;
} m1_chat_message;

typedef struct m1_chat_options {
  bool parse_special; /* control tokens written in messages count; false: they are text, so that no
                         message can forge a turn */
} m1_chat_options;

M1_API void m1_chat_options_init(m1_chat_options *out_options);
/* Token ids of a conversation, through the model's chat template, ready for the assistant's
 * answer. options may be null. */
M1_API m1_status *m1_model_encode_chat_with(m1_model *model, const m1_chat_message *messages,
                                            size_t message_count, const m1_chat_options *options,
                                            int32_t **out_tokens, size_t *out_count);
/* The same with the options that m1_chat_options_init gives. */
M1_API m1_status *m1_model_encode_chat(m1_model *model, const m1_chat_message *messages,
                                       size_t message_count, int32_t **out_tokens,
                                       size_t *out_count);
/* Text of token ids, without special tokens. out_text: owned, release with m1_text_destroy. */
M1_API m1_status *m1_model_decode(m1_model *model, const int32_t *tokens, size_t count,
                                  char **out_text);
M1_API void m1_tokens_destroy(int32_t *tokens);
M1_API void m1_text_destroy(char *text);

/* ---- Engine ---- */

typedef struct m1_engine m1_engine;

typedef struct m1_engine_options {
  uint32_t max_samples; /* that run at once; more are queued. 0: as many as suit the device */
  uint32_t max_context; /* longest prompt and answer together; 0: the model's max_positions */
  uint32_t prefix_cache_slots; /* sequences kept for prompts with the same beginning; 0 turns prefix
                                  reuse off */
  uint32_t prefill_tokens_per_step; /* prompt tokens that share a step with decoding samples; 0:
                                       what suits the device */
  uint32_t probe_places; /* sequences beside max_samples, for probes (probe_every) alone */
} m1_engine_options;

M1_API void m1_engine_options_init(m1_engine_options *out_options);
/* Takes the largest pools up to the options that fit the device's free memory. */
M1_API m1_status *m1_engine_create(m1_model *model, const m1_engine_options *options,
                                   m1_engine **out_engine);
/* Requests that still run end without further events. */
M1_API void m1_engine_destroy(m1_engine *engine);

typedef enum m1_deadline_action {
  M1_DEADLINE_DROP = 0, /* end the sample where it is */
  M1_DEADLINE_CLOSE =
      1 /* feed close_tokens shortly before; what has not finished by then ends as it is */
} m1_deadline_action;

typedef struct m1_logit_bias {
  int32_t token;
  float bias; /* added to the token's logit; minus infinity: never */
} m1_logit_bias;

/* Everything is copied by m1_engine_submit. */
typedef struct m1_request {
  const int32_t *tokens; /* [token_count] the prompt */
  size_t token_count;
  uint32_t samples;        /* continuations of the prompt, at most 2^20 */
  uint32_t max_new_tokens; /* of each sample */

  /* Sampling. Filters apply in this order: repetition penalty, frequency and presence penalty,
   * logit bias, temperature, top-k, top-p, min-p. */
  float temperature;        /* below 1e-6: always the likeliest token */
  uint32_t top_k;           /* 0: all */
  float top_p;              /* 1: all */
  float min_p;              /* 0: all */
  float repetition_penalty; /* 1: none; of all tokens of prompt and answer */
  /* The same seed gives the same tokens. Token i of sample j is drawn with the first two words of
   * Philox4x32-10 at counter (i, 0, 0, 0) under the key mix(mix(seed) + (first_sample + j + 1) *
   * 0x9E3779B97F4A7C15), where mix is the finaliser of SplitMix64; so neighbouring seeds share no
   * sample. */
  uint64_t seed;
  bool want_logprobs;    /* log probability of every token */
  uint32_t top_logprobs; /* and of so many likeliest alternatives */

  const int32_t
      *stop_tokens; /* [stop_token_count] end a sample; null: the model's end-of-sequence tokens */
  size_t stop_token_count;
  bool ignore_eos;                 /* no stop tokens when stop_tokens is null */
  const char *const *stop_strings; /* [stop_string_count] end a sample before the string */
  size_t stop_string_count;

  /* Time and length of thought: after max_think_tokens tokens, or shortly before time_budget
   * seconds have passed since the request was submitted, a sample is closed: close_tokens are put
   * into its mouth and it may add close_max_tokens more, but begins no step after the budget. At
   * the end of time_budget it is dropped instead, if at_deadline says so; samples that have not
   * started are dropped either way. */
  const int32_t *close_tokens;
  size_t close_token_count;
  uint32_t close_max_tokens;
  uint32_t max_think_tokens; /* 0: no limit; otherwise needs close_tokens */
  double time_budget;        /* seconds, at most 1e9; 0: none */
  m1_deadline_action at_deadline;

  float frequency_penalty;         /* 0: none; times a token's occurrences in the answer */
  float presence_penalty;          /* 0: none; of tokens that the answer holds */
  const m1_logit_bias *logit_bias; /* [logit_bias_count] */
  size_t logit_bias_count;
  uint32_t first_sample; /* number of sample 0 in the seed's samples, to draw one of them again */

  /* Probes: whenever a sample has generated probe_every tokens more, a copy of it is made to say
   * probe_tokens and then, greedily and without penalties, up to probe_max_tokens of its own: what
   * it would answer now, told in an event of its own. The sample goes on as if nothing had
   * happened. Probes take probe_places, and others while no sample waits for one; when pages run
   * out they are dropped first, without news. */
  uint32_t probe_every; /* 0: none */
  const int32_t *probe_tokens;
  size_t probe_token_count;
  uint32_t probe_max_tokens;
  /* And whenever another sample of the request has ended, by itself or closed by force; but not
   * before probe_token_count + probe_max_tokens more tokens of the sample than at its last probe,
   * or its beginning. Multiples of probe_every so close behind such a probe are left out. */
  bool probe_on_end;
} m1_request;

/* One greedy sample of 256 tokens, no prompt. */
M1_API void m1_request_init(m1_request *out_request);
/* Queues a request; its samples run during the following steps. An impossible request (empty or too
 * long prompt, unknown token, parameter out of range, a stop string that no answer can hold) is
 * refused and disturbs no other. out_request may be null. */
M1_API m1_status *m1_engine_submit(m1_engine *engine, const m1_request *request,
                                   uint64_t *out_request);
/* Ends all samples of a request; each gives a last event. Unknown, ended and cancelled requests are
 * ignored. */
M1_API void m1_engine_cancel(m1_engine *engine, uint64_t request);
M1_API void m1_engine_cancel_sample(m1_engine *engine, uint64_t request, uint32_t sample);

/* One forward pass over what there is to do. On a GPU its tokens may become events of the next call
 * only: the engine runs one step ahead. An error means that the engine can only be destroyed; the
 * failure of one sample is an event. */
M1_API m1_status *m1_engine_step(m1_engine *engine);
/* No sample waits or runs; true for null. Events may still be there to poll. */
M1_API bool m1_engine_is_idle(const m1_engine *engine);

typedef enum m1_finish_reason {
  M1_FINISH_RUNNING = 0,
  M1_FINISH_STOP_TOKEN = 1,
  M1_FINISH_STOP_STRING = 2,
  M1_FINISH_LENGTH =
      3, /* max_new_tokens, the context, or what a closed sample may add is used up */
  M1_FINISH_CANCELLED = 4,
  M1_FINISH_DROPPED = 5, /* by the time budget */
  M1_FINISH_FAILED = 6   /* see error */
} m1_finish_reason;

typedef struct m1_token_logprob {
  int32_t token;
  float logprob; /* natural log of the probability at temperature 1 */
} m1_token_logprob;

/* What is new of one sample. Pointers are borrowed from the engine until the next m1_engine_poll,
 * m1_engine_step or m1_engine_cancel. */
typedef struct m1_event {
  uint64_t request;
  uint32_t sample;       /* 0 … samples − 1 */
  const int32_t *tokens; /* [token_count] */
  size_t token_count;
  const float
      *logprobs; /* [token_count]; null unless asked for; 0 for tokens that were fed by force */
  const m1_token_logprob *top_logprobs; /* [token_count][top_count], likeliest first; null unless
                                           asked for. Token -1: none */
  size_t top_count;
  const char *text; /* what the tokens add; whole UTF-8 characters; "" without a tokenizer */
  bool forced; /* the sample has been closed by max_think_tokens or time_budget, with this event or
                  before */
  m1_finish_reason reason;
  const char *error; /* "" unless failed */
  /* Not 0: news of a probe, taken after so many tokens of the sample. tokens and text are the
   * probe's, probe_tokens included, and no part of the sample's. */
  uint32_t probe_after;
  /* m1_model_update_weights has made the sample begin again: what earlier events said of it is
   * void, and this one holds the first tokens since. */
  bool restarted;
} m1_event;

/* Takes the oldest event. False when there is none (or no memory to show it: it then comes next
 * time). */
M1_API bool m1_engine_poll(m1_engine *engine, m1_event *out_event);

typedef struct m1_engine_stats {
  uint32_t running_samples, waiting_samples;
  uint32_t kv_pages_used, kv_pages;
  uint64_t steps;
  uint64_t generated_tokens;
  uint64_t computed_tokens; /* fed to the model */
  uint64_t reused_tokens;   /* prompt tokens taken from earlier requests' prefixes */
  uint64_t shared_tokens;   /* prompt tokens that samples took over from the first one */
  uint64_t recomputed_tokens, preemptions; /* because KV pages ran out */
  double model_seconds;                    /* in the device */
  double elapsed_seconds;                  /* in m1_engine_step */
  uint64_t probes, probes_dropped;         /* begun; of these, without news */
  uint64_t probe_tokens;                   /* of computed_tokens */
  double probe_seconds; /* of model_seconds, by their share of each step's tokens */
} m1_engine_stats;

M1_API void m1_engine_get_stats(const m1_engine *engine, m1_engine_stats *out_stats);

#ifdef __cplusplus
}
#endif

#endif
