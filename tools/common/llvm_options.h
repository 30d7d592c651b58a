// What --help of programs with LLVM's command line lists.
#ifndef M1_TOOLS_COMMON_LLVM_OPTIONS_H
#define M1_TOOLS_COMMON_LLVM_OPTIONS_H

#include "llvm/Support/CommandLine.h"

namespace m1tool {

/// Of the options that there are by now, LLVM's libraries' and the program's own (--m1-…), the
/// former go from --help to --help-hidden; they work as before. To be called before others are
/// registered.
inline void hideLlvmOptions() {
  for (auto &[name, option] : llvm::cl::getRegisteredOptions())
    if (!name.starts_with("m1-") && !name.starts_with("help") && name != "version")
      option->setHiddenFlag(llvm::cl::Hidden);
}

} // namespace m1tool

#endif
