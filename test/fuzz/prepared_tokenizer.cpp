// A prepared tokenizer, as an artifact holds it: refused, or it encodes and decodes.
#include "tokenizer.h"
#include "tokenizer/prepare.h"
#include <algorithm>
#include <cstring>
#include <random>

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t largest);

/// Begins with a small tokenizer; tables are long, so that one of them is chosen by its size.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  static const std::string whole = [] {
    m1rt::PreparedTokenizer prepared;
    std::string error;
    FUZZ_CHECK(m1rt::prepareTokenizer(M1_FUZZ_TOKENIZER, "", prepared, error));
    return prepared.data;
  }();
  if (size < whole.size() / 2 && largest >= whole.size()) {
    std::copy(whole.begin(), whole.end(), data);
    size = whole.size();
  }
  // A few places, the beginning (where the sections stand) as often as all the rest.
  std::minstd_rand random(seed);
  for (unsigned i = 1 + random() % 4; i > 0 && size > 0; --i) {
    const size_t bound = random() % 2 ? std::min<size_t>(size, 512) : size, at = random() % bound;
    const size_t length = std::min<size_t>(size - at, 8);
    LLVMFuzzerMutate(data + at, length, length);
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::vector<uint64_t> aligned((size + 7) / 8);
  if (size)
    std::memcpy(aligned.data(), data, size);
  const std::string_view prepared(reinterpret_cast<const char *>(aligned.data()), size);
  (void)m1rt::Tokenizer::countIds(prepared);
  std::string error, decoded;
  std::unique_ptr<m1rt::Tokenizer> tokenizer = m1rt::Tokenizer::load(prepared, error);
  if (!tokenizer) {
    FUZZ_CHECK(!error.empty());
    return 0;
  }
  std::vector<int32_t> ids;
  for (const char *text : {"", "Hello, world! 12345", "a  b\n\n<|end|>\xC3\xA4\xF0\x9F\x98\x80"})
    fuzz::encodeAndDecode(*tokenizer, text, ids, decoded);
  const int32_t strange[] = {
      -1, 0, 1, tokenizer->vocabSize() - 1, tokenizer->vocabSize(), INT32_MAX, INT32_MIN};
  (void)tokenizer->decode(strange, std::size(strange), true);
  for (int32_t id : strange)
    (void)tokenizer->tokenBytes(id), (void)tokenizer->isSpecial(id), (void)tokenizer->isByte(id);
  return 0;
}
