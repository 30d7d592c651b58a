// The keys that clients show.
#ifndef M1_TOOLS_SERVE_KEYS_H
#define M1_TOOLS_SERVE_KEYS_H

#include "base/sha256.h"
#include "status.h"
#include <string>
#include <vector>

namespace m1serve {

/// Keeps digests alone and compares all of them whole, so that neither a key's letters nor its
/// length can be told from the time an answer takes.
class ApiKeys {
public:
  /// One key a line; blank lines and those that begin with # do not count.
  static m1rt::Status read(const std::string &path, ApiKeys *out);
  bool empty() const { return digests.empty(); }
  /// `header`: of Authorization, "Bearer KEY".
  bool admits(const std::string &header) const;

private:
  std::vector<m1rt::Digest> digests;
};

} // namespace m1serve

#endif
