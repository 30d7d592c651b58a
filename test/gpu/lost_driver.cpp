// A GPU that is lost: preloaded (LD_PRELOAD), this library stands between the runtime and the CUDA
// driver. From the M1_LOSE_AT-th call of the driver on, or once m1_lose_device() is called, every
// call fails with M1_LOSE_CODE (999, CUDA_ERROR_UNKNOWN, which a GPU that has left the bus gives).
// With M1_COUNT_CALLS the number of calls goes to standard error when the process ends. Calls of
// NVIDIA's own libraries pass.
#include "cuda/driver.h"
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <string>

namespace {

using m1rt::cuda::CUcontext;
using m1rt::cuda::CUdevice;
using m1rt::cuda::CUdeviceptr;
using m1rt::cuda::CUevent;
using m1rt::cuda::CUfunction;
using m1rt::cuda::CUgraph;
using m1rt::cuda::CUgraphExec;
using m1rt::cuda::CUlaunchConfig;
using m1rt::cuda::CUmodule;
using m1rt::cuda::CUresult;
using m1rt::cuda::CUstream;
using m1rt::cuda::CUtensorMap;

long number(const char *name, long absent) {
  const char *text = getenv(name);
  return text ? atol(text) : absent;
}

struct Loss {
  long at = number("M1_LOSE_AT", 0);
  CUresult code = CUresult(number("M1_LOSE_CODE", 999));
  std::atomic<long> calls{0};
  std::atomic<bool> lost{false};

  ~Loss() {
    if (getenv("M1_COUNT_CALLS"))
      fprintf(stderr, "driver calls: %ld\n", calls.load());
  }
  bool fails() {
    if (++calls == at)
      lost = true;
    return lost;
  }
};
Loss loss;

template <auto *Real, typename Function> struct Between;
template <auto *Real, typename... A> struct Between<Real, CUresult (*)(A...)> {
  static CUresult call(A... arguments) { return loss.fails() ? loss.code : (*Real)(arguments...); }
};

namespace real {
#define DECLARE(name, parameters) CUresult(*name) parameters = nullptr;
M1_CUDA_DRIVER_FUNCTIONS(DECLARE)
#undef DECLARE
using GetProcAddress = CUresult (*)(const char *, void **, int, uint64_t, int *);
GetProcAddress getProcAddress = nullptr;
} // namespace real

CUresult getProcAddress(const char *symbol, void **function, int version, uint64_t flags,
                        int *status) {
  const CUresult result = real::getProcAddress(symbol, function, version, flags, status);
  const std::string name = symbol;
  if (result != 0 || name == "cuGetErrorName" || name == "cuGetErrorString")
    return result;
#define STEP_BETWEEN(entry, parameters)                                                            \
  if (name == #entry) {                                                                            \
    real::entry = reinterpret_cast<decltype(real::entry)>(*function);                              \
    *function = reinterpret_cast<void *>(&Between<&real::entry, decltype(real::entry)>::call);     \
  }
  M1_CUDA_DRIVER_FUNCTIONS(STEP_BETWEEN)
#undef STEP_BETWEEN
  return result;
}

} // namespace

extern "C" {

__attribute__((visibility("default"))) void m1_lose_device() { loss.lost = true; }

__attribute__((visibility("default"))) void *dlsym(void *library, const char *name) {
  static const auto next =
      reinterpret_cast<void *(*)(void *, const char *)>(dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5"));
  void *found = next(library, name);
  Dl_info caller;
  if (!found || strcmp(name, "cuGetProcAddress_v2") != 0 ||
      (dladdr(__builtin_return_address(0), &caller) && caller.dli_fname &&
       strstr(caller.dli_fname, "libcu")))
    return found;
  real::getProcAddress = reinterpret_cast<real::GetProcAddress>(found);
  return reinterpret_cast<void *>(&getProcAddress);
}

} // extern "C"
