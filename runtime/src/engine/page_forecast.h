// How many KV pages the running sequences will want at the worst moment to come, if every one gets
// as long as it is expected to: pages are taken token by token, and all of a sequence's come back
// when it ends. Pure arithmetic; knows no model and no engine.
#ifndef M1RT_ENGINE_PAGE_FORECAST_H
#define M1RT_ENGINE_PAGE_FORECAST_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace m1rt {

class PageForecast {
public:
  struct Sequence {
    uint64_t atOnce = 0; // pages that it takes before it says anything
    size_t more = 0;     // tokens that it then says, one a step
    uint64_t held = 0;   // pages that it holds now and that nobody else needs
  };

  /// pageSize 0: sequences take what they will ever hold at once, and then no more.
  explicit PageForecast(uint32_t pageSize) : pageSize(pageSize) {}
  void add(const Sequence &sequence);
  /// Pages beyond those held now that all sequences, `another` included, want at the worst moment.
  uint64_t peakWith(const Sequence &another) const;

private:
  uint64_t pagesOf(size_t tokens) const {
    return pageSize ? (tokens + pageSize - 1) / pageSize : 0;
  }

  uint32_t pageSize;
  std::vector<Sequence> sequences; // by `more`, ascending: in the order in which they end
};

} // namespace m1rt

#endif
