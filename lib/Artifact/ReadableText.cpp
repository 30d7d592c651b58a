#include "m1c/ReadableText.h"

namespace m1c {

/// Without the blanks and comments that it begins with.
static llvm::StringRef trimBlanks(llvm::StringRef text) {
  for (text = text.ltrim(); text.starts_with("//"); text = text.ltrim())
    text = text.drop_until([](char c) { return c == '\n'; });
  return text;
}

bool holdsIndexArray(llvm::StringRef text) {
  constexpr llvm::StringLiteral word = "array";
  for (size_t at = text.find(word); at != llvm::StringRef::npos; at = text.find(word, at + 1)) {
    llvm::StringRef rest = trimBlanks(text.drop_front(at + word.size()));
    if (rest.consume_front("<") && trimBlanks(rest).starts_with("index"))
      return true;
  }
  return false;
}

} // namespace m1c
