// The tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json would have it.
#include "GgufModel.h"

#include <algorithm>
#include <cmath>
#include <tuple>

using namespace mlir;
using namespace m1c;

namespace {

/// llama_token_type.
enum class TokenType : int64_t { normal = 1, unknown, control, userDefined, unused, byte };

/// How text is split before pairs are merged, by tokenizer.ggml.pre (llama.cpp's
/// llama_vocab::impl::load). The patterns are those of the models' own tokenizer.json.
struct Split {
  llvm::StringLiteral name, pattern; // none: ByteLevel's own
  bool ignoresMerges = false, addsBos = false, isNfc = false;
  /// Each digit is a word.
  bool splitsDigits = false;
  /// Runs of punctuation are words, then ByteLevel's own; of their spelling, three digits each.
  bool splitsTriples = false;
};
constexpr llvm::StringLiteral llama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr llvm::StringLiteral qwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr llvm::StringLiteral qwen35Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr llvm::StringLiteral tekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Split splits[] = {
    {"llama-bpe", llama3Pattern, true, true},
    {"llama3", llama3Pattern, true, true},
    {"llama-v3", llama3Pattern, true, true},
    {"falcon3", llama3Pattern, true, true},
    {"falcon-h1", llama3Pattern, true, true},
    {"lfm2", llama3Pattern, true, true},
    {"dbrx", llama3Pattern},
    {"smaug-bpe", llama3Pattern},
    {"pixtral", llama3Pattern, true, true},
    {"tekken", tekkenPattern, true, true},
    {"qwen2", qwen2Pattern, false, false, true},
    {"qwen35", qwen35Pattern, false, false, true},
    {"deepseek-r1-qwen", qwen2Pattern, false, false, true},
    {"gpt-2", ""},
    {"mpt", "", false, false, true},
    {"olmo", "", false, false, true},
    {"smollm", "", false, false, false, true},
    {"refact", "", false, false, false, true},
    {"starcoder", "", false, false, false, true},
    {"falcon", "", false, false, false, false, true},
};

llvm::json::Object typed(StringRef type) { return llvm::json::Object{{"type", type}}; }

class TokenizerReader {
public:
  TokenizerReader(const GgufFile &file, EmitError emitError)
      : fields(file.path, &file.metadata, emitError, bad) {}

