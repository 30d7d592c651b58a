// Kernels over the columns of a row: norms, elementwise ops, row copies, argmax.
#include "../KernelWriter.h"
#include "M1/IR/Scalars.h"
#include "m1k_e4m3.h"

using namespace mlir;

namespace m1c {

static void copyRow(KernelWriter &w, Value from, Type fromType, Value to, Type toType,
                    int64_t columns) {
  w.forColumns(columns, [&](Value column, int64_t width) {
    w.store(to, toType, column, w.load(from, fromType, column, width));
  });
}

static void writeEmbedding(KernelWriter &w) {
  const OperandSpec &table = w.operand("table"), &out = w.operand("out");
  w.forGroupRows([&](Value row) {
    Value token = w.loadIndex(w.pointer("tokens"), row);
    Value from = w.elementPointer(w.pointer("table"), table.element, w.mul(token, table.dims[1]));
    copyRow(w, from, table.element, w.rowPointer("out", row), out.element, table.dims[1]);
  });
}

static void writeGatherRows(KernelWriter &w) {
  w.forGroupRows([&](Value row) {
    Value from = w.rowPointer("x", w.loadIndex(w.pointer("logit_rows"), row));
    // Indices move as the bits of f32 of the same width.
    bool isIndex = w.operand("x").element.isInteger(32);
    Type f32 = w.b.getF32Type(), to = isIndex ? f32 : w.operand("out").element;
    copyRow(w, from, isIndex ? f32 : w.operand("x").element, w.rowPointer("out", row), to,
            w.columns("out"));
  });
}

/// 1 / sqrt(sumOfSquares / n + eps)
static Value inverseRms(KernelWriter &w, Value sumOfSquares, int64_t n, double eps) {
  auto f32 = [&](double value) -> Value {
    return arith::ConstantOp::create(w.b, w.b.getF32FloatAttr(static_cast<float>(value)));
  };
  Value mean = w.addf(w.divf(sumOfSquares, f32(static_cast<double>(n))), f32(eps));
  return w.divf(f32(1.0), math::SqrtOp::create(w.b, mean));
}

/// Columns first + column … of a weight of one value a column of the row, or of a group.
static Value loadGroupWeight(KernelWriter &w, Value first, Value column, int64_t width) {
  bool shared = w.columns("weight") < w.columns("out") && w.integer("groups") > 1;
  return w.load(w.pointer("weight"), w.operand("weight").element,
                shared ? column : w.add(first, column), width);
}

/// add_rms_norm, or rms_norm of one group.
static void writeWholeNorm(KernelWriter &w) {
  bool adds = w.has("sum");
  StringRef output = adds ? "normed" : "out", input = adds ? "sum" : "x";
  int64_t n = w.columns(output);
  w.forGroupRows([&](Value row) {
    Value sum = adds ? w.rowPointer("sum", row) : Value(),
          residual = adds ? w.rowPointer("residual", row) : Value();
    Value x = w.rowPointer("x", row), out = w.rowPointer(output, row), from = adds ? sum : x;
    Type inputType = w.operand(input).element;
    Value squares = w.sumColumns(n, [&](Value column, int64_t width) {
      Value value = w.load(x, w.operand("x").element, column, width);
      if (adds) {
        if (w.spec.flag("factor"))
          value = w.mulf(value, w.splat(w.real("factor"), width));
        value = w.addf(w.load(residual, w.operand("residual").element, column, width), value);
        w.store(sum, inputType, column, value);
      }
      return w.mulf(value, value);
    });
    Value scale = inverseRms(w, squares, n, w.real("eps"));
    w.forColumns(n, [&](Value column, int64_t width) {
      Value value = w.mulf(w.load(from, inputType, column, width), w.splat(scale, width));
      value =
          w.mulf(value, w.load(w.pointer("weight"), w.operand("weight").element, column, width));
      w.store(out, w.operand(output).element, column, value);
    });
  });
}

/// Each of the row's groups on its own; value(at, width) is what is normalised, finish(v, at,
/// width) what becomes of it after the weight.
static void
writeGroupNorm(KernelWriter &w, llvm::function_ref<Value(Value row, Value at, int64_t width)> value,
               llvm::function_ref<Value(Value v, Value row, Value at, int64_t width)> finish) {
  int64_t groups = w.integer("groups"), n = w.columns("out") / groups;
  w.forGroupRows([&](Value row) {
    Value out = w.rowPointer("out", row);
    w.forRange(w.constant(0), w.constant(groups), 1, [&](Value group) {
      Value first = w.mul(group, n);
      Value squares = w.sumColumns(n, [&](Value column, int64_t width) {
        Value v = value(row, w.add(first, column), width);
        return w.mulf(v, v);
      });
      Value scale = inverseRms(w, squares, n, w.real("eps"));
      w.forColumns(n, [&](Value column, int64_t width) {
        Value at = w.add(first, column);
        Value v = w.mulf(value(row, at, width), w.splat(scale, width));
        if (w.has("weight"))
          v = w.mulf(v, loadGroupWeight(w, first, column, width));
        w.store(out, w.operand("out").element, at, finish(v, row, at, width));
      });
    });
  });
}

static void writeRmsNorm(KernelWriter &w) {
  if (w.has("sum") || (w.integer("groups") == 1 && w.has("weight")))
    return writeWholeNorm(w);
  writeGroupNorm(
      w,
      [&](Value row, Value at, int64_t width) {
        return w.load(w.rowPointer("x", row), w.operand("x").element, at, width);
      },
      [](Value v, Value, Value, int64_t) { return v; });
}

static void writeGatedRmsNorm(KernelWriter &w) {
  bool normFirst = w.spec.flag("norm_first");
  auto gate = [&](Value v, Value row, Value at, int64_t width) {
    return w.mulf(v, w.silu(w.load(w.rowPointer("z", row), w.operand("z").element, at, width)));
  };
  writeGroupNorm(
      w,
      [&](Value row, Value at, int64_t width) {
        Value y = w.load(w.rowPointer("y", row), w.operand("y").element, at, width);
        return normFirst ? y : gate(y, row, at, width);
      },
      [&](Value v, Value row, Value at, int64_t width) {
        return normFirst ? gate(v, row, at, width) : v;
      });
}

/// Values of columns column … column+width, each shared by `share` neighbours.
static Value loadShared(KernelWriter &w, Value pointer, Type element, Value column, int64_t width,
                        int64_t share) {
  if (share == 1)
    return w.load(pointer, element, column, width);
  llvm::SmallVector<Value> values;
  for (int64_t i = 0; i < width; ++i) {
    Value index = arith::DivUIOp::create(w.b, w.add(column, i), w.constant(share));
    values.push_back(
        vector::ExtractOp::create(w.b, w.load(pointer, element, index, 1), ArrayRef<int64_t>{0}));
  }
  return vector::FromElementsOp::create(w.b, w.f32Vector(width), values);
}

/// `out[t, c] = body(…)`: rows and vectors side by side in registers.
static void writeMap(KernelWriter &w) {
  auto code = cast<ArrayAttr>(w.spec.params.get("body"));
  ArrayRef<OperandSpec> inputs = ArrayRef(w.spec.operands).drop_back();
  w.forGroupRows([&](Value row) {
    llvm::SmallVector<Value> bases;
    for (auto [index, input] : llvm::enumerate(inputs))
      bases.push_back(w.rowPointer(index, row));
    Value out = w.rowPointer("out", row);
    w.forColumns(w.columns("out"), [&](Value column, int64_t width) {
      llvm::SmallVector<Value> values;
      for (auto [input, base] : llvm::zip_equal(inputs, bases))
        values.push_back(loadShared(w, base, input.element, column, width,
                                    w.columns("out") / input.dims.back()));
      w.store(out, w.operand("out").element, column, m1::buildScalars(w.b, code, values));
    });
  });
}

static void writeRepeatHeads(KernelWriter &w) {
  int64_t size = w.integer("head_size"), repeat = w.integer("repeat"),
          heads = w.columns("x") / size;
  Type from = w.operand("x").element, to = w.operand("out").element;
  w.forGroupRows([&](Value row) {
    Value x = w.rowPointer("x", row), out = w.rowPointer("out", row);
    w.forRange(w.constant(0), w.constant(heads * repeat), 1, [&](Value head) {
      Value source = w.mul(arith::DivUIOp::create(w.b, head, w.constant(repeat)), size),
            target = w.mul(head, size);
      w.forColumns(size, [&](Value column, int64_t width) {
        w.store(out, to, w.add(target, column), w.load(x, from, w.add(source, column), width));
      });
    });
  });
}

static void writeSample(KernelWriter &w) {
  // Each lane keeps its largest value and where it first saw it; then the smallest index among the
  // lanes that hold the largest value. A NaN counts as infinity, and a row whose largest value is
  // not finite has no token.
  int64_t n = w.spec.ids(), lanes = w.lanes;
  Type element = w.operand("logits").element;
  auto indices = [&](int64_t width) { return VectorType::get(width, w.b.getI32Type()); };
  w.forGroupRows([&](Value row) {
    Value logits = w.rowPointer("logits", row);
    auto indexVector = [&](Value column, int64_t width) -> Value {
      llvm::SmallVector<int32_t> steps;
      for (int64_t i = 0; i < width; ++i)
        steps.push_back(static_cast<int32_t>(i));
      Value base = vector::BroadcastOp::create(
          w.b, indices(width), arith::TruncIOp::create(w.b, w.b.getI32Type(), column));
      return arith::AddIOp::create(
          w.b, base,
          arith::ConstantOp::create(w.b, DenseElementsAttr::get(indices(width), ArrayRef(steps))));
    };
    Value largest = arith::ConstantOp::create(
        w.b, w.b.getF32FloatAttr(-std::numeric_limits<float>::infinity()));
    Value index = arith::ConstantOp::create(w.b, w.b.getI32IntegerAttr(0));
    const float infinity = std::numeric_limits<float>::infinity();
    auto load = [&](Value column, int64_t width) -> Value {
      Value value = w.load(logits, element, column, width);
      Value isNan = arith::CmpFOp::create(w.b, arith::CmpFPredicate::UNO, value, value);
      return arith::SelectOp::create(w.b, isNan, w.splat(infinity, width), value);
    };
    // The largest of `value` (its first index `at`) against the best so far, which lies before it
    // unless `value` itself holds it.
    auto merge = [&](Value value, Value at) {
      int64_t width = cast<VectorType>(value.getType()).getDimSize(0);
      Value best = vector::ReductionOp::create(w.b, vector::CombiningKind::MAXNUMF, value);
      Value isBest =
          arith::CmpFOp::create(w.b, arith::CmpFPredicate::OEQ, value, w.splat(best, width));
      Value none = arith::ConstantOp::create(
          w.b, DenseElementsAttr::get(indices(width), std::numeric_limits<int32_t>::max()));
      Value first = vector::ReductionOp::create(w.b, vector::CombiningKind::MINSI,
                                                arith::SelectOp::create(w.b, isBest, at, none));
      Value isLarger = arith::CmpFOp::create(w.b, arith::CmpFPredicate::OGT, best, largest);
      largest = arith::SelectOp::create(w.b, isLarger, best, largest);
      index = arith::SelectOp::create(w.b, isLarger, first, index);
    };
    int64_t whole = n / lanes * lanes;
    if (whole > 0) {
      Value zero = w.constant(0);
      llvm::SmallVector<Value> start{w.splat(-std::numeric_limits<double>::infinity(), lanes),
                                     indexVector(zero, lanes)};
      auto best =
          w.forRange(zero, w.constant(whole), lanes, start, [&](Value column, ValueRange carried) {
            Value value = load(column, lanes);
            Value isLarger =
                arith::CmpFOp::create(w.b, arith::CmpFPredicate::OGT, value, carried[0]);
            return llvm::SmallVector<Value>{
                arith::SelectOp::create(w.b, isLarger, value, carried[0]),
                arith::SelectOp::create(w.b, isLarger, indexVector(column, lanes), carried[1])};
          });
      merge(best[0], best[1]);
    }
    for (int64_t width : tailWidths(n - whole)) {
      Value column = w.constant(whole);
      merge(load(column, width), indexVector(column, width));
      whole += width;
    }
    auto compare = [&](arith::CmpFPredicate predicate, float bound) -> Value {
      Value constant = arith::ConstantOp::create(w.b, w.b.getF32FloatAttr(bound));
      return arith::CmpFOp::create(w.b, predicate, largest, constant);
    };
    Value isFinite = arith::AndIOp::create(w.b, compare(arith::CmpFPredicate::OLT, infinity),
                                           compare(arith::CmpFPredicate::OGT, -infinity));
    Value none = arith::ConstantOp::create(w.b, w.b.getI32IntegerAttr(-1));
    w.storeI32(w.pointer("out"), row, arith::SelectOp::create(w.b, isFinite, index, none));
  });
}

/// The largest absolute value of a row, an f32; of NaNs it takes no notice.
static Value largestOf(KernelWriter &w, Value x, Type element, int64_t n) {
  auto sizes = [&](Value column, int64_t width) -> Value {
    return math::AbsFOp::create(w.b, w.load(x, element, column, width));
  };
  auto largest = [&](Value of) -> Value {
    return vector::ReductionOp::create(w.b, vector::CombiningKind::MAXNUMF, of);
  };
  const int64_t whole = n / w.lanes * w.lanes;
  llvm::SmallVector<Value> of = {w.splat(0.0, w.lanes)};
  if (whole > 0)
    of = w.forRange(
        w.constant(0), w.constant(whole), w.lanes, of, [&](Value column, ValueRange carried) {
          Value next = arith::MaxNumFOp::create(w.b, carried[0], sizes(column, w.lanes));
          return llvm::SmallVector<Value>{next};
        });
  Value result = largest(of[0]);
  int64_t done = whole;
  for (int64_t width : tailWidths(n - whole)) {
    result = arith::MaxNumFOp::create(w.b, result, largest(sizes(w.constant(done), width)));
    done += width;
  }
  return result;
}

/// The nearest numbers of e4m3 to numbers up to 448 in size, of two the one whose last bit is 0.
static Value roundToE4m3(KernelWriter &w, Value v) {
  auto type = cast<VectorType>(v.getType());
  auto i32s = VectorType::get(type.getShape(), w.b.getI32Type());
  auto splat = [&](int32_t value) -> Value {
    return arith::ConstantOp::create(w.b, DenseElementsAttr::get(i32s, value));
  };
  auto f32s = [&](double value) { return w.splat(value, type.getDimSize(0)); };
  Value bits = arith::BitcastOp::create(w.b, i32s, v);
  Value odd = arith::AndIOp::create(w.b, arith::ShRUIOp::create(w.b, bits, splat(20)), splat(1));
  Value up = arith::AddIOp::create(w.b, bits, arith::AddIOp::create(w.b, odd, splat(0x7ffff)));
  Value rounded = arith::BitcastOp::create(
      w.b, type, arith::AndIOp::create(w.b, up, splat(static_cast<int32_t>(0xfff00000))));
  // Below 2^-6 numbers are multiples of 2^-9, which is the last place of 1.5 · 2^14.
  Value small = w.subf(w.addf(v, f32s(24576.0)), f32s(24576.0));
  Value isSmall = arith::CmpFOp::create(w.b, arith::CmpFPredicate::OLT,
                                        math::AbsFOp::create(w.b, v), f32s(0x1p-6));
  Value isNan = arith::CmpFOp::create(w.b, arith::CmpFPredicate::UNO, v, v);
  Value result = arith::SelectOp::create(w.b, isSmall, small, rounded);
  return arith::SelectOp::create(w.b, isNan, v, result);
}

static void writeQuantizeRows(KernelWriter &w) {
  const Type element = w.operand("x").element;
  const int64_t n = w.columns("x");
  auto f32 = [&](double value) -> Value {
    return arith::ConstantOp::create(w.b, w.b.getF32FloatAttr(static_cast<float>(value)));
  };
  w.forGroupRows([&](Value row) {
    Value x = w.rowPointer("x", row), codes = w.rowPointer("codes", row);
    Value largest = largestOf(w, x, element, n);
    Value isZero =
        arith::CmpFOp::create(w.b, arith::CmpFPredicate::OLT, largest, f32(M1K_E4M3_LEAST_ROW));
    auto unlessZero = [&](Value value) -> Value {
      return arith::SelectOp::create(w.b, isZero, f32(0.0), value);
    };
    Value scale = unlessZero(w.divf(largest, f32(M1K_E4M3_LARGEST))),
          inverse = unlessZero(w.divf(f32(M1K_E4M3_LARGEST), largest));
    w.store(w.rowPointer("scale", row), w.b.getF32Type(), w.constant(0), w.splat(scale, 1));
    w.forColumns(n, [&](Value column, int64_t width) {
      Value scaled = w.mulf(w.load(x, element, column, width), w.splat(inverse, width));
      w.store(codes, w.operand("codes").element, column, roundToE4m3(w, scaled));
    });
  });
}

/// Codes are computed in f32 and held as bf16.
static std::string unsupportedCodes(const KernelSpec &spec) {
  return spec.get("codes").element.isBF16() ? "" : "codes of f8E4M3FN";
}

std::vector<CpuFamily> rowsFamilies() {
  CpuFamily quantizeRows{"generated", {"quantize_rows"}, writeQuantizeRows};
  quantizeRows.unsupported = unsupportedCodes;
  return {{"generated", {"embedding"}, writeEmbedding},
          {"generated", {"gather_rows"}, writeGatherRows},
          {"generated", {"rms_norm", "add_rms_norm"}, writeRmsNorm},
          {"generated", {"gated_rms_norm"}, writeGatedRmsNorm},
          {"generated", {"map"}, writeMap},
          {"generated", {"repeat_heads"}, writeRepeatHeads},
          {"generated", {"sample"}, writeSample},
          quantizeRows};
}

} // namespace m1c
