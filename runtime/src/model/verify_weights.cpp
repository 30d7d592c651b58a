#include "model/verify_weights.h"

#include "cpu/host_limits.h"
#include "weight_check.h"
#include <algorithm>

namespace m1rt {

// Few cores saturate the memory.
constexpr unsigned mostThreads = 16;

WeightCheck::WeightCheck(const Artifact &artifact, unsigned threads)
    : artifact(artifact), expected(artifact.weightChecks()), firstBad(expected.size()) {
  const auto *weights = artifact.module().weights();
  for (uint32_t i = 0; !expected.empty() && i < weights->size(); ++i)
    for (uint64_t offset = 0, size = artifact.weightData(i).size; offset < size;
         offset += M1_WEIGHT_PIECE)
      pieces.push_back({i, offset, std::min<uint64_t>(size - offset, M1_WEIGHT_PIECE)});
  // Without more threads, finish() does the work.
  const size_t wanted =
      std::min<size_t>({threads ? threads : usableCores(), mostThreads, pieces.size()});
  while (helpers.size() < wanted && helpers.start([this] { work({}); }))
    ;
}

WeightCheck::~WeightCheck() { stopped = true; }

/// Pieces are taken in order, so none before the first bad one is left out when the work stops
/// there.
void WeightCheck::work(const Interrupted &interrupted) {
  for (size_t i = next++; i < firstBad && !stopped; i = next++) {
    if (interrupted && interrupted())
      stopped = true;
    const Piece &piece = pieces[i];
    if (m1_weight_check(artifact.weightData(piece.weight).data + piece.offset, piece.size) ==
        expected[i])
      continue;
    for (size_t known = firstBad; i < known && !firstBad.compare_exchange_weak(known, i);)
      ;
  }
}

Status WeightCheck::finish(const Interrupted &interrupted) {
  work(interrupted);
  helpers.join();
  if (stopped)
    return error(StatusCode::cancelled, "%s: loading was cancelled", artifact.path().c_str());
  if (firstBad == pieces.size())
    return Status();
  const Piece &bad = pieces[firstBad];
  return error(
      StatusCode::corrupt,
      "%s: damaged or changed: bytes %llu to %llu of weight %u \"%s\" are not those that the "
      "artifact was made with",
      artifact.weightFile(bad.weight).c_str(), (unsigned long long)bad.offset,
      (unsigned long long)(bad.offset + bad.size), bad.weight,
      artifact.module().weights()->Get(bad.weight)->name()->c_str());
}

} // namespace m1rt
