// Statements about any tokenizer that loads.
#ifndef M1_TEST_FUZZ_TOKENIZER_H
#define M1_TEST_FUZZ_TOKENIZER_H

#include "fuzz.h"
#include "tokenizer/tokenizer.h"
#include <vector>

namespace fuzz {

/// Encodes the text; the ids are the tokenizer's, and decoding them at once or one by one gives the
/// same text. False when the text is refused.
inline bool encodeAndDecode(const m1rt::Tokenizer &tokenizer, std::string_view text,
                            std::vector<int32_t> &ids, std::string &decoded) {
  std::string error;
  ids.clear();
  if (!tokenizer.encode(text, false, ids, error)) {
    FUZZ_CHECK(!error.empty());
    return false;
  }
  m1rt::StreamingDecoder stream(tokenizer, false);
  std::string streamed;
  for (int32_t id : ids) {
    FUZZ_CHECK(id >= 0 && id < tokenizer.vocabSize());
    stream.push(id, &streamed);
  }
  streamed += stream.finish();
  decoded = tokenizer.decode(ids.data(), ids.size(), false);
  FUZZ_CHECK(streamed == decoded);
  return true;
}

} // namespace fuzz

#endif
