// The cuda target's kernels at the sizes of M1-3B, of its Mamba-2 variant and at sizes that fit no
// vector: all compile for every supported GPU generation, none spills on sm_90, and each stays
// within the registers that its launch leaves it. Needs the CUDA toolkit, no GPU.
#include "CubinResources.h"
#include "HandTuned.h"
#include "M1/IR/Scalars.h"
#include "Plan/Plan.h"
#include "Toolchain.h"
#include "m1c/CudaTarget.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/Error.h"
#include <gtest/gtest.h>

#include <algorithm>

using namespace m1c;
using namespace mlir;

namespace {

/// Collects launches; every operand is a temporary, misaligned by `viewOffset` bytes.
class Emitter : public PlanEmitter {
public:
  Emitter(MLIRContext &context) : b(&context) {
    context.loadDialect<m1::M1Dialect, plan::PlanDialect>();
    module = ModuleOp::create(b, b.getUnknownLoc());
    b.setInsertionPointToEnd(module->getBody());
  }
  void begin(const KernelSpec &spec, uint64_t viewOffset) {
    this->spec = &spec;
    operands.clear();
    for (size_t i = 0; i < spec.operands.size(); ++i) {
      Value buffer = temporary(RowDomain::tokens, 256);
      if (viewOffset)
        buffer = plan::ViewOp::create(b, b.getUnknownLoc(), plan::BufferType::get(b.getContext()),
                                      buffer, viewOffset);
      operands.push_back(buffer);
    }
  }
  Value operand(size_t i) const override { return operands[i]; }
  Value temporary(RowDomain rows, uint64_t bytes) override {
    return plan::TemporaryOp::create(b, b.getUnknownLoc(), plan::BufferType::get(b.getContext()),
                                     static_cast<plan::RowDomain>(rows), bytes, IntegerAttr());
  }
  std::string launch(const KernelChoice &choice, ArrayRef<Value>, size_t) override {
    declare(choice);
    return choice.name;
  }
  void gemm(const GemmChoice &) override { ++gemms; }
  bool declare(const KernelChoice &choice) override {
    if (!keys.try_emplace(choice.key, choice).second)
      return false;
    CudaKernel kernel{choice.name, choice.source, *spec};
    for (auto [name, value] : choice.shape)
      (name == "width" ? kernel.width : kernel.gridX) = unsigned(value);
    kernel.blockSize = choice.blockSize;
    kernels.push_back(std::move(kernel));
    return true;
  }
  InFlightDiagnostic error() override { return emitError(b.getUnknownLoc()); }

  std::map<std::string, KernelChoice> keys;
  std::vector<CudaKernel> kernels;
  int gemms = 0;

private:
  OpBuilder b;
  OwningOpRef<ModuleOp> module;
  const KernelSpec *spec = nullptr;
  std::vector<Value> operands;
};

class CudaKernels : public testing::Test {
protected:
  MLIRContext context;

  void SetUp() override {
    auto toolchain = cuda::Toolchain::open();
    if (!toolchain)
      GTEST_SKIP() << llvm::toString(toolchain.takeError());
    emitter = std::make_unique<Emitter>(context);
  }

  Type f32 = Float32Type::get(&context), bf16 = BFloat16Type::get(&context),
       i32 = IntegerType::get(&context, 32);
  Attribute integer(int64_t value) {
    return IntegerAttr::get(IntegerType::get(&context, 64), value);
  }
  Attribute real(double value) { return FloatAttr::get(Float32Type::get(&context), value); }

  static OperandSpec rows(const char *role, Type type, int64_t columns, int64_t stride = 0) {
    return {role, type, {columns}, stride ? stride : columns};
  }
  static OperandSpec weight(const char *role, Type type, SmallVector<int64_t> dims) {
    return {role, type, dims, 0};
  }
  OperandSpec array(const char *role) { return {role, i32, {}, 0}; }

