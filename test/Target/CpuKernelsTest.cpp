// Generated CPU kernels: every op, compiled for each instruction set that this machine has, run
// over its grid, and compared with the same formula in float64.
#include "Formulas.h"
#include "M1/IR/Int4.h"
#include "M1/IR/Scalars.h"
#include "m1c/CpuTarget.h"
#include "m1k_abi.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/MLIRContext.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

using namespace m1c;

namespace {

constexpr int kRows = 13; // two whole tiles of six tokens and a rest

/// One operand with its values, in its own type and as doubles.
struct Buffer {
  OperandSpec spec;
  int64_t rows = 1;
  std::vector<char> bytes;
  std::vector<double> values;
  bool isOutput = false;

  int64_t valueColumns = 0; // of int4: values of a row

  int64_t columns() const {
    return valueColumns ? valueColumns : spec.dims.empty() ? 1 : spec.dims.back();
  }
  double at(int64_t row, int64_t column) const {
    return values[row * (spec.rowStride ? spec.rowStride : columns()) + column];
  }
};

double fromBf16(uint16_t bits) {
  uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}
uint16_t toBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

class Harness {
public:
  explicit Harness(const CpuInfo &cpu) : cpu(cpu) { context.loadDialect<mlir::m1::M1Dialect>(); }

  mlir::MLIRContext context;
  CpuInfo cpu;
  std::mt19937 random{7};

  mlir::Type type(const char *name) {
    return name == std::string("bf16")  ? mlir::Type(mlir::BFloat16Type::get(&context))
           : name == std::string("i8")  ? mlir::Type(mlir::IntegerType::get(&context, 8))
           : name == std::string("i32") ? mlir::Type(mlir::IntegerType::get(&context, 32))
                                        : mlir::Type(mlir::Float32Type::get(&context));
  }
  mlir::Attribute integer(int64_t value) {
    return mlir::IntegerAttr::get(mlir::IntegerType::get(&context, 64), value);
  }
  mlir::Attribute real(double value) {
    return mlir::FloatAttr::get(mlir::Float64Type::get(&context), value);
  }

