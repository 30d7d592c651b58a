#include "logits_run.h"
#include "base/counted.h"
#include "input.h"
#include "running.h"
#include "safetensors_writer.h"
#include "tool.h"
#include <algorithm>
#include <sys/resource.h>

using namespace m1rt;

namespace m1tool {

static bool isEos(const schema::Module &module, int32_t token) {
  return module.eos_ids() && std::find(module.eos_ids()->begin(), module.eos_ids()->end(), token) !=
                                 module.eos_ids()->end();
}

Status runWithLogits(Model &model, const Arguments &arguments, double loadSeconds) {
  const schema::Module &module = model.module();
  const size_t vocabulary = module.vocab_size();
  std::vector<int32_t> prompt;
  M1_TRY(readTokenIds(arguments.inputIds, module.vocab_size(), &prompt));
  uint64_t newTokens = arguments.generation.maxNewTokens;
  if (!arguments.maxNewTokensGiven && prompt.size() < module.max_positions())
    newTokens = std::min<uint64_t>(newTokens, module.max_positions() - prompt.size());
  const uint64_t length = prompt.size() + newTokens;
  if (length > module.max_positions())
    return error(StatusCode::invalidArgument,
                 "a prompt of %zu tokens and %llu new ones: the model was compiled for contexts of "
                 "at most %u tokens",
                 prompt.size(), (unsigned long long)newTokens, module.max_positions());
  OutputFile trial; // what cannot be written is known before the work
  M1_TRY(trial.open(arguments.dumpLogits));
  SessionOptions options;
  options.maxContext = uint32_t(length);
  options.maxTokensPerStep = uint32_t(std::min<uint64_t>(
      {prompt.size(), arguments.prefillChunk, model.program().maxTokensPerStep()}));
  options.maxLogitRows = options.maxTokensPerStep;
  std::unique_ptr<Session> session;
  M1_TRY(Session::create(model, options, &session));
  session->setCheckNumerics(arguments.checkNumerics);
  SequenceId sequence = 0;
  M1_TRY(session->create(&sequence));

  double began = now();
  std::vector<int32_t> next(options.maxLogitRows);
  std::vector<float> prefillLogits(prompt.size() * vocabulary), decodeLogits;
  for (size_t done = 0; done < prompt.size();) {
    const uint32_t count =
        uint32_t(std::min<size_t>(options.maxTokensPerStep, prompt.size() - done));
    BackendEntry entry{sequence, prompt.data() + done, count, count};
    M1_TRY(session->step(&entry, 1));
    M1_TRY(session->nextTokens(next.data()));
    M1_TRY(session->logits(0, count, prefillLogits.data() + done * vocabulary));
    done += count;
  }
  int32_t token = next[session->logitRows() - 1];
  const double prefillSeconds = now() - began;

  began = now();
  std::vector<int32_t> tokens;
  while (tokens.size() < newTokens) {
    if (token < 0)
      return error(StatusCode::deviceError,
                   "no token to choose at position %zu (token %zu of the answer): the model's "
                   "logits there hold a NaN or an infinite value",
                   prompt.size() + tokens.size(), tokens.size() + 1);
    tokens.push_back(token);
    std::printf(tokens.size() == 1 ? "%d" : " %d", token);
    std::fflush(stdout);
    BackendEntry entry{sequence, &token, 1, 1};
    M1_TRY(session->step(&entry, 1));
    M1_TRY(session->nextTokens(&token));
    decodeLogits.resize(tokens.size() * vocabulary);
    M1_TRY(session->logits(0, 1, decodeLogits.data() + (tokens.size() - 1) * vocabulary));
    if (!arguments.generation.ignoreEos && isEos(module, tokens.back()))
      break;
  }
  std::printf("\n");
  const double decodeSeconds = now() - began;

  M1_TRY(writeSafetensors(arguments.dumpLogits,
                          {{"prefill_logits",
                            "F32",
                            {prompt.size(), vocabulary},
                            prefillLogits.data(),
                            prefillLogits.size() * 4},
                           {"output_ids", "I32", {tokens.size()}, tokens.data(), tokens.size() * 4},
                           {"decode_logits",
                            "F32",
                            {tokens.size(), vocabulary},
                            decodeLogits.data(),
                            decodeLogits.size() * 4}}));
  if (arguments.stats) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    std::fprintf(stderr, "load              %.3f s, weights %s\n", loadSeconds,
                 bytesText(model.weightBytes()).c_str());
    std::fprintf(stderr, "prefill           %s in %.3f s, logits of every token included\n",
                 counted(prompt.size(), "token").c_str(), prefillSeconds);
    std::fprintf(stderr, "decode            %s in %.3f s, logits included\n",
                 counted(tokens.size(), "token").c_str(), decodeSeconds);
    std::fprintf(stderr, "largest memory    %s\n",
                 bytesText(uint64_t(usage.ru_maxrss) * 1024).c_str());
  }
  return std::fflush(stdout) != 0 || std::ferror(stdout) ? outputError() : Status();
}

} // namespace m1tool
