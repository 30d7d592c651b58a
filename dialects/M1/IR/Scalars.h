// Scalar code in regions of the m1 dialect, and the maps that are made of it. A formula stands
// once: in a function of `scalars`, from which importer, passes and targets take it.
#ifndef M1_IR_SCALARS_H
#define M1_IR_SCALARS_H

#include "M1/IR/M1.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::m1 {

/// Whether the operation may stand in a region of scalars: pure f32 arithmetic, comparisons, and
/// the functions that every target has (exp, log1p, sqrt, tanh, erf).
bool isScalarOp(Operation *op);

/// Refuses a region that is not: as many f32 arguments as `inputs`, scalar operations, m1.yield of
/// an f32. Messages at `op` or at the operation at fault.
LogicalResult verifyScalars(Operation *op, Region &body, size_t inputs);

/// The region as data that outlives it: an instruction an operation, `["arith.addf", array<i64: 0,
/// 1>]` with the numbers of its operands (arguments first, then results), attributes if it has any;
/// the last one is what is yielded. Equal codes are equal functions.
ArrayAttr encodeScalars(Region &body);

/// Writes the code's operations on `inputs`, f32 values or vectors of one shape, and returns what
/// it yields. `special` may write an operation in its own way, or return null.
using SpecialScalar = llvm::function_ref<Value(StringRef op, ValueRange operands)>;
Value buildScalars(ImplicitLocOpBuilder &b, ArrayAttr code, ValueRange inputs,
                   SpecialScalar special = nullptr);

/// Builds one value from the f32 values of the inputs.
using ScalarBody = llvm::function_ref<Value(ImplicitLocOpBuilder &, ValueRange)>;

/// The code of a body of `inputs` arguments.
ArrayAttr encodeBody(MLIRContext *context, unsigned inputs, ScalarBody body);

/// The formulas, on f32 values or vectors of them.
namespace scalars {
Value constant(ImplicitLocOpBuilder &b, double value, Value like);
Value sigmoid(ImplicitLocOpBuilder &b, Value x);  // 1 / (1 + exp(-x))
Value silu(ImplicitLocOpBuilder &b, Value x);     // x / (1 + exp(-x))
Value softplus(ImplicitLocOpBuilder &b, Value x); // log(1 + exp(x))
Value relu2(ImplicitLocOpBuilder &b, Value x);    // max(x, 0)²
Value gelu(ImplicitLocOpBuilder &b, Value x);     // x/2 · (1 + erf(x/√2))
/// x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))
Value geluTanh(ImplicitLocOpBuilder &b, Value x);
/// cap · tanh(x / cap)
Value softCap(ImplicitLocOpBuilder &b, Value x, double cap);
} // namespace scalars

using ScalarFormula = Value (*)(ImplicitLocOpBuilder &, Value);

/// The formula that configurations call `name` ("silu", "relu2"), or null.
ScalarFormula findActivation(StringRef name);
/// These names, for messages: "relu2, silu or swish".
std::string activationNames();

/// The code of formula(x) · y, which is that of m1.silu_mul where formula is silu.
ArrayAttr encodeGate(MLIRContext *context, ScalarFormula formula);
/// The code of x + y, which is that of m1.add.
ArrayAttr encodeSum(MLIRContext *context);

/// c, finite, of a map c · x of rows; null where it is another.
std::optional<double> getMultiplier(MapOp map);
/// Of the code of two inputs y + f(x), x the one numbered `branch`: the code of f, which may be x
/// itself; null where it is another.
std::optional<ArrayAttr> splitSum(ArrayAttr code, unsigned branch);
/// The code of factor · x.
ArrayAttr encodeScale(MLIRContext *context, double factor);

/// `out[t, c] = body(inputs[t, c], …)`; type is that of out, `label` names it in traces.
MapOp createMap(OpBuilder &b, Location loc, StringRef label, Type type, ValueRange inputs,
                ScalarBody body);
/// factor · x
Value createScale(OpBuilder &b, Location loc, Type type, Value x, double factor);
/// formula(x)
Value createUnary(OpBuilder &b, Location loc, StringRef label, Type type, Value x,
                  ScalarFormula formula);
/// formula(x) · y
Value createGate(OpBuilder &b, Location loc, StringRef label, Type type, Value x, Value y,
                 ScalarFormula formula);

} // namespace mlir::m1

#endif
