#include "cuda/cuda_device.h"
#include "base/size.h"
#include "cuda/cuda_program.h"
#include "cuda/support_ptx.h"
#include "dummy_weights.h"
#include <algorithm>
#include <cstring>

namespace m1rt {

Status createCudaDevice(uint32_t ordinal, const DeviceOptions &options,
                        std::unique_ptr<Device> *out) {
  return cuda::CudaDevice::create(ordinal, options, out);
}

Status countCudaDevices(uint32_t *out) {
  const cuda::Driver *driver = nullptr;
  M1_TRY(cuda::Driver::get(&driver));
  int count = 0;
  M1_TRY(driver->check(driver->cuDeviceGetCount(&count), "cuDeviceGetCount"));
  *out = uint32_t(count);
  return {};
}

namespace cuda {

using schema::ElementType;

// Numbers that support.cu knows.
static_assert(int(ElementType::f32) == 0 && int(ElementType::bf16) == 1 &&
              int(schema::WeightTransform::neg_exp) == 1 &&
              int(schema::WeightTransform::twice) == 2 &&
              int(schema::WeightTransform::plus_one) == 3);

Status Module::load(const void *code, const char *what) {
  char log[4096] = "";
  int names[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, reinterpret_cast<void *>(uintptr_t(sizeof log))};
  Status status =
      driver.check(driver.cuModuleLoadDataEx(&handle, code, 2, names, values), "loading %s", what);
  if (!status.ok() && log[0])
    return error(status.code(), "%s: %s", status.message().c_str(), log);
  return status;
}

Status Module::find(const char *symbol, CUfunction *out) const {
  *out = nullptr;
  const CUresult result = driver.cuModuleGetFunction(out, handle, symbol);
  return result == CUDA_ERROR_NOT_FOUND ? Status()
                                        : driver.check(result, "looking for kernel %s", symbol);
}

Status CudaDevice::create(uint32_t ordinal, const DeviceOptions &options,
                          std::unique_ptr<Device> *out) {
  std::unique_ptr<CudaDevice> device(new CudaDevice);
  device->tuningPath = options.tuning;
  M1_TRY(device->open(ordinal));
  *out = std::move(device);
  return {};
}

Status CudaDevice::open(uint32_t ordinal) {
  M1_TRY(Driver::get(&driver));
  int count = 0;
  M1_TRY(driver->check(driver->cuDeviceGetCount(&count), "cuDeviceGetCount"));
  if (ordinal >= uint32_t(count))
    return error(StatusCode::unsupported, "no device cuda:%u: this machine has %d CUDA device(s)",
                 ordinal, count);
  M1_TRY(driver->check(driver->cuDeviceGet(&device, int(ordinal)), "cuDeviceGet"));
  char name[256] = "";
  size_t memory = 0;
  int major = 0, minor = 0;
  M1_TRY(driver->check(driver->cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName"));
  M1_TRY(driver->check(driver->cuDeviceTotalMem(&memory, device), "cuDeviceTotalMem"));
  M1_TRY(driver->check(
      driver->cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device),
      "cuDeviceGetAttribute"));
  M1_TRY(driver->check(
      driver->cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device),
      "cuDeviceGetAttribute"));
  computeCapability = major * 10 + minor;
  if (computeCapability < 80)
    return error(StatusCode::unsupported,
                 "device cuda:%u (%s) has compute capability %d.%d; 8.0 or newer is needed",
                 ordinal, name, major, minor);
  int multiprocessors = 0;
  M1_TRY(driver->check(driver->cuDeviceGetAttribute(
                           &multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device),
                       "cuDeviceGetAttribute"));
  multiprocessorCount = uint32_t(multiprocessors);
  deviceInfo.target = "cuda";
  deviceInfo.name = name;
  deviceInfo.totalMemory = memory;
  M1_TRY(driver->check(driver->cuDevicePrimaryCtxRetain(&context, device),
                       "cuDevicePrimaryCtxRetain"));
  M1_TRY(bind());
  M1_TRY(
      driver->check(driver->cuStreamCreate(&workStream, CU_STREAM_NON_BLOCKING), "cuStreamCreate"));
  support = std::make_unique<Module>(*driver);
  M1_TRY(support->load(supportPtx, "the runtime's own kernels"));
  for (Staging &buffer : staging) {
    M1_TRY(allocateHost(stagingBytes, &buffer.memory));
    M1_TRY(driver->check(driver->cuEventCreate(&buffer.free, CU_EVENT_DISABLE_TIMING),
                         "cuEventCreate"));
  }
  return {};
}

CudaDevice::~CudaDevice() {
  if (!context)
    return;
  (void)bind();
  if (workStream)
    driver->cuStreamSynchronize(workStream);
  for (Staging &buffer : staging) {
    freeHost(buffer.memory);
    if (buffer.free)
      driver->cuEventDestroy(buffer.free);
  }
  support.reset();
  if (workStream)
    driver->cuStreamDestroy(workStream);
  driver->cuDevicePrimaryCtxRelease(device);
}

Status CudaDevice::bind() const {
  return driver->check(driver->cuCtxSetCurrent(context), "cuCtxSetCurrent");
}

Status CudaDevice::freeMemory(uint64_t *out) const {
  M1_TRY(bind());
  size_t free = 0, total = 0;
  M1_TRY(driver->check(driver->cuMemGetInfo(&free, &total), "asking %s for its free memory",
                       deviceInfo.name.c_str()));
  *out = free;
  return {};
}

Status CudaDevice::outOfMemory(uint64_t bytes, const char *what) const {
  uint64_t free = 0;
  M1_TRY(freeMemory(&free));
  return error(StatusCode::outOfMemory,
               "out of GPU memory: %s need %s, and %s of %s are free on %s", what,
               bytesText(bytes).c_str(), bytesText(free).c_str(),
               bytesText(deviceInfo.totalMemory).c_str(), deviceInfo.name.c_str());
}

Status CudaDevice::allocate(uint64_t bytes, const char *what, void **out) {
  M1_TRY(bind());
  CUdeviceptr memory = 0;
  CUresult result = driver->cuMemAlloc(&memory, std::max<uint64_t>(bytes, 1));
  if (result == CUDA_ERROR_OUT_OF_MEMORY)
    return outOfMemory(bytes, what);
  M1_TRY(driver->check(result, "allocation of %s for %s", bytesText(bytes).c_str(), what));
  *out = reinterpret_cast<void *>(memory);
  return {};
}

void CudaDevice::free(void *memory) {
  if (!memory || !bind().ok())
    return;
  driver->cuStreamSynchronize(workStream);
  driver->cuMemFree(address(memory));
}

Status CudaDevice::allocateHost(uint64_t bytes, void **out) {
  M1_TRY(bind());
  return driver->check(driver->cuMemHostAlloc(out, std::max<uint64_t>(bytes, 1), 0),
                       "allocation of %s of page-locked host memory", bytesText(bytes).c_str());
}

void CudaDevice::freeHost(void *memory) {
  if (memory)
    driver->cuMemFreeHost(memory);
}

Status CudaDevice::upload(void *target, const void *source, uint64_t bytes) {
  M1_TRY(bind());
  for (uint64_t done = 0; done < bytes;) {
    uint64_t piece = std::min(stagingBytes, bytes - done);
    Staging &buffer = staging[nextStaging++ % std::size(staging)];
    M1_TRY(driver->check(driver->cuEventSynchronize(buffer.free),
                         "cuEventSynchronize during an upload"));
    std::memcpy(buffer.memory, static_cast<const char *>(source) + done, piece);
    M1_TRY(driver->check(
        driver->cuMemcpyHtoDAsync(address(target) + done, buffer.memory, piece, workStream),
        "upload of %s", bytesText(piece).c_str()));
    M1_TRY(driver->check(driver->cuEventRecord(buffer.free, workStream), "cuEventRecord"));
    done += piece;
  }
  return {};
}

Status CudaDevice::download(void *target, const void *source, uint64_t bytes) {
  M1_TRY(bind());
  M1_TRY(driver->check(driver->cuMemcpyDtoHAsync(target, address(source), bytes, workStream),
                       "download of %s", bytesText(bytes).c_str()));
  return synchronize();
}

Status CudaDevice::copy(void *target, const void *source, uint64_t bytes) {
  M1_TRY(bind());
  return driver->check(
      driver->cuMemcpyDtoDAsync(address(target), address(source), bytes, workStream),
      "device copy of %s", bytesText(bytes).c_str());
}

// A fork copies some fifty states: one launch instead of as many copies.
Status CudaDevice::copyRanges(const std::vector<CopyRange> &ranges) {
  struct {
    CopyRange of[64];
  } some; // struct Ranges of support.cu
  constexpr size_t most = std::size(some.of);
  for (size_t first = 0; first < ranges.size(); first += most) {
    size_t count = std::min(most, ranges.size() - first);
    std::copy_n(ranges.begin() + ptrdiff_t(first), count, some.of);
    uint64_t largest = 0;
    for (size_t i = 0; i < count; ++i)
      largest = std::max(largest, some.of[i].bytes);
    void *parameters[] = {&some};
    M1_TRY(launchSupport("m1_copy_ranges", largest / 16 + 1, parameters, unsigned(count)));
  }
  return {};
}

Status CudaDevice::clear(void *target, uint64_t bytes) {
  M1_TRY(bind());
  return driver->check(driver->cuMemsetD8Async(address(target), 0, bytes, workStream),
                       "clearing %s", bytesText(bytes).c_str());
}

Status CudaDevice::launchSupport(const char *kernel, uint64_t count, void **parameters,
                                 unsigned rows) {
  M1_TRY(bind());
  CUfunction &function = supportKernels[kernel];
  if (!function)
    M1_TRY(support->find(kernel, &function));
  if (!function)
    return error(StatusCode::deviceError, "the runtime's own kernels lack %s", kernel);
  // Enough threads to fill any GPU; the kernels stride over the rest.
  constexpr uint64_t block = 256, maxBlocks = 8192;
  uint64_t blocks = std::clamp<uint64_t>((count + block - 1) / block, 1, maxBlocks);
  return driver->check(driver->cuLaunchKernel(function, unsigned(blocks), rows, 1, block, 1, 1, 0,
                                              workStream, parameters, nullptr),
                       "launch of %s", kernel);
}

Status CudaDevice::fillDummy(void *target, ElementType type, uint64_t count, uint64_t seed,
                             uint32_t weight, float scale, float offset) {
  const char *kernel = type == ElementType::f32      ? "m1_fill_dummy_f32"
                       : type == ElementType::bf16   ? "m1_fill_dummy_bf16"
                       : type == ElementType::i8     ? "m1_fill_dummy_i8"
                       : type == ElementType::i4x2   ? "m1_fill_dummy_i4x2"
                       : type == ElementType::f8e4m3 ? "m1_fill_dummy_f8e4m3"
                                                     : nullptr;
  if (!kernel)
    return error(StatusCode::unsupported, "dummy weights of type %s are not supported",
                 elementName(type));
  uint64_t key = m1_dummy_key(seed, weight);
  float factor = scale * M1_DUMMY_INVERSE_DEVIATION;
  void *parameters[] = {&target, &count, &key, &factor, &offset};
  return launchSupport(kernel, count, parameters);
}

Status CudaDevice::convert(void *target, ElementType targetType, const void *source,
                           ElementType sourceType, uint64_t count) {
  const char *kernel = nullptr;
  if (sourceType == ElementType::bf16 && targetType == ElementType::f32)
    kernel = "m1_convert_bf16_f32";
  else if (sourceType == ElementType::f32 && targetType == ElementType::bf16)
    kernel = "m1_convert_f32_bf16";
  else
    return error(StatusCode::unsupported, "no conversion of weights from %s to %s",
                 elementName(sourceType), elementName(targetType));
  void *parameters[] = {&target, &source, &count};
  return launchSupport(kernel, count, parameters);
}

Status CudaDevice::takeChosen(int32_t *tokens, const int32_t *rows, const int32_t *chosen,
                              uint64_t count) {
  void *parameters[] = {&tokens, &rows, &chosen, &count};
  return launchSupport("m1_take_chosen", count, parameters);
}

Status CudaDevice::synchronize() {
  M1_TRY(bind());
  return driver->check(driver->cuStreamSynchronize(workStream), "waiting for the GPU");
}

Status CudaDevice::checkDeviceMemory(const void *memory) const {
  M1_TRY(bind());
  unsigned type = 0;
  int ordinal = -1;
  // Of an address that CUDA does not know the type is an error.
  if (driver->cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address(memory)) !=
          CUDA_SUCCESS ||
      type != CU_MEMORYTYPE_DEVICE)
    return error(StatusCode::invalidArgument, "%p is no memory of a GPU", memory);
  M1_TRY(driver->check(
      driver->cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address(memory)),
      "cuPointerGetAttribute"));
  return ordinal == device
             ? Status()
             : error(StatusCode::unsupported,
                     "memory of device cuda:%d, and the model is on cuda:%d", ordinal, device);
}

