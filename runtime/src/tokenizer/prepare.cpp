#include "tokenizer/prepare.h"

#include "tokenizer/format.h"
#include "tokenizer/hash.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <unordered_map>

namespace m1rt {

using namespace tokenizer_format;
using Json = nlohmann::json;

namespace {

// Carries a message to prepareTokenizer, which adds the file.
struct PrepareError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void unsupported(const std::string &what) {
  throw PrepareError(what + " is not supported");
}

const Json &field(const Json &object, const char *key, const std::string &where) {
  auto it = object.find(key);
  if (it == object.end())
    throw PrepareError(where + ": missing field '" + key + "'");
  return *it;
}

bool flag(const Json &object, const char *key, bool absent) {
  auto it = object.find(key);
  return it == object.end() || it->is_null() ? absent : it->get<bool>();
}

bool isNullOrEmpty(const Json &object, const char *key) {
  auto it = object.find(key);
  return it == object.end() || it->is_null() || *it == "" || *it == 0;
}

std::string typeOf(const Json &object, const std::string &where) {
  if (!object.is_object())
    throw PrepareError(where + " is not an object");
  return field(object, "type", where).get<std::string>();
}

// GPT-2's byte alphabet: each byte has a printable character; those that are not printable take the
// ones from U+0100 on.
class ByteAlphabet {
public:
  ByteAlphabet() {
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE);
      byteOf[printable ? b : next++] = static_cast<int>(b);
    }
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

template <typename T> std::string bytesOf(const std::vector<T> &items) {
  return {reinterpret_cast<const char *>(items.data()), items.size() * sizeof(T)};
}

size_t slotsFor(size_t items) { // at most three quarters full
  size_t slots = 2;
  while (slots * 3 < items * 4)
    slots *= 2;
  return slots;
}

} // namespace

class TokenizerPreparation {
public:
  void read(const Json &json, const Json &config);
  std::string finish();

private:
  struct Token {
    std::string text;  // as the files spell it
    std::string bytes; // what it decodes to
    uint8_t flags = 0;
    bool isPiece = false; // in the model's vocabulary and made of the byte alphabet
  };
  void readModel(const Json &model);
  void readAddedTokens(const Json &json, const Json &config);
  void addToken(const Json &added, int64_t id);
  void readNormalizer(const Json &normalizer);
  void readPreTokenizer(const Json &pre);
  void readPostProcessor(const Json &post);
  void readTemplate(const Json &post);
  void readDecoder(const Json &decoder);
  void readLlamaSpecials(const Json &config);
  void addStage(StageKind kind, SplitBehavior behavior = SplitBehavior::isolated,
                bool invert = false, const std::string &pattern = {});
  Token &token(uint64_t id);
  int32_t specialId(const std::string &content) const;
  std::string write() const;

