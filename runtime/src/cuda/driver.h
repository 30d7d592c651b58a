// The part of the CUDA driver API that the runtime uses, declared here so that building needs no
// toolkit, and bound at run time from libcuda.so.1. Names, types and values are those of cuda.h.
#ifndef M1RT_CUDA_DRIVER_H
#define M1RT_CUDA_DRIVER_H

#include "status.h"
#include <cstddef>
#include <cstdint>

namespace m1rt::cuda {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st *;
using CUmodule = struct CUmod_st *;
using CUfunction = struct CUfunc_st *;
using CUstream = struct CUstream_st *;
using CUevent = struct CUevent_st *;
using CUgraph = struct CUgraph_st *;
using CUgraphExec = struct CUgraphExec_st *;

inline CUdeviceptr address(const void *memory) { return reinterpret_cast<CUdeviceptr>(memory); }

struct alignas(64) CUtensorMap {
  uint64_t opaque[16];
};

struct CUlaunchAttribute {
  int id;
  int padding;
  union {
    char bytes[64];
    int cooperative;
    int programmaticStreamSerializationAllowed;
  } value;
};
struct CUlaunchConfig {
  unsigned gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes;
  CUstream stream;
  CUlaunchAttribute *attributes;
  unsigned attributeCount;
};

constexpr CUresult CUDA_SUCCESS = 0;
constexpr CUresult CUDA_ERROR_OUT_OF_MEMORY = 2;
constexpr CUresult CUDA_ERROR_NOT_FOUND = 500;
constexpr int CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16;
constexpr int CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75;
constexpr int CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76;
constexpr int CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;
constexpr int CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9;
constexpr unsigned CU_MEMORYTYPE_DEVICE = 2;
constexpr unsigned CU_STREAM_NON_BLOCKING = 1;
constexpr unsigned CU_EVENT_DISABLE_TIMING = 2;
constexpr int CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1;
constexpr int CU_LAUNCH_ATTRIBUTE_COOPERATIVE = 2;
constexpr int CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6;
constexpr int CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9, CU_TENSOR_MAP_INTERLEAVE_NONE = 0,
              CU_TENSOR_MAP_SWIZZLE_128B = 3, CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3,
              CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0; // zeros
constexpr int CU_JIT_ERROR_LOG_BUFFER = 5;
constexpr int CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6;

/// X(name, parameters): every function is `CUresult name parameters`.
#define M1_CUDA_DRIVER_FUNCTIONS(X)                                                                \
  X(cuInit, (unsigned flags))                                                                      \
  X(cuGetErrorName, (CUresult, const char **))                                                     \
  X(cuGetErrorString, (CUresult, const char **))                                                   \
  X(cuDeviceGetCount, (int *))                                                                     \
  X(cuDeviceGet, (CUdevice *, int ordinal))                                                        \
  X(cuDeviceGetName, (char *, int length, CUdevice))                                               \
  X(cuDeviceGetAttribute, (int *, int attribute, CUdevice))                                        \
  X(cuDeviceTotalMem, (size_t *, CUdevice))                                                        \
  X(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                             \
  X(cuDevicePrimaryCtxRelease, (CUdevice))                                                         \
  X(cuCtxSetCurrent, (CUcontext))                                                                  \
  X(cuCtxSynchronize, ())                                                                          \
  X(cuPointerGetAttribute, (void *out, int attribute, CUdeviceptr))                                \
  X(cuMemGetInfo, (size_t *free, size_t *total))                                                   \
  X(cuMemAlloc, (CUdeviceptr *, size_t))                                                           \
  X(cuMemFree, (CUdeviceptr))                                                                      \
  X(cuMemHostAlloc, (void **, size_t, unsigned flags))                                             \
  X(cuMemFreeHost, (void *))                                                                       \
  X(cuMemcpyHtoDAsync, (CUdeviceptr, const void *, size_t, CUstream))                              \
  X(cuMemcpyDtoHAsync, (void *, CUdeviceptr, size_t, CUstream))                                    \
  X(cuMemcpyDtoDAsync, (CUdeviceptr, CUdeviceptr, size_t, CUstream))                               \
  X(cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream))                               \
  X(cuStreamCreate, (CUstream *, unsigned flags))                                                  \
  X(cuStreamDestroy, (CUstream))                                                                   \
  X(cuStreamSynchronize, (CUstream))                                                               \
  X(cuStreamBeginCapture, (CUstream, int mode))                                                    \
  X(cuStreamEndCapture, (CUstream, CUgraph *))                                                     \
  X(cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long flags))               \
  X(cuGraphLaunch, (CUgraphExec, CUstream))                                                        \
  X(cuGraphExecDestroy, (CUgraphExec))                                                             \
  X(cuGraphDestroy, (CUgraph))                                                                     \
  X(cuEventCreate, (CUevent *, unsigned flags))                                                    \
  X(cuEventDestroy, (CUevent))                                                                     \
  X(cuEventRecord, (CUevent, CUstream))                                                            \
  X(cuEventSynchronize, (CUevent))                                                                 \
  X(cuEventElapsedTime, (float *milliseconds, CUevent start, CUevent end))                         \
  X(cuModuleLoadDataEx, (CUmodule *, const void *, unsigned options, int *names, void **values))   \
  X(cuModuleUnload, (CUmodule))                                                                    \
  X(cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                                   \
  X(cuFuncSetAttribute, (CUfunction, int attribute, int value))                                    \
  X(cuTensorMapEncodeTiled,                                                                        \
    (CUtensorMap *, int type, uint32_t rank, void *memory, const uint64_t *sizes,                  \
     const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave,          \
     int swizzle, int promotion, int fill))                                                        \
  X(cuLaunchKernel,                                                                                \
    (CUfunction, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, \
     unsigned blockZ, unsigned sharedBytes, CUstream, void **parameters, void **extra))            \
  X(cuLaunchKernelEx, (const CUlaunchConfig *, CUfunction, void **parameters, void **extra))

struct Driver {
#define M1_CUDA_DECLARE(name, parameters) CUresult(*name) parameters = nullptr;
  M1_CUDA_DRIVER_FUNCTIONS(M1_CUDA_DECLARE)
#undef M1_CUDA_DECLARE

  /// Loads the driver once a process and initialises it. The error names what is missing: the
  /// library, a function, a GPU.
  static Status get(const Driver **out);

  /// ok, or "WHAT failed: CUDA_ERROR_… (description)", and that the device is lost where it is.
  __attribute__((format(printf, 3, 4))) Status check(CUresult result, const char *what, ...) const;
};

/// Handle of the first of `names` found in the default search path or in the library directories of
/// CUDA_HOME, CUDA_PATH and /usr/local/cuda. Null with `outError` set to what was tried.
void *openCudaLibrary(const char *const *names, size_t count, std::string *outError);

} // namespace m1rt::cuda

#endif
