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
  // From tokenizer_config.json (or chat_template.jinja next to it); empty when absent.
  std::string chatTemplate, bosToken, eosToken;
};

// `configPath` may be empty or name a missing file: then there is no chat template. False, with
// `error` naming the file and the field, when a file cannot be read or uses a construct that is not
// supported. Equal input gives equal bytes.
bool prepareTokenizer(const std::string &tokenizerPath, const std::string &configPath,
                      PreparedTokenizer &out, std::string &error);

} // namespace m1rt

#endif
