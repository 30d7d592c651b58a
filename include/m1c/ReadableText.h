// What MLIR's parser cannot read.
#ifndef M1C_READABLETEXT_H
#define M1C_READABLETEXT_H

#include "llvm/ADT/StringRef.h"
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

} // namespace m1c

#endif
