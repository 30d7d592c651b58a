#include "tokenizer/prepare.h"

#include "base/foreign_file.h"
#include "tokenizer/hash.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/preparation.h"
#include "tokenizer/tokenizer.h"

#include <cerrno>
#include <charconv>
#include <cstring>

#include <sys/stat.h>

namespace m1rt {

using namespace tokenizer_format;

namespace {

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

TokenizerPreparation::Token &TokenizerPreparation::token(uint64_t id) {
  if (id >= idLimit)
    throw PrepareError("token id " + std::to_string(id) + ": expected less than " +
                       std::to_string(idLimit) + " in a file of this size");
  if (id >= tokens.size())
    tokens.resize(id + 1);
  return tokens[id];
}

void TokenizerPreparation::read(const Json &json, const Json &config) {
  if (!json.is_object())
    throw PrepareError("not a JSON object");
  ofCharacters = !hasByteLevel(json.value("pre_tokenizer", Json()));
  readModel(field(json, "model", "tokenizer.json"));
  readAddedTokens(json, config);
  readNormalizer(json.value("normalizer", Json()));
  normalizeAddedTokens();
  readPreTokenizer(json.value("pre_tokenizer", Json()));
  readPostProcessor(json.value("post_processor", Json()));
  readDecoder(json.value("decoder", Json()));
  readLlamaSpecials(config);
  // "truncation" and "padding" are defaults of batch calls, not part of the mapping from text to
  // ids.
}

void TokenizerPreparation::readModel(const Json &model) {
  std::string type = model.is_object() && model.contains("type")
                         ? stringField(model, "type", "model")
                         : "without a type";
  if (type != "BPE")
    unsupported("model.type '" + type + "' (only BPE)");
  for (const char *key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    if (!isNullOrEmpty(model, key))
      unsupported(std::string("model.") + key + " = " + model[key].dump());
  if (flag(model, "byte_fallback", false) && !ofCharacters)
    unsupported("model.byte_fallback = true with a pre_tokenizer of bytes");
  settings.flags |= (ofCharacters ? tokenizer_format::ofCharacters : 0) |
                    (flag(model, "byte_fallback", false) ? byteFallback : 0);
  ignoreMerges = flag(model, "ignore_merges", false);

  const Json &vocab = field(model, "vocab", "model");
  if (!vocab.is_object())
    throw PrepareError("model.vocab is not an object");
  for (const auto &item : vocab.items()) {
    if (!item.value().is_number_unsigned()) // as countOf(), without a text for each
      unexpected("model.vocab['" + item.key() + "']", "an integer from 0", item.value());
    uint64_t id = item.value().get<uint64_t>();
    Token &t = token(id);
    if (t.flags & present)
      throw PrepareError("model.vocab: id " + std::to_string(id) + " has two tokens");
    t.text = item.key();
    t.flags = present;
    t.isPiece = !t.text.empty() && (ofCharacters || alphabet.toBytes(t.text, t.bytes));
    if (ofCharacters)
      t.bytes = t.text;
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
    } else if (list[rank].is_array() && list[rank].size() == 2 && list[rank][0].is_string() &&
               list[rank][1].is_string()) {
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
    const std::string &unknown = stringField(model, "unk_token", "model");
    auto it = vocabulary.find(unknown);
    if (it == vocabulary.end())
      throw PrepareError("model.unk_token '" + unknown + "' is not in the vocabulary");
    settings.unknownId = static_cast<int32_t>(it->second);
  }
}

void TokenizerPreparation::addToken(const Json &item, int64_t id) {
  if (id < 0)
    throw PrepareError("an added token has a negative id");
  const std::string &content = stringField(item, "content", "added token " + std::to_string(id));
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
    if (ofCharacters || !alphabet.toBytes(content, t.bytes))
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

static int64_t idOf(uint64_t id) {
  return static_cast<int64_t>(std::min<uint64_t>(id, INT64_MAX)); // none is as large
}

void TokenizerPreparation::readAddedTokens(const Json &json, const Json &config) {
  const Json list = json.value("added_tokens", Json());
  if (!list.is_null())
    for (const Json &item : listOf(list, "added_tokens"))
      addToken(item, idOf(countOf(field(item, "id", "added_tokens"), "added_tokens: id")));
  // transformers also adds those that only tokenizer_config.json knows.
  const Json more = config.value("added_tokens_decoder", Json());
  const std::string where = "added_tokens_decoder of tokenizer_config.json";
  if (!more.is_null() && !more.is_object())
    unexpected(where, "an object", more);
  for (const auto &item : more.items()) {
    uint64_t id = 0;
    const char *end = item.key().data() + item.key().size();
    const auto [rest, problem] = std::from_chars(item.key().data(), end, id);
    if (problem != std::errc() || rest != end)
      unexpected(where, "an id as key", item.key());
    if (!item.value().is_object())
      unexpected(where + ": " + item.key(), "an object", item.value());
    addToken(item.value(), idOf(id));
  }
}

// Decoders see an added token that is found in normalised text as it is spelt there. Of bytes, one
// that merging makes, too, stays what it is made of.
void TokenizerPreparation::normalizeAddedTokens() {
  Normalizer normalizer;
  std::string error;
  for (const NormalizerStep &step : normalizers)
    if (!normalizer.add(step.kind, strings.substr(step.patternOffset, step.patternSize),
                        strings.substr(step.contentOffset, step.contentSize), error))
      throw PrepareError(error);
  for (const AddedToken &item : added) {
    Token &t = tokens[item.id];
    if (!(item.flags & addedNormalized) || (t.isPiece && !ofCharacters))
      continue;
    std::string content = strings.substr(item.contentOffset, item.contentSize), normalized;
    bool keepsStart = true;
    Normalizer::Result result = normalizer.apply(content, normalized, keepsStart, error);
    if (result == Normalizer::Result::failed)
      throw PrepareError(error);
    if (result != Normalizer::Result::changed)
      continue;
    t.text = normalized;
    if (!t.isPiece && (ofCharacters || !alphabet.toBytes(t.text, t.bytes)))
      t.bytes = t.text;
  }
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
    if (!ofCharacters && t.bytes.size() == 1)
      byteIds[static_cast<unsigned char>(t.bytes[0])] = static_cast<int32_t>(id);
  }
  if (settings.flags & byteFallback)
    for (size_t b = 0; b < 256; ++b) {
      char spelling[8];
      snprintf(spelling, sizeof spelling, "<0x%02X>", static_cast<unsigned>(b));
      auto it = vocabulary.find(spelling);
      if (it != vocabulary.end())
        byteIds[b] = static_cast<int32_t>(it->second);
    }
  std::vector<MergeSlot> mergeSlots(slotsFor(merges.size()), MergeSlot{0, 0, 0, kEmpty});
  for (const MergeSlot &m : merges) {
    size_t slot = static_cast<uint32_t>(hashPair(m.left, m.right)) & (mergeSlots.size() - 1);
    while (mergeSlots[slot].merged != kEmpty)
      slot = (slot + 1) & (mergeSlots.size() - 1);
    mergeSlots[slot] = m;
  }

  // What an earlier version can say stays readable by programs that know no other.
  auto isNfc = [](const NormalizerStep &step) { return step.kind == NormalizerKind::nfc; };
  bool onlyNfc = std::all_of(normalizers.begin(), normalizers.end(), isNfc);
  auto has = [&](auto... kinds) {
    return std::any_of(stages.begin(), stages.end(),
                       [=](const Stage &s) { return ((s.kind == kinds) || ...); });
  };
  const bool splitsSpelling = has(StageKind::splitSpelledRegex, StageKind::splitSpelledLiteral);
  const bool isFirstVersion =
      !ofCharacters && onlyNfc && !splitsSpelling && !has(StageKind::metaspace);
  if (isFirstVersion && !normalizers.empty())
    final.flags |= composeNfc;
  std::vector<uint32_t> shownOffsets;
  std::string shownBytes;
  if (!decoders.empty()) {
    shownOffsets.push_back(0);
    for (const Token &t : tokens) {
      shownBytes += t.shown;
      if (shownBytes.size() > 0xFFFFFFF0u)
        throw PrepareError("the decoder makes more than 4 GB of text of the vocabulary");
      shownOffsets.push_back(static_cast<uint32_t>(shownBytes.size()));
    }
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
                                  bytesOf(suffixIds),
                                  bytesOf(normalizers),
                                  bytesOf(decoders),
                                  bytesOf(shownOffsets),
                                  shownBytes};
  static_assert(sizeof contents / sizeof *contents == static_cast<size_t>(Section::count), "");
  const size_t count = isFirstVersion ? kFirstVersionSections : static_cast<size_t>(Section::count);
  std::string file(sizeof(FileHeader) + count * sizeof(SectionEntry), '\0');
  for (size_t i = 0; i < count; ++i) {
    file.resize((file.size() + 7) / 8 * 8);
    SectionEntry entry{static_cast<uint32_t>(i), 0, file.size(), contents[i].size()};
    std::memcpy(&file[sizeof(FileHeader) + i * sizeof entry], &entry, sizeof entry);
    file += contents[i];
  }
  FileHeader header{{},
                    isFirstVersion   ? kFirstVersion
                    : splitsSpelling ? kVersion
                                     : kVersionOfCharacters,
                    static_cast<uint32_t>(count),
                    file.size()};
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

// The largest published tokenizer.json has 36 MB.
constexpr size_t kLargestFile = size_t(256) << 20;

// Empty and not `exists` when there is no such file.
std::string readFile(const std::string &path, bool &exists) {
  std::string text, error;
  struct stat info;
  // A link that leads nowhere is damage, and so is what cannot be looked at.
  exists = ::lstat(path.c_str(), &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
  const bool isRead = !exists || readTextFile(path, kLargestFile, text, error);
  if (std::string foreign = describeForeignFile(text); !foreign.empty())
    throw PrepareError(foreign);
  if (!isRead)
    throw PrepareError(error);
  return text;
}

Json parse(const std::string &text) {
  Json json;
  std::string error;
  if (!readJson(text, json, error, {kLargestFile}))
    throw PrepareError(error);
  return json;
}

std::string chatTemplateOf(const Json &config) {
  if (!config.is_object())
    throw PrepareError("not a JSON object");
  auto it = config.find("chat_template");
  if (it == config.end() || it->is_null())
    return {};
  if (it->is_string())
    return it->get<std::string>();
  if (!it->is_array())
    unexpected("chat_template", "a string or a list of named templates", *it);
  for (const Json &item : *it) // the default one
    if (field(item, "name", "chat_template") == "default")
      return stringField(item, "template", "chat_template");
  throw PrepareError("chat_template: none of the named templates is 'default'");
}

// `bytes`: of all that was read.
void prepare(const std::string &tokenizer, const Json &config, size_t bytes,
             PreparedTokenizer &out) {
  TokenizerPreparation preparation(bytes);
  preparation.read(parse(tokenizer), config);
  out.data = preparation.finish();
  out.ids = static_cast<int64_t>(preparation.idCount());
  if (!out.eosToken.empty())
    out.eosId = preparation.findId(out.eosToken);
}

} // namespace

bool prepareTokenizer(const std::string &tokenizerPath, const std::string &configPath,
                      PreparedTokenizer &out, std::string &error) {
  std::string path = configPath;
  try {
    bool exists = false;
    Json config = Json::object();
    size_t fileBytes = 0;
    if (!configPath.empty()) {
      std::string text = readFile(configPath, exists);
      fileBytes = text.size();
      if (exists)
        config = parse(text);
      if (!config.is_object())
        throw PrepareError("not a JSON object");
      out.bosToken = specialToken(config, "bos_token");
      out.eosToken = specialToken(config, "eos_token");
      // Newer checkpoints keep the template in a file of its own, which comes first.
      const std::string directory = configPath.substr(0, configPath.rfind('/') + 1);
      path = directory + "chat_template.jinja";
      out.chatTemplate = readFile(path, exists);
      if (!exists) {
        path = directory + "chat_template.json";
        std::string separate = readFile(path, exists);
        path = exists ? path : configPath;
        out.chatTemplate = chatTemplateOf(exists ? parse(separate) : config);
      }
    }
    path = tokenizerPath;
    std::string text = readFile(tokenizerPath, exists);
    if (!exists)
      throw PrepareError("no such file");
    prepare(text, config, fileBytes + text.size(), out);
    return true;
  } catch (const std::exception &e) {
    error = path + ": " + e.what();
    return false;
  }
}

bool prepareTokenizerText(const std::string &path, const std::string &tokenizer,
                          const std::string &config, PreparedTokenizer &out, std::string &error) {
  try {
    const Json fields = parse(config);
    out.bosToken = specialToken(fields, "bos_token");
    out.eosToken = specialToken(fields, "eos_token");
    out.chatTemplate = chatTemplateOf(fields);
    prepare(tokenizer, fields, tokenizer.size() + config.size(), out);
    return true;
  } catch (const std::exception &e) {
    error = path + ": " + e.what();
    return false;
  }
}

} // namespace m1rt
