#include "grammar/number_range.h"
#include <algorithm>

namespace m1rt {

namespace {

using Rule = Grammar::Rule;
using Sequence = Grammar::Sequence;

constexpr uint32_t mostDigits = 15;

/// A sign and bounds of what follows it.
struct Magnitudes {
  const char *sign;
  uint64_t least;
  std::optional<uint64_t> most;
  bool leastExcluded, mostExcluded;
};

uint64_t magnitude(int64_t value) { return value < 0 ? 0 - uint64_t(value) : uint64_t(value); }

/// The range's part below zero, and the part from zero on.
std::vector<Magnitudes> partsOf(const NumberRange &range) {
  std::vector<Magnitudes> parts;
  const bool above = !range.most || *range.most > 0 || (*range.most == 0 && !range.mostExcluded);
  if (above) {
    Magnitudes part = {"", 0, {}, false, range.mostExcluded};
    if (range.least && *range.least >= 0) {
      part.least = magnitude(*range.least);
      part.leastExcluded = range.leastExcluded;
    }
    if (range.most)
      part.most = magnitude(*range.most);
    parts.push_back(part);
  }
  if (!range.least || *range.least < 0) {
    Magnitudes part = {"-", 0, {}, true, range.leastExcluded}; // zero has no sign
    if (range.most && *range.most < 0) {
      part.least = magnitude(*range.most);
      part.leastExcluded = range.mostExcluded;
    }
    if (range.least)
      part.most = magnitude(*range.least);
    parts.push_back(part);
  }
  return parts;
}

class Decimals {
public:
  explicit Decimals(Grammar &grammar) : g(grammar) {}

  /// Integers without a sign, of [least, most].
  Rule naturals(uint64_t least, std::optional<uint64_t> most) {
    const std::string first = std::to_string(least);
    const std::string last = most ? std::to_string(*most) : std::string();
    const size_t longest = most ? last.size() : first.size();
    const Rule rule = g.declare();
    for (size_t size = first.size(); size <= longest; ++size)
      g.addAlternative(
          rule,
          {Grammar::use(between(size == first.size() ? first : "1" + std::string(size - 1, '0'),
                                most && size == last.size() ? last : std::string(size, '9')))});
    if (!most && first.size() < mostDigits)
      g.addAlternative(
          rule, {digit('1', '9'), Grammar::use(digits(uint32_t(first.size()), mostDigits - 1))});
    return rule;
  }

  /// Numbers without a sign: an integer and what may stand behind a point.
  Rule numbers(const Magnitudes &part) {
    const Rule rule = g.declare();
    const Rule any = g.define({{}, point({Grammar::use(digits(1, mostDigits))})});
    const Rule zeros =
        g.define({{}, point({Grammar::use(g.repeat({digit('0', '0')}, 1, mostDigits))})});
    if (part.most && part.least == *part.most) {
      g.addAlternative(rule, with(part.least, {Grammar::use(zeros)}));
      return rule;
    }
    if (part.leastExcluded) {
      const Rule some = g.define({point({Grammar::use(g.repeat({digit('0', '0')}, 0, 14)),
                                         digit('1', '9'), Grammar::use(digits(0, 14))})});
      g.addAlternative(rule, with(part.least, {Grammar::use(some)}));
    }
    const uint64_t first = part.least + part.leastExcluded;
    if (!part.most || first < *part.most)
      g.addAlternative(rule, {Grammar::use(naturals(first, part.most ? std::optional(*part.most - 1)
                                                                     : std::nullopt)),
                              Grammar::use(any)});
    if (part.most && !part.mostExcluded)
      g.addAlternative(rule, with(*part.most, {Grammar::use(zeros)}));
    return rule;
  }

private:
  Grammar::Symbol digit(char first, char last) {
    return g.bytes(bytesFrom(uint8_t(first), uint8_t(last)));
  }
  Rule digits(uint32_t least, uint32_t most) { return g.repeat({digit('0', '9')}, least, most); }
  Sequence point(const Sequence &after) {
    Sequence sequence = g.literal(".");
    sequence.insert(sequence.end(), after.begin(), after.end());
    return sequence;
  }
  Sequence with(uint64_t value, const Sequence &after) {
    Sequence sequence = g.literal(std::to_string(value));
    sequence.insert(sequence.end(), after.begin(), after.end());
    return sequence;
  }

  /// Texts of as many digits as both bounds have.
  Rule between(const std::string &least, const std::string &most) {
    const Rule rule = g.declare();
    if (least.empty()) {
      g.addAlternative(rule, {});
      return rule;
    }
    const uint32_t size = uint32_t(least.size()) - 1;
    const std::string low = least.substr(1), high = most.substr(1);
    const std::string zeros(size, '0'), nines(size, '9');
    char first = least[0], last = most[0];
    auto add = [&](char from, char to, Rule rest) {
      g.addAlternative(rule, {digit(from, to), Grammar::use(rest)});
    };
    if (first == last) {
      add(first, last, between(low, high));
      return rule;
    }
    if (low != zeros) {
      add(first, first, between(low, nines));
      ++first;
    }
    if (high != nines) {
      add(last, last, between(zeros, high));
      --last;
    }
    if (first <= last)
      add(first, last, digits(size, size));
    return rule;
  }

  Grammar &g;
};

Sequence signedBy(const char *sign, Rule rule, Grammar &g) {
  Sequence sequence = g.literal(sign);
  sequence.push_back(Grammar::use(rule));
  return sequence;
}

} // namespace

Rule integersIn(const NumberRange &range, Grammar *grammar) {
  const Rule rule = grammar->declare();
  for (const Magnitudes &part : partsOf(range)) {
    const uint64_t least = part.least + (part.leastExcluded && part.least == 0);
    grammar->addAlternative(
        rule, signedBy(part.sign, Decimals(*grammar).naturals(least, part.most), *grammar));
  }
  return rule;
}

Rule numbersIn(const NumberRange &range, Grammar *grammar) {
  const Rule rule = grammar->declare();
  for (const Magnitudes &part : partsOf(range))
    grammar->addAlternative(rule, signedBy(part.sign, Decimals(*grammar).numbers(part), *grammar));
  return rule;
}

} // namespace m1rt
