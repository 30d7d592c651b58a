// y[t, n] = Σ_k x[t, k] · w[n, k] (· scale[n]) (+ bias[n]): dot products along k, a tile of weight
// rows against a tile of tokens in registers. Weights of i8 become floating point there, which
// holds them exactly: the sums are those of a weight of bf16 with the same values. So do those of
// e4m3, which meet rows of e4m3 numbers, held as bf16, that have a scale each (row_scale). int8 and
// int4 with scales of groups are those of bf16(code · scale) where pairs of bf16 are multiplied, in
// the order of weights of bf16, bit by bit; elsewhere sums over a group of 64 or 128 columns are
// multiplied by the group's scale before they are added up. In groups of 32, with minimums, or with
// scales of two levels it is the weights everywhere that become code · scale - minimum, once for
// all tokens. Products of code and scale are exact, so that a fused subtraction is the difference
// rounded once.
#include "../CallWriter.h"
#include "M1/IR/Int4.h"
#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;

namespace m1c {
namespace {

constexpr int64_t kTileRows = 4; // weight rows of a register tile
// How far ahead of its loads a register asks for weights. On Zen 5 one token then streams 8192×3072
// bf16 weights at 96 % of plain read speed (87 % with f32 activations, 91 % with AVX2); 84, 71 and
// 42 % with tiles of neighbouring rows and without prefetch; 512 and 4096 bytes are slower.
constexpr int64_t kPrefetchBytes = 2048;
// Bytes of a row of weights that are unpacked at a time, for all tokens of a group: those of a
// tile, four rows, stay in the first cache beside the sums and what passes of x. Half as many are
// not faster.
constexpr int64_t kChunkBytes = 4096;
// Tokens of a group: x of a few thousand columns stays in L2 beside the block of weights, and
// weights come from memory once in 64 tokens.
constexpr int64_t kGroupTokens = 64;

// Tokens of a tile up to which registers are left for a table of each weight row, made by one
// conversion for two groups.
constexpr int64_t kSharedTables = 4;

// Tokens of a step from which on products are those of tile registers, where the CPU has them.
constexpr int64_t kTileTokens = 8;
// Tokens of a group then, and columns that it takes at a time.
constexpr int64_t kTileGroup = 256, kTileChunk = 512;

// Tokens of a step from which on a group takes the weight rows of so many.
constexpr int64_t kTileWide = 512, kTileNeighbours = 2;

/// Whether products of many tokens are those of tile registers.
bool hasTiles(const KernelSpec &spec, const CpuInfo &cpu) {
  Type weight = spec.get("weight").element;
  return cpu.amxBf16 && spec.get("x").element.isBF16() &&
         (weight.isBF16() || m1::isQuantisedElement(weight));
}

/// Weight rows of one group. 64 rows of a few thousand columns stay in L2 while the group's tokens
/// pass; fewer where N is small, so that a pool has groups to share.
int64_t blockRows(int64_t n) {
  return std::clamp<int64_t>(llvm::alignTo(llvm::divideCeil(n, 16), kTileRows), kTileRows, 64);
}

/// Columns of a scale of groups; 0 without such.
int64_t groupSize(const KernelSpec &spec) {
  if (spec.find("scale") < 0 || spec.get("scale").dims.size() < 2)
    return 0;
  const OperandSpec &scale = spec.get("scale");
  return *m1::groupOf(spec.get("x").dims.back(), scale.dims, scale.element); // verified
}

struct LinearWriter {
  KernelWriter &w;
  Type xType = w.operand("x").element, wType = w.operand("weight").element,
       outType = w.operand("out").element;
  int64_t n = w.operand("weight").dims[0], k = w.columns("x");
  bool isInt4 = m1::isInt4Pairs(wType);
  int64_t group = groupSize(w.spec); // columns of a scale; 0: whole rows
  bool hasMinimums = group && m1::hasMinimums(w.operand("scale").dims);
  bool twoLevels = group && m1::isTwoLevels(w.operand("scale").element);
  // Pairs of bf16 products summed in f32 by one instruction. Not of integers where the CPU has tile
  // registers, which take all but the smallest steps: such CPUs are Intel's, whose cores add up two
  // registers of f32 in half the time of one of pairs. On a Xeon of model 207 1 to 6 tokens so take
  // 0.6 to 0.95 of the time.
  bool pairs =
      w.cpu.avx512Bf16 && xType.isBF16() &&
      (wType.isBF16() || (m1::isQuantisedElement(wType) && !(w.cpu.amxBf16 && wType.isInteger(8))));
  int64_t step = pairs ? 2 * w.lanes : w.lanes;
  // Whether weights of groups become numbers before they are multiplied, not their sums. Those of
  // groups of 32 do once for all tokens of a step: 0.7 to 0.85 of the time of scaled sums for 32
  // tokens, up to 1.2 times for one. Of longer groups sums are as fast for many, faster for one.
  bool scalesWeights = pairs || hasMinimums || twoLevels || group == m1::int4Plane;
  // Tokens of a register tile: with AVX-512 4·6 sums, 4 weight registers and one of x fit the 32
  // registers, with AVX2 4·2 the 16.
  int64_t tileTokens = w.cpu.avx512 ? 6 : 2;
  // What products take. Of several tiles of tokens the first leaves weights of other types so for
  // the others. It is of fewer tokens: registers are left for what makes them.
  Type unpacked = pairs ? w.b.getBF16Type() : w.b.getF32Type();
  bool unpacks = wType != unpacked;
  int64_t firstTokens = w.cpu.avx512 ? 4 : 2;
  int64_t chunks = llvm::divideCeil(k * unpacked.getIntOrFloatBitWidth(), kChunkBytes * 8),
          chunk = llvm::alignTo(llvm::divideCeil(k, chunks), m1::int4Block);
  // Columns of whole steps, or, with groups, of whole blocks, which loops are over.
  int64_t whole = group ? k / m1::int4Block * m1::int4Block : k / step * step;

