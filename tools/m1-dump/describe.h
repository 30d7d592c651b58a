// An artifact as JSON: everything that m1-dump shows.
#ifndef M1_TOOLS_M1_DUMP_DESCRIBE_H
#define M1_TOOLS_M1_DUMP_DESCRIBE_H

#include "artifact/artifact.h"
#include <nlohmann/json.hpp>

namespace m1tool {

nlohmann::ordered_json describe(const m1rt::Artifact &artifact);

} // namespace m1tool

#endif
