// Regular expressions as grammars of the JSON strings that match them.
#ifndef M1RT_GRAMMAR_PATTERN_H
#define M1RT_GRAMMAR_PATTERN_H

#include "grammar/grammar.h"
#include "status.h"

namespace m1rt {

/// What stands between the quotes of a JSON string that matches an expression of ECMA 262, where it
/// is not anchored with `anything` before and after it. The grammar is narrower than the expression
/// in one respect: classes with characters beyond ASCII (`.`, `\S`, `\W`, `\D`, `[^…]`) leave out
/// blanks and line ends of other scripts.
///
/// Understood: characters, `.`, classes of ASCII, the escapes \d \w \s (and their opposites), \t \n
/// \v \f \r \0, \xHH, \uHHHH and of punctuation, groups, `|`, `* + ? {m} {m,} {m,n}` (lazy ones,
/// too) up to 1000, or 200 where they are multiplied, of what is not empty; `^` and `$` around the
/// whole or an alternative of it. An error names what else there is.
Status grammarOfPattern(const std::string &pattern, const Grammar::Sequence &anything,
                        Grammar *grammar, Grammar::Rule *out);

/// The expression of a `format`; null: unknown. Every text of it is of the format, and the common
/// ones are among them.
const char *patternOfFormat(const std::string &format);

} // namespace m1rt

#endif