  /// An input of random values. `stride` 0: a weight or vector of shape dims; otherwise rows of
  /// dims.back() columns.
  Buffer input(const std::string &role, const char *element, std::vector<int64_t> dims,
               int64_t stride = 0, int64_t rows = kRows) {
    Buffer b = empty(role, element, dims, stride, rows);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < b.values.size(); ++i)
      set(b, i,
          b.spec.element.isInteger(8) ? std::clamp(40 * normal(random), -127.0f, 127.0f)
                                      : normal(random));
    return b;
  }
  /// Random int4 [n, k] in bytes, and which they are as values.
  Buffer int4(const std::string &role, int64_t n, int64_t k) {
    Buffer b;
    b.spec.role = role;
    b.spec.element = mlir::IntegerType::get(&context, 8, mlir::IntegerType::Unsigned);
    b.spec.dims.assign({n, mlir::m1::int4RowBytes(k)});
    // What fills up the last block counts for nothing.
    b.bytes.resize(static_cast<size_t>(n * b.spec.dims[1]));
    for (char &byte : b.bytes)
      byte = static_cast<char>(random());
    b.valueColumns = k;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j) {
        mlir::m1::Int4Place place = mlir::m1::int4Place(j);
        int bits =
            b.bytes[static_cast<size_t>(i * b.spec.dims[1] + place.byte)] >> place.shift & 15;
        b.values.push_back(bits < 8 ? bits : bits - 16);
      }
    return b;
  }
  Buffer output(const std::string &role, const char *element, std::vector<int64_t> dims,
                int64_t stride, int64_t rows = kRows) {
    Buffer b = empty(role, element, dims, stride, rows);
    b.isOutput = true;
    // What the kernel must leave alone.
    for (size_t i = 0; i < b.values.size(); ++i)
      set(b, i, 77);
    return b;
  }
  Buffer indices(const std::string &role, const std::vector<int> &values) {
    Buffer b = empty(role, "i32", {}, 1, static_cast<int64_t>(values.size()));
    b.spec.rowStride = 0;
    for (size_t i = 0; i < values.size(); ++i)
      set(b, i, values[i]);
    return b;
  }
  void set(Buffer &b, size_t i, double value) {
    if (b.spec.element.isBF16()) {
      uint16_t bits = toBf16(static_cast<float>(value));
      std::memcpy(&b.bytes[2 * i], &bits, 2);
      b.values[i] = fromBf16(bits);
    } else if (b.spec.element.isF32()) {
      float single = static_cast<float>(value);
      std::memcpy(&b.bytes[4 * i], &single, 4);
      b.values[i] = single;
    } else if (b.spec.element.isInteger(8)) {
      b.bytes[i] = static_cast<char>(static_cast<int8_t>(value));
      b.values[i] = static_cast<int8_t>(value);
    } else {
      int whole = static_cast<int>(value);
      std::memcpy(&b.bytes[4 * i], &whole, 4);
      b.values[i] = whole;
    }
  }

  /// Compiles the op for these operands and runs it; the outputs' values are those it wrote.
  void run(const std::string &op, std::vector<Buffer *> buffers,
           std::vector<mlir::NamedAttribute> params = {}, RowDomain domain = RowDomain::tokens,
           m1_dims dims = {kRows, 1, kRows, 1}) {
    KernelSpec spec;
    spec.op = op;
    spec.domain = domain;
    spec.params = mlir::DictionaryAttr::get(&context, params);
    spec.outputs = 0;
    std::vector<void *> pointers;
    for (Buffer *buffer : buffers) {
      spec.operands.push_back(buffer->spec);
      spec.outputs += buffer->isOutput;
      pointers.push_back(buffer->bytes.data());
    }
    struct Emitter : PlanEmitter {
      KernelChoice chosen;
      mlir::Value operand(size_t) const override { return {}; }
      mlir::Value temporary(RowDomain, uint64_t) override { return {}; }
      std::string launch(const KernelChoice &choice, llvm::ArrayRef<mlir::Value>, size_t) override {
        chosen = choice;
        return "kernel";
      }
      void gemm(const GemmChoice &) override {}
      bool declare(const KernelChoice &) override { return true; }
      mlir::InFlightDiagnostic error() override {
        return mlir::emitError(mlir::UnknownLoc::get(context));
      }
      mlir::MLIRContext *context;
    } emitter;
    emitter.context = &context;
    CpuSelector chooser(cpu);
    ASSERT_TRUE(succeeded(chooser.select(spec, emitter)));
    CpuKernel kernels[] = {{"kernel", spec}};
    auto module = generateCpuKernels(&context, cpu, kernels);
    ASSERT_TRUE(succeeded(module));
    auto code = compileCpuKernels(**module, cpu, kernels, {});
    ASSERT_TRUE(bool(code)) << llvm::toString(code.takeError());

    int file = memfd_create("kernel", 0);
    ASSERT_EQ(write(file, code->elf.data(), code->elf.size()),
              static_cast<ssize_t>(code->elf.size()));
    std::string path = "/proc/self/fd/" + std::to_string(file);
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_TRUE(library) << dlerror();
    auto kernel = reinterpret_cast<void (*)(void *const *, const m1_dims *, int, int)>(
        dlsym(library, "kernel"));
    ASSERT_TRUE(kernel);
    RowDomain over = emitter.chosen.domain;
    int rows = over == RowDomain::one         ? 1
               : over == RowDomain::tokens    ? dims.tokens
               : over == RowDomain::sequences ? dims.sequences
                                              : dims.logit_rows;
    int groups = (rows + int(emitter.chosen.rowsPerGroup) - 1) / int(emitter.chosen.rowsPerGroup);
    for (int y = 0; y < groups; ++y)
      for (int x = 0; x < int(emitter.chosen.gridX); ++x)
        kernel(pointers.data(), &dims, x, y);
    dlclose(library);
    close(file);
    for (Buffer *buffer : buffers)
      for (size_t i = 0; i < buffer->values.size() && !buffer->spec.element.isInteger(8); ++i) {
        float single;
        int whole;
        uint16_t half;
        if (buffer->spec.element.isBF16()) {
          std::memcpy(&half, &buffer->bytes[2 * i], 2);
          buffer->values[i] = fromBf16(half);
        } else if (buffer->spec.element.isF32()) {
          std::memcpy(&single, &buffer->bytes[4 * i], 4);
          buffer->values[i] = single;
        } else {
          std::memcpy(&whole, &buffer->bytes[4 * i], 4);
          buffer->values[i] = whole;
        }
      }
  }

  /// Every column of `rows` rows is `want`, and what lies between the rows is untouched. The
  /// tolerance is that of the output's type, relative to `scale`.
  void expect(const Buffer &out, const std::function<double(int64_t, int64_t)> &want,
              double scale = 1.0) {
    double unit = out.spec.element.isBF16() ? 1.0 / 256 : 1e-5;
    for (int64_t row = 0; row < out.rows; ++row)
      for (int64_t column = 0; column < out.spec.rowStride; ++column) {
        double got = out.at(row, column),
               expected = column < out.columns() ? want(row, column) : 77;
        ASSERT_NEAR(got, expected, unit * std::max(scale, std::abs(expected)))
            << out.spec.role << " row " << row << " column " << column;
      }
  }

private:
  Buffer empty(const std::string &role, const char *element, const std::vector<int64_t> &dims,
               int64_t stride, int64_t rows) {
    Buffer b;
    b.spec.role = role;
    b.spec.element = type(element);
    b.spec.dims.assign(dims.begin(), dims.end());
    b.spec.rowStride = stride;
    b.rows = stride ? rows : 1;
    size_t count = stride ? stride * rows : 1;
    if (!stride)
      for (int64_t dim : dims)
        count *= dim;
    b.values.resize(count);
    b.bytes.resize(count * (b.spec.element.getIntOrFloatBitWidth() / 8));
    return b;
  }
};

double silu(double x) { return x / (1 + std::exp(-x)); }

