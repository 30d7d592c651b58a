#include "Reducer.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace m1tool;

Reducer::Reducer(OwningOpRef<ModuleOp> module, Test test)
    : test(std::move(test)), best(std::move(module)) {
  ScopedDiagnosticHandler quiet(best->getContext(), [](Diagnostic &) { return success(); });
  verifies = succeeded(verify(*best));
}

std::string Reducer::print(ModuleOp module) const {
  std::string text;
  llvm::raw_string_ostream stream(text);
  // Only what verifies can be sure to have a pretty form.
  OpPrintingFlags flags;
  module->print(stream, verifies ? flags : flags.printGenericOpForm());
  stream << "\n";
  return text;
}

size_t Reducer::countOperations() const {
  size_t count = 0;
  best.get()->walk([&](Operation *) { ++count; });
  return count - 1; // the module itself
}

/// Takes the place of the best module if it is interesting, too.
bool Reducer::accept(OwningOpRef<ModuleOp> &candidate) {
  ScopedDiagnosticHandler quiet(candidate->getContext(), [](Diagnostic &) { return success(); });
  if (verifies && failed(verify(*candidate)))
    return false;
  std::string text = print(*candidate);
  if (!tested.insert(llvm::xxh3_64bits(text)).second)
    return false;
  ++tests;
  if (!test(text))
    return false;
  best = std::move(candidate);
  bestText = std::move(text);
  return true;
}

/// Whether a piece of the list went.
bool Reducer::shrink(SmallVector<Part> parts, Removal remove) {
  bool any = false;
  for (size_t size = parts.size(); size; size /= 2)
    // From the back: what is used stands before its uses.
    for (size_t end = parts.size(); end;) {
      size_t begin = end - std::min(size, end);
      IRMapping copies;
      OwningOpRef<ModuleOp> candidate(cast<ModuleOp>(best.get()->clone(copies)));
      SmallVector<Part> copied = llvm::map_to_vector(parts, [&](Part part) {
        if (part.argument)
          part.argument = cast<BlockArgument>(copies.lookup<Value>(part.argument));
        part.operation = copies.lookup(part.operation);
        return part;
      });
      SmallVector<Part> piece(copied.begin() + begin, copied.begin() + end);
      remove(piece);
      if (piece.size() < end - begin && accept(candidate)) {
        any = true;
        copied.erase(copied.begin() + begin, copied.begin() + end);
        copied.insert(copied.begin() + begin, piece.begin(), piece.end());
        parts = std::move(copied);
      }
      end = begin;
    }
  return any;
}

/// The operations that name a symbol, by each part of the name.
static llvm::DenseMap<StringAttr, SmallVector<Operation *>> findSymbolUsers(Operation *root) {
  llvm::DenseMap<StringAttr, SmallVector<Operation *>> users;
  root->walk([&](Operation *op) {
    op->getAttrDictionary().walk([&](SymbolRefAttr name) {
      users[name.getRootReference()].push_back(op);
      for (FlatSymbolRefAttr nested : name.getNestedReferences())
        users[nested.getAttr()].push_back(op);
    });
  });
  return users;
}

/// Of operations of one block those that can go together: a symbol goes with all its users.
static llvm::SetVector<Operation *> findRemovable(ArrayRef<Operation *> operations) {
  llvm::SetVector<Operation *> going(operations.begin(), operations.end());
  if (llvm::none_of(operations, llvm::IsaPred<SymbolOpInterface>))
    return going;
  auto users = findSymbolUsers(operations.front()->getParentOfType<ModuleOp>());
  auto stays = [&](Operation *op) {
    auto symbol = dyn_cast<SymbolOpInterface>(op);
    return symbol && symbol.getNameAttr() &&
           llvm::any_of(users.lookup(symbol.getNameAttr()), [&](Operation *user) {
             Operation *ancestor = op->getBlock()->findAncestorOpInBlock(*user);
             return ancestor != op && !going.contains(ancestor);
           });
  };
  while (going.remove_if(stays)) {
  }
  return going;
}