  ByteAlphabet alphabet;
  std::vector<Token> tokens;
  std::unordered_map<std::string, uint32_t> vocabulary; // the model's, by spelling
  std::unordered_map<std::string, uint32_t> addedIds;
  std::vector<MergeSlot> merges;
  std::vector<AddedToken> added;
  std::vector<Stage> stages;
  std::string strings;
  std::vector<int32_t> prefixIds, suffixIds;
  Settings settings{0, 0, -1, 0};
  bool ignoreMerges = false;
};

TokenizerPreparation::Token &TokenizerPreparation::token(uint64_t id) {
  if (id >= (1u << 26))
    throw PrepareError("token id " + std::to_string(id) + " is out of range");
  if (id >= tokens.size())
    tokens.resize(id + 1);
  return tokens[id];
}

void TokenizerPreparation::read(const Json &json, const Json &config) {
  if (!json.is_object())
    throw PrepareError("not a JSON object");
  readModel(field(json, "model", "tokenizer.json"));
  readAddedTokens(json, config);
  readNormalizer(json.value("normalizer", Json()));
  readPreTokenizer(json.value("pre_tokenizer", Json()));
  readPostProcessor(json.value("post_processor", Json()));
  readDecoder(json.value("decoder", Json()));
  readLlamaSpecials(config);
  // "truncation" and "padding" are defaults of batch calls, not part of the mapping from text to
  // ids.
}

void TokenizerPreparation::readModel(const Json &model) {
  std::string type = model.is_object() && model.contains("type") ? model["type"].get<std::string>()
                                                                 : "without a type";
  if (type != "BPE")
    unsupported("model.type '" + type + "' (only BPE)");
  for (const char *key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    if (!isNullOrEmpty(model, key))
      unsupported(std::string("model.") + key + " = " + model[key].dump());
  if (flag(model, "byte_fallback", false))
    unsupported("model.byte_fallback = true");
  ignoreMerges = flag(model, "ignore_merges", false);

  const Json &vocab = field(model, "vocab", "model");
  if (!vocab.is_object())
    throw PrepareError("model.vocab is not an object");
  for (const auto &item : vocab.items()) {
    uint64_t id = item.value().get<uint64_t>();
    Token &t = token(id);
    if (t.flags & present)
      throw PrepareError("model.vocab: id " + std::to_string(id) + " has two tokens");
    t.text = item.key();
    t.flags = present;
    t.isPiece = !t.text.empty() && alphabet.toBytes(t.text, t.bytes);
    if (!t.isPiece)
      t.bytes = t.text;
    vocabulary.emplace(t.text, static_cast<uint32_t>(id));
  }

  const Json &list = field(model, "merges", "model");
  if (!list.is_array())
    throw PrepareError("model.merges is not an array");
  merges.reserve(list.size());
  std::unordered_map<uint64_t, uint32_t> seen;
  seen.reserve(list.size());
  for (size_t rank = 0; rank < list.size(); ++rank) {
    std::string left, right;
    auto malformed = [&] {
      return PrepareError("model.merges[" + std::to_string(rank) + "] is not a pair of tokens");
    };
    if (list[rank].is_string()) {
      const std::string &pair = list[rank].get_ref<const std::string &>();
      size_t blank = pair.find(' ');
      if (blank == std::string::npos || pair.find(' ', blank + 1) != std::string::npos)
        throw malformed();
      left = pair.substr(0, blank);
      right = pair.substr(blank + 1);
    } else if (list[rank].is_array() && list[rank].size() == 2) {
      left = list[rank][0].get<std::string>();
      right = list[rank][1].get<std::string>();
    } else {
      throw malformed();
    }
    auto idOf = [&](const std::string &text) {
      auto it = vocabulary.find(text);
      if (it == vocabulary.end())
        throw PrepareError("model.merges[" + std::to_string(rank) + "]: '" + text +
                           "' is not in the vocabulary");
      return it->second;
    };
    MergeSlot m{idOf(left), idOf(right), static_cast<uint32_t>(rank), idOf(left + right)};
    // Of a pair that is listed twice the last rank counts, as in tokenizers' map.
    auto [it, isNew] = seen.emplace(static_cast<uint64_t>(m.left) << 32 | m.right,
                                    static_cast<uint32_t>(merges.size()));
    if (isNew)
      merges.push_back(m);
    else
      merges[it->second] = m;
  }

  if (flag(model, "fuse_unk", false))
    settings.flags |= fuseUnknown;
  if (!isNullOrEmpty(model, "unk_token")) {
    std::string unknown = model["unk_token"].get<std::string>();
    auto it = vocabulary.find(unknown);
    if (it == vocabulary.end())
      throw PrepareError("model.unk_token '" + unknown + "' is not in the vocabulary");
    settings.unknownId = static_cast<int32_t>(it->second);
  }
}

void TokenizerPreparation::addToken(const Json &item, int64_t id) {
  if (id < 0)
    throw PrepareError("an added token has a negative id");
  std::string content =
      field(item, "content", "added token " + std::to_string(id)).get<std::string>();
  if (addedIds.count(content))
    return;
  auto inModel = vocabulary.find(content);
  if (inModel != vocabulary.end() && inModel->second != id)
    throw PrepareError("added token '" + content + "' has id " + std::to_string(id) +
                       ", the vocabulary gives it id " + std::to_string(inModel->second));
  Token &t = token(static_cast<uint64_t>(id));
  if ((t.flags & present) && t.text != content)
    throw PrepareError("added token '" + content + "' has id " + std::to_string(id) +
                       ", which is that of '" + t.text + "'");
  if (inModel == vocabulary.end()) {
    t.text = content;
    // Decoders see added tokens in their spelling and map it like any token's.
    if (!alphabet.toBytes(content, t.bytes))
      t.bytes = content;
  }
  t.flags |= present;
  if (flag(item, "special", false))
    t.flags |= special;
  addedIds.emplace(content, static_cast<uint32_t>(id));
  uint32_t flags = (flag(item, "lstrip", false) ? addedLstrip : 0) |
                   (flag(item, "rstrip", false) ? addedRstrip : 0) |
                   (flag(item, "single_word", false) ? addedSingleWord : 0) |
                   (flag(item, "normalized", !flag(item, "special", false)) ? addedNormalized : 0);
  added.push_back({static_cast<uint32_t>(id), flags, static_cast<uint32_t>(strings.size()),
                   static_cast<uint32_t>(content.size())});
  strings += content;
}

void TokenizerPreparation::readAddedTokens(const Json &json, const Json &config) {
  Json list = json.value("added_tokens", Json::array());
  for (const Json &item : list)
    addToken(item, field(item, "id", "added_tokens").get<int64_t>());
  // transformers also adds those that only tokenizer_config.json knows.
  if (config.contains("added_tokens_decoder"))
    for (const auto &item : config["added_tokens_decoder"].items())
      addToken(item.value(), std::strtoll(item.key().c_str(), nullptr, 10));
}

void TokenizerPreparation::readNormalizer(const Json &normalizer) {
  if (normalizer.is_null())
    return;
  std::string type = typeOf(normalizer, "normalizer");
  if (type == "NFC") {
    settings.flags |= composeNfc;
  } else if (type == "Sequence") {
    for (const Json &item : field(normalizer, "normalizers", "normalizer"))
      readNormalizer(item);
  } else {
    unsupported("normalizer.type '" + type + "' (only NFC and Sequence)");
  }
}

void TokenizerPreparation::addStage(StageKind kind, SplitBehavior behavior, bool invert,
                                    const std::string &pattern) {
  stages.push_back({kind, behavior, invert, static_cast<uint32_t>(strings.size()),
                    static_cast<uint32_t>(pattern.size()), 0});
  strings += pattern;
}

void TokenizerPreparation::readPreTokenizer(const Json &pre) {
  if (pre.is_null())
    unsupported("a missing pre_tokenizer (only byte-level ones)");
  static const std::map<std::string, SplitBehavior> behaviors = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::mergedWithPrevious},
      {"MergedWithNext", SplitBehavior::mergedWithNext},
      {"Contiguous", SplitBehavior::contiguous}};
  // The last step must be ByteLevel: everything before it works on text, byte-pair encoding works
  // on bytes.
  std::vector<const Json *> steps;
  auto flatten = [&](auto &self, const Json &item) -> void {
    if (typeOf(item, "pre_tokenizer") == "Sequence")
      for (const Json &child : field(item, "pretokenizers", "pre_tokenizer"))
        self(self, child);
    else
      steps.push_back(&item);
  };
  flatten(flatten, pre);
  for (size_t i = 0; i < steps.size(); ++i) {
    const Json &step = *steps[i];
    std::string type = typeOf(step, "pre_tokenizer");
    if (type == "ByteLevel") {
      if (i + 1 != steps.size())
        unsupported("pre_tokenizer: '" + typeOf(*steps[i + 1], "pre_tokenizer") +
                    "' after ByteLevel");
      if (flag(step, "add_prefix_space", true))
        addStage(StageKind::prefixSpace);
      if (flag(step, "use_regex", true))
        addStage(StageKind::splitRegex, SplitBehavior::isolated, false, kGpt2Pattern);
      return;
    }
    if (type == "Split") {
      const Json &pattern = field(step, "pattern", "pre_tokenizer");
      std::string name = field(step, "behavior", "pre_tokenizer").get<std::string>();
      auto behavior = behaviors.find(name);
      if (behavior == behaviors.end())
        unsupported("pre_tokenizer: Split behavior '" + name + "'");
      bool isRegex = pattern.contains("Regex");
      if (!isRegex && !pattern.contains("String"))
        unsupported("pre_tokenizer: Split pattern " + pattern.dump());
      addStage(isRegex ? StageKind::splitRegex : StageKind::splitLiteral, behavior->second,
               flag(step, "invert", false),
               pattern[isRegex ? "Regex" : "String"].get<std::string>());
    } else if (type == "Digits") {
      addStage(StageKind::splitRegex,
               flag(step, "individual_digits", false) ? SplitBehavior::isolated
                                                      : SplitBehavior::contiguous,
               false, "\\p{N}");
    } else {
      unsupported("pre_tokenizer.type '" + type + "' (only Split, Digits, ByteLevel and Sequence)");
    }
  }
  unsupported("a pre_tokenizer without ByteLevel");
}

