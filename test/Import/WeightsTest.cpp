// Weights as they are streamed from safetensors files: conversion, transforms, joins, tables, and
// what is reported.
#include "m1c/Weights.h"
#include "../Support/TemporaryDirectory.h"
#include "m1c/InputFile.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

using namespace mlir;
using namespace m1c;

namespace {

template <typename T> std::string bytesOf(const std::vector<T> &values) {
  return std::string(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T));
}

/// A directory with one safetensors file, removed at the end.
class Checkpoint {
public:
  struct Tensor {
    std::string name, type, shape, data;
  };

  explicit Checkpoint(const std::vector<Tensor> &tensors) {
    std::string header = "{", body;
    for (const Tensor &tensor : tensors) {
      header += (header.size() > 1 ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"" +
                tensor.type + "\",\"shape\":[" + tensor.shape + "],\"data_offsets\":[" +
                std::to_string(body.size()) + "," +
                std::to_string(body.size() + tensor.data.size()) + "]}";
      body += tensor.data;
    }
    header += "}";
    uint64_t size = header.size();
    directory.write("model.safetensors",
                    std::string(reinterpret_cast<char *>(&size), 8) + header + body);
  }

  std::string path() const { return directory / "model.safetensors"; }
  m1test::TemporaryDirectory directory;
};

class Weights : public ::testing::Test {
protected:
  Weights() {
    context.loadDialect<mlir::m1::M1Dialect>();
    context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
      messages.push_back(diagnostic.str());
      return success();
    });
  }

  /// The bytes of `@w`, declared as `declaration`, from the checkpoint; nullopt when writing fails.
  std::optional<std::string> write(const std::string &declaration,
                                   const std::vector<Checkpoint::Tensor> &tensors = {}) {
    Checkpoint checkpoint(tensors);
    CheckpointData data;
    auto error = [&] { return emitError(UnknownLoc::get(&context)); };
    if (failed(data.open(checkpoint.directory.path, error)))
      return std::nullopt;
    OwningOpRef<ModuleOp> module =
        parseSourceString<ModuleOp>("m1.weight @w : " + declaration, &context);
    auto weight = SymbolTable(*module).lookup<mlir::m1::WeightOp>("w");
    std::string bytes;
    LogicalResult result = writeWeight(weight, data, [&](ArrayRef<char> chunk) {
      largestChunk = std::max(largestChunk, chunk.size());
      bytes.append(chunk.data(), chunk.size());
      return success();
    });
    if (failed(result))
      return std::nullopt;
    EXPECT_EQ(static_cast<int64_t>(bytes.size()), getWeightBytes(weight));
    return bytes;
  }

  template <typename T> std::vector<T> values(const std::optional<std::string> &bytes) {
    EXPECT_TRUE(bytes);
    std::vector<T> result(bytes ? bytes->size() / sizeof(T) : 0);
    if (bytes)
      std::memcpy(result.data(), bytes->data(), bytes->size());
    return result;
  }

  /// What `@w : declaration` becomes, and of each row the scales of bf16.
  struct Quantised {
    std::vector<uint8_t> codes;
    std::vector<float> scales;
  };
  Quantised quantise(const std::string &declaration, int rows, int groups,
                     const std::vector<Checkpoint::Tensor> &tensors) {
    Quantised result{values<uint8_t>(write(declaration, tensors)), {}};
    const std::string shape = std::to_string(rows) + "x" + std::to_string(groups);
    const std::string scales =
        "tensor<" + shape + "xbf16> {scales_of = @q}\nm1.weight @q : " + declaration;
    for (uint16_t half : values<uint16_t>(write(scales, tensors))) {
      const uint32_t bits = uint32_t(half) << 16;
      std::memcpy(&result.scales.emplace_back(), &bits, 4);
    }
    EXPECT_EQ(result.scales.size(), size_t(rows) * groups);
    return result;
  }

  MLIRContext context;
  std::vector<std::string> messages;
  size_t largestChunk = 0;
};

