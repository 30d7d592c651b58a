// Wrappers of kernels/cpu: a plan kernel whose body is one call with constants, which specialise
// the callee once it is inlined.
#include "HandKernels.h"
#include "KernelWriter.h"
#include "m1k_cpu.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace m1c {
namespace {

class CallWriter {
public:
  CallWriter(KernelWriter &w, StringRef callee) : w(w), callee(callee) {}
  void pointer(StringRef role) {
    if (w.has(role))
      push(w.pointer(role));
    else
      push(LLVM::ZeroOp::create(w.b, LLVM::LLVMPointerType::get(w.b.getContext())));
  }
  void pointers(ArrayRef<StringRef> roles) {
    for (StringRef role : roles)
      pointer(role);
  }
  /// dims, group_x, group_y as the kernel received them.
  void grid() {
    auto function = cast<func::FuncOp>(w.b.getInsertionBlock()->getParentOp());
    for (int i : {1, 2, 3})
      push(function.getArgument(i));
  }
  void integer(int64_t value) {
    push(arith::ConstantOp::create(w.b, w.b.getI32IntegerAttr(static_cast<int32_t>(value))));
  }
  void integer64(int64_t value) { push(w.constant(value)); }
  void real(double value) {
    push(arith::ConstantOp::create(w.b, w.b.getF32FloatAttr(static_cast<float>(value))));
  }
  /// Type and row stride of an activation; absent optional ones are f32 of stride 0.
  void rows(StringRef role) {
    type(role);
    integer64(w.has(role) ? w.operand(role).rowStride : 0);
  }
  void type(StringRef role) {
    integer(w.has(role) && w.operand(role).element.isBF16() ? M1K_BF16 : M1K_F32);
  }

  void call() {
    auto module = w.b.getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>();
    if (!module.lookupSymbol(callee)) {
      OpBuilder::InsertionGuard guard(w.b);
      w.b.setInsertionPointToStart(module.getBody());
      auto declaration = func::FuncOp::create(
          w.b, callee, w.b.getFunctionType(ValueRange(arguments).getTypes(), {}));
      declaration.setPrivate();
    }
    func::CallOp::create(w.b, callee, TypeRange{}, arguments);
  }

private:
  void push(Value value) { arguments.push_back(value); }
  KernelWriter &w;
  StringRef callee;
  llvm::SmallVector<Value> arguments;
};

} // namespace

void writeSelectiveScan(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_selective_scan");
  call.pointers({"out", "x", "dt", "a", "b", "c", "d", "z", "dt_bias", "state", "sequence_starts",
                 "slots", "positions"});
  call.grid();
  for (int64_t value : {w.columns("out"), w.columns("b"), w.columns("x"), w.operand("a").dims[1],
                        w.intParam("delta_softplus"), int64_t(M1K_CPU_CHANNEL_BLOCK)})
    call.integer(value);
  call.type("state");
  for (StringRef role : {"out", "x", "dt", "b", "c", "z"})
    call.rows(role);
  call.call();
}

void writeSsdScan(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_ssd_scan");
  call.pointers({"out", "x", "dt", "a", "b", "c", "d", "dt_bias", "state", "sequence_starts",
                 "slots", "positions"});
  call.grid();
  for (int64_t value : {w.operand("state").dims[0], w.columns("b"), w.operand("state").dims[2],
                        w.intParam("delta_softplus"), int64_t(M1K_CPU_CHANNEL_BLOCK)})
    call.integer(value);
  call.type("state");
  for (StringRef role : {"out", "x", "dt", "b", "c"})
    call.rows(role);
  call.call();
}

void writeCausalConv1d(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_causal_conv1d");
  call.pointers({"out", "x", "w", "bias", "state", "sequence_starts", "slots", "positions"});
  call.grid();
  bool silu = cast<StringAttr>(w.spec.params.get("activation")).getValue() == "silu";
  for (int64_t value : {w.columns("x"), w.operand("w").dims[1], w.intParam("repeat"),
                        w.intParam("head_size"), int64_t(silu), int64_t(M1K_CPU_CHANNEL_BLOCK)})
    call.integer(value);
  call.type("state");
  call.rows("out");
  call.rows("x");
  call.call();
}

void writeAttention(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_attention");
  const OperandSpec &cache = w.operand("cache");
  call.pointers({"out", "q", "cache", "sequence_starts", "context_lengths", "block_tables"});
  call.grid();
  for (int64_t value : {w.columns("q") / cache.dims[2], cache.dims[0], cache.dims[2]})
    call.integer(value);
  call.real(w.floatParam("scale"));
  call.integer(rowsPerGroup(w.spec));
  call.type("cache");
  call.rows("out");
  call.rows("q");
  call.call();
}

} // namespace m1c
