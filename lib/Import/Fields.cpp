#include "Fields.h"

#include "Json.h"
#include "base/foreign_file.h"
#include "base/shortened.h"
#include "m1c/InputFile.h"

#include "llvm/ADT/StringExtras.h"

#include <charconv>
#include <cmath>

using namespace mlir;
using namespace m1c;

static constexpr StringRef pythonNumbers[] = {"Infinity", "-Infinity", "NaN"};

/// The text with the numbers of Python that JSON does not have, outside of strings, as the objects
/// that transformers writes for them.
static std::string withoutPythonNumbers(StringRef text) {
  std::string result;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    const StringRef *number = llvm::find_if(
        pythonNumbers, [&](StringRef word) { return text.substr(i).starts_with(word); });
    if (!inString && number != std::end(pythonNumbers)) {
      result += ("{\"__float__\": \"" + *number + "\"}").str();
      i += number->size() - 1;
      continue;
    }
    result += c;
    if (inString && c == '\\' && i + 1 < text.size())
      result += text[++i];
    else if (c == '"')
      inString = !inString;
  }
  return result;
}

/// Whether a number is one in f32, too, in which models are computed.
static bool isSingle(double number) { return std::isfinite(static_cast<float>(number)); }

FailureOr<llvm::json::Value> m1c::readJson(StringRef path, EmitError emitError) {
  FailureOr<std::unique_ptr<llvm::MemoryBuffer>> buffer = mapFile(path, emitError);
  if (failed(buffer))
    return failure();
  StringRef bytes = (*buffer)->getBuffer();
  if (std::string foreign = m1rt::describeForeignFile({bytes.data(), bytes.size()});
      !foreign.empty()) {
    emitError() << path << ": " << foreign;
    return failure();
  }
  const bool isPythons =
      llvm::any_of(pythonNumbers, [&](StringRef word) { return bytes.contains(word); });
  llvm::Expected<llvm::json::Value> value =
      parseJson(isPythons ? withoutPythonNumbers(bytes) : std::string(bytes.data(), bytes.size()));
  if (!value) {
    emitError() << path << ": " << llvm::toString(value.takeError());
    return failure();
  }
  if (!value->getAsObject()) {
    emitError() << path << ": expected an object";
    return failure();
  }
  return std::move(*value);
}

Fields Fields::withDefaults(const llvm::json::Object &values) const {
  Fields result = *this;
  result.defaults = &values;
  return result;
}

const llvm::json::Value *Fields::find(StringRef name) const {
  const llvm::json::Value *value = object ? object->get(name) : nullptr;
  if (!value)
    value = findDefault(name);
  else if (value->kind() != llvm::json::Value::Null)
    seen->insert(name.str());
  return value && value->kind() != llvm::json::Value::Null ? value : nullptr;
}

bool Fields::has(StringRef name) const { return mentions(name) && find(name); }

std::string Fields::describeSizes() const {
  std::string stated, assumed;
  for (const auto &[name, value] : *sizes) {
    std::string &list = mentions(name) ? stated : assumed;
    list += (list.empty() ? "" : ", ") + name + " " + value;
  }
  std::string text = stated.empty() ? "" : "from " + file + ": " + stated;
  if (!assumed.empty())
    text += (text.empty() ? "from " : "; from ") + ("defaults of what it does not say: " + assumed);
  return text;
}

InFlightDiagnostic Fields::error(StringRef name) const {
  failed = true;
  InFlightDiagnostic diagnostic = emitError();
  if (!refused->insert(prefix + name.str()).second)
    diagnostic.abandon();
  diagnostic << file << ": field '" << prefix << name << "'";
  if (const llvm::json::Value *assumedValue = mentions(name) ? nullptr : findDefault(name))
    diagnostic << ", which is not there and " << text(*assumedValue) << " by default";
  diagnostic << ": ";
  return diagnostic;
}

InFlightDiagnostic Fields::conflict(StringRef name) const {
  if (!failed)
    return error(name);
  InFlightDiagnostic diagnostic = emitError();
  diagnostic.abandon();
  return diagnostic;
}

std::optional<int64_t> Fields::integer(StringRef name, int64_t minimum, int64_t maximum) const {
  const llvm::json::Value *value = find(name);
  if (!value)
    return std::nullopt;
  std::optional<int64_t> number = wholeNumber(*value);
  if (!number || *number < minimum || *number > maximum) {
    error(name) << "expected an integer from " << minimum << " to " << maximum << ", got "
                << text(*value);
    return std::nullopt;
  }
  if (!name.ends_with("_token_id"))
    (*sizes)[name.str()] = std::to_string(*number);
  return number;
}

std::optional<double> Fields::number(StringRef name, bool mayBeZero) const {
  const llvm::json::Value *value = find(name);
  if (!value)
    return std::nullopt;
  std::optional<double> number = value->getAsNumber();
  if (!number || !isSingle(*number) || *number < 0 || (float(*number) == 0 && !mayBeZero)) {
    error(name) << "expected a " << (mayBeZero ? "non-negative" : "positive") << " number"
                << (number && *number > 0 ? " that f32 can hold" : "") << ", got " << text(*value);
    return std::nullopt;
  }
  return number;
}

double Fields::multiplier(StringRef name, double absent) const {
  const llvm::json::Value *value = find(name);
  if (!value)
    return absent;
  std::optional<double> number = value->getAsNumber();
  if (number && isSingle(*number))
    return *number;
  error(name) << "expected a number" << (number ? " that f32 can hold" : "") << ", got "
              << text(*value);
  return absent;
}

