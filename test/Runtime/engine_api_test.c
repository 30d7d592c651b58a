/* The engine through the C API on the toy model: engine_api_test ARTIFACT. */
#include "m1/engine.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      printf("line %d: failed: %s\n", __LINE__, #condition);                                       \
      ++failures;                                                                                  \
    }                                                                                              \
  } while (0)

static int ok(m1_status *status) {
  if (!status)
    return 1;
  printf("status %d: %s\n", (int)m1_status_get_code(status), m1_status_message(status));
  m1_status_destroy(status);
  return 0;
}

/* Whether the call failed with this code and a message that holds the text. */
static int fails(m1_status *status, m1_status_code code, const char *text) {
  int result =
      m1_status_get_code(status) == code && strstr(m1_status_message(status), text) != NULL;
  if (!result)
    printf("status %d: %s\n", (int)m1_status_get_code(status), m1_status_message(status));
  m1_status_destroy(status);
  return result;
}

typedef struct {
  int32_t tokens[64];
  size_t count;
  float logprob_sum;
  int logprob_events; /* events with tokens that came with log probabilities */
  m1_finish_reason reason;
} sample;

/* Runs the engine until it is idle and collects the samples of requests 1 to 11. */
static void run(m1_engine *engine, sample samples[12][4]) {
  memset(samples, 0, sizeof(sample) * 12 * 4);
  do {
    CHECK(ok(m1_engine_step(engine)));
    for (m1_event event; m1_engine_poll(engine, &event);) {
      CHECK(event.request < 12 && event.sample < 4 && strlen(event.text) == 0 &&
            strlen(event.error) == 0);
      sample *to = &samples[event.request][event.sample];
      CHECK(to->reason == M1_FINISH_RUNNING);
      to->logprob_events += event.token_count > 0 && event.logprobs != NULL;
      for (size_t i = 0; i < event.token_count && to->count < 64; ++i) {
        to->tokens[to->count++] = event.tokens[i];
        if (event.logprobs)
          to->logprob_sum += event.logprobs[i];
        if (event.top_count) {
          CHECK(event.top_count == 2 &&
                event.top_logprobs[2 * i].logprob >= event.top_logprobs[2 * i + 1].logprob);
          CHECK(event.top_logprobs[2 * i].token == event.tokens[i]);
        }
      }
      to->reason = event.reason;
    }
  } while (!m1_engine_is_idle(engine));
}

/* Another thread, which works on until it is told to stop. */
static m1_engine *shared_engine;
static atomic_bool stop_other;
static atomic_int other_refused, other_worked;
static void *other_thread(void *data) {
  const m1_request *request = (const m1_request *)data;
  while (!atomic_load(&stop_other)) {
    m1_status *submitted = m1_engine_submit(shared_engine, request, NULL);
    m1_status *stepped = m1_engine_step(shared_engine);
    m1_status *both[] = {submitted, stepped};
    for (int i = 0; i < 2; ++i) {
      m1_status_code code = m1_status_get_code(both[i]);
      atomic_fetch_add(&other_worked, code == M1_STATUS_OK);
      atomic_fetch_add(&other_refused, code == M1_STATUS_INVALID_ARGUMENT &&
                                           strstr(m1_status_message(both[i]), "another thread"));
      m1_status_destroy(both[i]);
    }
    m1_engine_stats stats;
    m1_engine_get_stats(shared_engine, &stats);
    m1_engine_is_idle(shared_engine);
    m1_engine_cancel(shared_engine, 1);
  }
  return NULL;
}

