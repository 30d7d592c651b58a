#include "Gguf.h"

#include "m1c/Import.h"
#include "m1c/InputFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Endian.h"

#include <array>
#include <cstdio>
#include <cstdlib>

using namespace mlir;
using namespace m1c;
namespace endian = llvm::support::endian;

namespace {

enum class Kind : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

/// Bytes of a value, at least.
size_t widthOf(Kind kind) {
  switch (kind) {
  case Kind::u8:
  case Kind::i8:
  case Kind::boolean:
    return 1;
  case Kind::u16:
  case Kind::i16:
    return 2;
  case Kind::u32:
  case Kind::i32:
  case Kind::f32:
    return 4;
  case Kind::string:
  case Kind::array:
  case Kind::u64:
  case Kind::i64:
  case Kind::f64:
    return 8;
  }
  llvm_unreachable("all kinds are handled");
}

/// As in ggml.
constexpr int mostDimensions = 4;

/// The decimal number of at most six digits that rounds to this one, if there is one: what a
/// configuration said from which the field was written, such as 1e-5. f32 keeps six digits.
double shortDecimal(float value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", double(value));
  const double decimal = std::strtod(text.data(), nullptr);
  return float(decimal) == value ? decimal : value;
}

class GgufReader {
public:
  GgufReader(StringRef path, StringRef bytes, EmitError emitError)
      : path(path), bytes(bytes), emitError(emitError) {}

  LogicalResult read(GgufFile &file) {
    uint32_t magic, version;
    uint64_t tensors, fields;
    if (failed(number(magic, "the magic")) || failed(number(version, "the version")))
      return failure();
    if (version != 2 && version != 3)
      return error() << "expected a GGUF file of version 2 or 3, little-endian, got "
                     << (version > 0xffff ? "big-endian" : std::to_string(version));
    if (failed(number(tensors, "the number of tensors")) ||
        failed(number(fields, "the number of fields")) || failed(fits(fields, 8 + 4, "fields")) ||
        failed(fits(tensors, 8 + 4 + 4 + 8, "tensors")))
      return failure();
    for (uint64_t i = 0; i < fields; ++i)
      if (failed(field(file.metadata)))
        return failure();
    uint64_t alignment = 32;
    if (const llvm::json::Value *value = file.metadata.get("general.alignment")) {
      std::optional<int64_t> stated = wholeNumber(*value);
      if (!stated || *stated < 8 || *stated > (1 << 20) || !llvm::isPowerOf2_64(*stated))
        return error() << "field 'general.alignment': expected a power of two from 8 to 1048576, "
                          "got "
                       << Fields::text(*value);
      alignment = *stated;
    }
    for (uint64_t i = 0; i < tensors; ++i)
      if (failed(tensor(file.tensors)))
        return failure();
    return place(file.tensors, alignment);
  }

private:
  InFlightDiagnostic error() const {
    InFlightDiagnostic diagnostic = emitError();
    diagnostic << path << ": ";
    return diagnostic;
  }

  LogicalResult take(uint64_t size, StringRef what, StringRef &out) {
    if (size > bytes.size() - at)
      return error() << "truncated: " << what << " at byte " << at << " takes " << size
                     << " bytes, the file ends at " << bytes.size();
    out = bytes.substr(at, size);
    at += size;
    return success();
  }

  template <typename T> LogicalResult number(T &out, StringRef what) {
    StringRef piece;
    if (failed(take(sizeof(T), what, piece)))
      return failure();
    out = endian::read<T, llvm::endianness::little>(piece.data());
    return success();
  }

  /// A number of things of at least `width` bytes each.
  LogicalResult fits(uint64_t count, size_t width, const Twine &what) const {
    if (count <= (bytes.size() - at) / width)
      return success();
    return error() << "expected at most " << (bytes.size() - at) / width << " " << what.str()
                   << " in the rest of the file, got " << count;
  }

  LogicalResult string(std::string &out, StringRef what) {
    uint64_t size;
    StringRef text;
    const size_t begin = at;
    if (failed(number(size, what)) || failed(take(size, what, text)))
      return failure();
    if (!llvm::json::isUTF8(text))
      return error() << what << " at byte " << begin << ": expected UTF-8";
    out = text.str();
    return success();
  }

  LogicalResult kind(Kind &out, StringRef name) {
    uint32_t word;
    if (failed(number(word, name)))
      return failure();
    if (word > uint32_t(Kind::f64))
      return error() << "field '" << name << "': expected a type from 0 to 12, got " << word;
    out = Kind(word);
    return success();
  }

  LogicalResult value(Kind kind, StringRef name, llvm::json::Value &out) {
    if (kind == Kind::string) {
      std::string text;
      if (failed(string(text, name)))
        return failure();
      out = std::move(text);
      return success();
    }
    StringRef piece;
    if (failed(take(widthOf(kind), name, piece)))
      return failure();
    const char *data = piece.data();
    switch (kind) {
    case Kind::u8:
      out = int64_t(uint8_t(*data));
      break;
    case Kind::i8:
      out = int64_t(int8_t(*data));
      break;
    case Kind::boolean:
      out = *data != 0;
      break;
    case Kind::u16:
      out = int64_t(endian::read16le(data));
      break;
    case Kind::i16:
      out = int64_t(int16_t(endian::read16le(data)));
      break;
    case Kind::u32:
      out = int64_t(endian::read32le(data));
      break;
    case Kind::i32:
      out = int64_t(int32_t(endian::read32le(data)));
      break;
    case Kind::f32:
      out = shortDecimal(llvm::bit_cast<float>(endian::read32le(data)));
      break;
    case Kind::u64:
      out = endian::read64le(data);
      break;
    case Kind::i64:
      out = int64_t(endian::read64le(data));
      break;
    case Kind::f64:
      out = llvm::bit_cast<double>(endian::read64le(data));
      break;
    case Kind::string:
    case Kind::array:
      llvm_unreachable("handled by the caller");
    }
    return success();
  }