  /// Weight rows as a tile reads them: pointers to their first elements.
  struct WeightRows {
    llvm::SmallVector<Value> index, pointers;
    Type element;
    bool inMemory; // else unpacked, or in the first cache
    Value scales;  // those of two levels, as unpackScales leaves them
  };

  Value loadStep(Value pointer, Type element, Value index) {
    if (!pairs)
      return w.load(pointer, element, index, step);
    if (m1::isQuantisedElement(element)) {
      Value codes = w.load(pointer, element, index, step);
      return roundPair(half(codes, 0), half(codes, 1));
    }
    return LLVM::LoadOp::create(w.b, VectorType::get(step, w.b.getBF16Type()),
                                w.elementPointer(pointer, element, index), 2);
  }

  Type i8() { return w.b.getI8Type(); }

  /// The sixteen values of an int4.
  Value valuesOfInt4() {
    llvm::SmallVector<float> values;
    for (int i = 0; i < 16; ++i)
      values.push_back(static_cast<float>(i < 8 || hasMinimums ? i : i - 16));
    return arith::ConstantOp::create(
        w.b, DenseElementsAttr::get(w.f32Vector(16), llvm::ArrayRef<float>(values)));
  }
  /// The numbers of f32 that these integers of a group stand for.
  Value scaled(Value codes, Value scale, Value minimum) {
    return minimum ? w.fma(codes, scale, arith::NegFOp::create(w.b, minimum))
                   : w.mulf(codes, scale);
  }
  /// Two times sixteen numbers as bf16 in words.
  Value tableOfInt4(Value first, Value second) {
    return LLVM::BitcastOp::create(w.b, VectorType::get(32, w.b.getI16Type()),
                                   roundPair(first, second));
  }
  /// 16 numbers and 16 more as bf16, by one instruction, for which LLVM takes three.
  Value roundPair(Value first, Value second) {
    return LLVM::CallIntrinsicOp::create(w.b, VectorType::get(32, w.b.getBF16Type()),
                                         w.b.getStringAttr("llvm.x86.avx512bf16.cvtne2ps2bf16.512"),
                                         ValueRange{second, first})
        .getResult(0);
  }
  Value half(Value vector, int64_t which) {
    llvm::SmallVector<int64_t> lanes(cast<VectorType>(vector.getType()).getDimSize(0) / 2);
    std::iota(lanes.begin(), lanes.end(), which * static_cast<int64_t>(lanes.size()));
    return vector::ShuffleOp::create(w.b, vector, vector, lanes);
  }

  /// Which half of a table that two planes share is a plane's: the last one's index, which no bits
  /// are above, needs no mask so.
  static constexpr bool isUpperHalf(int64_t plane) { return plane == 1 || plane == 2; }

  /// The int4 of columns 128·block + 32·plane + first … + width of a row at `row`: of a whole step
  /// of pairs those of a tableOfInt4, as loadStep gives them, else numbers of f32.
  Value loadInt4(Value row, Value block, int64_t plane, int64_t first, int64_t width, Value table,
                 bool isShared) {
    auto i16s = VectorType::get(width, w.b.getI16Type()),
         i32s = VectorType::get(width, w.b.getI32Type());
    auto splat = [&](VectorType type, int64_t value) -> Value {
      return arith::ConstantOp::create(
          w.b, DenseElementsAttr::get(type, w.b.getIntegerAttr(type.getElementType(), value)));
    };
    Value byte = w.add(w.mul(block, m1::int4BlockBytes), 2 * first);
    Value words = LLVM::LoadOp::create(w.b, i16s, w.elementPointer(row, i8(), byte), 2);
    const int64_t shift = 4 * plane;
    // Of tables of the same sixteen values twice an index's higher bits count for nothing.
    if (pairs && width == step) {
      Value index = shift ? arith::ShRUIOp::create(w.b, words, splat(i16s, shift)) : words;
      if (isShared && plane < planes - 1)
        index = arith::AndIOp::create(w.b, index, splat(i16s, 15));
      if (isShared && isUpperHalf(plane))
        index = arith::OrIOp::create(w.b, index, splat(i16s, 16));
      Value bits = permute("llvm.x86.avx512.permvar.hi.512", table, index);
      return LLVM::BitcastOp::create(w.b, VectorType::get(width, w.b.getBF16Type()), bits);
    }
    Value wide = arith::ExtUIOp::create(w.b, i32s, words);
    if (w.cpu.avx512 && width == w.lanes)
      return permute("llvm.x86.avx512.permvar.sf.512", valuesOfInt4(),
                     shift ? arith::ShRUIOp::create(w.b, wide, splat(i32s, shift)) : wide);
    if (hasMinimums) {
      Value low = shift ? arith::ShRUIOp::create(w.b, wide, splat(i32s, shift)) : wide;
      return arith::SIToFPOp::create(w.b, w.f32Vector(width),
                                     arith::AndIOp::create(w.b, low, splat(i32s, 15)));
    }
    Value top = arith::ShLIOp::create(w.b, wide, splat(i32s, 28 - shift));
    return arith::SIToFPOp::create(w.b, w.f32Vector(width),
                                   arith::ShRSIOp::create(w.b, top, splat(i32s, 28)));
  }

