#include "vote/conclusions.h"

#include "vote/letters.h"
#include "vote/prose.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace m1rt {
namespace {

bool isInFormula(const std::string &sentence, size_t at) {
  return std::count(sentence.begin(), sentence.begin() + std::ptrdiff_t(at), '$') % 2 != 0;
}

bool isParticiple(const std::string &word) {
  return word.size() > 4 && word.compare(word.size() - 3, 3, "ing") == 0;
}

// "Adding the areas", "By symmetry": a clause that says how something was found.
bool saysHow(const std::vector<std::string> &clause) {
  static const std::set<std::string> supposing = {
      "considering", "assuming", "supposing", "letting", "noting", "recalling",
      "trying",      "checking", "choosing",  "meaning", "during", "inequality"};
  const std::string &first = clause[0];
  return (isParticiple(first) || first == "by") && !denies(clause) && !among(clause, supposing);
}

// "In 10 years", "after giving 3 away"
bool saysWhen(const std::vector<std::string> &clause) {
  if (clause.size() < 2 || !among({clause[0]}, {"in", "after"}) || among(clause, {"the", "of"}))
    return false;
  return isTimeUnit(clause.back()) || (clause[0] == "after" && isParticiple(clause[1]));
}

// Behind the phrase that a sentence concludes with: "It follows that", "in summary,"; 0 for others.
size_t behindPhrase(const std::string &lower) {
  constexpr std::string_view phrases[] = {"it follows that ",
                                          "it turns out that ",
                                          "this means that ",
                                          "this means ",
                                          "that means that ",
                                          "that means ",
                                          "which means that ",
                                          "which means ",
                                          "this implies that ",
                                          "this shows that ",
                                          "this tells us that ",
                                          "this tells us ",
                                          "we conclude that ",
                                          "we see that ",
                                          "we find that ",
                                          "we found that ",
                                          "we can see that ",
                                          "we can conclude that ",
                                          "in the end, ",
                                          "all told, ",
                                          "in all, ",
                                          "all in all, ",
                                          "por lo tanto, ",
                                          "as a result, ",
                                          "in conclusion, ",
                                          "in summary, ",
                                          "to summarize, ",
                                          "to sum up, ",
                                          "in other words, ",
                                          "in short, ",
                                          "putting it all together, "};
  for (const std::string_view phrase : phrases)
    if (lower.compare(0, phrase.size(), phrase) == 0)
      return phrase.size();
  return 0;
}

// Whether it begins with "this gives" and the like.
bool resultsIn(const std::string &sentence) {
  const std::vector<std::string> words = wordsOf(sentence);
  return words.size() > 1 && among({words[0]}, {"this", "that", "which"}) &&
         among({words[1]}, {"leaves", "gives", "yields", "equals", "brings"});
}

} // namespace

std::vector<std::string> asConclusions(const std::string &sentence) {
  std::vector<std::string> all;
  constexpr size_t longestSentence = 400; // what is longer is no sentence
  if (sentence.size() > longestSentence ||
      among(wordsOf(sentence), {"contradicts", "contradiction", "contradicting"}))
    return all;
  // "The slope is therefore 2."
  for (const std::string_view word : {" therefore ", " thus ", " hence "})
    if (const size_t at = sentence.find(word);
        at != sentence.npos && at > 0 && isLetter(sentence[at - 1]) && !isInFormula(sentence, at) &&
        wordsOf(sentence.substr(0, at)).back() != "and")
      all.push_back("Therefore, " + sentence.substr(0, at) + sentence.substr(at + word.size() - 1));
  size_t first = std::min(sentence.find_first_not_of(" *_"), sentence.size());
  constexpr size_t longest = 40; // of a phrase
  const std::string lower = lowerCase(sentence.substr(first, longest));
  if (const size_t behind = behindPhrase(lower))
    all.push_back("So " + lowerCase(sentence.substr(first + behind, 1)) +
                  sentence.substr(first + behind + 1));
  if (resultsIn(lower))
    all.push_back("So " + sentence.substr(first));
  // "Since half are gone, 12 are left." "Adding them, we get 12." "So, in 10 years, he is 12."
  const size_t word = std::min(sentence.find_first_of(", ", first), sentence.size());
  if (isConclusion(lowerCase(sentence.substr(first, word - first))))
    first = std::min(sentence.find_first_not_of(", ", word), sentence.size());
  if (const size_t comma = sentence.find(", ", first); comma != sentence.npos) {
    const std::vector<std::string> clause = wordsOf(sentence.substr(first, comma - first));
    const bool reason = !clause.empty() && among({clause[0]}, {"since", "because"});
    const size_t end = reason ? sentence.rfind(", ") : comma;
    if (!clause.empty() && (reason || saysWhen(clause) || saysHow(clause)) &&
        !isInFormula(sentence, end))
      all.push_back("So" + sentence.substr(end + 1));
  }
  // "He gave 3 away, leaving 12."
  for (const std::string_view verb : {", leaving ", ", making "})
    if (const size_t at = sentence.rfind(verb); at != sentence.npos && !isInFormula(sentence, at))
      all.push_back("So that leaves " + sentence.substr(at + verb.size()));
  // "This can be done in 12 ways."
  const size_t in = sentence.rfind(" in "), last = sentence.find_last_not_of(" .*");
  if (in != sentence.npos && last != sentence.npos && last > 4 &&
      sentence.compare(last - 4, 5, " ways") == 0 &&
      among(wordsOf(sentence.substr(0, in)), {"can", "be"}) &&
      !denies(wordsOf(sentence.substr(0, in))))
    all.push_back("So there are " + sentence.substr(in + 4));
  if (lower.compare(0, 14, "there will be ") == 0)
    all.push_back("So " + sentence.substr(first));
  // "So each of the 4 children gets 3."
  if (const size_t each = sentence.find("ach of the "); each != sentence.npos)
    if (const size_t noun = sentence.find_first_not_of("0123456789", each + 11);
        noun != sentence.npos && noun > each + 11 && sentence[noun] == ' ')
      if (const size_t end = sentence.find(' ', noun + 1); end != sentence.npos)
        all.push_back(sentence.substr(0, each + 3) + " one" + sentence.substr(end));
  // "It is 1 to 4, i.e. 1:4." "It takes its maximum value, which is 12."
  for (const std::string_view again :
       {", i.e. ", ", i.e., ", " i.e. ", ", that is, ", ", namely ", ", which rounds to ",
        ", which rounds up to ", ", which rounds down to ", " rounds to ", ", which is "})
    if (const size_t at = sentence.rfind(again);
        at != sentence.npos && !isInFormula(sentence, at)) {
      const std::vector<std::string> before = wordsOf(sentence.substr(0, at));
      const bool amount = !before.empty() && amountNouns().count(before.back());
      if ((again == ", which is " && !amount) || denies(before))
        continue;
      const std::string rest = sentence.substr(at + again.size());
      const bool equation = rest.find('=') != rest.npos;
      all.push_back(equation ? "So " + rest : "So it is " + rest);
      break;
    }
  return all;
}

} // namespace m1rt