  LogicalResult field(llvm::json::Object &metadata) {
    std::string name;
    Kind type;
    if (failed(string(name, "the name of a field")) || failed(kind(type, name)))
      return failure();
    llvm::json::Value result = nullptr;
    if (type == Kind::array) {
      Kind element;
      uint64_t count;
      if (failed(kind(element, name)) || failed(number(count, name)))
        return failure();
      if (element == Kind::array)
        return error() << "field '" << name << "': expected no array of arrays";
      if (failed(fits(count, widthOf(element), "values of field '" + name + "'")))
        return failure();
      llvm::json::Array values;
      values.reserve(count);
      for (uint64_t i = 0; i < count; ++i)
        if (values.push_back(nullptr); failed(value(element, name, values.back())))
          return failure();
      result = std::move(values);
    } else if (failed(value(type, name, result))) {
      return failure();
    }
    if (!metadata.try_emplace(name, std::move(result)).second)
      return error() << "field '" << name << "' is there twice";
    return success();
  }

  LogicalResult tensor(std::vector<GgufTensor> &tensors) {
    GgufTensor out;
    uint32_t dimensions, type;
    if (failed(string(out.name, "the name of a tensor")) ||
        failed(number(dimensions, "the dimensions of tensor '" + out.name + "'")))
      return failure();
    if (!names.insert(out.name).second)
      return error() << "tensor '" << out.name << "' is there twice";
    if (dimensions > mostDimensions)
      return error() << "tensor '" << out.name << "': expected at most " << mostDimensions
                     << " dimensions, got " << dimensions;
    int64_t count = 1;
    for (uint32_t i = 0; i < dimensions; ++i) {
      uint64_t size;
      if (failed(number(size, "the dimensions of tensor '" + out.name + "'")))
        return failure();
      if (size > uint64_t(Fields::largest) || size == 0)
        return error() << "tensor '" << out.name << "': expected sizes from 1 to "
                       << Fields::largest << ", got " << size;
      out.shape.insert(out.shape.begin(), int64_t(size));
      if (__builtin_mul_overflow(count, int64_t(size), &count))
        return error() << "tensor '" << out.name << "': too large: shape [" << out.shape << "]";
    }
    if (failed(number(type, "the type of tensor '" + out.name + "'")) ||
        failed(number(out.offset, "the offset of tensor '" + out.name + "'")))
      return failure();
    out.type = GgmlType(type);
    if (nameOf(out.type).empty())
      return error() << "tensor '" << out.name << "': expected type " << knownGgmlTypes()
                     << ", got " << type;
    const GgmlBlock block = blockOf(out.type);
    const int64_t row = out.shape.empty() ? 1 : out.shape.back();
    if (row % block.values)
      return error() << "tensor '" << out.name << "': expected rows of whole blocks of "
                     << block.values << " values, got " << row;
    int64_t size;
    if (__builtin_mul_overflow(count / block.values, block.bytes, &size))
      return error() << "tensor '" << out.name << "': too large: shape [" << out.shape << "]";
    sizes.push_back(size);
    tensors.push_back(std::move(out));
    return success();
  }

  /// Each follows the one before, at the next multiple of the alignment.
  LogicalResult place(std::vector<GgufTensor> &tensors, uint64_t alignment) const {
    const uint64_t begin = llvm::alignTo(at, alignment);
    uint64_t next = 0;
    for (auto [tensor, size] : llvm::zip_equal(tensors, sizes)) {
      if (tensor.offset != next)
        return error() << "tensor '" << tensor.name << "': expected offset " << next << ", got "
                       << tensor.offset;
      const uint64_t whole = begin > bytes.size() ? 0 : bytes.size() - begin;
      if (next > whole || uint64_t(size) > whole - next)
        return error() << "truncated: tensor '" << tensor.name << "' takes " << size
                       << " bytes at byte " << begin + next << ", the file ends at "
                       << bytes.size();
      tensor.offset = begin + next;
      tensor.data = ArrayRef<char>(bytes.data() + tensor.offset, size);
      next = llvm::alignTo(next + size, alignment);
    }
    return success();
  }

  StringRef path, bytes;
  EmitError emitError;
  size_t at = 0;
  llvm::StringSet<> names;
  std::vector<int64_t> sizes;
};

} // namespace

bool m1c::isGgufFile(StringRef path) { return readBeginning(path, 4) == "GGUF"; }

FailureOr<GgufFile> m1c::openGguf(StringRef path, EmitError emitError) {
  GgufFile file;
  file.path = path.str();
  FailureOr<std::unique_ptr<llvm::MemoryBuffer>> buffer = mapFile(path, emitError);
  if (failed(buffer))
    return failure();
  file.buffer = std::move(*buffer);
  if (failed(GgufReader(path, file.buffer->getBuffer(), emitError).read(file)))
    return failure();
  return file;
}