int32_t TokenizerPreparation::specialId(const std::string &content) const {
  auto it = addedIds.find(content);
  if (it != addedIds.end())
    return static_cast<int32_t>(it->second);
  auto inModel = vocabulary.find(content);
  if (inModel != vocabulary.end())
    return static_cast<int32_t>(inModel->second);
  throw PrepareError("special token '" + content + "' is not in the vocabulary");
}

void TokenizerPreparation::readPostProcessor(const Json &post) {
  if (post.is_null())
    return;
  std::string type = typeOf(post, "post_processor");
  if (type == "ByteLevel") {
    // Changes offsets only.
  } else if (type == "Sequence") {
    for (const Json &item : field(post, "processors", "post_processor"))
      readPostProcessor(item);
  } else if (type == "TemplateProcessing") {
    readTemplate(post);
  } else {
    unsupported("post_processor.type '" + type +
                "' (only TemplateProcessing, ByteLevel and Sequence)");
  }
}

void TokenizerPreparation::readTemplate(const Json &post) {
  const Json &specials = field(post, "special_tokens", "post_processor");
  std::vector<int32_t> before, after;
  int sequences = 0;
  for (const Json &item : field(post, "single", "post_processor")) {
    if (item.contains("Sequence")) {
      if (++sequences > 1 || field(item["Sequence"], "id", "post_processor.single") != "A")
        unsupported("post_processor.single with sequences other than one A");
    } else if (item.contains("SpecialToken")) {
      std::string name =
          field(item["SpecialToken"], "id", "post_processor.single").get<std::string>();
      if (!specials.contains(name))
        throw PrepareError("post_processor.special_tokens: missing '" + name + "'");
      for (const Json &id : field(specials[name], "ids", "post_processor.special_tokens")) {
        uint64_t value = id.get<uint64_t>();
        if (value >= tokens.size() || !(tokens[value].flags & present))
          throw PrepareError("post_processor.special_tokens: no token has id " +
                             std::to_string(value));
        (sequences ? after : before).push_back(static_cast<int32_t>(value));
      }
    } else {
      unsupported("post_processor.single item " + item.dump());
    }
  }
  if (sequences != 1)
    unsupported("post_processor.single without the sequence A");
  prefixIds.insert(prefixIds.begin(), before.begin(), before.end());
  suffixIds.insert(suffixIds.end(), after.begin(), after.end());
}

