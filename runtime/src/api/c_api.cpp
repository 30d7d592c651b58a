// The C API over models and sessions. Nothing thrown inside leaves it.
#include "api/handles.h"
#include "artifact/approval.h"
#include "base/printable.h"
#include "m1/runtime.h"
#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

using namespace m1rt;

// Stands for any failure whose own status found no memory; never freed.
static m1_status *const noMemory =
    new m1_status{Status(StatusCode::outOfMemory, "out of host memory")};

m1_status *m1rt::toC(const Status &status) noexcept {
  if (status.ok())
    return nullptr;
  try {
    return new m1_status{Status(status.code(), printable(status.message(), false))};
  } catch (const std::bad_alloc &) {
    return noMemory;
  }
}

m1_status *m1rt::statusOfException() noexcept {
  try {
    try {
      throw;
    } catch (const std::bad_alloc &) {
      return noMemory;
    } catch (const std::length_error &) { // of a container: more than any memory holds
      return noMemory;
    } catch (const std::exception &exception) {
      return toC(error(StatusCode::deviceError, "internal error: %s", exception.what()));
    } catch (...) {
      return toC(Status(StatusCode::deviceError, "internal error"));
    }
  } catch (...) { // while the status was made
    return noMemory;
  }
}

Status Usage::begin() {
  if (forked())
    return error(StatusCode::unsupported,
                 "this process was forked from the one that loaded the model: load it here");
  if (busy.exchange(true, std::memory_order_acquire))
    return error(StatusCode::invalidArgument,
                 "another thread is using the model, a session or an engine of it");
  return Status();
}

Status m1rt::requireArguments(const char *function, std::initializer_list<NamedPointer> arguments) {
  for (const NamedPointer &argument : arguments)
    if (!argument.pointer)
      return error(StatusCode::invalidArgument, "%s: %s must not be null", function, argument.name);
  return Status();
}

extern "C" {

m1_status_code m1_status_get_code(const m1_status *status) {
  return status ? m1_status_code(status->status.code()) : M1_STATUS_OK;
}
const char *m1_status_message(const m1_status *status) {
  return status ? status->status.message().c_str() : "";
}
void m1_status_destroy(m1_status *status) {
  if (status != noMemory)
    delete status;
}

const char *m1_runtime_version(void) { return M1_VERSION; }
uint32_t m1_runtime_version_number(void) { return M1_VERSION_NUMBER; }

void m1_model_options_init(m1_model_options *out_options) {
  if (!out_options)
    return;
  *out_options = m1_model_options();
  out_options->device = "cpu";
}

m1_status *m1_model_load(const char *path, const m1_model_options *options, m1_model **out_model) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_model_load", {{"path", path}, {"out_model", out_model}}));
    ModelOptions modelOptions;
    if (options) {
      modelOptions.device = options->device ? options->device : "cpu";
      modelOptions.deviceOptions.threads = options->threads;
      modelOptions.verifyWeights = options->verify_weights;
      if (options->allow_external_count && !options->allow_external)
        return error(StatusCode::invalidArgument, "allow_external is null but its count is %zu",
                     options->allow_external_count);
      for (size_t i = 0; i < options->allow_external_count; ++i)
        modelOptions.allowExternal.push_back(options->allow_external[i] ? options->allow_external[i]
                                                                        : "");
      if (options->required_digest) {
        Digest wanted;
        if (!parseDigest(options->required_digest, &wanted))
          return error(StatusCode::invalidArgument,
                       "required_digest: expected 64 hexadecimal digits, got \"%s\"",
                       options->required_digest);
        modelOptions.approve = requireDigest(wanted);
      }
      if (options->cancelled)
        modelOptions.interrupted = [options] {
          return options->cancelled(options->cancelled_data);
        };
    }
    std::unique_ptr<m1_model> model(new m1_model());
    model->loaded = std::make_shared<LoadedModel>();
    model->loaded->threads = modelOptions.deviceOptions.threads;
    M1_TRY(Model::load(path, modelOptions, &model->loaded->model));
    *out_model = model.release();
    return Status();
  });
}

void m1_model_destroy(m1_model *model) { delete model; }

void m1_model_get_info(const m1_model *model, m1_model_info *out_info) {
  if (!out_info)
    return;
  *out_info = m1_model_info();
  if (!model)
    return;
  const Model &loaded = *model->loaded->model;
  const schema::Module &module = loaded.module();
  out_info->architecture = module.architecture() ? module.architecture()->c_str() : "";
  out_info->device_name = loaded.deviceName().c_str();
  out_info->vocab_size = module.vocab_size();
  out_info->hidden_size = module.hidden_size();
  out_info->layers = module.layers();
  out_info->max_positions = module.max_positions();
  out_info->page_size = module.page_size();
  out_info->bos_id = module.bos_id();
  if (module.eos_ids()) {
    out_info->eos_ids = module.eos_ids()->data();
    out_info->eos_count = module.eos_ids()->size();
  }
  out_info->weight_bytes = loaded.weightBytes();
  out_info->slot_bytes = loaded.slotBytes();
  out_info->page_bytes = loaded.pageBytes();
}

static m1_status *giveDigest(const char *function, const m1_model *model, char *out_hex,
                             Status (*digest)(const Artifact &, Digest *)) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments(function, {{"model", model}, {"out_hex", out_hex}}));
    Digest result;
    M1_TRY(digest(model->loaded->model->artifact(), &result));
    const std::string text = digestText(result.data());
    std::memcpy(out_hex, text.c_str(), text.size() + 1);
    return Status();
  });
}

