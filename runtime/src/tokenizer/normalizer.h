// The normalizer: what happens to text between raw added tokens before it is cut into pieces.
#ifndef M1RT_TOKENIZER_NORMALIZER_H
#define M1RT_TOKENIZER_NORMALIZER_H

#include "tokenizer/format.h"
#include "tokenizer/pre_tokenizer.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace m1rt {

class Normalizer {
public:
  // `pattern` and `content` as in NormalizerStep.
  bool add(tokenizer_format::NormalizerKind kind, std::string_view pattern,
           std::string_view content, std::string &error);
  // Whether the text, which is well formed, is its own normal form; if not, `out` is that, or
  // `error` says why there is none (bounds of patterns and of length).
  enum class Result { unchanged, changed, failed };
  // `keepsStart` becomes false when characters at the beginning are stripped.
  Result apply(std::string_view text, std::string &out, bool &keepsStart, std::string &error) const;

  // Whether one of its steps is normal form C.
  bool composes() const;

private:
  struct Step {
    tokenizer_format::NormalizerKind kind;
    std::string pattern, content;
    std::unique_ptr<Regex> regex;
  };
  bool applyStep(const Step &step, std::string &text, bool &keepsStart, std::string &error) const;
  std::vector<Step> steps;
};

} // namespace m1rt

#endif