  FailureOr<TokenizerTexts> read() {
    const std::string model = fields.string("tokenizer.ggml.model").value_or("");
    if (bad)
      return failure();
    if (model.empty() || model == "none" || model == "no_vocab")
      return TokenizerTexts();
    if (model == "gpt2")
      readBytePairs();
    else if (model == "llama")
      readSentencePiece();
    else
      fields.error("tokenizer.ggml.model")
          << "expected gpt2 (byte-level BPE) or llama (SentencePiece's BPE), got " << model;
    if (!bad)
      readTemplate();
    if (bad)
      return failure();
    tokenizer["added_tokens"] = std::move(added);
    TokenizerTexts out;
    llvm::raw_string_ostream(out.tokenizer) << llvm::json::Value(std::move(tokenizer));
    llvm::raw_string_ostream(out.config) << llvm::json::Value(std::move(config));
    return out;
  }

private:
  /// Bytes, spelled as characters, merged by rank.
  void readBytePairs() {
    const std::string pre = fields.string("tokenizer.ggml.pre").value_or("none");
    const Split *split =
        llvm::find_if(splits, [&](const Split &known) { return known.name == pre; });
    if (!bad && split == std::end(splits)) {
      std::string names;
      for (const Split &known : splits)
        names += (names.empty() ? "" : ", ") + known.name.str();
      fields.error("tokenizer.ggml.pre") << "expected one of " << names << "; got " << pre;
    }
    if (bad || !readTokens())
      return;
    llvm::json::Array merges = strings("tokenizer.ggml.merges");
    if (split->isNfc)
      tokenizer["normalizer"] = typed("NFC");
    llvm::json::Array steps;
    if (split->splitsDigits) {
      llvm::json::Object digits = typed("Digits");
      digits["individual_digits"] = true;
      steps.push_back(std::move(digits));
    }
    if (split->splitsTriples) {
      llvm::json::Object punctuation = typed("Punctuation");
      punctuation["behavior"] = "Contiguous";
      steps.push_back(std::move(punctuation));
    }
    const bool isOwn = split->pattern.empty();
    auto addWords = [&](StringRef pattern) {
      llvm::json::Object words = typed("Split");
      words["pattern"] = llvm::json::Object{{"Regex", pattern}};
      words["behavior"] = "Isolated";
      steps.push_back(std::move(words));
    };
    if (!isOwn)
      addWords(split->pattern);
    llvm::json::Object bytes = typed("ByteLevel");
    bytes["add_prefix_space"] = fields.flag("tokenizer.ggml.add_space_prefix", false);
    bytes["use_regex"] = isOwn;
    steps.push_back(std::move(bytes));
    if (split->splitsTriples) {
      llvm::json::Object digits = typed("Digits");
      digits["individual_digits"] = false;
      steps.push_back(std::move(digits));
      addWords("[0-9][0-9][0-9]");
    }
    tokenizer["pre_tokenizer"] = typed("Sequence");
    (*tokenizer.getObject("pre_tokenizer"))["pretokenizers"] = std::move(steps);
    tokenizer["decoder"] = typed("ByteLevel");
    llvm::json::Object model = typed("BPE");
    model["ignore_merges"] = split->ignoresMerges;
    model["vocab"] = std::move(vocabulary);
    model["merges"] = std::move(merges);
    tokenizer["model"] = std::move(model);
    addsBos = split->addsBos;
  }

  /// Characters, merged to the piece of the highest score, or spelled as bytes. transformers makes
  /// the same of a SentencePiece model: pairs whose pieces together are a piece, the highest score
  /// first. It is what SentencePiece does where no two pieces have one score.
  void readSentencePiece() {
    if (!readTokens())
      return;
    fields.expectFlag("tokenizer.ggml.remove_extra_whitespaces", false);
    const bool prepends = fields.flag("tokenizer.ggml.add_space_prefix", true);
    llvm::json::Array merges = mergesOfScores();
    if (bad)
      return;
    constexpr llvm::StringLiteral mark = "\u2581"; // in the place of a space
    llvm::json::Array normalizers;
    if (prepends) {
      llvm::json::Object prepend = typed("Prepend");
      prepend["prepend"] = mark;
      normalizers.push_back(std::move(prepend));
    }
    auto replace = [](StringRef from, StringRef to) {
      llvm::json::Object step = typed("Replace");
      step["pattern"] = llvm::json::Object{{"String", from}};
      step["content"] = to;
      return step;
    };
    normalizers.push_back(replace(" ", mark));
    llvm::json::Array decoders{replace(mark, " "), typed("ByteFallback"), typed("Fuse")};
    if (prepends) {
      llvm::json::Object strip = typed("Strip");
      strip["content"] = " ";
      strip["start"] = 1;
      strip["stop"] = 0;
      decoders.push_back(std::move(strip));
    }
    tokenizer["normalizer"] = typed("Sequence");
    (*tokenizer.getObject("normalizer"))["normalizers"] = std::move(normalizers);
    tokenizer["decoder"] = typed("Sequence");
    (*tokenizer.getObject("decoder"))["decoders"] = std::move(decoders);
    llvm::json::Object model = typed("BPE");
    model["byte_fallback"] = true;
    model["fuse_unk"] = true;
    if (!unknown.empty())
      model["unk_token"] = unknown;
    model["vocab"] = std::move(vocabulary);
    model["merges"] = std::move(merges);
    tokenizer["model"] = std::move(model);
    addsBos = true;
  }