/// Heads of 22 columns, of which the first `r` turn.
void checkRotary(Harness &harness, int64_t r) {
  SCOPED_TRACE(testing::Message() << r << " columns turn");
  Harness *h = &harness;
  constexpr int64_t d = 22, heads = 3, kvHeads = 2, page = 64;
  std::vector<int> positions, sequences;
  for (int i = 0; i < kRows; ++i) {
    positions.push_back(i < 9 ? 250 + i : i - 9);
    sequences.push_back(i < 9 ? 0 : 1);
  }
  auto angle = [&](int64_t position, int64_t i) {
    return position * std::pow(10000.0, -2.0 * i / r);
  };
  Buffer at = h->indices("positions", positions), hi = h->input("hi", "f32", {3, r / 2, 2}),
         lo = h->input("lo", "f32", {256, r / 2, 2});
  for (auto [table, step] : {std::pair<Buffer *, int>{&hi, 256}, {&lo, 1}})
    for (int64_t b = 0; b < table->spec.dims[0]; ++b)
      for (int64_t i = 0; i < r / 2; ++i) {
        h->set(*table, (b * r / 2 + i) * 2, std::cos(angle(b * step, i)));
        h->set(*table, (b * r / 2 + i) * 2 + 1, std::sin(angle(b * step, i)));
      }
  Buffer table = h->output("out", "f32", {r}, r);
  h->run("rotary_table", {&at, &hi, &lo, &table});
  h->expect(table, [&](int64_t t, int64_t c) {
    return c < r / 2 ? std::cos(angle(positions[t], c)) : std::sin(angle(positions[t], c - r / 2));
  });

  table.isOutput = false;
  table.spec.role = "table";
  Buffer q = h->input("q", "f32", {heads * d}, 200), k = h->input("k", "f32", {kvHeads * d}, 100),
         v = h->input("v", "f32", {kvHeads * d}, 100);
  Buffer out = h->output("out", "f32", {heads * d}, heads * d);
  auto rotated = [&](const Buffer &x, int64_t t, int64_t c) -> double {
    int64_t first = c / d * d, i = c % d, half = r / 2;
    if (i >= r)
      return x.at(t, c);
    double cosine = std::cos(angle(positions[t], i % half)),
           sine = std::sin(angle(positions[t], i % half));
    return i < half ? x.at(t, c) * cosine - x.at(t, c + half) * sine
                    : x.at(t, c) * cosine + x.at(t, first + i - half) * sine;
  };
  Buffer cache = h->output("cache", "bf16", {kvHeads, page, d}, 0);
  cache.values.assign(7 * 2 * kvHeads * page * d, 0);
  cache.bytes.assign(cache.values.size() * 2, 0);
  cache.isOutput = false;
  std::vector<int> pages = {6, 0, 0, 5, 3, 4, 0, 0, 0, 0}; // [2 sequences][5]
  Buffer tables = h->indices("block_tables", pages), of = h->indices("token_sequence", sequences);
  mlir::NamedAttribute dim = {mlir::StringAttr::get(&h->context, "head_dim"), h->integer(d)};
  m1_dims dims = {kRows, 2, kRows, 5};
  h->run("rotary_kv_write", {&q, &k, &v, &table, &cache, &at, &of, &tables, &out}, {},
         RowDomain::tokens, dims);
  h->expect(out, [&](int64_t t, int64_t c) { return rotated(q, t, c); });
  Buffer x = h->input("x", "f32", {heads * d}, 150);
  h->run("rotary_embedding", {&x, &table, &out}, {dim});
  h->expect(out, [&](int64_t t, int64_t c) { return rotated(x, t, c); });
  auto cached = [&](int64_t t, int64_t plane, int64_t c) {
    int64_t p = pages[sequences[t] * 5 + positions[t] / page];
    return cache
        .values[(((p * 2 + plane) * kvHeads + c / d) * page + positions[t] % page) * d + c % d];
  };
  for (int64_t t = 0; t < kRows; ++t)
    for (int64_t c = 0; c < kvHeads * d; ++c) {
      ASSERT_NEAR(cached(t, 0, c), rotated(k, t, c), 4.0 / 256)
          << "key of token " << t << " column " << c;
      ASSERT_NEAR(cached(t, 1, c), v.at(t, c), 4.0 / 256)
          << "value of token " << t << " column " << c;
    }
  h->run("kv_write", {&k, &v, &cache, &at, &of, &tables}, {}, RowDomain::tokens, dims);
  for (int64_t t = 0; t < kRows; ++t)
    for (int64_t c = 0; c < kvHeads * d; ++c)
      ASSERT_NEAR(cached(t, 0, c), k.at(t, c), 4.0 / 256)
          << "key of token " << t << " column " << c;
}

class CpuKernels : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    auto native = resolveCpu("native"), wanted = resolveCpu(GetParam());
    ASSERT_TRUE(bool(native) && bool(wanted));
    for (const std::string &feature : wanted->requiredFeatures)
      if (!llvm::is_contained(native->requiredFeatures, feature))
        GTEST_SKIP() << "this CPU lacks " << feature;
    h = std::make_unique<Harness>(*wanted);
  }
  mlir::NamedAttribute param(const char *name, mlir::Attribute value) {
    return {mlir::StringAttr::get(&h->context, name), value};
  }
  std::unique_ptr<Harness> h;
};

