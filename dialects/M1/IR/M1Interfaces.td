// What the compiler asks of types and operations, instead of listing them.
#ifndef M1_INTERFACES_TD
#define M1_INTERFACES_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/Interfaces.td"

def M1_StateTypeInterface : TypeInterface<"StateTypeInterface"> {
  let cppNamespace = "::mlir::m1";
  let description = [{
    Memory that outlives a step: one element of the type for each slot of the batch, or for
    each page of its `block_tables`.
  }];
  let methods = [InterfaceMethod<"Sizes of the type, as it is written", "::llvm::ArrayRef<int64_t>",
                                 "getShape">,
                 InterfaceMethod<"Type of one number", "::mlir::Type", "getElementType">,
                 InterfaceMethod<
                     "Its kind in the artifact: `scan` and `conv` have slots, `kv` has pages",
                     "::llvm::StringRef", "getKind">,
                 InterfaceMethod<"Sizes of one slot or page in memory",
                                 "::llvm::SmallVector<int64_t>", "getStorageShape", (ins), "", [{
      return ::llvm::SmallVector<int64_t>($_type.getShape());
    }]>];
}

/// Each row of the results depends on the same row of the operands only, not on the batch.
def M1_RowsIndependent : NativeOpTrait<"RowsIndependent"> { let cppNamespace = "::mlir::m1"; }

def M1_KernelOpInterface : OpInterface<"KernelOpInterface"> {
  let cppNamespace = "::mlir::m1";
  let description = [{
    An operation that becomes one kernel of its static facts (`m1c::KernelSpec`). All answers come
    from the operation's definition in ODS, see `M1_KernelOp`.
  }];
  let methods =
      [StaticInterfaceMethod<"Names of the operands, in order",
                             "::llvm::ArrayRef<::llvm::StringRef>", "getOperandNames">,
       InterfaceMethod<"The values of operand `index` of getOperandNames", "::mlir::OperandRange",
                       "getOperandsOfName", (ins "unsigned":$index), [{
      return $_op.getODSOperands(index);
    }]>,
       StaticInterfaceMethod<"Names of the results", "::llvm::ArrayRef<::llvm::StringRef>",
                             "getResultNames">,
       StaticInterfaceMethod<"Names of the attributes on which the kernel depends",
                             "::llvm::ArrayRef<::llvm::StringRef>", "getParameterNames">,
       InterfaceMethod<"What people call it", "::llvm::StringRef", "getKernelName", (ins), "", [{
      return $_op->getName().stripDialect();
    }]>,
       StaticInterfaceMethod<"The arrays of the batch that the kernel reads",
                             "::llvm::ArrayRef<::llvm::StringRef>", "getBatchArrays">,
       StaticInterfaceMethod<"Further ones that it reads where sequences share prefixes",
                             "::llvm::ArrayRef<::llvm::StringRef>", "getSharedArrays">,
       StaticInterfaceMethod<
           "The array that names the operands' rows where the kernel gathers them",
           "::llvm::ArrayRef<::llvm::StringRef>", "getGatherArrays">,
       StaticInterfaceMethod<"The type of the state that it works on; null where there is none",
                             "::mlir::Type", "getStateType",
                             (ins "::llvm::function_ref<::mlir::InFlightDiagnostic()>":$emitError,
                                 "::mlir::MLIRContext *":$context,
                                 "::llvm::ArrayRef<int64_t>":$sizes, "::mlir::Type":$element)>,
       StaticInterfaceMethod<"Name of the rows of the results; empty: those of the operands",
                             "::llvm::StringRef", "getRowDomain">,
       StaticInterfaceMethod<"The weights of which each row of the results reads one row",
                             "::llvm::ArrayRef<::llvm::StringRef>", "getLookedUp">,
       StaticInterfaceMethod<"The operands that say how long a state lasts",
                             "::llvm::ArrayRef<::llvm::StringRef>", "getStepSizes">,
       StaticInterfaceMethod<"Whether its operands decide what is chosen", "bool", "chooses">];
}

def M1_CacheReaderInterface : OpInterface<"CacheReaderInterface"> {
  let cppNamespace = "::mlir::m1";
  let description = [{ An operation that reads a KV cache. }];
  let methods = [InterfaceMethod<"The cache", "::mlir::Value", "getCache">,
                 InterfaceMethod<"So many positions, its own included, it sees at most; 0: all",
                                 "int64_t", "getWindow">];
}

def M1_MapInterface : OpInterface<"MapInterface"> {
  let cppNamespace = "::mlir::m1";
  let description = [{
    An operation whose results are a scalar function of each column: of its operands of rows, and of
    vectors [C/k] that k neighbouring columns share. Targets and the reference evaluator know maps
    only, not the operations.
  }];
  let methods = [InterfaceMethod<"The function, as m1::encodeScalars gives it", "::mlir::ArrayAttr",
                                 "getCode">];
}

/// `static ArrayRef<StringRef> method()` of the given names.
class M1_Names<string method, list<string> names> {
  string quoted = !interleave(!foreach(name, names, "\""#name#"\""), ", ");
  string value = "static const ::llvm::SmallVector<::llvm::StringRef> names = {"#quoted#"};";
  string type = "static ::llvm::ArrayRef<::llvm::StringRef>";
  string declaration = type#" "#method#"() { "#value#" return names; }\n";
}

#endif
