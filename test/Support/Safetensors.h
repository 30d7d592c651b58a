// Reading and writing safetensors for tests. Apart from the importer on purpose: a shared mistake
// would hide.
#ifndef M1_TEST_SUPPORT_SAFETENSORS_H
#define M1_TEST_SUPPORT_SAFETENSORS_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace m1test {

enum class Stored { f32, bf16, f16, i32 };

/// Values as double, exact for every stored type.
struct Tensor {
  Stored type = Stored::f32;
  std::vector<int64_t> shape;
  std::vector<double> values;
  int64_t count() const;
};

using Tensors = std::map<std::string, Tensor>;

/// `value` as `type` stores it: rounded to nearest, ties to even.
double roundTo(Stored type, double value);

/// Aborts with a message when the file cannot be read or written.
Tensors readSafetensors(const std::string &path);
void writeSafetensors(const std::string &path, const Tensors &tensors);

void writeFile(const std::string &path, const std::string &content);

} // namespace m1test

#endif
