#include "model/sizing.h"

#include "base/size.h"
#include "cpu/host_limits.h"
#include <algorithm>

namespace m1rt {

// Of the free memory that a session may take: the rest is for the driver, cuBLASLt and graphs.
constexpr double usableShare = 0.92;

Status sizeSession(Model &model, const SizeWish &wish, SessionOptions *out) {
  const schema::Module &module = model.module();
  const bool onHost = model.device().readsHostMemory();
  SessionOptions options;
  options.maxContext = wish.context ? wish.context : module.max_positions();
  BackendLimits limits;
  limits.maxContext = options.maxContext;
  limits.pageSize = module.page_size();
  limits.window = model.window();
  const uint64_t wholeTable = model.pageBytes() ? limits.pagesOf(options.maxContext) : 0,
                 pagesOfOne = model.pageBytes() ? limits.mostPages(options.maxContext) : 0;
  uint64_t free = 0;
  M1_TRY(model.device().freeMemory(&free));
  const uint64_t available = uint64_t(double(free) * usableShare);

  for (uint32_t sequences = std::max(wish.sequences, 1u);;
       sequences -= std::max(1u, sequences / 8)) {
    options.maxSequences =
        uint32_t(std::min<uint64_t>(uint64_t(sequences) + wish.cacheSequences, UINT32_MAX));
    options.maxTokensPerStep =
        uint32_t(std::min<uint64_t>(wish.prefillTokens ? uint64_t(sequences) + wish.prefillTokens
                                                       : std::max(sequences, onHost ? 256u : 4096u),
                                    model.program().maxTokensPerStep()));
    options.maxLogitRows = uint32_t(
        std::min<uint64_t>(uint64_t(sequences) + wish.scoreRows, options.maxTokensPerStep));
    ContextOptions context;
    context.maxTokens = options.maxTokensPerStep;
    context.maxSequences = std::min(options.maxSequences, options.maxTokensPerStep);
    context.maxLogitRows = options.maxLogitRows;
    context.maxPages = uint32_t(std::max<uint64_t>(wholeTable, 1));
    const uint64_t fixed = (Size(model.program().contextBytes(context)) +
                            Size(uint64_t(options.maxSequences) + 1) * model.slotBytes())
                               .get();
    // The engine starts a sample only when every running one could still grow by a page.
    limits.maxTokensPerStep = options.maxTokensPerStep;
    const uint64_t wanted =
        pagesOfOne ? kvPagesFor(limits, sequences) + sequences + pagesOfOne * wish.cacheSequences
                   : 0;
    uint64_t pages = wanted;
    if (model.pageBytes())
      pages = fixed >= available
                  ? 0
                  : std::min<uint64_t>(wanted, (available - fixed) / model.pageBytes());
    // Sequences that could not grow past a quarter of the context would only preempt each other.
    const bool fits = fixed < available && pages >= pagesOfOne && pages * 4 >= wanted;
    const bool lastTry = sequences == 1;
    if (fits || (lastTry && fixed < available && pages >= pagesOfOne)) {
      options.kvPages = uint32_t(pages);
      *out = options;
      return {};
    }
    if (lastTry)
      return error(
          StatusCode::outOfMemory,
          "one sequence of %u tokens needs %s of state, %s of KV pages and %s of working memory; "
          "the device has %s free",
          options.maxContext, bytesText(model.slotBytes()).c_str(),
          bytesText((Size(pagesOfOne) * model.pageBytes()).get()).c_str(),
          bytesText(model.program().contextBytes(context)).c_str(), bytesText(free).c_str());
  }
}

// 512 tokens of M1-3B take an H100 7.6 ms, as long as a decode step of 256 sequences.
uint32_t prefillBesideDecoding(Model &model, const SizeWish &wish) {
  if (wish.prefillTokens)
    return wish.prefillTokens;
  return model.device().readsHostMemory() ? 0 : 512;
}

// A CPU with two threads makes 3300 tokens/s of the tiny reasoner at 32, 2850 at 64 and 2160 at
// 256, whose states no longer stay in the cache; of a model of 170 M parameters 176 at 16, 201 at
// 32, 210 at 64 (m1-bench). An H100 makes 13,300 of M1-3B at 64, 20,000 at 128 and 29,200 at 512,
// each with a context of 2304.
uint32_t fastestBatch(Model &model, uint32_t threads) {
  if (!model.device().readsHostMemory())
    return 512;
  return std::max(32u, 16 * (threads ? threads : usableCores()));
}

} // namespace m1rt
