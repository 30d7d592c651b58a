#include "CompiledModel.h"

#include "m1c/Compiler.h"

namespace m1test {

std::string compileModel(const std::string &directory, const std::string &artifact,
                         const Types &types) {
  m1c::CompileOptions options;
  options.model = directory;
  options.output = artifact;
  options.activationType = types.activation;
  options.stateType = types.state;
  options.kvType = types.kv;
  options.cpu = types.cpu;
  options.quantize = types.quantize;
  options.producer = "test";
  std::string messages;
  m1c::CompileListener listener;
  listener.diagnostic = [&](bool isWarning, llvm::StringRef message) {
    if (!isWarning)
      messages += message.str() + "\n";
  };
  if (!m1c::compile(options, listener, nullptr) && messages.empty())
    messages = "failed without a message";
  return messages;
}

CompiledModel::CompiledModel(const std::string &artifact, uint32_t maxSequences, uint32_t maxTokens,
                             uint32_t maxContext) {
  m1_model_options modelOptions;
  m1_model_options_init(&modelOptions);
  modelOptions.threads = 2;
  if (!check(m1_model_load(artifact.c_str(), &modelOptions, &model)))
    return;
  m1_model_info info;
  m1_model_get_info(model, &info);
  vocabulary = info.vocab_size;
  m1_session_options options;
  m1_session_options_init(&options);
  options.max_sequences = maxSequences;
  options.max_tokens_per_step = maxTokens;
  options.max_context = maxContext;
  options.max_logit_rows = maxTokens;
  check(m1_session_create(model, &options, &session));
}

CompiledModel::~CompiledModel() {
  m1_session_destroy(session);
  m1_model_destroy(model);
}

bool CompiledModel::check(m1_status *status) {
  if (!status)
    return true;
  problem = m1_status_message(status);
  m1_status_destroy(status);
  return false;
}

m1_sequence CompiledModel::newSequence() {
  m1_sequence sequence = 0;
  if (problem.empty())
    check(m1_sequence_create(session, &sequence));
  return sequence;
}

m1_sequence CompiledModel::fork(m1_sequence sequence) {
  m1_sequence copy = 0;
  if (problem.empty())
    check(m1_sequence_fork(session, sequence, &copy));
  return copy;
}

CompiledModel::Result CompiledModel::step(const std::vector<Entry> &entries) {
  if (!problem.empty())
    return {};
  std::vector<m1_step_entry> list;
  size_t rows = 0;
  for (const Entry &entry : entries) {
    uint32_t count = static_cast<uint32_t>(entry.tokens.size());
    uint32_t wanted = entry.logits < 0 ? count : static_cast<uint32_t>(entry.logits);
    list.push_back({entry.sequence, entry.tokens.data(), count, wanted});
    rows += wanted;
  }
  std::vector<float> logits(rows * vocabulary);
  Result result;
  result.nextTokens.resize(rows);
  if (!check(m1_session_step(session, list.data(), list.size(), result.nextTokens.data(),
                             logits.data())))
    return {};
  result.logits.assign(logits.begin(), logits.end());
  return result;
}

} // namespace m1test