// Linears of sizes that are and are not multiples of tiles and registers, of every mix of types,
// with strided rows, with and without bias, and with the scales of quantised weights.
TEST_P(CpuKernels, Linear) {
  struct Case {
    int64_t n, k;
    const char *x, *w, *out;
    bool bias;
    int64_t group = 0; // of int4
  };
  for (const Case &c :
       {Case{4, 64, "f32", "f32", "f32", false}, Case{67, 37, "f32", "f32", "f32", true},
        Case{1, 1, "f32", "bf16", "f32", false}, Case{130, 96, "bf16", "bf16", "bf16", true},
        Case{66, 95, "bf16", "bf16", "f32", false}, Case{7, 33, "bf16", "f32", "bf16", true},
        Case{33, 127, "f32", "bf16", "bf16", false}, Case{130, 96, "bf16", "i8", "bf16", true},
        Case{7, 75, "bf16", "i8", "f32", false}, Case{67, 37, "f32", "i8", "f32", true},
        // Whole blocks; groups that end early, in each plane of a block; less than a register.
        Case{7, 256, "bf16", "i4", "bf16", true, 64}, Case{5, 313, "bf16", "i4", "f32", true, 32},
        Case{9, 177, "f32", "i4", "f32", true, 64}, Case{4, 235, "f32", "i4", "f32", false, 128},
        Case{5, 13, "bf16", "i4", "f32", true, 32}}) {
    SCOPED_TRACE(testing::Message() << "n " << c.n << " k " << c.k << " " << c.x << " " << c.w
                                    << " " << c.out << " group " << c.group);
    for (int64_t rows : {1, kRows, 70}) {
      if (c.group && rows == 1) // a tile of one token is in the rest of 13
        continue;
      Buffer x = h->input("x", c.x, {c.k}, c.k + 3, rows),
             w = c.group ? h->int4("weight", c.n, c.k) : h->input("weight", c.w, {c.n, c.k}),
             bias = h->input("bias", "f32", {c.n}), scale = h->input("scale", "f32", {c.n});
      if (c.group)
        scale = h->input("scale", "bf16", {c.n, mlir::m1::int4Groups(c.k, c.group)});
      Buffer out = h->output("out", c.out, {c.n}, c.n + 5, rows);
      std::vector<Buffer *> operands = {&x, &w};
      const bool quantised = c.w == std::string("i8");
      if (quantised || c.group)
        operands.push_back(&scale);
      if (c.bias)
        operands.push_back(&bias);
      operands.push_back(&out);
      h->run("linear", operands, {}, RowDomain::tokens, {int(rows), 1, 1, 1});
      h->expect(
          out,
          [&](int64_t t, int64_t n) {
            double sum = 0;
            for (int64_t k = 0; k < c.k; ++k)
              sum += x.at(t, k) * w.at(n, k) * (c.group ? scale.at(n, k / c.group) : 1);
            return sum * (quantised ? scale.at(0, n) : 1) + (c.bias ? bias.at(0, n) : 0);
          },
          // Elements of i8 are up to 127 times those of the other types, int4 8 times.
          std::sqrt(double(c.k)) * (quantised ? 127
                                    : c.group ? 8
                                              : 1));
    }
  }
}

// A token's result does not depend on how many others are in the step: bit for bit.
TEST_P(CpuKernels, LinearIsIndependentOfTheBatch) {
  for (const std::string type : {"bf16", "i8", "i4"}) {
    const bool isInt4 = type == "i4";
    const int64_t k = isInt4 ? 241 : 100;
    Buffer x = h->input("x", "bf16", {k}, k),
           w = isInt4 ? h->int4("weight", 37, k) : h->input("weight", type.c_str(), {37, k}),
           scale = isInt4 ? h->input("scale", "bf16", {37, 4}) : h->input("scale", "f32", {37});
    Buffer all = h->output("out", "f32", {37}, 37), one = h->output("out", "f32", {37}, 37, 1);
    auto run = [&](Buffer &rows, Buffer &out, int count) {
      std::vector<Buffer *> operands = {&rows, &w, &out};
      if (type != "bf16")
        operands.insert(operands.begin() + 2, &scale);
      h->run("linear", operands, {}, RowDomain::tokens, {count, 1, 1, 1});
    };
    run(x, all, kRows);
    // Of a tile of six, of the other, and of the rest.
    for (int64_t row : {1, 8, kRows - 1}) {
      Buffer single = h->input("x", "bf16", {k}, k, 1);
      for (int64_t i = 0; i < k; ++i)
        h->set(single, i, x.at(row, i));
      run(single, one, 1);
      for (int64_t n = 0; n < 37; ++n)
        ASSERT_EQ(one.at(0, n), all.at(row, n)) << type << " row " << row << " column " << n;
    }
  }
}

