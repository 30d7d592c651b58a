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

// "Adding the areas", "By symmetry": a clause that says how something was found.
bool saysHow(const std::vector<std::string> &clause) {
  static const std::set<std::string> supposing = {
      "considering", "assuming", "supposing", "letting", "noting", "recalling",
      "trying",      "checking", "choosing",  "meaning", "during"};
  const std::string &first = clause[0];
  const bool participle = first.size() > 4 && first.compare(first.size() - 3, 3, "ing") == 0;
  return (participle || first == "by") && !denies(clause) && !among(clause, supposing);
}

// "So in 10 years"
bool saysWhen(const std::vector<std::string> &clause) {
  return clause.size() > 2 && isConclusion(clause[0]) && among({clause[1]}, {"in", "after"}) &&
         isTimeUnit(clause.back()) && !among(clause, {"the", "of"});
}

} // namespace

std::vector<std::string> asConclusions(const std::string &sentence) {
  std::vector<std::string> all;
  if (among(wordsOf(sentence), {"contradicts", "contradiction", "contradicting"}))
    return all;
  // "The slope is therefore 2."
  for (const std::string_view word : {" therefore ", " thus ", " hence "})
    if (const size_t at = sentence.find(word);
        at != sentence.npos && at > 0 && isLetter(sentence[at - 1]) && !isInFormula(sentence, at) &&
        wordsOf(sentence.substr(0, at)).back() != "and")
      all.push_back("Therefore, " + sentence.substr(0, at) + sentence.substr(at + word.size() - 1));
  const size_t first = std::min(sentence.find_first_not_of(" *_"), sentence.size());
  // "It follows that there are 12."
  const std::string lower = lowerCase(sentence.substr(first, 40));
  for (const std::string_view lead : {"it follows that ",
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
                                      "we can conclude that ",
                                      "we can see that ",
                                      "in the end, ",
                                      "all told, ",
                                      "in all, ",
                                      "all in all, ",
                                      "por lo tanto, ",
                                      "as a result, ",
                                      "in conclusion, ",
                                      "in summary, ",
                                      "to summarize, ",
                                      "in other words, ",
                                      "in short, ",
                                      "putting it all together, ",
                                      "this leaves ",
                                      "that leaves ",
                                      "this gives ",
                                      "that gives "})
    if (lower.compare(0, lead.size(), lead) == 0) {
      const bool verb = lead.substr(0, 2) == "th" && lead.find(" means") == lead.npos &&
                        lead.find("that ", 5) == lead.npos && lead.find(" tells") == lead.npos;
      const size_t kept = verb ? first : first + lead.size(); // so that leaves 12
      all.push_back("So " + lowerCase(sentence.substr(kept, 1)) + sentence.substr(kept + 1));
      break;
    }
  // "Since half are gone, 12 are left." "Adding them, we get 12."
  if (const size_t comma = sentence.find(", ", first); comma != sentence.npos) {
    const std::vector<std::string> clause = wordsOf(sentence.substr(first, comma - first));
    if (!clause.empty() && saysWhen(clause))
      all.push_back("So" + sentence.substr(comma + 1));
    else if (!clause.empty() && saysHow(clause) && !isInFormula(sentence, comma))
      all.push_back("So" + sentence.substr(comma + 1));
    else if (!clause.empty() && among({clause[0]}, {"since", "because"}))
      if (const size_t last = sentence.rfind(", "); !isInFormula(sentence, last))
        all.push_back("So" + sentence.substr(last + 1));
  }
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
