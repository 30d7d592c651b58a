// English and other words for "answer", and what leads from them to it.
#include "vote/markers.h"

#include "vote/letters.h"
#include "vote/prose.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace m1rt {

size_t startOfValue(const std::string &lower, size_t at) {
  for (const std::string_view filler : {"actually ", "in fact ", "instead ", "really "})
    if (lower.compare(at, filler.size(), filler) == 0)
      at += filler.size();
  return at < lower.size() &&
                 std::string_view("0123456789$\\-(").find(lower[at]) != std::string_view::npos
             ? at
             : std::string::npos;
}

namespace {

// Length of the verb that leads to an answer here: "is", "should be", "of"; 0 for others.
size_t verbLength(const std::string &lower, size_t at) {
  for (const std::string_view modal : {"would ", "should ", "must ", "will "})
    for (const std::string_view adverb : {"therefore ", "thus ", "then ", "hence ", "indeed "})
      if (lower.compare(at, modal.size(), modal) == 0 &&
          lower.compare(at + modal.size(), adverb.size(), adverb) == 0 &&
          lower.compare(at + modal.size() + adverb.size(), 3, "be ") == 0)
        return modal.size() + adverb.size() + 2;
  for (const std::string_view verb :
       {"is", "are", "comes out to", "comes to", "turns out to be", "works out to", "would be",
        "should be", "seems to be", "appears to be", "must be", "will be", "equals", "becomes",
        "of"})
    if (lower.compare(at, verb.size(), verb) == 0 &&
        !(at + verb.size() < lower.size() && isLetter(lower[at + verb.size()])))
      return verb.size();
  return 0;
}

// What other languages call an answer; what they call a result, which may also be a heading; what
// leads from these to it, and what may stand between; and phrases that lead to one themselves.
constexpr std::string_view kForeignAnswers[] = {
    "答案",      "答え",    "回答",     "答",       "正确选项",   "정답",      "답",
    "respuesta", "réponse", "antwort",  "resposta", "risposta",   "Ответ",     "ответ",
    "उत्तर",      "Đáp án",  "đáp án",   "الجواب",   "الإجابة",    "odpowiedź", "cevap",
    "jawaban",   "svar",    "antwoord", "đáp số",   "jawabannya", "Đáp số",    "vastaus",
    "odpověď",   "válasz",  "răspuns",  "Απάντηση", "απάντηση",   "Відповідь", "відповідь",
    "Отговор",   "отговор", "odgovor",  "คำตอบ",    "svaret",     "răspunsul", "תשובה",
    "התשובה",    "yanıt",   "Yanıt"};
constexpr std::string_view kForeignResults[] = {"solución",  "solution",  "lösung",
                                                "solução",   "soluzione", "ergebnis",
                                                "resultado", "résultat",  "risultato"};
constexpr std::string_view kForeignVerbs[] = {
    "est",    "es", "ist",  "lautet", "é",    "è",     "是",  "为",  "為",     "应为", "等于",
    "は",     "은", "选择", "选",     "選",   "là",    "هو",  "هي",  "adalah", "är",   "er",
    "wynosi", "to", "on",   "je",     "este", "είναι", "היא", "הוא", "—",      "–"};
constexpr std::string_view kForeignAdjectives[] = {"final",   "finale",   "correcta", "correcte",
                                                   "correta", "corretta", "richtige"};
constexpr std::string_view kForeignPhrases[] = {
    "故选",   "因此选",          "因此选择",           "所以选择",       "所以选",          "应选",
    "本题选", "ist die antwort", "lautet die antwort", "ist die lösung", "ist das ergebnis"};

// In front of the "it's" that puts another answer in the place of one.
constexpr std::string_view kSecondThoughts[] = {" actually,", " wait,", " no,", " sorry,",
                                                " correction,"};

// Behind each "it's" that puts another answer in the place of one: "the answer isn't 13; it's 12",
// "The answer is 13. Actually, it's 12."
std::vector<size_t> behindCorrections(const std::string &lower) {
  constexpr size_t longest = 80;
  std::vector<size_t> found;
  auto startsWith = [&](size_t at) { // of a value, or the letter of a choice
    const bool letter =
        at < lower.size() && lower[at] >= 'a' && lower[at] <= 'j' &&
        (at + 1 == lower.size() || std::string_view(".,;\n").find(lower[at + 1]) < 4);
    return letter ? at : startOfValue(lower, at);
  };
  for (const std::string_view verb : {" it's ", " it is ", " but "})
    for (size_t at = lower.find(verb); at != std::string::npos; at = lower.find(verb, at + 1)) {
      const std::string_view before =
          std::string_view(lower).substr(0, at).substr(at - std::min(at, longest));
      if (std::any_of(std::begin(kSecondThoughts), std::end(kSecondThoughts),
                      [&](std::string_view lead) {
                        return before.size() > lead.size() &&
                               before.substr(before.size() - lead.size()) == lead;
                      })) {
        if (const size_t value = startOfValue(lower, at + verb.size());
            value != lower.npos && before.find("answer") != before.npos)
          found.push_back(value);
        continue;
      }
      const bool apart =
          verb == " but " ||
          (!before.empty() && (before.back() == ';' || before.back() == ',' ||
                               (before.size() > 5 && before.substr(before.size() - 4) == " but")));
      const size_t answer = before.rfind("answer");
      if (!apart || answer == std::string_view::npos)
        continue;
      const std::string_view said = before.substr(answer);
      const bool denied = said.find("n't ") != said.npos || said.find(" not ") != said.npos ||
                          said.find("answer was ") == 0;
      if (denied && said.find(". ") == said.npos && said.find('\n') == said.npos)
        if (const size_t value = startsWith(at + verb.size());
            value != lower.npos && // not "but 3 is close"
            (verb != " but " || lower.find(" is ", value) >= lower.find_first_of(".\n", value)))
          found.push_back(value);
    }
  return found;
}

// Behind what other languages write in front of an answer.
void addForeign(const std::string &lower, std::vector<size_t> &found) {
  auto skip = [&](size_t &at, std::string_view word) {
    const size_t end = at + word.size();
    if (lower.compare(at, word.size(), word) != 0 ||
        (isLetter(word.back()) && end < lower.size() && isLetter(lower[end])))
      return false;
    at = end;
    return true;
  };
  auto skipAny = [&](size_t &at, const auto &words) {
    return std::any_of(std::begin(words), std::end(words),
                       [&](std::string_view word) { return skip(at, word); });
  };
  auto each = [&](std::string_view word, const auto &see) {
    for (size_t at = lower.find(word); at != std::string::npos; at = lower.find(word, at + 1))
      see(at + word.size());
  };
  // Past adjectives, and "is" or a colon; 0 where neither follows.
  auto behindVerb = [&](size_t at, bool colons) -> size_t {
    auto next = [&] {
      while (at < lower.size() && (lower[at] == ' ' || lower[at] == '*'))
        ++at;
    };
    do
      next();
    while (skipAny(at, kForeignAdjectives));
    const bool verb = skipAny(at, kForeignVerbs);
    next();
    return ((verb || colons) && (skip(at, ":") || skip(at, "："))) || verb ? at : 0;
  };
  for (const std::string_view noun : kForeignAnswers)
    each(noun, [&](size_t at) {
      if (const size_t value = behindVerb(at, true))
        found.push_back(value);
      else if ((noun == "Ответ" || noun == "ответ" || noun == "उत्तर" || noun == "válasz") &&
               at < lower.size() && lower[at] == ' ' && startOfValue(lower, at + 1) != lower.npos)
        found.push_back(at + 1);
    });
  for (const std::string_view noun : kForeignResults)
    each(noun, [&](size_t at) {
      if (const size_t value = behindVerb(at, false);
          value && startOfValue(lower, value) != std::string::npos)
        found.push_back(value);
    });
  for (const std::string_view phrase : kForeignPhrases)
    each(phrase, [&](size_t at) {
      (void)skip(at, "：");
      found.push_back(at);
    });
}

bool isMarkup(char c) { return c == '*' || c == '_' || c == '`'; }

// A noun that names an answer or a choice, and what stands around it.
struct Noun {
  std::string_view name;
  size_t at, end; // end: behind the signs of bold text that follow it
  size_t line;    // where its line begins
  bool isAnswer() const { return name == "answer" || name == "answers"; }
};

// "## Answer", and "Final Answer" alone in its line.
bool isHeading(const std::string &lower, const Noun &noun) {
  const std::string_view before =
      std::string_view(lower).substr(noun.line, std::min<size_t>(noun.at - noun.line, 16));
  const bool leads =
      lower[noun.line] == '#' || std::all_of(before.begin(), before.end(), isMarkup) ||
      (before.size() < 16 && before.substr(before.find_first_not_of("*_`")) == "final ");
  return leads && (noun.end >= lower.size() || lower[noun.end] == '\n');
}

// Length of the sign at `sign` that leads from a noun to what it names: "answer: 5", "answer → 5",
// "Answer - B", but not of "the answer - if there is one -"; 0 for others.
size_t signLength(const std::string &lower, const Noun &noun, size_t sign) {
  constexpr size_t longest = 80;
  for (const std::string_view each : {"->", "=>", "→", "：", ":", "="})
    if (lower.compare(sign, each.size(), each) == 0)
      return each.size();
  const bool dash = sign > noun.end && lower.compare(sign, 2, "- ") == 0;
  const std::string_view line = std::string_view(lower).substr(sign).substr(
      0, std::min(longest, lower.find('\n', sign) - sign));
  return dash && line.find(" -") == line.npos ? 2 : 0;
}

// Where that begins to which a noun leads, of which `code` tells whether it stands in a program;
// npos where it leads to nothing.
size_t behindNoun(const std::string &lower, const Noun &noun, bool code) {
  static const std::set<std::string> right = {"correct", "right", "best", "final"},
                                     supposing = {"if", "whether", "suppose", "assume", "let"};
  constexpr size_t none = std::string::npos, near = 16;
  if (noun.name[0] == 'a' && isHeading(lower, noun))
    return noun.end;
  const size_t sign = lower.find_first_not_of(' ', noun.end);
  if (sign == none)
    return none;
  const size_t before = std::min(noun.at - noun.line, near);
  const std::vector<std::string> leading =
      wordsOf(std::string_view(lower).substr(noun.at - before, before));
  if (among(leading, supposing) ||
      (!leading.empty() && among({leading.back()}, {"wrong", "incorrect"})))
    return none;
  constexpr size_t clause = 48;
  if (const size_t all = std::min(noun.at - noun.line, clause);
      isSupposed(lastSentence(std::string_view(lower).substr(noun.at - all, all))))
    return none;
  if (noun.name == "ans") {
    const bool word = noun.at == 0 || !isLetter(lower[noun.at - 1]);
    const bool leads =
        (sign == noun.end && lower[sign] == '.') || lower[sign] == ':' || lower[sign] == '=';
    return word && leads ? sign + 1 : none;
  }
  const bool chosen = !leading.empty() && right.count(leading.back());
  if (lower[sign] == '=' && code) // a variable
    return none;
  if (const size_t length = signLength(lower, noun, sign);
      length && (noun.isAnswer() || (chosen && (lower[sign] == ':' || lower[sign] == '='))))
    return sign + length;
  const bool cell = lower[noun.line] == '|' && lower.compare(sign, 2, "| ") == 0 &&
                    startOfValue(lower, sign + 2) != none;
  const bool alone = noun.at == noun.line && sign > noun.end && startOfValue(lower, sign) == sign &&
                     isFormula(lower.substr(sign, lower.find('\n', sign) - sign));
  if (noun.name == "answer" && (cell || alone)) // | Answer | 5 |, and Answer (C)
    return sign;
  if (noun.isAnswer() && noun.end > noun.at + noun.name.size()) // **Answer** 5
    return noun.end;
  const bool contracted = lower.compare(sign, 3, "'s ") == 0 && // the answer's 8
                          startOfValue(lower, sign + 3) != none;
  const size_t verb = sign > noun.end ? verbLength(lower, sign) : contracted ? 2 : 0;
  return verb > 0 && (lower[sign] != 'o' || (noun.name == "answer" && chosen)) ? sign + verb : none;
}

} // namespace

std::vector<size_t> behindMarkers(const std::string &lower) {
  std::vector<size_t> found = behindCorrections(lower);
  addForeign(lower, found);
  std::vector<size_t> fences; // of code
  for (size_t at = lower.find("```"); at != std::string::npos; at = lower.find("```", at + 3))
    fences.push_back(at);
  for (const std::string_view name : {"answer", "answers", "option", "choice", "ans"}) {
    size_t line = 0; // where that of the last one begins
    for (size_t at = lower.find(name), last = 0; at != std::string::npos;
         last = at, at = lower.find(name, at + 1)) {
      size_t end = at + name.size();
      while (end < lower.size() && isMarkup(lower[end]))
        ++end;
      if (const size_t back = std::string_view(lower).substr(0, at).substr(last).rfind('\n');
          back != std::string_view::npos)
        line = last + back + 1;
      const auto fence = std::upper_bound(fences.begin(), fences.end(), end);
      const size_t begin =
          behindNoun(lower, {name, at, end, line}, (fence - fences.begin()) % 2 == 1);
      if (begin != std::string::npos)
        found.push_back(begin);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

} // namespace m1rt
