/* The C API of the M1 runtime: load an artifact (.m1a), keep sequences, run steps.
 *
 * Conventions
 *   - Functions are named m1_object_verb. Objects are opaque, made by *_create / *_load, released
 *     by *_destroy (null is allowed).
 *   - A function that can fail returns m1_status *: null on success, otherwise an owned status that
 *     says what is wrong; release it with m1_status_destroy. Results are written through parameters
 *     named out_*, only on success unless said otherwise.
 *   - "Borrowed" pointers stay the caller's (arguments) or the object's (results) and live as long
 *     as said; "owned" results are released by the caller. Arguments are borrowed for the duration
 *     of the call.
 *   - A null pointer where an object or a result is expected is M1_STATUS_INVALID_ARGUMENT;
 *     functions that return no status then do nothing, and results that they have are zero.
 *   - Objects may be destroyed in any order: what a session or an engine uses of its model lives on
 *     until it is destroyed, too. A forked process may destroy what its parent made, and nothing
 *     else.
 *   - Structs of options are set up by their *_init function before fields are changed, so that
 *     fields added later have their defaults. A null pointer to one stands for these.
 *   - A model and everything made from it belong to one thread at a time; different models may be
 *     used by different threads. A call while another thread is in one is
 *     M1_STATUS_INVALID_ARGUMENT; functions that return no status then do nothing and give nothing
 *     (a session or an engine that another thread is using is not destroyed; no model may be during
 *     a call that takes it). Functions of text may run beside others.
 *   - Strings are UTF-8. No exception leaves the library. It handles SIGBUS for the files that it
 *     has mapped (somebody cut one off: the step then fails) and passes on all others. */
#ifndef M1_RUNTIME_H
#define M1_RUNTIME_H

#include "m1/version.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define M1_API
#else
#define M1_API __attribute__((visibility("default")))
#endif

/* ---- Status ---- */

typedef enum m1_status_code {
  M1_STATUS_OK = 0,
  M1_STATUS_INVALID_ARGUMENT = 1, /* of this call; nothing has changed */
  M1_STATUS_NOT_FOUND = 2,        /* a file */
  M1_STATUS_CORRUPT = 3,          /* the artifact or its weights are damaged */
  M1_STATUS_UNSUPPORTED = 4,   /* by this artifact, machine (processor, GPU, driver) or version */
  M1_STATUS_OUT_OF_MEMORY = 5, /* memory, sequence slots or KV pages */
  M1_STATUS_IO_ERROR = 6,
  M1_STATUS_DEVICE_ERROR = 7, /* session and engine can only be destroyed */
  M1_STATUS_CANCELLED = 8
} m1_status_code;

typedef struct m1_status m1_status;

M1_API m1_status_code m1_status_get_code(const m1_status *status); /* M1_STATUS_OK for null */
/* Borrowed from the status; "" for null. One line of UTF-8 without control characters, of some
   12 kB at most, whatever the names and files are that it quotes. */
M1_API const char *m1_status_message(const m1_status *status);
M1_API void m1_status_destroy(m1_status *status);

M1_API const char *m1_runtime_version(void);     /* M1_VERSION_STRING of the library; static */
M1_API uint32_t m1_runtime_version_number(void); /* its M1_VERSION_NUMBER */

/* ---- Model: an artifact on a device, with its weights ---- */

typedef struct m1_model m1_model;

typedef struct m1_model_options {
  const char *device;  /* "cpu", "cuda", "cuda:N"; null: cpu */
  uint32_t threads;    /* CPU threads; 0: one a core that the process may use */
  bool verify_weights; /* compare the SHA-256 of external weight files, too */

  /* [allow_external_count] directories that external weight files may lie in, besides the
   * artifact's own and those below it */
  const char *const *allow_external;
  size_t allow_external_count;
  /* What m1_model_digest must give, 64 hexadecimal digits; checked before any of the artifact's
   * code is mapped, for which all weights are read. Null: any. */
  const char *required_digest;
  /* Asked now and then while the model is loaded, on the loading thread; true ends that with
   * M1_STATUS_CANCELLED. May be null. */
  bool (*cancelled)(void *cancelled_data);
  void *cancelled_data;
} m1_model_options;

