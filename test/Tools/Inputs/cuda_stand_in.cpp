// A CUDA driver and a cuBLASLt for machines without a GPU: found as libcuda.so.1 and
// libcublasLt.so.13, it lets the runtime run its half of the work. Memory is the host's, kernels
// and products compute nothing, so that all results are 0.
//
// M1_FAIL="NAME@N=CODE,…": the N-th call of a function gives CODE, and so do all later ones of it.
// M1_LACKS=NAME: the driver is so old that it has no such function. M1_COUNT_CALLS: how often each
// was called goes to standard error when the process ends, "NAME N" a line.
// M1_CAPABILITY: of the GPU, 90 without it.
#include "cuda/driver.h"
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

using namespace m1rt::cuda;

namespace {

constexpr size_t totalMemory = size_t(8) << 30;

/// The calls of one function, and from which on they fail.
struct Calls {
  explicit Calls(const char *name) : name(name) {
    const std::string all = std::string(",") + (getenv("M1_FAIL") ? getenv("M1_FAIL") : "");
    const std::string key = std::string(",") + name + "@";
    if (size_t at = all.find(key); at != std::string::npos)
      sscanf(all.c_str() + at + key.size(), "%ld=%d", &failsFrom, &code);
  }
  ~Calls() {
    if (getenv("M1_COUNT_CALLS") && count)
      fprintf(stderr, "%s %ld\n", name, count.load());
  }
  int next() { return ++count >= failsFrom && failsFrom ? code : 0; }

  const char *name;
  std::atomic<long> count{0};
  long failsFrom = 0;
  int code = 0;
};

/// What the functions do beside succeeding; null: nothing.
Driver makeReal() {
  Driver real;
  real.cuGetErrorName = [](CUresult result, const char **out) {
    *out = result == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : result == 999 ? "CUDA_ERROR_UNKNOWN" : *out;
    return *out ? 0 : 1;
  };
  real.cuGetErrorString = [](CUresult result, const char **out) {
    *out = result == 2 ? "out of memory" : result == 999 ? "unknown error" : *out;
    return *out ? 0 : 1;
  };
  real.cuDeviceGetCount = [](int *out) { return *out = 1, 0; };
  real.cuDeviceGet = [](CUdevice *out, int ordinal) { return *out = ordinal, 0; };
  real.cuDeviceGetName = [](char *out, int length, CUdevice) {
    return snprintf(out, size_t(length), "stand-in"), 0;
  };
  real.cuDeviceGetAttribute = [](int *out, int attribute, CUdevice) {
    const char *text = getenv("M1_CAPABILITY");
    const int capability = text ? atoi(text) : 90;
    *out = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? capability / 10
           : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? capability % 10
                                                                       : 132;
    return 0;
  };
  real.cuDeviceTotalMem = [](size_t *out, CUdevice) { return *out = totalMemory, 0; };
  real.cuMemGetInfo = [](size_t *free, size_t *total) {
    *free = *total = totalMemory;
    return 0;
  };
  real.cuPointerGetAttribute = [](void *out, int attribute, CUdeviceptr) {
    const unsigned value = attribute == CU_POINTER_ATTRIBUTE_MEMORY_TYPE ? CU_MEMORYTYPE_DEVICE : 0;
    return memcpy(out, &value, sizeof value), 0;
  };
  real.cuMemAlloc = [](CUdeviceptr *out, size_t bytes) {
    *out = reinterpret_cast<CUdeviceptr>(calloc(1, bytes));
    return *out ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
  };
  real.cuMemFree = [](CUdeviceptr memory) {
    return free(reinterpret_cast<void *>(memory)), CUDA_SUCCESS;
  };
  real.cuMemHostAlloc = [](void **out, size_t bytes, unsigned) {
    *out = calloc(1, bytes);
    return *out ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
  };
  real.cuMemFreeHost = [](void *memory) { return free(memory), CUDA_SUCCESS; };
  real.cuMemcpyHtoDAsync = [](CUdeviceptr to, const void *from, size_t bytes, CUstream) {
    return memcpy(reinterpret_cast<void *>(to), from, bytes), 0;
  };
  real.cuMemcpyDtoHAsync = [](void *to, CUdeviceptr from, size_t bytes, CUstream) {
    return memcpy(to, reinterpret_cast<void *>(from), bytes), 0;
  };
  real.cuMemsetD8Async = [](CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
    return memset(reinterpret_cast<void *>(to), value, bytes), 0;
  };
  real.cuGraphInstantiateWithFlags = [](CUgraphExec *out, CUgraph, unsigned long long) {
    return *out = reinterpret_cast<CUgraphExec>(1), 0;
  };
  real.cuEventElapsedTime = [](float *out, CUevent, CUevent) { return *out = 0.001f, 0; };
  real.cuModuleLoadDataEx = [](CUmodule *out, const void *, unsigned options, int *, void **) {
    return *out = reinterpret_cast<CUmodule>(1), options == 2 ? 0 : 1;
  };
  real.cuModuleGetFunction = [](CUfunction *out, CUmodule, const char *) {
    return *out = reinterpret_cast<CUfunction>(1), 0;
  };
  return real;
}
const Driver real = makeReal();

template <auto Function, auto *calls, typename Type> struct Counted;
template <auto Function, auto *calls, typename... A>
struct Counted<Function, calls, CUresult (*)(A...)> {
  static CUresult call(A... arguments) {
    if (int code = calls->next())
      return code;
    return real.*Function ? (real.*Function)(arguments...) : CUDA_SUCCESS;
  }
};

#define COUNT(name, parameters) Calls name##_calls(#name);
M1_CUDA_DRIVER_FUNCTIONS(COUNT)
#undef COUNT

} // namespace

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

