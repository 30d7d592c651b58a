#include "text/model_text.h"

#include "tokenizer/unicode.h"
#include <algorithm>

namespace m1rt {

namespace {

class StreamTokenDecoder : public TokenDecoder {
public:
  StreamTokenDecoder(const Tokenizer &tokenizer, bool skipSpecial)
      : stream(tokenizer, skipSpecial) {}
  void append(int32_t token, std::string *out) override { stream.push(token, out); }
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
  text->controls = std::make_unique<ControlTokens>(*text->tokens, text->templateSource);
  *out = std::move(text);
  return Status();
}

Status ModelText::encode(const std::string &text, bool addSpecial, std::vector<int32_t> *out,
                         bool parseSpecial) const {
  std::string message, composed;
  Barriers barriers;
  const std::string *source = &text;
  if (!parseSpecial) {
    if (tokens->composes() && mayNeedComposition(text))
      source = &(composed = composeCanonically(text));
    barriers = controls->barriers(*source);
  }
  out->clear();
  if (!tokens->encode(*source, addSpecial, barriers, *out, message))
    return error(StatusCode::invalidArgument, "%s", message.c_str());
  const std::vector<int32_t> &prefix = tokens->prefix();
  if (addSpecial && !prefix.empty() && out->size() >= 2 * prefix.size() &&
      std::equal(prefix.begin(), prefix.end(), out->begin() + ptrdiff_t(prefix.size())))
    out->erase(out->begin(), out->begin() + ptrdiff_t(prefix.size()));
  return Status();
}

Status ModelText::renderChat(const std::vector<ChatMessage> &messages, std::string *out,
                             Barriers *outBarriers, const jinja::Dict *variables) const {
  if (!hasChatTemplate())
    return error(StatusCode::unsupported, "the model has no chat template; give the prompt raw");
  std::string message = chatError;
  std::vector<ChatMessage> marked;
  std::string marker;
  if (outBarriers) {
    std::vector<std::string_view> texts = {templateSource, bosToken, eosToken};
    for (const ChatMessage &m : messages)
      texts.insert(texts.end(), {m.role, m.content});
    marker = ControlTokens::chooseMarker(texts);
    if (marker.empty())
      return error(StatusCode::invalidArgument,
                   "the messages hold all of the noncharacters U+FDD0 to U+FDEF");
    for (const ChatMessage &m : messages) {
      std::string content = tokens->composes() && mayNeedComposition(m.content)
                                ? composeCanonically(m.content)
                                : m.content;
      marked.push_back({controls->mark(m.role, marker, false),
                        controls->mark(content, marker, m.role == "assistant")});
    }
  }
  if (!chat || !chat->apply(outBarriers ? marked : messages, true, bosToken, eosToken, *out,
                            message, variables))
    return error(chat ? StatusCode::invalidArgument : StatusCode::unsupported, "%s",
                 message.c_str());
  if (outBarriers)
    *out = ControlTokens::unmark(*out, marker, outBarriers);
  return Status();
}

Status ModelText::encodeChat(const std::vector<ChatMessage> &messages, std::vector<int32_t> *out,
                             bool parseSpecial, const jinja::Dict *variables) const {
  std::string text, message;
  Barriers barriers;
  M1_TRY(renderChat(messages, &text, parseSpecial ? nullptr : &barriers, variables));
  out->clear();
  if (!tokens->encode(text, false, barriers, *out, message))
    return error(StatusCode::invalidArgument, "%s", message.c_str());
  return Status();
}

static void collectTexts(const jinja::Value &value, std::vector<std::string_view> *out) {
  if (value.is(jinja::Value::Kind::string))
    out->push_back(value.text());
  if (value.isSequence())
    for (const jinja::Value &item : value.items())
      collectTexts(item, out);
  if (value.is(jinja::Value::Kind::dict))
    for (const auto &[key, item] : value.entries().items()) {
      collectTexts(key, out);
      collectTexts(item, out);
    }
}

/// A copy with the marker in every control token. `ofModel`: within what the model itself has said.
jinja::Value ModelText::marked(const jinja::Value &value, const std::string &marker,
                               bool ofModel) const {
  if (value.is(jinja::Value::Kind::string)) {
    const std::string text = jinja::plain(value.text());
    return controls->mark(tokens->composes() && mayNeedComposition(text) ? composeCanonically(text)
                                                                         : text,
                          marker, ofModel);
  }
  if (value.is(jinja::Value::Kind::list)) {
    jinja::List items;
    for (const jinja::Value &item : value.items())
      items.push_back(marked(item, marker, ofModel));
    return items;
  }
  if (value.is(jinja::Value::Kind::dict)) {
    const jinja::Value *role = value.entries().find(std::string_view("role"));
    ofModel |= role && role->is(jinja::Value::Kind::string) && role->text() == "assistant";
    jinja::Dict dict;
    for (const auto &[key, item] : value.entries().items())
      dict.set(marked(key, marker, false), marked(item, marker, ofModel));
    return dict;
  }
  return value;
}

Status ModelText::encodeChat(const jinja::Dict &variables, std::vector<int32_t> *out,
                             std::string *outText) const {
  if (!hasChatTemplate())
    return error(StatusCode::unsupported, "the model has no chat template; give the prompt raw");
  std::vector<std::string_view> texts = {templateSource, bosToken, eosToken};
  const jinja::Value all(variables);
  collectTexts(all, &texts);
  const std::string marker = ControlTokens::chooseMarker(texts);
  if (marker.empty())
    return error(StatusCode::invalidArgument,
                 "the messages hold all of the noncharacters U+FDD0 to U+FDEF");
  jinja::Dict given;
  given.set("tools", nullptr);
  given.set("documents", nullptr);
  const jinja::Value safe = marked(all, marker, false);
  for (const auto &[key, item] : safe.entries().items())
    given.set(key, item);
  given.set("add_generation_prompt", true);
  given.set("bos_token", bosToken);
  given.set("eos_token", eosToken);
  std::string message = chatError, text;
  if (!chat || !chat->render(given, std::time(nullptr), text, message))
    return error(chat ? StatusCode::invalidArgument : StatusCode::unsupported, "%s",
                 message.c_str());
  Barriers barriers;
  text = ControlTokens::unmark(text, marker, &barriers);
  out->clear();
  if (!tokens->encode(text, false, barriers, *out, message))
    return error(StatusCode::invalidArgument, "%s", message.c_str());
  if (outText)
    *outText = std::move(text);
  return Status();
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
