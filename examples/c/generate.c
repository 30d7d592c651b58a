/* Several samples of the answer to one message through the C API, as they come:
 *
 *   generate MODEL.m1a "message" [SAMPLES] [MAX_NEW_TOKENS]
 *
 * Build: cc generate.c $(pkg-config --cflags --libs m1rt) -o generate
 *        (installed where the loader does not look: with -Wl,-rpath,DIR/lib as well)
 * or, before installing, with B=$PWD/../../build/lib:
 *        cc generate.c -I../../runtime/include -L$B -Wl,-rpath,$B -lm1rt -o generate */
#include "m1/engine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program when a call has failed. */
static void check(m1_status *status) {
  if (!status)
    return;
  fprintf(stderr, "generate: error: %s\n", m1_status_message(status));
  m1_status_destroy(status);
  exit(1);
}

/* Without a tokenizer the prompt is a list of token ids. */
static void parse_ids(const char *text, int32_t **out_tokens, size_t *out_count) {
  *out_tokens = malloc((strlen(text) + 1) * sizeof(int32_t));
  *out_count = 0;
  for (char *end; *text; text = end) {
    (*out_tokens)[*out_count] = (int32_t)strtol(text, &end, 10);
    if (end == text) {
      fprintf(stderr, "generate: error: the model has no tokenizer and \"%s\" is no token id\n",
              text);
      exit(1);
    }
    ++*out_count;
  }
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: generate MODEL.m1a MESSAGE [SAMPLES] [MAX_NEW_TOKENS]\n");
    return 2;
  }
  m1_model *model;
  check(m1_model_load(argv[1], NULL, &model));

  int32_t *prompt;
  size_t prompt_length;
  const m1_chat_message message = {"user", argv[2]};
  m1_status *status = m1_model_encode_chat(model, &message, 1, &prompt, &prompt_length);
  if (m1_status_get_code(status) == M1_STATUS_UNSUPPORTED) { /* no chat template */
    fprintf(stderr, "generate: note: %s; taken as it is\n", m1_status_message(status));
    m1_status_destroy(status);
    status = m1_model_encode(model, argv[2], true, &prompt, &prompt_length);
  }
  const bool has_text = !status;
  if (m1_status_get_code(status) == M1_STATUS_UNSUPPORTED) {
    m1_status_destroy(status);
    parse_ids(argv[2], &prompt, &prompt_length);
  } else {
    check(status);
  }

  m1_request request;
  m1_request_init(&request);
  request.tokens = prompt;
  request.token_count = prompt_length;
  request.samples = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1;
  request.max_new_tokens = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 64;
  request.temperature = request.samples > 1 ? 0.8f : 0.0f;

  m1_engine_options options;
  m1_engine_options_init(&options);
  options.max_samples = request.samples < 64 ? request.samples : 64;
  options.max_context = (uint32_t)prompt_length + request.max_new_tokens;
  m1_engine *engine;
  check(m1_engine_create(model, &options, &engine));
  check(m1_engine_submit(engine, &request, NULL));

  while (!m1_engine_is_idle(engine)) {
    check(m1_engine_step(engine));
    for (m1_event event; m1_engine_poll(engine, &event);) {
      if (event.token_count) {
        printf("[%u] ", event.sample);
        for (size_t i = 0; i < event.token_count && !has_text; ++i)
          printf("%d ", event.tokens[i]);
        printf("%s\n", event.text);
      }
      if (event.reason == M1_FINISH_FAILED)
        printf("[%u] failed: %s\n", event.sample, event.error);
    }
  }

  m1_engine_stats stats;
  m1_engine_get_stats(engine, &stats);
  fprintf(stderr, "%llu tokens in %llu steps, %.1f tokens/s\n",
          (unsigned long long)stats.generated_tokens, (unsigned long long)stats.steps,
          stats.elapsed_seconds > 0 ? (double)stats.generated_tokens / stats.elapsed_seconds : 0);
  m1_engine_destroy(engine);
  m1_model_destroy(model);
  if (has_text)
    m1_tokens_destroy(prompt);
  else
    free(prompt);
  return 0;
}
