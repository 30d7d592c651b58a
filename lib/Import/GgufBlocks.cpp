// What the bytes of a block mean (ggml's ggml-common.h and ggml-quants.c).
#include "Elements.h"
#include "Gguf.h"

#include "llvm/Support/Endian.h"

#include <cstring>

using namespace m1c;
namespace endian = llvm::support::endian;

namespace {

float half(const uint8_t *bytes) { return widenF16(endian::read16le(bytes)); }

/// Groups of blocks, taken apart.
struct Groups {
  int8_t *codes;
  char *scales; // the next group's

  void add(float scale, float minimum) {
    for (float value : {scale, minimum}) {
      endian::write32le(scales, llvm::bit_cast<uint32_t>(value));
      scales += 4;
    }
  }
  void addBytes(const uint8_t *bytes, size_t count) {
    std::memcpy(scales, bytes, count);
    scales += count;
  }
  void addHalf(const uint8_t *bytes) { addBytes(bytes, 2); }
};

/// Code i of 32: the low nibbles of 16 bytes, then the high ones.
int nibble(const uint8_t *codes, int i) { return codes[i % 16] >> i / 16 * 4 & 15; }

/// The fifth bit of code i.
int fifth(const uint8_t *bits, int i) { return (bits[i / 8] >> i % 8 & 1) << 4; }

void decodeF32(const uint8_t *block, float *out) {
  *out = llvm::bit_cast<float>(endian::read32le(block));
}
void decodeF16(const uint8_t *block, float *out) { *out = half(block); }
void decodeBf16(const uint8_t *block, float *out) { *out = widenBf16(endian::read16le(block)); }

// Scale; codes.
int codeOfQ4_0(const uint8_t *block, int i) { return nibble(block + 2, i) - 8; }
void decodeQ4_0(const uint8_t *block, float *out) {
  const float d = half(block);
  for (int i = 0; i < 32; ++i)
    out[i] = d * float(codeOfQ4_0(block, i));
}

void readQ4_0(const uint8_t *block, Groups &to) {
  to.addHalf(block);
  for (int i = 0; i < 32; ++i)
    *to.codes++ = int8_t(codeOfQ4_0(block, i));
}

// Scale, least value; codes.
void decodeQ4_1(const uint8_t *block, float *out) {
  const float d = half(block), least = half(block + 2);
  for (int i = 0; i < 32; ++i)
    out[i] = d * float(nibble(block + 4, i)) + least;
}
void readQ4_1(const uint8_t *block, Groups &to) {
  to.add(half(block), -half(block + 2));
  for (int i = 0; i < 32; ++i)
    *to.codes++ = int8_t(nibble(block + 4, i));
}

// Scale; fifth bits; codes.
int codeOfQ5_0(const uint8_t *block, int i) {
  return (nibble(block + 6, i) | fifth(block + 2, i)) - 16;
}
void decodeQ5_0(const uint8_t *block, float *out) {
  const float d = half(block);
  for (int i = 0; i < 32; ++i)
    out[i] = d * float(codeOfQ5_0(block, i));
}
void readQ5_0(const uint8_t *block, Groups &to) {
  to.addHalf(block);
  for (int i = 0; i < 32; ++i)
    *to.codes++ = int8_t(codeOfQ5_0(block, i));
}

// Scale, least value; fifth bits; codes.
int codeOfQ5_1(const uint8_t *block, int i) { return nibble(block + 8, i) | fifth(block + 4, i); }
void decodeQ5_1(const uint8_t *block, float *out) {
  const float d = half(block), least = half(block + 2);
  for (int i = 0; i < 32; ++i)
    out[i] = d * float(codeOfQ5_1(block, i)) + least;
}
void readQ5_1(const uint8_t *block, Groups &to) {
  to.add(half(block), -half(block + 2));
  for (int i = 0; i < 32; ++i)
    *to.codes++ = int8_t(codeOfQ5_1(block, i));
}

// Scale; codes.
void decodeQ8_0(const uint8_t *block, float *out) {
  const float d = half(block);
  for (int i = 0; i < 32; ++i)
    out[i] = d * float(int8_t(block[2 + i]));
}
void readQ8_0(const uint8_t *block, Groups &to) {
  to.addHalf(block);
  for (int i = 0; i < 32; ++i)
    *to.codes++ = int8_t(block[2 + i]);
}

/// Code i of 256 with 2 bits: those of 32 neighbours lie in 32 bytes, which serve four runs.
int pair(const uint8_t *codes, int i) {
  return codes[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

// Scale and least value of each 16, 4 bits each; codes; their scales.
void decodeQ2_K(const uint8_t *block, float *out) {
  const float d = half(block + 80), dLeast = half(block + 82);
  for (int i = 0; i < 256; ++i) {
    const int scales = block[i / 16];
    out[i] = d * float(scales & 15) * float(pair(block + 16, i)) - dLeast * float(scales >> 4);
  }
}

/// Of two levels: the scales of 256 columns and of each 16, bytes.
void addFine(const uint8_t *scale, const uint8_t *ofGroups, Groups &to) {
  for (int half = 0; half < 2; ++half) {
    to.addHalf(scale);
    to.addBytes(ofGroups + 8 * half, 8);
  }
}

// Third bits, 1 for codes from 0 up; codes; scales of each 16, 6 bits each, the low ones of 8 in
// the low nibbles of 8 bytes, of 8 in the high ones, the others in 4 bytes; their scale.
int codeOfQ3_K(const uint8_t *block, int i) {
  return pair(block + 32, i) - (block[i % 32] >> i / 32 & 1 ? 0 : 4);
}
int scaleOfQ3_K(const uint8_t *block, int part) {
  const uint8_t *packed = block + 96;
  const int low = packed[part % 8] >> part / 8 * 4 & 15,
            high = packed[8 + part % 4] >> part / 4 * 2 & 3;
  return (low | high << 4) - 32;
}
void decodeQ3_K(const uint8_t *block, float *out) {
  for (int part = 0; part < 16; ++part) {
    const float scale = half(block + 108) * float(scaleOfQ3_K(block, part));
    for (int i = 16 * part; i < 16 * part + 16; ++i)
      out[i] = scale * float(codeOfQ3_K(block, i));
  }
}
void readQ3_K(const uint8_t *block, Groups &to) {
  uint8_t scales[16];
  for (int part = 0; part < 16; ++part)
    scales[part] = uint8_t(scaleOfQ3_K(block, part));
  addFine(block + 108, scales, to);
  for (int i = 0; i < 256; ++i)
    *to.codes++ = int8_t(codeOfQ3_K(block, i));
}

/// Scale and least value of each of 8 parts, 6 bits each: those of the first four in the low bits
/// of 4 bytes each, of the others in the nibbles of the last four and the high bits before.
void readScales(const uint8_t *packed, uint8_t *scales, uint8_t *least) {
  for (int i = 0; i < 4; ++i) {
    scales[i] = packed[i] & 63;
    least[i] = packed[i + 4] & 63;
    scales[i + 4] = (packed[i + 8] & 15) | packed[i] >> 6 << 4;
    least[i + 4] = packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4;
  }
}

// Two scales; those of each 32; fifth bits where there are; codes, 32 in low nibbles, then 32 in
// the high ones.
template <bool isFive> int codeOfQ45_K(const uint8_t *block, int i) {
  const uint8_t *high = block + 16, *low = block + (isFive ? 48 : 16);
  const int part = i / 32, column = i % 32, code = low[part / 2 * 32 + column] >> part % 2 * 4 & 15;
  return isFive ? code | (high[column] >> part & 1) << 4 : code;
}
template <bool isFive> void decodeQ45_K(const uint8_t *block, float *out) {
  const float d = half(block), dLeast = half(block + 2);
  uint8_t scales[8], least[8];
  readScales(block + 4, scales, least);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 32;
    out[i] = d * float(scales[part]) * float(codeOfQ45_K<isFive>(block, i)) -
             dLeast * float(least[part]);
  }
}
template <bool isFive> void readQ45_K(const uint8_t *block, Groups &to) {
  uint8_t scales[8], least[8];
  readScales(block + 4, scales, least);
  for (int half = 0; half < 2; ++half) { // of two levels
    to.addBytes(block, 4);
    to.addBytes(scales + 4 * half, 4);
    to.addBytes(least + 4 * half, 4);
  }
  for (int i = 0; i < 256; ++i)
    *to.codes++ = int8_t(codeOfQ45_K<isFive>(block, i));
}

// Low bits of the codes, of each 128: 64 in low nibbles, then 64 in the high ones; high bits;
// scales of each 16; their scale.
int codeOfQ6_K(const uint8_t *block, int i) {
  const int inHalf = i % 128, low = block[i / 128 * 64 + inHalf % 64] >> inHalf / 64 * 4 & 15;
  return (low | pair(block + 128, i) << 4) - 32;
}
void decodeQ6_K(const uint8_t *block, float *out) {
  const float d = half(block + 208);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 16;
    out[i] = d * float(int8_t(block[192 + part])) * float(codeOfQ6_K(block, i));
  }
}
void readQ6_K(const uint8_t *block, Groups &to) {
  addFine(block + 208, block + 192, to);
  for (int i = 0; i < 256; ++i)
    *to.codes++ = int8_t(codeOfQ6_K(block, i));
}

/// What the groups of a block are, and what takes them apart; null where there are none.
struct StoredBlock {
  StoredGroups groups{0, 0, StoredType::f32};
  void (*read)(const uint8_t *block, Groups &to) = nullptr;
};
constexpr StoredGroups halves4{4, 32, StoredType::f16}, halves8{8, 32, StoredType::f16},
    minimums4{4, 32, StoredType::f32, /*hasMinimums=*/true},
    minimums8{8, 32, StoredType::f32, /*hasMinimums=*/true},
    paired4{4, 32, StoredType::i8, /*hasMinimums=*/true},
    paired8{8, 32, StoredType::i8, /*hasMinimums=*/true}, fine8{8, 16, StoredType::i8};

struct Format {
  GgmlType type;
  llvm::StringLiteral name;
  GgmlBlock block;
  void (*decode)(const uint8_t *block, float *out);
  StoredBlock stored = {};
};
constexpr Format formats[] = {
    {GgmlType::f32, "F32", {1, 4}, decodeF32},
    {GgmlType::f16, "F16", {1, 2}, decodeF16},
    {GgmlType::bf16, "BF16", {1, 2}, decodeBf16},
    {GgmlType::q4_0, "Q4_0", {32, 18}, decodeQ4_0, {halves4, readQ4_0}},
    {GgmlType::q4_1, "Q4_1", {32, 20}, decodeQ4_1, {minimums4, readQ4_1}},
    {GgmlType::q5_0, "Q5_0", {32, 22}, decodeQ5_0, {halves8, readQ5_0}},
    {GgmlType::q5_1, "Q5_1", {32, 24}, decodeQ5_1, {minimums8, readQ5_1}},
    {GgmlType::q8_0, "Q8_0", {32, 34}, decodeQ8_0, {halves8, readQ8_0}},
    {GgmlType::q2_k, "Q2_K", {256, 84}, decodeQ2_K},
    {GgmlType::q3_k, "Q3_K", {256, 110}, decodeQ3_K, {fine8, readQ3_K}},
    {GgmlType::q4_k, "Q4_K", {256, 144}, decodeQ45_K<false>, {paired4, readQ45_K<false>}},
    {GgmlType::q5_k, "Q5_K", {256, 176}, decodeQ45_K<true>, {paired8, readQ45_K<true>}},
    {GgmlType::q6_k, "Q6_K", {256, 210}, decodeQ6_K, {fine8, readQ6_K}},
};

const Format *find(GgmlType type) {
  for (const Format &format : formats)
    if (format.type == type)
      return &format;
  return nullptr;
}

} // namespace

