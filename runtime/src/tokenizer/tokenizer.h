// Text to token ids and back, as Hugging Face's tokenizers does it for byte-pair encoding of bytes
// (Llama 3, Qwen and their kin) and of characters (SentencePiece's: Llama 2, Gemma).
#ifndef M1RT_TOKENIZER_TOKENIZER_H
#define M1RT_TOKENIZER_TOKENIZER_H

#include "tokenizer/added_tokens.h"
#include "tokenizer/byte_pair.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace m1rt {

struct TokenizerOptions {
  // Run every pre-tokeniser pattern in PCRE2, also those that have a hand-written matcher.
  bool alwaysRegex = false;
};

// Immutable once loaded; every const function may be called from several threads.
class Tokenizer {
public:
  // `prepared` (what prepareTokenizer made) is borrowed and must outlive the tokenizer; its address
  // must be a multiple of 8. Null with `error` set when it is truncated, of another version or
  // inconsistent.
  static std::unique_ptr<Tokenizer> load(std::string_view prepared, std::string &error,
                                         TokenizerOptions options = {});

  // Largest id + 1 of a prepared tokenizer, without loading it; 0 when it is damaged.
  static uint32_t countIds(std::string_view prepared);

  // Appends the ids of `text` to `ids`. Special tokens in the text are recognised; `addSpecial`
  // also puts those of the post-processor's template around it. False, with `error` set and `ids`
  // unspecified, when the text is not UTF-8 or a byte has no token.
  bool encode(std::string_view text, bool addSpecial, std::vector<int32_t> &ids,
              std::string &error) const {
    return encode(text, addSpecial, {}, ids, error);
  }
  // The same for a text where no added token spans a barrier.
  bool encode(std::string_view text, bool addSpecial, const Barriers &barriers,
              std::vector<int32_t> &ids, std::string &error) const;

  struct Added {
    int32_t id;
    std::string_view content;
  };
  // Tokens that are found in the text itself, special or not.
  std::vector<Added> addedTokens() const;
  // What encode() puts before a text when asked.
  const std::vector<int32_t> &prefix() const { return prefixIds; }
  // Whether encoding looks at normal form C of a text.
  bool composes() const { return normalizer.composes(); }

  // The text of the ids; ill-formed UTF-8 (tokens may hold parts of characters) becomes U+FFFD. Ids
  // without a token are left out.
  std::string decode(const int32_t *ids, size_t count, bool skipSpecial) const;

  // What one token adds to the text, perhaps not whole characters. Empty for ids without a token.
  std::string_view tokenBytes(int32_t id) const;
  bool isSpecial(int32_t id) const;
  // Whether the token stands for one byte beside tokens of whole characters.
  bool isByte(int32_t id) const;
  // The id of an added token with this content, or of the token with these bytes; -1 when there is
  // none.
  int32_t findToken(std::string_view content) const;
  // Largest id + 1.
  int32_t vocabSize() const { return static_cast<int32_t>(tables.vocabSize); }

private:
  friend class TokenizerPreparation;
  friend class StreamingDecoder;
  Tokenizer() = default;
  bool bindSections(std::string_view prepared, std::string &error);
  bool bindTokens(std::string &error);
  bool bindMerges(std::string &error);
  bool bindAffixes(std::string &error);
  bool bindText(const TokenizerOptions &options, std::string &error);
  // `atStart`: the text is what the input begins with.
  bool encodeNormalized(std::string_view text, bool atStart, Barriers barriers,
                        BytePairScratch &scratch, std::vector<int32_t> &ids,
                        std::string &error) const;
  bool encodePieces(std::string_view text, bool atStart, BytePairScratch &scratch,
                    std::vector<int32_t> &ids, std::string &error) const;

  struct Span {
    const char *data = nullptr;
    size_t size = 0;
  };
  bool isToken(uint32_t id) const { return id < tables.vocabSize; }
  Span sections[static_cast<size_t>(tokenizer_format::Section::count)];
  template <typename T> const T *section(tokenizer_format::Section s, size_t &count) const {
    const Span &span = sections[static_cast<size_t>(s)];
    count = span.size / sizeof(T);
    return reinterpret_cast<const T *>(span.data);
  }

  MergeFilter filter;
  BytePairTables tables;
  Normalizer normalizer;
  // Of tokens that are spelled in characters: the decoder and what each shows as.
  bool spelled = false;
  tokenizer_format::DecoderSettings decoderSettings{};
  const uint32_t *shownOffsets = nullptr;
  const char *shownBytes = nullptr;
  AddedTokens rawTokens, normalizedTokens;
  PreTokenizer preTokenizer;
  PatternMatcher matcher;
  std::vector<int32_t> prefixIds, suffixIds;

  // Scratch is kept between calls: its cache is worth more than its memory.
  std::unique_ptr<BytePairScratch> takeScratch() const;
  void keepScratch(std::unique_ptr<BytePairScratch> scratch) const;
  mutable std::mutex scratchMutex;
  mutable std::vector<std::unique_ptr<BytePairScratch>> scratchPool;
};

// Turns ids that arrive one at a time into text. What it returns is always whole characters;
// joined, it equals decode().
class StreamingDecoder {
public:
  StreamingDecoder(const Tokenizer &tokenizer, bool skipSpecial);
  // Appends the text that became certain with this token, perhaps none.
  void push(int32_t id, std::string *out);
  // What is left at the end: U+FFFD if a character was cut off. The decoder may then be used anew.
  std::string finish();

private:
  const Tokenizer &tokenizer;
  bool skipSpecial;
  std::string pending; // the beginning of one character
  SpelledDecoder spelled;
};

} // namespace m1rt

#endif
