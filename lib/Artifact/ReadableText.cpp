#include "m1c/ReadableText.h"

#include "base/open_file.h"

#include "llvm/ADT/SmallVector.h"
#include <algorithm>

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
  std::string text;
  if (m1rt::Status read = m1rt::readInput(path.str(), size_t(1) << 30, &text); !read.ok())
    return llvm::createStringError(read.message());
  auto refuse = [&](const char *what) {
    return llvm::createStringError(m1rt::inputName(path.str()) + ": " + what);
  };
  auto buffer = llvm::MemoryBuffer::getMemBufferCopy(text, path == "-" ? "<stdin>" : path);
  if (holdsIndexArray(buffer->getBuffer()))
    return refuse(indexArrayMessage);
  if (findDeepNesting(buffer->getBuffer()) != llvm::StringRef::npos)
    return refuse(deepNestingMessage);
  return buffer;
}

} // namespace m1c
