// The work of prepareTokenizer: what is read of the files, and what is written of it.
#ifndef M1RT_TOKENIZER_PREPARATION_H
#define M1RT_TOKENIZER_PREPARATION_H

#include "base/json_value.h"
#include "tokenizer/format.h"
#include "tokenizer/unicode.h"

#include <algorithm>
#include <stdexcept>
#include <unordered_map>

namespace m1rt {

using Json = nlohmann::json;

// Carries a message to prepareTokenizer, which adds the file.
struct PrepareError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void unsupported(const std::string &what) {
  throw PrepareError(what + " is not supported");
}

inline const Json &field(const Json &object, const char *key, const std::string &where) {
  auto it = object.find(key);
  if (it == object.end())
    throw PrepareError(where + ": missing field '" + key + "'");
  return *it;
}

inline bool flag(const Json &object, const char *key, bool absent) {
  auto it = object.find(key);
  return it == object.end() || it->is_null() ? absent : it->get<bool>();
}

inline bool isNullOrEmpty(const Json &object, const char *key) {
  auto it = object.find(key);
  return it == object.end() || it->is_null() || *it == "" || *it == 0;
}

inline std::string typeOf(const Json &object, const std::string &where) {
  if (!object.is_object())
    throw PrepareError(where + " is not an object");
  return field(object, "type", where).get<std::string>();
}

// Bytes by the characters that spell them.
class ByteAlphabet {
public:
  ByteAlphabet() {
    for (int b = 0; b < 256; ++b)
      byteOf[spellingOfByte(static_cast<unsigned char>(b))] = b;
  }
  // The bytes that a token's string stands for; false when a character is not of the alphabet.
  bool toBytes(const std::string &token, std::string &bytes) const {
    bytes.clear();
    for (size_t at = 0; at < token.size();) {
      uint32_t c = decodeUtf8(token.data(), at);
      auto it = byteOf.find(c);
      if (it == byteOf.end())
        return false;
      bytes += static_cast<char>(it->second);
    }
    return true;
  }

private:
  std::unordered_map<uint32_t, int> byteOf;
};

class TokenizerPreparation {
public:
  // `fileBytes`: of both files.
  explicit TokenizerPreparation(size_t fileBytes)
      : idLimit(std::min(kFewIds + fileBytes, kMostIds)) {}
  void read(const Json &json, const Json &config);
  std::string finish();
  size_t idCount() const { return tokens.size(); }
  // -1: no token is spelt so.
  int32_t findId(const std::string &content) const;

private:
  struct Token {
    std::string text;  // as the files spell it, or what that is when normalised, of added tokens
    std::string bytes; // what merging makes it of: of bytes what it decodes to, else its spelling
    std::string shown; // what it decodes to, where that is not its bytes
    uint8_t flags = 0;
    bool isPiece = false; // in the model's vocabulary and, of bytes, made of the byte alphabet
  };
  void readModel(const Json &model);
  void readAddedTokens(const Json &json, const Json &config);
  void addToken(const Json &added, int64_t id);
  void normalizeAddedTokens();
  void readNormalizer(const Json &normalizer);
  void readPreTokenizer(const Json &pre);
  void readPostProcessor(const Json &post);
  void readTemplate(const Json &post);
  void readDecoder(const Json &decoder);
  void readLlamaSpecials(const Json &config);
  void addNormalizer(tokenizer_format::NormalizerKind kind, const std::string &pattern = {},
                     const std::string &content = {});
  void addPreTokenizer(const Json &step, bool ofSpelling);
  static bool hasByteLevel(const Json &pre);
  uint32_t addString(const std::string &text);
  void
  addStage(tokenizer_format::StageKind kind,
           tokenizer_format::SplitBehavior behavior = tokenizer_format::SplitBehavior::isolated,
           bool invert = false, const std::string &pattern = {}, uint32_t flags = 0);
  Token &token(uint64_t id);
  int32_t specialId(const std::string &content) const;
  std::string write() const;

  // Ids may have holes, but what a file makes us allocate is bounded by its size: each token takes
  // some bytes of it.
  static constexpr uint64_t kFewIds = 1 << 18, kMostIds = 1 << 26;
  uint64_t idLimit;

  ByteAlphabet alphabet;
  std::vector<Token> tokens;
  std::unordered_map<std::string, uint32_t> vocabulary; // the model's, by spelling
  std::unordered_map<std::string, uint32_t> addedIds;
  std::vector<tokenizer_format::MergeSlot> merges;
  std::vector<tokenizer_format::AddedToken> added;
  std::vector<tokenizer_format::Stage> stages;
  std::vector<tokenizer_format::NormalizerStep> normalizers;
  std::vector<tokenizer_format::DecoderSettings> decoders; // of spellings: one
  bool ofCharacters = false;                               // no ByteLevel anywhere
  std::string strings;
  std::vector<int32_t> prefixIds, suffixIds;
  tokenizer_format::Settings settings{0, 0, -1, 0};
  bool ignoreMerges = false;
};

} // namespace m1rt

#endif
