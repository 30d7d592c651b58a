#include "bandwidth.h"
#include "base/joining_threads.h"
#include "cpu/host_limits.h"
#include "measure.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace m1rt;

namespace m1bench {

namespace {

constexpr uint64_t copyBytes = 1ull << 30; // far larger than any L2
constexpr int repeats = 7;
constexpr double measureSeconds = 0.03; // of one repetition at least: thread starts do not count
constexpr uint64_t leastBytes = 1 << 16;

/// Reads every byte, with the widest loads that the processor has.
__attribute__((target_clones("avx512f", "avx2", "default"))) uint64_t
readWords(const uint64_t *words, uint64_t count) {
  uint64_t sums[32] = {};
  uint64_t i = 0;
  for (; i + 32 <= count; i += 32)
    for (int k = 0; k < 32; ++k)
      sums[k] += words[i + k];
  uint64_t sum = 0;
  for (; i < count; ++i)
    sum += words[i];
  for (uint64_t part : sums)
    sum += part;
  return sum;
}

/// Seconds in which the threads together read the words `rounds` times.
Status readSeconds(const uint64_t *words, uint64_t count, uint32_t threads, uint64_t rounds,
                   double *out) {
  std::atomic<uint64_t> sink{0};
  JoiningThreads workers;
  const double began = now();
  for (uint32_t t = 0; t < threads; ++t) {
    const bool started = workers.start([&, t] {
      const uint64_t first = count * t / threads, last = count * (t + 1) / threads;
      for (uint64_t round = 0; round < rounds; ++round)
        sink += readWords(words + first, last - first);
    });
    if (!started)
      return error(StatusCode::ioError,
                   "cannot start %u threads to measure memory: the system has no more than %u",
                   threads, t);
  }
  workers.join();
  *out = now() - began;
  return {};
}

} // namespace

Bandwidth::Bandwidth(Device &device, uint32_t threads)
    : device(device), threads(threads ? threads : usableCores()) {}

Bandwidth::~Bandwidth() {
  if (mapped)
    ::munmap(const_cast<uint64_t *>(mapped), size_t(large));
}

Status Bandwidth::mapFile() {
  std::FILE *file = std::tmpfile(); // a real file: pages of the file cache, as an artifact's
  const std::vector<char> part(1 << 20, 1);
  bool written = file != nullptr;
  for (size_t done = 0; written && done < size_t(large); done += part.size())
    written = std::fwrite(part.data(), 1, part.size(), file) == part.size();
  written = written && std::fflush(file) == 0;
  void *memory = written ? ::mmap(nullptr, size_t(large), PROT_READ, MAP_PRIVATE, fileno(file), 0)
                         : MAP_FAILED;
  const int problem = errno;
  if (file)
    std::fclose(file);
  if (memory == MAP_FAILED)
    return error(StatusCode::ioError, "cannot map a temporary file of %s to measure memory: %s",
                 bytesText(uint64_t(large)).c_str(), std::strerror(problem));
  mapped = static_cast<const uint64_t *>(memory);
  return {};
}

Status Bandwidth::measure(double workingSet, double *out) {
  const bool onHost = device.readsHostMemory();
  uint64_t bytes = leastBytes;
  while (onHost && bytes < uint64_t(large) && double(bytes) < workingSet)
    bytes *= 2;
  double &speed = measured[bytes];
  if (speed == 0)
    M1_TRY(onHost ? readSpeed(bytes, &speed) : copySpeed(&speed));
  *out = speed;
  return {};
}

Status Bandwidth::readSpeed(uint64_t bytes, double *out) {
  if (!mapped)
    M1_TRY(mapFile());
  const uint64_t count = bytes / 8;
  double seconds = 0;
  M1_TRY(readSeconds(mapped, count, threads, 1, &seconds)); // pages and caches
  M1_TRY(readSeconds(mapped, count, threads, 1, &seconds));
  const uint64_t rounds = uint64_t(std::clamp(std::ceil(measureSeconds / seconds), 1.0, 1e5));
  for (int repeat = 0; repeat < repeats; ++repeat) {
    M1_TRY(readSeconds(mapped, count, threads, rounds, &seconds));
    // A floor is what nothing can be under: the best.
    *out = std::max(*out, double(bytes) * double(rounds) / seconds);
  }
  return {};
}

Status Bandwidth::copySpeed(double *out) {
  void *from = nullptr, *to = nullptr;
  M1_TRY(device.allocate(copyBytes, "the copy speed test", &from));
  Status status = device.allocate(copyBytes, "the copy speed test", &to);
  if (status.ok())
    status = device.fillDummy(from, schema::ElementType::f32, copyBytes / 4, 1, 0, 1.0f, 0.0f);
  std::vector<double> seconds;
  constexpr int copiesPerSample = 8; // so that launch and wait do not count
  for (int repeat = -1; repeat < repeats && status.ok(); ++repeat) {
    status = device.synchronize();
    double began = now();
    for (int i = 0; i < copiesPerSample && status.ok(); ++i)
      status = device.copy(to, from, copyBytes);
    if (status.ok())
      status = device.synchronize();
    if (repeat >= 0) // the first is the warm-up
      seconds.push_back((now() - began) / copiesPerSample);
  }
  device.free(from);
  device.free(to);
  M1_TRY(std::move(status));
  *out = 2.0 * double(copyBytes) / summarize(seconds).median;
  return {};
}

} // namespace m1bench
