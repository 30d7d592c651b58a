// y[t, n] = Σ_k x[t, k] · w[n, k] (· scale[n]) (+ bias[n]): dot products along k, a tile of weight
// rows against a tile of tokens in registers. Weights of i8 become floating point there, which
// holds them exactly: the sums are those of a weight of bf16 with the same values. So do those of
// e4m3, which meet rows of e4m3 numbers, held as bf16, that have a scale each (row_scale), and of
// int8 and int4 with scales of groups, whose sums over a group of columns are multiplied by the
// group's scale before they are added up.
#include "../CallWriter.h"
#include "M1/IR/Int4.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace m1c {
namespace {

constexpr int64_t kTileRows = 4; // weight rows of a register tile
// How far ahead of its loads a register asks for weights. On Zen 5 one token then streams 8192×3072
// bf16 weights at 96 % of plain read speed (87 % with f32 activations, 91 % with AVX2); 84, 71 and
// 42 % with tiles of neighbouring rows and without prefetch; 512 and 4096 bytes are slower.
constexpr int64_t kPrefetchBytes = 2048;
// Longest rows of integers that are unpacked on the stack for many tokens: 256 KiB for a tile.
constexpr int64_t kMaxUnpacked = 32768;

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
  if (spec.find("scale") < 0 || spec.get("scale").dims.size() != 2)
    return 0;
  return *m1::groupOf(spec.get("x").dims.back(), spec.get("scale").dims.back()); // verified
}

struct LinearWriter {
  KernelWriter &w;
  Type xType = w.operand("x").element, wType = w.operand("weight").element,
       outType = w.operand("out").element;
  int64_t n = w.operand("weight").dims[0], k = w.columns("x");
  bool isInt4 = m1::isInt4Pairs(wType);
  int64_t group = groupSize(w.spec); // columns of a scale; 0: whole rows
  // Pairs of bf16 products summed in f32 by one instruction.
  bool pairs =
      w.cpu.avx512Bf16 && xType.isBF16() && (wType.isBF16() || m1::isQuantisedElement(wType));
  int64_t step = pairs ? 2 * w.lanes : w.lanes;
  // Tokens of a register tile: with AVX-512 4·6 sums, 4 weight registers and one of x fit the 32
  // registers, with AVX2 4·2 the 16.
  int64_t tileTokens = w.cpu.avx512 ? 6 : 2;
  // Rows of integers that meet several tiles of tokens are turned into bf16 once. Where registers
  // hold f32, a bf16 costs as much as an i8.
  bool unpacks = pairs && m1::isQuantisedElement(wType) && k <= kMaxUnpacked;

  /// Weight rows as a tile reads them: pointers to their first elements, in memory or unpacked.
  struct WeightRows {
    llvm::SmallVector<Value> index, pointers;
    Type element;
    bool prefetched; // by the tile
  };

  Value loadStep(Value pointer, Type element, Value index) {
    if (!pairs)
      return w.load(pointer, element, index, step);
    if (m1::isQuantisedElement(element))
      return arith::TruncFOp::create(w.b, VectorType::get(step, w.b.getBF16Type()),
                                     w.load(pointer, element, index, step));
    return LLVM::LoadOp::create(w.b, VectorType::get(step, w.b.getBF16Type()),
                                w.elementPointer(pointer, element, index), 2);
  }

  Type i8() { return w.b.getI8Type(); }