  Value permute(StringRef intrinsic, Value table, Value index) {
    return LLVM::CallIntrinsicOp::create(w.b, table.getType(), w.b.getStringAttr(intrinsic),
                                         ValueRange{table, index})
        .getResult(0);
  }

  Value multiplyAdd(Value x, Value weight, Value acc) {
    if (!pairs)
      return w.fma(x, weight, acc);
    return LLVM::CallIntrinsicOp::create(w.b, acc.getType(),
                                         w.b.getStringAttr("llvm.x86.avx512bf16.dpbf16ps.512"),
                                         ValueRange{acc, weight, x})
        .getResult(0);
  }

  WeightRows weightRows(Value row, Value apart, int64_t rows) {
    WeightRows result{{}, {}, isInt4 ? i8() : wType, /*inMemory=*/true, Value()};
    int64_t length = w.operand("weight").dims[1];
    for (int64_t i = 0; i < rows; ++i) {
      result.index.push_back(i == 0 ? row : w.add(result.index.back(), apart));
      result.pointers.push_back(w.elementPointer(w.pointer("weight"), result.element,
                                                 w.mul(result.index.back(), length)));
    }
    return result;
  }

  void prefetch(Value pointer, Type element, Value at) {
    w.prefetch(pointer, element, w.add(at, kPrefetchBytes * 8 / element.getIntOrFloatBitWidth()));
  }

  /// Calls body(first, width) for the columns first … first+width of a plane, 32 neighbouring
  /// columns, of which `count` are there: whole steps, then, where asked for, ever narrower ones.
  template <typename Body> void forPlane(int64_t count, bool narrow, Body body) {
    int64_t first = 0;
    for (; first + step <= count; first += step)
      body(first, step);
    if (narrow)
      for (int64_t width : tailWidths(count - first)) {
        body(first, width);
        first += width;
      }
  }
  static constexpr int64_t planes = m1::int4Block / m1::int4Plane;
  /// Columns of each plane of a block, and of the block after the whole ones.
  static llvm::SmallVector<int64_t> allPlanes() {
    return llvm::SmallVector<int64_t>(planes, m1::int4Plane);
  }
  llvm::SmallVector<int64_t> restOfPlanes() const {
    llvm::SmallVector<int64_t> counts;
    for (int64_t plane = 0; plane < planes; ++plane)
      counts.push_back(
          std::clamp<int64_t>(k % m1::int4Block - plane * m1::int4Plane, 0, m1::int4Plane));
    return counts;
  }

  /// Where the rows' columns from `from` on are when they are unpacked at `scratch`.
  WeightRows unpackedAt(const WeightRows &weights, Value scratch, Value from) {
    WeightRows result{weights.index, {}, unpacked, /*inMemory=*/false, weights.scales};
    for (size_t i = 0; i < weights.index.size(); ++i)
      result.pointers.push_back(w.elementPointer(
          scratch, unpacked,
          arith::SubIOp::create(w.b, w.constant(static_cast<int64_t>(i) * chunk), from)));
    return result;
  }

  /// Leaves a step of a row where `kept` has it, if there is such.
  void keep(const WeightRows *kept, int64_t row, Value column, Value loaded) {
    if (kept)
      LLVM::StoreOp::create(w.b, loaded, w.elementPointer(kept->pointers[row], unpacked, column),
                            2);
  }

  /// Asks for a later block of a row of integers.
  void prefetchBlock(Value row, Value block) {
    const int64_t bytes = isInt4 ? m1::int4BlockBytes : m1::int4Block;
    for (int64_t line = 0; line < bytes; line += 64)
      prefetch(row, i8(), w.add(w.mul(block, bytes), line));
  }

  /// `width` columns of a row of groups as numbers of f32.
  Value loadPiece(const WeightRows &weights, int64_t i, Value block, int64_t plane, int64_t first,
                  int64_t width) {
    return isInt4 && weights.inMemory
               ? loadInt4(weights.pointers[i], block, plane, first, width, Value(),
                          /*isShared=*/false)
               : w.load(weights.pointers[i], weights.element, columnOf(block, plane, first), width);
  }

  /// Scale and, where there is one, minimum of the last group of a row that was asked for, in every
  /// lane, and of int4 the table that whole steps take.
  struct GroupScales {
    int64_t group = -1; // of its block
    Value scale, minimum, table;
    bool sharesTables = false; // a table holds the numbers of two neighbouring planes
  };