// Norms, alone and with the residual addition, in both types and for lengths with every kind of
// rest.
TEST_P(CpuKernels, RmsNorm) {
  for (int64_t n : {1, 15, 64, 203}) {
    for (const char *type : {"f32", "bf16"}) {
      SCOPED_TRACE(testing::Message() << n << " " << type);
      Buffer residual = h->input("residual", "f32", {n}, n), x = h->input("x", type, {n}, n + 2),
             w = h->input("weight", "f32", {n});
      Buffer sum = h->output("sum", "f32", {n}, n + 1), normed = h->output("normed", type, {n}, n),
             out = h->output("out", type, {n}, n);
      auto eps = param("eps", h->real(1e-5));
      h->run("add_rms_norm", {&residual, &x, &w, &sum, &normed}, {eps});
      auto total = [&](int64_t t, int64_t c) { return residual.at(t, c) + x.at(t, c); };
      auto norm = [&](auto value, int64_t t, int64_t c) {
        double squares = 0;
        for (int64_t i = 0; i < n; ++i)
          squares += value(t, i) * value(t, i);
        return value(t, c) / std::sqrt(squares / n + 1e-5) * w.at(0, c);
      };
      h->expect(sum, total);
      h->expect(normed, [&](int64_t t, int64_t c) { return norm(total, t, c); });
      h->run("rms_norm", {&x, &w, &out}, {eps, param("groups", h->integer(1))});
      h->expect(out, [&](int64_t t, int64_t c) {
        return norm([&](int64_t t, int64_t i) { return x.at(t, i); }, t, c);
      });
    }
  }
}

// Each group of columns is normalised on its own, before or after the gate or without one, with a
// weight a column, a weight a column of a group, or none.
TEST_P(CpuKernels, GroupNorms) {
  enum Gate { before, after, none };
  for (auto [groups, size] : {std::pair<int64_t, int64_t>{1, 40}, {5, 7}, {3, 64}})
    for (Gate gate : {before, after, none})
      for (int weights : {0, 1, 2}) { // none, of a group, of all columns
        if (weights == 0 && gate != none)
          continue;
        SCOPED_TRACE(testing::Message()
                     << groups << " of " << size << " gate " << gate << " weights " << weights);
        int64_t n = groups * size;
        Buffer y = h->input(gate == none ? "x" : "y", "f32", {n}, n),
               z = h->input("z", "bf16", {n}, n + 9),
               w = h->input("weight", "f32", {weights == 1 ? size : n});
        Buffer out = h->output("out", "bf16", {n}, n + 1);
        std::vector<Buffer *> operands = {&y};
        if (gate != none)
          operands.push_back(&z);
        if (weights)
          operands.push_back(&w);
        operands.push_back(&out);
        std::vector<mlir::NamedAttribute> params = {param("eps", h->real(1e-5)),
                                                    param("groups", h->integer(groups))};
        if (gate == after)
          params.push_back(param("norm_first", mlir::UnitAttr::get(&h->context)));
        h->run(gate == none ? "rms_norm" : "gated_rms_norm", operands, params);
        h->expect(out, [&, size = size](int64_t t, int64_t c) {
          double squares = 0;
          auto normed = [&](int64_t i) {
            return gate == before ? y.at(t, i) * silu(z.at(t, i)) : y.at(t, i);
          };
          for (int64_t i = c / size * size; i < c / size * size + size; ++i)
            squares += normed(i) * normed(i);
          double value = normed(c) / std::sqrt(squares / size + 1e-5);
          if (weights)
            value *= w.at(0, weights == 1 ? c % size : c);
          return gate == after ? value * silu(z.at(t, c)) : value;
        });
      }
}

