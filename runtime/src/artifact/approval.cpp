#include "artifact/approval.h"

namespace m1rt {

bool parseDigest(const std::string &text, Digest *out) {
  if (text.size() != 2 * out->size())
    return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const int value = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (value < 0)
      return false;
    uint8_t &byte = (*out)[i / 2];
    byte = uint8_t(i % 2 ? byte << 4 | value : value);
  }
  return true;
}

std::function<Status(const Digest &)> requireDigest(const Digest &wanted) {
  return [wanted](const Digest &digest) {
    return digest == wanted
               ? Status()
               : error(StatusCode::corrupt,
                       "is another artifact than the one required: its digest is %s, expected %s",
                       digestText(digest.data()).c_str(), digestText(wanted.data()).c_str());
  };
}

} // namespace m1rt
