// The text of modules that others wrote, and what MLIR's parser cannot read of it.
#ifndef M1C_READABLETEXT_H
#define M1C_READABLETEXT_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBuffer.h"
#include <memory>
#include <string>

namespace m1c {

/// Whether the text of a module holds an array of index (`array<index: 1>`): MLIR 22 ends there by
/// a segmentation fault instead of an error, mlir-opt as well.
bool holdsIndexArray(llvm::StringRef text);

/// The text with `Index` for the type of such arrays, at which the parser reports an error; all
/// else, places included, is as it was.
std::string withoutIndexArrays(llvm::StringRef text);

/// What is said of such a text.
inline constexpr const char *indexArrayMessage =
    "holds an array of index (array<index: …>), which MLIR cannot read";

/// Where brackets open deeper within one another than MLIR's parser, which recurses with them, and
/// what works on its result should go; npos: nowhere. Of bytecode nowhere.
size_t findDeepNesting(llvm::StringRef text);

/// What is said of such a text.
inline constexpr const char *deepNestingMessage = "nests deeper than 256 brackets";

/// The text of a module, read once, since it may be a pipe, and into memory, where nobody changes
/// it meanwhile; "-" is standard input. An error that names it for devices, what has no end, and
/// texts that MLIR cannot read.
llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>> readModuleText(llvm::StringRef path);

} // namespace m1c

#endif
