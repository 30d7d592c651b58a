// Rotary embeddings and writes into KV caches.
#include "../GeneratedKernels.h"
#include "m1k_abi.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace m1c::cuda {
namespace {

/// Columns of a head.
int64_t headColumns(const KernelSpec &spec) {
  if (int cache = spec.find("cache"); cache >= 0)
    return spec.operands[cache].dims.back();
  return spec.integer("head_dim");
}
/// How many of them turn.
int64_t turnedColumns(const KernelSpec &spec) { return columns(spec.get("table")); }
int64_t halfHead(const KernelSpec &spec) { return headColumns(spec) / 2; }

/// Heads of these operands, one for each run.
int64_t headsOf(const KernelSpec &spec, ArrayRef<StringRef> roles) {
  int64_t values = 0;
  for (StringRef role : roles)
    values += columns(spec.get(role));
  return values / headColumns(spec);
}

/// A vector lies within the columns that turn, or within the others.
bool turnsWhole(const KernelSpec &spec, unsigned width) {
  return turnedColumns(spec) / 2 % width == 0;
}

// Where a token's K or V row lies in the cache: [pages][2][kv_heads][page_size][head_dim], element
// offset.
Value cacheOffset(KernelWriter &k, Value row, Value which, Value head, Value column, int64_t heads,
                  int64_t headDim) {
  Value position = k.loadIndex("positions", row);
  Value sequence = k.loadIndex("token_sequence", row);
  Value page = k.loadIndex("block_tables",
                           k.add(k.mul(sequence, k.maxPages()), k.div(position, M1_PAGE_SIZE)));
  Value rowOfPage = k.add(k.mul(k.add(k.mul(which, k.i32(heads)), head), k.i32(M1_PAGE_SIZE)),
                          k.rem(position, M1_PAGE_SIZE));
  Value inPage = k.add(k.mul(rowOfPage, k.i32(headDim)), column);
  return k.offset(page, 2 * heads * M1_PAGE_SIZE * headDim, inPage);
}

/// A unit's two vectors of a head: unit `column` of head_dim/2 turns columns i and i + r/2 of the
/// first r, or takes two of the others.
struct HeadPair {
  Value low, high;   // columns within the head
  Value turns, unit; // absent when all do
};

HeadPair pairOf(KernelWriter &k, Value column) {
  int64_t d = headColumns(k.spec), r = turnedColumns(k.spec);
  if (r == d)
    return {column, k.add(column, k.i32(d / 2)), Value(), column};
  Value turns = k.less(column, k.i32(r / 2));
  auto either = [&](int64_t turned, int64_t other) -> Value {
    return arith::SelectOp::create(k.b, turns, k.i32(turned), k.i32(other));
  };
  Value low = k.add(column, either(0, r / 2));
  return {low, k.add(low, either(r / 2, (d - r) / 2)), turns, column};
}

void rotate(KernelWriter &k, Value row, const HeadPair &pair, Value low, Value high, Value &outLow,
            Value &outHigh) {
  auto angle = [&](int64_t first) -> Value {
    auto read = [&] { return k.load("table", row, k.add(pair.unit, k.i32(first))); };
    return pair.turns ? k.select(pair.turns, read, k.splat(0.0f)) : read();
  };
  Value cosine = angle(0), sine = angle(turnedColumns(k.spec) / 2);
  auto multiply = [&](Value a, Value c) -> Value {
    return arith::MulFOp::create(k.b, a, c, arith::FastMathFlags::contract);
  };
  outLow = arith::SubFOp::create(k.b, multiply(low, cosine), multiply(high, sine),
                                 arith::FastMathFlags::contract);
  outHigh = arith::AddFOp::create(k.b, multiply(high, cosine), multiply(low, sine),
                                  arith::FastMathFlags::contract);
  if (pair.turns) {
    outLow = arith::SelectOp::create(k.b, pair.turns, outLow, low);
    outHigh = arith::SelectOp::create(k.b, pair.turns, outHigh, high);
  }
}

void writeRotaryKvWrite(KernelWriter &k, const Unit &unit) {
  const KernelSpec &spec = k.spec;
  Value row = unit.row, run = unit.run;
  int64_t headDim = headColumns(spec);
  HeadPair pair = pairOf(k, unit.inRun);
  int64_t qHeads = columns(spec.get("q")) / headDim, kvHeads = columns(spec.get("k")) / headDim;
  auto halves = [&](StringRef role, Value head) {
    Value first = k.mul(head, k.i32(headDim));
    return std::pair<Value, Value>(k.load(role, row, k.add(first, pair.low)),
                                   k.load(role, row, k.add(first, pair.high)));
  };
  Value isQ = k.less(run, k.i32(qHeads));
  k.when(isQ, [&] {
    auto [low, high] = halves("q", run);
    Value outLow, outHigh;
    rotate(k, row, pair, low, high, outLow, outHigh);
    Value first = k.mul(run, k.i32(headDim));
    k.store("out", row, k.add(first, pair.low), outLow);
    k.store("out", row, k.add(first, pair.high), outHigh);
  });
  Value isKv = arith::CmpIOp::create(k.b, arith::CmpIPredicate::sge, run, k.i32(qHeads));
  k.when(isKv, [&] {
    Value kvRun = arith::SubIOp::create(k.b, run, k.i32(qHeads));
    Value which = k.div(kvRun, kvHeads), head = k.rem(kvRun, kvHeads);
    Value at = cacheOffset(k, row, which, head, pair.low, kvHeads, headDim);
    Value distance = arith::SubIOp::create(k.b, pair.high, pair.low);
    Value atHigh = arith::AddIOp::create(k.b, at, k.i64(distance));
    Value isKey = k.less(kvRun, k.i32(kvHeads));
    k.when(isKey, [&] {
      auto [low, high] = halves("k", head);
      Value outLow, outHigh;
      rotate(k, row, pair, low, high, outLow, outHigh);
      k.storeAt("cache", at, outLow);
      k.storeAt("cache", atHigh, outHigh);
    });
    Value isValue = arith::CmpIOp::create(k.b, arith::CmpIPredicate::sge, kvRun, k.i32(kvHeads));
    k.when(isValue, [&] {
      auto [low, high] = halves("v", head);
      k.storeAt("cache", at, low);
      k.storeAt("cache", atHigh, high);
    });
  });
}

void writeKv(KernelWriter &k, const Unit &unit) {
  Value row = unit.row, run = unit.run, column = unit.inRun;
  int64_t headDim = headColumns(k.spec), kvHeads = columns(k.spec.get("k")) / headDim;
  Value which = k.div(run, kvHeads), head = k.rem(run, kvHeads);
  Value at = cacheOffset(k, row, which, head, column, kvHeads, headDim);
  Value source = k.add(k.mul(head, k.i32(headDim)), column);
  k.when(k.less(run, k.i32(kvHeads)), [&] { k.storeAt("cache", at, k.load("k", row, source)); });
  Value isValue = arith::CmpIOp::create(k.b, arith::CmpIPredicate::sge, run, k.i32(kvHeads));
  k.when(isValue, [&] { k.storeAt("cache", at, k.load("v", row, source)); });
}

void writeRotaryEmbedding(KernelWriter &k, const Unit &unit) {
  Value row = unit.row;
  HeadPair pair = pairOf(k, unit.inRun);
  Value first = k.mul(unit.run, k.i32(headColumns(k.spec)));
  Value at = k.add(first, pair.low), atHigh = k.add(first, pair.high), outLow, outHigh;
  rotate(k, row, pair, k.load("x", row, at), k.load("x", row, atHigh), outLow, outHigh);
  k.store("out", row, at, outLow);
  k.store("out", row, atHigh, outHigh);
}

/// cos and sin of position = 256·hi + lo by the angle-addition formulas.
void writeRotaryTable(KernelWriter &k, const Unit &unit) {
  int64_t half = columns(k.spec.get("out")) / 2;
  Value frequency = unit.column;
  Value position = k.loadIndex("positions", unit.row);
  auto entry = [&](StringRef role, Value index) {
    Value pair = k.loadAt(role, k.offset(index, 2 * half, k.mul(frequency, k.i32(2))), 2);
    return std::pair<Value, Value>(vector::ExtractOp::create(k.b, pair, ArrayRef<int64_t>{0}),
                                   vector::ExtractOp::create(k.b, pair, ArrayRef<int64_t>{1}));
  };
  auto [cosHi, sinHi] = entry("hi", k.div(position, 256));
  auto [cosLo, sinLo] = entry("lo", k.rem(position, 256));
  auto multiply = [&](Value a, Value c) -> Value { return arith::MulFOp::create(k.b, a, c); };
  Value cosine = arith::SubFOp::create(k.b, multiply(cosHi, cosLo), multiply(sinHi, sinLo));
  Value sine = arith::AddFOp::create(k.b, multiply(sinHi, cosLo), multiply(cosHi, sinLo));
  k.store("out", unit.row, frequency, k.splat(cosine, 1));
  k.store("out", unit.row, k.add(frequency, k.i32(half)), k.splat(sine, 1));
}

} // namespace

std::vector<GeneratedFamily> rotaryFamilies() {
  GeneratedFamily table{"rotary_table", writeRotaryTable};
  table.run = [](const KernelSpec &spec) { return columns(spec.get("out")) / 2; };
  table.runsPerRow = [](const KernelSpec &) -> int64_t { return 1; };
  table.widest = 1;
  GeneratedFamily embedding{"rotary_embedding", writeRotaryEmbedding};
  embedding.run = halfHead;
  embedding.runsPerRow = [](const KernelSpec &spec) { return headsOf(spec, {"out"}); };
  embedding.takesWidth = turnsWhole;
  GeneratedFamily kv{"kv_write", writeKv};
  kv.run = headColumns;
  kv.runsPerRow = [](const KernelSpec &spec) { return headsOf(spec, {"k", "v"}); };
  GeneratedFamily both{"rotary_kv_write", writeRotaryKvWrite};
  both.run = halfHead; // a head's two halves move together
  both.runsPerRow = [](const KernelSpec &spec) { return headsOf(spec, {"q", "k", "v"}); };
  both.takesWidth = turnsWhole;
  return {table, embedding, kv, both};
}

} // namespace m1c::cuda
