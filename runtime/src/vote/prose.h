// What the sentences of a text say.
#ifndef M1RT_VOTE_PROSE_H
#define M1RT_VOTE_PROSE_H

#include "vote/letters.h"
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace m1rt {

// Words of ASCII letters, in lower case, in order.
std::vector<std::string> wordsOf(std::string_view prose);

// Whether nothing but commas, "and" or "or" and signs of formulas stand between two boxes, or
// nothing at all.
bool joins(const std::string &text, size_t begin, size_t end);

// Without what only says why or to whom behind a comma or in brackets: ", as desired", "because …".
std::string_view withoutReason(std::string_view part);

// Without blanks, quotation marks and the signs of bold text and code around it, and the
// punctuation and ticks behind it.
std::string bare(std::string_view part);

// Without words but "and" and "or" and names of functions.
bool isFormula(const std::string &part);

// What a last line says that holds nothing else: a formula that names a value or ends with one, an
// equation "x = 7", what "=>" leads to, something in bold. `whole`: of a text of one line, too.
std::optional<std::string> lastLine(const std::string &text, bool whole);

// What the last sentence of a text says, if its words announce it: its formula, its number or its
// equation. `concludes`: that it is the answer is known.
std::optional<std::string> spoken(const std::string &part, bool concludes);

} // namespace m1rt

#endif
