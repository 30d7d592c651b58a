// A checkpoint directory in Hugging Face layout: its configuration and its tensors, mapped and
// never copied.
#ifndef M1C_CHECKPOINT_H
#define M1C_CHECKPOINT_H

#include "M1/IR/M1.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace m1c {

/// The types of tensors; those after f16 occur only among the parts of quantised ones.
enum class StoredType { f32, bf16, f16, e4m3, i8, i32, i64 };

/// Bytes of one element.
inline int64_t byteWidth(StoredType type) {
  switch (type) {
  case StoredType::i64:
    return 8;
  case StoredType::f32:
  case StoredType::i32:
    return 4;
  case StoredType::bf16:
  case StoredType::f16:
    return 2;
  case StoredType::e4m3:
  case StoredType::i8:
    return 1;
  }
  llvm_unreachable("all types are handled");
}

class TensorCode;

/// A tensor as it lies in a safetensors file, row-major and little-endian; or one that a file holds
/// in another form.
struct SourceTensor {
  std::string name;
  /// f32, bf16 or f16.
  StoredType type;
  llvm::SmallVector<int64_t> shape;
  /// The mapped elements, none where there is a code; lives as long as the CheckpointData that
  /// holds it.
  llvm::ArrayRef<char> data;
  /// Index in CheckpointData::files and byte offset in that file.
  unsigned file;
  uint64_t offset;
  /// How the elements follow from what the file holds; null: they are `data`.
  std::shared_ptr<const TensorCode> code;
  /// The values are those behind the transform that weights made of them have: A itself in the
  /// place of its logarithm.
  bool isTransformed = false;

  int64_t countElements() const { return llvm::product_of(shape); }
};

/// Rows of integers of so many bits, with a scale of f16 or bf16 for each `group` (32, 64 or 128)
/// columns, or with a scale and a minimum of f32 each: code · scale - minimum. Integers of four
/// bits are from 0 to 15 with minimums, else from -8 to 7. Scales of i8 are those of two levels
/// (M1/IR/Groups.h), with minimums of groups of 32, without of 16.
struct StoredGroups {
  int bits; // 4 or 8
  int64_t group;
  StoredType scales;
  bool hasMinimums = false;

  bool isTwoLevels() const { return scales == StoredType::i8; }
  /// Columns that have scales together, and what they have beside their integers.
  int64_t scaleColumns() const { return isTwoLevels() ? 128 : group; }
  int64_t scaleBytes() const {
    return isTwoLevels() ? (hasMinimums ? 12 : 10) : byteWidth(scales) * (hasMinimums ? 2 : 1);
  }
  /// Whether GPUs have kernels for such, too.
  bool isPlain() const { return scales == StoredType::f16 || scales == StoredType::bf16; }
  bool operator==(const StoredGroups &other) const {
    return bits == other.bits && group == other.group && scales == other.scales &&
           hasMinimums == other.hasMinimums;
  }
};

/// The values of a tensor that lies in a file in another form, for instance quantised.
class TensorCode {
public:
  explicit TensorCode(std::vector<SourceTensor> parts) : parts(std::move(parts)) {}
  virtual ~TensorCode() = default;

  /// The values of `count` rows from `first` on, each of the type of the tensor. Rows have the
  /// length of the last dimension; the product of the others counts them.
  virtual void decode(int64_t first, int64_t count, float *out) const = 0;
  /// A row as int8 values from -127 to 127 times a scale, where that is how it lies in the file;
  /// else false.
  virtual bool readInt8Row(int64_t, int8_t *, float *) const { return false; }
  /// The same of e4m3 numbers, none of them NaN.
  virtual bool readE4m3Row(int64_t, uint8_t *, float *) const { return false; }
  /// What its rows are in the file, where that is integers in groups.
  virtual std::optional<StoredGroups> storedGroups() const { return std::nullopt; }
  /// Of a row of those the integers, a byte each, and what each scaleColumns have, scaleBytes.
  virtual void readGroups(int64_t, int8_t *, char *) const {
    llvm_unreachable("only where storedGroups says so");
  }

  /// What the file holds.
  llvm::ArrayRef<SourceTensor> getParts() const { return parts; }

protected:
  const std::vector<SourceTensor> parts;
};

/// A weight's elements as an artifact holds them.
struct StoredWeight {
  /// Mapped; may change meanwhile: copy it, then compare with the checks (weight_check.h).
  llvm::ArrayRef<char> data;
  llvm::ArrayRef<uint64_t> checks;
  /// Index in CheckpointData::files and byte offset in that file.
  unsigned file;
  uint64_t offset;
  /// Whether it lies in a file of the checkpoint, where it can stay.
  bool stays;
};

/// The files of a checkpoint and the tensors in them. With dummy weights both are empty.
class CheckpointData {
public:
  struct File {
    std::string path;
    std::unique_ptr<llvm::MemoryBuffer> buffer;
  };

