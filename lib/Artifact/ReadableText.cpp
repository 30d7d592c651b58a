#include "m1c/ReadableText.h"

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

} // namespace m1c