  /// `width` columns of a row of groups as the numbers that they stand for, rounded to bf16 where
  /// pairs are multiplied: of a whole step as loadStep gives them, else in f32.
  Value loadScaled(const WeightRows &weights, int64_t i, Value block, int64_t plane, int64_t first,
                   int64_t width, GroupScales &scales) {
    const int64_t column = plane * m1::int4Plane + first;
    auto load = [&](int64_t place) {
      scales.scale = scaleOfGroup(weights, i, block, place);
      scales.minimum = hasMinimums ? scaleOfGroup(weights, i, block, place, 1) : Value();
    };
    auto numbers16 = [&] { return scaled(valuesOfInt4(), scales.scale, scales.minimum); };
    if (scales.sharesTables) { // of whole blocks with groups of a plane
      if (plane % 2 == 0) {
        const bool swaps = isUpperHalf(plane);
        load(plane + (swaps ? 1 : 0));
        Value first16 = numbers16();
        load(plane + (swaps ? 0 : 1));
        scales.table = tableOfInt4(first16, numbers16());
      }
      return loadInt4(weights.pointers[i], block, plane, first, width, scales.table,
                      /*isShared=*/true);
    }
    if (const int64_t place = column / group; place != scales.group) {
      scales.group = place;
      load(place);
      if (isInt4 && pairs) {
        Value numbers = numbers16();
        scales.table = tableOfInt4(numbers, numbers);
      }
    }
    if (isInt4 && pairs && width == step)
      return loadInt4(weights.pointers[i], block, plane, first, width, scales.table,
                      /*isShared=*/false);
    Value codes = loadPiece(weights, i, block, plane, first, width);
    if (pairs && width == step) {
      Value upper = scales.scale;
      if (group < step) // that of the other half
        upper = scaleOfGroup(weights, i, block, column / group + 1);
      return roundPair(scaled(half(codes, 0), scales.scale, scales.minimum),
                       scaled(half(codes, 1), upper, scales.minimum));
    }
    if (width == w.lanes && !pairs)
      return scaled(codes, scales.scale, scales.minimum);
    auto narrow = [&](Value all) -> Value {
      return all ? w.splat(vector::ExtractOp::create(w.b, all, 0), width) : Value();
    };
    Value numbers = scaled(codes, narrow(scales.scale), narrow(scales.minimum));
    if (!pairs)
      return numbers;
    Value rounded =
        arith::TruncFOp::create(w.b, VectorType::get(width, w.b.getBF16Type()), numbers);
    return arith::ExtFOp::create(w.b, w.f32Vector(width), rounded);
  }
  Value columnOf(Value block, int64_t plane, int64_t first) {
    return w.add(w.mul(block, m1::int4Block), plane * m1::int4Plane + first);
  }

  /// Numbers that a block of columns has of two levels.
  int64_t numbersOfLevels() const { return (hasMinimums ? 2 : 1) * m1::scaleBlock / group; }

  /// Scales of two levels of these rows in f32, as numbers that are loaded into every lane: of each
  /// block of columns the scales, then the minimums. Whoever asks for them block by block pays for
  /// each with a permutation. Two blocks at a time fill a register of AVX-512.
  void unpackScales(const WeightRows &weights) {
    const int64_t blocks = w.operand("scale").dims[1], bytes = w.operand("scale").dims[2],
                  numbers = numbersOfLevels(), ofBlock = hasMinimums ? 2 : 1;
    // `some` blocks, 1 or 2, of all rows.
    auto unpack = [&](Value block, int64_t some) {
      llvm::SmallVector<int64_t> all(some * numbers), factorOf;
      std::iota(all.begin(), all.end(), 0);
      for (int64_t i = 0; i < some * numbers; ++i)
        factorOf.push_back(i * ofBlock / numbers);
      auto ofBlocks = [&](Value at, Type element, int64_t count, llvm::ArrayRef<int64_t> lanes) {
        llvm::SmallVector<Value> loaded;
        for (int64_t i = 0; i < some; ++i)
          loaded.push_back(LLVM::LoadOp::create(
              w.b, VectorType::get(count, element),
              w.elementPointer(w.pointer("scale"), i8(), w.add(at, i * bytes)), 2));
        return vector::ShuffleOp::create(w.b, loaded.front(), loaded.back(), lanes).getResult();
      };
      Type f32s = w.f32Vector(some * numbers);
      for (auto [i, row] : llvm::enumerate(weights.index)) {
        Value at = w.mul(w.add(w.mul(row, blocks), block), bytes);
        w.prefetch(w.pointer("scale"), i8(), w.add(at, kPrefetchBytes));
        Value factors =
            arith::ExtFOp::create(w.b, f32s, ofBlocks(at, w.b.getF16Type(), ofBlock, factorOf));
        Value levels = ofBlocks(w.add(at, 2 * ofBlock), i8(), numbers, all);
        Value wide = hasMinimums ? arith::UIToFPOp::create(w.b, f32s, levels).getResult()
                                 : arith::SIToFPOp::create(w.b, f32s, levels).getResult();
        Value to = w.mul(w.add(block, static_cast<int64_t>(i) * blocks), numbers);
        LLVM::StoreOp::create(w.b, w.mulf(wide, factors),
                              w.elementPointer(weights.scales, w.b.getF32Type(), to), 32);
      }
    };
    w.forRange(w.constant(0), w.constant(blocks / 2 * 2), 2,
               [&](Value block) { unpack(block, 2); });
    if (blocks % 2)
      unpack(w.constant(blocks - 1), 1);
  }

