// kernels/cpu as LLVM bitcode, included by the assembler. M1_CPU_KERNEL_BITCODE_FILE is set by
// CMake.
#include "EmbeddedBitcode.h"

__asm__(".pushsection .rodata.m1c_cpu_kernels,\"a\",@progbits\n"
        ".balign 16\n"
        ".hidden m1c_cpu_kernels_begin\n.globl m1c_cpu_kernels_begin\nm1c_cpu_kernels_begin:\n"
        ".incbin \"" M1_CPU_KERNEL_BITCODE_FILE "\"\n"
        ".hidden m1c_cpu_kernels_end\n.globl m1c_cpu_kernels_end\nm1c_cpu_kernels_end:\n"
        ".popsection\n");

extern "C" const char m1c_cpu_kernels_begin[];
extern "C" const char m1c_cpu_kernels_end[];

namespace m1c {

llvm::StringRef cpuKernelBitcode() {
  return {m1c_cpu_kernels_begin, static_cast<size_t>(m1c_cpu_kernels_end - m1c_cpu_kernels_begin)};
}

} // namespace m1c
