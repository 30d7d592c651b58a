#include "HandTuned.h"
#include "M1/IR/M1.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <cstdio>

using namespace mlir;

namespace m1c::cuda {

/// The C++ operator of a comparison; empty: there is none.
static StringRef symbolOf(arith::CmpFPredicate predicate) {
  switch (predicate) {
  case arith::CmpFPredicate::OEQ:
    return "==";
  case arith::CmpFPredicate::OGT:
    return ">";
  case arith::CmpFPredicate::OGE:
    return ">=";
  case arith::CmpFPredicate::OLT:
    return "<";
  case arith::CmpFPredicate::OLE:
    return "<=";
  case arith::CmpFPredicate::UNE:
    return "!=";
  default:
    return "";
  }
}

/// Expressions of operations that need no attributes, of operands {0}, {1}, {2}. Quotients and
/// exponentials are those of the hand-tuned kernels; of maximum and minimum a NaN stays one.
static const std::pair<StringRef, const char *> expressions[] = {
    {arith::AddFOp::getOperationName(), "{0} + {1}"},
    {arith::SubFOp::getOperationName(), "{0} - {1}"},
    {arith::MulFOp::getOperationName(), "{0} * {1}"},
    {arith::DivFOp::getOperationName(), "{0} * m1k::rcp({1})"},
    {arith::NegFOp::getOperationName(), "-{0}"},
    {arith::MaximumFOp::getOperationName(), "{0} != {0} || {0} > {1} ? {0} : {1}"},
    {arith::MinimumFOp::getOperationName(), "{0} != {0} || {0} < {1} ? {0} : {1}"},
    {arith::SelectOp::getOperationName(), "{0} ? {1} : {2}"},
    {math::ExpOp::getOperationName(), "m1k::ex2({0} * m1k::kLog2E)"},
    {math::Log1pOp::getOperationName(), "log1pf({0})"},
    {math::SqrtOp::getOperationName(), "sqrtf({0})"},
    {math::TanhOp::getOperationName(), "tanhf({0})"},
    {math::ErfOp::getOperationName(), "erff({0})"},
    {math::FmaOp::getOperationName(), "fmaf({0}, {1}, {2})"},
};

std::optional<std::string> writeScalars(ArrayAttr code, ArrayRef<StringRef> inputs) {
  std::string text;
  llvm::raw_string_ostream out(text);
  SmallVector<std::string> names;
  for (StringRef input : inputs)
    names.push_back(input.str());
  for (auto [index, instruction] : llvm::enumerate(code.getAsRange<ArrayAttr>())) {
    StringRef op = cast<StringAttr>(instruction[0]).getValue();
    SmallVector<StringRef, 3> operands;
    for (int64_t number : cast<DenseI64ArrayAttr>(instruction[1]).asArrayRef())
      operands.push_back(names[number]);
    if (op == m1::YieldOp::getOperationName()) {
      out << "return " << operands[0] << ";";
      return text;
    }
    operands.resize(3);
    auto attributes =
        instruction.size() > 2 ? cast<DictionaryAttr>(instruction[2]) : DictionaryAttr();
    const std::string name = "t" + std::to_string(index);
    const bool compares = op == arith::CmpFOp::getOperationName();
    out << "const " << (compares ? "bool " : "float ") << name << " = ";
    if (op == arith::ConstantOp::getOperationName()) {
      const double value = attributes.getAs<FloatAttr>("value").getValueAsDouble();
      if (!std::isfinite(value))
        return std::nullopt;
      char literal[64];
      std::snprintf(literal, sizeof literal, "%.9ef", value);
      out << literal;
    } else if (compares) {
      auto predicate = attributes.getAs<arith::CmpFPredicateAttr>("predicate");
      StringRef symbol = symbolOf(predicate.getValue());
      if (symbol.empty())
        return std::nullopt;
      out << operands[0] << " " << symbol << " " << operands[1];
    } else {
      const auto *found =
          llvm::find_if(expressions, [&](auto &known) { return known.first == op; });
      if (found == std::end(expressions))
        return std::nullopt;
      out << llvm::formatv(false, found->second, operands[0], operands[1], operands[2]).str();
    }
    out << "; ";
    names.push_back(name);
  }
  llvm_unreachable("scalar code ends in m1.yield");
}

} // namespace m1c::cuda
