#include "M1/Transforms/WeightUtils.h"

using namespace mlir;
using namespace mlir::m1;

WeightOp mlir::m1::lookUpWeight(SymbolTable &symbols, Value value) {
  auto get = value ? value.getDefiningOp<GetWeightOp>() : GetWeightOp();
  return get ? symbols.lookup<WeightOp>(get.getWeight()) : WeightOp();
}

WeightOp mlir::m1::getOrCreateWeight(SymbolTable &symbols, WeightOp like, StringRef name,
                                     RankedTensorType type, ArrayAttr sources,
                                     Transform transform) {
  // An equal weight of that name comes from another function; another one gets a name of its own in
  // insert.
  if (auto weight = symbols.lookup<WeightOp>(name))
    if (weight.getTensorType() == type && weight.getSourcesAttr() == sources &&
        !weight.getRowsAttr() && weight.getTransform() == transform)
      return weight;
  OpBuilder builder(like);
  auto weight = WeightOp::create(builder, like.getLoc(), name, type, sources, DenseI64ArrayAttr(),
                                 transform, ElementsAttr(), RotaryAnglesAttr());
  symbols.insert(weight, Block::iterator(like));
  return weight;
}
