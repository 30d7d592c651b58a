// Files of token ids separated by blanks.
#ifndef M1_TOOLS_RUN_TOKEN_IDS_H
#define M1_TOOLS_RUN_TOKEN_IDS_H

#include "status.h"
#include <cstdint>
#include <string>
#include <vector>

namespace m1tool {

m1rt::Status readFile(const std::string &path, std::string *out);
/// At least one id, all below `vocabulary`; the error names the first word that is none.
m1rt::Status readTokenIds(const std::string &path, int64_t vocabulary, std::vector<int32_t> *out);

} // namespace m1tool

#endif