void m1_model_generation_defaults(const m1_model *model, m1_generation_defaults *out_defaults) {
  if (!out_defaults)
    return;
  *out_defaults = m1_generation_defaults();
  if (!model)
    return;
  const GenerationDefaults defaults = model->loaded->model->artifact().generationDefaults();
  constexpr uint32_t mostTopK = INT32_MAX;
  out_defaults->temperature = defaults.temperature.value_or(-1);
  out_defaults->top_k = defaults.topK ? int32_t(std::min(*defaults.topK, mostTopK)) : -1;
  out_defaults->top_p = defaults.topP.value_or(-1);
  out_defaults->min_p = defaults.minP.value_or(-1);
  out_defaults->repetition_penalty = defaults.repetitionPenalty.value_or(-1);
}

m1_status *m1_model_weights_digest(const m1_model *model, char *out_hex) {
  return giveDigest("m1_model_weights_digest", model, out_hex,
                    [](const Artifact &artifact, Digest *out) {
                      *out = artifact.weightsDigest();
                      return Status();
                    });
}

m1_status *m1_model_digest(const m1_model *model, char *out_hex) {
  return giveDigest("m1_model_digest", model, out_hex, [](const Artifact &artifact, Digest *out) {
    return artifact.digest(0, {}, out);
  });
}

void m1_session_options_init(m1_session_options *out_options) {
  if (!out_options)
    return;
  SessionOptions defaults;
  *out_options = m1_session_options();
  out_options->max_sequences = defaults.maxSequences;
  out_options->max_tokens_per_step = defaults.maxTokensPerStep;
}

m1_status *m1_session_create(m1_model *model, const m1_session_options *options,
                             m1_session **out_session) {
  return guardedOn(model, [&]() -> Status {
    M1_TRY(requireArguments("m1_session_create", {{"model", model}, {"out_session", out_session}}));
    SessionOptions sessionOptions;
    if (options) {
      sessionOptions.maxSequences = options->max_sequences;
      sessionOptions.maxTokensPerStep = options->max_tokens_per_step;
      sessionOptions.maxContext = options->max_context;
      sessionOptions.kvPages = options->kv_pages;
      sessionOptions.maxLogitRows = options->max_logit_rows;
    }
    std::unique_ptr<m1_session> session(new m1_session());
    session->loaded = model->loaded;
    M1_TRY(Session::create(*model->loaded->model, sessionOptions, &session->session));
    *out_session = session.release();
    return Status();
  });
}

void m1_session_destroy(m1_session *session) { destroyAlone(session); }

m1_status *m1_sequence_create(m1_session *session, m1_sequence *out_sequence) {
  return guardedOn(session, [&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_create",
                            {{"session", session}, {"out_sequence", out_sequence}}));
    return session->session->create(out_sequence);
  });
}

m1_status *m1_sequence_fork(m1_session *session, m1_sequence sequence, m1_sequence *out_sequence) {
  return guardedOn(session, [&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_fork",
                            {{"session", session}, {"out_sequence", out_sequence}}));
    return session->session->fork(sequence, out_sequence);
  });
}

m1_status *m1_sequence_reset(m1_session *session, m1_sequence sequence) {
  return guardedOn(session, [&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_reset", {{"session", session}}));
    return session->session->reset(sequence);
  });
}

m1_status *m1_sequence_destroy(m1_session *session, m1_sequence sequence) {
  return guardedOn(session, [&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_destroy", {{"session", session}}));
    return session->session->destroy(sequence);
  });
}

m1_status *m1_sequence_get_length(const m1_session *session, m1_sequence sequence,
                                  uint32_t *out_length) {
  return guardedOn(session, [&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_get_length",
                            {{"session", session}, {"out_length", out_length}}));
    return session->session->length(sequence, out_length);
  });
}

m1_status *m1_session_step(m1_session *session, const m1_step_entry *entries, size_t entry_count,
                           int32_t *out_next_tokens, float *out_logits) {
  return guardedOn(session, [&]() -> Status {
    M1_TRY(requireArguments("m1_session_step", {{"session", session}}));
    if (entry_count > UINT32_MAX || (entry_count && !entries))
      return error(StatusCode::invalidArgument, "m1_session_step: %zu entries at %p", entry_count,
                   (const void *)entries);
    std::vector<BackendEntry> converted;
    converted.reserve(entry_count);
    for (size_t i = 0; i < entry_count; ++i) {
      if (!entries[i].tokens)
        return error(StatusCode::invalidArgument, "entry %zu: tokens is null", i);
      converted.push_back(
          {entries[i].sequence, entries[i].tokens, entries[i].token_count, entries[i].logit_count});
    }
    M1_TRY(session->session->step(converted.data(), uint32_t(entry_count)));
    M1_TRY(session->session->nextTokens(out_next_tokens));
    if (out_logits)
      M1_TRY(session->session->logits(0, session->session->logitRows(), out_logits));
    return Status();
  });
}

void m1_session_get_usage(const m1_session *session, m1_session_usage *out_usage) {
  if (!out_usage)
    return;
  *out_usage = m1_session_usage();
  if (!session)
    return;
  InUse inUse(session->loaded->usage);
  if (!inUse)
    return;
  const BackendLimits limits = session->session->limits();
  out_usage->sequences = session->session->usedSequences();
  out_usage->max_sequences = limits.maxSequences;
  out_usage->kv_pages = limits.kvPages;
  out_usage->kv_pages_used = limits.kvPages - session->session->freePages();
}

} // extern "C"
