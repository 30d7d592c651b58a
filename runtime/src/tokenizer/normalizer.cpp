#include "tokenizer/normalizer.h"

#include "tokenizer/unicode.h"
#include <algorithm>

namespace m1rt {

using Kind = tokenizer_format::NormalizerKind;

namespace {

// Replacements can multiply a text; no normalizer does so by more than this.
constexpr size_t kLargestGrowth = 64;

template <typename Keep> std::string filtered(std::string_view text, Keep keep) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    if (keep(decodeUtf8(text.data(), at)))
      out += text.substr(begin, at - begin);
  }
  return out;
}

std::string lowered(std::string_view text) {
  std::string out;
  char bytes[kCaseBytes];
  for (size_t at = 0; at < text.size();)
    out += lowerCase(decodeUtf8(text.data(), at), bytes);
  return out;
}

void stripBlanks(std::string &text, bool left) {
  CharClasses classes;
  size_t begin = 0, end = text.size();
  if (left) {
    for (size_t at = 0; at < end && classes(decodeUtf8(text.data(), at)) == CharClass::space;)
      begin = at;
  } else {
    for (size_t at = end; at > 0 && classes(decodeUtf8Before(text.data(), at)) == CharClass::space;)
      end = at;
  }
  text = text.substr(begin, end - begin);
}

} // namespace

bool Normalizer::add(Kind kind, std::string_view pattern, std::string_view content,
                     std::string &error) {
  Step step{kind, std::string(pattern), std::string(content), nullptr};
  if ((kind == Kind::replaceLiteral && pattern.empty()) ||
      (kind == Kind::replaceRegex && !(step.regex = Regex::compile(pattern, error)))) {
    if (error.empty())
      error = "normalizer: Replace of an empty string";
    return false;
  }
  steps.push_back(std::move(step));
  return true;
}

bool Normalizer::applyStep(const Step &step, std::string &text, bool &keepsStart,
                           std::string &error) const {
  switch (step.kind) {
  case Kind::nfc:
    if (mayNeedComposition(text))
      text = composeCanonically(text);
    return true;
  case Kind::nfd:
    text = normalizeUnicode(text, false, false);
    return true;
  case Kind::nfkc:
    text = normalizeUnicode(text, true, true);
    return true;
  case Kind::nfkd:
    text = normalizeUnicode(text, true, false);
    return true;
  case Kind::lowercase:
    text = lowered(text);
    return true;
  case Kind::stripMarks: {
    CharClasses classes;
    size_t at = 0;
    keepsStart &= text.empty() || classes(decodeUtf8(text.data(), at)) != CharClass::mark;
    text = filtered(text, [&](uint32_t c) { return classes(c) != CharClass::mark; });
    return true;
  }
  case Kind::stripLeft: {
    size_t before = text.size();
    stripBlanks(text, true);
    keepsStart &= text.size() == before;
    return true;
  }
  case Kind::stripRight:
    stripBlanks(text, false);
    return true;
  case Kind::prepend:
    if (!text.empty())
      text.insert(0, step.content);
    return true;
  case Kind::replaceLiteral:
  case Kind::replaceRegex: {
    std::vector<Regex::Span> matches;
    if (step.regex && !step.regex->findAll(text, matches, error))
      return false;
    if (!step.regex)
      for (size_t at = 0; (at = text.find(step.pattern, at)) != std::string::npos;
           at += step.pattern.size())
        matches.push_back({at, at + step.pattern.size()});
    if (step.content.empty() && !matches.empty() && matches[0].begin == 0 && matches[0].end > 0)
      keepsStart = false;
    size_t most = kLargestGrowth * (text.size() + 64), done = 0;
    std::string out;
    for (const Regex::Span &m : matches) {
      out.append(text, done, m.begin - done).append(step.content);
      done = m.end;
      if (out.size() > most) {
        error = "normalizer: replacing '" + step.pattern + "' makes the text more than " +
                std::to_string(kLargestGrowth) + " times as long";
        return false;
      }
    }
    text = out.append(text, done, std::string::npos);
    return true;
  }
  }
  return true;
}

Normalizer::Result Normalizer::apply(std::string_view text, std::string &out, bool &keepsStart,
                                     std::string &error) const {
  bool composes = steps.size() == 1 && steps[0].kind == Kind::nfc;
  if (steps.empty() || (composes && !mayNeedComposition(text)))
    return Result::unchanged;
  out = text;
  for (const Step &step : steps)
    if (!applyStep(step, out, keepsStart, error))
      return Result::failed;
  return Result::changed;
}

bool Normalizer::composes() const {
  return std::any_of(steps.begin(), steps.end(), [](const Step &step) {
    return step.kind == tokenizer_format::NormalizerKind::nfc;
  });
}

} // namespace m1rt
