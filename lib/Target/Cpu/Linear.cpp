// y[t, n] = Σ_k x[t, k] · w[n, k] (+ bias[n]): dot products along k, a tile of weight rows against
// a tile of tokens in registers.
#include "KernelWriter.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace m1c {
namespace {

constexpr int64_t kTileRows = 4; // weight rows of a register tile
// How far ahead of its loads a register asks for weights. On Zen 5 one token then streams 8192×3072
// bf16 weights at 96 % of plain read speed (87 % with f32 activations, 91 % with AVX2); 84, 71 and
// 42 % with tiles of neighbouring rows and without prefetch; 512 and 4096 bytes are slower.
constexpr int64_t kPrefetchBytes = 2048;

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
  bool pairs = w.cpu.avx512Bf16 && xType.isBF16() && wType.isBF16();
  int64_t step = pairs ? 2 * w.lanes : w.lanes;
  // Tokens of a register tile: with AVX-512 4·6 sums, 4 weight registers and one of x fit the 32
  // registers, with AVX2 4·2 the 16.
  int64_t tileTokens = w.cpu.avx512 ? 6 : 2;

  Value loadStep(Value pointer, Type element, Value index) {
    if (!pairs)
      return w.load(pointer, element, index, step);
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

  /// Rows row, row + apart, … against tokens token … token+tokens. The order of the sum does not
  /// depend on the tile, so a token's result does not depend on its batch.
  void tile(Value row, Value apart, int64_t rows, Value token, int64_t tokens) {
    llvm::SmallVector<Value> rowIndex, weights, xs;
    for (int64_t i = 0; i < rows; ++i) {
      rowIndex.push_back(i == 0 ? row : w.add(rowIndex.back(), apart));
      weights.push_back(w.elementPointer(w.pointer("weight"), wType, w.mul(rowIndex.back(), k)));
    }
    for (int64_t j = 0; j < tokens; ++j)
      xs.push_back(w.rowPointer("x", w.add(token, j)));

    int64_t done = k / step * step;
    llvm::SmallVector<Value> sums(rows * tokens, w.splat(0.0, w.lanes));
    if (done > 0)
      sums = w.forRange(
          w.constant(0), w.constant(done), step, sums, [&](Value at, ValueRange carried) {
            llvm::SmallVector<Value> next(carried), loaded;
            for (Value weight : weights) {
              loaded.push_back(loadStep(weight, wType, at));
              w.prefetch(weight, wType,
                         w.add(at, kPrefetchBytes * 8 / wType.getIntOrFloatBitWidth()));
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
      for (Value weight : weights)
        loaded.push_back(w.load(weight, wType, at, width));
      for (int64_t j = 0; j < tokens; ++j) {
        Value x = w.load(xs[j], xType, at, width);
        for (int64_t i = 0; i < rows; ++i)
          sums[j * rows + i] = w.addf(sums[j * rows + i], w.sum(w.mulf(x, loaded[i])));
      }
      done += width;
    }
    for (int64_t i = 0; i < rows; ++i) {
      Value bias = w.has("bias")
                       ? w.load(w.pointer("bias"), w.operand("bias").element, rowIndex[i], 1)
                       : Value();
      for (int64_t j = 0; j < tokens; ++j) {
        Value result = w.splat(sums[j * rows + i], 1);
        w.store(w.rowPointer("out", w.add(token, j)), outType, rowIndex[i],
                bias ? w.addf(result, bias) : result);
      }
    }
  }

  /// All tokens of the group against rows row, row + apart, …, which stay in the first caches.
  void tokensOfGroup(Value row, Value apart, int64_t rows) {
    auto [begin, end] = w.groupRows();
    llvm::SmallVector<int64_t> sizes = {tileTokens};
    llvm::copy_if(llvm::ArrayRef<int64_t>{4, 2, 1}, std::back_inserter(sizes),
                  [&](int64_t size) { return size < tileTokens; });
    for (int64_t tokens : sizes) {
      Value count = arith::SubIOp::create(w.b, end, begin);
      Value whole = w.mul(arith::DivUIOp::create(w.b, count, w.constant(tokens)), tokens);
      Value stop = w.add(begin, whole);
      w.forRange(begin, stop, tokens, [&](Value token) { tile(row, apart, rows, token, tokens); });
      begin = stop;
    }
  }

  void write() {
    int64_t block = blockRows(n), tail = n % kTileRows;
    Value begin = w.mul(w.groupX, block), end = w.minimum(w.add(begin, block), w.constant(n));
    // A tile takes one row of each quarter of the block, so that every register streams through
    // contiguous memory from tile to tile.
    Value quarter =
        arith::DivUIOp::create(w.b, arith::SubIOp::create(w.b, end, begin), w.constant(kTileRows));
    w.forRange(begin, w.add(begin, quarter), 1,
               [&](Value row) { tokensOfGroup(row, quarter, kTileRows); });
    if (tail > 0) {
      Value isLast = arith::CmpIOp::create(w.b, arith::CmpIPredicate::eq, end, w.constant(n));
      w.ifTrue(isLast, [&] { tokensOfGroup(w.constant(n - tail), w.constant(1), tail); });
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