  llvm::json::Array mergesOfScores() {
    const llvm::json::Value *value = fields.find("tokenizer.ggml.scores");
    const llvm::json::Array *scores = value ? value->getAsArray() : nullptr;
    if (!scores || scores->size() != tokens.size() ||
        !llvm::all_of(*scores, [](const llvm::json::Value &score) {
          return score.getAsNumber() && std::isfinite(*score.getAsNumber());
        })) {
      fields.error("tokenizer.ggml.scores")
          << (value ? "expected a list of " + std::to_string(tokens.size()) +
                          " numbers, one for each token"
                    : "missing");
      return {};
    }
    // Files made without tokenizer.model have one score throughout and the order of the merges in
    // that of the pieces.
    std::optional<double> one;
    const bool isFlat = llvm::all_of(llvm::seq<size_t>(0, tokens.size()), [&](size_t id) {
      if (types[id] != TokenType::normal)
        return true;
      const double score = *(*scores)[id].getAsNumber();
      if (!one)
        one = score;
      return score == *one;
    });
    struct Merge {
      double score;
      int64_t leftLength, rightLength; // in characters
      int64_t piece, leftId, rightId;
      StringRef left, right;
    };
    std::vector<Merge> merges;
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (types[id] != TokenType::normal)
        continue;
      const StringRef piece = *tokens[id].getAsString();
      // Every way to cut it is tried.
      if (piece.size() > longestPiece) {
        fields.error("tokenizer.ggml.tokens")
            << "expected pieces of at most " << longestPiece << " bytes, got " << piece.size()
            << " in token " << id;
        return {};
      }
      for (size_t at = 1; at < piece.size(); ++at) {
        const StringRef left = piece.take_front(at), right = piece.drop_front(at);
        if ((piece[at] & 0xc0) == 0x80) // within a character
          continue;
        const std::optional<int64_t> leftId = vocabulary.getInteger(left),
                                     rightId = vocabulary.getInteger(right);
        if (leftId && rightId)
          merges.push_back({isFlat ? -double(id) : *(*scores)[id].getAsNumber(), lengthOf(left),
                            lengthOf(right), int64_t(id), *leftId, *rightId, left, right});
      }
    }
    std::sort(merges.begin(), merges.end(), [](const Merge &a, const Merge &b) {
      return std::tuple(b.score, b.leftLength, b.rightLength, a.piece, a.leftId, a.rightId) <
             std::tuple(a.score, a.leftLength, a.rightLength, b.piece, b.leftId, b.rightId);
    });
    llvm::json::Array out;
    out.reserve(merges.size());
    for (const Merge &merge : merges)
      out.push_back(llvm::json::Array{merge.left, merge.right});
    return out;
  }

  static int64_t lengthOf(StringRef text) {
    return llvm::count_if(text, [](char c) { return (c & 0xc0) != 0x80; });
  }

  /// Tokens around a text, and how messages become one.
  void readTemplate() {
    const std::optional<int64_t> bos = idOf("bos"), eos = idOf("eos");
    if (bos)
      config["bos_token"] = textOf(*bos);
    if (eos)
      config["eos_token"] = textOf(*eos);
    if (std::optional<std::string> chat = fields.string("tokenizer.chat_template"))
      config["chat_template"] = *chat;
    llvm::json::Array single;
    llvm::json::Object specials;
    auto add = [&](int64_t id) {
      const std::string text = textOf(id);
      single.push_back(
          llvm::json::Object{{"SpecialToken", llvm::json::Object{{"id", text}, {"type_id", 0}}}});
      specials[text] = llvm::json::Object{
          {"id", text}, {"ids", llvm::json::Array{id}}, {"tokens", llvm::json::Array{text}}};
    };
    if (fields.flag("tokenizer.ggml.add_bos_token", addsBos) && bos)
      add(*bos);
    single.push_back(
        llvm::json::Object{{"Sequence", llvm::json::Object{{"id", "A"}, {"type_id", 0}}}});
    if (fields.flag("tokenizer.ggml.add_eos_token", false) && eos)
      add(*eos);
    if (specials.empty())
      return;
    tokenizer["post_processor"] = typed("TemplateProcessing");
    llvm::json::Object &processor = *tokenizer.getObject("post_processor");
    processor["single"] = std::move(single);
    processor["special_tokens"] = std::move(specials);
  }

