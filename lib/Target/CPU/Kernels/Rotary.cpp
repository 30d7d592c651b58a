// Rotary angles, rotation, and the write of keys and values into their pages.
#include "../CallWriter.h"
#include "M1/IR/M1.h"
#include "m1k_abi.h"

using namespace mlir;

namespace m1c {

static void writeRotaryTable(KernelWriter &w) {
  int64_t half = w.columns("out") / 2;
  Type f32 = w.b.getF32Type();
  w.forGroupRows([&](Value row) {
    Value position = w.loadIndex(w.pointer("positions"), row), out = w.rowPointer("out", row);
    Value hiRow = arith::DivUIOp::create(w.b, position, w.constant(256)),
          loRow = arith::RemUIOp::create(w.b, position, w.constant(256));
    Value hi = w.elementPointer(w.pointer("hi"), f32, w.mul(hiRow, 2 * half));
    Value lo = w.elementPointer(w.pointer("lo"), f32, w.mul(loRow, 2 * half));
    w.forColumns(half, [&](Value column, int64_t width) {
      auto split = [&](Value table) -> std::pair<Value, Value> { // (cos, sin) pairs
        Value pairs = w.load(table, f32, w.mul(column, 2), 2 * width);
        llvm::SmallVector<int64_t> even, odd;
        for (int64_t i = 0; i < width; ++i) {
          even.push_back(2 * i);
          odd.push_back(2 * i + 1);
        }
        return {vector::ShuffleOp::create(w.b, pairs, pairs, even),
                vector::ShuffleOp::create(w.b, pairs, pairs, odd)};
      };
      auto [cosHi, sinHi] = split(hi);
      auto [cosLo, sinLo] = split(lo);
      w.store(out, f32, column, w.subf(w.mulf(cosHi, cosLo), w.mulf(sinHi, sinLo)));
      w.store(out, f32, w.add(column, half), w.addf(w.mulf(sinHi, cosLo), w.mulf(cosHi, sinLo)));
    });
  });
}

/// One head of d columns from `from` to `to`, as many of them rotated by the row `table` of angles
/// as it has, the others copied.
static void rotateHead(KernelWriter &w, Value from, Type fromType, Value to, Type toType,
                       Value table, int64_t d) {
  Type f32 = w.b.getF32Type();
  int64_t turned = w.columns("table");
  w.forColumns(turned / 2, [&](Value column, int64_t width) {
    Value upper = w.add(column, turned / 2);
    Value u = w.load(from, fromType, column, width), v = w.load(from, fromType, upper, width);
    Value cosine = w.load(table, f32, column, width), sine = w.load(table, f32, upper, width);
    w.store(to, toType, column, w.subf(w.mulf(u, cosine), w.mulf(v, sine)));
    w.store(to, toType, upper, w.addf(w.mulf(v, cosine), w.mulf(u, sine)));
  });
  w.forColumns(d - turned, [&](Value column, int64_t width) {
    Value at = w.add(column, turned);
    w.store(to, toType, at, w.load(from, fromType, at, width));
  });
}

static void rotateRow(KernelWriter &w, StringRef role, Value row, int64_t d) {
  Type from = w.operand(role).element, to = w.operand("out").element;
  Value x = w.rowPointer(role, row), out = w.rowPointer("out", row),
        table = w.rowPointer("table", row);
  w.forRange(w.constant(0), w.constant(w.columns(role) / d), 1, [&](Value head) {
    Value first = w.mul(head, d);
    rotateHead(w, w.elementPointer(x, from, first), from, w.elementPointer(out, to, first), to,
               table, d);
  });
}

static void writeRotaryEmbedding(KernelWriter &w) {
  w.forGroupRows([&](Value row) { rotateRow(w, "x", row, w.integer("head_dim")); });
}

/// Of codes with scales: kernels/cpu/kv_write.cpp.
static void writeCodes(KernelWriter &w) {
  CallWriter call(w, "m1k_cpu_kv_write");
  call.pointers(
      {"out", "q", "k", "v", "table", "cache", "positions", "token_sequence", "block_tables"});
  call.dims();
  call.rowsOfGroup();
  const auto &cache = w.operand("cache").dims;
  for (int64_t value : {w.has("q") ? w.columns("q") / cache[2] : 0, cache[0], cache[2],
                        w.has("table") ? w.columns("table") : 0})
    call.integer(value);
  call.type("cache");
  for (StringRef role : {"out", "q", "k", "v"})
    call.rows(role);
  call.integer64(w.has("table") ? w.operand("table").rowStride : 0);
  call.call();
}

static void writeKvWrite(KernelWriter &w) {
  if (m1::isCacheCode(w.operand("cache").element))
    return writeCodes(w);
  bool rotates = w.has("table");
  const OperandSpec &cache =
      w.operand("cache"); // [kv_heads, page_size, head_dim], once for keys and once for values
  int64_t heads = cache.dims[0], pageSize = cache.dims[1], d = cache.dims[2],
          plane = heads * pageSize * d;
  Type kType = w.operand("k").element, vType = w.operand("v").element, cacheType = cache.element;
  w.forGroupRows([&](Value row) {
    if (rotates)
      rotateRow(w, "q", row, d);
    Value position = w.loadIndex(w.pointer("positions"), row),
          sequence = w.loadIndex(w.pointer("token_sequence"), row);
    Value block = arith::DivUIOp::create(w.b, position, w.constant(pageSize));
    Value inPage = arith::RemUIOp::create(w.b, position, w.constant(pageSize));
    Value page =
        w.loadIndex(w.pointer("block_tables"), w.add(w.mul(sequence, w.maxPages()), block));
    Value target = w.add(w.mul(page, 2 * plane), w.mul(inPage, d));
    Value k = w.rowPointer("k", row), v = w.rowPointer("v", row);
    w.forRange(w.constant(0), w.constant(heads), 1, [&](Value head) {
      Value first = w.mul(head, d), to = w.add(target, w.mul(head, pageSize * d));
      Value key = w.elementPointer(w.pointer("cache"), cacheType, to);
      Value value = w.elementPointer(w.pointer("cache"), cacheType, w.add(to, plane));
      Value fromK = w.elementPointer(k, kType, first), fromV = w.elementPointer(v, vType, first);
      if (rotates)
        rotateHead(w, fromK, kType, key, cacheType, w.rowPointer("table", row), d);
      w.forColumns(d, [&](Value column, int64_t width) {
        if (!rotates)
          w.store(key, cacheType, column, w.load(fromK, kType, column, width));
        w.store(value, cacheType, column, w.load(fromV, vType, column, width));
      });
    });
  });
}

std::vector<CpuFamily> rotaryFamilies() {
  return {{"generated", {"rotary_table"}, writeRotaryTable},
          {"generated", {"rotary_embedding"}, writeRotaryEmbedding},
          {"generated", {"kv_write", "rotary_kv_write"}, writeKvWrite}};
}

} // namespace m1c