// Equal types copy bit for bit, whatever the shape of the source says about dimensions of size 1.
TEST_F(Weights, Copies) {
  std::vector<float> f32{1, -2, 3.5f, 0, 1e-40f, 6};
  EXPECT_EQ(values<float>(write("tensor<3x2xf32> {sources = [\"a\"]}",
                                {{"a", "F32", "3,1,2", bytesOf(f32)}})),
            f32);
  std::vector<uint16_t> bf16{0x3f80, 0xc000, 0x0001, 0x7f7f};
  EXPECT_EQ(values<uint16_t>(write("tensor<2x2xbf16> {sources = [\"a\"]}",
                                   {{"a", "BF16", "2,2", bytesOf(bf16)}})),
            bf16);
}

// A row becomes i8 by its scale, the largest absolute value / 127: of joined sources and chosen
// rows, in every stored type, across the seams of chunks. Zeros have the scale 0; a row with a NaN
// or an infinite value has the scale NaN, so that what is computed with it is NaN.
TEST_F(Weights, QuantisesRows) {
  constexpr int columns = 1000, rows = 700; // 2.8 MB in f32: rows lie across chunks of 1 MiB
  std::vector<float> f32(columns * rows);
  std::vector<uint16_t> bf16;
  for (size_t i = 0; i < f32.size(); ++i)
    f32[i] = float(int(i * 7919 % 20011) - 10005) * std::ldexp(1.f, int(i / columns % 40) - 30);
  for (int i = 0; i < columns; ++i)
    bf16.push_back(uint16_t(0x3f80 + i % 128 + (i % 3 ? 0 : 0x8000)));
  const std::string declaration =
      "tensor<600x1000xi8> {sources = [\"b\", \"a\"], rows = array<i64: 0, 1, 100, 599>, "
      "transform = #m1<transform int8_rows>}";
  const std::vector<Checkpoint::Tensor> tensors = {{"a", "F32", "700,1000", bytesOf(f32)},
                                                   {"b", "BF16", "1,1000", bytesOf(bf16)}};
  auto quantised = values<int8_t>(write(declaration, tensors));
  auto scales = values<float>(
      write("tensor<600xf32> {scales_of = @q}\nm1.weight @q : " + declaration, tensors));
  ASSERT_EQ(quantised.size(), 600u * columns);
  ASSERT_EQ(scales.size(), 600u);
  for (int row = 0; row < 600; ++row) {
    auto value = [&](int i) {
      if (row)
        return f32[(99 + row) * columns + i];
      uint32_t bits = uint32_t(bf16[i]) << 16;
      float wide;
      std::memcpy(&wide, &bits, 4);
      return wide;
    };
    float largest = 0;
    for (int i = 0; i < columns; ++i)
      largest = std::max(largest, std::abs(value(i)));
    ASSERT_EQ(scales[row], largest / 127) << row;
    for (int i = 0; i < columns; ++i)
      ASSERT_EQ(quantised[row * columns + i], std::nearbyint(value(i) / scales[row]))
          << row << " " << i;
  }
  EXPECT_LE(largestChunk, size_t(1) << 20);
  EXPECT_TRUE(messages.empty());

  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Checkpoint::Tensor> special = {
      {"a", "F32", "5,2", bytesOf<float>({0, -0.f, 1, nan, -INFINITY, 1, 1e-44f, -1e-45f, 2, -4})}};
  const std::string five =
      "tensor<5x2xi8> {sources = [\"a\"], transform = #m1<transform int8_rows>}";
  EXPECT_EQ(values<int8_t>(write(five, special)),
            (std::vector<int8_t>{0, 0, 0, 0, 0, 0, 0, 0, 64, -127}));
  EXPECT_EQ(messages.size(), 1u);
  auto five_scales =
      values<float>(write("tensor<5xf32> {scales_of = @q}\nm1.weight @q : " + five, special));
  EXPECT_EQ(messages.size(), 1u) << "said with the weight itself";
  EXPECT_EQ(five_scales[0], 0);
  EXPECT_TRUE(std::isnan(five_scales[1]) && std::isnan(five_scales[2]));
  EXPECT_EQ(five_scales[3], 0); // subnormal: less than the least scale
  EXPECT_EQ(five_scales[4], 4.f / 127);
  EXPECT_FALSE(
      write("tensor<4x2xi8> {sources = [\"a\"], transform = #m1<transform int8_rows>}", special));
}

