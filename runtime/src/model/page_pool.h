// Counts the owners of KV pages.
#ifndef M1RT_MODEL_PAGE_POOL_H
#define M1RT_MODEL_PAGE_POOL_H

#include <cassert>
#include <cstdint>
#include <vector>

namespace m1rt {

class PagePool {
public:
  explicit PagePool(uint32_t pages = 0) : owners(pages, 0) {
    for (uint32_t i = pages; i > 0; --i)
      unused.push_back(i - 1);
  }

  uint32_t size() const { return uint32_t(owners.size()); }
  uint32_t free() const { return uint32_t(unused.size()); }
  uint32_t ownersOf(uint32_t page) const { return owners[page]; }

  /// A page with one owner. There must be a free one.
  uint32_t take() {
    assert(!unused.empty());
    uint32_t page = unused.back();
    unused.pop_back();
    owners[page] = 1;
    return page;
  }
  void share(uint32_t page) {
    assert(owners[page] > 0);
    ++owners[page];
  }
  /// Gives up one ownership; without owners the page is free.
  void release(uint32_t page) {
    assert(owners[page] > 0);
    if (--owners[page] == 0)
      unused.push_back(page);
  }

private:
  std::vector<uint32_t> owners;
  std::vector<uint32_t> unused;
};

} // namespace m1rt

#endif
