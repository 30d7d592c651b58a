// The text side of an artifact: prompts to tokens, conversations through the chat template, tokens
// back to text as they come.
#ifndef M1RT_TEXT_MODEL_TEXT_H
#define M1RT_TEXT_MODEL_TEXT_H

#include "artifact/artifact.h"
#include "engine/engine.h"
#include "status.h"
#include "template/chat_template.h"
#include "text/control_tokens.h"
#include "tokenizer/tokenizer.h"
#include <memory>
#include <string>
#include <vector>

namespace m1rt {

class ModelText {
public:
  /// The artifact must outlive the result, which reads the tokenizer where it is mapped.
  /// `unsupported` when it was compiled without one.
  static Status load(const Artifact &artifact, std::unique_ptr<ModelText> *out);

  const Tokenizer &tokenizer() const { return *tokens; }
  bool hasChatTemplate() const { return !templateSource.empty(); }

  /// The text as it is; `addSpecial` puts the post-processor's tokens (begin of text) before it,
  /// unless the text begins with them itself. Control tokens written in the text become tokens with
  /// `parseSpecial`, otherwise they stay text.
  Status encode(const std::string &text, bool addSpecial, std::vector<int32_t> *out,
                bool parseSpecial = true) const;
  /// The conversation through the chat template, ready for the assistant's answer. Control tokens
  /// come from the template alone: those written in messages are text, unless `parseSpecial`.
  /// `variables`, if given, are the template's beside or instead of the usual ones.
  Status encodeChat(const std::vector<ChatMessage> &messages, std::vector<int32_t> *out,
                    bool parseSpecial = false, const jinja::Dict *variables = nullptr) const;
  /// The text that encodeChat encodes. `outBarriers`: where control tokens written in messages are
  /// broken; without it they are not.
  Status renderChat(const std::vector<ChatMessage> &messages, std::string *out,
                    Barriers *outBarriers = nullptr, const jinja::Dict *variables = nullptr) const;
  /// A conversation with all that a template may look at: `variables` holds messages, perhaps
  /// tools and others; generation prompt and the tokenizer's tokens are added. Control tokens
  /// written in any text of them are text. `outText`: what was encoded; may be null.
  Status encodeChat(const jinja::Dict &variables, std::vector<int32_t> *out,
                    std::string *outText) const;
  std::string decode(const std::vector<int32_t> &ids, bool skipSpecial) const;
  /// An error when no answer can ever hold this text: it is not UTF-8, or it holds a special token,
  /// which answers' texts are without.
  Status checkStopText(const std::string &text) const;

  /// For Engine: one decoder a sample. It must not outlive this.
  std::unique_ptr<TokenDecoder> createDecoder(bool skipSpecial) const;

private:
  ModelText() = default;
  jinja::Value marked(const jinja::Value &value, const std::string &marker, bool ofModel) const;
  std::unique_ptr<Tokenizer> tokens;
  std::string templateSource, bosToken, eosToken;
  std::unique_ptr<ControlTokens> controls;
  std::unique_ptr<ChatTemplate> chat;
  std::string chatError; // why the template does not parse: an error only for those who use it
};

} // namespace m1rt

#endif
