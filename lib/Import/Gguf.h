// GGUF files (github.com/ggml-org/ggml, docs/gguf.md): metadata, the places of tensors, tensors.
#ifndef M1C_LIB_IMPORT_GGUF_H
#define M1C_LIB_IMPORT_GGUF_H

#include "Fields.h"
#include "m1c/Checkpoint.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/MemoryBuffer.h"

#include <vector>

namespace m1c {

/// Types of tensors by their numbers in the file.
enum class GgmlType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30,
};

/// Values in a block of a row, and the bytes that hold them; 1 and its width where each value is on
/// its own.
struct GgmlBlock {
  int64_t values, bytes;
};
/// Of a type that has a name.
GgmlBlock blockOf(GgmlType type);
/// Empty for a type that is not read.
llvm::StringRef nameOf(GgmlType type);
/// "F32 (0), F16 (1), …", for messages.
std::string knownGgmlTypes();

/// Blocks as f32 values: those of ggml's dequantize_row functions, with one rounding.
void decodeBlocks(GgmlType type, const char *data, int64_t blocks, float *out);

/// What blocks are, where that is integers in groups: those of 3, 5 and 6 bits have 8.
std::optional<StoredGroups> groupsOf(GgmlType type);
/// Of those blocks (TensorCode::readGroups).
void readGroups(GgmlType type, const char *data, int64_t blocks, int8_t *codes, char *scales);

struct GgufTensor {
  std::string name;
  GgmlType type;
  /// The longest stride first; a row of the last dimension is whole blocks.
  llvm::SmallVector<int64_t> shape;
  uint64_t offset; // in the file
  llvm::ArrayRef<char> data;
};

struct GgufFile {
  std::string path;
  std::unique_ptr<llvm::MemoryBuffer> buffer;
  /// Strings are UTF-8; arrays hold no arrays.
  llvm::json::Object metadata;
  std::vector<GgufTensor> tensors;
};

/// Maps a file and reads all but its tensors. An error names the file, the field or tensor and the
/// byte. Memory stays within a small multiple of the file's size.
mlir::FailureOr<GgufFile> openGguf(llvm::StringRef path, EmitError emitError);

} // namespace m1c

#endif
