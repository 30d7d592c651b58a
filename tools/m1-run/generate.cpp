#include "generate.h"

#include <algorithm>
#include <chrono>

using namespace m1rt;

namespace m1tool {

static double seconds() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

static bool isEos(const schema::Module &module, int32_t token) {
  return module.eos_ids() && std::find(module.eos_ids()->begin(), module.eos_ids()->end(), token) != module.eos_ids()->end();
}

Status generate(Model &model, const std::vector<int32_t> &prompt, const GenerateOptions &options,
                const std::function<void(int32_t)> &onToken, GenerateResult *out) {
  const schema::Module &module = model.module();
  const size_t vocabulary = module.vocab_size();
  // The last new token is fed only for its logits.
  const uint64_t length = prompt.size() + options.maxNewTokens - (options.keepLogits || options.maxNewTokens == 0 ? 0 : 1);
  if (prompt.empty())
    return error(StatusCode::invalidArgument, "the prompt is empty");
  if (length > module.max_positions())
    return error(StatusCode::invalidArgument,
                 "a prompt of %zu tokens and %u new ones: the model was compiled for contexts of at most %u tokens", prompt.size(),
                 options.maxNewTokens, module.max_positions());
  SessionOptions sessionOptions;
  sessionOptions.maxContext = uint32_t(length);
  sessionOptions.maxTokensPerStep = uint32_t(std::min<uint64_t>(prompt.size(), options.prefillChunk));
  sessionOptions.maxLogitRows = options.keepLogits ? sessionOptions.maxTokensPerStep : 1;
  std::unique_ptr<Session> session;
  M1_TRY(Session::create(model, sessionOptions, &session));
  SequenceId sequence = 0;
  M1_TRY(session->create(&sequence));

  double began = seconds();
  std::vector<int32_t> next(sessionOptions.maxLogitRows);
  if (options.keepLogits)
    out->prefillLogits.resize(prompt.size() * vocabulary);
  for (size_t done = 0; done < prompt.size();) {
    const uint32_t count = uint32_t(std::min<size_t>(sessionOptions.maxTokensPerStep, prompt.size() - done));
    const bool last = done + count == prompt.size();
    BackendEntry entry{sequence, prompt.data() + done, count, options.keepLogits ? count : uint32_t(last)};
    M1_TRY(session->step(&entry, 1));
    M1_TRY(session->nextTokens(next.data()));
    if (options.keepLogits)
      M1_TRY(session->logits(0, count, out->prefillLogits.data() + done * vocabulary));
    done += count;
  }
  int32_t token = next[session->logitRows() - 1];
  out->prefillSeconds = seconds() - began;

  began = seconds();
  while (out->tokens.size() < options.maxNewTokens) {
    out->tokens.push_back(token);
    onToken(token);
    const bool ended = out->tokens.size() == options.maxNewTokens || (!options.ignoreEos && isEos(module, token));
    if (ended && !options.keepLogits)
      break;
    BackendEntry entry{sequence, &token, 1, 1};
    M1_TRY(session->step(&entry, 1));
    int32_t following = 0;
    M1_TRY(session->nextTokens(&following));
    ++out->decodeSteps;
    if (options.keepLogits) {
      out->decodeLogits.resize(out->tokens.size() * vocabulary);
      M1_TRY(session->logits(0, 1, out->decodeLogits.data() + (out->tokens.size() - 1) * vocabulary));
    }
    if (ended)
      break;
    token = following;
  }
  out->decodeSeconds = seconds() - began;
  return Status();
}

} // namespace m1tool