void TokenizerPreparation::readDecoder(const Json &decoder) {
  std::string type = decoder.is_null() ? "null" : typeOf(decoder, "decoder");
  if (type == "Sequence" && decoder.contains("decoders") && decoder["decoders"].size() == 1)
    return readDecoder(decoder["decoders"][0]);
  if (type != "ByteLevel")
    unsupported("decoder.type '" + type + "' (only ByteLevel)");
}

// LlamaTokenizer's class in transformers replaces the template by what add_bos_token and
// add_eos_token say.
void TokenizerPreparation::readLlamaSpecials(const Json &config) {
  std::string name = config.value("tokenizer_class", Json("")).is_string()
                         ? config.value("tokenizer_class", "")
                         : "";
  if (name != "LlamaTokenizer" && name != "LlamaTokenizerFast")
    return;
  auto ids = [&](const char *key, const char *switchKey, bool absent) {
    std::vector<int32_t> result;
    if (flag(config, switchKey, absent) && config.contains(key) && !config[key].is_null())
      result.push_back(specialId(config[key].is_object() ? config[key]["content"].get<std::string>()
                                                         : config[key].get<std::string>()));
    return result;
  };
  prefixIds = ids("bos_token", "add_bos_token", true);
  suffixIds = ids("eos_token", "add_eos_token", false);
}

