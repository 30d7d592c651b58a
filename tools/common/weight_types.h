// Which types the weights of an artifact have, and the bytes of each.
#ifndef M1_TOOLS_WEIGHT_TYPES_H
#define M1_TOOLS_WEIGHT_TYPES_H

#include "artifact/artifact.h"
#include "device.h"
#include <map>
#include <string>

namespace m1tool {

/// Bytes by the type's name.
inline std::map<std::string, uint64_t> weightTypes(const m1rt::Artifact &artifact) {
  std::map<std::string, uint64_t> bytes;
  const auto *weights = artifact.module().weights();
  for (uint32_t i = 0; weights && i < weights->size(); ++i)
    bytes[m1rt::elementName(weights->Get(i)->type()->element())] += artifact.weightBytes(i);
  return bytes;
}

/// "bf16 2.1 GB, f32 1.2 MB".
inline std::string weightTypesText(const std::map<std::string, uint64_t> &bytes) {
  std::string text;
  for (const auto &[type, size] : bytes)
    text += (text.empty() ? "" : ", ") + type + " " + m1rt::bytesText(size);
  return text;
}

} // namespace m1tool

#endif
