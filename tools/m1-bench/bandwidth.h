// How fast memory can be read, as the floor of what a step takes.
#ifndef M1_BENCH_BANDWIDTH_H
#define M1_BENCH_BANDWIDTH_H

#include "device.h"
#include <map>

namespace m1bench {

/// Bytes a second of reading or copying on a device, for working sets of any size.
class Bandwidth {
public:
  /// `threads` as in DeviceOptions.
  Bandwidth(m1rt::Device &device, uint32_t threads);
  ~Bandwidth();
  Bandwidth(const Bandwidth &) = delete;
  Bandwidth &operator=(const Bandwidth &) = delete;

  /// On a GPU: a large copy within its memory, counting bytes read and bytes written. On a CPU: as
  /// many threads as a run has read a mapped file of this size over and over, as a run reads its
  /// weights. A working set that fits the caches is thus measured in the caches. Sizes count as
  /// the power of two above them, of 512 MB at most.
  m1rt::Status measure(double workingSet, double *outBytesPerSecond);

  /// The working set of a model that no cache holds.
  static constexpr double large = 512 << 20;

private:
  m1rt::Status readSpeed(uint64_t bytes, double *out);
  m1rt::Status copySpeed(double *out);
  m1rt::Status mapFile();

  m1rt::Device &device;
  uint32_t threads;
  const uint64_t *mapped = nullptr;    // a file of `large` bytes
  std::map<uint64_t, double> measured; // by size, which is a power of two; on a GPU one
};

} // namespace m1bench

#endif
