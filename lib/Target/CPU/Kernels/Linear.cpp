// y[t, n] = Σ_k x[t, k] · w[n, k] (· scale[n]) (+ bias[n]): dot products along k, a tile of weight
// rows against a tile of tokens in registers. Weights of i8 become floating point there, which
// holds them exactly: the sums are those of a weight of bf16 with the same values.
#include "../KernelWriter.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace m1c {
namespace {

constexpr int64_t kTileRows = 4; // weight rows of a register tile
// How far ahead of its loads a register asks for weights. On Zen 5 one token then streams 8192×3072
// bf16 weights at 96 % of plain read speed (87 % with f32 activations, 91 % with AVX2); 84, 71 and
// 42 % with tiles of neighbouring rows and without prefetch; 512 and 4096 bytes are slower.
constexpr int64_t kPrefetchBytes = 2048;
// Longest rows of i8 that are unpacked on the stack for many tokens: 256 KiB for a tile.
constexpr int64_t kMaxUnpacked = 32768;

/// Weight rows of one group. 64 rows of a few thousand columns stay in L2 while the group's tokens
/// pass; fewer where N is small, so that a pool has groups to share.
int64_t blockRows(int64_t n) {
  return std::clamp<int64_t>(llvm::alignTo(llvm::divideCeil(n, 16), kTileRows), kTileRows, 64);
}

struct LinearWriter {
  KernelWriter &w;
  Type xType = w.operand("x").element, wType = w.operand("weight").element,
       outType = w.operand("out").element;
  int64_t n = w.operand("weight").dims[0], k = w.operand("weight").dims[1];
  // Pairs of bf16 products summed in f32 by one instruction.
  bool pairs = w.cpu.avx512Bf16 && xType.isBF16() && (wType.isBF16() || wType.isInteger(8));
  int64_t step = pairs ? 2 * w.lanes : w.lanes;
  // Tokens of a register tile: with AVX-512 4·6 sums, 4 weight registers and one of x fit the 32
  // registers, with AVX2 4·2 the 16.
  int64_t tileTokens = w.cpu.avx512 ? 6 : 2;
  // Rows of i8 that meet several tiles of tokens are turned into bf16 once. Where registers hold
  // f32, a bf16 costs as much as an i8.
  bool unpacks = pairs && wType.isInteger(8) && k <= kMaxUnpacked;

  /// Weight rows as a tile reads them: pointers to their first elements, in memory or unpacked.
  struct WeightRows {
    llvm::SmallVector<Value> index, pointers;
    Type element;
    bool prefetched; // by the tile
  };

  Value loadStep(Value pointer, Type element, Value index) {
    if (!pairs)
      return w.load(pointer, element, index, step);
    if (element.isInteger(8))
      return arith::TruncFOp::create(w.b, VectorType::get(step, w.b.getBF16Type()),
                                     w.load(pointer, element, index, step));
    return LLVM::LoadOp::create(w.b, VectorType::get(step, w.b.getBF16Type()),
                                w.elementPointer(pointer, element, index), 2);
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
    WeightRows result{{}, {}, wType, true};
    for (int64_t i = 0; i < rows; ++i) {
      result.index.push_back(i == 0 ? row : w.add(result.index.back(), apart));
      result.pointers.push_back(
          w.elementPointer(w.pointer("weight"), wType, w.mul(result.index.back(), k)));
    }
    return result;
  }

  void prefetch(Value pointer, Value at) {
    w.prefetch(pointer, wType, w.add(at, kPrefetchBytes * 8 / wType.getIntOrFloatBitWidth()));
  }

  /// The rows in bf16, at `scratch`.
  WeightRows unpack(const WeightRows &packed, Value scratch) {
    WeightRows result{packed.index, {}, w.b.getBF16Type(), false};
    for (auto [i, from] : llvm::enumerate(packed.pointers)) {
      Value to = w.elementPointer(scratch, result.element, w.constant(static_cast<int64_t>(i) * k));
      result.pointers.push_back(to);
      w.forRange(w.constant(0), w.constant(k / step * step), step, [&, from = from](Value at) {
        LLVM::StoreOp::create(w.b, loadStep(from, wType, at),
                              w.elementPointer(to, result.element, at), 2);
        prefetch(from, at);
      });
      int64_t done = k / step * step;
      for (int64_t width : tailWidths(k - done)) {
        w.store(to, result.element, w.constant(done), w.load(from, wType, w.constant(done), width));
        done += width;
      }
    }
    return result;
  }

  /// These rows against tokens token … token+tokens. The order of the sum does not depend on the
  /// tile, so a token's result does not depend on its batch.
  void tile(const WeightRows &weights, Value token, int64_t tokens) {
    auto rows = static_cast<int64_t>(weights.index.size());
    llvm::SmallVector<Value> xs;
    for (int64_t j = 0; j < tokens; ++j)
      xs.push_back(w.rowPointer("x", w.add(token, j)));

    int64_t done = k / step * step;
    llvm::SmallVector<Value> sums(rows * tokens, w.splat(0.0, w.lanes));
    if (done > 0)
      sums = w.forRange(w.constant(0), w.constant(done), step, sums,
                        [&](Value at, ValueRange carried) {
                          llvm::SmallVector<Value> next(carried), loaded;
                          for (Value weight : weights.pointers) {
                            loaded.push_back(loadStep(weight, weights.element, at));
                            if (weights.prefetched)
                              prefetch(weight, at);
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
    for (int64_t i = 0; i < rows; ++i) {
      Value scale = ofRow("scale", weights.index[i]), bias = ofRow("bias", weights.index[i]);
      for (int64_t j = 0; j < tokens; ++j) {
        Value result = w.splat(sums[j * rows + i], 1);
        if (scale)
          result = w.mulf(result, scale);
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
    int64_t block = blockRows(n), tail = n % kTileRows;
    Value scratch;
    if (unpacks)
      scratch = LLVM::AllocaOp::create(w.b, LLVM::LLVMPointerType::get(w.b.getContext()),
                                       w.b.getBF16Type(), w.constant(kTileRows * k), 64);
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
  // 64 tokens: x of a few thousand columns stays in L2 beside the block of weights, and weights
  // come from memory once in 64 tokens.
  linear.rowsPerGroup = [](const KernelSpec &) -> int64_t { return 64; };
  return {linear};
}

} // namespace m1c
