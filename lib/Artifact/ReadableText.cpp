#include "m1c/ReadableText.h"

#include "base/open_file.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace m1c {

/// Without the blanks and comments that it begins with.
static llvm::StringRef trimBlanks(llvm::StringRef text) {
  for (text = text.ltrim(); text.starts_with("//"); text = text.ltrim())
    text = text.drop_until([](char c) { return c == '\n'; });
  return text;
}

/// Where an array of index says so, from `at` on; npos: nowhere.
static size_t findIndexArray(llvm::StringRef text, size_t at) {
  constexpr llvm::StringLiteral word = "array";
  for (at = text.find(word, at); at != llvm::StringRef::npos; at = text.find(word, at + 1)) {
    llvm::StringRef rest = trimBlanks(text.drop_front(at + word.size()));
    if (!rest.consume_front("<"))
      continue;
    rest = trimBlanks(rest);
    if (rest.starts_with("index"))
      return text.size() - rest.size();
  }
  return llvm::StringRef::npos;
}

bool holdsIndexArray(llvm::StringRef text) {
  return findIndexArray(text, 0) != llvm::StringRef::npos;
}

std::string withoutIndexArrays(llvm::StringRef text) {
  std::string changed = text.str();
  for (size_t at = findIndexArray(text, 0); at != llvm::StringRef::npos;
       at = findIndexArray(text, at))
    changed[at] = 'I';
  return changed;
}

size_t findDeepNesting(llvm::StringRef text) {
  constexpr size_t deepest = 256; // some kilobytes of stack each
  if (text.starts_with("ML\xefR"))
    return llvm::StringRef::npos;
  llvm::SmallVector<char> open; // what each of them is closed by
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i], next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (c == '"') {
      for (++i; i < text.size() && text[i] != '"' && text[i] != '\n'; ++i)
        i += text[i] == '\\';
    } else if (c == '/' && next == '/') {
      i = std::min(text.find('\n', i), text.size());
    } else if (c == '(' || c == '[' || c == '{' || (c == '<' && next != '=')) {
      open.push_back(c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : '>');
      if (open.size() > deepest)
        return i;
    } else if (c == '>') {
      if (i > 0 && text[i - 1] != '-' && next != '=' && !open.empty() && open.back() == c)
        open.pop_back();
    } else if (c == ')' || c == ']' || c == '}') {
      while (!open.empty() && open.back() == '>') // a sign and no bracket
        open.pop_back();
      if (!open.empty())
        open.pop_back();
    }
  }
  return llvm::StringRef::npos;
}

llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>> readModuleText(llvm::StringRef path) {
  constexpr size_t most = size_t(1) << 30;
  const std::string name = path == "-" ? "standard input" : path.str();
  auto refuse = [&](const llvm::Twine &what) {
    return llvm::createStringError(name + ": " + what);
  };
  std::string problem;
  const int descriptor =
      path == "-" ? STDIN_FILENO : m1rt::openFile(path.str(), O_RDONLY, &problem);
  if (descriptor < 0)
    return refuse("cannot read: " + problem);
  auto close = llvm::scope_exit([&] {
    if (descriptor > STDIN_FILENO)
      ::close(descriptor);
  });
  struct stat info = {};
  const bool known = ::fstat(descriptor, &info) == 0;
  if (known && (S_ISBLK(info.st_mode) || (S_ISCHR(info.st_mode) && !::isatty(descriptor) &&
                                          info.st_rdev != makedev(1, 3)))) // /dev/null
    return refuse("is a device, expected a file");                         // perhaps without an end
  llvm::SmallVector<char, 0> text;
  for (ssize_t count = 1; count != 0;) {
    const size_t size = text.size();
    text.resize_for_overwrite(size + (1 << 16));
    count = ::read(descriptor, text.data() + size, text.size() - size);
    text.truncate(size + size_t(std::max<ssize_t>(count, 0)));
    if (count < 0 && errno != EINTR)
      return refuse("cannot read: " + llvm::Twine(std::strerror(errno)));
    if (text.size() > most)
      return refuse("expected 1024 MiB at most");
  }
  auto buffer = std::make_unique<llvm::SmallVectorMemoryBuffer>(
      std::move(text), path == "-" ? "<stdin>" : path, /*RequiresNullTerminator=*/true);
  if (holdsIndexArray(buffer->getBuffer()))
    return refuse(indexArrayMessage);
  if (findDeepNesting(buffer->getBuffer()) != llvm::StringRef::npos)
    return refuse(deepNestingMessage);
  return buffer;
}

} // namespace m1c
