// Writes tensors in the safetensors format.
#ifndef M1_TOOLS_COMMON_SAFETENSORS_WRITER_H
#define M1_TOOLS_COMMON_SAFETENSORS_WRITER_H

#include "tool.h"
#include <cstdint>
#include <string>
#include <vector>

namespace m1tool {

struct NamedTensor {
  std::string name;  // must need no escaping in JSON
  const char *dtype; // F32, I32
  std::vector<uint64_t> shape;
  const void *data; // borrowed
  uint64_t bytes;
};

inline m1rt::Status writeSafetensors(const std::string &path,
                                     const std::vector<NamedTensor> &tensors) {
  std::string header = "{";
  uint64_t offset = 0;
  for (const NamedTensor &tensor : tensors) {
    header += (offset || header.size() > 1 ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"" +
              tensor.dtype + "\",\"shape\":[";
    for (size_t i = 0; i < tensor.shape.size(); ++i)
      header += (i ? "," : "") + std::to_string(tensor.shape[i]);
    header += "],\"data_offsets\":[" + std::to_string(offset) + "," +
              std::to_string(offset + tensor.bytes) + "]}";
    offset += tensor.bytes;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t size = header.size();

  OutputFile file;
  M1_TRY(file.open(path));
  M1_TRY(file.write(&size, 8));
  M1_TRY(file.write(header.data(), header.size()));
  for (const NamedTensor &tensor : tensors)
    M1_TRY(file.write(tensor.data, tensor.bytes));
  return file.commit();
}

} // namespace m1tool

#endif