  void select(const char *op, std::vector<OperandSpec> operands,
              std::vector<std::pair<const char *, Attribute>> params = {}, bool decode = false,
              uint32_t maxRows = 0, size_t outputs = 1) {
    KernelSpec spec;
    spec.op = op;
    NamedAttrList list;
    for (auto &[name, value] : params)
      list.set(name, value);
    spec.params = list.getDictionary(&context);
    spec.operands.assign(operands.begin(), operands.end());
    spec.decode = decode;
    spec.maxRows = maxRows;
    spec.outputs = outputs;
    emitter->begin(spec, viewOffset);
    ASSERT_TRUE(succeeded(selector.select(spec, *emitter))) << op;
  }

  /// What a decoder of these sizes asks for, activations of type `act`.
  void selectModel(Type act, int64_t d, int64_t heads, int64_t kvHeads, int64_t headDim,
                   int64_t mlp, int64_t vocabulary) {
    int64_t q = heads * headDim, kv = kvHeads * headDim, qkv = q + 2 * kv;
    select("embedding",
           {array("tokens"), weight("table", bf16, {vocabulary, d}), rows("out", f32, d)});
    select("rms_norm", {rows("x", f32, d), weight("weight", f32, {d}), rows("out", act, d)},
           {{"eps", real(1e-5)}, {"groups", integer(1)}});
    select("rms_norm",
           {rows("x", act, q, qkv), weight("weight", f32, {headDim}), rows("out", act, q)},
           {{"eps", real(1e-5)}, {"groups", integer(heads)}});
    select("add_rms_norm",
           {rows("residual", f32, d), rows("x", act, d), weight("weight", f32, {d}),
            rows("sum", f32, d), rows("normed", act, d)},
           {{"eps", real(1e-5)}}, false, 0, 2);
    auto code = [&](m1::ScalarFormula formula) {
      return std::pair<const char *, Attribute>(
          "body", m1::encodeBody(&context, 1, [&](ImplicitLocOpBuilder &b, ValueRange v) {
            return formula(b, v[0]);
          }));
    };
    select("map",
           {rows("a", act, mlp, 2 * mlp), rows("b", act, mlp, 2 * mlp), rows("out", act, mlp)},
           {{"body", m1::encodeGate(&context, m1::scalars::silu)}});
    for (m1::ScalarFormula formula :
         {m1::scalars::silu, m1::scalars::sigmoid, m1::scalars::softplus, m1::scalars::relu2,
          m1::scalars::gelu, m1::scalars::geluTanh})
      select("map", {rows("x", act, mlp), rows("out", act, mlp)}, {code(formula)});
    // A value shared by the columns of a head.
    select(
        "map",
        {rows("y", f32, q), rows("x", act, q), weight("d", f32, {heads}), rows("out", act, q)},
        {{"body", m1::encodeBody(&context, 3, [](ImplicitLocOpBuilder &b, ValueRange v) -> Value {
            return math::FmaOp::create(b, v[2], v[1], v[0]);
          })}});
    select("repeat_heads", {rows("x", act, kv), rows("out", act, kv * 3)},
           {{"head_size", integer(headDim)}, {"repeat", integer(3)}});
    select("gather_rows", {rows("x", f32, d), array("logit_rows"), rows("out", f32, d)});
    select("rotary_table", {array("positions"), weight("hi", f32, {16, headDim / 2, 2}),
                            weight("lo", f32, {256, headDim / 2, 2}), rows("out", f32, headDim)});
    for (int64_t turned : {headDim, headDim / 4 * 2}) {
      select("rotary_embedding",
             {rows("x", act, q, qkv), rows("table", f32, turned), rows("out", act, q)},
             {{"head_dim", integer(headDim)}});
    }
    std::vector<OperandSpec> cache = {weight("cache", act, {kvHeads, 64, headDim}),
                                      array("positions"), array("token_sequence"),
                                      array("block_tables")};
    std::vector<OperandSpec> write = {rows("q", act, q, qkv), rows("k", act, kv, qkv),
                                      rows("v", act, kv, qkv), rows("table", f32, headDim)};
    write.insert(write.end(), cache.begin(), cache.end());
    write.push_back(rows("out", act, q));
    select("rotary_kv_write", write);
    write[3] = rows("table", f32, headDim / 4 * 2);
    select("rotary_kv_write", write);
    write = {rows("k", act, kv, qkv), rows("v", act, kv, qkv)};
    write.insert(write.end(), cache.begin(), cache.end());
    select("kv_write", write, {}, false, 0, 0);
    select("sample", {rows("logits", f32, vocabulary), {"out", i32, {}, 1}});
    select("sample", {rows("logits", f32, vocabulary), {"out", i32, {}, 1}},
           {{"ids", integer(vocabulary - 3)}});
    for (bool decode : {false, true})
      select("attention",
             {rows("q", act, q), weight("cache", act, {kvHeads, 64, headDim}),
              array("sequence_starts"), array("context_lengths"), array("block_tables"),
              rows("out", act, q)},
             {{"scale", real(0.1)}, {"window", integer(0)}}, decode);
    select("linear", {rows("x", act, d), weight("weight", bf16, {qkv, d}), rows("out", act, qkv)});
    select("linear", {rows("x", act, d), weight("weight", bf16, {qkv, d}), rows("out", act, qkv)},
           {}, true, 8);
  }