std::string TokenizerPreparation::write() const {
  std::vector<uint32_t> offsets(1, 0);
  std::string bytes;
  std::vector<uint8_t> flags;
  size_t pieces = 0;
  for (const Token &t : tokens) {
    bytes += t.bytes;
    if (bytes.size() > 0xFFFFFFF0u)
      throw PrepareError("model.vocab holds more than 4 GB of text");
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
    flags.push_back(t.flags);
    pieces += t.isPiece;
  }

  std::vector<PieceSlot> pieceSlots(slotsFor(pieces), PieceSlot{0, kEmpty});
  std::vector<int32_t> byteIds(256, -1);
  Settings final = settings;
  final.vocabSize = static_cast<uint32_t>(tokens.size());
  for (uint32_t id = 0; id < tokens.size(); ++id) {
    const Token &t = tokens[id];
    if (!t.isPiece)
      continue;
    uint64_t hash = hashPiece(t.bytes.data(), t.bytes.size());
    size_t slot = static_cast<uint32_t>(hash) & (pieceSlots.size() - 1);
    while (pieceSlots[slot].id != kEmpty)
      slot = (slot + 1) & (pieceSlots.size() - 1);
    pieceSlots[slot] = {static_cast<uint32_t>(hash >> 32), id};
    final.longestPiece = std::max(final.longestPiece, static_cast<uint32_t>(t.bytes.size()));
    if (t.bytes.size() == 1)
      byteIds[static_cast<unsigned char>(t.bytes[0])] = static_cast<int32_t>(id);
  }
  std::vector<MergeSlot> mergeSlots(slotsFor(merges.size()), MergeSlot{0, 0, 0, kEmpty});
  for (const MergeSlot &m : merges) {
    size_t slot = static_cast<uint32_t>(hashPair(m.left, m.right)) & (mergeSlots.size() - 1);
    while (mergeSlots[slot].merged != kEmpty)
      slot = (slot + 1) & (mergeSlots.size() - 1);
    mergeSlots[slot] = m;
  }

  const std::string contents[] = {bytesOf(std::vector<Settings>{final}),
                                  bytesOf(offsets),
                                  bytes,
                                  bytesOf(flags),
                                  bytesOf(pieceSlots),
                                  bytesOf(mergeSlots),
                                  bytesOf(byteIds),
                                  bytesOf(added),
                                  bytesOf(stages),
                                  strings,
                                  bytesOf(prefixIds),
                                  bytesOf(suffixIds)};
  constexpr size_t count = static_cast<size_t>(Section::count);
  static_assert(sizeof contents / sizeof *contents == count, "");
  std::string file(sizeof(FileHeader) + count * sizeof(SectionEntry), '\0');
  for (size_t i = 0; i < count; ++i) {
    file.resize((file.size() + 7) / 8 * 8);
    SectionEntry entry{static_cast<uint32_t>(i), 0, file.size(), contents[i].size()};
    std::memcpy(&file[sizeof(FileHeader) + i * sizeof entry], &entry, sizeof entry);
    file += contents[i];
  }
  FileHeader header{{}, kVersion, static_cast<uint32_t>(count), file.size()};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::memcpy(&file[0], &header, sizeof header);
  return file;
}

