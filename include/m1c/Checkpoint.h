// A checkpoint directory in Hugging Face layout: its configuration and its tensors, mapped and
// never copied.
#ifndef M1C_CHECKPOINT_H
#define M1C_CHECKPOINT_H

#include "M1/IR/M1.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/Support/MemoryBuffer.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace m1c {

enum class StoredType { f32, bf16, f16 };

/// Bytes of one element.
inline int64_t byteWidth(StoredType type) { return type == StoredType::f32 ? 4 : 2; }

/// A tensor as it lies in a safetensors file: row-major, little-endian.
struct SourceTensor {
  std::string name;
  StoredType type;
  llvm::SmallVector<int64_t> shape;
  /// The mapped elements; lives as long as the CheckpointData that holds it.
  llvm::ArrayRef<char> data;
  /// Index in CheckpointData::files and byte offset in that file.
  unsigned file;
  uint64_t offset;
};

/// The files of a checkpoint and the tensors in them. With dummy weights both are empty.
class CheckpointData {
public:
  struct File {
    std::string path;
    std::unique_ptr<llvm::MemoryBuffer> buffer;
  };

  /// Maps model.safetensors, or the shards that model.safetensors.index.json names, and checks
  /// headers, ranges and types. Reports an error that names the file (and tensor) and fails if
  /// something is missing, truncated or malformed.
  mlir::LogicalResult open(llvm::StringRef directory,
                           llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

  /// Null when there is none.
  const SourceTensor *find(llvm::StringRef name) const;

  /// Tells the kernel that these bytes of a file will not be read again soon, so that they do not
  /// stay in memory.
  void release(unsigned file, uint64_t begin, uint64_t size) const;
  void release(const SourceTensor &tensor, uint64_t begin, uint64_t size) const {
    release(tensor.file, tensor.offset + begin, size);
  }
  void release(const SourceTensor &tensor) const { release(tensor, 0, tensor.data.size()); }

  llvm::ArrayRef<File> getFiles() const { return files; }
  /// In the order of the files and of the offsets in each.
  llvm::ArrayRef<SourceTensor> getTensors() const { return tensors; }
  bool isDummy() const { return files.empty(); }

private:
  mlir::LogicalResult openFile(llvm::StringRef path,
                               llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

  std::vector<File> files;
  std::vector<SourceTensor> tensors;
  llvm::StringMap<size_t> index;
};

/// What config.json and mamba_config.json say, with the defaults of absent fields filled in.
struct ModelConfig {
  enum class Kind { llama, qwen2, m1Mamba1, m1Mamba2 };
  Kind kind = Kind::llama;

  int64_t layers = 0, hiddenSize = 0, intermediateSize = 0, vocabSize = 0, maxPositions = 0;
  int64_t heads = 0, kvHeads = 0, headDim = 0;
  double rmsNormEps = 0;
  bool tied = false, attentionBias = false, outputBias = false, mlpBias = false;
  int64_t bosId = -1;
  llvm::SmallVector<int64_t> eosIds;
  /// The type that config.json states for the weights; decides matrix types when there is no data
  /// (dummy weights).
  std::optional<StoredType> storedType;

  double ropeTheta = 0;
  mlir::m1::RotaryScaling ropeScaling = mlir::m1::RotaryScaling::None;
  double ropeFactor = 1, ropeLow = 1, ropeHigh = 4, ropeOriginal = 0;

  /// The rest is for M1 only. isAttention has an entry per layer (all true for plain transformers).
  std::vector<bool> isAttention;
  int64_t dInner = 0, dXb = 0, dState = 0, dConv = 0, dtRank = 0;
  bool convBias = true, repeatBeforeConv = true;

  bool isM1() const { return kind == Kind::m1Mamba1 || kind == Kind::m1Mamba2; }
  bool hasAttention() const { return llvm::is_contained(isAttention, true); }
  /// m1-mamba1, m1-mamba2, llama or qwen2.
  llvm::StringRef getArchitecture() const;
};

/// Reads the configuration. `data` decides between Mamba-1 and Mamba-2 where it holds Mamba layers;
/// without tensors the configuration alone decides. Reports an error that names file and field and
/// fails when a field is missing, malformed, inconsistent with another, or has a value that changes
/// the maths in a way that is not supported.
mlir::FailureOr<ModelConfig> readConfig(llvm::StringRef directory, const CheckpointData &data,
                                        llvm::function_ref<mlir::InFlightDiagnostic()> emitError,
                                        llvm::function_ref<mlir::InFlightDiagnostic()> emitWarning);

} // namespace m1c

#endif