typedef struct m1_model_info {
  const char *architecture; /* borrowed from the model, as all strings here */
  const char *device_name;
  uint32_t vocab_size;
  uint32_t hidden_size;
  uint32_t layers;
  uint32_t max_positions; /* longest sequence */
  uint32_t page_size;     /* positions of one KV page */
  int32_t bos_id;         /* -1: none */
  const int32_t *eos_ids; /* [eos_count] */
  size_t eos_count;
  uint64_t weight_bytes;
  uint64_t slot_bytes; /* scan and convolution state of one sequence */
  uint64_t page_bytes; /* one KV page over all layers; 0 without attention */
} m1_model_info;

/* Sets every field to its default. */
M1_API void m1_model_options_init(m1_model_options *out_options);
/* Maps and verifies the artifact, loads its code and puts the weights on the device. */
M1_API m1_status *m1_model_load(const char *path, const m1_model_options *options,
                                m1_model **out_model);
/* The weights are released with the last of the model, its sessions and its engines. */
M1_API void m1_model_destroy(m1_model *model);
M1_API void m1_model_get_info(const m1_model *model, m1_model_info *out_info);

/* How the model's authors would have it sampled: what generation_config.json of its checkpoint
 * names. Negative: it names none. Nothing applies them unasked; the fields are those of m1_request.
 */
typedef struct m1_generation_defaults {
  float temperature; /* 0: always the likeliest token */
  int32_t top_k;     /* 0: all tokens */
  float top_p;
  float min_p;
  float repetition_penalty;
} m1_generation_defaults;

M1_API void m1_model_generation_defaults(const m1_model *model,
                                         m1_generation_defaults *out_defaults);

#define M1_DIGEST_TEXT_SIZE 65 /* 64 hexadecimal digits and the end of the string */
/* Tells weights apart by the checks that the artifact holds of them: cheap, and meant for telling
 * whether results belong together, not against forgery. Of the artifact's weights, whatever
 * m1_model_update_weights has put in their place. out_hex: [M1_DIGEST_TEXT_SIZE]. */
M1_API m1_status *m1_model_weights_digest(const m1_model *model, char *out_hex);
/* SHA-256 over everything that the artifact is, weights included. Reads all of them. */
M1_API m1_status *m1_model_digest(const m1_model *model, char *out_hex);

/* ---- New weights for a loaded model ---- */

typedef enum m1_element_type {
  M1_ELEMENT_F32 = 0,
  M1_ELEMENT_BF16 = 1,
  M1_ELEMENT_F16 = 2
} m1_element_type;

typedef enum m1_memory {
  M1_MEMORY_HOST = 0,
  M1_MEMORY_CUDA = 1 /* of the model's GPU */
} m1_memory;

/* A tensor of the checkpoint that the model was compiled from. */
typedef struct m1_tensor {
  const char *name; /* as in the checkpoint's files */
  const void *data; /* row-major, without gaps, little-endian */
  m1_memory memory;
  m1_element_type element;
  const int64_t *shape; /* [rank] that of the checkpoint's tensor */
  size_t rank;
} m1_tensor;

/* What becomes of samples of the model's engines that have begun. Those that have not, begin with
 * the new weights; prefixes of prompts that engines keep are dropped. */
typedef enum m1_running_samples {
  M1_RUNNING_FINISH = 0,  /* end with the old weights, before anything changes; steps are run */
  M1_RUNNING_RESTART = 1, /* begin again from their prompts: an event that says `restarted` */
  M1_RUNNING_KEEP = 2 /* go on from the states and the KV pages that the old weights have left */
} m1_running_samples;

