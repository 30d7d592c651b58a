// Kernels that read and write columns: look-ups, maps, copies of rows and heads.
#include "../GeneratedKernels.h"
#include "M1/IR/Scalars.h"

using namespace mlir;

namespace m1c::cuda {
namespace {

void writeEmbedding(KernelWriter &k, const Unit &unit) {
  Value token = k.loadIndex("tokens", unit.row);
  Value at = k.offset(token, columns(k.spec.get("table")), unit.column);
  k.store("out", unit.row, unit.column, k.loadAt("table", at));
}

void writeMap(KernelWriter &k, const Unit &unit) {
  const KernelSpec &spec = k.spec;
  SmallVector<Value> inputs;
  for (size_t i = 0; i + 1 < spec.operands.size(); ++i)
    inputs.push_back(k.loadInput(i, unit.row, unit.column, columns(spec.get("out"))));
  k.store("out", unit.row, unit.column,
          m1::buildScalars(k.b, cast<ArrayAttr>(spec.params.get("body")), inputs,
                           [&](StringRef op, ValueRange v) { return k.scalar(op, v); }));
}

void writeGatherRows(KernelWriter &k, const Unit &unit) {
  Value source = k.loadIndex("logit_rows", unit.row);
  k.store("out", unit.row, unit.column, k.load("x", source, unit.column));
}

void writeRepeatHeads(KernelWriter &k, const Unit &unit) {
  Value head = k.div(unit.run, k.spec.integer("repeat"));
  Value column = k.add(k.mul(head, k.i32(k.spec.integer("head_size"))), unit.inRun);
  k.store("out", unit.row, unit.column, k.load("x", unit.row, column));
}

int64_t outColumns(const KernelSpec &spec) { return columns(spec.get("out")); }

} // namespace

std::vector<GeneratedFamily> elementwiseFamilies() {
  GeneratedFamily map{"map", writeMap};
  // Columns of the result share the values of a vector that is shorter than they.
  map.readsSingly = [](const KernelSpec &spec, const OperandSpec &operand) {
    return !operand.rowStride && columns(operand) != outColumns(spec);
  };
  std::vector<GeneratedFamily> families = {
      {"embedding", writeEmbedding}, map, {"gather_rows", writeGatherRows}};
  for (GeneratedFamily &family : families)
    family.run = outColumns;
  GeneratedFamily repeat{"repeat_heads", writeRepeatHeads};
  repeat.run = [](const KernelSpec &spec) { return spec.integer("head_size"); };
  families.push_back(repeat);
  return families;
}

} // namespace m1c::cuda