  void selectMamba1(Type act, int64_t dInner, int64_t dXb, int64_t n, int64_t width) {
    int64_t in = 2 * dInner + 2 * dXb;
    std::vector<OperandSpec> batch = {array("sequence_starts"), array("slots"), array("positions")};
    for (bool decode : {false, true}) {
      std::vector<OperandSpec> operands = {
          rows("x", act, dXb, in), weight("weight", f32, {dInner, width}),
          weight("bias", f32, {dInner}), weight("state", act, {width - 1, dXb})};
      operands.insert(operands.end(), batch.begin(), batch.end());
      operands.push_back(rows("out", act, dInner));
      select("causal_conv1d", operands,
             {{"activation", m1::ActivationAttr::get(&context, m1::Activation::Silu)},
              {"repeat", integer(dInner / dXb)},
              {"head_size", integer(n)}},
             decode);
      operands = {rows("x", act, dInner),           rows("dt", act, dInner),
                  weight("a", f32, {dInner, n}),    rows("b", act, dXb, in),
                  rows("c", act, dInner, in),       weight("d", f32, {dInner}),
                  rows("z", act, dInner, in),       weight("dt_bias", f32, {dInner}),
                  weight("state", f32, {dInner, n})};
      operands.insert(operands.end(), batch.begin(), batch.end());
      operands.push_back(rows("out", act, dInner));
      select("selective_scan", operands, {{"delta_softplus", UnitAttr::get(&context)}}, decode);
    }
  }

  void selectMamba2(Type act, int64_t heads, int64_t n, int64_t dXb) {
    int64_t dInner = heads * n;
    for (bool decode : {false, true})
      select("ssd_scan",
             {rows("x", act, dXb), rows("dt", act, heads), weight("a", f32, {heads}),
              rows("b", act, dXb), rows("c", act, dInner), weight("d", f32, {heads}),
              weight("dt_bias", f32, {heads}), weight("state", f32, {heads, n, n}),
              array("sequence_starts"), array("slots"), array("positions"),
              rows("out", act, dInner)},
             {{"delta_softplus", UnitAttr::get(&context)}}, decode);
    select("gated_rms_norm",
           {rows("y", act, dInner), rows("z", act, dInner), weight("weight", f32, {dInner}),
            rows("out", act, dInner)},
           {{"groups", integer(heads)}, {"eps", real(1e-5)}});
  }