// Rows become e4m3 numbers, the nearest of all codes; scales take the largest value to 448.
TEST_F(Weights, QuantisesRowsToE4m3) {
  constexpr int columns = 300, rows = 40;
  std::vector<float> f32(columns * rows);
  for (size_t i = 0; i < f32.size(); ++i)
    f32[i] = float(int(i * 7919 % 20011) - 10005) * std::ldexp(1.f, int(i % 13) - 30);
  const std::string declaration =
      "tensor<40x300xf8E4M3FN> {sources = [\"a\"], transform = #m1<transform fp8_rows>}";
  const std::vector<Checkpoint::Tensor> tensors = {{"a", "F32", "40,300", bytesOf(f32)}};
  auto codes = values<uint8_t>(write(declaration, tensors));
  auto scales = values<float>(
      write("tensor<40xf32> {scales_of = @q}\nm1.weight @q : " + declaration, tensors));
  ASSERT_EQ(codes.size(), f32.size());
  ASSERT_EQ(scales.size(), size_t(rows));
  auto valueOf = [](int code) {
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double size =
        exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
    return code & 0x80 ? -size : size;
  };
  for (int row = 0; row < rows; ++row) {
    float largest = 0;
    for (int i = 0; i < columns; ++i)
      largest = std::max(largest, std::abs(f32[row * columns + i]));
    ASSERT_EQ(scales[row], largest / 448) << row;
    for (int i = 0; i < columns; ++i) {
      const double wanted = f32[row * columns + i] / scales[row];
      const int code = codes[row * columns + i];
      ASSERT_NE(code & 0x7f, 0x7f) << row << " " << i;
      for (int other = 0; other < 256; ++other)
        if ((other & 0x7f) != 0x7f)
          ASSERT_LE(std::abs(valueOf(code) - wanted), std::abs(valueOf(other) - wanted))
              << row << " " << i;
    }
  }
  EXPECT_TRUE(messages.empty());

  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Checkpoint::Tensor> special = {
      {"a", "F32", "5,2", bytesOf<float>({0, -0.f, 1, nan, -INFINITY, 1, 1e-44f, -1e-45f, 2, -4})}};
  const std::string five =
      "tensor<5x2xf8E4M3FN> {sources = [\"a\"], transform = #m1<transform fp8_rows>}";
  EXPECT_EQ(values<uint8_t>(write(five, special)),
            (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 0x76, 0xfe}));
  EXPECT_EQ(messages.size(), 1u);
  auto five_scales =
      values<float>(write("tensor<5xf32> {scales_of = @q}\nm1.weight @q : " + five, special));
  EXPECT_TRUE(std::isnan(five_scales[1]) && std::isnan(five_scales[2]));
  EXPECT_EQ(five_scales[4], 4.f / 448);
}

