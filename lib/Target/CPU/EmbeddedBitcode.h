// Kernels of kernels/cpu that plan kernels wrap, see m1k_cpu.h.
#ifndef M1C_TARGET_CPU_EMBEDDEDBITCODE_H
#define M1C_TARGET_CPU_EMBEDDEDBITCODE_H

#include "llvm/ADT/StringRef.h"

namespace m1c {

/// All of kernels/cpu as LLVM bitcode, for a generic x86-64.
llvm::StringRef cpuKernelBitcode();

} // namespace m1c

#endif