int main(int argc, char **argv) {
  m1_model *model = NULL;
  if (argc != 2 || !ok(m1_model_load(argv[1], NULL, &model)))
    return 1;

  /* Without a tokenizer text is refused, by name. */
  int32_t *ids = NULL;
  size_t count = 0;
  CHECK(fails(m1_model_encode(model, "text", true, &ids, &count), M1_STATUS_UNSUPPORTED,
              "tokenizer"));

  m1_engine_options options;
  m1_engine_options_init(&options);
  options.max_samples = 3;
  options.max_context = 100;
  m1_engine *engine = NULL;
  CHECK(ok(m1_engine_create(model, &options, &engine)));
  CHECK(m1_engine_is_idle(engine));
  m1_event none;
  CHECK(!m1_engine_poll(engine, &none));

  /* Greedy alone, with log probabilities; request 1. */
  const int32_t prompt[] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  m1_request request;
  m1_request_init(&request);
  request.tokens = prompt;
  request.token_count = 10;
  request.max_new_tokens = 12;
  request.ignore_eos = true;
  request.top_logprobs = 2;
  uint64_t id = 0;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 1);
  sample samples[12][4], alone[12][4];
  run(engine, alone);
  CHECK(alone[1][0].count == 12 && alone[1][0].reason == M1_FINISH_LENGTH &&
        alone[1][0].logprob_sum < 0);
  CHECK(alone[1][0].logprob_events == 12);

  /* Bad requests are refused and harm nobody: 2 is greedy again, 3 has four samples on three slots,
   * 4 is cancelled. */
  request.top_logprobs = 0;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 2);
  m1_request bad = request;
  bad.token_count = 0;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "prompt"));
  bad = request;
  bad.top_p = 2;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "top-p"));
  bad = request;
  const char *const stops[] = {"never"};
  bad.stop_strings = stops;
  bad.stop_string_count = 1;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "stop"));
  bad = request;
  bad.tokens = NULL;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "tokens is null"));
  bad = request;
  bad.stop_token_count = 1;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT,
              "stop_tokens is null"));
  const int32_t unknown[] = {3, 97};
  bad.stop_tokens = unknown;
  bad.stop_token_count = 2;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT,
              "stop token 1 is 97"));
  bad = request;
  bad.samples = UINT32_MAX;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "samples"));
  bad = request;
  bad.time_budget = 1e300;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "time budget"));
  bad = request;
  bad.max_think_tokens = 3; /* there is nothing to close with */
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "close_tokens"));
  bad = request;
  bad.time_budget = 3;
  bad.at_deadline = M1_DEADLINE_CLOSE;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "close_tokens"));
  bad.at_deadline = (m1_deadline_action)7;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "at_deadline"));
  request.samples = 4;
  request.temperature = 1;
  request.seed = 3;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 3);
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 4);
  m1_engine_cancel(engine, 4);
  m1_engine_cancel(engine, 4);           /* again: nothing */
  m1_engine_cancel_sample(engine, 4, 1); /* has ended */
  m1_engine_cancel_sample(engine, 3, 99);
  m1_engine_cancel(engine, 77);
  run(engine, samples);
  CHECK(memcmp(samples[2][0].tokens, alone[1][0].tokens, 12 * sizeof(int32_t)) == 0);
  CHECK(samples[2][0].logprob_events == 0);
  for (int i = 0; i < 4; ++i) {
    CHECK(samples[3][i].count == 12 && samples[3][i].reason == M1_FINISH_LENGTH);
    CHECK(samples[4][i].reason == M1_FINISH_CANCELLED);
  }
  CHECK(memcmp(samples[3][0].tokens, samples[3][1].tokens, 12 * sizeof(int32_t)) != 0);

  /* The same seed gives the same tokens in other company: 5 alone equals sample 1 of 3. */
  request.samples = 1;
  request.first_sample = 1;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 5);
  run(engine, alone);
  CHECK(memcmp(alone[5][0].tokens, samples[3][1].tokens, 12 * sizeof(int32_t)) == 0);

  /* What is forbidden is not said, and a large bias is; 6 and 7. */
  const m1_logit_bias never[] = {{alone[1][0].tokens[0], -INFINITY}}, always[] = {{11, 1e6f}};
  request.first_sample = 0;
  request.temperature = 0;
  request.logit_bias = never;
  request.logit_bias_count = 1;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 6);
  request.logit_bias = always;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 7);
  run(engine, alone);
  CHECK(alone[6][0].tokens[0] != alone[1][0].tokens[0]);
  for (int i = 0; i < 12; ++i)
    CHECK(alone[7][0].tokens[i] == 11);
  /* Unless it is penalised for it; 8. */
  request.presence_penalty = 2e6f;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 8);
  run(engine, alone);
  CHECK(alone[8][0].tokens[0] == 11 && alone[8][0].tokens[1] != 11);
  bad = request;
  bad.logit_bias = NULL;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT,
              "logit_bias is null"));
  bad = request;
  bad.presence_penalty = NAN;
  CHECK(
      fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "presence penalty"));
  bad = request;
  bad.frequency_penalty = INFINITY;
  CHECK(
      fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "frequency penalty"));
  const float temperatures[] = {-1, NAN, INFINITY};
  for (int i = 0; i < 3; ++i) {
    bad = request;
    bad.temperature = temperatures[i];
    CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "temperature"));
  }
  const m1_logit_bias unknowns[] = {{97, 1}, {-1, 1}, {3, NAN}};
  for (int i = 0; i < 3; ++i) {
    bad = request;
    bad.logit_bias = &unknowns[i];
    CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "logit bias"));
  }
  request.presence_penalty = 0;
  request.logit_bias_count = 0;

  /* A stop token ends a sample; 9. */
  request.temperature = 0;
  request.stop_tokens = &samples[2][0].tokens[3];
  request.stop_token_count = 1;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 9);
  run(engine, alone);
  CHECK(alone[9][0].count >= 1 && alone[9][0].count <= 4 &&
        alone[9][0].reason == M1_FINISH_STOP_TOKEN);

  /* Probes of 10 say what the prompt, what the sample has said and their own tokens give alone, and
   * change nothing; 11. */
  const int32_t fed[] = {20, 21};
  int32_t said[3][4], whole[16];
  size_t answered = 0, probes = 0;
  request.stop_tokens = NULL;
  request.stop_token_count = 0;
  request.probe_every = 4;
  request.probe_tokens = fed;
  request.probe_token_count = 2;
  request.probe_max_tokens = 2;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 10);
  do {
    CHECK(ok(m1_engine_step(engine)));
    for (m1_event event; m1_engine_poll(engine, &event);) {
      CHECK(event.request == 10 && event.sample == 0);
      if (event.probe_after == 0) {
        CHECK(answered + event.token_count <= 12 &&
              memcmp(event.tokens, samples[2][0].tokens + answered,
                     event.token_count * sizeof(int32_t)) == 0);
        answered += event.token_count;
        continue;
      }
      CHECK(probes < 3 && event.token_count == 4 && event.reason == M1_FINISH_RUNNING);
      if (probes < 3 && event.token_count == 4)
        memcpy(said[probes], event.tokens, sizeof said[0]);
      CHECK(event.probe_after == 4 * ++probes);
    }
  } while (!m1_engine_is_idle(engine));
  CHECK(answered == 12 && probes >= 1);
  CHECK(memcmp(said[0], fed, sizeof fed) == 0);
  memcpy(whole, prompt, sizeof prompt);
  memcpy(whole + 10, samples[2][0].tokens, 4 * sizeof(int32_t));
  memcpy(whole + 14, fed, sizeof fed);
  request.probe_every = 0;
  request.tokens = whole;
  request.token_count = 16;
  request.max_new_tokens = 2;
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && id == 11);
  run(engine, alone);
  CHECK(memcmp(alone[11][0].tokens, said[0] + 2, 2 * sizeof(int32_t)) == 0);
  bad = request;
  bad.probe_every = 4;
  bad.probe_token_count = 0;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "probes"));
  bad.probe_every = 0;
  bad.probe_on_end = true;
  CHECK(fails(m1_engine_submit(engine, &bad, NULL), M1_STATUS_INVALID_ARGUMENT, "probes"));

  m1_engine_stats stats;
  m1_engine_get_stats(engine, &stats);
  CHECK(stats.generated_tokens >= 12 * 7 && stats.shared_tokens > 0 && stats.running_samples == 0);
  CHECK(stats.probes >= probes && stats.probe_tokens > 0 && stats.probe_seconds > 0);

  /* Null where an object or a result is expected is a status, or nothing, and never a crash. */
  char *text = NULL;
  m1_engine *other = NULL;
  CHECK(fails(m1_model_encode(NULL, "a", true, &ids, &count), M1_STATUS_INVALID_ARGUMENT, "model"));
  CHECK(
      fails(m1_model_encode(model, NULL, true, &ids, &count), M1_STATUS_INVALID_ARGUMENT, "text"));
  CHECK(fails(m1_model_encode(model, "a", true, NULL, &count), M1_STATUS_INVALID_ARGUMENT,
              "out_tokens"));
  CHECK(fails(m1_model_encode_chat(model, NULL, 1, &ids, &count), M1_STATUS_INVALID_ARGUMENT,
              "messages"));
  CHECK(fails(m1_model_decode(model, NULL, 1, &text), M1_STATUS_INVALID_ARGUMENT, "tokens"));
  CHECK(fails(m1_model_decode(model, prompt, 1, NULL), M1_STATUS_INVALID_ARGUMENT, "out_text"));
  CHECK(fails(m1_engine_create(NULL, NULL, &other), M1_STATUS_INVALID_ARGUMENT, "model"));
  options.max_context = 201;
  CHECK(
      fails(m1_engine_create(model, &options, &other), M1_STATUS_INVALID_ARGUMENT, "at most 200"));
  CHECK(fails(m1_engine_create(model, NULL, NULL), M1_STATUS_INVALID_ARGUMENT, "out_engine"));
  CHECK(fails(m1_engine_submit(NULL, &request, NULL), M1_STATUS_INVALID_ARGUMENT, "engine"));
  CHECK(fails(m1_engine_submit(engine, NULL, NULL), M1_STATUS_INVALID_ARGUMENT, "request"));
  CHECK(fails(m1_engine_step(NULL), M1_STATUS_INVALID_ARGUMENT, "engine"));
  m1_engine_options_init(NULL);
  m1_request_init(NULL);
  m1_engine_cancel(NULL, 1);
  m1_engine_cancel_sample(NULL, 1, 0);
  CHECK(m1_engine_is_idle(NULL) && !m1_engine_poll(NULL, &none) && !m1_engine_poll(engine, NULL));
  m1_engine_get_stats(engine, NULL);
  m1_engine_get_stats(NULL, &stats);
  CHECK(stats.steps == 0);

  /* Two threads in one engine: one of them is told so, and nothing breaks. */
  m1_engine *two = NULL;
  m1_engine_options_init(&options);
  options.max_samples = 4;
  CHECK(ok(m1_engine_create(model, &options, &two)));
  shared_engine = two;
  m1_request small;
  m1_request_init(&small);
  small.tokens = prompt;
  small.token_count = 10;
  small.max_new_tokens = 3;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, other_thread, &small) == 0);
  int refused = 0, worked = 0;
  for (long i = 0; i < 2000000 && (!refused || !worked || !atomic_load(&other_refused) ||
                                   !atomic_load(&other_worked));
       ++i) {
    m1_status *step = m1_engine_step(two);
    refused += m1_status_get_code(step) == M1_STATUS_INVALID_ARGUMENT;
    worked += step == NULL;
    m1_status_destroy(step);
    m1_event event;
    while (m1_engine_poll(two, &event))
      ;
  }
  atomic_store(&stop_other, true);
  pthread_join(thread, NULL);
  CHECK(refused + atomic_load(&other_refused) > 0 && worked > 0);
  m1_engine_destroy(two);

  /* An engine outlives the handle of its model; requests that still run end with it. */
  m1_model_destroy(model);
  CHECK(ok(m1_engine_submit(engine, &request, &id)) && ok(m1_engine_step(engine)));
  m1_engine_destroy(engine);
  m1_engine_destroy(NULL);
  printf("%d failures\n", failures);
  return failures != 0;
}
