// From the tokens of an answer to its value.
#ifndef M1RT_VOTE_READER_H
#define M1RT_VOTE_READER_H

#include "vote/value.h"
#include "vote/wording.h"

namespace m1rt::vote {

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
  ValuePtr readDifference(size_t begin, size_t end, int depth);
  ValuePtr readPartOfNumbers(size_t begin, size_t end);
  ValuePtr readRelation(size_t begin, size_t end, const std::vector<size_t> &at, int depth);
  ValuePtr relationValue(size_t begin, size_t end, const std::vector<size_t> &at, int depth);
  ValuePtr readCase(size_t begin, size_t end, int depth);
  ValuePtr readCases(size_t begin, size_t end, int depth);
  ValuePtr readBrackets(size_t begin, size_t end, int depth);
  ValuePtr readPoint(size_t begin, size_t end, int depth);
  ValuePtr readTransposed(size_t begin, size_t end, int depth);
  bool readItems(size_t begin, size_t end, const std::vector<size_t> &at, int depth, Value &out);
  ValuePtr readExpression(size_t begin, size_t end);
  bool isName(size_t begin, size_t end) const { return vote::isName(tokens, begin, end); }

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
