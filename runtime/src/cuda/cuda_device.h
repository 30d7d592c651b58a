// The CUDA device: memory, transfers and code of one GPU, all on one stream.
#ifndef M1RT_CUDA_CUDA_DEVICE_H
#define M1RT_CUDA_CUDA_DEVICE_H

#include "cuda/driver.h"
#include "device.h"
#include <map>
#include <string_view>

namespace m1rt::cuda {

/// Loaded code. Unloads with the object.
class Module {
public:
  explicit Module(const Driver &driver) : driver(driver) {}
  ~Module() {
    if (handle)
      driver.cuModuleUnload(handle);
  }
  Module(const Module &) = delete;
  /// `code` is a cubin, or PTX ending in a zero byte. `what` names it in errors.
  Status load(const void *code, const char *what);
  /// *out is null when the module has no such kernel.
  Status find(const char *symbol, CUfunction *out) const;

private:
  const Driver &driver;
  CUmodule handle = nullptr;
};

class CudaDevice final : public Device {
public:
  static Status create(uint32_t ordinal, const DeviceOptions &options,
                       std::unique_ptr<Device> *out);
  ~CudaDevice() override;

  Status freeMemory(uint64_t *out) const override;
  Status allocate(uint64_t bytes, const char *what, void **out) override;
  void free(void *memory) override;
  bool readsHostMemory() const override { return false; }
  Status upload(void *target, const void *source, uint64_t bytes) override;
  Status download(void *target, const void *source, uint64_t bytes) override;
  Status copy(void *target, const void *source, uint64_t bytes) override;
  Status copyRanges(const std::vector<CopyRange> &ranges) override;
  Status clear(void *target, uint64_t bytes) override;
  Status fillDummy(void *target, schema::ElementType type, uint64_t count, uint64_t seed,
                   uint32_t weight, float scale, float offset) override;
  Status synchronize() override;
  Status checkDeviceMemory(const void *memory) const override;
  Status writeWeights(const std::vector<WeightPart> &parts) override;
  int suitability(const schema::Target &target) const override;
  Status createProgram(const Artifact &artifact, const schema::Target &target,
                       std::vector<void *> weights, std::unique_ptr<Program> *out) override;

  /// Converts between f32 and bf16, in order.
  Status convert(void *target, schema::ElementType targetType, const void *source,
                 schema::ElementType sourceType, uint64_t count);
  /// tokens[i] = chosen[rows[i]] where rows[i] is not negative, all on the device, in order.
  Status takeChosen(int32_t *tokens, const int32_t *rows, const int32_t *chosen, uint64_t count);
  /// Makes this device's context current on the calling thread; every entry point of program and
  /// context calls it.
  Status bind() const;
  /// Page-locked host memory.
  Status allocateHost(uint64_t bytes, void **out);
  void freeHost(void *memory);

  const Driver &api() const { return *driver; }
  CUstream stream() const { return workStream; }
  /// Compute capability, ten times the major number plus the minor one.
  int capability() const { return computeCapability; }
  const std::string &tuning() const { return tuningPath; }
  uint32_t multiprocessors() const { return multiprocessorCount; }

private:
  CudaDevice() = default;
  Status open(uint32_t ordinal);
  Status writeWeights(const std::vector<WeightPart> &parts, void *scratch);
  /// `count` elements in blocks of 256 threads, `rows` times side by side.
  Status launchSupport(const char *kernel, uint64_t count, void **parameters, unsigned rows = 1);
  Status outOfMemory(uint64_t bytes, const char *what) const;

  const Driver *driver = nullptr;
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUstream workStream = nullptr;
  int computeCapability = 0;
  uint32_t multiprocessorCount = 0;
  std::string tuningPath;
  std::unique_ptr<Module> support;
  std::map<std::string_view, CUfunction> supportKernels; // that were launched, by literals

  // Uploads go through two page-locked buffers in turn, so that reading the file overlaps the
  // transfer.
  struct Staging {
    void *memory = nullptr;
    CUevent free = nullptr; // recorded behind the last transfer out of it
  };
  static constexpr uint64_t stagingBytes = 32ull << 20;
  Staging staging[2];
  unsigned nextStaging = 0;
};

} // namespace m1rt::cuda

#endif
