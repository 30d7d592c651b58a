#include "running.h"
#include "base/counted.h"
#include "model/sizing.h"
#include <sys/resource.h>
#include <unistd.h>

using namespace m1rt;

namespace m1tool {

uint32_t slotsFor(Model &model, const Arguments &arguments, uint64_t samples, uint32_t devices) {
  if (arguments.slots)
    return arguments.slots;
  const uint64_t share = (samples + devices - 1) / devices;
  return uint32_t(std::min<uint64_t>(share, fastestBatch(model, arguments.devices.threads))) +
         (arguments.samples > 1);
}

Status start(const std::vector<Model *> &models, const Arguments &arguments,
             std::unique_ptr<ModelText> text, uint32_t sequences, uint32_t context,
             uint32_t cacheSlots, Running *out) {
  EngineWish wish;
  wish.probePlaces = probePlacesOf(arguments.generation, sequences);
  wish.size.sequences = sequences + wish.probePlaces;
  wish.size.context = context;
  wish.size.prefillTokens = arguments.prefillChunk;
  wish.size.cacheSequences = cacheSlots;
  wish.planBudgets = arguments.slots == 0;
  wish.checkNumerics = arguments.checkNumerics;
  wish.warm = arguments.generation.timeBudget > 0; // before the clock starts
  out->text = std::move(text);
  Engine::DecoderFactory decoders;
  if (const ModelText *side = out->text.get())
    decoders = [side] { return side->createDecoder(/*skipSpecial=*/true); };
  return Engines::create(models, wish, sequences, decoders, &out->engines);
}

Status fitContext(const Model &model, const Arguments &arguments, Request *request,
                  uint32_t *outContext) {
  const uint64_t closing = std::max<uint64_t>(
      request->closeTokens.size() + (request->closeTokens.empty() ? 0 : request->closeMaxTokens),
      request->probes() ? request->probeLength() : 0);
  // The last new token is never fed.
  const uint64_t longest = uint64_t(model.module().max_positions()) + 1;
  if (!arguments.maxNewTokensGiven && request->prompt.size() < longest)
    request->maxNewTokens =
        uint32_t(std::min<uint64_t>(request->maxNewTokens, longest - request->prompt.size()));
  const uint64_t length = request->prompt.size() + uint64_t(request->maxNewTokens) - 1;
  if (length >= longest)
    return error(StatusCode::invalidArgument,
                 "a prompt of %zu tokens and %u new ones: the model was compiled for contexts of "
                 "at most %u tokens",
                 request->prompt.size(), request->maxNewTokens, model.module().max_positions());
  *outContext = uint32_t(std::min<uint64_t>(length + closing + 1, model.module().max_positions()));
  return {};
}

void printStats(const Model &model, const Running &running, double loadSeconds, double seconds) {
  const EngineStats stats = running.engines->stats();
  const uint32_t devices = running.engines->devices();
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  auto per = [](double count, double time) { return time > 0 ? count / time : 0; };
  std::FILE *out = stderr;
  std::fprintf(out, "load              %.3f s, weights %s\n", loadSeconds,
               bytesText(model.weightBytes()).c_str());
  if (model.pageBytes() > 0)
    std::fprintf(out, "keys and values   %s, %.0f bytes a token\n",
                 elementName(model.module().kv_type()),
                 double(model.pageBytes()) / model.module().page_size());
  if (model.slotBytes() > 0)
    std::fprintf(out, "states            %s, %s a sequence\n",
                 elementName(model.module().state_type()), bytesText(model.slotBytes()).c_str());
  if (devices > 1)
    std::fprintf(out, "devices           %u; prefill and decode are the mean rates of one\n",
                 devices);
  std::fprintf(out, "generated         %s in %.3f s, %.1f tokens/s\n",
               counted(stats.generatedTokens, "token").c_str(), seconds,
               per(double(stats.generatedTokens), seconds));
  std::fprintf(out, "prefill           %s in %.3f s, %.1f tokens/s\n",
               counted(stats.computedTokens - stats.decodeTokens, "token").c_str(),
               stats.modelSeconds - stats.decodeSeconds,
               per(double(stats.computedTokens - stats.decodeTokens),
                   stats.modelSeconds - stats.decodeSeconds));
  std::fprintf(out, "decode            %s in %s in %.3f s, %.1f tokens/s\n",
               counted(stats.decodeTokens, "token").c_str(),
               counted(stats.decodeSteps, "step").c_str(), stats.decodeSeconds,
               per(double(stats.decodeTokens), stats.decodeSeconds));
  std::fprintf(out, "steps             %llu, %.3f s in the model (%.1f %% of the time)\n",
               (unsigned long long)stats.steps, stats.modelSeconds,
               100 * per(stats.modelSeconds, seconds * devices));
  std::fprintf(out,
               "tokens computed   %llu (prompt %llu, shared by samples %llu, reused prefixes %llu, "
               "recomputed %llu)\n",
               (unsigned long long)stats.computedTokens, (unsigned long long)stats.promptTokens,
               (unsigned long long)stats.sharedTokens, (unsigned long long)stats.reusedTokens,
               (unsigned long long)stats.recomputedTokens);
  if (stats.probes)
    std::fprintf(out, "probes            %llu (%llu dropped), %s, %.3f s of the steps\n",
                 (unsigned long long)stats.probes, (unsigned long long)stats.probesDropped,
                 counted(stats.probeTokens, "token").c_str(), stats.probeSeconds);
  if (running.engines->prefixReuse())
    std::fprintf(out, "prefix reuse      %s, %llu missed\n",
                 counted(stats.prefixHits, "hit").c_str(), (unsigned long long)stats.prefixMisses);
  else
    std::fprintf(out, "prefix reuse      off: no sequences are set aside for it\n");
  std::fprintf(out, "preemptions       %llu\n", (unsigned long long)stats.preemptions);
  std::fprintf(out, "largest memory    %s\n", bytesText(uint64_t(usage.ru_maxrss) * 1024).c_str());
}

void noteEnd(const SampleResult &sample) {
  const char *note = sample.forced                              ? "closed by force"
                     : sample.reason == FinishReason::length    ? "cut off by --max-new-tokens or "
                                                                  "the context"
                     : sample.reason == FinishReason::dropped   ? "dropped at the end of "
                                                                  "--time-budget"
                     : sample.reason == FinishReason::cancelled ? "stopped"
                                                                : nullptr;
  if (note && isatty(STDERR_FILENO))
    std::fprintf(stderr, "[%s]\n", note);
}

} // namespace m1tool
