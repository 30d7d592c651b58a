// JSON of files that may be damaged.
#ifndef M1C_LIB_IMPORT_JSON_H
#define M1C_LIB_IMPORT_JSON_H

#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

namespace m1c {

/// llvm::json::parse recurses once per level of nesting; text nested deeper than any configuration
/// is refused before it can exhaust the stack.
inline llvm::Expected<llvm::json::Value> parseJson(llvm::StringRef text) {
  constexpr int deepest = 100;
  int depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      i += c == '\\';
      inString = c != '"';
    } else if (c == '"') {
      inString = true;
    } else if (c == '[' || c == '{') {
      if (++depth > deepest)
        return llvm::createStringError("nested deeper than 100 levels");
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return llvm::json::parse(text);
}

} // namespace m1c

#endif