/* Gives weights the values of these tensors of its checkpoint: all of them or some, in any of the
 * element types. They are joined, transformed and rounded as m1-compile does it, on the device, so
 * that the model is then the one that a checkpoint with these tensors compiles to. The artifact's
 * files do not change, and no other model that was loaded from them.
 *
 * The update is checked as a whole first: a name that the model does not know or that is given
 * twice, another shape and, with M1_STATUS_UNSUPPORTED, a tensor that the model holds quantised,
 * memory that the model's device cannot read and an artifact that does not name its tensors are
 * refused. After any failure but M1_STATUS_DEVICE_ERROR the model has its old weights; one behind
 * these checks, for want of memory or in a step, may have restarted samples all the same, and lost
 * an engine as m1_engine_step says.
 *
 * Work that has been begun on the GPU, of whatever stream, is waited for; when the call returns the
 * tensors may be changed. Sequences of sessions keep their states. */
M1_API m1_status *m1_model_update_weights(m1_model *model, const m1_tensor *tensors,
                                          size_t tensor_count, m1_running_samples running);

/* ---- Session: sequences and steps, for programs that schedule themselves ---- */

typedef struct m1_session m1_session;

typedef struct m1_session_options {
  uint32_t max_sequences;       /* slots: sequences that can exist at once */
  uint32_t max_tokens_per_step; /* T of the largest step */
  uint32_t
      max_context;   /* longest sequence; 0: the model's max_positions, as far as kv_pages reach */
  uint32_t kv_pages; /* 0: enough for max_sequences sequences of max_context tokens */
  uint32_t max_logit_rows; /* logits rows of one step; 0: max_sequences or max_tokens_per_step,
                              whichever is smaller */
} m1_session_options;

M1_API void m1_session_options_init(m1_session_options *out_options);
/* Takes the memory of its slots, KV pages and largest step from the device; where that is too
 * little, the error is M1_STATUS_OUT_OF_MEMORY. */
M1_API m1_status *m1_session_create(m1_model *model, const m1_session_options *options,
                                    m1_session **out_session);
M1_API void m1_session_destroy(m1_session *session);

/* Sequences are named by handles; a handle is never reused within a session. An unknown handle is
 * M1_STATUS_INVALID_ARGUMENT. */
typedef uint64_t m1_sequence;

/* M1_STATUS_OUT_OF_MEMORY when max_sequences exist; of a fork also when no KV page is free for its
 * copy. */
M1_API m1_status *m1_sequence_create(m1_session *session, m1_sequence *out_sequence);
/* A copy that continues on its own: state is copied, full KV pages are shared, the last, partly
 * filled page is copied. All of that before the next step, or with a later call on the session that
 * needs it; what the device reports of it is that call's error. */
M1_API m1_status *m1_sequence_fork(m1_session *session, m1_sequence sequence,
                                   m1_sequence *out_sequence);
/* Back to no tokens. */
M1_API m1_status *m1_sequence_reset(m1_session *session, m1_sequence sequence);
M1_API m1_status *m1_sequence_destroy(m1_session *session, m1_sequence sequence);
M1_API m1_status *m1_sequence_get_length(const m1_session *session, m1_sequence sequence,
                                         uint32_t *out_length);

/* The tokens that one sequence takes in a step. */
typedef struct m1_step_entry {
  m1_sequence sequence;
  const int32_t *tokens; /* [token_count] */
  uint32_t token_count;  /* at least 1 */
  uint32_t logit_count;  /* logits are wanted for the last logit_count of these tokens; 0: none */
} m1_step_entry;

/* Runs the entries, each of another sequence, as one forward pass. Logits rows are those that the
 * entries ask for, in their order: L = sum of logit_count. out_next_tokens: [L] the likeliest token
 * after each row, or null; -1 after a row whose logits hold a NaN or an infinite value.
 * out_logits: [L, vocab_size], or null. When KV pages run out, the error
 * is M1_STATUS_OUT_OF_MEMORY and no sequence has changed. After M1_STATUS_DEVICE_ERROR the session
 * can only be destroyed. */
M1_API m1_status *m1_session_step(m1_session *session, const m1_step_entry *entries,
                                  size_t entry_count, int32_t *out_next_tokens, float *out_logits);

typedef struct m1_session_usage {
  uint32_t sequences, max_sequences;
  uint32_t kv_pages_used, kv_pages;
} m1_session_usage;

M1_API void m1_session_get_usage(const m1_session *session, m1_session_usage *out_usage);

#ifdef __cplusplus
}
#endif

#endif
