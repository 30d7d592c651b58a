// What stands between the fused m1 dialect and a target: the m1-to-plan conversion describes every
// op as a KernelSpec (static facts only) and a target's KernelSelector answers with plan commands.
// Equal specs get equal kernels, so code follows the number of distinct layers.
#ifndef M1C_KERNELSELECTOR_H
#define M1C_KERNELSELECTOR_H

#include "Plan/Plan.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <string>

namespace m1c {

using mlir::plan::RowDomain;

/// One operand of a kernel: what the kernel's code may depend on, but not where the buffer lies.
struct OperandSpec {
  std::string role;   // "x", "weight", "out", …: names of ODS
  mlir::Type element; // f32, bf16, i32
  /// Without the dynamic dimension of rows: {columns} of an activation, {N, K} of a weight, the
  /// shape of one slot or page of a state, {} of a batch array.
  llvm::SmallVector<int64_t> dims;
  /// Elements between rows of an activation; 0 when the operand has no rows.
  int64_t rowStride = 0;
};

/// A fused op with its static facts, made from its definition in ODS (m1::KernelOpInterface). `op`
/// is the mnemonic; roles of operands and names of params are the names of operands, results and
/// attributes there; all maps (m1::MapInterface) are of the op `map` with their code as param
/// `body`. The operands of a kernel are its inputs and states in order, then the arrays of the
/// batch, then its outputs. Absent optional operands are left out, and roles say which are there.
struct KernelSpec {
  std::string op;
  std::string name; // for people: what the kernel is called
  mlir::DictionaryAttr params;
  llvm::SmallVector<OperandSpec> operands;
  size_t outputs = 1;                   // how many of the operands, the last ones, are outputs
  RowDomain domain = RowDomain::tokens; // rows of the outputs
  bool decode = false;                  // each sequence has exactly one token: T = S
  uint32_t maxRows = 0; // the function is for at most this many tokens; 0: any number
  /// Of decode_shared: the op's arrays of shared prefixes are among the operands.
  bool shared = false;

  /// Position of the operand with this role, or -1.
  int find(llvm::StringRef role) const;
  const OperandSpec &get(llvm::StringRef role) const;
  int64_t integer(llvm::StringRef param) const;
  /// Of an optional attribute: `absent` without it.
  int64_t integer(llvm::StringRef param, int64_t absent) const;
  /// Of `sample`: how many columns of the logits count.
  int64_t ids() const { return integer("ids", get("logits").dims.back()); }
  double real(llvm::StringRef param) const;
  /// Whether the attribute is there.
  bool flag(llvm::StringRef param) const { return params && params.contains(param); }
  /// Equal keys mean equal kernels, for code that does not depend on `domain`, `decode` and
  /// `maxRows`: a selector whose code does appends them.
  std::string key() const;

  /// All of it as an attribute, for plan.kernel's `facts`, and back. Fails with an error that says
  /// which part is missing, of another kind, or not what the op's verifier asks for: a spec that it
  /// returns is one that get(), integer() and real() may be asked about as one from an operation.
  mlir::DictionaryAttr toAttribute(mlir::MLIRContext *context) const;
  static mlir::FailureOr<KernelSpec>
  fromAttribute(mlir::DictionaryAttr facts,
                llvm::function_ref<mlir::InFlightDiagnostic()> emitError);
};

/// What a selector decides for an op: a kernel, and how the plan launches it.
struct KernelChoice {
  std::string key;                      // one plan.kernel for each distinct key of a target
  std::string name;                     // readable stem of the symbol, e.g. "linear_3072x8192"
  std::string origin;                   // "generated" or the hand-tuned family
  uint32_t blockSize = 0;               // CUDA threads a block
  uint32_t sharedBytes = 0;             // CUDA dynamic shared memory
  RowDomain domain = RowDomain::tokens; // rows that grid_y covers
  uint32_t gridX = 1;
  uint32_t rowsPerGroup = 1;
  bool launchEarly = false; // CUDA: the kernel itself waits for the launches before it
  std::string source;       // CUDA C++ of the kernel; empty: generated from the spec
  /// What the generated code depends on beside the spec; joins the kernel's facts.
  llvm::SmallVector<std::pair<llvm::StringRef, int64_t>> shape;
  /// What the kernel's code follows from, where that is not the op that is being converted.
  const KernelSpec *spec = nullptr;
};

/// A library matrix product in place of a kernel: out[M,N] = a[M,K] · w[N,K]ᵀ (+ bias); plan.gemm.
struct GemmChoice {
  RowDomain domain = RowDomain::tokens;
  mlir::Value a, w, out, bias; // plan buffers; bias may be null
  mlir::Value aScale, wScale;  // of rows of f8E4M3FN, else null
  uint32_t n = 0, k = 0, lda = 0, ldo = 0;
  mlir::Type aType, wType, outType;
};

/// Adds commands to the plan for the op at hand. Buffers are values of !plan.buffer.
class PlanEmitter {
public:
  virtual ~PlanEmitter() = default;
  /// Buffer of operand i of the spec.
  virtual mlir::Value operand(size_t i) const = 0;
  /// A temporary of this op only: `rows` rows of `bytesPerRow` bytes, or `bytesPerRow` bytes of
  /// workspace when rows is `one`.
  virtual mlir::Value temporary(RowDomain rows, uint64_t bytesPerRow) = 0;
  /// Launches the kernel on `operands`, of which the last `outputs` are written. Returns the
  /// kernel's symbol. The first launch of a key makes the plan.kernel, which holds all that its
  /// code follows from: the choice and its spec, or the one that is being converted.
  virtual std::string launch(const KernelChoice &choice, llvm::ArrayRef<mlir::Value> operands,
                             size_t outputs) = 0;
  virtual void gemm(const GemmChoice &choice) = 0;
  /// Adds a kernel that no command launches: the runtime does, by `choice.name`, which becomes its
  /// symbol. False when it is there already.
  virtual bool declare(const KernelChoice &choice) = 0;
  /// For errors: at the op that is being converted.
  virtual mlir::InFlightDiagnostic error() = 0;
};

/// A target's table of kernels. One instance lives through the conversion of one module. Selectors
/// must be deterministic.
class KernelSelector {
public:
  virtual ~KernelSelector() = default;
  /// Bounds of T for which `decode` is planned again, with kernels for few rows
  /// (KernelSpec::maxRows).
  virtual llvm::SmallVector<uint32_t> smallBatches(mlir::func::FuncOp decode) const { return {}; }
  /// Whether the target has a kernel for an op that reads pages which sequences share once for all
  /// of them; `decode` is then planned as `decode_shared` as well.
  virtual bool canShare(const KernelSpec &spec) const { return false; }
  /// Elements from one row of an activation to the next, at least `columns`.
  virtual int64_t rowStride(int64_t columns, mlir::Type element) const { return columns; }
  /// Emits the commands for one op, or reports why it cannot.
  virtual mlir::LogicalResult select(const KernelSpec &spec, PlanEmitter &emitter) = 0;
};

} // namespace m1c

#endif
