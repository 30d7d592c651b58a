// The work of prepareTokenizer: what is read of the files, and what is written of it.
#ifndef M1RT_TOKENIZER_PREPARATION_H
#define M1RT_TOKENIZER_PREPARATION_H

#include "base/json_value.h"
#include "base/shortened.h"
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

// A value that is not what its place asks for; a long one is cut.
[[noreturn]] inline void unexpected(const std::string &where, const std::string &expected,
                                    const Json &value) {
  throw PrepareError(where + ": expected " + expected + ", got " + shortened(value.dump()));
}

inline const std::string &stringOf(const Json &value, const std::string &where) {
  if (!value.is_string())
    unexpected(where, "a string", value);
  return value.get_ref<const std::string &>();
}

// Not of true, 1.5 or -1, which nlohmann's own conversion takes for numbers.
inline uint64_t countOf(const Json &value, const std::string &where) {
  if (!value.is_number_unsigned())
    unexpected(where, "an integer from 0", value);
  return value.get<uint64_t>();
}

inline const Json &listOf(const Json &value, const std::string &where) {
  if (!value.is_array())
    unexpected(where, "a list", value);
  return value;
}

inline const Json &field(const Json &object, const char *key, const std::string &where) {
  if (!object.is_object())
    unexpected(where, "an object", object);
  auto it = object.find(key);
  if (it == object.end())
    throw PrepareError(where + ": missing field '" + key + "'");
  return *it;
}

inline bool flag(const Json &object, const char *key, bool absent) {
  auto it = object.find(key);
  if (it == object.end() || it->is_null())
    return absent;
  if (!it->is_boolean())
    unexpected(std::string("field '") + key + "'", "true or false", *it);
  return it->get<bool>();
}

inline const std::string &stringField(const Json &object, const char *key,
                                      const std::string &where) {
  return stringOf(field(object, key, where), where + "." + key);
}

inline const Json &listField(const Json &object, const char *key, const std::string &where) {
  return listOf(field(object, key, where), where + "." + key);
}

// `absent` when it is not there.
inline std::string stringField(const Json &object, const char *key, const std::string &where,
                               const char *absent) {
  return object.contains(key) ? stringField(object, key, where) : absent;
}

// A special token of tokenizer_config.json: its text, or an object that holds it; empty without.
inline std::string specialToken(const Json &config, const char *key) {
  auto it = config.find(key);
  if (it == config.end() || it->is_null())
    return {};
  if (it->is_object())
    return stringField(*it, "content", key);
  if (!it->is_string())
    unexpected(key, "a string or {\"content\": …}", *it);
  return it->get<std::string>();
}

inline bool isNullOrEmpty(const Json &object, const char *key) {
  auto it = object.find(key);
  return it == object.end() || it->is_null() || *it == "" || *it == 0;
}

inline std::string typeOf(const Json &object, const std::string &where) {
  if (!object.is_object())
    throw PrepareError(where + " is not an object");
  return stringField(object, "type", where);
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
