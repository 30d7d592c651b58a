// What config.json says about quantised weights.
#ifndef M1C_LIB_IMPORT_QUANTISATION_H
#define M1C_LIB_IMPORT_QUANTISATION_H

#include "Fields.h"
#include "tokenizer/pre_tokenizer.h"

#include "llvm/ADT/SmallVector.h"

#include <memory>
#include <vector>

namespace m1c {

/// The library that has quantised the weights, in whose form they lie.
enum class QuantMethod { compressedTensors, fp8, fbgemmFp8, gptq, awq };

/// Modules that a group of compressed-tensors names: one by its name, the classes "Linear" and
/// "Embedding", or, as Python's re.match has it, those whose names begin with what the pattern
/// behind "re:" matches.
struct QuantTarget {
  std::string text;
  std::shared_ptr<const m1rt::Regex> pattern; // null where there is none, or a single group
};

/// How the weights of some modules are quantised.
struct QuantScheme {
  std::vector<QuantTarget> targets; // of compressed-tensors
  bool isFloat = false;             // e4m3; else integers
  int64_t bits = 8;                 // of a code
  bool isPacked = false;            // several codes in an i32
  bool isSymmetric = true;          // without zero points
  bool hasIndex = false; // columns are in groups out of order, which a tensor must then tell
  /// Of columns with one scale; 0: a whole row.
  int64_t groupSize = 0;
  /// One scale for the whole matrix, or one for each such block.
  bool isPerTensor = false;
  int64_t blockRows = 0, blockColumns = 0;
  /// Nothing says whether there are blocks: those of 128 x 128, where the scales are as many.
  bool mayBeBlocks = false;

  /// As in "int4 in groups of 128".
  std::string describe() const;
};

struct Quantisation {
  QuantMethod method;
  std::string methodName;
  /// One, but for compressed-tensors: none where activations or caches alone are quantised.
  std::vector<QuantScheme> schemes;
  bool isSecondGptq = false; // zero points are stored as they are, not less 1
  bool isGptqModels = false; // GPTQModel has written them: less 1 in whole words
  /// How the library would quantise activations and caches, which stay as they are here; empty: not
  /// at all.
  std::string runtime;
};

/// Reads `quantization_config`, or `compression_config`, of config.json or of `text`, the part of
/// it that describes the language model. Nothing when neither is there or after an error, which
/// names the field whose value is not supported and what is.
std::optional<Quantisation> readQuantisation(const Fields &config, const Fields &text);
/// That of the config.json of a directory, which need not have one.
mlir::FailureOr<std::optional<Quantisation>> readQuantisation(llvm::StringRef directory,
                                                              EmitError emitError);

} // namespace m1c

#endif
