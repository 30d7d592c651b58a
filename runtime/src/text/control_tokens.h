// Control tokens that people write into messages: they are text there, and forge no turns.
#ifndef M1RT_TEXT_CONTROL_TOKENS_H
#define M1RT_TEXT_CONTROL_TOKENS_H

#include "tokenizer/tokenizer.h"
#include <string>
#include <string_view>
#include <vector>

namespace m1rt {

/// Finds what a text spells of a tokenizer's control tokens, and follows it through a chat
/// template: a marker, a character that stands for nothing, is put into each of them, the template
/// is rendered, and where the markers come out again there are barriers for the tokenizer.
///
/// Control tokens are the added tokens that are special, and those that the template writes (some
/// tokenizers do not call the tokens of their turns special). Tokens of one character cannot be
/// broken and are none.
class ControlTokens {
public:
  ControlTokens(const Tokenizer &tokenizer, std::string_view templateSource);

  /// Where the tokenizer must not look over, so that no control token is found in the text.
  Barriers barriers(std::string_view text) const;

  /// A noncharacter of Unicode that none of the texts holds, as UTF-8; empty when they hold all.
  static std::string chooseMarker(const std::vector<std::string_view> &texts);
  /// Puts the marker into every control token of the text, and into beginnings at its end and ends
  /// at its beginning, which the template may complete. `specialOnly`: not into tokens that are not
  /// special, for what the model itself has said.
  std::string mark(std::string_view text, std::string_view marker, bool specialOnly) const;
  /// Takes the markers out and gives their places.
  static std::string unmark(std::string_view text, std::string_view marker, Barriers *out);

private:
  struct Token {
    std::string content;
    bool special;
  };
  Barriers find(std::string_view text, bool specialOnly, bool edges) const;

  std::vector<Token> tokens;    // by first byte
  std::vector<uint32_t> starts; // [257] into tokens, of each first byte
};

} // namespace m1rt

#endif