EXPORTED CUresult cuGetProcAddress_v2(const char *symbol, void **function, int, uint64_t, int *) {
  const char *lacks = getenv("M1_LACKS");
  *function = nullptr;
#define FIND(name, parameters)                                                                     \
  if (strcmp(symbol, #name) == 0 && !(lacks && strcmp(lacks, #name) == 0))                         \
    *function = reinterpret_cast<void *>(                                                          \
        &Counted<&Driver::name, &name##_calls, decltype(Driver::name)>::call);
  M1_CUDA_DRIVER_FUNCTIONS(FIND)
#undef FIND
  return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

// Of cuBLASLt, with status codes of its own. Everything is one algorithm without a workspace.
#define CUBLASLT(name, ...)                                                                        \
  EXPORTED int name(__VA_ARGS__) {                                                                 \
    static Calls calls(#name);                                                                     \
    return calls.next();                                                                           \
  }
CUBLASLT(cublasLtCreate, void **)
CUBLASLT(cublasLtDestroy, void *)
CUBLASLT(cublasLtMatmulDescCreate, void **, int, int)
CUBLASLT(cublasLtMatmulDescDestroy, void *)
CUBLASLT(cublasLtMatmulDescSetAttribute, void *, int, const void *, size_t)
CUBLASLT(cublasLtMatrixLayoutCreate, void **, int, uint64_t, uint64_t, int64_t)
CUBLASLT(cublasLtMatrixLayoutDestroy, void *)
CUBLASLT(cublasLtMatmulPreferenceCreate, void **)
CUBLASLT(cublasLtMatmulPreferenceDestroy, void *)
CUBLASLT(cublasLtMatmulPreferenceSetAttribute, void *, int, const void *, size_t)
CUBLASLT(cublasLtMatmulAlgoCheck, void *, void *, void *, void *, void *, void *, const void *,
         void *)
CUBLASLT(cublasLtMatmul, void *, void *, const void *, const void *, void *, const void *, void *,
         const void *, const void *, void *, void *, void *, const void *, void *, size_t, void *)
EXPORTED int cublasLtMatmulAlgoGetHeuristic(void *, void *, void *, void *, void *, void *, void *,
                                            int, void *, int *found) {
  static Calls calls("cublasLtMatmulAlgoGetHeuristic");
  *found = 1; // the results are zeros: one that is supported
  return calls.next();
}
EXPORTED size_t cublasLtGetVersion() { return 130000; }

} // extern "C"