// Maps: rows and vectors, over a width with a rest of every power of two; every formula and every
// operation of scalar code.
TEST_P(CpuKernels, Maps) {
  namespace scalars = mlir::m1::scalars;
  constexpr int64_t n = 16 + 15;
  Buffer a = h->input("a", "f32", {n}, n), b = h->input("b", "bf16", {n}, n + 1),
         out = h->output("out", "f32", {n}, n + 2);
  h->set(a, 0, 100); // where the exponential would overflow
  h->set(a, 1, -100);
  h->set(a, 2, 0);
  auto run = [&](std::vector<Buffer *> buffers, mlir::m1::ScalarBody body) {
    auto code = mlir::m1::encodeBody(&h->context, unsigned(buffers.size()) - 1, body);
    h->run("map", buffers, {param("body", code)});
  };
  using B = mlir::ImplicitLocOpBuilder;
  run({&a, &b, &out}, [](B &b, mlir::ValueRange v) -> mlir::Value {
    mlir::Value difference = mlir::arith::SubFOp::create(b, v[0], v[1]);
    mlir::Value least = mlir::arith::MinimumFOp::create(b, difference, v[1]);
    return mlir::arith::AddFOp::create(b, mlir::arith::NegFOp::create(b, least), v[0]);
  });
  h->expect(out, [&](int64_t t, int64_t c) {
    return a.at(t, c) - std::min(a.at(t, c) - b.at(t, c), b.at(t, c));
  });
  run({&a, &b, &out}, [](B &b, mlir::ValueRange v) -> mlir::Value {
    return mlir::arith::MulFOp::create(b, scalars::silu(b, v[0]), v[1]);
  });
  h->expect(out, [&](int64_t t, int64_t c) { return silu(a.at(t, c)) * b.at(t, c); }, 100);

  auto unary = [&](mlir::m1::ScalarFormula formula, double (*want)(double)) {
    run({&a, &out}, [&](B &b, mlir::ValueRange v) { return formula(b, v[0]); });
    h->expect(out, [&](int64_t t, int64_t c) { return want(a.at(t, c)); }, 10);
  };
  unary(scalars::silu, silu);
  unary(scalars::sigmoid, [](double v) { return 1 / (1 + std::exp(-v)); });
  unary(scalars::softplus, [](double v) { return v > 30 ? v : std::log1p(std::exp(v)); });
  unary(scalars::relu2, [](double v) { return v > 0 ? v * v : 0; });
  unary(scalars::gelu, [](double v) { return v / 2 * (1 + std::erf(v * std::sqrt(0.5))); });
  unary(scalars::geluTanh, [](double v) {
    return v / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
  });
  unary([](B &b, mlir::Value x) { return scalars::softCap(b, x, 5); },
        [](double v) { return 5 * std::tanh(v / 5); });

  // Vectors, one value a column or shared by neighbours.
  auto fma = [](B &b, mlir::ValueRange v) -> mlir::Value {
    return mlir::math::FmaOp::create(b, v[2], v[1], v[0]);
  };
  Buffer y = h->input("y", "f32", {n}, n), x = h->input("x", "f32", {n}, n),
         d = h->input("d", "f32", {n});
  run({&y, &x, &d, &out}, fma);
  h->expect(out, [&](int64_t t, int64_t c) { return y.at(t, c) + d.at(0, c) * x.at(t, c); });
  Buffer y2 = h->input("y", "f32", {36}, 36), x2 = h->input("x", "f32", {36}, 36),
         shared = h->input("d", "f32", {4});
  Buffer out2 = h->output("out", "f32", {36}, 36);
  run({&y2, &x2, &shared, &out2}, fma);
  h->expect(out2,
            [&](int64_t t, int64_t c) { return y2.at(t, c) + shared.at(0, c / 9) * x2.at(t, c); });
}

// The polynomials behind silu and softplus keep their relative error over the range where results
// are normal: the bounds that CpuCode.cpp states for exp and log1p, plus a division's or an
// addition's rounding.
TEST_P(CpuKernels, Functions) {
  constexpr int64_t n = 8192;
  Buffer a = h->input("a", "f32", {n}, n, 1), x = h->input("x", "f32", {n}, n, 1),
         out = h->output("out", "f32", {n}, n, 1);
  for (int64_t i = 0; i < n; ++i) {
    h->set(a, i, -86.0 + 172.0 * double(i) / n);
    h->set(x, i, -86.0 + 172.0 * double(i) / n);
  }
  auto worst = [&](auto want) {
    double error = 0;
    for (int64_t i = 0; i < n; ++i)
      error =
          std::max(error, std::abs(out.at(0, i) - want(a.at(0, i))) / std::abs(want(a.at(0, i))));
    return error * (1 << 24); // units of half the last place
  };
  m1_dims dims = {1, 1, 1, 1};
  auto run = [&](Buffer &in, mlir::m1::ScalarFormula formula) {
    auto code = mlir::m1::encodeBody(
        &h->context, 1,
        [&](mlir::ImplicitLocOpBuilder &b, mlir::ValueRange v) { return formula(b, v[0]); });
    h->run("map", {&in, &out}, {param("body", code)}, RowDomain::tokens, dims);
  };
  run(a, mlir::m1::scalars::silu);
  EXPECT_LT(worst(silu), 8.0);
  run(x, mlir::m1::scalars::softplus);
  EXPECT_LT(worst([](double v) { return v > 30 ? v : std::log1p(std::exp(v)); }), 8.0);
}

// Rows by token, rows by index, and repeated heads.
TEST_P(CpuKernels, Copies) {
  std::vector<int> ids, rows;
  for (int i = 0; i < kRows; ++i) {
    ids.push_back(i * 5 % 19);
    rows.push_back(kRows - 1 - i);
  }
  Buffer tokens = h->indices("tokens", ids), table = h->input("table", "bf16", {19, 41}),
         out = h->output("out", "f32", {41}, 41);
  h->run("embedding", {&tokens, &table, &out});
  h->expect(out, [&](int64_t t, int64_t c) { return table.at(ids[t], c); });
  Buffer picked = h->indices("logit_rows", rows), x = h->input("x", "f32", {41}, 43);
  h->run("gather_rows", {&x, &picked, &out}, {}, RowDomain::logit_rows);
  h->expect(out, [&](int64_t t, int64_t c) { return x.at(rows[t], c); });
  Buffer heads = h->input("x", "bf16", {3 * 7}, 25),
         repeated = h->output("out", "bf16", {3 * 2 * 7}, 42);
  h->run("repeat_heads", {&heads, &repeated},
         {param("head_size", h->integer(7)), param("repeat", h->integer(2))});
  h->expect(repeated, [&](int64_t t, int64_t c) { return heads.at(t, c / 14 * 7 + c % 7); });
}