std::string TokenizerPreparation::finish() {
  for (Token &t : tokens)
    if (ignoreMerges && t.isPiece)
      t.flags |= wholePiece;
  std::string file = write(), error;
  std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(file, error);
  if (!tokenizer) // for instance a pattern that does not compile
    throw PrepareError(error);
  if (ignoreMerges)
    return file;
  // Without ignore_merges a whole piece may be looked up only where merging leads to the same
  // token.
  BytePairEncoder encoder(tokenizer->tables);
  BytePairScratch scratch;
  std::vector<int32_t> ids;
  size_t missing = 0;
  for (uint32_t id = 0; id < tokens.size(); ++id) {
    ids.clear();
    if (tokens[id].isPiece && encoder.merge(tokens[id].bytes, scratch, ids, missing) &&
        ids.size() == 1 && ids[0] == static_cast<int32_t>(id))
      tokens[id].flags |= wholePiece;
  }
  return write();
}

namespace {

std::string readFile(const std::string &path, bool &exists) {
  std::ifstream file(path, std::ios::binary);
  exists = static_cast<bool>(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Json parse(const std::string &text) {
  // nlohmann's message holds the byte offset.
  return Json::parse(text);
}

std::string tokenText(const Json &config, const char *key) {
  auto it = config.find(key);
  if (it == config.end() || it->is_null())
    return {};
  if (it->is_object())
    return field(*it, "content", key).get<std::string>();
  return it->get<std::string>();
}

std::string chatTemplateOf(const Json &config) {
  auto it = config.find("chat_template");
  if (it == config.end() || it->is_null())
    return {};
  if (it->is_string())
    return it->get<std::string>();
  // A list of named templates: the default one.
  for (const Json &item : *it)
    if (field(item, "name", "chat_template") == "default")
      return field(item, "template", "chat_template").get<std::string>();
  throw PrepareError("chat_template: none of the named templates is 'default'");
}

} // namespace

bool prepareTokenizer(const std::string &tokenizerPath, const std::string &configPath,
                      PreparedTokenizer &out, std::string &error) {
  std::string path = configPath;
  try {
    bool exists = false;
    Json config = Json::object();
    if (!configPath.empty()) {
      std::string text = readFile(configPath, exists);
      if (exists)
        config = parse(text);
      if (!config.is_object())
        throw PrepareError("not a JSON object");
      out.bosToken = tokenText(config, "bos_token");
      out.eosToken = tokenText(config, "eos_token");
      out.chatTemplate = chatTemplateOf(config);
      // Newer checkpoints keep the template in a file of its own, which comes first.
      size_t slash = configPath.rfind('/');
      std::string jinja =
          readFile((slash == std::string::npos ? "" : configPath.substr(0, slash + 1)) +
                       "chat_template.jinja",
                   exists);
      if (exists)
        out.chatTemplate = jinja;
    }
    path = tokenizerPath;
    std::string text = readFile(tokenizerPath, exists);
    if (!exists)
      throw PrepareError("cannot be read");
    TokenizerPreparation preparation;
    preparation.read(parse(text), config);
    out.data = preparation.finish();
    return true;
  } catch (const std::exception &e) {
    error = path + ": " + e.what();
    return false;
  }
}

} // namespace m1rt
