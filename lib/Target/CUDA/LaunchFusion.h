// What the parts of plan-fuse-launches share: launches and what takes their place, the pass as its
// parts see it, and the parts that gather launches around scans, products and attention, and chain
// products.
#ifndef M1C_TARGET_CUDA_LAUNCHFUSION_H
#define M1C_TARGET_CUDA_LAUNCHFUSION_H

#include "HandTuned.h"
#include "Plan/Plan.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringMap.h"
#include <deque>

namespace m1c {

/// A launch and the spec of its kernel, whose operands are the launch's in order. Of a kernel that
/// several functions launch, the spec's rows and maxRows are the first one's.
struct Step {
  mlir::plan::LaunchOp launch;
  const KernelSpec *spec = nullptr;

  Step() = default;
  Step(mlir::plan::LaunchOp launch, const KernelSpec *spec) : launch(launch), spec(spec) {}
  explicit operator bool() const { return spec != nullptr; }
  mlir::Value buffer(llvm::StringRef role) const {
    int position = spec->find(role);
    mlir::plan::LaunchOp op = launch;
    return position < 0 ? mlir::Value() : op.getBuffers()[position];
  }
};

/// What a launch gives its kernel in a role.
struct Operand {
  mlir::Value buffer;
  mlir::plan::Access access = mlir::plan::Access::ro;
  llvm::SmallVector<int64_t, 2> extent; // as in plan.kernel; empty where that states none
};

/// One launch in the place of several.
struct Fusion {
  std::string key, name; // of its kernel; the name is its symbol's beginning
  std::string origin;
  llvm::StringMap<Operand> operands;             // by the kernel's roles
  llvm::SmallVector<mlir::plan::LaunchOp> parts; // it stands where the last of them does
  llvm::StringRef label;
  uint64_t saved = 0; // bytes a row that one part wrote and another read: they stay in registers
};

/// A product that streams its weights, and what it does for its neighbours.
struct Product {
  Fusion fusion; // of one part at first: the product
  m1k::cuda::Linear facts;
  mlir::plan::LaunchOp launch; // once it stands
};

/// What a buffer lies in, whichever of several ops of one state or port names it.
const void *memoryOf(mlir::Value buffer);
/// Whether the command writes its operand.
bool writes(mlir::Operation *command, size_t operand);
/// Whether all can be done where the last of the list stands: no command between one of them and
/// that writes what the one uses, or uses what it writes.
bool canBeOne(llvm::ArrayRef<mlir::Operation *> parts);
constexpr const char *orderMatters = "a command between them uses what they write, or writes it";
/// The one command besides `writer` that uses `buffer` itself, or null.
mlir::Operation *onlyReader(mlir::Value buffer, mlir::plan::LaunchOp writer);

/// The pass, to its parts.
class LaunchFuser {
public:
  virtual ~LaunchFuser() = default;
  /// Of the launch's kernel; null: it has none.
  virtual const KernelSpec *specOf(mlir::plan::LaunchOp launch) const = 0;
  /// Empty where the launch's kernel has no facts, or other operands than they say.
  virtual Step stepOf(mlir::Operation *op) const = 0;
  virtual Operand operandAt(const Step &step, size_t position) = 0;
  Operand operandOf(const Step &step, llvm::StringRef role) {
    return operandAt(step, size_t(step.spec->find(role)));
  }
  /// Says why launches stay apart; always false.
  virtual bool missed(Step step, llvm::StringRef reason) = 0;
  /// `symbol` is of the kernel that `describe` gives. Returns why there is none.
  virtual std::string
  replace(const Fusion &fusion,
          llvm::function_ref<m1k::cuda::Description(const std::string &symbol)> describe,
          mlir::plan::LaunchOp *made = nullptr) = 0;
  /// Counters, so many of each sequence, that are cleared where the function begins.
  virtual mlir::Value clearCounters(mlir::plan::FunctionOp function, int counters) = 0;
  /// Lets the products that alone read this norm of whole rows apply its scale: they take as many
  /// sums of squares of a row, which the buffer that comes back is for. Null: they do not.
  virtual mlir::Value scaleReaders(Step norm, int squares) = 0;
};

/// "op_3072", of the rows of its output.
std::string nameOf(llvm::StringRef op, const KernelSpec &spec, llvm::StringRef out);

/// One launch for products of a decode step of few rows that follow one another, of which the
/// blocks wait for one another (kernels/cuda/linear_chain.cuh).
class ProductChains {
public:
  ProductChains(LaunchFuser &pass, mlir::plan::FunctionOp function, const CudaChip &chip)
      : pass(pass), function(function), chip(chip) {}
  /// The products stand where they are launched. Returns the number of chains.
  int chain(std::deque<Product> &products);

private:
  struct Run {
    m1k::cuda::LinearChain facts;
    llvm::SmallVector<mlir::plan::LaunchOp> products; // as in facts
    Fusion fusion;
    llvm::SmallVector<std::pair<std::string, Operand>> operands; // by the chain's own names
  };
  /// Moves the commands that may be parts of chains next to one another, as far as what they read
  /// and write allows.
  void gather(llvm::function_ref<bool(mlir::Operation *)> isPart);
  /// False, and the run as it was: the product cannot follow.
  bool append(Run &run, const Product &product);
  /// The decode step of a convolution of what one of the run's products leaves.
  bool append(Run &run, const Step &convolution);
  /// The run has one operand more, unless it has that. Returns its name.
  static std::optional<std::string> take(Run &run, const std::string &role, const Operand &operand,
                                         int64_t *column = nullptr);

