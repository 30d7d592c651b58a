// Tokens to text where they are spelled in characters: the decoder of SentencePiece's kin.
#ifndef M1RT_TOKENIZER_DECODER_H
#define M1RT_TOKENIZER_DECODER_H

#include "tokenizer/format.h"

#include <string>
#include <string_view>

namespace m1rt {

// One pass over the tokens of a text.
class SpelledDecoder {
public:
  explicit SpelledDecoder(const tokenizer_format::DecoderSettings &settings)
      : settings(settings), stripLeft(settings.stripStart) {}

  // Appends what became certain. `shown` is what the token shows as, `spelling` how the vocabulary
  // spells it.
  void push(std::string_view shown, std::string_view spelling, bool isByte, std::string &out);
  void finish(std::string &out);

private:
  void flushBytes(std::string &out);
  void append(std::string_view text, std::string &out);

  tokenizer_format::DecoderSettings settings;
  uint32_t stripLeft; // characters that may still go at the beginning
  bool first = true;
  std::string bytes; // of byte tokens in a row: whole characters only once the last is known
  std::string tail;  // characters that go if nothing follows
};

} // namespace m1rt

#endif
