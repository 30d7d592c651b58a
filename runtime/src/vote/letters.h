// Letters and digits of ASCII alone, whatever the locale.
#ifndef M1RT_VOTE_LETTERS_H
#define M1RT_VOTE_LETTERS_H

#include <string>

namespace m1rt {

inline bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
inline bool isDigit(char c) { return c >= '0' && c <= '9'; }

inline std::string lowerCase(std::string text) {
  for (char &c : text)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c | 0x20);
  return text;
}

} // namespace m1rt

#endif