  /// The scale of group `place` of a block of row `i`, or, as `part` 1, its minimum: an f32 in
  /// every lane.
  Value scaleOfGroup(const WeightRows &weights, int64_t i, Value block, int64_t place,
                     int64_t part = 0) {
    Type type = w.operand("scale").element;
    if (twoLevels) {
      const int64_t numbers = numbersOfLevels();
      Value at = w.add(w.mul(block, numbers),
                       i * w.operand("scale").dims[1] * numbers + part * numbers / 2 + place);
      return w.splat(w.load(weights.scales, w.b.getF32Type(), at, 1), w.lanes);
    }
    Value at = w.add(w.mul(weights.index[i], w.operand("scale").dims[1]),
                     w.add(w.mul(block, m1::int4Block / group), place));
    if (type.isF32())
      return w.splat(
          w.load(w.pointer("scale"), type, hasMinimums ? w.add(w.mul(at, 2), part) : at, 1),
          w.lanes);
    if (type.isF16()) {
      Value half =
          LLVM::LoadOp::create(w.b, type, w.elementPointer(w.pointer("scale"), type, at), 2);
      Value halves = vector::BroadcastOp::create(w.b, VectorType::get(w.lanes, type), half);
      return arith::ExtFOp::create(w.b, w.f32Vector(w.lanes), halves);
    }
    Value bits = LLVM::LoadOp::create(
        w.b, w.b.getI16Type(), w.elementPointer(w.pointer("scale"), w.b.getI16Type(), at), 2);
    auto i32s = VectorType::get(w.lanes, w.b.getI32Type());
    Value words =
        vector::BroadcastOp::create(w.b, VectorType::get(2 * w.lanes, w.b.getI16Type()), bits);
    if (w.cpu.avx512) { // a broadcast to every second word
      llvm::SmallVector<bool> upper;
      for (int64_t i = 0; i < 2 * w.lanes; ++i)
        upper.push_back(i % 2);
      Value mask = arith::ConstantOp::create(
          w.b, DenseElementsAttr::get(VectorType::get(2 * w.lanes, w.b.getI1Type()),
                                      llvm::ArrayRef<bool>(upper)));
      Value zeros = arith::ConstantOp::create(
          w.b, DenseElementsAttr::get(cast<VectorType>(words.getType()), int16_t(0)));
      return LLVM::BitcastOp::create(w.b, w.f32Vector(w.lanes),
                                     arith::SelectOp::create(w.b, mask, words, zeros));
    }
    Value shift = arith::ConstantOp::create(w.b, DenseElementsAttr::get(i32s, int32_t(16)));
    return LLVM::BitcastOp::create(
        w.b, w.f32Vector(w.lanes),
        arith::ShLIOp::create(w.b, LLVM::BitcastOp::create(w.b, i32s, words), shift));
  }

  /// `sums` and the products of a block, whose planes have `counts` columns, with the numbers that
  /// its integers stand for, in the order of sumsOf.
  llvm::SmallVector<Value> addScaledBlock(const WeightRows &weights, llvm::ArrayRef<Value> xs,
                                          Value block, llvm::ArrayRef<int64_t> counts,
                                          llvm::SmallVector<Value> sums, const WeightRows *kept) {
    auto rows = static_cast<int64_t>(weights.index.size()),
         tokens = static_cast<int64_t>(xs.size());
    llvm::SmallVector<GroupScales> scales(rows);
    if (isInt4 && pairs && group == step && counts == llvm::ArrayRef(allPlanes()) &&
        tokens <= kSharedTables)
      for (GroupScales &some : scales)
        some.sharesTables = true;
    for (int64_t plane = 0; plane < planes; ++plane)
      forPlane(counts[plane], /*narrow=*/false, [&](int64_t first, int64_t width) {
        llvm::SmallVector<Value> loaded;
        for (int64_t i = 0; i < rows; ++i) {
          loaded.push_back(loadScaled(weights, i, block, plane, first, width, scales[i]));
          keep(kept, i, columnOf(block, plane, first), loaded.back());
        }
        for (int64_t j = 0; j < tokens; ++j) {
          Value x = loadStep(xs[j], xType, columnOf(block, plane, first));
          for (int64_t i = 0; i < rows; ++i)
            sums[j * rows + i] = multiplyAdd(x, loaded[i], sums[j * rows + i]);
        }
      });
    return sums;
  }

  /// The same with numbers of f32, whose sums over a group are multiplied by its scale. All rows at
  /// once, which is faster than one after the other.
  llvm::SmallVector<Value> addBlock(const WeightRows &weights, llvm::ArrayRef<Value> xs,
                                    Value block, llvm::ArrayRef<int64_t> counts,
                                    llvm::SmallVector<Value> sums, const WeightRows *kept) {
    auto rows = static_cast<int64_t>(weights.index.size()),
         tokens = static_cast<int64_t>(xs.size());
    for (int64_t begin = 0; begin < m1::int4Block; begin += group) {
      llvm::SmallVector<Value> part(sums.size());
      for (int64_t plane = begin / m1::int4Plane; plane < (begin + group) / m1::int4Plane; ++plane)
        forPlane(counts[plane], /*narrow=*/false, [&](int64_t first, int64_t width) {
          llvm::SmallVector<Value> loaded;
          for (int64_t i = 0; i < rows; ++i) {
            loaded.push_back(loadPiece(weights, i, block, plane, first, width));
            keep(kept, i, columnOf(block, plane, first), loaded.back());
          }
          for (int64_t j = 0; j < tokens; ++j) {
            Value x = loadStep(xs[j], xType, columnOf(block, plane, first));
            for (int64_t i = 0; i < rows; ++i) {
              Value &sum = part[j * rows + i];
              sum = multiplyAdd(x, loaded[i], sum ? sum : w.splat(0.0, w.lanes));
            }
          }
        });
      if (!part[0])
        continue;
      for (int64_t i = 0; i < rows; ++i) {
        Value scale = scaleOfGroup(weights, i, block, begin / group);
        for (int64_t j = 0; j < tokens; ++j)
          sums[j * rows + i] = w.fma(part[j * rows + i], scale, sums[j * rows + i]);
      }
    }
    return sums;
  }