// Groups of a row become int4 by a scale of bf16: the one of the tried scales that leaves the least
// squared error, which is never more than that of the largest value / -8. Rows end with short
// groups and are filled up with zeros to whole blocks.
TEST_F(Weights, QuantisesGroups) {
  constexpr int columns = 1000, rows = 300; // 1.2 MB in f32: a row lies across chunks
  std::vector<float> f32(columns * rows);
  uint32_t state = 1;
  for (size_t i = 0; i < f32.size(); ++i) {
    float sum = -6; // of twelve uniform values: near normal
    for (int j = 0; j < 12; ++j)
      sum += float((state = state * 1664525 + 1013904223) >> 8) * 0x1p-24f;
    f32[i] = sum * std::ldexp(1.f, int(i / columns % 40) - 30);
  }
  const std::vector<Checkpoint::Tensor> tensors = {{"a", "F32", "300,1000", bytesOf(f32)}};
  for (int group : {32, 64, 128}) {
    SCOPED_TRACE(group);
    const std::string declaration = "tensor<300x512xui8> {sources = [\"a\"], transform = "
                                    "#m1<transform int4_groups_" +
                                    std::to_string(group) + ">}";
    const int groups = (columns + group - 1) / group;
    const auto [bytes, scales] = quantise(declaration, rows, groups, tensors);
    ASSERT_EQ(bytes.size(), 300u * 512);
    double worst = 0, squares = 0, errors = 0;
    for (int row = 0; row < rows; ++row)
      for (int g = 0; g < groups; ++g) {
        const float scale = scales[row * groups + g];
        float largest = 0;
        const int begin = g * group, end = std::min(columns, begin + group);
        for (int i = begin; i < end; ++i)
          if (std::abs(f32[row * columns + i]) > std::abs(largest))
            largest = f32[row * columns + i];
        double error = 0, plain = 0;
        for (int i = begin; i < end; ++i) {
          const float value = f32[row * columns + i];
          // Column 128·b + 32·p + w is in bits 4·p of word w of block b.
          const int word = row * 512 + i / 128 * 64 + i % 32 * 2;
          int q = (bytes[word] | bytes[word + 1] << 8) >> (i % 128 / 32 * 4) & 15;
          q = q < 8 ? q : q - 16;
          ASSERT_EQ(q, std::clamp(std::nearbyint(value / scale), -8.f, 7.f)) << row << " " << i;
          error += std::pow(double(value) - q * double(scale), 2);
          const double step = largest / -8.0;
          plain += std::pow(value - step * std::clamp(std::nearbyint(value / step), -8.0, 7.0), 2);
          squares += std::pow(value / double(largest), 2);
          errors += std::pow((double(value) - q * double(scale)) / largest, 2);
        }
        worst = std::max(worst, error / plain);
      }
    EXPECT_LT(worst, 1.1) << "largest / -8 as a bf16 is among the tried ones, off by up to 1/512";
    // 8.1, 9.0, 9.6 % of a normal value's deviation.
    EXPECT_LT(std::sqrt(errors / squares), group == 32 ? 0.083 : group == 64 ? 0.092 : 0.098);
    for (int row = 0; row < rows; ++row) // columns 1000 … 1023
      for (int w = 8; w < 32; ++w)
        ASSERT_EQ(bytes[row * 512 + 448 + 2 * w + 1] >> 4, 0) << row << " " << w;
  }
  EXPECT_LE(largestChunk, size_t(1) << 20);
  EXPECT_TRUE(messages.empty());

  // Zeros, a NaN, an infinite value, less than a scale can be.
  const std::vector<Checkpoint::Tensor> special = {
      {"a", "F32", "5,2",
       bytesOf<float>({0, -0.f, 1, std::nanf(""), -INFINITY, 1, 1e-44f, -1e-45f, 2, -4})}};
  const std::string five =
      "tensor<5x64xui8> {sources = [\"a\"], transform = #m1<transform int4_groups_32>}";
  const auto [bytes, scales] = quantise(five, 5, 1, special);
  EXPECT_EQ(messages.size(), 1u) << "said with the weight itself alone";
  ASSERT_EQ(bytes.size(), 5u * 64);
  EXPECT_EQ(std::count(bytes.begin(), bytes.begin() + 4 * 64, 0), 4 * 64);
  EXPECT_EQ(scales[0], 0);
  EXPECT_TRUE(std::isnan(scales[1]) && std::isnan(scales[2]));
  EXPECT_EQ(scales[3], 0);
  EXPECT_EQ(scales[4], 0.5f); // both exact
  EXPECT_EQ(bytes[4 * 64] & 15, 4);
  EXPECT_EQ(bytes[4 * 64 + 2] & 15, 8);
  EXPECT_FALSE(write("tensor<4x64xui8> {sources = [\"a\"], transform = #m1<transform "
                     "int4_groups_32>}",
                     special));
  EXPECT_EQ(messages.back(), "'m1.weight' op expected sources of 4 rows whose int4 take 64 bytes, "
                             "got 10 elements");
}

