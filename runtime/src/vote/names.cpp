// Which parts of an answer are names of what an equation defines.
#include "vote/wording.h"

#include <algorithm>

namespace m1rt::vote {
namespace {

// Small letters, Greek ones too, that stand beside one another outside brackets.
struct Products {
  size_t longest = 0; // of the terms of a sum
  bool sum = false, coordinates = false;
};
Products productsOf(const Tokens &tokens, size_t begin, size_t end) {
  Products all;
  size_t factors = 0;
  int depth = 0;
  auto add = [&](const std::string &name) {
    const bool greek = name[0] == '\\' && name != "\\angle" && name != "\\triangle";
    if (depth > 0 || !(greek || (name[0] >= 'a' && name[0] <= 'z')))
      return;
    all.longest = std::max(all.longest, ++factors);
    all.coordinates |= name == "x" || name == "y" || name == "z";
  };
  for (size_t i = begin; i < end; ++i) {
    const Token &t = tokens[i];
    if (isOp(t, "_")) {
      if (++i < end && isOp(tokens[i], "{"))
        while (i < end && !isOp(tokens[i], "}"))
          ++i;
    } else if (t.kind == Token::Kind::letter) {
      if (i + 1 < end && isOp(tokens[i + 1], "(")) // f(x)
        continue;
      add(t.text);
    } else if (t.kind == Token::Kind::word && !isProse(t.text) &&
               !(t.text.size() == 3 && t.text.find_first_of("aeiou") != std::string::npos)) {
      for (const char c : t.text) // but max, tax
        add(std::string(1, c));
    } else if (isOp(t, "(") || isOp(t, ")")) {
      depth += isOp(t, "(") ? 1 : -1;
    } else if (depth == 0 && (isOp(t, "+") || isOp(t, "-"))) {
      all.sum = true;
      factors = 0;
    }
  }
  return all;
}

} // namespace

bool isProduct(const Tokens &tokens, size_t begin, size_t end) {
  return productsOf(tokens, begin, end).longest > 1;
}

namespace {

bool isCommand(const Token &t, const char *name) {
  return t.kind == Token::Kind::command && t.text == name;
}

// AB, ABCD, with as many points at least.
bool isFigure(const Token &t, size_t least) {
  return t.kind == Token::Kind::word && t.text.size() >= least &&
         t.text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ") == std::string::npos;
}

// Past the brace that closes the group which opens here.
size_t behindGroup(const Tokens &tokens, size_t open, size_t end) {
  int depth = 0;
  for (size_t i = open; i < end; ++i) {
    depth += isOp(tokens[i], "{") ? 1 : isOp(tokens[i], "}") ? -1 : 0;
    if (depth == 0)
      return i + 1;
  }
  return end;
}

// [ABC], an area.
bool isArea(const Tokens &tokens, size_t begin, size_t end) {
  return end - begin == 3 && isOp(tokens[begin], "[") && isOp(tokens[end - 1], "]") &&
         isFigure(tokens[begin + 1], 3);
}

// Letters of figures and constants, none of coordinates: AB, a, S_1.
bool isNamedMeasure(const Tokens &tokens, size_t begin, size_t end) {
  if (isArea(tokens, begin, end))
    return true;
  if (!isName(tokens, begin, end))
    return false;
  for (size_t i = begin; i < end; ++i) {
    const std::string &text = tokens[i].text;
    if (tokens[i].kind == Token::Kind::op && text != "_" && text != "{" && text != "}")
      return false;
    if (text == "x" || text == "y" || text == "z" || isProseToken(tokens[i]) || text[0] == 'd')
      return false;
  }
  return true;
}

} // namespace

bool isPartOfFigure(const Tokens &tokens, size_t begin, size_t end) {
  if (end - begin == 1)
    return isFigure(tokens[begin], 2) && tokens[begin].text.size() == 2;
  return end - begin == 2 &&
         (tokens[begin].text == "\\angle" || tokens[begin].text == "\\triangle");
}

bool isQuantity(const Tokens &tokens, size_t begin, size_t end) {
  static const std::set<std::string> integrals = {"\\int", "\\iint", "\\iiint", "\\oint", "\\lim"};
  static const std::set<std::string> functions = {"sin", "cos", "tan", "cot", "sec", "csc"};
  static const std::set<std::string> angles = {"\\theta", "\\alpha", "\\beta",  "\\gamma",
                                               "\\phi",   "\\angle", "\\varphi"};
  static const std::set<std::string> probabilities = {
      "P",  "E",  "\\Pr", "Pr",   "Var", "Cov", "\\mathbbE", "\\mathbbP",
      "Re", "Im", "\\Re", "\\Im", "tr",  "dim", "rank",      "deg"};
  if (end - begin < 2)
    return false;
  const Token &first = tokens[begin], &last = tokens[end - 1];
  const auto isVector = [](const Token &t) {
    return t.kind == Token::Kind::letter &&
           (t.text.compare(0, 4, "\\vec") == 0 || t.text.compare(0, 5, "\\over") == 0);
  };
  const bool derivative = first.kind == Token::Kind::letter && first.text.compare(0, 3, "d/d") == 0;
  if (derivative || integrals.count(first.text) || isCommand(first, "sum") ||
      isCommand(first, "prod"))
    return true;
  if (probabilities.count(first.text) && end - begin > 3)
    return (isOp(tokens[begin + 1], "(") && isOp(last, ")")) ||
           (isOp(tokens[begin + 1], "[") && isOp(last, "]"));
  if (isOp(first, "‖") && isOp(last, "‖"))
    return true;
  if (isOp(first, "|") && isOp(last, "|"))
    return end - begin == 3 &&
           (isVector(tokens[begin + 1]) ||
            (tokens[begin + 1].text.size() == 2 && isFigure(tokens[begin + 1], 2)));
  if (isOp(first, "[") && isOp(last, "]"))
    return isArea(tokens, begin, end);
  if (isOp(first, "(") && end - begin > 7 && isOp(tokens[begin + 2], "°")) // (f ∘ g)(2)
    return tokens[begin + 1].kind == Token::Kind::letter &&
           tokens[begin + 3].kind == Token::Kind::letter && isOp(tokens[begin + 4], ")") &&
           isOp(tokens[begin + 5], "(") && isOp(last, ")");
  if (isVector(first) && end - begin == 3)
    return isOp(tokens[begin + 1], "*") && isVector(last);
  if (isCommand(first, "frac") && isOp(tokens[begin + 1], "{")) {
    const size_t below = behindGroup(tokens, begin + 1, end);
    return below < end && isOp(tokens[below], "{") && behindGroup(tokens, below, end) == end &&
           isNamedMeasure(tokens, begin + 2, below - 1) &&
           isNamedMeasure(tokens, below + 1, end - 1);
  }
  if (functions.count(first.text)) {
    const bool brackets = isOp(tokens[begin + 1], "(") && isOp(last, ")");
    const size_t from = begin + 1 + brackets, to = end - brackets;
    if (to <= from)
      return false;
    const std::string &of = tokens[from].text;
    return angles.count(of) ? to - from == 1 || of == "\\angle"
                            : to - from == 1 && of.size() == 1 && of[0] >= 'A' && of[0] <= 'Z';
  }
  return false;
}

bool isName(const Tokens &tokens, size_t begin, size_t end) {
  const Products products = productsOf(tokens, begin, end);
  if (products.longest > 1 && (products.sum || products.coordinates))
    return false;
  auto isInverse = [&](size_t i) {
    return i + 5 < end && isOp(tokens[i], "^") && isOp(tokens[i + 1], "{") &&
           isOp(tokens[i + 2], "-") && tokens[i + 3].text == "1" && isOp(tokens[i + 4], "}") &&
           isOp(tokens[i + 5], "(");
  };
  bool letters = false;
  int depth = 0;
  bool arguments = false; // within brackets: of a function, which may have sums
  size_t first = begin;   // behind words
  for (; first < end && isProseToken(tokens[first]); ++first)
    if (hasModifier(tokens[first]))
      return false;
  const bool words = first > begin;
  if (words && first == end)
    return true;
  for (size_t i = first; i < end; ++i) {
    const Token &t = tokens[i];
    // Words name a quantity alone, or one of a figure.
    const bool small =
        (t.kind == Token::Kind::letter && t.text[0] != '\\') || t.kind == Token::Kind::word;
    if (isProseToken(t) || (words && small && std::any_of(t.text.begin(), t.text.end(), [](char c) {
                              return c < 'A' || c > 'Z';
                            })))
      return false;
    if (isOp(t, "_")) { // its subscript may be anything
      if (++i < end && isOp(tokens[i], "{"))
        while (i < end && !isOp(tokens[i], "}"))
          ++i;
    } else if (t.kind == Token::Kind::letter || t.kind == Token::Kind::word) {
      static const std::set<std::string> functions = {"sin", "cos", "tan", "cot", "sec",
                                                      "csc", "log", "ln",  "exp", "sqrt"};
      if (functions.count(t.text))
        return false;
      letters = true;
    } else if (t.kind == Token::Kind::command &&
               (t.text == "gcd" || t.text == "lcm" || t.text == "max" || t.text == "min")) {
      letters = true;
    } else if (t.kind == Token::Kind::command && t.text == "overline") {
      while (i < end && !isOp(tokens[i], "}"))
        ++i;
      letters = true;
    } else if (letters && isInverse(i)) {
      i += 4;
    } else if (isOp(t, "(")) {
      // f(x + 1), P(2), (x, y); x(x + 1) and (x - 1)(x + 2) are products.
      static const std::string names = "fghFGHpqPQ";
      const bool ofLetter = i > begin && tokens[i - 1].kind == Token::Kind::letter;
      const bool outer = arguments, inverse = i > begin + 5 && isInverse(i - 5); // f^{-1}(x)
      // y(x), but no x(x + 1)
      const bool function = ofLetter && depth == 0 && i + 2 < end && isOp(tokens[i + 2], ")") &&
                            tokens[i - 1].text == "y" &&
                            (tokens[i + 1].text == "x" || tokens[i + 1].text == "t");
      int open = 0; // u(x, t)
      bool several = false;
      for (size_t k = i; ofLetter && depth == 0 && k < end && (k == i || open > 0); ++k) {
        open += isOp(tokens[k], "(") ? 1 : isOp(tokens[k], ")") ? -1 : 0;
        several |= open == 1 && isOp(tokens[k], ",");
      }
      arguments = function || several ||
                  (ofLetter && names.find(tokens[i - 1].text[0]) != std::string::npos) || inverse;
      if ((depth > 0 && !(outer && arguments)) || (i == begin && !isOp(tokens[end - 1], ")")) ||
          (i > begin && isOp(tokens[i - 1], ")") && !inverse))
        return false;
      ++depth;
    } else if (isOp(t, ")")) {
      --depth;
    } else if (isOp(t, "+") || isOp(t, "-")) {
      if (i == begin || (depth > 0 && !arguments)) // -x is no name
        return false;
    } else if (depth == 0 || !(t.kind == Token::Kind::number || isOp(t, ","))) { // P(2)
      return false;
    }
  }
  bool constant = end - begin == 1 && (tokens[begin].text == "e" || tokens[begin].text == "i" ||
                                       tokens[begin].text == "\\pi");
  return letters && !constant;
}

} // namespace m1rt::vote
