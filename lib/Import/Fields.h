// The fields of a JSON configuration, checked as they are read: every message names the file and
// the field, and what was never asked for can be told at the end.
#ifndef M1C_LIB_IMPORT_FIELDS_H
#define M1C_LIB_IMPORT_FIELDS_H

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/JSON.h"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace m1c {

using EmitError = llvm::function_ref<mlir::InFlightDiagnostic()>;

/// Far beyond any model: products of sizes fit in 64 bits, and what kernels keep on the stack stays
/// small.
constexpr int64_t mostLayers = 10000, largestSize = int64_t(1) << 24, mostHeads = int64_t(1) << 16,
                  largestHead = int64_t(1) << 12, mostExperts = int64_t(1) << 12,
                  largestHeads = int64_t(1) << 18, widestConv = 256;

/// A JSON object of a file; fails with a message that names the file. Python's Infinity,
/// -Infinity and NaN are read as the object {"__float__": "Infinity"} and the like.
mlir::FailureOr<llvm::json::Value> readJson(llvm::StringRef path, EmitError emitError);

/// The whole number that a value is. LLVM's own function takes a double of 2^63 for an int64_t.
inline std::optional<int64_t> wholeNumber(const llvm::json::Value &value) {
  const std::optional<double> number = value.getAsNumber();
  if (number && *number >= 0x1p63 && !value.getAsUINT64())
    return std::nullopt;
  return value.getAsInteger();
}

/// An object of a JSON file. Readers report what is wrong with a field under its full name and
/// remember that it failed. Copies share what they remember. A field that is not there has its
/// default, where there is one; one that is null has no value.
class Fields {
public:
  /// `object` may be null: no field is there.
  Fields(std::string file, const llvm::json::Object *object, EmitError emitError, bool &failed)
      : Fields(std::move(file), "", object, emitError, failed) {}
  /// The same fields, of which those that are not there have these values.
  Fields withDefaults(const llvm::json::Object &defaults) const;

  /// The field's value or default. Reading counts as understanding.
  const llvm::json::Value *find(llvm::StringRef name) const;
  /// Whether the file gives the field a value.
  bool has(llvm::StringRef name) const;
  /// Whether the field is there, if only as null.
  bool mentions(llvm::StringRef name) const { return object && object->get(name); }
  const llvm::json::Value *findDefault(llvm::StringRef name) const {
    return defaults ? defaults->get(name) : nullptr;
  }
  /// The sizes and flags that were read, and whence: "from config.json: hidden_size 64; from
  /// defaults of what it does not say: vocab_size 32000". Empty where there were none.
  std::string describeSizes() const;
  explicit operator bool() const { return object; }
  /// Whether any reader of the same file or another has reported an error.
  bool hasFailed() const { return failed; }

  /// Of a field that two readers refuse the first one's message counts; the other's goes nowhere.
  mlir::InFlightDiagnostic error(llvm::StringRef name) const;
  /// An error of a field that does not fit others. It goes nowhere behind another error: what was
  /// refused has no value to compare with.
  mlir::InFlightDiagnostic conflict(llvm::StringRef name) const;

  /// The largest size: the batch arrays are int32.
  static constexpr int64_t largest = INT32_MAX;

  std::optional<int64_t> integer(llvm::StringRef name, int64_t minimum = 1,
                                 int64_t maximum = largest) const;
  /// A size that must be there.
  int64_t size(llvm::StringRef name, int64_t maximum = largestSize) const {
    return require(name, integer(name, 1, maximum));
  }
  /// Finite and positive, or zero where that is allowed.
  std::optional<double> number(llvm::StringRef name, bool mayBeZero = false) const;
  /// Any finite number; `absent` without the field.
  double multiplier(llvm::StringRef name, double absent = 1) const;
  /// `count` finite numbers; ones without the field.
  llvm::SmallVector<double> multipliers(llvm::StringRef name, size_t count) const;
  /// Null is false, as in Python, where the field has a default; where it has none, a field that is
  /// null or absent is `absent`.
  bool flag(llvm::StringRef name, bool absent = false) const;
  std::optional<std::string> string(llvm::StringRef name) const;
  /// Integers of a list, each from 0 to below `limit`.
  llvm::SmallVector<int64_t> integers(llvm::StringRef name, int64_t limit = largest + 1) const;
  /// Those of a list, or a single number.
  llvm::SmallVector<int64_t> integersOrOne(llvm::StringRef name, int64_t limit = largest + 1) const;
  /// The words of a list, one for each of `count` layers; empty without the field.
  llvm::SmallVector<std::string> words(llvm::StringRef name, int64_t count) const;
  Fields child(llvm::StringRef name) const;

  /// For a field that must be there.
  template <typename T> T require(llvm::StringRef name, const std::optional<T> &value) const {
    if (!value && !has(name))
      error(name) << (mentions(name) ? "expected a value, got null" : "missing");
    return value.value_or(T());
  }
  /// Refuses every other value than this one; an absent field has it.
  void expectFlag(llvm::StringRef name, bool expected) const;
  void expectWord(llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> expected) const;
  /// For fields that have no bearing on what is computed here.
  void ignore(llvm::ArrayRef<llvm::StringRef> names) const;

  /// Calls `callback(name, value)` for every field that is not null and that nobody has read.
  void forEachUnread(
      llvm::function_ref<void(llvm::StringRef, const llvm::json::Value &)> callback) const;
  /// And for every field that is not null.
  void forEach(llvm::function_ref<void(llvm::StringRef, const llvm::json::Value &)> callback) const;

  /// A value for a message: its JSON, or the beginning of it where that is long.
  static std::string text(const llvm::json::Value &value);
  const std::string &getFile() const { return file; }

private:
  Fields(std::string file, std::string prefix, const llvm::json::Object *object,
         EmitError emitError, bool &failed)
      : file(std::move(file)), prefix(std::move(prefix)), object(object), emitError(emitError),
        failed(failed), seen(std::make_shared<std::set<std::string>>()),
        sizes(std::make_shared<std::map<std::string, std::string>>()),
        refused(std::make_shared<std::set<std::string>>()) {}

  std::string file, prefix;
  const llvm::json::Object *object, *defaults = nullptr;
  EmitError emitError;
  bool &failed;
  std::shared_ptr<std::set<std::string>> seen;
  std::shared_ptr<std::map<std::string, std::string>> sizes; // and flags, as text
  std::shared_ptr<std::set<std::string>> refused;            // full names, those of children, too
};

} // namespace m1c

#endif
