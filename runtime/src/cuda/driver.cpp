#include "cuda/driver.h"
#include "base/shared_library.h"
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <vector>

namespace m1rt::cuda {

namespace {

// CUDA 12.0: the functions' versions asked of cuGetProcAddress. Graph instantiation has its present
// signature since then.
constexpr int driverApiVersion = 12000;

using GetProcAddress = CUresult (*)(const char *symbol, void **function, int version,
                                    uint64_t flags, int *status);

Status load(Driver &driver) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return error(StatusCode::unsupported, "cannot load the NVIDIA driver library libcuda.so.1: %s",
                 dlerror());
  auto getProcAddress = reinterpret_cast<GetProcAddress>(dlsym(library, "cuGetProcAddress_v2"));
  if (!getProcAddress)
    return error(
        StatusCode::unsupported,
        "the NVIDIA driver is too old: libcuda.so.1 lacks cuGetProcAddress_v2 (CUDA 12.0)");
#define M1_CUDA_BIND(name, parameters)                                                             \
  if (getProcAddress(#name, reinterpret_cast<void **>(&driver.name), driverApiVersion, 0,          \
                     nullptr) != CUDA_SUCCESS ||                                                   \
      !driver.name)                                                                                \
    return error(StatusCode::unsupported,                                                          \
                 "the NVIDIA driver is too old: libcuda.so.1 lacks " #name);
  M1_CUDA_DRIVER_FUNCTIONS(M1_CUDA_BIND)
#undef M1_CUDA_BIND
  return driver.check(driver.cuInit(0), "cuInit");
}

} // namespace

Status Driver::get(const Driver **out) {
  static Driver driver;
  static const Status status = load(driver);
  *out = &driver;
  return status;
}

/// After such an error every call in the context fails, and all contexts of a device are one in a
/// process: its primary one.
static bool losesContext(CUresult result) {
  switch (result) {
  case 214: // memory that cannot be corrected
  case 700: // illegal address
  case 702: // a kernel took too long
  case 709: // the context is destroyed
  case 710: // an assertion in a kernel
  case 714: // stack
  case 715: // illegal instruction
  case 716: // misaligned address
  case 717: // wrong address space
  case 718: // illegal program counter
  case 719: // a kernel failed
    return true;
  default:
    return false;
  }
}

Status Driver::check(CUresult result, const char *what, ...) const {
  if (result == CUDA_SUCCESS)
    return {};
  char text[512];
  va_list arguments;
  va_start(arguments, what);
  vsnprintf(text, sizeof text, what, arguments);
  va_end(arguments);
  const char *name = nullptr, *description = nullptr;
  if (cuGetErrorName)
    cuGetErrorName(result, &name);
  if (cuGetErrorString)
    cuGetErrorString(result, &description);
  StatusCode code =
      result == CUDA_ERROR_OUT_OF_MEMORY ? StatusCode::outOfMemory : StatusCode::deviceError;
  return error(code, "%s failed: %s (%s)%s", text, name ? name : "unknown CUDA error",
               description ? description : "no description",
               losesContext(result) ? "; this process cannot use this GPU any more" : "");
}

void *openCudaLibrary(const char *const *names, size_t count, std::string *outError) {
  std::string tried;
  std::vector<std::string> directories = {""};
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *home = std::getenv(variable); home && *home)
      directories.push_back(std::string(home) + "/lib64/");
  directories.push_back("/usr/local/cuda/lib64/");
  for (const std::string &directory : directories)
    for (size_t i = 0; i < count; ++i)
      if (void *library = openSharedLibrary(directory + names[i], &tried))
        return library;
  *outError = tried;
  return nullptr;
}

} // namespace m1rt::cuda
