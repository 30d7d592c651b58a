// From the tokens of an answer to its value.
#ifndef M1RT_VOTE_READER_H
#define M1RT_VOTE_READER_H

#include "vote/value.h"
#include "vote/wording.h"

#include <algorithm>

namespace m1rt::vote {

// Tokens of an answer, rewritten before they are read. In integers.cpp:
// a_n = 2n - 1, n \in \mathbb{N}^* without what its index may be.
Tokens withoutIndex(Tokens tokens);

// 4m, m \in \mathbb{Z} with k for m: a letter that is said to stand for all integers.
Tokens withUsualInteger(Tokens tokens);

// In rewrites.cpp. Conditions of cases in words, \text{if } n \text{ is even}, each as one text:
// beside a value they would be taken for what it counts.
Tokens withWordedConditions(const Tokens &tokens);
// \frac{1}{4} (25\%): without what only says the same again, as a decimal or percentage.
void dropRepetition(Tokens &tokens);
// ]0, 1[ is (0, 1), and x \in ]0, 1] \cup [2, 3[ as it would be.
void writeOpenIntervals(Tokens &tokens);

// Reads the tokens of an answer.
class Reader {
public:
  explicit Reader(const std::string &latex) : latex(latex) {}
  // `choices`: (C) 12 is the choice C, not a product.
  std::shared_ptr<Value> run(bool choices = true);

private:
  using ValuePtr = std::shared_ptr<const Value>;
  static constexpr int kMaxDepth = 30;

  std::shared_ptr<Value> textValue() const;
  // Positions of a separator outside all brackets; nothing when brackets do not match.
  std::vector<size_t> findTop(size_t begin, size_t end, const std::set<std::string> &ops) const;
  ValuePtr read(size_t begin, size_t end, int depth);
  ValuePtr readCongruence(size_t begin, size_t end, int depth);
  bool isBetweenSets(size_t begin, size_t sign, size_t end) const;
  // 0 < x < 3, x ∈ ℤ, of the tokens of a whole answer: {1, 2}. Null for others.
  ValuePtr readIntegers(const Tokens &all);
  ValuePtr readDifference(size_t begin, size_t end, int depth);
  ValuePtr readPartOfNumbers(size_t begin, size_t end);
  ValuePtr readRelation(size_t begin, size_t end, const std::vector<size_t> &at, int depth);
  ValuePtr relationValue(size_t begin, size_t end, const std::vector<size_t> &at, int depth);
  ValuePtr readCase(size_t begin, size_t end, int depth);
  ValuePtr readCases(size_t begin, size_t end, int depth);
  ValuePtr readBrackets(size_t begin, size_t end, int depth);
  ValuePtr readPoint(size_t begin, size_t end, int depth);
  ValuePtr readMultiple(size_t begin, size_t end, int depth);
  ValuePtr readTransposed(size_t begin, size_t end, int depth);
  bool readItems(size_t begin, size_t end, const std::vector<size_t> &at, int depth, Value &out);
  ValuePtr readExpression(size_t begin, size_t end);
  bool isName(size_t begin, size_t end) const { return vote::isName(tokens, begin, end); }
  // A ∩ B
  bool namesSet(size_t begin, size_t end) const {
    static const std::set<std::string> signs = {"∪", "∩", "\\setminus", "(", ")"};
    return end - begin > 2 && std::all_of(tokens.begin() + ptrdiff_t(begin),
                                          tokens.begin() + ptrdiff_t(end), [](const Token &t) {
                                            return t.kind == Token::Kind::op
                                                       ? signs.count(t.text) != 0
                                                       : t.kind == Token::Kind::letter &&
                                                             t.text.size() == 1 &&
                                                             t.text[0] >= 'A' && t.text[0] <= 'Z';
                                          });
  }
  // 1 + 2 + … + 10
  bool leavesOut(size_t begin, size_t end) const {
    return end - begin > 4 && tokens[end - 2].kind == Token::Kind::op &&
           std::any_of(tokens.begin() + ptrdiff_t(begin), tokens.begin() + ptrdiff_t(end),
                       [](const Token &t) { return isText(t) && t.text == "…"; });
  }

  // Of matrices, in read_matrices.cpp.
  bool isCommand(size_t i, const char *name) const {
    return tokens[i].kind == Token::Kind::command && tokens[i].text == name;
  }
  size_t closing(size_t open, size_t end) const;
  ValuePtr readMatrix(size_t begin, size_t end, int depth);
  ValuePtr readMatrices(size_t begin, size_t end, int depth);
  ValuePtr readMatrixSum(size_t begin, size_t end, int depth);
  ValuePtr readMatrixTerm(size_t begin, size_t end, int depth);
  ValuePtr readMatrixFactor(size_t &at, size_t end, int depth);

  std::string latex;
  Tokens tokens;
};

} // namespace m1rt::vote

#endif
