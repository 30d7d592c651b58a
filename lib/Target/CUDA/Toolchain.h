// NVRTC (CUDA C++ → PTX or cubin) and nvJitLink (PTX → cubin), bound at run time: a compiler built
// or run without a CUDA toolkit says so when the cuda target is asked for, and works otherwise.
#ifndef M1C_TARGET_CUDA_TOOLCHAIN_H
#define M1C_TARGET_CUDA_TOOLCHAIN_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace m1c::cuda {

struct Header {
  const char *name;
  const char *text;
};

class Toolchain {
public:
  /// Opens both libraries and finds the toolkit's headers (cuda_bf16.h). Looks in the default
  /// library path, CUDA_HOME, CUDA_PATH and /usr/local/cuda. The error says what is missing and
  /// where it was looked for.
  static llvm::Expected<Toolchain> open();

  /// Identifies both libraries, for keys of caches.
  const std::string &version() const { return libraries; }

  struct Compiled {
    std::string ptx;
    std::string cubin; // empty for a compute_ architecture
  };
  /// Compiles CUDA C++ for `architecture`: sm_90 (both results) or compute_90 (PTX only). The error
  /// holds the compiler's log.
  llvm::Expected<Compiled> compile(llvm::StringRef source, llvm::StringRef name,
                                   llvm::StringRef architecture, llvm::ArrayRef<Header> headers,
                                   llvm::ArrayRef<std::string> options) const;
  /// Machine code of one PTX text for `chip` (sm_90).
  llvm::Expected<std::string> assemble(llvm::StringRef ptx, llvm::StringRef chip) const;

private:
  std::string includeDirectory, libraries;
};

} // namespace m1c::cuda

#endif
