// What surrounds the model in a tokenizer.json: normalizer, pre-tokeniser, post-processor, decoder.
#include "tokenizer/preparation.h"

#include "tokenizer/pre_tokenizer.h"

#include <cstdlib>
#include <map>

namespace m1rt {

using namespace tokenizer_format;

namespace {

// {"String": …} or {"Regex": …}
const std::string &patternOf(const Json &step, const std::string &where, bool &isRegex) {
  const Json &pattern = field(step, "pattern", where);
  isRegex = pattern.is_object() && pattern.contains("Regex");
  if (!isRegex && !(pattern.is_object() && pattern.contains("String")))
    unsupported(where + ": pattern " + pattern.dump());
  return stringField(pattern, isRegex ? "Regex" : "String", where + " pattern");
}

uint32_t onlyCharacter(const Json &text, const std::string &where) {
  const std::string &value = stringOf(text, where);
  size_t at = 0;
  uint32_t c = value.empty() ? 0 : decodeUtf8(value.data(), at);
  if (value.empty() || at != value.size())
    throw PrepareError(where + ": expected one character, got '" + value + "'");
  return c;
}

// Where Metaspace puts its mark: "always", "first" or "never".
std::string prependScheme(const Json &step) {
  if (step.contains("prepend_scheme"))
    return stringField(step, "prepend_scheme", "Metaspace");
  return flag(step, "add_prefix_space", true) ? "always" : "never";
}

// The steps of a component and of the sequences in it.
void flatten(const Json &component, const char *where, const char *list,
             std::vector<const Json *> &steps) {
  if (typeOf(component, where) != "Sequence") {
    steps.push_back(&component);
    return;
  }
  for (const Json &child : listField(component, list, where))
    flatten(child, where, list, steps);
}

// The byte that "<0x0A>" spells, or -1.
int byteOfSpelling(const std::string &text) {
  if (text.size() != 6 || text.compare(0, 3, "<0x") != 0 || text[5] != '>' ||
      text.find_first_not_of("0123456789abcdefABCDEF", 3) != 5)
    return -1;
  return static_cast<int>(std::strtol(text.c_str() + 3, nullptr, 16));
}

std::string replaced(const std::string &text, const std::string &from, const std::string &to) {
  std::string out;
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string::npos; done = at + from.size())
    out.append(text, done, at - done).append(to);
  return out.append(text, done, std::string::npos);
}

} // namespace

uint32_t TokenizerPreparation::addString(const std::string &text) {
  uint32_t offset = static_cast<uint32_t>(strings.size());
  strings += text;
  return offset;
}

void TokenizerPreparation::addNormalizer(NormalizerKind kind, const std::string &pattern,
                                         const std::string &content) {
  uint32_t patternAt = addString(pattern), contentAt = addString(content);
  normalizers.push_back({kind, patternAt, static_cast<uint32_t>(pattern.size()), contentAt,
                         static_cast<uint32_t>(content.size()), 0});
}

void TokenizerPreparation::readNormalizer(const Json &normalizer) {
  if (normalizer.is_null())
    return;
  static const std::map<std::string, NormalizerKind> plain = {
      {"NFC", NormalizerKind::nfc},
      {"NFD", NormalizerKind::nfd},
      {"NFKC", NormalizerKind::nfkc},
      {"NFKD", NormalizerKind::nfkd},
      {"Lowercase", NormalizerKind::lowercase},
      {"StripAccents", NormalizerKind::stripMarks}};
  std::vector<const Json *> steps;
  flatten(normalizer, "normalizer", "normalizers", steps);
  for (const Json *step : steps) {
    std::string type = typeOf(*step, "normalizer");
    if (auto it = plain.find(type); it != plain.end()) {
      addNormalizer(it->second);
    } else if (type == "Strip") {
      if (flag(*step, "strip_left", true))
        addNormalizer(NormalizerKind::stripLeft);
      if (flag(*step, "strip_right", true))
        addNormalizer(NormalizerKind::stripRight);
    } else if (type == "Prepend") {
      addNormalizer(NormalizerKind::prepend, {}, stringField(*step, "prepend", "normalizer"));
    } else if (type == "Replace") {
      bool isRegex = false;
      std::string pattern = patternOf(*step, "normalizer: Replace", isRegex);
      addNormalizer(isRegex ? NormalizerKind::replaceRegex : NormalizerKind::replaceLiteral,
                    pattern, stringField(*step, "content", "normalizer"));
    } else {
      unsupported("normalizer.type '" + type +
                  "' (only NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace "
                  "and Sequence)");
    }
  }
}

void TokenizerPreparation::addStage(StageKind kind, SplitBehavior behavior, bool invert,
                                    const std::string &pattern, uint32_t flags) {
  uint32_t at = addString(pattern);
  stages.push_back({kind, behavior, invert, at, static_cast<uint32_t>(pattern.size()), flags});
}

