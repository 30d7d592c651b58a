// What generated CPU kernels hold beyond the table of op cases (test/Ops): independence of the
// batch bit for bit, the range of formulas, samples of strange logits, margins that stay as they
// were. Each compiled for every instruction set that this machine has, and run over its grid.
#include "M1/IR/Int4.h"
#include "M1/IR/Scalars.h"
#include "m1c/CpuTarget.h"
#include "m1k_abi.h"
#include "mlir/IR/MLIRContext.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <sys/mman.h>
#include <sys/syscall.h>
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

  int64_t columns() const { return spec.dims.empty() ? 1 : spec.dims.back(); }
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
           : name == std::string("f16") ? mlir::Type(mlir::Float16Type::get(&context))
           : name == std::string("i8")  ? mlir::Type(mlir::IntegerType::get(&context, 8))
           : name == std::string("i32") ? mlir::Type(mlir::IntegerType::get(&context, 32))
                                        : mlir::Type(mlir::Float32Type::get(&context));
  }
  mlir::Attribute integer(int64_t value) {
    return mlir::IntegerAttr::get(mlir::IntegerType::get(&context, 64), value);
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
  /// Random int4 [n, k] in bytes; its values are not looked at.
  Buffer int4(const std::string &role, int64_t n, int64_t k) {
    Buffer b;
    b.spec.role = role;
    b.spec.element = mlir::IntegerType::get(&context, 8, mlir::IntegerType::Unsigned);
    b.spec.dims.assign({n, mlir::m1::int4RowBytes(k)});
    // What fills up the last block counts for nothing.
    b.bytes.resize(static_cast<size_t>(n * b.spec.dims[1]));
    for (char &byte : b.bytes)
      byte = static_cast<char>(random());
    return b;
  }
  /// Scales of two levels of n rows of k columns; `values` are what they stand for, of each group
  /// the scale and, of those that have some, the minimum.
  Buffer levels(int64_t n, int64_t k, bool hasMinimums) {
    Buffer b;
    b.spec.role = "scale";
    b.spec.element = type("i8");
    b.spec.dims.assign({n, k / 128, hasMinimums ? 12 : 10});
    auto half = [&](float value) {
      const auto rounded = static_cast<_Float16>(value);
      const auto *bytes = reinterpret_cast<const char *>(&rounded);
      b.bytes.insert(b.bytes.end(), bytes, bytes + 2);
      return static_cast<double>(rounded);
    };
    std::normal_distribution<float> normal;
    for (int64_t block = 0; block < n * k / 128; ++block) {
      const double s = half(normal(random)), m = hasMinimums ? half(normal(random)) : 0;
      std::array<uint8_t, 8> ofGroups;
      for (uint8_t &level : ofGroups)
        level = static_cast<uint8_t>(random() % (hasMinimums ? 64 : 256));
      b.bytes.insert(b.bytes.end(), ofGroups.begin(), ofGroups.end());
      for (int g = 0; g < (hasMinimums ? 4 : 8); ++g) {
        b.values.push_back(s * (hasMinimums ? ofGroups[g] : static_cast<int8_t>(ofGroups[g])));
        if (hasMinimums)
          b.values.push_back(m * ofGroups[4 + g]);
      }
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
  void set(Buffer &b, size_t i, double value) {
    if (b.spec.element.isBF16()) {
      uint16_t bits = toBf16(static_cast<float>(value));
      std::memcpy(&b.bytes[2 * i], &bits, 2);
      b.values[i] = fromBf16(bits);
    } else if (b.spec.element.isF16()) {
      const auto half = static_cast<_Float16>(value);
      std::memcpy(&b.bytes[2 * i], &half, 2);
      b.values[i] = half;
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
        } else if (!buffer->spec.element.isF16()) {
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

class CpuKernels : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    auto native = resolveCpu("native"), wanted = resolveCpu(GetParam());
    ASSERT_TRUE(bool(native) && bool(wanted));
    for (const std::string &feature : wanted->requiredFeatures)
      if (!llvm::is_contained(native->requiredFeatures, feature))
        GTEST_SKIP() << "this CPU lacks " << feature;
    constexpr int requestPermission = 0x1023, tileData = 18; // ARCH_REQ_XCOMP_PERM
    if (wanted->amxBf16 && syscall(SYS_arch_prctl, requestPermission, tileData) != 0)
      GTEST_SKIP() << "the system denies AMX";
    h = std::make_unique<Harness>(*wanted);
  }
  mlir::NamedAttribute param(const char *name, mlir::Attribute value) {
    return {mlir::StringAttr::get(&h->context, name), value};
  }
  std::unique_ptr<Harness> h;
};

// A token's result does not depend on how many others are in the step: bit for bit. Where tile
// registers take steps of eight tokens and more, among these. Long rows and those of groups are
// more than what is unpacked at a time for several tiles of tokens, others are not.
TEST_P(CpuKernels, LinearIsIndependentOfTheBatch) {
  for (const std::string name :
       {"bf16", "bf16 in long rows", "i8", "i8 in long rows", "i4", "i8 in groups",
        "i8 in groups of 16", "i4 with minimums", "i8 with minimums", "i4 with minimums in levels",
        "i8 with minimums in levels"}) {
    const std::string type = name.substr(0, name.find(' '));
    const bool hasMinimums = name.find("minimums") != std::string::npos, isInt4 = type == "i4",
               isOfGroups = isInt4 || hasMinimums || name.find("groups") != std::string::npos,
               twoLevels = name == "i8 in groups of 16" || name.find("levels") != std::string::npos;
    const int64_t k = twoLevels      ? 2048 + 256
                      : isOfGroups   ? 2048 + 241
                      : name != type ? 2048 + 100
                                     : 100;
    Buffer x = h->input("x", "bf16", {k}, k),
           w = isInt4 ? h->int4("weight", 37, k) : h->input("weight", type.c_str(), {37, k}),
           scale = twoLevels     ? h->levels(37, k, hasMinimums)
                   : hasMinimums ? h->input("scale", "f32", {37, isInt4 ? 72 : 18, 2})
                   : isInt4      ? h->input("scale", "bf16", {37, 36})
                   : isOfGroups  ? h->input("scale", "f16", {37, 72})
                                 : h->input("scale", "f32", {37});
    auto run = [&](Buffer &rows, Buffer &out, int count) {
      std::vector<Buffer *> operands = {&rows, &w, &out};
      if (type != "bf16")
        operands.insert(operands.begin() + 2, &scale);
      h->run("linear", operands, {}, RowDomain::tokens, {count, 1, 1, 1});
    };
    Buffer all = h->output("out", "f32", {37}, 42);
    run(x, all, kRows);
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t n = 37; n < 42; ++n)
        ASSERT_EQ(all.at(row, n), 77) << "between rows " << row << " and " << row + 1;
    // The last rows by themselves: one, those of a tile, those of two tiles of four.
    for (int count : h->cpu.amxBf16 ? std::vector<int>{8, 9, 12} : std::vector<int>{1, 5, 8}) {
      const int64_t first = kRows - count;
      Buffer some = h->input("x", "bf16", {k}, k, count),
             out = h->output("out", "f32", {37}, 37, count);
      for (int64_t i = 0; i < count * k; ++i)
        h->set(some, static_cast<size_t>(i), x.values[first * k + i]);
      run(some, out, count);
      for (int64_t row = 0; row < count; ++row)
        for (int64_t n = 0; n < 37; ++n)
          ASSERT_EQ(out.at(row, n), all.at(first + row, n))
              << name << " row " << row << " of " << count << " column " << n;
    }
  }
}

// Integers in groups stand for code · scale - minimum, also where they are fewer than a group at
// the end of a row: of bf16 weights are rounded to bf16, but with AVX2; of f32 they are not.
TEST_P(CpuKernels, LinearOfGroupsAgreesWithItsFormula) {
  struct Weights {
    const char *scale; // two levels: i8
    int64_t group;
    bool isInt4, hasMinimums;

    bool twoLevels() const { return scale == std::string("i8"); }
  };
  for (const Weights &form : {Weights{"f16", 32, true, false}, Weights{"bf16", 64, false, false},
                              Weights{"i8", 16, false, false}, Weights{"i8", 32, true, true},
                              Weights{"i8", 32, false, true}, Weights{"f32", 32, true, true},
                              Weights{"f32", 64, true, true}, Weights{"f32", 128, true, true},
                              Weights{"f32", 32, false, true}, Weights{"f32", 128, false, true}})
    for (const int64_t k : {int64_t(form.twoLevels() ? 2048 + 384 : 2048 + 241),
                            int64_t(form.twoLevels() ? 128 : 47)})
      for (const char *type : {"f32", "bf16"}) {
        constexpr int64_t n = 6;
        const int64_t groups = mlir::m1::groupsOf(k, form.group);
        Buffer x = h->input("x", type, {k}, k, 19),
               w = form.isInt4 ? h->int4("weight", n, k) : h->input("weight", "i8", {n, k}),
               scale = form.twoLevels()   ? h->levels(n, k, form.hasMinimums)
                       : form.hasMinimums ? h->input("scale", form.scale, {n, groups, 2})
                                          : h->input("scale", form.scale, {n, groups}),
               out = h->output("out", "f32", {n}, n, 19);
        for (size_t i = 0; !form.twoLevels() && i < scale.values.size(); ++i) // exact times codes
          h->set(scale, i, fromBf16(toBf16(static_cast<float>(scale.values[i]))));
        h->run("linear", {&x, &w, &scale, &out}, {}, RowDomain::tokens, {19, 1, 1, 1});
        for (int64_t t = 0; t < 19; ++t)
          for (int64_t i = 0; i < n; ++i) {
            double sum = 0, size = 0;
            for (int64_t c = 0; c < k; ++c) {
              const mlir::m1::Int4Place place = mlir::m1::int4Place(c);
              int code = 0;
              if (form.isInt4) {
                const auto row = static_cast<size_t>(i * mlir::m1::int4RowBytes(k) + place.byte);
                code = static_cast<uint8_t>(w.bytes[row]) >> place.shift & 15;
                if (code >= 8 && !form.hasMinimums)
                  code -= 16;
              } else {
                code = static_cast<int8_t>(w.bytes[static_cast<size_t>(i * k + c)]);
              }
              const auto g = static_cast<size_t>(i * groups + c / form.group);
              double weight = form.hasMinimums
                                  ? code * scale.values[2 * g] - scale.values[2 * g + 1]
                                  : code * scale.values[g];
              if (h->cpu.avx512Bf16 && type == std::string("bf16"))
                weight = fromBf16(toBf16(static_cast<float>(weight)));
              sum += x.at(t, c) * weight;
              size += std::abs(x.at(t, c) * weight);
            }
            // Sums in f32 of numbers that have as many digits.
            ASSERT_NEAR(out.at(t, i), sum, 2e-6 * size)
                << form.scale << " of " << form.group << (form.isInt4 ? ", int4, " : ", int8, ")
                << k << " columns, " << type << ": " << t << ", " << i;
          }
      }
}

// Every formula, over a width with a rest of every power of two; nothing between the rows is
// written.
TEST_P(CpuKernels, Formulas) {
  namespace scalars = mlir::m1::scalars;
  constexpr int64_t n = 16 + 15;
  Buffer a = h->input("a", "f32", {n}, n), out = h->output("out", "f32", {n}, n + 2);
  h->set(a, 0, 100); // where the exponential would overflow
  h->set(a, 1, -100);
  h->set(a, 2, 0);
  auto run = [&](std::vector<Buffer *> buffers, mlir::m1::ScalarBody body) {
    auto code = mlir::m1::encodeBody(&h->context, unsigned(buffers.size()) - 1, body);
    h->run("map", buffers, {param("body", code)});
  };
  using B = mlir::ImplicitLocOpBuilder;
  auto unary = [&](mlir::m1::ScalarFormula formula, double (*want)(double)) {
    run({&a, &out}, [&](B &b, mlir::ValueRange v) { return formula(b, v[0]); });
    h->expect(out, [&](int64_t t, int64_t c) { return want(a.at(t, c)); }, 10);
  };
  unary(scalars::silu, silu);
  unary(scalars::sigmoid, [](double v) { return 1 / (1 + std::exp(-v)); });
  unary(scalars::softplus, [](double v) { return v > 30 ? v : std::log1p(std::exp(v)); });
  // By the names of transformers' ACT2FN, with its formulas (src/transformers/activations.py).
  const std::pair<std::vector<const char *>, double (*)(double)> activations[] = {
      {{"gelu", "gelu_python"},
       [](double v) { return v / 2 * (1 + std::erf(v * std::sqrt(0.5))); }},
      {{"gelu_10"},
       [](double v) {
         return std::clamp(v / 2 * (1 + std::erf(v * std::sqrt(0.5))), -10.0, 10.0);
       }},
      {{"gelu_new", "gelu_accurate", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh"},
       [](double v) {
         return v / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
       }},
      {{"laplace"},
       [](double v) { return 0.5 * (1 + std::erf((v - 0.707107) / (0.282095 * std::sqrt(2.0)))); }},
      {{"leaky_relu"}, [](double v) { return v > 0 ? v : 0.01 * v; }},
      {{"linear"}, [](double v) { return v; }},
      {{"mish"}, [](double v) { return v * std::tanh(std::log1p(std::exp(v))); }},
      {{"quick_gelu"}, [](double v) { return v / (1 + std::exp(-1.702 * v)); }},
      {{"relu"}, [](double v) { return std::max(v, 0.0); }},
      {{"relu2"}, [](double v) { return v > 0 ? v * v : 0; }},
      {{"relu6"}, [](double v) { return std::clamp(v, 0.0, 6.0); }},
      {{"sigmoid"}, [](double v) { return 1 / (1 + std::exp(-v)); }},
      {{"silu", "swish"}, silu},
      {{"tanh"}, [](double v) { return std::tanh(v); }},
  };
  size_t count = 0;
  for (const auto &[names, want] : activations) {
    SCOPED_TRACE(names[0]);
    const mlir::m1::ScalarFormula formula = mlir::m1::findActivation(names[0]);
    ASSERT_TRUE(formula);
    unary(formula, want);
    for (const char *name : names)
      EXPECT_EQ(mlir::m1::findActivation(name), formula) << name;
    count += names.size();
  }
  EXPECT_EQ(llvm::StringRef(mlir::m1::activationNames()).count(' '), count);
  unary([](B &b, mlir::Value x) { return scalars::softCap(b, x, 5); },
        [](double v) { return 5 * std::tanh(v / 5); });
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

// A recurrence in pieces is the recurrence as a whole, bit for bit, and agrees with float64:
// sequences of one token, of odd lengths and of none between others, in slots in any order, some of
// which start and some go on; a slot that no sequence has stays as it was.
TEST_P(CpuKernels, RgLru) {
  auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  for (int64_t channels : {1, 31, 151, 256}) {
    const std::vector<int> lengths = {5, 0, 1, 7}, slots = {3, 1, 0, 4}, before = {0, 0, 9, 1};
    Buffer x = h->input("x", "f32", {channels}, channels + 3),
           i = h->input("input_gate", "bf16", {channels}, channels),
           r = h->input("recurrence_gate", "f32", {channels}, channels + 1),
           lambda = h->input("lambda", "f32", {channels}),
           out = h->output("out", "f32", {channels}, channels + 2);
    Buffer state = h->input("state", "f32", {channels});
    // Of five slots.
    std::vector<double> slotValues(5 * channels);
    state.values.resize(5 * channels);
    state.bytes.resize(5 * channels * 4);
    for (int64_t at = 0; at < 5 * channels; ++at)
      h->set(state, at, slotValues[at] = std::sin(double(at)));
    for (int64_t at = 0; at < 5 * channels; ++at)
      slotValues[at] = state.values[at];
    auto run = [&](const std::vector<int> &starts, const std::vector<int> &positions) {
      const int sequences = int(starts.size()) - 1;
      auto array = [&](const char *role, const std::vector<int> &values) {
        Buffer b = h->input(role, "i32", {}, 1, int64_t(values.size()));
        for (size_t at = 0; at < values.size(); ++at)
          h->set(b, at, values[at]);
        return b;
      };
      Buffer sequenceStarts = array("sequence_starts", starts), slotOf = array("slots", slots),
             position = array("positions", positions);
      for (Buffer *b : {&sequenceStarts, &slotOf, &position})
        b->spec.rowStride = 0;
      h->run("rg_lru", {&x, &i, &r, &lambda, &state, &sequenceStarts, &slotOf, &position, &out}, {},
             RowDomain::tokens, {kRows, sequences, kRows, 1});
    };
    std::vector<int> starts = {0}, positions;
    for (size_t s = 0; s < lengths.size(); ++s) {
      starts.push_back(starts.back() + lengths[s]);
      for (int t = 0; t < lengths[s]; ++t)
        positions.push_back(before[s] + t);
    }
    ASSERT_EQ(starts.back(), kRows);
    const std::vector<double> kept = slotValues;
    run(starts, positions);
    // In float64.
    std::vector<double> want(kRows * channels);
    for (size_t s = 0; s < lengths.size(); ++s)
      for (int t = starts[s]; t < starts[s + 1]; ++t)
        for (int64_t c = 0; c < channels; ++c) {
          double &value = slotValues[slots[s] * channels + c];
          double logA = -8 * std::log1p(std::exp(lambda.values[c])) * sigmoid(r.at(t, c));
          double input = sigmoid(i.at(t, c)) * x.at(t, c);
          value = positions[t] == 0
                      ? input
                      : std::exp(logA) * value + std::sqrt(-std::expm1(2 * logA)) * input;
          want[t * channels + c] = value;
        }
    h->expect(out, [&](int64_t t, int64_t c) { return want[t * channels + c]; });
    for (int64_t at = 0; at < 5 * channels; ++at)
      ASSERT_NEAR(state.values[at], slotValues[at], 1e-5) << "state " << at;
    for (int64_t c = 0; c < channels; ++c) {
      ASSERT_EQ(state.values[2 * channels + c], kept[2 * channels + c]);
      ASSERT_EQ(state.values[1 * channels + c], kept[1 * channels + c]) << "of no tokens";
    }
    // Again in two steps: one token of the first and four of the last, then the rest.
    const std::vector<char> whole = out.bytes, wholeState = state.bytes;
    for (int64_t at = 0; at < 5 * channels; ++at)
      h->set(state, at, kept[at]);
    // Rows stay where they are: a step's sequences may end before the next one begins.
    run({0, 1, 1, 1, 1}, positions);
    run({1, 5, 5, 6, 13}, positions);
    EXPECT_TRUE(out.bytes == whole && state.bytes == wholeState);
  }
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

INSTANTIATE_TEST_SUITE_P(Cpu, CpuKernels,
                         testing::Values("x86-64-v3", "x86-64-v4", "sapphirerapids", "native"),
                         [](auto &info) {
                           std::string name = info.param;
                           for (char &c : name)
                             c = c == '-' ? '_' : c;
                           return name;
                         });

} // namespace
