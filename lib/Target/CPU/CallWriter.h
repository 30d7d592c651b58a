// Writes the call of an entry of kernels/cpu: arguments in the order of its declaration.
#ifndef M1C_TARGET_CPU_CALLWRITER_H
#define M1C_TARGET_CPU_CALLWRITER_H

#include "KernelWriter.h"
#include "M1/IR/Int4.h"
#include "m1k_cpu.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace m1c {

class CallWriter {
public:
  CallWriter(KernelWriter &w, llvm::StringRef callee) : w(w), callee(callee) {}
  void pointer(llvm::StringRef role) {
    if (w.has(role))
      push(w.pointer(role));
    else
      push(mlir::LLVM::ZeroOp::create(w.b, mlir::LLVM::LLVMPointerType::get(w.b.getContext())));
  }
  void pointers(llvm::ArrayRef<llvm::StringRef> roles) {
    for (llvm::StringRef role : roles)
      pointer(role);
  }
  /// dims, group_x, group_y as the kernel received them.
  void grid() {
    auto function = mlir::cast<mlir::func::FuncOp>(w.b.getInsertionBlock()->getParentOp());
    for (int i : {1, 2, 3})
      push(function.getArgument(i));
  }
  void dims() {
    auto function = mlir::cast<mlir::func::FuncOp>(w.b.getInsertionBlock()->getParentOp());
    push(function.getArgument(1));
  }
  void groupX() {
    auto function = mlir::cast<mlir::func::FuncOp>(w.b.getInsertionBlock()->getParentOp());
    push(function.getArgument(2));
  }
  /// The rows [begin, end) of the group.
  void rowsOfGroup() {
    auto [begin, end] = w.groupRows();
    push(begin);
    push(end);
  }
  void integer(int64_t value) {
    push(mlir::arith::ConstantOp::create(w.b, w.b.getI32IntegerAttr(static_cast<int32_t>(value))));
  }
  void integer64(int64_t value) { push(w.constant(value)); }
  void real(double value) {
    push(mlir::arith::ConstantOp::create(w.b, w.b.getF32FloatAttr(static_cast<float>(value))));
  }
  /// Type and row stride of an activation; absent optional ones are f32 of stride 0.
  void rows(llvm::StringRef role) {
    type(role);
    integer64(w.has(role) ? w.operand(role).rowStride : 0);
  }
  void type(llvm::StringRef role) {
    Type element = w.has(role) ? w.operand(role).element : Type(w.b.getF32Type());
    integer(element.isBF16()                             ? M1K_BF16
            : element.isF16()                            ? M1K_F16
            : mlir::m1::isInt4Pairs(element)             ? M1K_I4
            : element.isInteger(8)                       ? M1K_I8
            : mlir::isa<mlir::Float8E4M3FNType>(element) ? M1K_E4M3
                                                         : M1K_F32);
  }
  /// Of scales, of rows or of groups.
  void scaleType() {
    const bool hasScale = w.has("scale"),
               hasMinimums = hasScale && mlir::m1::hasMinimums(w.operand("scale").dims);
    if (hasScale && mlir::m1::isTwoLevels(w.operand("scale").element))
      integer(hasMinimums ? M1K_PAIRED_LEVELS : M1K_FINE_LEVELS);
    else if (hasMinimums)
      integer(M1K_F32_MINIMUM);
    else
      type("scale");
  }

  void call() {
    auto module = w.b.getInsertionBlock()->getParentOp()->getParentOfType<mlir::ModuleOp>();
    if (!module.lookupSymbol(callee)) {
      mlir::OpBuilder::InsertionGuard guard(w.b);
      w.b.setInsertionPointToStart(module.getBody());
      auto declaration = mlir::func::FuncOp::create(
          w.b, callee, w.b.getFunctionType(ValueRange(arguments).getTypes(), {}));
      declaration.setPrivate();
    }
    mlir::func::CallOp::create(w.b, callee, mlir::TypeRange{}, arguments);
  }

  void push(Value value) { arguments.push_back(value); }

private:
  KernelWriter &w;
  llvm::StringRef callee;
  llvm::SmallVector<Value> arguments;
};

} // namespace m1c

#endif
