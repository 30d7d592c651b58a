// What the end of a text says.
#ifndef M1RT_VOTE_SPOKEN_H
#define M1RT_VOTE_SPOKEN_H

#include <optional>
#include <string>

namespace m1rt {

// What a last line says that holds nothing else: a formula that names a value or ends with one, an
// equation "x = 7", what "=>" leads to, something in bold. `whole`: of a text of one line, too.
std::optional<std::string> lastLine(const std::string &text, bool whole);

// Whether its last sentence begins as a conclusion does: "so", "thus".
bool concludes(const std::string &text);

// What the last sentence of a text says, if its words announce it: its formula, its number or its
// equation. `concludes`: that it is the answer is known.
std::optional<std::string> spoken(const std::string &part, bool concludes);

} // namespace m1rt

#endif