// `ofSpelling`: behind ByteLevel, whose pieces are spelled in the byte alphabet.
void TokenizerPreparation::addPreTokenizer(const Json &step, bool ofSpelling) {
  static const std::map<std::string, SplitBehavior> behaviors = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::mergedWithPrevious},
      {"MergedWithNext", SplitBehavior::mergedWithNext},
      {"Contiguous", SplitBehavior::contiguous}};
  auto behaviorOf = [&](const std::string &type, const std::string &name) {
    auto it = behaviors.find(name);
    if (it == behaviors.end())
      unsupported("pre_tokenizer: " + type + " behavior '" + name + "'");
    return it->second;
  };
  std::string type = typeOf(step, "pre_tokenizer");
  const StageKind regex = ofSpelling ? StageKind::splitSpelledRegex : StageKind::splitRegex,
                  literal = ofSpelling ? StageKind::splitSpelledLiteral : StageKind::splitLiteral;
  auto split = [&](const char *pattern, SplitBehavior behavior, bool invert = false) {
    addStage(regex, behavior, invert, pattern);
  };
  if (type == "Split") {
    bool isRegex = false;
    std::string pattern = patternOf(step, "pre_tokenizer: Split", isRegex);
    std::string name = stringField(step, "behavior", "pre_tokenizer");
    addStage(isRegex ? regex : literal, behaviorOf(type, name), flag(step, "invert", false),
             pattern);
  } else if (type == "Digits") {
    split("\\p{N}", flag(step, "individual_digits", false) ? SplitBehavior::isolated
                                                           : SplitBehavior::contiguous);
  } else if (type == "Punctuation") { // ASCII's and Unicode's
    split("[\\p{P}$+<=>^`|~]", behaviorOf(type, stringField(step, "behavior", type, "Isolated")));
  } else if (type == "Whitespace") {
    // Words and runs of other characters. This \w is that of Rust's regular expressions, which,
    // unlike Oniguruma's, holds joiners and whatever is alphabetic.
    split("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}]+"
          "|[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}\\s]+",
          SplitBehavior::removed, true);
  } else if (type == "WhitespaceSplit") {
    split("\\s", SplitBehavior::removed);
  } else if (type == "CharDelimiterSplit") {
    addStage(literal, SplitBehavior::removed, false,
             stringField(step, "delimiter", "pre_tokenizer"));
  } else if (ofSpelling && (type == "Metaspace" || type == "ByteLevel")) {
    unsupported("pre_tokenizer: '" + type + "' after ByteLevel");
  } else if (type == "Metaspace") {
    const std::string replacement = stringField(step, "replacement", type, "▁"),
                      scheme = prependScheme(step);
    onlyCharacter(replacement, "pre_tokenizer: Metaspace replacement");
    if (scheme != "always" && scheme != "first" && scheme != "never")
      unsupported("pre_tokenizer: Metaspace prepend_scheme '" + scheme + "'");
    addStage(StageKind::metaspace, SplitBehavior::mergedWithNext, false, replacement,
             (scheme == "always"  ? metaspacePrepend
              : scheme == "first" ? metaspaceFirst
                                  : 0) |
                 (flag(step, "split", true) ? metaspaceSplit : 0));
  } else {
    unsupported("pre_tokenizer.type '" + type +
                "' (only Split, Digits, Punctuation, Whitespace, WhitespaceSplit, "
                "CharDelimiterSplit, Metaspace, ByteLevel and Sequence)");
  }
}

void TokenizerPreparation::readPreTokenizer(const Json &pre) {
  if (pre.is_null())
    return;
  // Steps before ByteLevel see text, those behind it the spelling of its bytes.
  std::vector<const Json *> steps;
  flatten(pre, "pre_tokenizer", "pretokenizers", steps);
  bool ofSpelling = false;
  for (const Json *step : steps) {
    if (ofSpelling || typeOf(*step, "pre_tokenizer") != "ByteLevel") {
      addPreTokenizer(*step, ofSpelling);
      continue;
    }
    ofSpelling = true;
    if (flag(*step, "add_prefix_space", true))
      addStage(StageKind::prefixSpace);
    if (flag(*step, "use_regex", true))
      addStage(StageKind::splitRegex, SplitBehavior::isolated, false, kGpt2Pattern);
  }
}

// Merging begins with bytes where text goes through ByteLevel, else with characters.
bool TokenizerPreparation::hasByteLevel(const Json &pre) {
  if (pre.is_null())
    return false;
  std::vector<const Json *> steps;
  flatten(pre, "pre_tokenizer", "pretokenizers", steps);
  return std::any_of(steps.begin(), steps.end(), [](const Json *step) {
    return typeOf(*step, "pre_tokenizer") == "ByteLevel";
  });
}

int32_t TokenizerPreparation::findId(const std::string &content) const {
  auto it = addedIds.find(content);
  if (it != addedIds.end())
    return static_cast<int32_t>(it->second);
  auto inModel = vocabulary.find(content);
  return inModel == vocabulary.end() ? -1 : static_cast<int32_t>(inModel->second);
}

