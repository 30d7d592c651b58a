/* The C API as a C program uses it: c_api_test ARTIFACT. Compiled as C11 against m1/runtime.h and
 * the shared library alone. */
#include "m1/runtime.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures = 0;

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      printf("line %d: failed: %s\n", __LINE__, #condition);                                       \
      ++failures;                                                                                  \
    }                                                                                              \
  } while (0)

/* Whether the call succeeded; prints the message of a failure. */
static int ok(m1_status *status) {
  if (!status)
    return 1;
  printf("status %d: %s\n", (int)m1_status_get_code(status), m1_status_message(status));
  m1_status_destroy(status);
  return 0;
}

static m1_status_code code(m1_status *status) {
  m1_status_code result = m1_status_get_code(status);
  CHECK(result == M1_STATUS_OK || strlen(m1_status_message(status)) > 0);
  m1_status_destroy(status);
  return result;
}

/* A message is bounded, one line and printable, whatever the path is, and says what is wrong. */
static void check_message_of_a_path(const char *artifact) {
  enum { size = 1 << 20 };
  static char path[size + 1];
  memset(path, 'a', size);
  memcpy(path + 100, "\n\x1b[31m\xff", 7);
  m1_model_options options;
  m1_model_options_init(&options);
  for (int field = 0; field < 3; ++field) {
    m1_model *model = NULL;
    options.device = field == 1 ? path : "cpu";
    options.required_digest = field == 2 ? path : NULL;
    m1_status *status = m1_model_load(field == 0 ? path : artifact, &options, &model);
    const char *message = m1_status_message(status);
    CHECK(status && strlen(message) > 10 && strlen(message) < 10000);
    for (const char *c = message; *c; ++c)
      CHECK((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f);
    if (field == 0)
      CHECK(strstr(message, "File name too long"));
    m1_status_destroy(status);
  }
}

static int asked = 0;
static bool cancel_at_once(void *data) {
  *(int *)data += 1;
  return true;
}

int main(int argc, char **argv) {
  m1_model *model = NULL;
  CHECK(argc == 2);
  CHECK(code(m1_model_load("absent.m1a", NULL, &model)) == M1_STATUS_NOT_FOUND);
  CHECK(code(m1_model_load(NULL, NULL, &model)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(model == NULL);
  check_message_of_a_path(argv[1]);
  m1_model_destroy(NULL);
  m1_session_destroy(NULL);
  m1_status_destroy(NULL);
  CHECK(strcmp(m1_runtime_version(), M1_VERSION_STRING) == 0);
  CHECK(m1_runtime_version_number() == M1_VERSION_NUMBER);

  m1_model_options options;
  m1_model_options_init(&options);
  options.threads = 2;
  options.cancelled = cancel_at_once;
  options.cancelled_data = &asked;
  CHECK(code(m1_model_load(argv[1], &options, &model)) == M1_STATUS_CANCELLED);
  CHECK(asked > 0 && model == NULL);
  m1_model_options_init(&options);
  options.threads = 2;
  options.required_digest = "12ab";
  CHECK(code(m1_model_load(argv[1], &options, &model)) == M1_STATUS_INVALID_ARGUMENT);
  char wrong_digest[] = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
  options.required_digest = wrong_digest;
  CHECK(code(m1_model_load(argv[1], &options, &model)) == M1_STATUS_CORRUPT);
  options.required_digest = NULL;
  if (!ok(m1_model_load(argv[1], &options, &model)))
    return 1;
  m1_model_info info;
  m1_model_get_info(model, &info);
  CHECK(strcmp(info.architecture, "toy") == 0);
  CHECK(info.vocab_size == 97 && info.page_size == 8 && info.max_positions == 200);
  CHECK(info.eos_count == 1 && info.eos_ids[0] == 96);
  CHECK(info.slot_bytes == 48 && info.page_bytes == 384);

  /* This one's authors have said nothing about sampling; null objects change nothing. */
  m1_generation_defaults sampling = {0, 0, 0, 0, 0};
  m1_model_generation_defaults(model, &sampling);
  CHECK(sampling.temperature == -1 && sampling.top_k == -1 && sampling.top_p == -1);
  CHECK(sampling.min_p == -1 && sampling.repetition_penalty == -1);
  sampling.top_k = 7;
  m1_model_generation_defaults(NULL, &sampling);
  CHECK(sampling.top_k == 0);
  m1_model_generation_defaults(model, NULL);

  /* The digest of this artifact is one that loads it. */
  char digest[M1_DIGEST_TEXT_SIZE], weights_digest[M1_DIGEST_TEXT_SIZE];
  CHECK(ok(m1_model_digest(model, digest)) && strlen(digest) == 64);
  CHECK(ok(m1_model_weights_digest(model, weights_digest)) && strlen(weights_digest) == 64);
  CHECK(strcmp(digest, weights_digest) != 0);
  CHECK(code(m1_model_digest(NULL, digest)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_model_weights_digest(model, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  m1_model_options exact = options;
  exact.required_digest = digest;
  m1_model *again = NULL;
  CHECK(ok(m1_model_load(argv[1], &exact, &again)));
  m1_model_destroy(again);

  m1_session_options session_options;
  m1_session_options_init(&session_options);
  session_options.max_sequences = 3;
  session_options.max_tokens_per_step = 16;
  m1_session *session = NULL;
  CHECK(ok(m1_session_create(model, &session_options, &session)));

  /* Two sequences in one step; then the first is forked, and both continue alike. */
  m1_sequence a, b, c;
  CHECK(ok(m1_sequence_create(session, &a)));
  CHECK(ok(m1_sequence_create(session, &b)));
  const int32_t first[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, second[] = {11, 12};
  const m1_step_entry prompts[] = {{a, first, 10, 1}, {b, second, 2, 1}};
  int32_t next[3];
  static float logits[3 * 97];
  CHECK(ok(m1_session_step(session, prompts, 2, next, logits)));
  CHECK(logits[next[0]] >= logits[0] && logits[97 + next[1]] >= logits[97]);
  CHECK(ok(m1_sequence_fork(session, a, &c)));
  m1_sequence d;
  CHECK(code(m1_sequence_create(session, &d)) == M1_STATUS_OUT_OF_MEMORY);
  const int32_t token = next[0];
  const m1_step_entry step[] = {{a, &token, 1, 1}, {c, &token, 1, 1}, {b, &next[1], 1, 1}};
  CHECK(ok(m1_session_step(session, step, 3, next, logits)));
  CHECK(next[0] == next[1]);
  CHECK(memcmp(logits, logits + 97, 97 * sizeof(float)) == 0);
  uint32_t length = 0;
  CHECK(ok(m1_sequence_get_length(session, c, &length)) && length == 11);

  const int32_t bad = 97;
  const m1_step_entry wrong = {a, &bad, 1, 0};
  CHECK(code(m1_session_step(session, &wrong, 1, NULL, NULL)) == M1_STATUS_INVALID_ARGUMENT);

  m1_session_usage usage;
  m1_session_get_usage(session, &usage);
  CHECK(usage.sequences == 3 && usage.max_sequences == 3);
  CHECK(usage.kv_pages_used == 4); /* a and c share their first page */
  CHECK(ok(m1_sequence_destroy(session, c)));
  CHECK(code(m1_sequence_destroy(session, c)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(ok(m1_sequence_reset(session, a)));
  m1_session_get_usage(session, &usage);
  CHECK(usage.sequences == 2 && usage.kv_pages_used == 1);

  /* Null where an object or a result is expected is a status, or nothing, and never a crash. */
  CHECK(code(m1_model_load(argv[1], NULL, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_session_create(NULL, NULL, &session)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_session_create(model, NULL, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_sequence_create(NULL, &d)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_sequence_create(session, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_sequence_fork(NULL, a, &d)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_sequence_fork(session, a, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_sequence_reset(NULL, a)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_sequence_destroy(NULL, a)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_sequence_get_length(NULL, a, &length)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_sequence_get_length(session, a, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_session_step(NULL, prompts, 1, NULL, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_session_step(session, NULL, 1, NULL, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  CHECK(code(m1_session_step(session, NULL, 0, NULL, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  const m1_step_entry empty = {a, NULL, 1, 0};
  CHECK(code(m1_session_step(session, &empty, 1, NULL, NULL)) == M1_STATUS_INVALID_ARGUMENT);
  m1_model_options_init(NULL);
  m1_session_options_init(NULL);
  m1_model_get_info(model, NULL);
  m1_model_get_info(NULL, &info);
  CHECK(info.architecture == NULL && info.vocab_size == 0);
  m1_session_get_usage(session, NULL);
  m1_session_get_usage(NULL, &usage);
  CHECK(usage.max_sequences == 0);

  /* A forked process has none of the threads: it may only destroy, and the parent goes on. */
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    failures = 0;
    CHECK(code(m1_session_step(session, prompts, 1, next, NULL)) == M1_STATUS_UNSUPPORTED);
    m1_session_destroy(session);
    m1_model_destroy(model);
    fflush(stdout);
    _exit(failures);
  }
  int status = -1;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);

  /* A session outlives the handle of its model. */
  m1_model_destroy(model);
  CHECK(ok(m1_session_step(session, prompts, 1, next, NULL)));
  m1_session_destroy(session);
  printf("%d failures\n", failures);
  return failures != 0;
}