// The largest logit wins, the first among equals, wherever it lies: in a register, in the rest,
// nowhere (all equal). A row with a NaN anywhere, or whose largest logit is not finite, has no
// token; minus infinity beside numbers is one. What lies behind the ids that count does not matter.
TEST_P(CpuKernels, Sample) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (int64_t n : {1, 5, 16, 100, 131}) {
    Buffer logits = h->input("logits", "f32", {n}, n), out = h->output("out", "i32", {}, 1);
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t c = 0; c < n; ++c)
        h->set(logits, row * n + c, row == 0 ? -3.0 : double((c * 7 + row * 11) % 10));
    h->set(logits, 1 * n + n - 1, std::nan(""));
    h->set(logits, 2 * n, std::nan(""));
    h->set(logits, 3 * n + n / 2, infinity);
    for (int64_t c = 0; c < n; ++c)
      h->set(logits, 4 * n + c, -infinity);
    for (int64_t c = 0; c + 1 < n; ++c)
      h->set(logits, 5 * n + c, -infinity);
    auto check = [&](int64_t ids) {
      for (int64_t row = 0; row < kRows; ++row) {
        int64_t best = 0;
        for (int64_t c = 1; c < ids; ++c)
          if (logits.at(row, c) > logits.at(row, best))
            best = c;
        ASSERT_EQ(out.values[row], row >= 1 && row <= 4 ? -1.0 : double(best))
            << "row " << row << " of " << n << ", " << ids << " count";
      }
    };
    h->run("sample", {&logits, &out}, {}, RowDomain::logit_rows);
    check(n);
    for (int64_t ids : {n - 1, n / 2, int64_t(1)}) {
      if (ids < 1 || ids >= n)
        continue;
      // the rows' troubles move among the ids, and greater ones stand behind them
      for (int64_t row = 0; row < kRows; ++row)
        for (int64_t c = ids; c < n; ++c)
          h->set(logits, row * n + c, row % 3 == 0 ? infinity : row % 3 == 1 ? std::nan("") : 99.0);
      h->set(logits, 1 * n + ids - 1, std::nan(""));
      h->set(logits, 2 * n, std::nan(""));
      h->set(logits, 3 * n + ids / 2, infinity);
      h->set(logits, 5 * n + ids - 1, 1.0);
      h->run("sample", {&logits, &out}, {param("ids", h->integer(ids))}, RowDomain::logit_rows);
      check(ids);
    }
  }
}

// Angles at positions on both sides of the tables' step, the rotation of whole heads and of their
// first columns, and rotated keys and values in their pages.
TEST_P(CpuKernels, Rotary) {
  for (int64_t turned : {22, 12, 2})
    checkRotary(*h, turned);
}

/// The rows of a buffer, or a weight as one row or a matrix.
reference::Rows rowsOf(const Buffer &b) {
  int64_t rows = b.spec.rowStride ? b.rows : b.spec.dims.size() > 1 ? b.spec.dims.front() : 1;
  reference::Rows result(rows, b.columns());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < b.columns(); ++c)
      result.at(r, c) = b.at(r, c);
  return result;
}

/// Two sequences that begin, of nine and four tokens.
struct Begun {
  explicit Begun(Harness &h)
      : starts(h.indices("sequence_starts", {0, 9, kRows})), slots(h.indices("slots", {1, 0})),
        positions(h.indices("positions", {0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3})) {
    batch.sequenceStarts = {0, 9, kRows};
    batch.slots = {1, 0};
    for (double position : positions.values)
      batch.positions.push_back(static_cast<int32_t>(position));
    batch.tokens.resize(kRows);
  }
  static constexpr m1_dims dims = {kRows, 2, kRows, 1};
  Buffer starts, slots, positions;
  ReferenceBatch batch;
};

/// Two slots.
Buffer pool(Harness &h, std::vector<int64_t> dims) {
  std::vector<int64_t> all = {2};
  all.insert(all.end(), dims.begin(), dims.end());
  Buffer state = h.input("state", "f32", all);
  state.spec.dims.assign(dims.begin(), dims.end());
  return state;
}

/// Negative values.
Buffer decays(Harness &h, const char *role, std::vector<int64_t> dims) {
  Buffer a = h.input(role, "f32", dims);
  for (size_t i = 0; i < a.values.size(); ++i)
    h.set(a, i, -std::abs(a.values[i]) - 0.1);
  return a;
}

// The hand-written mixers get what the specification says: heads of B and C by their columns, head
// sizes that are not the state's, strides and types of each operand, the window.
TEST_P(CpuKernels, SelectiveScanOfSharedHeads) {
  constexpr int64_t channels = 24, states = 5;
  Begun begun(*h);
  Buffer x = h->input("x", "bf16", {channels}, 30), dt = h->input("dt", "f32", {channels}, 24),
         a = decays(*h, "a", {channels, states}), b = h->input("b", "f32", {states}, 11),
         c = h->input("c", "bf16", {2 * states}, 12), state = pool(*h, {channels, states}),
         out = h->output("out", "f32", {channels}, 25);
  for (size_t i = 0; i < dt.values.size(); ++i)
    h->set(dt, i, std::abs(dt.values[i]));
  h->run("selective_scan",
         {&x, &dt, &a, &b, &c, &state, &begun.starts, &begun.slots, &begun.positions, &out}, {},
         RowDomain::tokens, Begun::dims);
  reference::Pool pools;
  reference::Rows want;
  ASSERT_TRUE(reference::selectiveScan(rowsOf(x), rowsOf(dt), rowsOf(a), rowsOf(b), rowsOf(c),
                                       begun.batch, pools, want));
  h->expect(out, [&](int64_t t, int64_t i) { return want.at(t, i); }, 10);
}