GgmlBlock m1c::blockOf(GgmlType type) { return find(type)->block; }

llvm::StringRef m1c::nameOf(GgmlType type) {
  const Format *format = find(type);
  return format ? llvm::StringRef(format->name) : llvm::StringRef();
}

std::string m1c::knownGgmlTypes() {
  std::string text;
  for (const Format &format : formats)
    text += (text.empty() ? "" : ", ") + format.name.str() + " (" +
            std::to_string(uint32_t(format.type)) + ")";
  return text;
}

std::optional<StoredGroups> m1c::groupsOf(GgmlType type) {
  const Format *format = find(type);
  return format && format->stored.read ? std::optional(format->stored.groups) : std::nullopt;
}

void m1c::readGroups(GgmlType type, const char *data, int64_t blocks, int8_t *codes, char *scales) {
  const Format &format = *find(type);
  const auto *bytes = reinterpret_cast<const uint8_t *>(data);
  Groups to{codes, scales};
  for (int64_t i = 0; i < blocks; ++i)
    format.stored.read(bytes + i * format.block.bytes, to);
}

void m1c::decodeBlocks(GgmlType type, const char *data, int64_t blocks, float *out) {
  const Format &format = *find(type);
  const auto *bytes = reinterpret_cast<const uint8_t *>(data);
  for (int64_t i = 0; i < blocks; ++i)
    format.decode(bytes + i * format.block.bytes, out + i * format.block.values);
}
