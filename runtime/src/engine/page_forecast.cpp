#include "engine/page_forecast.h"
#include <algorithm>

namespace m1rt {

namespace {

bool endsBefore(const PageForecast::Sequence &a, const PageForecast::Sequence &b) {
  return a.more < b.more;
}

} // namespace

void PageForecast::add(const Sequence &sequence) {
  sequences.insert(std::upper_bound(sequences.begin(), sequences.end(), sequence, endsBefore),
                   sequence);
}

uint64_t PageForecast::peakWith(const Sequence &another) const {
  // Demand is highest just before one of them ends: those left have then all said as much.
  int64_t taken = int64_t(another.atOnce);
  for (const Sequence &sequence : sequences)
    taken += int64_t(sequence.atOnce);
  int64_t peak = 0;
  size_t left = sequences.size() + 1;
  auto end = [&](const Sequence &sequence) {
    peak = std::max(peak, taken + int64_t(left * pagesOf(sequence.more)));
    taken -= int64_t(sequence.atOnce + sequence.held);
    --left;
  };
  const auto place = std::upper_bound(sequences.begin(), sequences.end(), another, endsBefore);
  for (auto it = sequences.begin(); it != place; ++it)
    end(*it);
  end(another);
  for (auto it = place; it != sequences.end(); ++it)
    end(*it);
  return uint64_t(peak);
}

} // namespace m1rt
