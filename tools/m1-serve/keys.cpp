#include "keys.h"
#include "input.h"
#include <algorithm>
#include <cstring>

using namespace m1rt;

namespace m1serve {

static Digest digestOf(const std::string &text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  return hash.finish();
}

Status ApiKeys::read(const std::string &path, ApiKeys *out) {
  m1tool::LineReader file;
  M1_TRY(file.open(path).prefixed("--api-key-file"));
  std::string line;
  for (int number = 1; file.next(&line); ++number) {
    line.erase(0, std::min(line.find_first_not_of(" \t\r"), line.size()));
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line.empty() || line[0] == '#')
      continue;
    if (line.size() < 16)
      return error(StatusCode::invalidArgument,
                   "--api-key-file %s line %d: a key of fewer than 16 characters can be guessed",
                   path.c_str(), number);
    if (std::any_of(line.begin(), line.end(),
                    [](char c) { return uint8_t(c) < 0x20 || c == 0x7f; }))
      return error(StatusCode::invalidArgument,
                   "--api-key-file %s line %d: a control character, which no header can hold",
                   path.c_str(), number);
    out->digests.push_back(digestOf(line));
  }
  if (!file.status().ok())
    return Status(file.status()).prefixed("--api-key-file");
  if (out->digests.empty())
    return error(StatusCode::invalidArgument, "--api-key-file %s: no key in it", path.c_str());
  return {};
}

bool ApiKeys::admits(const std::string &header) const {
  constexpr size_t scheme = 7; // "Bearer "
  const bool bearer =
      header.size() > scheme && ::strncasecmp(header.data(), "Bearer ", scheme) == 0;
  const Digest shown = digestOf(bearer ? header.substr(scheme) : std::string());
  unsigned admitted = 0;
  for (const Digest &digest : digests) {
    unsigned different = 0;
    for (size_t i = 0; i < digest.size(); ++i)
      different |= unsigned(digest[i] ^ shown[i]);
    admitted |= unsigned(different == 0);
  }
  return bearer && admitted;
}

} // namespace m1serve
