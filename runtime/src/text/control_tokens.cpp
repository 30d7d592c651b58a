#include "text/control_tokens.h"

#include "tokenizer/unicode.h"
#include <algorithm>

namespace m1rt {

static size_t firstCharacter(std::string_view text) {
  size_t at = 1;
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80)
    ++at;
  return at;
}

static bool isSpace(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

ControlTokens::ControlTokens(const Tokenizer &tokenizer, std::string_view templateSource) {
  for (const Tokenizer::Added &added : tokenizer.addedTokens()) {
    const bool special = tokenizer.isSpecial(added.id);
    const bool written =
        !isSpace(added.content) && templateSource.find(added.content) != std::string_view::npos;
    if (firstCharacter(added.content) < added.content.size() && (special || written))
      tokens.push_back(
          {tokenizer.composes() ? composeCanonically(added.content) : std::string(added.content),
           special});
  }
  auto firstByte = [](const Token &token) { return static_cast<unsigned char>(token.content[0]); };
  std::sort(tokens.begin(), tokens.end(),
            [&](const Token &a, const Token &b) { return firstByte(a) < firstByte(b); });
  starts.assign(257, 0);
  for (const Token &token : tokens)
    ++starts[firstByte(token) + 1u];
  for (size_t i = 1; i < starts.size(); ++i)
    starts[i] += starts[i - 1];
}

Barriers ControlTokens::find(std::string_view text, bool specialOnly, bool edges) const {
  Barriers found;
  for (size_t at = 0; at < text.size(); ++at) {
    const unsigned char byte = static_cast<unsigned char>(text[at]);
    for (uint32_t i = starts[byte]; i < starts[byte + 1u]; ++i) {
      const Token &token = tokens[i];
      const std::string_view here = text.substr(at, token.content.size());
      const bool whole = here.size() == token.content.size();
      if ((whole || edges) && !(specialOnly && !token.special) &&
          here == std::string_view(token.content).substr(0, here.size())) {
        found.push_back(at + firstCharacter(here));
        break;
      }
    }
  }
  for (const Token &token : tokens) {
    if (!edges || (specialOnly && !token.special))
      continue;
    for (size_t cut = 1; cut < token.content.size(); ++cut) {
      const std::string_view end = std::string_view(token.content).substr(cut);
      if (text.size() < end.size() || text.substr(0, end.size()) != end)
        continue;
      size_t last = end.size() - 1; // before the end's last character
      while (last > 0 && (static_cast<unsigned char>(end[last]) & 0xC0) == 0x80)
        --last;
      if ((static_cast<unsigned char>(end[last]) & 0xC0) != 0x80)
        found.push_back(last);
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

Barriers ControlTokens::barriers(std::string_view text) const {
  return find(text, /*specialOnly=*/false, /*edges=*/false);
}

std::string ControlTokens::chooseMarker(const std::vector<std::string_view> &texts) {
  for (unsigned i = 0; i < 32; ++i) { // U+FDD0 to U+FDEF
    std::string marker = {'\xEF', '\xB7', static_cast<char>(0x90 + i)};
    if (std::none_of(texts.begin(), texts.end(), [&](std::string_view text) {
          return text.find(marker) != std::string_view::npos;
        }))
      return marker;
  }
  return "";
}

std::string ControlTokens::mark(std::string_view text, std::string_view marker,
                                bool specialOnly) const {
  std::string marked;
  size_t at = 0;
  for (size_t barrier : find(text, specialOnly, /*edges=*/true)) {
    marked.append(text.substr(at, barrier - at)).append(marker);
    at = barrier;
  }
  return marked.append(text.substr(at));
}

std::string ControlTokens::unmark(std::string_view text, std::string_view marker, Barriers *out) {
  std::string plain;
  out->clear();
  size_t at = 0;
  for (size_t next; (next = text.find(marker, at)) != std::string_view::npos;) {
    plain.append(text.substr(at, next - at));
    out->push_back(plain.size());
    at = next + marker.size();
  }
  return plain.append(text.substr(at));
}

} // namespace m1rt
