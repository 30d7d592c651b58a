// m1-quantize-weights: weights of linears become int8, e4m3 or int4 with scales.
#include "M1/IR/Int4.h"
#include "M1/Transforms/Passes.h"
#include "M1/Transforms/WeightUtils.h"
#include "Support/PassStatistic.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Regex.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_QUANTIZEWEIGHTSPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-quantize-weights"

using namespace mlir;
using namespace mlir::m1;

namespace {

/// The operations that read a value, parts of it that m1.split cuts out, or scalar functions of it.
void collectReaders(Value value, llvm::SetVector<Operation *> &readers) {
  for (Operation *user : value.getUsers())
    if (readers.insert(user) && isa<SplitOp, MapInterface>(user))
      for (Value result : user->getResults())
        collectReaders(result, readers);
}

/// Whether the value itself says how long a state lasts.
bool isStepSize(Value value) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    auto kernel = dyn_cast<KernelOpInterface>(user);
    return kernel && llvm::any_of(kernel.getStepSizes(), [&](StringRef name) {
             const auto *index = llvm::find(kernel.getOperandNames(), name);
             return llvm::is_contained(
                 kernel.getOperandsOfName(unsigned(index - kernel.getOperandNames().begin())),
                 value);
           });
  });
}

/// Whether errors of the product change more than its own value: what is chosen by it, or how long
/// a state lasts.
bool isSensitive(Value product) {
  llvm::SetVector<Operation *> readers;
  collectReaders(product, readers);
  return isStepSize(product) || llvm::any_of(readers, [](Operation *reader) {
           auto kernel = dyn_cast<KernelOpInterface>(reader);
           return (kernel && kernel.chooses()) || reader->hasTrait<OpTrait::IsTerminator>();
         });
}

/// What a weight is transformed to for the name of a format.
std::optional<Transform> transformOf(StringRef format) {
  return llvm::StringSwitch<std::optional<Transform>>(format)
      .Case("int8", Transform::Int8Rows)
      .Case("int8:32", Transform::Int8Groups32)
      .Case("int8:64", Transform::Int8Groups64)
      .Case("int8:128", Transform::Int8Groups128)
      .Case("fp8", Transform::Fp8Rows)
      .Cases({"int4", "int4:32"}, Transform::Int4Groups32)
      .Case("int4:64", Transform::Int4Groups64)
      .Case("int4:128", Transform::Int4Groups128)
      .Default(std::nullopt);
}

struct QuantizeWeights : m1::impl::QuantizeWeightsPassBase<QuantizeWeights> {
  using QuantizeWeightsPassBase::QuantizeWeightsPassBase;