  llvm::SmallVector<Value> addAnyBlock(const WeightRows &weights, llvm::ArrayRef<Value> xs,
                                       Value block, llvm::ArrayRef<int64_t> counts,
                                       llvm::SmallVector<Value> sums, const WeightRows *kept) {
    return scalesWeights ? addScaledBlock(weights, xs, block, counts, std::move(sums), kept)
                         : addBlock(weights, xs, block, counts, std::move(sums), kept);
  }

  /// `sums`, a register for each row and token, and the products of columns from … to of the whole
  /// ones. The order does not depend on the tile nor on where the columns are cut, so a token's
  /// result does not depend on its batch.
  llvm::SmallVector<Value> addColumns(const WeightRows &weights, llvm::ArrayRef<Value> xs,
                                      Value from, Value to, llvm::ArrayRef<Value> sums,
                                      const WeightRows *kept) {
    // What is unpacked has been multiplied by scales where weights are.
    if (group && (weights.inMemory || !scalesWeights)) {
      auto blockOf = [&](Value column) -> Value {
        return arith::DivUIOp::create(w.b, column, w.constant(m1::int4Block));
      };
      return w.forRange(blockOf(from), blockOf(to), 1, sums, [&](Value block, ValueRange carried) {
        if (weights.inMemory)
          for (Value row : weights.pointers)
            prefetchBlock(row, block);
        return addAnyBlock(weights, xs, block, allPlanes(), llvm::SmallVector<Value>(carried),
                           kept);
      });
    }
    auto rows = static_cast<int64_t>(weights.index.size()),
         tokens = static_cast<int64_t>(xs.size());
    return w.forRange(from, to, step, sums, [&](Value at, ValueRange carried) {
      llvm::SmallVector<Value> next(carried), loaded;
      for (int64_t i = 0; i < rows; ++i) {
        loaded.push_back(loadStep(weights.pointers[i], weights.element, at));
        keep(kept, i, at, loaded.back());
        if (weights.inMemory)
          prefetch(weights.pointers[i], weights.element, at);
      }
      for (int64_t j = 0; j < tokens; ++j) {
        Value x = loadStep(xs[j], xType, at);
        for (int64_t i = 0; i < rows; ++i)
          next[j * rows + i] = multiplyAdd(x, loaded[i], next[j * rows + i]);
      }
      return next;
    });
  }

  /// The sums of the whole columns with the rest, one f32 for each row and token.
  llvm::SmallVector<Value> addRest(const WeightRows &weights, llvm::ArrayRef<Value> xs,
                                   llvm::SmallVector<Value> sums) {
    auto rows = static_cast<int64_t>(weights.index.size()),
         tokens = static_cast<int64_t>(xs.size());
    if (!group) {
      for (Value &sum : sums)
        sum = w.sum(sum);
      int64_t done = whole;
      for (int64_t width : tailWidths(k - done)) {
        Value at = w.constant(done);
        llvm::SmallVector<Value> loaded;
        for (Value weight : weights.pointers)
          loaded.push_back(w.load(weight, weights.element, at, width));
        for (int64_t j = 0; j < tokens; ++j) {
          Value x = w.load(xs[j], xType, at, width);
          for (int64_t i = 0; i < rows; ++i)
            sums[j * rows + i] = w.addf(sums[j * rows + i], w.sum(w.mulf(x, loaded[i])));
        }
        done += width;
      }
      return sums;
    }
    Value last = w.constant(whole / m1::int4Block);
    const llvm::SmallVector<int64_t> rest = restOfPlanes();
    sums = addAnyBlock(weights, xs, last, rest, std::move(sums), nullptr);
    for (Value &sum : sums)
      sum = w.sum(sum);
    for (int64_t plane = 0; plane < planes; ++plane)
      forPlane(rest[plane], /*narrow=*/true, [&](int64_t first, int64_t width) {
        if (width == step)
          return;
        Value column = columnOf(last, plane, first);
        for (int64_t i = 0; i < rows; ++i) {
          GroupScales scales;
          Value loaded = scalesWeights ? loadScaled(weights, i, last, plane, first, width, scales)
                                       : loadPiece(weights, i, last, plane, first, width);
          Value scale =
              scalesWeights
                  ? Value()
                  : vector::ExtractOp::create(
                        w.b, scaleOfGroup(weights, i, last, plane * m1::int4Plane / group), 0);
          for (int64_t j = 0; j < tokens; ++j) {
            Value &sum = sums[j * rows + i];
            Value product = w.sum(w.mulf(w.load(xs[j], xType, column, width), loaded));
            sum = w.addf(sum, scale ? w.mulf(product, scale) : product);
          }
        }
      });
    return sums;
  }

  llvm::SmallVector<Value> rowsOfX(Value token, int64_t tokens) {
    llvm::SmallVector<Value> xs;
    for (int64_t j = 0; j < tokens; ++j)
      xs.push_back(w.rowPointer("x", w.add(token, j)));
    return xs;
  }

  /// These rows, of which whole steps are at `from`, against tokens token … token+tokens.
  void tile(const WeightRows &weights, const WeightRows &from, Value token, int64_t tokens,
            const WeightRows *kept = nullptr) {
    llvm::SmallVector<Value> xs = rowsOfX(token, tokens);
    llvm::SmallVector<Value> sums(weights.index.size() * xs.size(), w.splat(0.0, w.lanes));
    sums = addColumns(from, xs, w.constant(0), w.constant(whole), sums, kept);
    storeSums(weights, token, addRest(weights, xs, std::move(sums)));
  }

