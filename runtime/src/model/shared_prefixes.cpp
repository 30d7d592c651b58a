#include "model/shared_prefixes.h"

#include "artifact/elements.h"
#include "m1k_abi.h"
#include <algorithm>

namespace m1rt {

namespace {

/// Sequences [first, end) share pages [begin, stop).
struct Run {
  uint32_t first, end, begin, stop;
  uint32_t members() const { return end - first; }
  uint32_t pages() const { return stop - begin; }
  uint64_t saved() const { return uint64_t(members() - 1) * pages(); }
};

uint32_t commonPages(const SequencePages &a, const SequencePages &b) {
  uint32_t same = 0, differ = std::min(a.sharable, b.sharable) + 1; // of the leading pages
  while (same + 1 < differ) {
    const uint32_t middle = same + (differ - same) / 2;
    (a.pages[middle - 1] == b.pages[middle - 1] ? same : differ) = middle;
  }
  return same;
}

/// The tree of forks: every run of neighbours and the pages that they, but not more of them, share.
std::vector<Run> findRuns(const std::vector<SequencePages> &sequences) {
  struct Open {
    uint32_t depth, first;
  };
  std::vector<Open> open = {{0, 0}};
  std::vector<Run> runs;
  const uint32_t count = uint32_t(sequences.size());
  for (uint32_t i = 1; i <= count; ++i) {
    const uint32_t common = i < count ? commonPages(sequences[i - 1], sequences[i]) : 0;
    uint32_t first = i - 1;
    while (open.back().depth > common) {
      const Open node = open.back();
      open.pop_back();
      runs.push_back({node.first, i, std::max(common, open.back().depth), node.depth});
      first = node.first;
    }
    if (open.back().depth < common)
      open.push_back({common, first});
  }
  return runs;
}

} // namespace

PrefixWork prefixWorkOf(const schema::Module &module, const StepTraits &traits) {
  PrefixWork work;
  work.blocks = traits.sharedBlocks;
  const uint32_t count = module.states() ? module.states()->size() : 0;
  for (uint32_t i = 0; i < count; ++i) {
    const schema::State &state = *module.states()->Get(i);
    if (state.kind() != schema::StateKind::kv)
      continue;
    // [2, kv heads, page, head size], with codes the 4 bytes of their scale in a row.
    const auto &shape = *state.type()->shape();
    const int64_t headSize =
        shape.Get(3) - (elementSize(state.type()->element()) == 1 ? int64_t(sizeof(float)) : 0);
    // About as many query rows as a sequence has hidden columns.
    const uint64_t ratio = module.hidden_size() / (uint64_t(shape.Get(1)) * uint64_t(headSize));
    work.kvHeads = uint32_t(shape.Get(1));
    work.tileMembers =
        std::max<uint32_t>(1, traits.sharedRows / uint32_t(std::max<uint64_t>(1, ratio)));
    break;
  }
  return work;
}

void findSharedPrefixes(const std::vector<SequencePages> &sequences, const PrefixWork &work,
                        SharedPrefixes *out) {
  constexpr uint32_t shortestPart = 4; // pages: below it a part's start costs more than it gains
  const uint32_t count = uint32_t(sequences.size());
  out->items.assign(1 + size_t(M1_PREFIX_ITEMS) * M1_PREFIX_ITEM, 0);
  out->slots.assign(count + 1, 0);
  out->pages.assign(count, 0);
  out->savedPages = 0;
  std::vector<Run> runs = findRuns(sequences);
  if (runs.empty())
    return;

  // Outer runs before inner ones, which continue them; then the larger savings.
  std::sort(runs.begin(), runs.end(), [](const Run &a, const Run &b) {
    return a.begin != b.begin       ? a.begin < b.begin
           : a.saved() != b.saved() ? a.saved() > b.saved()
                                    : a.first < b.first;
  });
  auto unitsOf = [&](const Run &run) {
    return uint64_t((run.members() + work.tileMembers - 1) / work.tileMembers) * work.kvHeads;
  };
  uint64_t total = 0;
  for (const Run &run : runs)
    total += unitsOf(run) * run.pages();
  // A tenth above the even share leaves blocks that end early the rests of the runs.
  uint64_t part =
      std::max<uint64_t>(shortestPart, (total * 11 / 10 + work.blocks - 1) / work.blocks);
  auto partsOf = [&](const Run &run) { return (run.pages() + part - 1) / part; };
  auto fits = [&] {
    uint64_t items = 0, slots = 0;
    for (const Run &run : runs) {
      items += partsOf(run);
      slots += partsOf(run) * run.members();
    }
    return items <= M1_PREFIX_ITEMS && slots <= M1_PREFIX_SLOTS;
  };
  const uint32_t longest =
      std::max_element(runs.begin(), runs.end(), [](const Run &a, const Run &b) {
        return a.pages() < b.pages();
      })->pages();
  while (!fits() && part < longest)
    part = part * 3 / 2 + 1;

  struct Item {
    Run run;
    uint32_t rank;
  };
  std::vector<Item> items;
  std::vector<uint32_t> ranks(count, 0);
  uint64_t slots = 0;
  for (const Run &run : runs) {
    const uint64_t parts = partsOf(run);
    const bool continues = uint32_t(out->pages[run.first]) == run.begin;
    if (!continues || items.size() + parts > M1_PREFIX_ITEMS ||
        slots + parts * run.members() > M1_PREFIX_SLOTS)
      continue;
    for (uint32_t begin = run.begin, rank = ranks[run.first]; begin < run.stop; ++rank) {
      const uint32_t stop = uint32_t(std::min<uint64_t>(begin + part, run.stop));
      items.push_back({{run.first, run.end, begin, stop}, rank});
      begin = stop;
    }
    slots += parts * run.members();
    out->savedPages += run.saved();
    for (uint32_t s = run.first; s < run.end; ++s) {
      ranks[s] += uint32_t(parts);
      out->pages[s] = int32_t(run.stop);
    }
  }
  std::sort(items.begin(), items.end(), [](const Item &a, const Item &b) {
    if (a.run.pages() != b.run.pages())
      return a.run.pages() > b.run.pages();
    return a.run.first != b.run.first ? a.run.first < b.run.first : a.rank < b.rank;
  });
  out->items[0] = int32_t(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const Run &run = items[i].run;
    const uint32_t fields[M1_PREFIX_ITEM] = {run.first, run.end, run.begin, run.stop,
                                             items[i].rank};
    std::copy(std::begin(fields), std::end(fields),
              out->items.begin() + ptrdiff_t(1 + i * M1_PREFIX_ITEM));
  }
  for (uint32_t s = 0; s < count; ++s)
    out->slots[s + 1] = out->slots[s] + int32_t(ranks[s]);
}

} // namespace m1rt
