#include "GeneratedKernels.h"
#include "M1/IR/Scalars.h"
#include "m1k_abi.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MathExtras.h"
#include <tuple>

using namespace mlir;

namespace m1c::cuda {

namespace {

constexpr unsigned warpSize = 32;
// small blocks spread small batches over more multiprocessors
constexpr unsigned elementwiseBlock = 128;
constexpr unsigned maxBlock = 1024;

enum class Family { map, norm, rotaryTable, argmax, unknown };

Family familyOf(StringRef op) {
  return llvm::StringSwitch<Family>(op)
      .Cases({"embedding", "map", "repeat_heads", "rotary_embedding", "kv_write", "rotary_kv_write",
              "gather_rows"},
             Family::map)
      .Cases({"rms_norm", "add_rms_norm"}, Family::norm)
      .Case("rotary_table", Family::rotaryTable)
      .Case("sample", Family::argmax)
      .Default(Family::unknown);
}

int64_t columns(const OperandSpec &operand) { return operand.dims.back(); }

/// Columns of a head of an op on heads.
int64_t headColumns(const KernelSpec &spec) {
  if (int cache = spec.find("cache"); cache >= 0)
    return spec.operands[cache].dims.back();
  return spec.integer("head_dim");
}
/// How many of them turn.
int64_t turnedColumns(const KernelSpec &spec) { return columns(spec.get("table")); }

// Length of the runs of contiguous elements that an op maps to contiguous elements.
int64_t contiguousRun(const KernelSpec &spec) {
  StringRef op = spec.op;
  if (op == "rotary_embedding" || op == "rotary_kv_write")
    return headColumns(spec) / 2;
  if (op == "kv_write")
    return headColumns(spec);
  if (op == "repeat_heads")
    return spec.integer("head_size");
  if (op == "add_rms_norm")
    return columns(spec.get("sum"));
  if (op == "sample")
    return columns(spec.get("logits"));
  return columns(spec.get("out"));
}

// Runs of one row.
int64_t runsPerRow(const KernelSpec &spec) {
  StringRef op = spec.op;
  if (op == "rotary_kv_write") {
    int64_t values = columns(spec.get("q")) + columns(spec.get("k")) + columns(spec.get("v"));
    return values / headColumns(spec); // a head's two halves move together
  }
  if (op == "rotary_embedding")
    return columns(spec.get("out")) / headColumns(spec);
  if (op == "kv_write")
    return (columns(spec.get("k")) + columns(spec.get("v"))) / headColumns(spec);
  return columns(spec.get("out")) / contiguousRun(spec);
}

/// Whether columns of the result share the values of this vector.
bool isShared(const KernelSpec &spec, const OperandSpec &operand) {
  return spec.op == "map" && !operand.rowStride && columns(operand) != columns(spec.get("out"));
}

bool widthFits(const KernelSpec &spec, ArrayRef<unsigned> alignments, unsigned width) {
  if (contiguousRun(spec) % width ||
      (spec.find("table") >= 0 && StringRef(spec.op).contains("rotary") &&
       turnedColumns(spec) / 2 % width))
    return false;
  for (auto [operand, alignment] : llvm::zip_equal(spec.operands, alignments)) {
    // Batch arrays, and values that columns share, are read one by one.
    if (operand.element.isInteger() || isShared(spec, operand))
      continue;
    unsigned size = operand.element.getIntOrFloatBitWidth() / 8;
    unsigned access = std::min(16u, size * width);
    int64_t rowStride = operand.rowStride ? operand.rowStride : columns(operand);
    if (alignment % access || (rowStride * size) % access)
      return false;
  }
  return true;
}

// ---- elementwise: one thread, `width` contiguous values ----

// Where a token's K or V row lies in the cache: [pages][2][kv_heads][page_size][head_dim], element
// offset.
Value cacheOffset(KernelBuilder &k, Value row, Value which, Value head, Value column, int64_t heads,
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

HeadPair pairOf(KernelBuilder &k, Value column) {
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

void rotate(KernelBuilder &k, Value row, const HeadPair &pair, Value low, Value high, Value &outLow,
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

void buildRotaryKvWrite(KernelBuilder &k, Value row, Value run, Value column) {
  const KernelSpec &spec = k.spec;
  int64_t headDim = headColumns(spec);
  HeadPair pair = pairOf(k, column);
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

void buildKvWrite(KernelBuilder &k, Value row, Value run, Value column) {
  int64_t headDim = headColumns(k.spec), kvHeads = columns(k.spec.get("k")) / headDim;
  Value which = k.div(run, kvHeads), head = k.rem(run, kvHeads);
  Value at = cacheOffset(k, row, which, head, column, kvHeads, headDim);
  Value source = k.add(k.mul(head, k.i32(headDim)), column);
  k.when(k.less(run, k.i32(kvHeads)), [&] { k.storeAt("cache", at, k.load("k", row, source)); });
  Value isValue = arith::CmpIOp::create(k.b, arith::CmpIPredicate::sge, run, k.i32(kvHeads));
  k.when(isValue, [&] { k.storeAt("cache", at, k.load("v", row, source)); });
}

void buildRotaryEmbedding(KernelBuilder &k, Value row, Value run, Value column) {
  HeadPair pair = pairOf(k, column);
  Value first = k.mul(run, k.i32(headColumns(k.spec)));
  Value at = k.add(first, pair.low), atHigh = k.add(first, pair.high), outLow, outHigh;
  rotate(k, row, pair, k.load("x", row, at), k.load("x", row, atHigh), outLow, outHigh);
  k.store("out", row, at, outLow);
  k.store("out", row, atHigh, outHigh);
}

void buildMap(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  StringRef op = spec.op;
  int64_t run = contiguousRun(spec), runs = runsPerRow(spec);
  int64_t unitsPerRun = run / k.shape.width, units = unitsPerRun * runs;
  Value unit = k.add(k.mul(k.groupX, k.i32(k.shape.blockSize)), k.thread);
  Value row = k.groupY;
  auto body = [&] {
    Value runIndex = k.div(unit, unitsPerRun);
    Value inRun = k.mul(k.rem(unit, unitsPerRun), k.i32(k.shape.width));
    if (op == "rotary_kv_write")
      return buildRotaryKvWrite(k, row, runIndex, inRun);
    if (op == "kv_write")
      return buildKvWrite(k, row, runIndex, inRun);
    if (op == "rotary_embedding")
      return buildRotaryEmbedding(k, row, runIndex, inRun);
    Value column = k.mul(unit, k.i32(k.shape.width));
    Value out;
    if (op == "embedding") {
      out = k.loadAt("table",
                     k.offset(k.loadIndex("tokens", row), columns(spec.get("table")), column));
    } else if (op == "map") {
      SmallVector<Value> inputs;
      for (size_t i = 0; i + 1 < spec.operands.size(); ++i)
        inputs.push_back(k.loadInput(i, row, column, columns(spec.get("out"))));
      out = m1::buildScalars(k.b, cast<ArrayAttr>(spec.params.get("body")), inputs,
                             [&](StringRef op, ValueRange v) { return k.scalar(op, v); });
    } else if (op == "gather_rows") {
      out = k.load("x", k.loadIndex("logit_rows", row), column);
    } else if (op == "repeat_heads") {
      Value head = k.div(runIndex, spec.integer("repeat"));
      out = k.load("x", row, k.add(k.mul(head, k.i32(run)), inRun));
    }
    k.store("out", row, column, out);
  };
  if (units % k.shape.blockSize)
    k.when(k.less(unit, k.i32(units)), body);
  else
    body();
}

// ---- norms: one block a row, which stays in registers between its two uses ----

void buildNorm(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  StringRef op = spec.op;
  int64_t size = contiguousRun(spec), stride = int64_t(k.shape.blockSize) * k.shape.width;
  int64_t chunks = llvm::divideCeil(size, stride);
  float eps = float(spec.real("eps"));
  Value row = k.groupY;
  // Of x; a norm may take the rows that a gather would take for it.
  Value source = spec.find("logit_rows") < 0 ? row : k.loadIndex("logit_rows", row);
  SmallVector<Value> values, inRange, columnsOf;
  Value partial = k.f32(0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    Value column = k.add(k.mul(k.thread, k.i32(k.shape.width)), k.i32(chunk * stride));
    Value guard = (chunk + 1) * stride > size ? k.less(column, k.i32(size)) : Value();
    auto read = [&]() -> Value {
      if (op == "rms_norm")
        return k.load("x", source, column);
      Value sum =
          arith::AddFOp::create(k.b, k.load("residual", row, column), k.load("x", row, column));
      k.store("sum", row, column, sum);
      return sum;
    };
    Value value = guard ? k.select(guard, read, k.splat(0.0f)) : read();
    values.push_back(value);
    inRange.push_back(guard);
    columnsOf.push_back(column);
    partial = arith::AddFOp::create(k.b, partial, k.sum(arith::MulFOp::create(k.b, value, value)));
  }
  Value total = k.blockSum(partial);
  Value mean = arith::MulFOp::create(k.b, total, k.f32(1.0f / float(size)));
  Value scale = k.splat(k.rsqrt(arith::AddFOp::create(k.b, mean, k.f32(eps))));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    auto write = [&] {
      Value weight = k.load("weight", {}, columnsOf[chunk]);
      Value normed = arith::MulFOp::create(k.b, values[chunk], scale);
      k.store(spec.operands.back().role, row, columnsOf[chunk],
              arith::MulFOp::create(k.b, normed, weight));
    };
    if (inRange[chunk])
      k.when(inRange[chunk], write);
    else
      write();
  }
}

// ---- rotary table: cos and sin of position = 256·hi + lo by the angle-addition formulas ----

void buildRotaryTable(KernelBuilder &k) {
  int64_t half = columns(k.spec.get("out")) / 2;
  Value frequency = k.add(k.mul(k.groupX, k.i32(k.shape.blockSize)), k.thread);
  k.when(k.less(frequency, k.i32(half)), [&] {
    Value position = k.loadIndex("positions", k.groupY);
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
    k.store("out", k.groupY, frequency, k.splat(cosine, 1));
    k.store("out", k.groupY, k.add(frequency, k.i32(half)), k.splat(sine, 1));
  });
}

// ---- argmax: one block a row; the smallest index among equal logits ----
// A NaN counts as infinity, and a row whose largest logit is not finite has no token, -1.

void buildArgmax(KernelBuilder &k) {
  ImplicitLocOpBuilder &b = k.b;
  // The last vector may reach over the ids, but not over the row.
  int64_t size = k.spec.ids();
  unsigned width = k.shape.width;
  const float infinity = std::numeric_limits<float>::infinity();
  int64_t stride = int64_t(k.shape.blockSize) * width;
  constexpr int32_t none = std::numeric_limits<int32_t>::max();
  Value lowest = k.splat(-infinity);
  Value noIndex =
      vector::BroadcastOp::create(b, VectorType::get({width}, b.getI32Type()), k.i32(none));
  Value first = k.mul(k.thread, k.i32(width));
  auto loop = scf::ForOp::create(b, first, k.i32(size), k.i32(stride), ValueRange{lowest, noIndex});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    Value column = loop.getInductionVar(), best = loop.getRegionIterArg(0),
          index = loop.getRegionIterArg(1);
    Value logit = k.load("logits", k.groupY, column);
    Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, logit, logit);
    Value value = arith::SelectOp::create(b, isNan, k.splat(infinity), logit);
    SmallVector<int32_t> lanes(width);
    for (unsigned i = 0; i < width; ++i)
      lanes[i] = i;
    auto type = VectorType::get({width}, b.getI32Type());
    Value lane =
        arith::ConstantOp::create(b, DenseElementsAttr::get(type, ArrayRef<int32_t>(lanes)));
    Value here = arith::AddIOp::create(b, vector::BroadcastOp::create(b, type, column), lane);
    if (size % width) {
      Value end = vector::BroadcastOp::create(b, type, k.i32(size));
      Value counts = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, here, end);
      value = arith::SelectOp::create(b, counts, value, k.splat(-infinity));
    }
    Value greater = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, value, best);
    scf::YieldOp::create(b, ValueRange{arith::SelectOp::create(b, greater, value, best),
                                       arith::SelectOp::create(b, greater, here, index)});
  }
  Value best, index;
  for (unsigned i = 0; i < width; ++i) {
    Value otherBest = vector::ExtractOp::create(b, loop.getResult(0), ArrayRef<int64_t>{i});
    Value otherIndex = vector::ExtractOp::create(b, loop.getResult(1), ArrayRef<int64_t>{i});
    if (!best) {
      best = otherBest, index = otherIndex;
      continue;
    }
    Value greater = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, otherBest, best);
    Value equal = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, otherBest, best);
    Value take = arith::OrIOp::create(b, greater,
                                      arith::AndIOp::create(b, equal, k.less(otherIndex, index)));
    best = arith::SelectOp::create(b, take, otherBest, best);
    index = arith::SelectOp::create(b, take, otherIndex, index);
  }
  std::tie(best, index) = k.blockArgmax(best, index);
  Value isFinite = arith::AndIOp::create(
      b, arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, best, k.f32(infinity)),
      arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, best, k.f32(-infinity)));
  Value token = arith::SelectOp::create(b, isFinite, index, k.i32(-1));
  k.when(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, k.thread, k.i32(0)),
         [&] { k.storeIndex("out", k.groupY, token); });
}

} // namespace