  /// Memory of the group's: a chunk of a tile's weights, unpacked, the sums of all tokens, and the
  /// scales of two levels of a tile's rows.
  struct Scratch {
    Value weights, sums, scales;
  };

  /// Calls body(token, tokens) for begin … end in tiles. Two of four tokens rather than one of six
  /// and one of two, which has too few sums to keep the products busy.
  template <typename Body> void forTiles(Value begin, Value end, Body body) {
    if (w.cpu.avx512) {
      Value count = arith::SubIOp::create(w.b, end, begin), six = w.constant(6);
      Value sixes = arith::DivSIOp::create(w.b, count, six);
      Value isTwo = arith::CmpIOp::create(w.b, arith::CmpIPredicate::eq,
                                          arith::RemSIOp::create(w.b, count, six), w.constant(2));
      Value isEight = arith::AndIOp::create(
          w.b, isTwo, arith::CmpIOp::create(w.b, arith::CmpIPredicate::sge, count, w.constant(8)));
      sixes =
          arith::SubIOp::create(w.b, sixes, arith::ExtUIOp::create(w.b, sixes.getType(), isEight));
      Value stop = w.add(begin, w.mul(sixes, 6));
      w.forRange(begin, stop, 6, [&](Value token) { body(token, 6); });
      begin = stop;
    }
    for (int64_t tokens : {4, 2, 1}) {
      if (tokens > tileTokens)
        continue;
      Value count = arith::SubIOp::create(w.b, end, begin);
      Value stop =
          w.add(begin, w.mul(arith::DivSIOp::create(w.b, count, w.constant(tokens)), tokens));
      w.forRange(begin, stop, tokens, [&](Value token) { body(token, tokens); });
      begin = stop;
    }
  }

  /// All tokens of the group, more than a tile of them, against these rows, which the first tile
  /// of tokens unpacks for the others, a chunk of columns after another.
  void unpackForTiles(const WeightRows &weights, const Scratch &scratch) {
    auto [begin, end] = w.groupRows();
    if (chunks == 1) { // sums stay in registers
      const WeightRows later = unpackedAt(weights, scratch.weights, w.constant(0));
      tile(weights, weights, begin, firstTokens, &later);
      return forTiles(w.add(begin, firstTokens), end,
                      [&](Value token, int64_t tokens) { tile(weights, later, token, tokens); });
    }
    auto rows = static_cast<int64_t>(weights.index.size());
    // Where the sums of a token begin, in registers.
    auto sumAt = [&, begin = begin](Value token, int64_t i) {
      Value place = w.mul(arith::SubIOp::create(w.b, token, begin), rows * w.lanes);
      return w.elementPointer(scratch.sums, w.b.getF32Type(), w.add(place, i * w.lanes));
    };
    auto loadSums = [&](Value token, int64_t tokens) {
      llvm::SmallVector<Value> sums;
      for (int64_t i = 0; i < tokens * rows; ++i)
        sums.push_back(
            LLVM::LoadOp::create(w.b, w.f32Vector(w.lanes), sumAt(token, i), 4 * w.lanes));
      return sums;
    };
    auto keepSums = [&](Value token, llvm::ArrayRef<Value> sums) {
      for (auto [i, sum] : llvm::enumerate(sums))
        LLVM::StoreOp::create(w.b, sum, sumAt(token, static_cast<int64_t>(i)), 4 * w.lanes);
    };
    w.forRange(begin, end, 1, [&](Value token) {
      keepSums(token, llvm::SmallVector<Value>(rows, w.splat(0.0, w.lanes)));
    });
    w.forRange(w.constant(0), w.constant(whole), chunk, [&, begin = begin, end = end](Value from) {
      Value to = w.minimum(w.add(from, chunk), w.constant(whole));
      const WeightRows later = unpackedAt(weights, scratch.weights, from);
      auto add = [&](const WeightRows &some, Value token, int64_t tokens, const WeightRows *kept) {
        keepSums(token,
                 addColumns(some, rowsOfX(token, tokens), from, to, loadSums(token, tokens), kept));
      };
      add(weights, begin, firstTokens, &later);
      forTiles(w.add(begin, firstTokens), end,
               [&](Value token, int64_t tokens) { add(later, token, tokens, nullptr); });
    });
    w.forRange(begin, end, 1, [&](Value token) {
      storeSums(weights, token, addRest(weights, rowsOfX(token, 1), loadSums(token, 1)));
    });
  }

  void storeSums(const WeightRows &weights, Value token, const llvm::SmallVector<Value> &sums) {
    auto rows = static_cast<int64_t>(weights.index.size()),
         tokens = static_cast<int64_t>(sums.size()) / rows;
    for (int64_t i = 0; i < rows; ++i) {
      Value scale = group ? Value() : ofRow("scale", weights.index[i]);
      Value bias = ofRow("bias", weights.index[i]);
      for (int64_t j = 0; j < tokens; ++j) {
        Value result = w.splat(sums[j * rows + i], 1);
        if (scale)
          result = w.mulf(result, scale);
        if (w.has("row_scale"))
          result = w.mulf(result, ofRow("row_scale", w.add(token, j)));
        w.store(w.rowPointer("out", w.add(token, j)), outType, weights.index[i],
                bias ? w.addf(result, bias) : result);
      }
    }
  }

  /// An optional operand's element for a weight row; null without the operand.
  Value ofRow(StringRef role, Value row) {
    return w.has(role) ? w.load(w.pointer(role), w.operand(role).element, row, 1) : Value();
  }

