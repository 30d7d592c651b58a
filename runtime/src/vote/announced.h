// What the words of a text announce as its answer, wherever it stands.
#ifndef M1RT_VOTE_ANNOUNCED_H
#define M1RT_VOTE_ANNOUNCED_H

#include <optional>
#include <string>

namespace m1rt {

// What a text without a box says: behind "####", in a JSON object, behind its last marker
// (markers.h), or in a last line with a label; nothing where no word of it announces an answer.
std::optional<std::string> announcedAnswer(const std::string &text);

} // namespace m1rt

#endif