TEST_P(CpuKernels, SsdScanOfGroups) {
  constexpr int64_t heads = 6, size = 10, states = 16, groups = 3;
  Begun begun(*h);
  Buffer x = h->input("x", "f32", {heads * size}, 61), dt = h->input("dt", "bf16", {heads}, 7),
         a = decays(*h, "a", {heads}), b = h->input("b", "bf16", {groups * states}, 50),
         c = h->input("c", "f32", {groups * states}, 49), d = h->input("d", "f32", {heads}),
         state = pool(*h, {heads, size, states}), out = h->output("out", "f32", {heads * size}, 60);
  for (size_t i = 0; i < dt.values.size(); ++i)
    h->set(dt, i, std::abs(dt.values[i]));
  h->run("ssd_scan",
         {&x, &dt, &a, &b, &c, &d, &state, &begun.starts, &begun.slots, &begun.positions, &out}, {},
         RowDomain::tokens, Begun::dims);
  reference::Pool pools;
  reference::Rows want;
  ASSERT_TRUE(reference::ssdScan(rowsOf(x), rowsOf(dt), rowsOf(a), rowsOf(b), rowsOf(c), states,
                                 begun.batch, pools, want));
  h->expect(
      out, [&](int64_t t, int64_t i) { return want.at(t, i) + d.at(0, i / size) * x.at(t, i); },
      10);
}

TEST_P(CpuKernels, GatedDelta) {
  constexpr int64_t heads = 4, keyHeads = 2, keys = 12, values = 20;
  Begun begun(*h);
  Buffer q = h->input("q", "f32", {keyHeads * keys}, 30),
         k = h->input("k", "bf16", {keyHeads * keys}, 24),
         v = h->input("v", "f32", {heads * values}, 81), a = h->input("a", "bf16", {heads}, 4),
         b = h->input("b", "f32", {heads}, 5), decay = decays(*h, "decay", {heads}),
         bias = h->input("dt_bias", "f32", {heads}), state = pool(*h, {heads, keys, values}),
         out = h->output("out", "f32", {heads * values}, 80);
  h->run("gated_delta",
         {&q, &k, &v, &a, &b, &decay, &bias, &state, &begun.starts, &begun.slots, &begun.positions,
          &out},
         {param("eps", h->real(1e-6)), param("scale", h->real(0.25))}, RowDomain::tokens,
         Begun::dims);
  reference::Pool pools;
  reference::Rows want, biases = rowsOf(bias);
  ASSERT_TRUE(reference::gatedDelta(rowsOf(q), rowsOf(k), rowsOf(v), rowsOf(a), rowsOf(b),
                                    rowsOf(decay), &biases, {heads, keys, values, 1e-6, 0.25},
                                    begun.batch, pools, want));
  h->expect(out, [&](int64_t t, int64_t i) { return want.at(t, i); });
}

TEST_P(CpuKernels, AttentionWindow) {
  constexpr int64_t heads = 4, kvHeads = 2, d = 6;
  Begun begun(*h);
  begun.batch.contextLengths = {9, 4};
  begun.batch.maxPages = 1;
  begun.batch.blockTables = {2, 1};
  reference::CacheShape shape{kvHeads, 64, d};
  reference::Pool pages;
  Buffer q = h->input("q", "f32", {heads * d}, 25), k = h->input("k", "f32", {kvHeads * d}, 12),
         v = h->input("v", "f32", {kvHeads * d}, 12),
         out = h->output("out", "f32", {heads * d}, 24),
         cache = h->input("cache", "f32", {3, 2, kvHeads, 64, d}),
         lengths = h->indices("context_lengths", {9, 4}),
         tables = h->indices("block_tables", {2, 1});
  reference::writeCache(rowsOf(k), rowsOf(v), begun.batch, shape, pages);
  for (const auto &[page, values] : pages)
    for (size_t i = 0; i < values.size(); ++i)
      if (!std::isnan(values[i]))
        h->set(cache, page * values.size() + i, values[i]);
  cache.spec.dims = {kvHeads, 64, d};
  for (int64_t window : {1, 3, 100}) {
    h->run("attention", {&q, &cache, &begun.starts, &lengths, &tables, &out},
           {param("scale", h->real(0.5)), param("window", h->integer(window))}, RowDomain::tokens,
           Begun::dims);
    reference::Rows want;
    ASSERT_TRUE(reference::attention(rowsOf(q), 0.5, window, begun.batch, shape, pages, want));
    h->expect(out, [&](int64_t t, int64_t i) { return want.at(t, i); });
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuKernels,
                         testing::Values("x86-64-v3", "x86-64-v4", "sapphirerapids", "native"),
                         [](auto &info) {
                           std::string name = info.param;
                           for (char &c : name)
                             c = c == '-' ? '_' : c;
                           return name;
                         });

} // namespace