  /// What Qwen3-Next's linear attention asks for.
  void selectGatedDelta(Type act, int64_t heads, int64_t keyHeads, int64_t keys, int64_t values) {
    for (bool decode : {false, true})
      select("gated_delta",
             {rows("q", act, keyHeads * keys), rows("k", act, keyHeads * keys),
              rows("v", act, heads * values), rows("a", act, heads), rows("b", act, heads),
              weight("decay", f32, {heads}), weight("dt_bias", f32, {heads}),
              weight("state", f32, {heads, keys, values}), array("sequence_starts"), array("slots"),
              array("positions"), rows("out", act, heads * values)},
             {{"eps", real(1e-6)}, {"scale", real(0.1)}}, decode);
    select(
        "gated_rms_norm",
        {rows("y", act, heads * values), rows("z", act, heads * values),
         weight("weight", f32, {values}), rows("out", act, heads * values)},
        {{"groups", integer(heads)}, {"eps", real(1e-6)}, {"norm_first", UnitAttr::get(&context)}});
  }

  void selectRgLru(Type act, int64_t channels) {
    for (bool decode : {false, true})
      select("rg_lru",
             {rows("x", act, channels), rows("input_gate", act, channels),
              rows("recurrence_gate", act, channels), weight("lambda", f32, {channels}),
              weight("state", f32, {channels}), array("sequence_starts"), array("slots"),
              array("positions"), rows("out", act, channels)},
             {}, decode);
  }

  /// A mixture of experts, whose first product reads the second half of an expert's rows.
  void selectExperts(Type act, int64_t d, int64_t count, int64_t chosen, int64_t size) {
    for (bool corrected : {false, true}) {
      std::vector<OperandSpec> operands = {rows("logits", f32, count)};
      std::vector<std::pair<const char *, Attribute>> params = {
          {"scale", real(1.5)}, {"groups", integer(1)}, {"kept_groups", integer(1)}};
      if (corrected) {
        operands.push_back(weight("correction", f32, {count}));
        params.push_back({"sigmoid", UnitAttr::get(&context)});
        params.push_back({"normalize", UnitAttr::get(&context)});
      }
      operands.push_back(rows("weights", f32, chosen));
      operands.push_back(rows("experts", i32, chosen));
      select("router", operands, params, false, 0, 2);
    }
    for (uint32_t maxRows : {0, 8}) {
      select("expert_linear",
             {rows("x", act, d), rows("experts", i32, chosen),
              weight("weight", bf16, {count * 2 * size, d}), rows("out", act, chosen * size)},
             {{"count", integer(count)}, {"first", integer(size)}}, maxRows > 0, maxRows);
      select("expert_linear",
             {rows("x", act, chosen * size), rows("experts", i32, chosen),
              weight("weight", bf16, {count * d, size}), rows("out", act, chosen * d)},
             {{"count", integer(count)}, {"first", integer(0)}}, maxRows > 0, maxRows);
    }
    select("combine",
           {rows("x", act, chosen * d), rows("weights", f32, chosen), rows("out", act, d)});
  }

  /// Compiles everything selected for `chips` and looks at what ptxas made of it: no kernel has a
  /// stack frame, but those that call one of ptxas's own subroutines, which keep up to
  /// `subroutineBytes` there.
  void compileAndCheck(std::vector<std::string> chips, unsigned subroutineBytes = 0) {
    std::map<std::string, KernelChoice> launches;
    for (auto &[key, choice] : emitter->keys)
      launches[choice.name] = choice;
    for (const std::string &name : chips) {
      const CudaChip &chip = *findCudaChip(name);
      OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
      OpBuilder builder = OpBuilder::atBlockEnd(module->getBody());
      auto bodies = generateCudaKernels(builder, emitter->kernels, chip);
      CodeRequest request;
      auto code = compileCudaKernels(bodies, emitter->kernels, chip, /*wantPtx=*/false, request);
      ASSERT_TRUE(bool(code)) << llvm::toString(code.takeError());
      size_t found = 0;
      for (const CodeObject &object : *code) {
        auto kernels = m1test::readResources(object.bytes);
        ASSERT_TRUE(bool(kernels)) << llvm::toString(kernels.takeError());
        for (const m1test::KernelResources &kernel : *kernels) {
          if (StringRef(kernel.symbol).starts_with("__cuda_")) // ptxas's own subroutines
            continue;
          ASSERT_TRUE(launches.count(kernel.symbol)) << kernel.symbol;
          ++found;
          // Registers are fitted to sm_90; elsewhere that may cost a few words, and so it does for
          // the sampler, whose blocks of 1024 threads leave 64 to each.
          const bool fitted = name == "sm_90" && kernel.symbol != "m1_draw_tokens";
          EXPECT_LE(kernel.localBytes, fitted ? subroutineBytes : std::max(subroutineBytes, 16u))
              << kernel.symbol << " on " << name << " spills or indexes registers at run time";
          EXPECT_LE(kernel.registers * launches[kernel.symbol].blockSize, 65536u)
              << kernel.symbol << " on " << name;
        }
      }
      EXPECT_EQ(found, launches.size()) << name;
    }
  }

