// A device to compile for: its kernel table, what it makes of a plan, and its code. Devices
// register by name (lib/Target); nothing else in the compiler knows them.
#ifndef M1C_TARGET_H
#define M1C_TARGET_H

#include "Plan/Plan.h"
#include "m1c/Artifact.h"
#include "m1c/KernelCache.h"
#include "m1c/KernelSelector.h"
#include "llvm/Support/Error.h"
#include <memory>

namespace m1c {

/// What is asked of code generation, and the texts that it made on the way.
struct CodeRequest {
  bool wantLlvm = false, wantAssembly = false, wantCode = true;
  KernelCache cache; // may be off
  std::string llvm, assembly;
};

class Target {
public:
  virtual ~Target() = default;
  /// Symbol of the plan.target: the device, and the chip where there are several of it.
  virtual std::string name() const = 0;
  /// Puts what this target was created from on `plan`, and what the loader must know.
  virtual void describe(mlir::plan::TargetOp plan) const = 0;
  virtual KernelSelector &selector() = 0;
  /// An operation, inserted by `builder`, that holds the bodies of the kernels of `plan` that the
  /// compiler writes itself; null when there are none. Fails with an error on a kernel.
  virtual mlir::FailureOr<mlir::Operation *> generateKernels(mlir::plan::TargetOp plan,
                                                             mlir::OpBuilder &builder) = 0;
  /// The code of all kernels of `plan`, of which `bodies` (consumed; may be null) holds those that
  /// generateKernels wrote. Sets each kernel's code index. Without `wantCode` the list may be
  /// empty. Errors name the kernel or the stage.
  virtual llvm::Expected<std::vector<CodeObject>>
  generateCode(mlir::plan::TargetOp plan, mlir::Operation *bodies, CodeRequest &request) = 0;
};

/// How a device joins: called by its registration function, which lib/Target/CMakeLists.txt lists.
struct TargetRegistration {
  llvm::StringRef device; // "cpu"
  llvm::StringRef usage;  // what may follow the device, for messages: "cpu[:x86-64-v3]"
  /// The targets that `device`, or `device:suffix`, asks for: several when its chips need plans of
  /// their own. Errors name what is wrong with the suffix.
  llvm::Expected<std::vector<std::unique_ptr<Target>>> (*create)(llvm::StringRef suffix);
  /// The target that a plan.target of this device was made by.
  llvm::Expected<std::unique_ptr<Target>> (*ofPlan)(mlir::plan::TargetOp plan);
  /// Adds the device's passes over plan.target between conversion and placement; may be null.
  void (*addPlanPasses)(mlir::OpPassManager &passes);
};
void registerTarget(const TargetRegistration &registration);

/// All targets of a list as --target takes it: "cpu,cuda:sm_80,sm_90". Errors name the part.
llvm::Expected<std::vector<std::unique_ptr<Target>>> createTargets(llvm::StringRef list);
/// The target that `plan` was made by.
llvm::Expected<std::unique_ptr<Target>> createTargetOf(mlir::plan::TargetOp plan);
/// What is wrong with `bodies`, which a text may have brought instead of generateKernels: they are
/// no operation named `kind` (null: none are needed), or lack one of the `kernels`.
llvm::Error checkBodies(mlir::plan::TargetOp plan, mlir::Operation *bodies, llvm::StringRef kind,
                        llvm::ArrayRef<llvm::StringRef> kernels);
/// What createTargets accepts, for help texts: "cpu[:x86-64-v3], cuda[:sm_80,sm_90]".
std::string describeTargets();
/// The passes that devices want over plan.target between conversion and placement.
void addPlanPasses(mlir::OpPassManager &passes);

} // namespace m1c

#endif
