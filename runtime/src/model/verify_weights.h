// Notices weights that are not what was compiled: damaged on disk, or an external file changed
// since.
#ifndef M1RT_MODEL_VERIFY_WEIGHTS_H
#define M1RT_MODEL_VERIFY_WEIGHTS_H

#include "artifact/artifact.h"
#include "base/joining_threads.h"
#include <atomic>

namespace m1rt {

/// Reads the weights and compares them with the artifact's checks, on threads of its own while the
/// model is loaded: the weights have to come into memory anyway, and they are read at the speed of
/// memory (M1-3B, 6.9 GB: 0.4 s on two cores).
class WeightCheck {
public:
  /// `threads`: 0: one a core. The artifact must outlive the check.
  WeightCheck(const Artifact &artifact, unsigned threads);
  ~WeightCheck();
  WeightCheck(const WeightCheck &) = delete;
  WeightCheck &operator=(const WeightCheck &) = delete;

  /// Waits; an error names the first weight that differs and its file, or says that it was
  /// interrupted. Artifacts without checks pass.
  Status finish(const Interrupted &interrupted);

private:
  struct Piece {
    uint32_t weight;
    uint64_t offset, size; // within the weight
  };
  void work(const Interrupted &interrupted);

  const Artifact &artifact;
  std::vector<Piece> pieces;
  const std::vector<uint64_t> &expected; // per piece
  std::atomic<size_t> next{0}, firstBad;
  std::atomic<bool> stopped{false};
  JoiningThreads helpers;
};

} // namespace m1rt

#endif
