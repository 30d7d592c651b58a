// m1-merge-projections: linears that read one input become one linear and a split.
#include "M1/IR/Groups.h"
#include "M1/Transforms/Passes.h"
#include "M1/Transforms/WeightUtils.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/MapVector.h"
#include <map>

namespace mlir::m1 {
#define GEN_PASS_DEF_MERGEPROJECTIONSPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-merge-projections"

using namespace mlir;
using namespace mlir::m1;

namespace {

/// "layers.0.q", "layers.0.k" → "layers.0.q_k": the names with their common path said once.
std::string joinNames(MutableArrayRef<WeightOp> weights) {
  std::string name = weights[0].getSymName().str();
  size_t path = name.rfind('.') + 1; // npos + 1 = 0: no path
  for (WeightOp weight : weights.drop_front()) {
    StringRef next = weight.getSymName();
    next.consume_front(StringRef(name).take_front(path));
    name += "_" + next.str();
  }
  return name;
}

struct MergeProjections : m1::impl::MergeProjectionsPassBase<MergeProjections> {
  /// What linears must agree in to be merged: input, block, result element type, weight element
  /// type, bias or not, the inputs that their weights are for in the block, as a number, and the
  /// groups of integers that the checkpoint holds the weights as, where those are to stay.
  using Key = std::tuple<Value, Block *, Type, Type, unsigned, unsigned, Attribute, Attribute>;

  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    // Weights that something else than a linear reads.
    llvm::DenseSet<Operation *> shared;
    getOperation().walk([&](GetWeightOp get) {
      bool onlyLinears = llvm::all_of(get->getUses(),
                                      [](OpOperand &use) { return isa<LinearOp>(use.getOwner()); });
      if (!onlyLinears)
        shared.insert(symbols.lookup(get.getWeight()));
    });
    auto isPlain = [&](Value value) {
      WeightOp weight = lookUpWeight(symbols, value);
      return weight && weight.getSourcesAttr() && !weight.getRowsAttr() &&
             weight.getTransform() == Transform::None && !shared.contains(weight);
    };
    // A weight that layers share stays one: it is merged with those that all of them multiply
    // alike.
    using Reader = std::pair<Block *, Operation *>;
    auto readerOf = [&](LinearOp linear) -> Reader {
      return {linear->getBlock(), lookUpWeight(symbols, linear.getWeight())};
    };
    llvm::MapVector<Reader, std::vector<void *>> inputs;
    getOperation().walk([&](LinearOp linear) {
      inputs[readerOf(linear)].push_back(linear.getX().getAsOpaquePointer());
    });
    std::map<std::vector<void *>, unsigned> numbers;
    llvm::DenseMap<Reader, unsigned> multiplied;
    for (auto &[reader, list] : inputs)
      multiplied[reader] = numbers.try_emplace(list, numbers.size()).first->second;
    llvm::MapVector<Key, SmallVector<LinearOp>> groups;
    getOperation().walk([&](LinearOp linear) {
      if (!isPlain(linear.getWeight()) || (linear.getBias() && !isPlain(linear.getBias())))
        return;
      WeightOp weight = lookUpWeight(symbols, linear.getWeight());
      groups[{linear.getX(), linear->getBlock(), getElementTypeOrSelf(linear.getType()),
              weight.getTensorType().getElementType(), linear.getNumOperands(),
              multiplied[readerOf(linear)], weight->getAttr(storedCodesName),
              weight->getAttr(storedScalesName)}]
          .push_back(linear);
    });
    IRRewriter rewriter(&getContext());
    for (auto &[key, linears] : groups)
      if (linears.size() > 1)
        merge(rewriter, symbols, linears);
  }

  /// The joined weight of all, read at the insertion point.
  Value join(IRRewriter &rewriter, SymbolTable &symbols, ArrayRef<Value> values) {
    SmallVector<WeightOp> weights;
    SmallVector<Attribute> sources;
    SmallVector<int64_t> shape;
    for (Value value : values) {
      WeightOp weight = lookUpWeight(symbols, value);
      weights.push_back(weight);
      llvm::append_range(sources, weight.getSourcesAttr());
      if (shape.empty())
        shape.assign(weight.getTensorType().getShape().begin(),
                     weight.getTensorType().getShape().end());
      else
        shape[0] += weight.getTensorType().getDimSize(0);
    }
    auto type = RankedTensorType::get(shape, weights[0].getTensorType().getElementType());
    WeightOp joined = getOrCreateWeight(symbols, weights[0], joinNames(weights), type,
                                        rewriter.getArrayAttr(sources), Transform::None);
    return GetWeightOp::create(rewriter, NameLoc::get(joined.getSymNameAttr()), type,
                               joined.getSymName());
  }

  void merge(IRRewriter &rewriter, SymbolTable &symbols, ArrayRef<LinearOp> linears) {
    LinearOp first = linears.front();
    Location loc = first.getLoc();
    rewriter.setInsertionPoint(first);
    SmallVector<Value> weights, biases;
    SmallVector<Type> types;
    for (LinearOp linear : linears) {
      weights.push_back(linear.getWeight());
      if (linear.getBias())
        biases.push_back(linear.getBias());
      types.push_back(linear.getType());
    }
    Value weight = join(rewriter, symbols, weights);
    Value bias = biases.empty() ? Value() : join(rewriter, symbols, biases);
    auto firstType = cast<RankedTensorType>(first.getType());
    auto type = RankedTensorType::get(
        {firstType.getDimSize(0), cast<RankedTensorType>(weight.getType()).getDimSize(0)},
        firstType.getElementType());
    Value merged = LinearOp::create(rewriter, weight.getLoc(), type, first.getX(), weight, bias);
    auto split = SplitOp::create(rewriter, loc, types, merged);
    for (auto [linear, piece] : llvm::zip_equal(linears, split.getPieces()))
      rewriter.replaceOp(linear, piece);
    this->merged += linears.size() - 1;
  }

  PassStatistic merged{*this, "merged"};
};

} // namespace