// Groups of a row become int8 by a scale of bf16, the largest value / 127; rows end with short
// groups. Scales of f16 are those of checkpoints that hold groups.
TEST_F(Weights, QuantisesGroupsToInt8) {
  constexpr int columns = 1000, rows = 300;
  std::vector<float> f32(columns * rows);
  for (size_t i = 0; i < f32.size(); ++i)
    f32[i] = float(int(i * 7919 % 20011) - 10005) * std::ldexp(1.f, int(i % 7) - 30);
  const std::vector<Checkpoint::Tensor> tensors = {{"a", "F32", "300,1000", bytesOf(f32)}};
  for (int group : {32, 64, 128}) {
    SCOPED_TRACE(group);
    const std::string declaration = "tensor<300x1000xi8> {sources = [\"a\"], transform = "
                                    "#m1<transform int8_groups_" +
                                    std::to_string(group) + ">}";
    const int groups = (columns + group - 1) / group;
    const auto [codes, scales] = quantise(declaration, rows, groups, tensors);
    ASSERT_EQ(codes.size(), f32.size());
    for (int row = 0; row < rows; ++row)
      for (int g = 0; g < groups; ++g) {
        const int begin = row * columns + g * group,
                  end = row * columns + std::min(columns, (g + 1) * group);
        float largest = 0;
        for (int i = begin; i < end; ++i)
          largest = std::max(largest, std::abs(f32[i]));
        const float scale = scales[row * groups + g];
        ASSERT_NEAR(scale, largest / 127, largest / 127 / 256); // rounded to eight bits
        for (int i = begin; i < end; ++i)
          ASSERT_EQ(int8_t(codes[i]), std::clamp(std::nearbyint(f32[i] / scale), -127.f, 127.f))
              << i;
      }
  }
  EXPECT_LE(largestChunk, size_t(1) << 20);
  EXPECT_TRUE(messages.empty());

  const std::vector<Checkpoint::Tensor> special = {
      {"a", "F32", "4,2", bytesOf<float>({0, -0.f, 1, std::nanf(""), -INFINITY, 1, 127, -254})}};
  const std::string four =
      "tensor<4x2xi8> {sources = [\"a\"], transform = #m1<transform int8_groups_32>}";
  const auto [codes, scales] = quantise(four, 4, 1, special);
  EXPECT_EQ(messages.size(), 1u) << "said with the weight itself alone";
  EXPECT_EQ(codes, (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 64, uint8_t(-127)}));
  EXPECT_EQ(scales[0], 0);
  EXPECT_TRUE(std::isnan(scales[1]) && std::isnan(scales[2]));
  EXPECT_EQ(scales[3], 2);
  EXPECT_FALSE(write("tensor<4x1xf16> {scales_of = @q}\nm1.weight @q : " + four, special));
  EXPECT_EQ(messages.back(), "'m1.weight' op expected scales of bf16 where the checkpoint holds "
                             "none, got 'tensor<4x1xf16>'");
  EXPECT_FALSE(write("tensor<4x2xi8> {sources = [\"a\"], transform = #m1<transform "
                     "int8_groups_32>, m1.stored_scales = f16}",
                     special));
  EXPECT_EQ(messages.back(), "'m1.weight' op expected tensor 'a' to hold int8 in groups of 32 with "
                             "scales of 'f16', as m1.stored_scales says");
}

