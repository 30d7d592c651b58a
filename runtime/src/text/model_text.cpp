#include "text/model_text.h"

namespace m1rt {

namespace {

class StreamTokenDecoder : public TokenDecoder {
public:
  StreamTokenDecoder(const Tokenizer &tokenizer, bool skipSpecial)
      : stream(tokenizer, skipSpecial) {}
  void append(int32_t token, std::string *out) override { *out += stream.push(token); }
  void finish(std::string *out) override { *out += stream.finish(); }

private:
  StreamingDecoder stream;
};

} // namespace

Status ModelText::load(const Artifact &artifact, std::unique_ptr<ModelText> *out) {
  const schema::Tokenizer *table = artifact.module().tokenizer();
  if (!table || !table->data() || table->data()->size() == 0)
    return error(
        StatusCode::unsupported,
        "%s: compiled without a tokenizer (the model directory had no tokenizer.json); only token "
        "ids can be given",
        artifact.path().c_str());
  Bytes bytes = artifact.segment(*table->data());
  std::unique_ptr<ModelText> text(new ModelText);
  std::string message;
  text->tokens = Tokenizer::load({reinterpret_cast<const char *>(bytes.data), bytes.size}, message);
  if (!text->tokens)
    return error(StatusCode::corrupt, "%s: %s", artifact.path().c_str(), message.c_str());
  auto copy = [](const flatbuffers::String *s) { return s ? s->str() : std::string(); };
  text->templateSource = copy(table->chat_template());
  text->bosToken = copy(table->bos_token());
  text->eosToken = copy(table->eos_token());
  if (text->hasChatTemplate())
    text->chat = ChatTemplate::parse(text->templateSource, text->chatError);
  *out = std::move(text);
  return Status();
}

Status ModelText::encode(const std::string &text, bool addSpecial,
                         std::vector<int32_t> *out) const {
  std::string message;
  out->clear();
  if (!tokens->encode(text, addSpecial, *out, message))
    return error(StatusCode::invalidArgument, "%s", message.c_str());
  return Status();
}

Status ModelText::renderChat(const std::vector<ChatMessage> &messages, std::string *out) const {
  if (!hasChatTemplate())
    return error(StatusCode::unsupported, "the model has no chat template; give the prompt raw");
  std::string message = chatError;
  if (!chat || !chat->apply(messages, true, bosToken, eosToken, *out, message))
    return error(chat ? StatusCode::invalidArgument : StatusCode::unsupported, "%s",
                 message.c_str());
  return Status();
}

Status ModelText::encodeChat(const std::vector<ChatMessage> &messages,
                             std::vector<int32_t> *out) const {
  std::string text;
  M1_TRY(renderChat(messages, &text));
  return encode(text, false, out);
}

std::string ModelText::decode(const std::vector<int32_t> &ids, bool skipSpecial) const {
  return tokens->decode(ids.data(), ids.size(), skipSpecial);
}

Status ModelText::checkStopText(const std::string &text) const {
  std::vector<int32_t> ids;
  if (Status status = encode(text, false, &ids); !status.ok())
    return std::move(status).prefixed("stop string cannot match");
  for (int32_t id : ids)
    if (tokens->isSpecial(id))
      return error(StatusCode::invalidArgument,
                   "stop string \"%s\" cannot match: \"%s\" is a special token, which is no part "
                   "of the text; "
                   "stop at token %d",
                   text.c_str(), std::string(tokens->tokenBytes(id)).c_str(), id);
  return Status();
}

std::unique_ptr<TokenDecoder> ModelText::createDecoder(bool skipSpecial) const {
  return std::make_unique<StreamTokenDecoder>(*tokens, skipSpecial);
}

} // namespace m1rt