Status CudaDevice::writeWeights(const std::vector<WeightPart> &parts) {
  uint64_t largest = 0; // piece of host memory
  for (const WeightPart &part : parts)
    if (!part.sourceOnDevice)
      largest = std::max(
          largest, std::min(stagingBytes, (Size(part.count) * elementSize(part.sourceType)).get()));
  void *scratch = nullptr;
  if (largest)
    M1_TRY(allocate(largest, "new weights on their way", &scratch));
  Status status = writeWeights(parts, scratch);
  free(scratch);
  return status;
}

Status CudaDevice::writeWeights(const std::vector<WeightPart> &parts, void *scratch) {
  M1_TRY(bind());
  M1_TRY(driver->check(driver->cuCtxSynchronize(), "waiting for the GPU"));
  for (const WeightPart &part : parts) {
    const uint64_t from = elementSize(part.sourceType), to = elementSize(part.targetType);
    const uint64_t step = part.sourceOnDevice ? part.count : stagingBytes / from;
    for (uint64_t begin = 0; begin < part.count; begin += step) {
      uint64_t count = std::min(step, part.count - begin);
      const void *source = static_cast<const char *>(part.source) + begin * from;
      if (!part.sourceOnDevice) {
        M1_TRY(upload(scratch, source, count * from));
        source = scratch;
      }
      void *target = static_cast<char *>(part.target) + begin * to;
      int targetType = int(part.targetType), sourceType = int(part.sourceType),
          transform = int(part.transform);
      void *parameters[] = {&target, &source, &count, &targetType, &sourceType, &transform};
      M1_TRY(launchSupport("m1_write_weight", count, parameters));
    }
  }
  return synchronize();
}

int CudaDevice::suitability(const schema::Target &target) const {
  return CudaProgram::suitability(target, capability());
}

Status CudaDevice::createProgram(const Artifact &artifact, const schema::Target &target,
                                 std::vector<void *> weights, std::unique_ptr<Program> *out) {
  return CudaProgram::create(*this, artifact, target, std::move(weights), out);
}

} // namespace cuda
} // namespace m1rt