  LogicalResult initialize(MLIRContext *context) override {
    std::optional<Transform> known = transformOf(format);
    if (!known && format != "stored")
      return emitError(UnknownLoc::get(context))
             << "m1-quantize-weights: unknown format '" << format
             << "'; known are int8, int8:32, int8:64, int8:128, fp8, int4, int4:32, int4:64, "
                "int4:128, stored";
    isStored = !known;
    transform = known.value_or(Transform::None);
    std::string error;
    if (!keep.empty() && !llvm::Regex(keep).isValid(error))
      return emitError(UnknownLoc::get(context))
             << "m1-quantize-weights: keep '" << keep << "' is no regular expression: " << error;
    return success();
  }

  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    llvm::MapVector<WeightOp, SmallVector<GetWeightOp>> reads;
    getOperation().walk([&](GetWeightOp get) {
      if (auto weight = symbols.lookup<WeightOp>(get.getWeight()))
        reads[weight].push_back(get);
    });
    bool named = false;
    for (auto &[weight, gets] : reads) {
      if (!isOfLinears(gets))
        continue;
      bool done = false;
      if (isNamed(weight))
        named = true;
      else if (isStored)
        done = keepCodes(symbols, weight, gets);
      else if ((done = canQuantize(weight, gets)))
        quantize(symbols, weight, gets, transform, storedScales(weight, transform));
      ++(done ? quantized : kept);
    }
    for (auto weight : getOperation().getOps<WeightOp>()) {
      if (weight->removeAttr(storedCodesName)) // of those that did not become integers
        weight->removeAttr(storedScalesName);
    }
    if (!keep.empty() && !named)
      getOperation().emitWarning() << "no weight of a linear is named as '" << keep << "' says";
  }

  static bool isOfLinears(ArrayRef<GetWeightOp> gets) {
    return llvm::any_of(gets,
                        [](GetWeightOp get) { return llvm::any_of(get->getUses(), isOfLinear); });
  }
  static bool isOfLinear(OpOperand &use) {
    auto linear = dyn_cast<LinearOp>(use.getOwner());
    auto experts = dyn_cast<ExpertLinearOp>(use.getOwner());
    return (linear && linear.getWeight() == use.get()) ||
           (experts && experts.getWeight() == use.get());
  }

  /// By its own name or one of the checkpoint's tensors in it.
  bool isNamed(WeightOp weight) {
    if (keep.empty())
      return false;
    llvm::Regex pattern(keep);
    return pattern.match(weight.getSymName()) ||
           (weight.getSourcesAttr() &&
            llvm::any_of(weight.getSourcesAttr().getAsRange<StringAttr>(),
                         [&](StringAttr source) { return pattern.match(source.getValue()); }));
  }

  bool canQuantize(WeightOp weight, ArrayRef<GetWeightOp> gets) {
    return weight.getSourcesAttr() && weight.getTransform() == Transform::None &&
           llvm::all_of(gets, [&](GetWeightOp get) {
             return llvm::all_of(get->getUsers(), [&](Operation *user) {
               return isa<LinearOp, ExpertLinearOp>(user) && !isSensitive(user->getResult(0)) &&
                      (isa<LinearOp>(user) || transform != Transform::Fp8Rows) &&
                      isLongEnough(user, weight.getTensorType().getDimSize(1), transform);
             });
           });
  }

  /// What groups have with which the checkpoint holds what the transform makes; null: it does not.
  static Type storedScales(WeightOp weight, Transform transform) {
    auto codes = weight->getAttrOfType<TransformAttr>(storedCodesName);
    auto scales = weight->getAttrOfType<TypeAttr>(storedScalesName);
    const std::optional<GroupForm> form = groupFormOf(transform);
    return codes && scales && codes.getValue() == transform && form &&
                   isGroupScale(scales.getValue(), form->group)
               ? scales.getValue()
               : Type();
  }

  /// A weight that the checkpoint holds as integers with scales stays so for linears, whatever
  /// depends on their product: nothing is rounded. What else reads it has its own.
  bool keepCodes(SymbolTable &symbols, WeightOp weight, ArrayRef<GetWeightOp> gets) {
    auto codes = weight->getAttrOfType<TransformAttr>(storedCodesName);
    Type scales = codes ? storedScales(weight, codes.getValue()) : Type();
    if (!scales || !weight.getSourcesAttr() || weight.getTransform() != Transform::None ||
        weight.getTensorType().getRank() != 2)
      return false;
    const int64_t columns = weight.getTensorType().getDimSize(1);
    auto takes = [&](OpOperand &use) {
      return isOfLinear(use) && isLongEnough(use.getOwner(), columns, codes.getValue());
    };
    bool ofAll = true, ofSome = false;
    for (GetWeightOp get : gets)
      for (OpOperand &use : get->getUses())
        (takes(use) ? ofSome : ofAll) = takes(use);
    if (!ofSome)
      return false;
    SmallVector<GetWeightOp> reads(gets);
    if (!ofAll) {
      OpBuilder builder(weight);
      builder.setInsertionPointAfter(weight);
      WeightOp plain = weight;
      weight = cast<WeightOp>(builder.clone(*plain));
      weight.setSymName((plain.getSymName() + ".codes").str());
      symbols.insert(weight);
      reads.clear();
      for (GetWeightOp get : gets) {
        if (llvm::none_of(get->getUses(), takes))
          continue;
        builder.setInsertionPointAfter(get);
        auto own = GetWeightOp::create(builder, get.getLoc(), get.getType(), weight.getSymName());
        get.getResult().replaceUsesWithIf(own.getResult(), takes);
        reads.push_back(own);
      }
    }
    quantize(symbols, weight, reads, codes.getValue(), scales);
    return true;
  }

  /// Whether the bytes and scales of rows of `k` columns tell their length.
  static bool isLongEnough(Operation *user, int64_t k, Transform transform) {
    auto experts = dyn_cast<ExpertLinearOp>(user);
    std::optional<GroupForm> form = groupFormOf(transform);
    if (!experts || !form || form->bits != 4)
      return true;
    return int4ColumnsOf(columnsOf(experts.getX()), columnsOf(experts.getExperts()),
                         int4RowBytes(k), groupsOf(k, form->group)) == k;
  }

  /// `stored`: what the checkpoint's groups have, whose integers it holds; null without.
  void quantize(SymbolTable &symbols, WeightOp weight, ArrayRef<GetWeightOp> gets,
                Transform transform, Type stored) {
    MLIRContext *context = &getContext();
    int64_t n = weight.getTensorType().getDimSize(0), k = weight.getTensorType().getDimSize(1);
    auto type = RankedTensorType::get({n, k}, IntegerType::get(context, 8));
    auto scales = RankedTensorType::get(n, Float32Type::get(context));
    if (transform == Transform::Fp8Rows)
      type = RankedTensorType::get({n, k}, Float8E4M3FNType::get(context));
    if (std::optional<GroupForm> form = groupFormOf(transform)) {
      if (form->bits == 4)
        type = RankedTensorType::get({n, int4RowBytes(k)},
                                     IntegerType::get(context, 8, IntegerType::Unsigned));
      scales = scalesOfGroups(n, k, form->group, stored ? stored : BFloat16Type::get(context));
    }
    weight->removeAttr(storedCodesName);
    if (!stored)
      weight->removeAttr(storedScalesName);
    weight.setTypeAttr(TypeAttr::get(type));
    weight.setTransform(transform);
    OpBuilder builder(context);
    builder.setInsertionPointAfter(weight);
    auto scale =
        WeightOp::create(builder, weight.getLoc(), (weight.getSymName() + ".scale").str(), scales,
                         ArrayAttr(), DenseI64ArrayAttr(), Transform::None, ElementsAttr(),
                         RotaryAnglesAttr(), FlatSymbolRefAttr::get(weight.getSymNameAttr()));
    symbols.insert(scale);
    for (GetWeightOp get : gets) {
      get.getResult().setType(type);
      builder.setInsertionPointAfter(get);
      Value value = GetWeightOp::create(builder, get.getLoc(), scales, scale.getSymName());
      for (Operation *user : get->getUsers()) {
        if (auto linear = dyn_cast<LinearOp>(user))
          linear.getScaleMutable().assign(value);
        else
          cast<ExpertLinearOp>(user).getScaleMutable().assign(value);
      }
    }
  }

  Transform transform = Transform::None; // the format's
  bool isStored = false;
  PassStatistic quantized{*this, "quantized"};
  PassStatistic kept{*this, "kept"};
};

} // namespace