  /// The int4 of columns 128·block + 32·plane + first … + width of a row at `row`, as loadStep
  /// gives them.
  Value loadInt4(Value row, Value block, int64_t plane, int64_t first, int64_t width) {
    auto i16s = VectorType::get(width, w.b.getI16Type()),
         i32s = VectorType::get(width, w.b.getI32Type());
    auto splat = [&](VectorType type, int64_t value) -> Value {
      return arith::ConstantOp::create(
          w.b, DenseElementsAttr::get(type, w.b.getIntegerAttr(type.getElementType(), value)));
    };
    Value byte = w.add(w.mul(block, m1::int4BlockBytes), 2 * first);
    Value words = LLVM::LoadOp::create(w.b, i16s, w.elementPointer(row, i8(), byte), 2);
    const int64_t shift = 4 * plane;
    // Tables of the sixteen values: an index's higher bits count for nothing.
    if (pairs && width == step) {
      llvm::SmallVector<int16_t> table;
      for (int i = 0; i < 32; ++i)
        table.push_back(static_cast<int16_t>(
            llvm::bit_cast<uint32_t>(static_cast<float>(i % 16 < 8 ? i % 16 : i % 16 - 16)) >> 16));
      Value values = arith::ConstantOp::create(
          w.b, DenseElementsAttr::get(i16s, llvm::ArrayRef<int16_t>(table)));
      Value index = shift ? arith::ShRUIOp::create(w.b, words, splat(i16s, shift)) : words;
      Value bits = permute("llvm.x86.avx512.permvar.hi.512", values, index);
      return LLVM::BitcastOp::create(w.b, VectorType::get(width, w.b.getBF16Type()), bits);
    }
    Value wide = arith::ExtUIOp::create(w.b, i32s, words);
    if (w.cpu.avx512 && width == w.lanes) {
      llvm::SmallVector<float> table;
      for (int i = 0; i < 16; ++i)
        table.push_back(static_cast<float>(i < 8 ? i : i - 16));
      Value values = arith::ConstantOp::create(
          w.b, DenseElementsAttr::get(w.f32Vector(width), llvm::ArrayRef<float>(table)));
      return permute("llvm.x86.avx512.permvar.sf.512", values,
                     shift ? arith::ShRUIOp::create(w.b, wide, splat(i32s, shift)) : wide);
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
    WeightRows result{{}, {}, isInt4 ? i8() : wType, true};
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
  /// Columns of plane `plane` that the block after the whole ones has.
  int64_t restOfPlane(int64_t plane) const {
    return std::clamp<int64_t>(k % m1::int4Block - plane * m1::int4Plane, 0, m1::int4Plane);
  }
  static constexpr int64_t planes = m1::int4Block / m1::int4Plane;

  /// The rows in bf16, at `scratch`.
  WeightRows unpack(const WeightRows &packed, Value scratch) {
    if (isInt4)
      return unpackInt4(packed, scratch);
    WeightRows result{packed.index, {}, w.b.getBF16Type(), false};
    for (auto [i, from] : llvm::enumerate(packed.pointers)) {
      Value to = w.elementPointer(scratch, result.element, w.constant(static_cast<int64_t>(i) * k));
      result.pointers.push_back(to);
      w.forRange(w.constant(0), w.constant(k / step * step), step, [&, from = from](Value at) {
        LLVM::StoreOp::create(w.b, loadStep(from, wType, at),
                              w.elementPointer(to, result.element, at), 2);
        prefetch(from, wType, at);
      });
      int64_t done = k / step * step;
      for (int64_t width : tailWidths(k - done)) {
        w.store(to, result.element, w.constant(done), w.load(from, wType, w.constant(done), width));
        done += width;
      }
    }
    return result;
  }

  WeightRows unpackInt4(const WeightRows &packed, Value scratch) {
    WeightRows result{packed.index, {}, w.b.getBF16Type(), false};
    for (auto [i, from] : llvm::enumerate(packed.pointers)) {
      Value to = w.elementPointer(scratch, result.element, w.constant(static_cast<int64_t>(i) * k));
      result.pointers.push_back(to);
      auto unpackBlock = [&, from = from](Value block, int64_t plane, int64_t count) {
        forPlane(count, /*narrow=*/true, [&](int64_t first, int64_t width) {
          Value at = columnOf(block, plane, first);
          Value values = loadInt4(from, block, plane, first, width);
          if (width == step)
            LLVM::StoreOp::create(w.b, values, w.elementPointer(to, result.element, at), 2);
          else
            w.store(to, result.element, at, values);
        });
      };
      int64_t whole = k / m1::int4Block;
      w.forRange(w.constant(0), w.constant(whole), 1, [&, from = from](Value block) {
        prefetchBlock(from, block);
        for (int64_t plane = 0; plane < planes; ++plane)
          unpackBlock(block, plane, m1::int4Plane);
      });
      for (int64_t plane = 0; plane < planes; ++plane)
        unpackBlock(w.constant(whole), plane, restOfPlane(plane));
    }
    return result;
  }

  /// Asks for a later block of a row of integers.
  void prefetchBlock(Value row, Value block) {
    const int64_t bytes = isInt4 ? m1::int4BlockBytes : m1::int4Block;
    for (int64_t line = 0; line < bytes; line += 64)
      prefetch(row, i8(), w.add(w.mul(block, bytes), line));
  }

  /// `width` columns of a row, packed or not.
  Value loadPiece(const WeightRows &weights, int64_t i, Value block, int64_t plane, int64_t first,
                  int64_t width) {
    if (isInt4 && weights.element.isInteger(8))
      return loadInt4(weights.pointers[i], block, plane, first, width);
    Value at = columnOf(block, plane, first);
    return width == step ? loadStep(weights.pointers[i], weights.element, at)
                         : w.load(weights.pointers[i], weights.element, at, width);
  }
  Value columnOf(Value block, int64_t plane, int64_t first) {
    return w.add(w.mul(block, m1::int4Block), plane * m1::int4Plane + first);
  }

  /// The scale of group `index` of row `i`, an f32 in every lane.
  Value scaleOfGroup(const WeightRows &weights, int64_t i, Value index) {
    Value at = w.add(w.mul(weights.index[i], w.columns("scale")), index);
    Type type = w.operand("scale").element;
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
    Value shift = arith::ConstantOp::create(w.b, DenseElementsAttr::get(i32s, int32_t(16)));
    return LLVM::BitcastOp::create(
        w.b, w.f32Vector(w.lanes),
        arith::ShLIOp::create(w.b, LLVM::BitcastOp::create(w.b, i32s, words), shift));
  }

  /// `sums` and the products of a block, whose planes have `counts` columns. All rows at once,
  /// which is faster than one after the other.
  llvm::SmallVector<Value> addBlock(const WeightRows &weights, llvm::ArrayRef<Value> xs,
                                    Value block, llvm::ArrayRef<int64_t> counts,
                                    llvm::SmallVector<Value> sums) {
    auto rows = static_cast<int64_t>(weights.index.size()),
         tokens = static_cast<int64_t>(xs.size());
    for (int64_t begin = 0; begin < m1::int4Block; begin += group) {
      llvm::SmallVector<Value> part(sums.size());
      for (int64_t plane = begin / m1::int4Plane; plane < (begin + group) / m1::int4Plane; ++plane)
        forPlane(counts[plane], /*narrow=*/false, [&](int64_t first, int64_t width) {
          llvm::SmallVector<Value> loaded;
          for (int64_t i = 0; i < rows; ++i)
            loaded.push_back(loadPiece(weights, i, block, plane, first, width));
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
      Value index = w.add(w.mul(block, m1::int4Block / group), begin / group);
      for (int64_t i = 0; i < rows; ++i) {
        Value scale = scaleOfGroup(weights, i, index);
        for (int64_t j = 0; j < tokens; ++j)
          sums[j * rows + i] = w.fma(part[j * rows + i], scale, sums[j * rows + i]);
      }
    }
    return sums;
  }

  /// The sums over k of rows of groups with their scales, one f32 for each row and token.
  llvm::SmallVector<Value> sumsOfGroups(const WeightRows &weights, llvm::ArrayRef<Value> xs) {
    auto rows = static_cast<int64_t>(weights.index.size()),
         tokens = static_cast<int64_t>(xs.size());
    llvm::SmallVector<Value> sums(rows * tokens, w.splat(0.0, w.lanes));
    const int64_t whole = k / m1::int4Block;
    llvm::SmallVector<int64_t> all(planes, m1::int4Plane), rest;
    for (int64_t plane = 0; plane < planes; ++plane)
      rest.push_back(restOfPlane(plane));
    if (whole > 0)
      sums = w.forRange(
          w.constant(0), w.constant(whole), 1, sums, [&](Value block, ValueRange carried) {
            if (weights.prefetched)
              for (Value row : weights.pointers)
                prefetchBlock(row, block);
            return addBlock(weights, xs, block, all, llvm::SmallVector<Value>(carried));
          });
    Value last = w.constant(whole);
    sums = addBlock(weights, xs, last, rest, sums);
    for (Value &sum : sums)
      sum = w.sum(sum);
    for (int64_t plane = 0; plane < planes; ++plane)
      forPlane(rest[plane], /*narrow=*/true, [&](int64_t first, int64_t width) {
        if (width == step)
          return;
        Value column = columnOf(last, plane, first);
        Value index = w.add(w.mul(last, m1::int4Block / group), plane * m1::int4Plane / group);
        for (int64_t i = 0; i < rows; ++i) {
          Value loaded = loadPiece(weights, i, last, plane, first, width);
          Value scale = w.load(w.pointer("scale"), w.operand("scale").element,
                               w.add(w.mul(weights.index[i], w.columns("scale")), index), 1);
          for (int64_t j = 0; j < tokens; ++j) {
            Value &sum = sums[j * rows + i];
            Value product = w.sum(w.mulf(w.load(xs[j], xType, column, width), loaded));
            sum = w.addf(sum, w.mulf(product, vector::ExtractOp::create(w.b, scale, 0)));
          }
        }
      });
    return sums;
  }

  /// These rows against tokens token … token+tokens. The order of the sum does not depend on the
  /// tile, so a token's result does not depend on its batch.
  void tile(const WeightRows &weights, Value token, int64_t tokens) {
    llvm::SmallVector<Value> xs;
    for (int64_t j = 0; j < tokens; ++j)
      xs.push_back(w.rowPointer("x", w.add(token, j)));
    storeSums(weights, token, group ? sumsOfGroups(weights, xs) : sumsOf(weights, xs));
  }

  /// The sums over k, one f32 for each row and token.
  llvm::SmallVector<Value> sumsOf(const WeightRows &weights, llvm::ArrayRef<Value> xs) {
    auto rows = static_cast<int64_t>(weights.index.size()),
         tokens = static_cast<int64_t>(xs.size());
    int64_t done = k / step * step;
    llvm::SmallVector<Value> sums(rows * tokens, w.splat(0.0, w.lanes));
    if (done > 0)
      sums = w.forRange(w.constant(0), w.constant(done), step, sums,
                        [&](Value at, ValueRange carried) {
                          llvm::SmallVector<Value> next(carried), loaded;
                          for (Value weight : weights.pointers) {
                            loaded.push_back(loadStep(weight, weights.element, at));
                            if (weights.prefetched)
                              prefetch(weight, weights.element, at);
                          }
                          for (int64_t j = 0; j < tokens; ++j) {
                            Value x = loadStep(xs[j], xType, at);
                            for (int64_t i = 0; i < rows; ++i)
                              next[j * rows + i] = multiplyAdd(x, loaded[i], next[j * rows + i]);
                          }
                          return next;
                        });
    for (Value &sum : sums)
      sum = w.sum(sum);
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

  /// All tokens of the group against these rows, which stay in the first caches.
  void tokensOfGroup(const WeightRows &weights) {
    auto [begin, end] = w.groupRows();
    llvm::SmallVector<int64_t> sizes = {tileTokens};
    llvm::copy_if(llvm::ArrayRef<int64_t>{4, 2, 1}, std::back_inserter(sizes),
                  [&](int64_t size) { return size < tileTokens; });
    for (int64_t tokens : sizes) {
      Value count = arith::SubIOp::create(w.b, end, begin);
      Value whole = w.mul(arith::DivUIOp::create(w.b, count, w.constant(tokens)), tokens);
      Value stop = w.add(begin, whole);
      w.forRange(begin, stop, tokens, [&](Value token) { tile(weights, token, tokens); });
      begin = stop;
    }
  }

  /// All tokens of the group against rows row, row + apart, …, unpacked first where it pays.
  void rowsOfGroup(Value row, Value apart, int64_t rows, Value scratch) {
    WeightRows weights = weightRows(row, apart, rows);
    if (!scratch)
      return tokensOfGroup(weights);
    auto [begin, end] = w.groupRows();
    Value count = arith::SubIOp::create(w.b, end, begin), tile = w.constant(tileTokens);
    w.ifTrue(arith::CmpIOp::create(w.b, arith::CmpIPredicate::sgt, count, tile),
             [&] { tokensOfGroup(unpack(weights, scratch)); });
    w.ifTrue(arith::CmpIOp::create(w.b, arith::CmpIPredicate::sle, count, tile),
             [&] { tokensOfGroup(weights); });
  }

  void write() {
    Value scratch;
    if (unpacks)
      scratch = LLVM::AllocaOp::create(w.b, LLVM::LLVMPointerType::get(w.b.getContext()),
                                       w.b.getBF16Type(), w.constant(kTileRows * k), 64);
    if (!hasTiles(w.spec, w.cpu))
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
      call.type("scale");
      call.rows("out");
      call.integer64(w.operand("x").rowStride);
      call.call();
    });
  }

  void writeVectors(Value scratch) {
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
  // 64 tokens: x of a few thousand columns stays in L2 beside the block of weights, and weights
  // come from memory once in 64 tokens.
  linear.rowsPerGroup = [](const KernelSpec &spec, const CpuInfo &cpu) -> int64_t {
    return hasTiles(spec, cpu) ? kTileGroup : 64;
  };
  return {linear};
}

} // namespace m1c