  llvm::json::Array strings(StringRef name) {
    const llvm::json::Value *value = fields.find(name);
    const llvm::json::Array *list = value ? value->getAsArray() : nullptr;
    if (!list || !llvm::all_of(*list, [](const llvm::json::Value &word) {
          return word.getAsString().has_value();
        })) {
      fields.error(name) << (value ? "expected a list of strings" : "missing");
      return {};
    }
    return *list;
  }

  bool readTokens() {
    tokens = strings("tokenizer.ggml.tokens");
    if (bad)
      return false;
    const llvm::json::Value *value = fields.find("tokenizer.ggml.token_type");
    const llvm::json::Array *list = value ? value->getAsArray() : nullptr;
    if (value && (!list || list->size() != tokens.size())) {
      fields.error("tokenizer.ggml.token_type")
          << "expected a list of " << tokens.size() << " numbers, one for each token";
      return false;
    }
    for (size_t id = 0; id < tokens.size(); ++id)
      if (!addToken(id, list ? wholeNumber((*list)[id]).value_or(0) : 1))
        return false;
    return true;
  }

  bool addToken(size_t id, int64_t number) {
    const StringRef text = *tokens[id].getAsString();
    const auto type = TokenType(number);
    types.push_back(type);
    switch (type) {
    case TokenType::unused: // fills the embeddings up to a round number
      return true;
    case TokenType::control:
    case TokenType::userDefined:
      addSpecial(id, text, type == TokenType::control);
      return true;
    case TokenType::unknown:
      addSpecial(id, text, true);
      unknown = text.str();
      [[fallthrough]];
    case TokenType::normal:
    case TokenType::byte:
      if (vocabulary.try_emplace(text, int64_t(id)).second)
        return true;
      fields.error("tokenizer.ggml.tokens") << "token " << id << " is there twice";
      return false;
    }
    fields.error("tokenizer.ggml.token_type")
        << "expected a number from 1 to 6 for token " << id << ", got " << number;
    return false;
  }

  void addSpecial(size_t id, StringRef text, bool isSpecial) {
    added.push_back(llvm::json::Object{{"id", int64_t(id)},
                                       {"content", text},
                                       {"single_word", false},
                                       {"lstrip", false},
                                       {"rstrip", false},
                                       {"normalized", false},
                                       {"special", isSpecial}});
  }

  std::optional<int64_t> idOf(StringRef which) const {
    const std::string name = ("tokenizer.ggml." + which + "_token_id").str();
    return fields.integer(name, 0, int64_t(tokens.size()) - 1);
  }
  std::string textOf(int64_t id) const { return tokens[size_t(id)].getAsString()->str(); }

  /// Far beyond any published vocabulary.
  static constexpr size_t longestPiece = 1024;

  bool bad = false;
  Fields fields;
  llvm::json::Array tokens, added;
  std::vector<TokenType> types;
  /// Ids of the tokens that text is made of.
  llvm::json::Object vocabulary;
  std::string unknown;
  bool addsBos = false;
  llvm::json::Object tokenizer, config;
};

} // namespace

FailureOr<TokenizerTexts> m1c::readGgufTokenizer(const GgufFile &file, EmitError emitError) {
  return TokenizerReader(file, emitError).read();
}

FailureOr<TokenizerTexts> m1c::readGgufTokenizer(StringRef path, EmitError emitError) {
  FailureOr<GgufFile> file = openGguf(path, emitError);
  if (failed(file))
    return failure();
  return readGgufTokenizer(*file, emitError);
}
