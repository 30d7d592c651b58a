// Text through a small tokenizer: with hand-written matchers and with PCRE2 the ids are the same,
// and they decode to the text again.
#include "tokenizer.h"
#include "tokenizer/prepare.h"

namespace {

struct Tokenizers {
  m1rt::PreparedTokenizer prepared;
  std::unique_ptr<m1rt::Tokenizer> fast, regex;
  Tokenizers() {
    std::string error;
    FUZZ_CHECK(m1rt::prepareTokenizer(M1_FUZZ_TOKENIZER, "", prepared, error));
    fast = m1rt::Tokenizer::load(prepared.data, error);
    m1rt::TokenizerOptions options;
    options.alwaysRegex = true;
    regex = m1rt::Tokenizer::load(prepared.data, error, options);
    FUZZ_CHECK(fast && regex);
  }
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const Tokenizers tokenizers;
  const std::string_view text = fuzz::text(data, size);
  std::vector<int32_t> ids, same;
  std::string decoded, error;
  const bool encodes = fuzz::encodeAndDecode(*tokenizers.fast, text, ids, decoded);
  FUZZ_CHECK(tokenizers.regex->encode(text, false, same, error) == encodes);
  if (encodes) {
    FUZZ_CHECK(same == ids);
    FUZZ_CHECK(decoded == text);
  }
  // Bytes as ids: any order of tokens decodes.
  std::vector<int32_t> any;
  for (size_t i = 0; i + 1 < size; i += 2)
    any.push_back(data[i] | data[i + 1] << 8);
  m1rt::StreamingDecoder stream(*tokenizers.fast, true);
  std::string streamed;
  for (int32_t id : any)
    stream.push(id, &streamed);
  streamed += stream.finish();
  FUZZ_CHECK(streamed == tokenizers.fast->decode(any.data(), any.size(), true));
  return 0;
}
