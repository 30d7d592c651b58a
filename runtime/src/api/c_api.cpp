// The C API over models and sessions. Nothing thrown inside leaves it.
#include "api/handles.h"
#include "m1/runtime.h"
#include <cstring>
#include <new>

using namespace m1rt;

// Stands for any failure whose own status found no memory; never freed.
static m1_status noMemoryForStatus{Status(StatusCode::outOfMemory, "out of host memory")};

m1_status *m1rt::toC(Status status) {
  if (status.ok())
    return nullptr;
  m1_status *owned = new (std::nothrow) m1_status{std::move(status)};
  return owned ? owned : &noMemoryForStatus;
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
  if (status != &noMemoryForStatus)
    delete status;
}

const char *m1_runtime_version(void) { return M1_VERSION; }

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
    }
    std::unique_ptr<m1_model> model(new m1_model());
    std::unique_ptr<Model> loaded;
    M1_TRY(Model::load(path, modelOptions, &loaded));
    model->model = std::move(loaded);
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
  const schema::Module &module = model->model->module();
  out_info->architecture = module.architecture() ? module.architecture()->c_str() : "";
  out_info->device_name = model->model->device().info().name.c_str();
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
  out_info->weight_bytes = model->model->weightBytes();
  out_info->slot_bytes = model->model->slotBytes();
  out_info->page_bytes = model->model->pageBytes();
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
  return guarded([&]() -> Status {
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
    session->model = model->model;
    M1_TRY(Session::create(*model->model, sessionOptions, &session->session));
    *out_session = session.release();
    return Status();
  });
}

void m1_session_destroy(m1_session *session) { delete session; }

m1_status *m1_sequence_create(m1_session *session, m1_sequence *out_sequence) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_create",
                            {{"session", session}, {"out_sequence", out_sequence}}));
    return session->session->create(out_sequence);
  });
}

m1_status *m1_sequence_fork(m1_session *session, m1_sequence sequence, m1_sequence *out_sequence) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_fork",
                            {{"session", session}, {"out_sequence", out_sequence}}));
    return session->session->fork(sequence, out_sequence);
  });
}

m1_status *m1_sequence_reset(m1_session *session, m1_sequence sequence) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_reset", {{"session", session}}));
    return session->session->reset(sequence);
  });
}

m1_status *m1_sequence_destroy(m1_session *session, m1_sequence sequence) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_destroy", {{"session", session}}));
    return session->session->destroy(sequence);
  });
}

m1_status *m1_sequence_get_length(const m1_session *session, m1_sequence sequence,
                                  uint32_t *out_length) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_sequence_get_length",
                            {{"session", session}, {"out_length", out_length}}));
    return session->session->length(sequence, out_length);
  });
}

m1_status *m1_session_step(m1_session *session, const m1_step_entry *entries, size_t entry_count,
                           int32_t *out_next_tokens, float *out_logits) {
  return guarded([&]() -> Status {
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
  const BackendLimits limits = session->session->limits();
  out_usage->sequences = session->session->usedSequences();
  out_usage->max_sequences = limits.maxSequences;
  out_usage->kv_pages = limits.kvPages;
  out_usage->kv_pages_used = limits.kvPages - session->session->freePages();
}

} // extern "C"
