#include "m1c/KernelCache.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SHA256.h"
#include "llvm/Support/raw_ostream.h"
#include <memory>
#include <mutex>

using namespace llvm;

namespace m1c {

// An entry: magic, digest of the rest, then each piece behind its length in 8 bytes.
static constexpr StringLiteral magic = "M1KERNL1";
static constexpr size_t digestSize = 32;

static void append(std::string &text, StringRef piece) {
  char size[8];
  support::endian::write64le(size, piece.size());
  text.append(size, sizeof size);
  text.append(piece.data(), piece.size());
}

static std::string digestOf(StringRef text) {
  auto digest = SHA256::hash(arrayRefFromStringRef(text));
  return std::string(digest.begin(), digest.end());
}

Expected<KernelCache> KernelCache::open(StringRef directory, std::function<void(StringRef)> warn) {
  if (std::error_code error = sys::fs::create_directories(directory))
    return createStringError(error, "--cache: cannot create " + directory + ": " + error.message());
  KernelCache cache;
  cache.directory = directory.str();
  cache.warn = [warn = std::move(warn), said = std::make_shared<std::once_flag>()](StringRef text) {
    std::call_once(*said, warn, text);
  };
  return cache;
}

std::string KernelCache::key(ArrayRef<StringRef> parts) {
  std::string text;
  for (StringRef part : parts)
    append(text, part);
  return toHex(digestOf(text), /*LowerCase=*/true);
}

std::string KernelCache::compilerIdentity() {
  // Two builds differ in time or size.
  sys::fs::file_status status;
  std::string text = LLVM_VERSION_STRING;
  if (!sys::fs::status("/proc/self/exe", status))
    text += " " + std::to_string(status.getSize()) + " " +
            std::to_string(status.getLastModificationTime().time_since_epoch().count());
  return text;
}

std::string KernelCache::pathOf(StringRef key) const {
  SmallString<128> path(directory);
  sys::path::append(path, key + ".m1k");
  return path.str().str();
}

std::optional<std::vector<std::string>> KernelCache::find(StringRef key, size_t count) const {
  if (directory.empty())
    return std::nullopt;
  if (!sys::fs::is_regular_file(pathOf(key))) // a pipe would be waited for
    return std::nullopt;
  auto file = MemoryBuffer::getFile(pathOf(key), /*IsText=*/false,
                                    /*RequiresNullTerminator=*/false, /*IsVolatile=*/true);
  if (!file)
    return std::nullopt;
  StringRef bytes = (*file)->getBuffer();
  if (!bytes.consume_front(magic) || bytes.size() < digestSize)
    return std::nullopt;
  StringRef digest = bytes.take_front(digestSize);
  bytes = bytes.drop_front(digestSize);
  if (digest != digestOf(bytes))
    return std::nullopt;
  std::vector<std::string> pieces;
  while (bytes.size() >= 8) {
    uint64_t size = support::endian::read64le(bytes.data());
    bytes = bytes.drop_front(8);
    if (size > bytes.size())
      return std::nullopt;
    pieces.push_back(bytes.take_front(size).str());
    bytes = bytes.drop_front(size);
  }
  if (!bytes.empty() || pieces.size() != count)
    return std::nullopt;
  return pieces;
}

void KernelCache::store(StringRef key, ArrayRef<StringRef> pieces) const {
  if (directory.empty())
    return;
  std::string body;
  for (StringRef piece : pieces)
    append(body, piece);
  std::string path = pathOf(key);
  auto temporary = sys::fs::TempFile::create(path + ".%%%%%%%%");
  if (!temporary)
    return warn("--cache: cannot write " + path + ": " + toString(temporary.takeError()));
  raw_fd_ostream stream(temporary->FD, /*shouldClose=*/false);
  stream << magic << digestOf(body) << body;
  stream.flush();
  std::error_code error = stream.error();
  stream.clear_error();
  if (error) {
    consumeError(temporary->discard());
    return warn("--cache: cannot write " + path + ": " + error.message());
  }
  if (Error failed = temporary->keep(path))
    warn("--cache: cannot write " + path + ": " + toString(std::move(failed)));
}

} // namespace m1c