bool isGeneratedOp(StringRef op) { return familyOf(op) != Family::unknown; }

/// Blocks and threads for a width, if the kernel has one.
static KernelShape shapeOfWidth(const KernelSpec &spec, unsigned width) {
  KernelShape shape;
  Family family = familyOf(spec.op);
  if (family == Family::rotaryTable) {
    int64_t half = columns(spec.get("out")) / 2;
    shape.blockSize = std::min<int64_t>(elementwiseBlock, llvm::alignTo(half, warpSize));
    shape.gridX = llvm::divideCeil(half, shape.blockSize);
    return shape;
  }
  shape.width = width;
  int64_t run = contiguousRun(spec);
  if (family == Family::map) {
    int64_t units = run / shape.width * runsPerRow(spec);
    shape.blockSize = std::min<int64_t>(elementwiseBlock, llvm::alignTo(units, warpSize));
    shape.gridX = llvm::divideCeil(units, shape.blockSize);
  } else {
    shape.blockSize =
        std::min<int64_t>(maxBlock, llvm::alignTo(llvm::divideCeil(run, shape.width), warpSize));
  }
  return shape;
}

KernelShape shapeGeneratedKernel(const KernelSpec &spec, ArrayRef<unsigned> alignments) {
  unsigned width = 8;
  while (width > 1 && !widthFits(spec, alignments, width))
    width /= 2;
  return shapeOfWidth(spec, width);
}