  /// Maps model.safetensors, or the shards that model.safetensors.index.json names, and checks
  /// headers, ranges and types. The tensors of a file must fill it, without gaps or overlaps.
  /// Where config.json says that weights are quantised, the tensors that hold one give way to one
  /// with a code, under the weight's name. Reports an error that names the file (and tensor) and
  /// fails if something is missing, truncated or malformed. The path may also be that of a GGUF
  /// file.
  mlir::LogicalResult open(llvm::StringRef directory,
                           llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

  /// In place of a directory: a GGUF file, whose tensors get the names that they have in a
  /// directory, and what config.json would say there.
  mlir::LogicalResult openGguf(llvm::StringRef path, llvm::json::Object &config,
                               llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

  /// Null when there is none.
  const SourceTensor *find(llvm::StringRef name) const;

  /// In place of a checkpoint: the weights of an artifact, by their own names. `owner` keeps alive
  /// what they and the files' buffers refer to.
  /// `shapes`: of the checkpoint's tensors, as far as the artifact knows them.
  void setStored(std::vector<File> ofArtifact, llvm::StringMap<StoredWeight> weights,
                 llvm::StringMap<llvm::SmallVector<int64_t>> shapes,
                 std::shared_ptr<const void> owner);
  bool isStored() const { return storedOwner != nullptr; }
  /// Null when there is none.
  const StoredWeight *findStored(llvm::StringRef weight) const;
  /// Of a tensor of the checkpoint, or of the one that the artifact was made of. None when it is
  /// not known: of dummy weights and of older artifacts.
  std::optional<llvm::ArrayRef<int64_t>> findShape(llvm::StringRef tensor) const;

  /// Tells the kernel that these bytes of a file will not be read again soon, so that they do not
  /// stay in memory.
  void release(unsigned file, uint64_t begin, uint64_t size) const;
  void release(const SourceTensor &tensor, uint64_t begin, uint64_t size) const {
    release(tensor.file, tensor.offset + begin, size);
  }
  void release(const SourceTensor &tensor) const;

  /// What is quantised and how, for a note: "gptq: 28 matrices of int4, …"; empty: nothing.
  llvm::StringRef getQuantisation() const { return quantisation; }

  /// Of a GGUF file: what divides the frequency of each pair that rotates; empty: nothing.
  llvm::ArrayRef<float> getRotaryFactors() const { return rotaryFactors; }

  llvm::ArrayRef<File> getFiles() const { return files; }
  /// In the order of the files and of the offsets in each.
  llvm::ArrayRef<SourceTensor> getTensors() const { return tensors; }

private:
  mlir::LogicalResult openFile(llvm::StringRef path,
                               llvm::function_ref<mlir::InFlightDiagnostic()> emitError);
  /// Of tensors from `first` on, whose file's data lie from `begin` to `end`.
  mlir::LogicalResult checkCoverage(llvm::StringRef path, size_t first, uint64_t begin,
                                    uint64_t end,
                                    llvm::function_ref<mlir::InFlightDiagnostic()> emitError) const;
  mlir::LogicalResult openFiles(llvm::StringRef directory,
                                llvm::function_ref<mlir::InFlightDiagnostic()> emitError);
  /// Puts tensors with codes in the place of those that hold quantised weights.
  mlir::LogicalResult resolveQuantised(llvm::StringRef directory,
                                       llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

  std::vector<File> files;
  std::vector<SourceTensor> tensors;
  llvm::StringMap<size_t> index;
  std::string quantisation;
  std::vector<float> rotaryFactors;
  llvm::StringMap<StoredWeight> stored;
  llvm::StringMap<llvm::SmallVector<int64_t>> storedShapes;
  std::shared_ptr<const void> storedOwner;
};

/// An error that says what `path` is, or may mean, when it is no directory.
mlir::LogicalResult checkDirectory(llvm::StringRef path,
                                   llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

/// How the model's authors would have it sampled (generation_config.json).
struct GenerationDefaults {
  std::optional<double> temperature; // 0 when do_sample is false
  std::optional<int64_t> topK;       // 0: all tokens
  std::optional<double> topP, minP, repetitionPenalty;

  bool empty() const { return !temperature && !topK && !topP && !minP && !repetitionPenalty; }
};

/// The sizes of a plain transformer: attention and a gated MLP in every layer.
struct TransformerSizes {
  int64_t heads = 0, kvHeads = 0, headDim = 0, intermediateSize = 0;
  double rmsNormEps = 0;
  bool mlpBias = false, scaledRotary = false;
};

/// How a family of models reads its configuration and builds its layers (lib/Import/Family.h).
class Family;

/// What the configuration says about every model, with the defaults of absent fields filled in; the
/// rest is its family's.
struct ModelConfig {
  /// As in m1.model.
  std::string architecture;
  int64_t layers = 0, hiddenSize = 0, vocabSize = 0, maxPositions = 0;
  bool tied = false;
  /// Whether more than maxPositions may be asked for.
  bool extends = true;
  int64_t bosId = -1;
  /// Of config.json and generation_config.json.
  llvm::SmallVector<int64_t> eosIds;
  GenerationDefaults generation;
  /// The type that config.json states for the weights; decides matrix types when there is no data
  /// (dummy weights).
  std::optional<StoredType> storedType;
  /// For llama, qwen2 and mistral with attention over the whole context, which can be made an M1.
  std::optional<TransformerSizes> transformer;
  std::shared_ptr<const Family> family;
};

/// Reads config.json, mamba_config.json and generation_config.json. `data` decides between Mamba-1
/// and Mamba-2 where it holds Mamba layers; without tensors the configuration alone decides.
/// Reports an error that names file and field and fails when a field is missing, malformed,
/// inconsistent with another, or has a value that changes the maths in a way that is not supported.
mlir::FailureOr<ModelConfig> readConfig(llvm::StringRef directory, const CheckpointData &data,
                                        llvm::function_ref<mlir::InFlightDiagnostic()> emitError,
                                        llvm::function_ref<mlir::InFlightDiagnostic()> emitWarning);

/// The same of what config.json would say, for a model in `file`, which is given.
mlir::FailureOr<ModelConfig> readConfig(llvm::StringRef file, const llvm::json::Object &config,
                                        const CheckpointData &data,
                                        llvm::function_ref<mlir::InFlightDiagnostic()> emitError,
                                        llvm::function_ref<mlir::InFlightDiagnostic()> emitWarning);

/// config.json without what it says of quantisation, for weights that are quantised no more.
mlir::FailureOr<std::string>
readPlainConfig(llvm::StringRef directory,
                llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

} // namespace m1c

#endif
