// tokenizer.json and tokenizer_config.json to the prepared form that Tokenizer::load maps. Used by
// the compiler and by tools; the runtime does not need it.
#ifndef M1RT_TOKENIZER_PREPARE_H
#define M1RT_TOKENIZER_PREPARE_H

#include <cstdint>
#include <string>
#include <vector>

namespace m1rt {

struct PreparedTokenizer {
  std::string data; // for Tokenizer::load
  // The largest id that a token has, and one more.
  int64_t ids = 0;
  // The end token of tokenizer_config.json; -1 when it names none that the tokenizer has.
  int64_t eosId = -1;
  // From chat_template.jinja or chat_template.json next to tokenizer_config.json, or from that;
  // empty when absent.
  std::string chatTemplate;
  // From tokenizer_config.json; empty when absent.
  std::string bosToken, eosToken;
};

// `configPath` may be empty or name a missing file: then there is no chat template. False, with
// `error` naming the file and the field, when a file cannot be read or uses a construct that is not
// supported. Equal input gives equal bytes.
bool prepareTokenizer(const std::string &tokenizerPath, const std::string &configPath,
                      PreparedTokenizer &out, std::string &error);

// The same of the contents of tokenizer.json and tokenizer_config.json; errors name `path`.
bool prepareTokenizerText(const std::string &path, const std::string &tokenizer,
                          const std::string &config, PreparedTokenizer &out, std::string &error);

} // namespace m1rt

#endif