// Columns that count little give way: the scale that is taken leaves the least squared error times
// what the columns count.
TEST_F(Weights, QuantisesByImportance) {
  std::vector<float> f32(64);
  uint32_t state = 1;
  for (float &value : f32)
    value = float((state = state * 1664525 + 1013904223) >> 8) * 0x1p-23f - 1;
  f32[5] = 2.5f, f32[40] = -2.5f; // beyond the others
  auto errors = [&](const std::string &importance, size_t group, bool outliers) {
    const std::vector<Checkpoint::Tensor> tensors = {{"a", "F32", "1,64", bytesOf(f32)}};
    const std::string declaration =
        "tensor<1x64xui8> {sources = [\"a\"], transform = #m1<transform "
        "int4_groups_32>" +
        importance + "}";
    auto bytes = values<uint8_t>(write(declaration, tensors));
    auto scales = values<uint16_t>(
        write("tensor<1x2xbf16> {scales_of = @q}\nm1.weight @q : " + declaration, tensors));
    double sum = 0;
    for (size_t i = 32 * group; i < 32 * group + 32; ++i) {
      const size_t word = i % 32 * 2;
      int q = (bytes[word] | bytes[word + 1] << 8) >> (i / 32 * 4) & 15;
      const uint32_t bits = uint32_t(scales[group]) << 16;
      float scale;
      std::memcpy(&scale, &bits, 4);
      if ((i == 5 || i == 40) == outliers)
        sum += std::pow(f32[i] - (q < 8 ? q : q - 16) * double(scale), 2);
    }
    return sum;
  };
  auto counting = [](const char *outlier) {
    std::string list;
    for (int i = 0; i < 64; ++i)
      list += std::string(i ? ", " : "") + (i == 5 ? outlier : "1.0");
    return ", m1.column_importance = dense<[" + list + "]> : tensor<64xf32>";
  };
  EXPECT_LT(errors(counting("0.0"), 0, false), 0.8 * errors("", 0, false));
  EXPECT_GT(errors(counting("0.0"), 0, true), errors("", 0, true));
  EXPECT_LE(errors(counting("1000.0"), 0, true), errors("", 0, true));
  // All the same, and the other group: as without.
  EXPECT_EQ(errors(counting("1.0"), 0, false), errors("", 0, false));
  EXPECT_EQ(errors(counting("0.0"), 1, false), errors("", 1, false));
  EXPECT_TRUE(messages.empty());

  for (const char *wrong : {"dense<1.0> : tensor<32xf32>", "dense<1> : tensor<64xi32>"}) {
    EXPECT_FALSE(write("tensor<1x64xui8> {sources = [\"a\"], transform = #m1<transform "
                       "int4_groups_32>, m1.column_importance = " +
                           std::string(wrong) + "}",
                       {{"a", "F32", "1,64", bytesOf(f32)}}));
    EXPECT_EQ(messages.back(), "'m1.weight' op expected m1.column_importance with transform "
                               "int4_groups_…, 64 numbers of f32");
  }
}

// Rows of a source, in any order and more than once; 1 is added where a norm stores less.
TEST_F(Weights, TakesRows) {
  std::vector<float> f32{1, 2, 3, 4, 5, 6};
  EXPECT_EQ(values<float>(write("tensor<3x2xf32> {sources = [\"a\", \"a\"], "
                                "rows = array<i64: 2, 1, 0, 2>}",
                                {{"a", "F32", "3,2", bytesOf(f32)}})),
            (std::vector<float>{5, 6, 1, 2, 3, 4}));
  EXPECT_EQ(values<float>(write("tensor<2xf32> {sources = [\"a\"], transform = #m1<transform "
                                "plus_one>}",
                                {{"a", "BF16", "2", bytesOf<uint16_t>({0x3e80, 0xbf80})}})),
            (std::vector<float>{1.25f, 0}));
  EXPECT_FALSE(write("tensor<2x2xf32> {sources = [\"a\"], rows = array<i64: 2, 2>}",
                     {{"a", "F32", "3,2", bytesOf(f32)}}));
  EXPECT_EQ(messages.back(), "'m1.weight' op tensor 'a' has no rows 2 to 4");
}