  CudaSelector selector{*findCudaChip("sm_90")};
  std::unique_ptr<Emitter> emitter;
  uint64_t viewOffset = 0;
};

// The kernels of M1-3B in bf16 compile for Ampere, Hopper and Blackwell without spills.
TEST_F(CudaKernels, M1Sizes) {
  selectModel(bf16, 3072, 24, 8, 128, 8192, 128256);
  selectMamba1(bf16, 3072, 1024, 16, 4);
  selectMamba2(bf16, 24, 128, 1024);
  selectGatedDelta(bf16, 32, 16, 128, 128);
  selectRgLru(bf16, 2560);
  compileAndCheck({"sm_80", "sm_90"});
  compileAndCheck({"sm_100"}, 8);
}

// So do f32 activations, sizes that no vector divides, and buffers that begin anywhere.
TEST_F(CudaKernels, OddSizesInF32) {
  viewOffset = 4;
  selectModel(f32, 77, 3, 1, 26, 45, 131);
  selectMamba1(f32, 60, 20, 20, 2);
  selectMamba2(f32, 3, 11, 33);
  selectGatedDelta(f32, 3, 1, 11, 13);
  selectRgLru(f32, 77);
  selectExperts(f32, 77, 7, 3, 45);
  compileAndCheck({"sm_90"}, 8);
}

// Vectors are as wide as sizes and alignment allow: 8 bf16 in 16 bytes, one element at a time when
// a buffer begins at an odd one.
TEST_F(CudaKernels, Widths) {
  std::vector<std::pair<const char *, Attribute>> silu = {
      {"body", m1::encodeBody(&context, 1, [](ImplicitLocOpBuilder &b, ValueRange v) {
         return m1::scalars::silu(b, v[0]);
       })}};
  select("map", {rows("a", bf16, 3072), rows("out", bf16, 3072)}, silu);
  viewOffset = 8;
  select("map", {rows("a", bf16, 3072), rows("out", bf16, 3072)}, silu);
  viewOffset = 2;
  select("map", {rows("a", bf16, 3072), rows("out", bf16, 3072)}, silu);
  viewOffset = 0;
  select("map", {rows("a", bf16, 100), rows("out", bf16, 100)}, silu);
  // A recurrence: in decode; a thread that walks a sequence has one channel.
  selectRgLru(bf16, 2560);
  ASSERT_EQ(emitter->kernels.size(), 6u);
  EXPECT_EQ(emitter->kernels[4].width, 1u);
  EXPECT_EQ(emitter->kernels[5].width, 8u);
  EXPECT_EQ(emitter->kernels[0].width, 8u);
  EXPECT_EQ(emitter->kernels[1].width, 4u);
  EXPECT_EQ(emitter->kernels[2].width, 1u);
  EXPECT_EQ(emitter->kernels[3].width, 4u);
}

// Matrix products are library calls, in functions for few rows kernels that stream the weights.
TEST_F(CudaKernels, Linears) {
  select("linear", {rows("x", bf16, 64), weight("weight", bf16, {32, 64}), rows("out", bf16, 32)});
  EXPECT_EQ(emitter->gemms, 1);
  EXPECT_TRUE(emitter->kernels.empty());
  select("linear", {rows("x", bf16, 64), weight("weight", bf16, {32, 64}), rows("out", bf16, 32)},
         {}, true, 8);
  EXPECT_EQ(emitter->gemms, 1);
  EXPECT_EQ(emitter->kernels.size(), 1u);
}

// With weights of i8 they are kernels up to 64 rows, where rows are bf16 and K is one of the
// tiles' multiples; else library calls on what a kernel makes of the weights.
TEST_F(CudaKernels, QuantisedLinears) {
  Type i8 = IntegerType::get(&context, 8);
  auto linear = [&](Type act, int64_t k, uint32_t maxRows) {
    const int gemms = emitter->gemms;
    const size_t kernels = emitter->kernels.size();
    select("linear",
           {rows("x", act, k), weight("weight", i8, {32, k}), weight("scale", f32, {32}),
            rows("out", act, 32)},
           {}, true, maxRows);
    EXPECT_EQ(emitter->kernels.size(), kernels + 1);
    return emitter->gemms - gemms;
  };
  EXPECT_EQ(linear(bf16, 64, 8), 0);
  EXPECT_NE(emitter->kernels.back().source.find("linear.cuh"), std::string::npos);
  EXPECT_EQ(linear(f32, 64, 8), 0);
  EXPECT_EQ(linear(bf16, 64, 64), 0);
  EXPECT_NE(emitter->kernels.back().source.find("linear_tiled.cuh"), std::string::npos);
  EXPECT_EQ(linear(bf16, 64, 0), 1);
  EXPECT_NE(emitter->kernels.back().source.find("dequantize.cuh"), std::string::npos);
  EXPECT_EQ(linear(bf16, 72, 64), 1);
  EXPECT_EQ(linear(f32, 64, 64), 1);
}

// Of e4m3, up to 8 rows are streamed; more are rounded before the library's product, of codes where
// it has one, else of what a kernel makes of the weights.
TEST_F(CudaKernels, E4m3Linears) {
  Type e4m3 = Float8E4M3FNType::get(&context);
  auto linear = [&](Type act, int64_t k, uint32_t maxRows) {
    const int gemms = emitter->gemms;
    select("linear",
           {rows("x", act, k), weight("weight", e4m3, {32, k}), weight("scale", f32, {32}),
            rows("out", act, 32)},
           {}, true, maxRows);
    return emitter->gemms - gemms;
  };
  auto source = [&] { return emitter->kernels.back().source; };
  EXPECT_EQ(linear(bf16, 64, 8), 0);
  EXPECT_NE(source().find("linear.cuh"), std::string::npos);
  EXPECT_EQ(linear(f32, 64, 8), 0);
  EXPECT_EQ(linear(bf16, 64, 0), 1);
  EXPECT_NE(source().find("quantize_rows.cuh"), std::string::npos);
  EXPECT_NE(source().find("OT = m1k::e4m3"), std::string::npos);
  EXPECT_EQ(linear(bf16, 72, 0), 1);
  EXPECT_NE(source().find("dequantize.cuh"), std::string::npos);
  EXPECT_EQ(linear(f32, 64, 0), 1);
  EXPECT_NE(source().find("dequantize.cuh"), std::string::npos);

  // Codes, and no bias of f32.
  auto withBias = [&](Type out) {
    select("linear",
           {rows("x", bf16, 128), weight("weight", e4m3, {48, 128}), weight("scale", f32, {48}),
            weight("bias", f32, {48}), rows("out", out, 48)},
           {}, true, 0);
  };
  withBias(bf16);
  EXPECT_NE(source().find("OT = m1k::e4m3"), std::string::npos);
  withBias(f32);
  EXPECT_NE(source().find("dequantize.cuh"), std::string::npos);
}

// Of int4, up to 32 rows of bf16 in vectors of 16 bytes stream them.
TEST_F(CudaKernels, Int4Linears) {
  Type pairs = IntegerType::get(&context, 8, IntegerType::Unsigned);
  auto linear = [&](Type act, int64_t k, int64_t groups, uint32_t maxRows) {
    const int gemms = emitter->gemms;
    const size_t kernels = emitter->kernels.size();
    select("linear",
           {rows("x", act, k), weight("weight", pairs, {32, 128}),
            weight("scale", bf16, {32, groups}), rows("out", act, 32)},
           {}, true, maxRows);
    EXPECT_EQ(emitter->kernels.size(), kernels + 1);
    return emitter->gemms - gemms;
  };
  EXPECT_EQ(linear(bf16, 256, 8, 8), 0);
  EXPECT_NE(emitter->kernels.back().source.find("kGroup = 32;"), std::string::npos);
  EXPECT_NE(emitter->kernels.back().source.find("kK = 256;"), std::string::npos);
  EXPECT_EQ(linear(bf16, 200, 4, 32), 0);
  EXPECT_NE(emitter->kernels.back().source.find("kGroup = 64;"), std::string::npos);
  EXPECT_NE(emitter->kernels.back().source.find("linear.cuh"), std::string::npos);
  EXPECT_EQ(linear(f32, 200, 2, 8), 0);
  EXPECT_EQ(linear(f32, 200, 2, 32), 1);
  EXPECT_EQ(linear(bf16, 201, 4, 32), 1);
  EXPECT_EQ(linear(bf16, 256, 2, 0), 1);
  EXPECT_NE(emitter->kernels.back().source.find("dequantize_int4"), std::string::npos);
}

// What NVIDIA's compilers cannot compile is an error with the kernel or the chip, and their words.
TEST_F(CudaKernels, ToolchainErrors) {
  auto toolchain = cuda::Toolchain::open();
  ASSERT_TRUE(bool(toolchain));
  auto compiled = toolchain->compile("what is this", "wrong", "sm_90", {}, {});
  ASSERT_FALSE(bool(compiled));
  std::string error = llvm::toString(compiled.takeError());
  EXPECT_EQ(error.find("NVRTC cannot compile wrong for sm_90:\nwrong.cu(1): error: "), 0u) << error;
  compiled = toolchain->compile("", "headless", "sm_90", {{nullptr, nullptr}}, {});
  ASSERT_FALSE(bool(compiled));
  EXPECT_EQ(llvm::toString(compiled.takeError()), "NVRTC refused the program headless");
  auto assembled = toolchain->assemble(".version 8.0\n.target sm_90\nwhat", "sm_90");
  ASSERT_FALSE(bool(assembled));
  error = llvm::toString(assembled.takeError());
  EXPECT_EQ(error.find("nvJitLink cannot assemble generated PTX for sm_90 (status "), 0u) << error;
  EXPECT_NE(error.find("syntax error"), std::string::npos) << error;
}

// Rows of a type that no family computes in are an error that names the operand.
TEST(CudaFacts, UnknownType) {
  MLIRContext context;
  KernelSpec spec;
  spec.operands = {{"x", Float64Type::get(&context), {64}, 64},
                   {"out", BFloat16Type::get(&context), {64}, 64}};
  std::string error;
  EXPECT_EQ(cuda::typeOf(spec, "out", error), m1k::cuda::Type::bf16);
  EXPECT_EQ(error, "");
  cuda::typeOf(spec, "x", error);
  EXPECT_EQ(error, "operand 'x' is neither f32, bf16, f16, i8, e4m3 nor pairs of int4");
}

// The target's name says which GPUs; anything else is an error that names the value.
TEST(CudaTargetName, Chips) {
  auto several = parseCudaChips("sm_90,sm_80,sm_90");
  ASSERT_TRUE(bool(several));
  ASSERT_EQ(several->size(), 2u);
  EXPECT_EQ((*several)[0]->name, "sm_80");
  EXPECT_EQ((*several)[1]->name, "sm_90");
  for (const char *bad : {",", "sm_75", "90", "sm_90,", "sm_x", "sm_90b", "sm_0090"}) {
    auto result = parseCudaChips(bad);
    EXPECT_FALSE(bool(result)) << bad;
    if (!result)
      EXPECT_NE(llvm::toString(result.takeError()).find("unknown CUDA chip"), std::string::npos);
  }
}

} // namespace