SmallVector<double> Fields::multipliers(StringRef name, size_t count) const {
  SmallVector<double> result(count, 1.0);
  const llvm::json::Value *value = find(name);
  if (!value)
    return result;
  const llvm::json::Array *list = value->getAsArray();
  bool good = list && list->size() == count;
  for (size_t i = 0; good && i < count; ++i) {
    std::optional<double> number = (*list)[i].getAsNumber();
    good = number && isSingle(*number);
    result[i] = number.value_or(1);
  }
  if (!good)
    error(name) << "expected a list of " << count << " numbers, got " << text(*value);
  return result;
}

bool Fields::flag(StringRef name, bool absent) const {
  const llvm::json::Value *value = find(name);
  if (!value)
    return absent && !findDefault(name);
  if (std::optional<bool> flag = value->getAsBoolean()) {
    (*sizes)[name.str()] = *flag ? "true" : "false";
    return *flag;
  }
  error(name) << "expected true or false, got " << text(*value);
  return absent;
}

std::optional<std::string> Fields::string(StringRef name) const {
  const llvm::json::Value *value = find(name);
  if (!value)
    return std::nullopt;
  if (std::optional<StringRef> word = value->getAsString())
    return word->str();
  error(name) << "expected a string, got " << text(*value);
  return std::nullopt;
}

SmallVector<int64_t> Fields::integers(StringRef name, int64_t limit) const {
  const llvm::json::Value *value = find(name);
  if (!value || value->getAsArray())
    return integersOrOne(name, limit);
  error(name) << "expected a list of integers, got " << text(*value);
  return {};
}

SmallVector<int64_t> Fields::integersOrOne(StringRef name, int64_t limit) const {
  SmallVector<int64_t> result;
  const llvm::json::Value *value = find(name);
  if (!value)
    return result;
  llvm::json::Array one{*value};
  for (const llvm::json::Value &element : value->getAsArray() ? *value->getAsArray() : one) {
    std::optional<int64_t> number = wholeNumber(element);
    if (!number || *number < 0 || *number >= limit) {
      const bool isNone = !number || *number < 0 || *number > largest;
      (isNone ? error(name) : conflict(name))
          << "expected integers from 0 to " << limit - 1 << ", got " << text(*value);
      return {};
    }
    result.push_back(*number);
  }
  return result;
}

SmallVector<std::string> Fields::words(StringRef name, int64_t count) const {
  SmallVector<std::string> result;
  const llvm::json::Value *value = find(name);
  if (!value)
    return result;
  if (const llvm::json::Array *list = value->getAsArray())
    for (const llvm::json::Value &element : *list)
      if (std::optional<StringRef> word = element.getAsString())
        result.push_back(word->str());
  if (!value->getAsArray() || result.size() != value->getAsArray()->size()) {
    error(name) << "expected a list of strings, one for each layer, got " << text(*value);
    return {};
  }
  if (result.size() != size_t(count)) {
    conflict(name) << "expected a list of " << count << " strings, one for each layer, got "
                   << text(*value);
    return {};
  }
  return result;
}

Fields Fields::child(StringRef name) const {
  const llvm::json::Value *value = find(name);
  if (value && !value->getAsObject())
    error(name) << "expected an object, got " << text(*value);
  Fields result(file, prefix + name.str() + ".", value ? value->getAsObject() : nullptr, emitError,
                failed);
  result.refused = refused;
  return result;
}

void Fields::expectFlag(StringRef name, bool expected) const {
  if (has(name) && flag(name) != expected)
    error(name) << "expected " << (expected ? "true" : "false") << ", got "
                << (expected ? "false" : "true");
}

void Fields::expectWord(StringRef name, ArrayRef<StringRef> expected) const {
  std::optional<std::string> word = string(name);
  if (word && !llvm::is_contained(expected, *word))
    error(name) << "expected " << llvm::join(expected, " or ") << ", got " << *word;
}

void Fields::ignore(ArrayRef<StringRef> names) const {
  for (StringRef name : names)
    seen->insert(name.str());
}

void Fields::forEachUnread(
    llvm::function_ref<void(StringRef, const llvm::json::Value &)> callback) const {
  forEach([&](StringRef name, const llvm::json::Value &value) {
    if (!seen->count(name.str()))
      callback(name, value);
  });
}

void Fields::forEach(
    llvm::function_ref<void(StringRef, const llvm::json::Value &)> callback) const {
  if (object)
    for (const auto &[key, value] : *object)
      if (value.kind() != llvm::json::Value::Null)
        callback(StringRef(key), value);
}

std::string Fields::text(const llvm::json::Value &value) {
  std::string result;
  llvm::raw_string_ostream stream(result);
  // Of numbers the shortest form that reads back the same: 0.3, not 0.29999999999999999.
  if (std::optional<double> number = value.getAsNumber(); number && !wholeNumber(value)) {
    char digits[32];
    stream << StringRef(digits, std::to_chars(digits, std::end(digits), *number).ptr - digits);
  } else if (auto *object = value.getAsObject(); object && object->getString("__float__")) {
    stream << *object->getString("__float__"); // as the file has it
  } else {
    stream << value;
  }
  // A list may fill a file, and one field may be quoted for each layer.
  return m1rt::shortened(result, 200);
}