// bf16 and f16 widen exactly, subnormals and infinities included.
TEST_F(Weights, Widens) {
  EXPECT_EQ(values<float>(write("tensor<2xf32> {sources = [\"a\"]}",
                                {{"a", "BF16", "2", bytesOf<uint16_t>({0x3fc0, 0xc000})}})),
            (std::vector<float>{1.5f, -2}));
  std::vector<uint16_t> f16{0x3c00, 0xc400, 0x0001, 0x83ff, 0x7bff, 0x7c00};
  EXPECT_EQ(
      values<float>(write("tensor<6xf32> {sources = [\"a\"]}", {{"a", "F16", "6", bytesOf(f16)}})),
      (std::vector<float>{1, -4, std::ldexp(1.f, -24), -std::ldexp(1023.f, -24), 65504, INFINITY}));
}

// f32 rounds to bf16 to nearest, halves to even, and overflows to infinity.
TEST_F(Weights, RoundsToNearestEven) {
  std::vector<float> source{1 + std::ldexp(1.f, -8), 1 + 3 * std::ldexp(1.f, -8),
                            1 + std::ldexp(1.001f, -8), 3.4e38f};
  EXPECT_EQ(values<uint16_t>(
                write("tensor<4xbf16> {sources = [\"a\"]}", {{"a", "F32", "4", bytesOf(source)}})),
            (std::vector<uint16_t>{0x3f80, 0x3f82, 0x3f81, 0x7f80}));
}

// neg_exp and double are computed after widening.
TEST_F(Weights, Transforms) {
  std::vector<float> log{0, 1, -3};
  std::vector<float> a =
      values<float>(write("tensor<3xf32> {sources = [\"a\"], transform = #m1<transform neg_exp>}",
                          {{"a", "F32", "3", bytesOf(log)}}));
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_EQ(a[i], float(-std::exp(double(log[i]))));
  EXPECT_EQ(
      values<float>(write("tensor<2xf32> {sources = [\"a\"], transform = #m1<transform double>}",
                          {{"a", "BF16", "2", bytesOf<uint16_t>({0x3fc0, 0xc000})}})),
      (std::vector<float>{3, -4}));
}

// Sources join along dimension 0 in the order of the list, not of the file, and may differ in type.
TEST_F(Weights, Joins) {
  EXPECT_EQ(values<float>(write("tensor<3x1xf32> {sources = [\"b\", \"a\"]}",
                                {{"a", "F32", "2,1", bytesOf<float>({1, 2})},
                                 {"b", "BF16", "1,1", bytesOf<uint16_t>({0x4040})}})),
            (std::vector<float>{3, 1, 2}));
}

// Chunks stay at 1 MiB for a weight of 12 MB, and their seams lose nothing.
TEST_F(Weights, StreamsInChunks) {
  std::vector<float> source(3000001);
  for (size_t i = 0; i < source.size(); ++i)
    source[i] = float(i);
  auto twice = values<float>(
      write("tensor<3000001xf32> {sources = [\"a\"], transform = #m1<transform double>}",
            {{"a", "F32", "3000001", bytesOf(source)}}));
  ASSERT_EQ(twice.size(), source.size());
  for (size_t i = 0; i < source.size(); ++i)
    ASSERT_EQ(twice[i], 2 * source[i]) << i;
  EXPECT_LE(largestChunk, size_t(1) << 20);
}