  LaunchFuser &pass;
  mlir::plan::FunctionOp function;
  const CudaChip &chip;
};

/// Decode attention's launches: the write of keys and values, which may turn them, split, combine.
struct AttentionSteps {
  Step write, split;
  mlir::plan::LaunchOp combine;
};

/// One launch for attention of a decode step of few rows and the write of keys and values before
/// it.
class AttentionFuser {
public:
  AttentionFuser(LaunchFuser &pass, mlir::plan::FunctionOp function, const CudaChip &chip)
      : pass(pass), function(function), chip(chip) {}
  /// Returns how many there are.
  int fuse();

private:
  AttentionSteps find(mlir::plan::LaunchOp split);
  m1k::cuda::Description describe(const AttentionSteps &steps, int counters,
                                  const std::string &symbol) const;
  void replace(const AttentionSteps &steps, mlir::Value cleared, int first, int counters);

  LaunchFuser &pass;
  mlir::plan::FunctionOp function;
  const CudaChip &chip;
};

/// A scan of a decode step, or a gated delta rule, and the launches that it takes in.
struct Update {
  Step scan, conv, dt, dtNorm, bNorm, cNorm, gate, norm;
  int64_t xColumn = 0, bColumn = 0, cColumn = 0; // of the convolution, as in UpdateParts
  int counters = 0, firstCounter = 0;            // of a sequence
  mlir::Value squares;                           // what a norm of all channels leaves
  bool few = false;

  cuda::UpdateParts parts() const {
    cuda::UpdateParts parts;
    parts.scan = scan.spec, parts.conv = conv.spec, parts.dt = dt.spec;
    parts.dtNorm = dtNorm.spec, parts.bNorm = bNorm.spec, parts.cNorm = cNorm.spec;
    parts.gate = gate.spec, parts.norm = norm.spec;
    parts.xColumn = xColumn, parts.bColumn = bColumn, parts.cColumn = cColumn;
    parts.few = few;
    return parts;
  }
  bool canBeOne() const {
    llvm::SmallVector<mlir::Operation *> launches;
    for (Step step : steps())
      launches.push_back(step.launch);
    return m1c::canBeOne(launches);
  }
  /// All launches, in the order of the step.
  llvm::SmallVector<Step> steps() const {
    llvm::SmallVector<Step> all;
    for (const Step &step : {dtNorm, bNorm, cNorm, conv, dt, scan, gate, norm})
      if (step)
        all.push_back(step);
    return all;
  }
};

/// The scans of a decode step's function. The launches that they take in are known once it is made,
/// and gone when it is done.
class ScanFuser {
public:
  ScanFuser(LaunchFuser &pass, mlir::plan::FunctionOp function, const CudaChip &chip);
  bool hasTaken(mlir::Operation *launch) const { return taken.contains(launch); }
  /// Once products are known by what they do for others.
  void finish();

  int convolutions = 0, projections = 0, norms = 0, gates = 0; // that were taken in

private:
  void addUpdate(Step scan);
  /// Takes in what `take` adds to an update, if there is a kernel for it.
  bool extend(Update &update, Step step, llvm::function_ref<void(Update &)> take);
  Step writerOf(mlir::Value buffer) const;
  bool takeConvolution(Update &update);
  bool takeProjection(Update &update);
  bool takeInputNorm(Update &update, llvm::StringRef role, Step Update::*norm);
  bool takeGate(Update &update);
  bool takeNorm(Update &update);
  void replace(const Update &update, mlir::Value cleared, int counters);

  LaunchFuser &pass;
  mlir::plan::FunctionOp function;
  const CudaChip &chip;
  const bool few;
  std::deque<Update> updates;
  llvm::DenseSet<mlir::Operation *> taken;
};

/// The products of a decode step of few rows. What each does for its neighbours is known once it is
/// made; their launches stand when it is done.
class ProductFuser {
public:
  ProductFuser(LaunchFuser &pass, mlir::plan::FunctionOp function, const CudaChip &chip,
               const ScanFuser &scans);
  /// As in LaunchFuser.
  mlir::Value scaleReaders(Step norm, int squares);
  std::deque<Product> &finish();

  int gates = 0, maps = 0, norms = 0, residuals = 0, largest = 0; // that were taken in

private:
  void addProduct(Step linear);
  bool endWith(Product &product, m1k::cuda::Linear facts, Step map,
               llvm::ArrayRef<llvm::StringRef> names);
  bool fuseGate(Product &product, Step linear);
  bool fuseMap(Product &product, Step linear);
  llvm::SmallVector<Product *> usersOf(mlir::Value normed, Step norm);
  Operand leaveScale(Step norm, llvm::ArrayRef<Product *> users,
                     llvm::ArrayRef<m1k::cuda::Linear> scaled);
  bool fuseNorm(Step norm);
  bool fuseResidual(Step sum);
  bool fuseLargest(Product &reader, Product *writer);
  /// The product that writes `buffer` for `reader` alone and can still add a residual to it; null:
  /// there is none.
  Product *writerFor(mlir::Value buffer, Step reader);
  /// Why there is no kernel of these facts; empty: there is one.
  std::string refusal(const m1k::cuda::Linear &facts) const;
  void launch(Product &product);

  LaunchFuser &pass;
  const CudaChip &chip;
  std::deque<Product> products;
  llvm::DenseMap<mlir::Value, Product *> writers;
  llvm::DenseMap<mlir::Operation *, Product *> readers; // by the product's own launch
};

} // namespace m1c

#endif