  /// All tokens of the group against rows row, row + apart, …
  void rowsOfGroup(Value row, Value apart, int64_t rows, const Scratch &scratch) {
    WeightRows weights = weightRows(row, apart, rows);
    weights.scales = scratch.scales;
    if (twoLevels)
      unpackScales(weights);
    auto [begin, end] = w.groupRows();
    if (!unpacks)
      return forTiles(begin, end,
                      [&](Value token, int64_t tokens) { tile(weights, weights, token, tokens); });
    Value count = arith::SubIOp::create(w.b, end, begin);
    auto when = [&](arith::CmpIPredicate is, int64_t tokens) -> Value {
      return arith::CmpIOp::create(w.b, is, count, w.constant(tokens));
    };
    for (int64_t tokens = 1; tokens <= tileTokens; ++tokens)
      w.ifTrue(when(arith::CmpIPredicate::eq, tokens),
               [&, begin = begin] { tile(weights, weights, begin, tokens); });
    w.ifTrue(when(arith::CmpIPredicate::sgt, tileTokens),
             [&] { unpackForTiles(weights, scratch); });
  }

  void write() {
    auto stack = [&](Type element, int64_t count) {
      return LLVM::AllocaOp::create(w.b, LLVM::LLVMPointerType::get(w.b.getContext()), element,
                                    w.constant(count), 64);
    };
    const bool tiles = hasTiles(w.spec, w.cpu);
    Scratch scratch;
    if (unpacks) {
      scratch.weights = stack(unpacked, kTileRows * chunk);
      scratch.sums =
          stack(w.b.getF32Type(), (tiles ? kTileTokens : kGroupTokens) * kTileRows * w.lanes);
    }
    if (twoLevels)
      scratch.scales =
          stack(w.b.getF32Type(), kTileRows * w.operand("scale").dims[1] * numbersOfLevels());
    if (!tiles)
      return writeVectors(scratch);
    Value tokens = w.rowCount(w.spec.domain), least = w.constant(kTileTokens);
    w.ifTrue(arith::CmpIOp::create(w.b, arith::CmpIPredicate::sge, tokens, least),
             [&] { callTiles(tokens); });
    w.ifTrue(arith::CmpIOp::create(w.b, arith::CmpIPredicate::slt, tokens, least),
             [&] { writeVectors(scratch); });
  }

  /// With many tokens a group takes the rows of its right neighbours too, which have nothing to do
  /// then: x comes from outer caches once for all of them.
  void callTiles(Value tokens) {
    const int64_t block = blockRows(n), wide = block * kTileNeighbours;
    Value few =
        arith::CmpIOp::create(w.b, arith::CmpIPredicate::slt, tokens, w.constant(kTileWide));
    Value place = arith::RemUIOp::create(w.b, w.groupX, w.constant(kTileNeighbours));
    Value isFirst = arith::CmpIOp::create(w.b, arith::CmpIPredicate::eq, place, w.constant(0));
    Value works = arith::OrIOp::create(w.b, isFirst, few);
    Value rows = arith::SelectOp::create(w.b, few, w.constant(block), w.constant(wide));
    Value begin = w.mul(w.groupX, block);
    w.ifTrue(works, [&] {
      CallWriter call(w, "m1k_cpu_tile_linear");
      call.pointers({"out", "x", "weight", "scale", "row_scale", "bias"});
      call.push(begin);
      call.push(w.minimum(w.add(begin, rows), w.constant(n)));
      call.rowsOfGroup();
      for (int64_t value : {k, wide, kTileGroup, kTileChunk, group})
        call.integer(value);
      call.type("weight");
      call.scaleType();
      call.rows("out");
      call.integer64(w.operand("x").rowStride);
      call.call();
    });
  }

  void writeVectors(const Scratch &scratch) {
    int64_t block = blockRows(n), tail = n % kTileRows;
    Value begin = w.mul(w.groupX, block), end = w.minimum(w.add(begin, block), w.constant(n));
    // A tile takes one row of each quarter of the block, so that every register streams through
    // contiguous memory from tile to tile.
    Value quarter =
        arith::DivUIOp::create(w.b, arith::SubIOp::create(w.b, end, begin), w.constant(kTileRows));
    w.forRange(begin, w.add(begin, quarter), 1,
               [&](Value row) { rowsOfGroup(row, quarter, kTileRows, scratch); });
    if (tail > 0) {
      Value isLast = arith::CmpIOp::create(w.b, arith::CmpIPredicate::eq, end, w.constant(n));
      w.ifTrue(isLast, [&] { rowsOfGroup(w.constant(n - tail), w.constant(1), tail, scratch); });
    }
  }
};

uint32_t gridX(const KernelSpec &spec) {
  int64_t n = spec.get("weight").dims[0];
  return llvm::divideCeil(n, blockRows(n));
}

} // namespace

std::vector<CpuFamily> linearFamilies() {
  CpuFamily linear{"generated", {"linear"}, [](KernelWriter &w) { LinearWriter{w}.write(); }};
  linear.gridX = gridX;
  linear.unsupported = [](const KernelSpec &spec) -> std::string {
    return isa<Float8E4M3FNType>(spec.get("x").element) ? "rows of f8E4M3FN" : "";
  };
  linear.rowsPerGroup = [](const KernelSpec &spec, const CpuInfo &cpu) -> int64_t {
    return hasTiles(spec, cpu) ? kTileGroup : kGroupTokens;
  };
  return {linear};
}

} // namespace m1c
