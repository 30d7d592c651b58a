#include "cpu/cpu_device.h"

#include "artifact/artifact.h"
#include "cpu/cpu_features.h"
#include "cpu/dummy_fill.h"
#include "cpu/host_limits.h"
#include "cpu/write_weights.h"
#include "dummy_weights.h"
#include <cstring>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace m1rt {

namespace {

constexpr uint64_t pieceBytes = 4 << 20; // of copies and fills: large enough to share out cheaply
constexpr uint64_t largeBytes = 1 << 20; // from here on a copy or fill is worth several threads
// before each allocation, holding its size; keeps the alignment
constexpr uint64_t headerBytes = 256;

} // namespace

CpuDevice::CpuDevice(unsigned threads) : pool(threads) {
  deviceInfo.target = "cpu";
  deviceInfo.name = hostCpu().model;
  deviceInfo.totalMemory = uint64_t(sysconf(_SC_PHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE));
}

Status CpuDevice::freeMemory(uint64_t *out) const {
  *out = availableMemory();
  return {};
}

Status CpuDevice::allocate(uint64_t bytes, const char *what, void **out) {
  const uint64_t size = bytes + headerBytes;
  // Fresh pages from the system: zero, and only backed by memory once touched. No MADV_HUGEPAGE: on
  // a machine whose memory is fragmented the kernel then compacts it page by page (30 s for 6.9 GB,
  // against 3 s), and reading weights became no faster.
  void *memory =
      size < bytes || bytes > deviceInfo.totalMemory
          ? MAP_FAILED
          : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    rlimit limit;
    const bool limited =
        getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < deviceInfo.totalMemory;
    return error(
        StatusCode::outOfMemory,
        "not enough memory for %s: %s needed, the machine has %s, %s of them free%s", what,
        bytesText(bytes).c_str(), bytesText(deviceInfo.totalMemory).c_str(),
        bytesText(availableMemory()).c_str(),
        limited ? (", this process at most " + bytesText(limit.rlim_cur) + " (ulimit -v)").c_str()
                : "");
  }
  *static_cast<uint64_t *>(memory) = size;
  *out = static_cast<char *>(memory) + headerBytes;
  return Status();
}

void CpuDevice::free(void *memory) {
  if (!memory)
    return;
  void *start = static_cast<char *>(memory) - headerBytes;
  munmap(start, *static_cast<uint64_t *>(start));
}

int CpuDevice::suitability(const schema::Target &target) const {
  return cpuSuitability(target, hostCpu());
}

Status CpuDevice::upload(void *target, const void *source, uint64_t bytes) {
  return copy(target, source, bytes);
}
Status CpuDevice::download(void *target, const void *source, uint64_t bytes) {
  return copy(target, source, bytes);
}

Status CpuDevice::copy(void *target, const void *source, uint64_t bytes) {
  if (bytes < largeBytes) {
    std::memcpy(target, source, bytes);
    return Status();
  }
  pool.forRanges(bytes, pieceBytes, [&](uint64_t begin, uint64_t end) {
    std::memcpy(static_cast<char *>(target) + begin, static_cast<const char *>(source) + begin,
                end - begin);
  });
  return Status();
}

Status CpuDevice::clear(void *target, uint64_t bytes) {
  if (bytes < largeBytes) {
    std::memset(target, 0, bytes);
    return Status();
  }
  pool.forRanges(bytes, pieceBytes, [&](uint64_t begin, uint64_t end) {
    std::memset(static_cast<char *>(target) + begin, 0, end - begin);
  });
  return Status();
}

Status CpuDevice::fillDummy(void *target, schema::ElementType type, uint64_t count, uint64_t seed,
                            uint32_t weight, float scale, float offset) {
  const uint64_t key = m1_dummy_key(seed, weight);
  const float factor = scale * M1_DUMMY_INVERSE_DEVIATION;
  pool.forRanges(count, pieceBytes / 4, [&](uint64_t begin, uint64_t end) {
    fillDummyRange(target, type, begin, end, key, factor, offset);
  });
  return Status();
}

Status CpuDevice::checkDeviceMemory(const void *) const {
  return error(StatusCode::unsupported, "memory of a GPU, and the model is on the cpu");
}

Status CpuDevice::writeWeights(const std::vector<WeightPart> &parts) {
  for (const WeightPart &part : parts)
    pool.forRanges(part.count, pieceBytes / 4,
                   [&](uint64_t begin, uint64_t end) { writeWeightRange(part, begin, end); });
  return Status();
}

Status CpuDevice::createProgram(const Artifact &artifact, const schema::Target &target,
                                std::vector<void *> weights, std::unique_ptr<Program> *out) {
  return CpuProgram::create(*this, artifact, target, std::move(weights), out);
}

Status createCpuDevice(const DeviceOptions &options, std::unique_ptr<Device> *out) {
  if (!options.tuning.empty())
    return error(StatusCode::invalidArgument,
                 "tuning table %s: expected a CUDA device, whose products it is for, got cpu",
                 options.tuning.c_str());
  if (options.threads > 4096)
    return error(StatusCode::invalidArgument, "%u threads: at most 4096", options.threads);
  const unsigned wanted = options.threads ? options.threads : usableCores();
  auto device = std::make_unique<CpuDevice>(wanted);
  if (device->threads().size() < wanted)
    return error(StatusCode::ioError, "cannot start %u threads: the system has no more than %u",
                 wanted, device->threads().size());
  *out = std::move(device);
  return Status();
}

} // namespace m1rt