bool isShapeOf(const KernelSpec &spec, const KernelShape &shape) {
  // 32: a thread's accesses are of at most so many bytes.
  const SmallVector<unsigned> aligned(spec.operands.size(), 32);
  if (shape.width > 8 || !llvm::isPowerOf2_32(shape.width) ||
      (shape.width > 1 && !widthFits(spec, aligned, shape.width)))
    return false;
  const KernelShape expected = shapeOfWidth(spec, shape.width);
  return shape.width == expected.width && shape.blockSize == expected.blockSize &&
         shape.gridX == expected.gridX;
}

LogicalResult buildGeneratedKernel(OpBuilder &builder, gpu::GPUModuleOp module, StringRef symbol,
                                   const KernelSpec &spec, const KernelShape &shape) {
  Family family = familyOf(spec.op);
  if (family == Family::unknown)
    return module.emitError() << "no generated CUDA kernel for '" << spec.op << "'";
  OpBuilder::InsertionGuard guard(builder);
  KernelBuilder k(builder, module, symbol, spec, shape,
                  family == Family::norm || family == Family::argmax);
  switch (family) {
  case Family::map:
    buildMap(k);
    break;
  case Family::norm:
    buildNorm(k);
    break;
  case Family::rotaryTable:
    buildRotaryTable(k);
    break;
  case Family::argmax:
    buildArgmax(k);
    break;
  case Family::unknown:
    break;
  }
  k.finish();
  return success();
}

} // namespace m1c::cuda