/// Erases operations that follow one another in a block, where all results have no uses or can be
/// replaced by an earlier value of the same type, or, if wanted, by an argument of the function.
static void eraseOperations(ArrayRef<Operation *> operations, bool newArguments,
                            llvm::function_ref<void(Operation *)> erased) {
  Block *block = operations.front()->getBlock();
  llvm::DenseMap<Type, Value> values;
  for (Value argument : block->getArguments())
    values[argument.getType()] = argument;
  for (Operation &op : *block) {
    if (&op == operations.front())
      break;
    for (Value result : op.getResults())
      values[result.getType()] = result;
  }
  auto function = dyn_cast_or_null<FunctionOpInterface>(block->getParentOp());
  newArguments &= function && block->isEntryBlock();
  auto replacement = [&](Value value) -> Value {
    Value &other = values[value.getType()];
    if (!other && newArguments &&
        succeeded(function.insertArgument(function.getNumArguments(), value.getType(), {},
                                          function.getLoc())))
      other = function.getArguments().back();
    return other;
  };
  const llvm::SetVector<Operation *> removable = findRemovable(operations);
  for (Operation *op : llvm::reverse(removable)) {
    auto used = llvm::to_vector_of<Value>(
        llvm::make_filter_range(op->getResults(), [](Value value) { return !value.use_empty(); }));
    if (!llvm::all_of(used, replacement))
      continue;
    for (Value value : used)
      value.replaceAllUsesWith(replacement(value));
    erased(op);
    op->erase();
  }
}

static Block *findBlock(ModuleOp module, size_t index) {
  Block *found = nullptr;
  module->walk<WalkOrder::PreOrder>([&](Block *block) {
    if (index--)
      return WalkResult::advance();
    found = block;
    return WalkResult::interrupt();
  });
  return found;
}

bool Reducer::shrinkBlocks() {
  bool any = false;
  for (bool newArguments : {false, true})
    // A block's number stays while blocks within it or behind it go.
    for (size_t index = 0; Block *block = findBlock(*best, index); ++index) {
      SmallVector<Part> parts;
      for (Operation &op : *block)
        if (!op.hasTrait<OpTrait::IsTerminator>())
          parts.push_back({&op, {}, {}});
      any |= shrink(parts, [&](SmallVectorImpl<Part> &piece) {
        llvm::DenseSet<Operation *> gone;
        eraseOperations(llvm::map_to_vector(piece, [](Part part) { return part.operation; }),
                        newArguments, [&](Operation *op) { gone.insert(op); });
        llvm::erase_if(piece, [&](Part part) { return gone.contains(part.operation); });
      });
    }
  return any;
}

/// Takes one result out of a function and of what its blocks return.
static bool removeResult(FunctionOpInterface function, unsigned index) {
  for (Block &block : function.getFunctionBody())
    if (Operation *terminator = block.getTerminator();
        terminator->hasTrait<OpTrait::ReturnLike>()) {
      if (terminator->getNumOperands() != function.getNumResults())
        return false;
      terminator->eraseOperand(index);
    }
  return succeeded(function.eraseResult(index));
}

/// Results of functions, and arguments that nobody uses.
bool Reducer::shrinkFunctions() {
  bool any = false;
  auto functions = [&](ModuleOp module) {
    SmallVector<FunctionOpInterface> list;
    module->walk([&](FunctionOpInterface function) {
      if (!function.isExternal())
        list.push_back(function);
    });
    return list;
  };
  for (size_t number = 0, count = functions(*best).size(); number < count; ++number) {
    for (unsigned index = functions(*best)[number].getNumResults(); index--;) {
      OwningOpRef<ModuleOp> candidate(best->clone());
      any |= removeResult(functions(*candidate)[number], index) && accept(candidate);
    }
    FunctionOpInterface function = functions(*best)[number];
    SmallVector<Part> parts;
    for (BlockArgument argument : function.getArguments())
      if (argument.use_empty())
        parts.push_back({function, {}, argument});
    any |= shrink(parts, [](SmallVectorImpl<Part> &piece) {
      while (!piece.empty()) {
        BlockArgument argument = piece.back().argument;
        auto function = cast<FunctionOpInterface>(piece.back().operation);
        if (failed(function.eraseArgument(argument.getArgNumber())))
          return;
        piece.pop_back();
      }
    });
  }
  return any;
}

bool Reducer::shrinkAttributes() {
  SmallVector<Part> parts;
  best.get()->walk([&](Operation *op) {
    for (NamedAttribute attribute : op->getAttrDictionary())
      parts.push_back({op, attribute.getName(), {}});
  });
  return shrink(parts, [](SmallVectorImpl<Part> &piece) {
    for (Part part : piece) {
      part.operation->removeAttr(part.attribute);
      // Verifiers may read what has a default.
      if (OpaqueProperties properties = part.operation->getPropertiesStorage())
        part.operation->getName().populateDefaultProperties(properties);
    }
    piece.clear();
  });
}

bool Reducer::run() {
  bestText = print(*best);
  tested.insert(llvm::xxh3_64bits(bestText));
  ++tests;
  if (!test(bestText))
    return false;
  for (bool any = true; any;) {
    any = shrinkBlocks();
    any |= shrinkFunctions();
    any |= shrinkAttributes();
  }
  return true;
}
