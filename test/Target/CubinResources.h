// What ptxas recorded about the kernels of a cubin.
#ifndef M1_TEST_TARGET_CUBINRESOURCES_H
#define M1_TEST_TARGET_CUBINRESOURCES_H

#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace m1test {

struct KernelResources {
  std::string symbol;
  unsigned registers = 0;
  unsigned localBytes = 0; // stack frame: spills and run-time indexed arrays
};
/// Reads the kernels of a cubin (a 64-bit ELF file).
llvm::Expected<std::vector<KernelResources>> readResources(llvm::StringRef cubin);

} // namespace m1test

#endif
