// tokenizer.json: refused, or what is made of it loads, encodes and decodes; the same bytes each
// time.
#include "json_mutator.h"
#include "tokenizer.h"
#include "tokenizer/prepare.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  return fuzz::mutateJson(data, size, largest, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static fuzz::MemoryFile file;
  file.set(fuzz::text(data, size));
  m1rt::PreparedTokenizer prepared, again;
  std::string error, decoded;
  if (!m1rt::prepareTokenizer(file.path(), "", prepared, error)) {
    FUZZ_CHECK(!error.empty());
    return 0;
  }
  if (size % 4 == 0) { // a third of the time when for each
    FUZZ_CHECK(m1rt::prepareTokenizer(file.path(), "", again, error));
    FUZZ_CHECK(again.data == prepared.data);
  }
  std::unique_ptr<m1rt::Tokenizer> tokenizer = m1rt::Tokenizer::load(prepared.data, error);
  if (!tokenizer) // a pattern that PCRE2 does not take
    return 0;
  FUZZ_CHECK(prepared.ids == tokenizer->vocabSize());
  std::vector<int32_t> ids;
  for (const char *text : {"Hello, world! 12345", "a  b\n\n<|end|>\xC3\xA4\xF0\x9F\x98\x80"})
    fuzz::encodeAndDecode(*tokenizer, text, ids, decoded);
  return 0;
}
