#include "Toolchain.h"
#include "base/shared_library.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cstdlib>
#include <dlfcn.h>

using llvm::StringRef;

namespace m1c::cuda {

namespace {

// nvrtc.h and nvJitLink.h of CUDA 13. Both libraries return 0 for success.
using nvrtcProgram = struct _nvrtcProgram *;
using nvJitLinkHandle = struct nvJitLink *;
constexpr int NVJITLINK_INPUT_PTX = 2;

#define M1_NVRTC_FUNCTIONS(X)                                                                      \
  X(nvrtcVersion, (int *major, int *minor))                                                        \
  X(nvrtcCreateProgram, (nvrtcProgram *, const char *source, const char *name, int headers,        \
                         const char *const *texts, const char *const *names))                      \
  X(nvrtcDestroyProgram, (nvrtcProgram *))                                                         \
  X(nvrtcCompileProgram, (nvrtcProgram, int options, const char *const *))                         \
  X(nvrtcGetProgramLogSize, (nvrtcProgram, size_t *))                                              \
  X(nvrtcGetProgramLog, (nvrtcProgram, char *))                                                    \
  X(nvrtcGetPTXSize, (nvrtcProgram, size_t *))                                                     \
  X(nvrtcGetPTX, (nvrtcProgram, char *))                                                           \
  X(nvrtcGetCUBINSize, (nvrtcProgram, size_t *))                                                   \
  X(nvrtcGetCUBIN, (nvrtcProgram, char *))

// nvJitLink's entry points carry the toolkit version in their name; the plain names are aliases in
// the header only.
#define M1_JITLINK_FUNCTIONS(X)                                                                    \
  X(nvJitLinkCreate, (nvJitLinkHandle *, uint32_t options, const char **))                         \
  X(nvJitLinkDestroy, (nvJitLinkHandle *))                                                         \
  X(nvJitLinkAddData, (nvJitLinkHandle, int inputType, const void *, size_t, const char *name))    \
  X(nvJitLinkComplete, (nvJitLinkHandle))                                                          \
  X(nvJitLinkGetLinkedCubinSize, (nvJitLinkHandle, size_t *))                                      \
  X(nvJitLinkGetLinkedCubin, (nvJitLinkHandle, void *))                                            \
  X(nvJitLinkGetErrorLogSize, (nvJitLinkHandle, size_t *))                                         \
  X(nvJitLinkGetErrorLog, (nvJitLinkHandle, char *))

struct Api {
#define M1_DECLARE(name, parameters) int(*name) parameters = nullptr;
  M1_NVRTC_FUNCTIONS(M1_DECLARE)
  M1_JITLINK_FUNCTIONS(M1_DECLARE)
#undef M1_DECLARE
  std::string error; // of binding; empty when all is there
  std::string includeDirectory;
  std::string libraries; // versions, and sizes of the files, which differ where versions do not
};

std::vector<std::string> toolkitRoots() {
  std::vector<std::string> roots;
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *home = std::getenv(variable); home && *home)
      roots.push_back(home);
  roots.push_back("/usr/local/cuda");
  return roots;
}

void *openLibrary(StringRef name, std::string &tried) {
  std::vector<std::string> paths = {name.str()};
  for (const std::string &root : toolkitRoots())
    paths.push_back(root + "/lib64/" + name.str());
  for (const std::string &path : paths) {
    if (void *library = m1rt::openSharedLibrary(path, &tried))
      return library;
  }
  return nullptr;
}

// The include directory beside the library that was loaded, or that of a toolkit root.
std::string findHeaders(void *function) {
  std::vector<std::string> directories;
  Dl_info info;
  llvm::SmallString<128> real;
  if (dladdr(function, &info) && info.dli_fname &&
      !llvm::sys::fs::real_path(info.dli_fname, real)) {
    StringRef prefix = llvm::sys::path::parent_path(llvm::sys::path::parent_path(real));
    directories.push_back((prefix + "/include").str());
  }
  for (const std::string &root : toolkitRoots())
    directories.push_back(root + "/include");
  for (const std::string &directory : directories)
    if (llvm::sys::fs::exists(directory + "/cuda_bf16.h"))
      return directory;
  return "";
}

Api bindApi() {
  Api api;
  std::string tried;
  void *nvrtc = openLibrary("libnvrtc.so.13", tried);
  void *jitLink = nvrtc ? openLibrary("libnvJitLink.so.13", tried) : nullptr;
  if (!jitLink) {
    api.error = "the cuda target needs NVRTC and nvJitLink of a CUDA 13 toolkit; tried " + tried +
                " (set CUDA_HOME)";
    return api;
  }
  auto bind = [&](void *library, const char *name) -> void * {
    void *function = dlsym(library, name);
    if (!function && StringRef(name).starts_with("nvJitLink"))
      function = dlsym(library, ("__" + std::string(name) + "_13_0").c_str());
    if (!function && api.error.empty())
      api.error = std::string("the CUDA toolkit's libraries lack ") + name;
    return function;
  };
#define M1_BIND(name, parameters)                                                                  \
  api.name = reinterpret_cast<decltype(Api::name)>(bind(nvrtc, #name));
  M1_NVRTC_FUNCTIONS(M1_BIND)
#undef M1_BIND
#define M1_BIND(name, parameters)                                                                  \
  api.name = reinterpret_cast<decltype(Api::name)>(bind(jitLink, #name));
  M1_JITLINK_FUNCTIONS(M1_BIND)
#undef M1_BIND
  if (!api.error.empty())
    return api;
  int major = 0, minor = 0;
  api.nvrtcVersion(&major, &minor);
  api.libraries = std::to_string(major) + "." + std::to_string(minor);
  for (void *function : {reinterpret_cast<void *>(api.nvrtcCreateProgram),
                         reinterpret_cast<void *>(api.nvJitLinkCreate)}) {
    Dl_info info;
    uint64_t size = 0;
    if (dladdr(function, &info) && info.dli_fname &&
        !llvm::sys::fs::file_size(info.dli_fname, size))
      api.libraries += " " + std::to_string(size);
  }
  api.includeDirectory = findHeaders(reinterpret_cast<void *>(api.nvrtcCreateProgram));
  if (api.includeDirectory.empty())
    api.error = "the cuda target needs the CUDA toolkit's headers (cuda_bf16.h), found neither "
                "beside NVRTC "
                "nor under CUDA_HOME, CUDA_PATH "
                "or /usr/local/cuda";
  return api;
}

const Api &api() {
  static const Api bound = bindApi();
  return bound;
}

} // namespace

llvm::Expected<Toolchain> Toolchain::open() {
  if (!api().error.empty())
    return llvm::createStringError(api().error);
  Toolchain toolchain;
  toolchain.includeDirectory = api().includeDirectory;
  toolchain.libraries = api().libraries;
  return toolchain;
}

llvm::Expected<Toolchain::Compiled> Toolchain::compile(StringRef source, StringRef name,
                                                       StringRef architecture,
                                                       llvm::ArrayRef<Header> headers,
                                                       llvm::ArrayRef<std::string> options) const {
  std::vector<const char *> texts, names;
  for (const Header &header : headers) {
    texts.push_back(header.text);
    names.push_back(header.name);
  }
  std::vector<std::string> all = {"--gpu-architecture=" + architecture.str(),
                                  "--include-path=" + includeDirectory};
  // CUDA 13 keeps libcu++ (<cuda/std/...>, <nv/target>) apart.
  if (std::string cccl = includeDirectory + "/cccl"; llvm::sys::fs::exists(cccl))
    all.push_back("--include-path=" + cccl);
  all.insert(all.end(), options.begin(), options.end());
  std::vector<const char *> arguments;
  for (const std::string &option : all)
    arguments.push_back(option.c_str());

  nvrtcProgram program = nullptr;
  if (api().nvrtcCreateProgram(&program, source.str().c_str(), (name + ".cu").str().c_str(),
                               int(texts.size()), texts.data(), names.data()))
    return llvm::createStringError("NVRTC refused the program " + name);
  int status = api().nvrtcCompileProgram(program, int(arguments.size()), arguments.data());
  Compiled result;
  auto fetch = [&](auto sizeOf, auto get) {
    size_t size = 0;
    std::string text;
    if (sizeOf(program, &size) == 0 && size > 0) {
      text.resize(size);
      get(program, text.data());
    }
    return text;
  };
  std::string log;
  if (status)
    log = fetch(api().nvrtcGetProgramLogSize, api().nvrtcGetProgramLog);
  else {
    result.ptx = fetch(api().nvrtcGetPTXSize, api().nvrtcGetPTX);
    while (!result.ptx.empty() && result.ptx.back() == 0)
      result.ptx.pop_back();
    if (architecture.starts_with("sm_"))
      result.cubin = fetch(api().nvrtcGetCUBINSize, api().nvrtcGetCUBIN);
  }
  api().nvrtcDestroyProgram(&program);
  if (status)
    return llvm::createStringError("NVRTC cannot compile " + name + " for " + architecture + ":\n" +
                                   log.c_str());
  return result;
}

llvm::Expected<std::string> Toolchain::assemble(StringRef ptx, StringRef chip) const {
  std::string architecture = "-arch=" + chip.str();
  const char *options[] = {architecture.c_str(), "-O3"};
  nvJitLinkHandle handle = nullptr;
  std::string cubin, log;
  int status = api().nvJitLinkCreate(&handle, 2, options);
  if (!status)
    status =
        api().nvJitLinkAddData(handle, NVJITLINK_INPUT_PTX, ptx.data(), ptx.size(), "generated");
  if (!status)
    status = api().nvJitLinkComplete(handle);
  size_t size = 0;
  if (!status)
    status = api().nvJitLinkGetLinkedCubinSize(handle, &size);
  if (!status) {
    cubin.resize(size);
    status = api().nvJitLinkGetLinkedCubin(handle, cubin.data());
  }
  if (status && handle && !api().nvJitLinkGetErrorLogSize(handle, &size) && size) {
    log.resize(size);
    api().nvJitLinkGetErrorLog(handle, log.data());
  }
  if (handle)
    api().nvJitLinkDestroy(&handle);
  if (status)
    return llvm::createStringError("nvJitLink cannot assemble generated PTX for " + chip +
                                   " (status " + llvm::Twine(status) + ")" +
                                   (log.empty() ? "" : ": " + std::string(log.c_str())));
  return cubin;
}

} // namespace m1c::cuda
