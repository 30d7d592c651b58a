#include "reasoning.h"
#include <algorithm>

namespace m1serve {

static const std::string openTag = "<think>", closeTag = "</think>", blanks = " \t\r\n";

bool ReasoningSplitter::opensThought(const std::string &prompt) {
  const size_t last = prompt.find_last_not_of(blanks);
  return last != std::string::npos && last + 1 >= openTag.size() &&
         prompt.compare(last + 1 - openTag.size(), openTag.size(), openTag) == 0;
}

ReasoningSplitter::Piece ReasoningSplitter::push(const std::string &text) {
  Piece piece;
  held += text;
  while (!held.empty()) {
    if (state == State::content) {
      piece.content += held;
      held.clear();
    } else if (state == State::begin) {
      const size_t first = held.find_first_not_of(blanks);
      if (first == std::string::npos)
        return piece;
      const size_t length = std::min(openTag.size(), held.size() - first);
      if (held.compare(first, length, openTag, 0, length) != 0) {
        state = State::content;
      } else if (length < openTag.size()) {
        return piece;
      } else {
        held.erase(0, first + length);
        state = State::beforeThought;
      }
    } else if (state == State::beforeThought || state == State::beforeContent) {
      held.erase(0, std::min(held.find_first_not_of(blanks), held.size()));
      if (!held.empty())
        state = state == State::beforeThought ? State::thought : State::content;
    } else {
      const size_t tag = held.find(closeTag);
      if (tag != std::string::npos) {
        const size_t last = held.find_last_not_of(blanks, tag ? tag - 1 : 0);
        piece.reasoning.append(held, 0, tag && last != std::string::npos ? last + 1 : 0);
        held.erase(0, tag + closeTag.size());
        state = State::beforeContent;
        continue;
      }
      // Keep what may be the beginning of the tag, and the blanks in front of it.
      size_t keep = 0;
      for (size_t n = std::min(closeTag.size() - 1, held.size()); n > 0 && keep == 0; --n)
        if (held.compare(held.size() - n, n, closeTag, 0, n) == 0)
          keep = n;
      size_t certain = held.size() - keep;
      while (certain > 0 && blanks.find(held[certain - 1]) != std::string::npos)
        --certain;
      piece.reasoning.append(held, 0, certain);
      held.erase(0, certain);
      return piece;
    }
  }
  return piece;
}

ReasoningSplitter::Piece ReasoningSplitter::finish() {
  Piece piece;
  (state == State::thought ? piece.reasoning : piece.content).swap(held);
  return piece;
}

} // namespace m1serve
