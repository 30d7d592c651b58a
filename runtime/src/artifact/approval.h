// What a caller may demand of an artifact before its code is mapped.
#ifndef M1RT_ARTIFACT_APPROVAL_H
#define M1RT_ARTIFACT_APPROVAL_H

#include "base/sha256.h"
#include "status.h"
#include <functional>
#include <string>

namespace m1rt {

/// 64 hexadecimal digits of either case; false for any other text.
bool parseDigest(const std::string &text, Digest *out);

/// For ModelOptions::approve: the artifact is exactly this one.
std::function<Status(const Digest &)> requireDigest(const Digest &wanted);

} // namespace m1rt

#endif
