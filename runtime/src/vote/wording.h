// The words of an answer: what is a remark, a unit, a name or a time of day, and what is left.
#ifndef M1RT_VOTE_WORDING_H
#define M1RT_VOTE_WORDING_H

#include "vote/expression.h"
#include <set>
#include <string>

namespace m1rt::vote {

using Tokens = std::vector<Token>;

inline bool isOp(const Token &t, const char *text) {
  return t.kind == Token::Kind::op && t.text == text;
}
inline bool isText(const Token &t) { return t.kind == Token::Kind::text; }
inline bool isWordToken(const Token &t) { return isText(t) || t.kind == Token::Kind::word; }

// The words of a token, in lower case.
std::vector<std::string> wordsOf(const Token &t);
bool hasOneOf(const Token &t, const std::set<std::string> &known);
// A token of words that are all among these.
bool consistsOf(const Token &t, const std::set<std::string> &allowed);

// Without spaces, braces, quotes and the punctuation of sentences.
std::string plainText(const std::string &latex);

// What words without digits name: those that commas and "and" part, of two words each at most; one
// without its article, or without "option" or "answer:" before a letter. None for others.
std::vector<std::string> namedThings(const std::string &text);

// "monday" and "january".
bool isWeekday(const std::string &word);
bool isMonth(const std::string &word);

// 2020-1-31 for 2020-01-31, and 1/31/2020 for 01/31/2020: no difference and no quotient; "july 4 "
// for July 4 and the 4th of July. Nothing for others.
std::optional<std::string> dateIn(const std::string &text);

// 3:30 p.m. and 3 pm, as "3:30pm" and "3:00pm": without its half of the day it would be another
// time. Nothing for others.
std::optional<std::string> timeOfDay(const std::string &latex);

// "12 R 3", "12 r 3" and "12 remainder 3", as "12remainder3". Nothing for others.
std::optional<std::string> remainderIn(const std::string &latex);

// Words of a language: longer than three letters or little words ("if", "not", "for"); others may
// be products of variables.
bool isProse(const std::string &word);

// A word that is no product of variables and no function.
bool isProseToken(const Token &t);
// Whether a word of it changes what the value beside it says.
bool hasModifier(const Token &t);
// The same behind a value, as units do: "half", "dozen", "left", "eighths".
bool isOpposite(const Token &t);

// Whether a word of these makes another value of a number beside it: "at least", "dozen", "root".
bool changesValue(const std::string &words);

// Of these is what may follow "is" behind an answer: "is the solution".
const std::set<std::string> &closingWords();

// What an equation may define: x, y_1, f(x), (x, y), \angle ABC, AB, mn, m + n, or words that name
// a quantity, also one of a figure with capital letters ("area of ABC"); no powers or numbers, no
// xy (which is a curve's) and no ax + b. Words around a variable say something else: "a reflection
// over the line y" is no name.
bool isName(const Tokens &tokens, size_t begin, size_t end);
// AB, \angle ABC, \triangle ABC.
bool isPartOfFigure(const Tokens &tokens, size_t begin, size_t end);
// What names a quantity and is no name: P(A \cup B), E[X], \lim f(x), \int f, \|v\|, \vec{a} \cdot
// \vec{b}, \frac{AB}{CD}, \tan\theta, but no \tan x, which an equation may be about.
bool isQuantity(const Tokens &tokens, size_t begin, size_t end);
// mn, and what else may be a product of variables.
bool isProduct(const Tokens &tokens, size_t begin, size_t end);

// Units and remarks around a value go, and so do words that only lead to it or close the sentence
// ("so we get", "is the answer"); words that change what is said stay, and make it text. "and" and
// "or" separate: ∧ stands for an "and" between inequalities, both of which must hold, a comma for
// others, ∨ for "or". Items of several units ("5 feet and 3 inches") are no list of numbers.
Tokens withoutRemarks(Tokens tokens);

} // namespace m1rt::vote

#endif
