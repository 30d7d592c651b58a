// The pre-tokeniser: cuts text into the pieces that byte-pair encoding may not cross.
//
// A stage cuts each piece of the stage before by a regular expression or a literal string. Patterns
// are written for Oniguruma in Ruby's syntax (which Hugging Face's tokenizers uses) and run by
// PCRE2; the few constructs whose meaning differs are translated or refused. The patterns of GPT-2,
// Llama 3 and Qwen 2 run in hand-written matchers instead, about ten times as fast as PCRE2's JIT
// (tokenizer benchmark); test/Runtime/pre_tokenizer_test proves them equal to PCRE2.
#ifndef M1RT_TOKENIZER_PRETOKENIZER_H
#define M1RT_TOKENIZER_PRETOKENIZER_H

#include "tokenizer/format.h"
#include "tokenizer/matchers.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace m1rt {

extern const char kGpt2Pattern[]; // what ByteLevel's use_regex stands for

// A compiled regular expression. Matching is const and safe from several threads.
class Regex {
public:
  // Null with `error` set when the pattern does not compile or uses a construct outside the
  // translated subset.
  static std::unique_ptr<Regex> compile(std::string_view pattern, std::string &error);
  ~Regex();
  Regex(const Regex &) = delete;
  Regex &operator=(const Regex &) = delete;

  // Appends the [begin, end) of each match in well-formed UTF-8. False, with `error` set, when
  // matching takes too many steps or too long (pre_tokenizer.cpp has the bounds).
  struct Span {
    size_t begin, end;
  };
  bool findAll(std::string_view text, std::vector<Span> &matches, std::string &error) const;

private:
  Regex() = default;
  std::string pattern; // for messages
  void *code = nullptr;
  bool jit = false;
  bool namesCharacters = false; // beyond ASCII, such as a range of them: by number, not property
};

// Oniguruma (Ruby syntax) to PCRE2. False with `error` naming the construct when it cannot be
// translated.
bool translateRegex(std::string_view pattern, std::string &translated, std::string &error);

class PreTokenizer {
public:
  // `kind`: of the splits. `allowMatchers` false: every pattern runs in PCRE2 (tests and
  // benchmarks).
  bool addSplit(std::string_view pattern, tokenizer_format::StageKind kind,
                tokenizer_format::SplitBehavior behavior, bool invert, bool allowMatchers,
                std::string &error);
  void addPrefixSpace();
  // `flags`: MetaspaceFlag.
  void addMetaspace(std::string_view replacement, uint32_t flags);

  // The matcher that alone does all this pre-tokeniser does, or none: then `split` must be used.
  KnownPattern onlyMatcher() const;

  // Pieces point into the text or into `storage`.
  struct Pieces {
    std::vector<std::string_view> views;
    std::vector<std::unique_ptr<std::string>> storage;
  };
  // `atStart`: the text is what the input begins with.
  bool split(std::string_view text, bool atStart, Pieces &pieces, std::string &error) const;

private:
  struct Stage {
    tokenizer_format::StageKind kind;
    tokenizer_format::SplitBehavior behavior = tokenizer_format::SplitBehavior::isolated;
    bool invert = false;
    KnownPattern known = KnownPattern::none;
    std::unique_ptr<Regex> regex;
    std::string literal; // without a regular expression
    uint32_t flags = 0;  // metaspace
  };
  // Where the stage's pattern matches `piece`.
  static bool findMatches(const Stage &stage, std::string_view piece,
                          std::vector<Regex::Span> &matches, std::string &error);
  void splitMetaspace(const Stage &stage, std::string_view piece, bool isFirst, Pieces &pieces,
                      std::vector<std::string_view> &out) const;
  std::vector<Stage> stages;
};

} // namespace m1rt

#endif