// NaN is a warning that names the tensor, once, in every stored type, and passes through.
TEST_F(Weights, WarnsAboutNan) {
  float nan = std::numeric_limits<float>::quiet_NaN();
  auto bytes = write("tensor<2xbf16> {sources = [\"model.a\"]}",
                     {{"model.a", "F32", "2", bytesOf<float>({nan, nan})}});
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0], "checkpoint tensor 'model.a' holds NaN");
  EXPECT_GT(values<uint16_t>(bytes)[0] & 0x7fff, 0x7f80);
  write("tensor<1xf32> {sources = [\"a\"]}", {{"a", "F16", "1", bytesOf<uint16_t>({0xfe00})}});
  write("tensor<1xbf16> {sources = [\"a\"]}", {{"a", "BF16", "1", bytesOf<uint16_t>({0x7f81})}});
  EXPECT_EQ(messages.size(), 3u);
  // Infinity is worth a warning, too.
  write("tensor<1xbf16> {sources = [\"a\"]}", {{"a", "BF16", "1", bytesOf<uint16_t>({0x7f80})}});
  EXPECT_EQ(messages.size(), 4u);
}

// Sources that are not there, or do not fill the weight, are errors.
TEST_F(Weights, RefusesWrongSources) {
  EXPECT_FALSE(
      write("tensor<2xf32> {sources = [\"b\"]}", {{"a", "F32", "2", bytesOf<float>({1, 2})}}));
  EXPECT_FALSE(
      write("tensor<3xf32> {sources = [\"a\"]}", {{"a", "F32", "2", bytesOf<float>({1, 2})}}));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0], "'m1.weight' op the checkpoint holds no tensor 'b'");
  EXPECT_EQ(messages[1], "'m1.weight' op expected sources of 3 elements together, got 2");
}

// A constant is written in its own type.
TEST_F(Weights, WritesConstants) {
  EXPECT_EQ(values<float>(write("tensor<3xf32> {value = dense<[1.0, 2.0, -0.5]> : tensor<3xf32>}")),
            (std::vector<float>{1, 2, -0.5f}));
  EXPECT_EQ(values<uint16_t>(write("tensor<2xbf16> {value = dense<1.0> : tensor<2xbf16>}")),
            (std::vector<uint16_t>{0x3f80, 0x3f80}));
  EXPECT_EQ(values<int32_t>(write("tensor<2xi32> {value = dense<[-1, 7]> : tensor<2xi32>}")),
            (std::vector<int32_t>{-1, 7}));
}

// Rotary tables hold scale · (cos, sin) of step·row·frequency, rounded once from f64; far rows too.
TEST_F(Weights, ComputesAngles) {
  auto table = values<float>(write("tensor<512x3x2xf32> {angles = #m1.rotary_angles<step = 256, "
                                   "frequencies = [1.0, 0.0123, 7.5e-6], scale = 1.25>}"));
  ASSERT_EQ(table.size(), 512u * 6);
  const double frequencies[] = {1.0, 0.0123, 7.5e-6};
  for (int row : {0, 1, 511})
    for (int i = 0; i < 3; ++i) {
      double angle = row * 256.0 * frequencies[i];
      EXPECT_FLOAT_EQ(table[row * 6 + 2 * i], float(1.25 * std::cos(angle)));
      EXPECT_FLOAT_EQ(table[row * 6 + 2 * i + 1], float(1.25 * std::sin(angle)));
    }
}

// A file that is cut off while it is mapped reads as zeros, and is told; before, it may be read.
TEST_F(Weights, FilesAreCutOffWhileInUse) {
  Checkpoint checkpoint({{"a", "F32", "65536", std::string(4 * 65536, 'x')}});
  CheckpointData data;
  ASSERT_TRUE(succeeded(
      data.open(checkpoint.directory.path, [&] { return emitError(UnknownLoc::get(&context)); })));
  EXPECT_TRUE(checkUnchanged(data).ok());
  EXPECT_EQ(data.find("a")->data.back(), 'x');
  ASSERT_EQ(truncate(checkpoint.path().c_str(), 100), 0);
  EXPECT_EQ(data.find("a")->data.back(), '\0');
  EXPECT_EQ(checkUnchanged(data).message(), checkpoint.path() + ": was changed while in use");
}

} // namespace