int32_t TokenizerPreparation::specialId(const std::string &content) const {
  if (int32_t id = findId(content); id >= 0)
    return id;
  throw PrepareError("special token '" + content + "' is not in the vocabulary");
}

void TokenizerPreparation::readPostProcessor(const Json &post) {
  if (post.is_null())
    return;
  std::string type = typeOf(post, "post_processor");
  if (type == "ByteLevel") {
    // Changes offsets only.
  } else if (type == "Sequence") {
    for (const Json &item : listField(post, "processors", "post_processor"))
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
  for (const Json &item : listField(post, "single", "post_processor")) {
    if (item.contains("Sequence")) {
      if (++sequences > 1 || field(item["Sequence"], "id", "post_processor.single") != "A")
        unsupported("post_processor.single with sequences other than one A");
    } else if (item.contains("SpecialToken")) {
      std::string name = stringField(item["SpecialToken"], "id", "post_processor.single");
      if (!specials.contains(name))
        throw PrepareError("post_processor.special_tokens: missing '" + name + "'");
      const std::string where = "post_processor.special_tokens";
      for (const Json &id : listField(specials[name], "ids", where)) {
        uint64_t value = countOf(id, where + ".ids");
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
  if (decoder.is_null())
    unsupported("a missing decoder");
  std::vector<const Json *> steps;
  flatten(decoder, "decoder", "decoders", steps);
  if (!ofCharacters) {
    if (steps.size() != 1 || typeOf(*steps[0], "decoder") != "ByteLevel")
      unsupported("decoder.type '" + typeOf(*(steps.empty() ? &decoder : steps[0]), "decoder") +
                  "' (only ByteLevel with a pre_tokenizer of bytes)");
    return;
  }
  for (Token &t : tokens)
    t.shown = t.text;
  DecoderSettings settings{0, 0, ' ', 0, 0, 0};
  bool fused = false, bytes = false;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Json &step = *steps[i];
    std::string type = typeOf(step, "decoder");
    if (type == "Replace" && !fused && !bytes) {
      bool isRegex = false;
      std::string pattern = patternOf(step, "decoder: Replace", isRegex);
      if (isRegex || pattern.empty())
        unsupported("decoder: Replace of a regular expression or of nothing");
      for (Token &t : tokens)
        t.shown = replaced(t.shown, pattern, stringField(step, "content", "decoder"));
    } else if (type == "Metaspace" && i == 0) {
      std::string mark = stringField(step, "replacement", type, "▁");
      settings.character = onlyCharacter(mark, "decoder: Metaspace replacement");
      settings.flags |= prependScheme(step) == "never" ? 0 : dropsInFirst;
      for (Token &t : tokens)
        t.shown = replaced(t.shown, mark, " ");
    } else if (type == "ByteFallback" && !fused && !bytes) {
      bytes = true;
      for (Token &t : tokens)
        if (int byte = byteOfSpelling(t.shown); byte >= 0) {
          t.shown = std::string(1, static_cast<char>(byte));
          t.flags |= byteToken;
        }
    } else if (type == "Fuse") {
      fused = true;
    } else if (type == "Strip" && fused && !settings.stripStart && !settings.stripStop) {
      settings.strip = onlyCharacter(field(step, "content", "decoder"), "decoder: Strip content");
      for (const auto &[key, count] :
           {std::pair("start", &settings.stripStart), std::pair("stop", &settings.stripStop)})
        if (step.contains(key))
          *count = static_cast<uint32_t>(std::min<uint64_t>(
              countOf(step[key], std::string("decoder: Strip ") + key), UINT32_MAX));
    } else {
      unsupported("decoder.type '" + type +
                  "' in this place (only Replace, Metaspace, ByteFallback, Fuse and Strip in this "
                  "order, or ByteLevel with a pre_tokenizer of bytes)");
    }
  }
  decoders.push_back(settings);
}

// LlamaTokenizer's class in transformers replaces the template by what add_bos_token and
// add_eos_token say; where neither is there, the template counts.
void TokenizerPreparation::readLlamaSpecials(const Json &config) {
  std::string name = config.value("tokenizer_class", Json("")).is_string()
                         ? config.value("tokenizer_class", "")
                         : "";
  if ((name != "LlamaTokenizer" && name != "LlamaTokenizerFast") ||
      (!config.contains("add_bos_token") && !config.contains("add_eos_token")))
    return;
  auto ids = [&](const char *key, const char *switchKey, bool absent) {
    std::vector<int32_t> result;
    if (flag(config, switchKey, absent) && config.contains(key) && !config[key].is_null())
      result.push_back(specialId(specialToken(config, key)));
    return result;
  };
  prefixIds = ids("bos_token", "add_bos_token", true);
  suffixIds = ids("eos_token", "add_eos_token", false);
}

} // namespace m1rt
