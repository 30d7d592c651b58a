#include "tokenizer/decoder.h"

#include "tokenizer/unicode.h"

namespace m1rt {

void SpelledDecoder::append(std::string_view text, std::string &out) {
  char bytes[4];
  std::string_view strip(bytes, encodeUtf8(settings.strip, bytes));
  while (stripLeft && text.substr(0, strip.size()) == strip) {
    text.remove_prefix(strip.size());
    --stripLeft;
  }
  if (text.empty())
    return;
  stripLeft = 0;
  if (!settings.stripStop) {
    out += text;
    return;
  }
  tail += text;
  size_t keep = tail.size();
  for (uint32_t i = 0; i < settings.stripStop && keep >= strip.size() &&
                       tail.compare(keep - strip.size(), strip.size(), strip) == 0;
       ++i)
    keep -= strip.size();
  out.append(tail, 0, keep);
  tail.erase(0, keep);
}

// Bytes in a row that are not UTF-8 become U+FFFD, each of them.
void SpelledDecoder::flushBytes(std::string &out) {
  if (bytes.empty())
    return;
  std::string text;
  if (findInvalidUtf8(bytes) == std::string::npos)
    text = bytes;
  else
    for (size_t i = 0; i < bytes.size(); ++i)
      text += "\xEF\xBF\xBD";
  bytes.clear();
  append(text, out);
}

void SpelledDecoder::push(std::string_view shown, std::string_view spelling, bool isByte,
                          std::string &out) {
  bool wasFirst = first;
  first = false;
  if (isByte) {
    bytes += shown;
    return;
  }
  flushBytes(out);
  if (!wasFirst || !(settings.flags & tokenizer_format::dropsInFirst)) {
    append(shown, out);
    return;
  }
  std::string rest;
  for (size_t at = 0; at < spelling.size();) {
    size_t begin = at;
    if (decodeUtf8(spelling.data(), at) != settings.character)
      rest += spelling.substr(begin, at - begin);
  }
  append(rest, out);
}

void SpelledDecoder::finish(std::string &out) {
  flushBytes(out);
  tail.clear();
  stripLeft = settings.stripStart;
  first = true;
}

} // namespace m1rt
