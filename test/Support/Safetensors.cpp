#include "Safetensors.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace m1test {

int64_t Tensor::count() const {
  int64_t n = 1;
  for (int64_t d : shape)
    n *= d;
  return n;
}

namespace {

[[noreturn]] void fail(const std::string &message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::abort();
}

const char *nameOf(Stored type) {
  switch (type) {
  case Stored::f32:
    return "F32";
  case Stored::bf16:
    return "BF16";
  case Stored::f16:
    return "F16";
  case Stored::i32:
    return "I32";
  }
  return "";
}

/// Rounds to `bits` of significand, not below the spacing 2^floorExponent.
double roundSignificand(double value, int bits, int floorExponent) {
  if (value == 0)
    return value;
  int exponent;
  std::frexp(value, &exponent);
  double unit = std::ldexp(1.0, std::max(exponent - bits, floorExponent));
  return std::nearbyint(value / unit) * unit;
}

uint32_t encode(Stored type, double value) {
  float f = static_cast<float>(value);
  uint32_t bits;
  if (type == Stored::i32) {
    int32_t i = static_cast<int32_t>(value);
    std::memcpy(&bits, &i, 4);
    return bits;
  }
  std::memcpy(&bits, &f, 4);
  if (type == Stored::f32)
    return bits;
  if (type == Stored::bf16)
    return bits >> 16;
  // f16: normal numbers, then subnormal ones, whose unit is 2^-24.
  uint32_t sign = bits >> 16 & 0x8000u;
  double magnitude = std::abs(value);
  if (magnitude < std::ldexp(1.0, -14))
    return sign | static_cast<uint32_t>(std::ldexp(magnitude, 24));
  int exponent;
  double fraction = std::frexp(magnitude, &exponent); // in [0.5, 1)
  return sign | static_cast<uint32_t>(exponent + 14) << 10 |
         static_cast<uint32_t>(std::ldexp(fraction * 2 - 1, 10));
}

double decode(Stored type, const char *p) {
  if (type == Stored::f32) {
    float f;
    std::memcpy(&f, p, 4);
    return f;
  }
  if (type == Stored::i32) {
    int32_t i;
    std::memcpy(&i, p, 4);
    return i;
  }
  uint16_t h;
  std::memcpy(&h, p, 2);
  if (type == Stored::bf16) {
    uint32_t bits = static_cast<uint32_t>(h) << 16;
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
  }
  double sign = h & 0x8000 ? -1.0 : 1.0;
  int exponent = h >> 10 & 31, fraction = h & 1023;
  return sign * (exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24));
}

} // namespace

double roundTo(Stored type, double value) {
  switch (type) {
  case Stored::f32:
    return static_cast<float>(value);
  case Stored::bf16:
    return roundSignificand(static_cast<float>(value), 8, -133);
  case Stored::f16:
    return roundSignificand(static_cast<float>(value), 11, -24);
  case Stored::i32:
    return std::nearbyint(value);
  }
  return value;
}

Tensors readSafetensors(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream stream;
  stream << file.rdbuf();
  std::string bytes = stream.str();
  if (bytes.size() < 8)
    fail(path + ": cannot read");
  uint64_t size;
  std::memcpy(&size, bytes.data(), 8);
  auto header = nlohmann::json::parse(bytes.substr(8, size));
  Tensors result;
  for (auto &[name, entry] : header.items()) {
    if (name == "__metadata__")
      continue;
    Tensor tensor;
    bool known = false;
    for (Stored type : {Stored::f32, Stored::bf16, Stored::f16, Stored::i32})
      if (entry["dtype"] == nameOf(type))
        tensor.type = type, known = true;
    if (!known)
      fail(path + ": unknown dtype of " + name);
    tensor.shape = entry["shape"].get<std::vector<int64_t>>();
    uint64_t offset = 8 + size + entry["data_offsets"][0].get<uint64_t>();
    int64_t width = tensor.type == Stored::f32 || tensor.type == Stored::i32 ? 4 : 2;
    if (offset + tensor.count() * width > bytes.size())
      fail(path + ": truncated");
    for (int64_t i = 0; i < tensor.count(); ++i)
      tensor.values.push_back(decode(tensor.type, bytes.data() + offset + i * width));
    result[name] = std::move(tensor);
  }
  return result;
}

void writeSafetensors(const std::string &path, const Tensors &tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto &[name, tensor] : tensors) {
    size_t begin = data.size();
    int width = tensor.type == Stored::f32 || tensor.type == Stored::i32 ? 4 : 2;
    for (double value : tensor.values) {
      uint32_t bits = encode(tensor.type, roundTo(tensor.type, value));
      data.append(reinterpret_cast<const char *>(&bits), width);
    }
    header[name] = {{"dtype", nameOf(tensor.type)},
                    {"shape", tensor.shape},
                    {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  uint64_t size = text.size();
  writeFile(path, std::string(reinterpret_cast<const char *>(&size), 8) + text + data);
}

void writeFile(const std::string &path, const std::string &content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  if (!file)
    fail(path + ": cannot write");
}

} // namespace m1test
