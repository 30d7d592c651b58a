// Tables of measured products as files: what is written is read again, and what is no such table
// gets one message that names the file and the product.
#include "artifact/tuning_table.h"
#include "cuda/cublaslt.h"
#include <gtest/gtest.h>

using namespace m1rt;

namespace {

TuningTable sample() {
  TuningTable table;
  table.gpu = "NVIDIA H200";
  table.chip = "sm_90";
  table.cublaslt = 130200;
  for (uint32_t m : {16u, 24u}) {
    GemmShape shape;
    shape.m = m;
    shape.n = 48;
    shape.k = shape.lda = 32;
    shape.ldo = 96;
    shape.inputType = shape.outType = schema::ElementType::bf16;
    shape.bias = m == 24;
    TunedProduct product;
    product.algorithm = {~0ull, 1, 2, 3, 4, 5, 6, m};
    product.seconds = 2e-6;
    product.heuristicSeconds = 3e-6;
    table.products.emplace(shape, product);
  }
  return table;
}

std::string changed(const std::string &from, const std::string &to) {
  std::string text = tuningTableText(sample());
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(TuningTable, IsReadAsWritten) {
  const TuningTable written = sample();
  TuningTable read;
  Status status = parseTuningTable(tuningTableText(written), "table.json", &read);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(machineOf(read), machineOf(written));
  EXPECT_EQ(read.chip, "sm_90");
  ASSERT_EQ(read.products.size(), 2u);
  for (auto a = read.products.cbegin(), b = written.products.cbegin(); a != read.products.cend();
       ++a, ++b) {
    EXPECT_FALSE(a->first < b->first || b->first < a->first);
    EXPECT_EQ(a->second.algorithm, b->second.algorithm);
    EXPECT_NEAR(a->second.seconds, 2e-6, 1e-12);
    EXPECT_NEAR(a->second.heuristicSeconds, 3e-6, 1e-12);
  }
  // Tables of an older m1-bench name no chip.
  ASSERT_TRUE(parseTuningTable(changed("\"chip\"", "\"other\""), "table.json", &read).ok());
  EXPECT_EQ(read.chip, "");
}

TEST(TuningTable, HoldsInputsOfE4m3) {
  TuningTable read;
  Status status = parseTuningTable(changed("\"input\": \"bf16\"", "\"input\": \"f8e4m3\""),
                                   "table.json", &read);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(read.products.cbegin()->first.inputType == schema::ElementType::f8e4m3,
            read.products.crbegin()->first.inputType != schema::ElementType::f8e4m3);
  status = parseTuningTable(changed("\"output\": \"bf16\"", "\"output\": \"f8e4m3\""), "table.json",
                            &read);
  EXPECT_NE(status.message().find("of inputs, f8e4m3"), std::string::npos) << status.message();
}

TEST(TuningTable, RefusesWhatIsNone) {
  const char *noTable =
      "table.json: expected a tuning table as m1-bench --tune writes it, version 1";
  const char *noProduct = "table.json: product 0: expected m, n, k, lda, ldo, input, output, bias, "
                          "alignment and an algorithm of 8 words";
  const std::pair<std::string, std::string> cases[] = {
      {"", noTable},
      {"[]", noTable},
      {"{\"format\"", noTable},
      {changed("m1-products", "m1-kernels"), noTable},
      {changed("\"version\": 1", "\"version\": 2"), noTable},
      {changed("\"NVIDIA H200\"", "90"), noTable},
      {changed("130200", "-1"), noTable},
      {changed("\"products\": [", "\"product\": ["), noTable},
      {changed("sm_90", "H200"), "table.json: chip 'H200': expected one like sm_90"},
      {changed("\"m\": 16", "\"m\": -16"), noProduct},
      {changed("\"m\": 16", "\"m\": 4294967296"), noProduct},
      {changed("\"input\": \"bf16\"", "\"input\": \"i8\""), noProduct},
      {changed("\"bias\": false", "\"bias\": 0"), noProduct},
      {changed("18446744073709551615,", ""), noProduct},
      {changed("18446744073709551615", "1.5"), noProduct},
      {changed("\"alignment\": 16", "\"alignment\": 32"),
       "table.json: product 0: expected an alignment of 1, 2, 4, 8 or 16, got 32"},
      {changed("\"lda\": 32", "\"lda\": 31"),
       "table.json: product 0: expected m, n, k above 0, lda of k or more and ldo of n or more, "
       "got m 16, n 48, k 32, lda 31, ldo 96"},
  };
  for (const auto &[text, message] : cases) {
    TuningTable table;
    const Status status = parseTuningTable(text, "table.json", &table);
    EXPECT_EQ(status.code(), StatusCode::corrupt) << text;
    EXPECT_EQ(status.message(), message);
    EXPECT_TRUE(table.products.empty());
  }
  std::string twice = changed("\"m\": 24", "\"m\": 16");
  twice.replace(twice.find("\"bias\": true"), 12, "\"bias\": false");
  TuningTable table;
  EXPECT_EQ(parseTuningTable(twice, "table.json", &table).message(),
            "table.json: product 1: is in the table twice");
}

TEST(TuningTable, KnowsWhereCodeRuns) {
  bool exact = false;
  EXPECT_EQ(capabilityOf("sm_90", &exact), 90);
  EXPECT_FALSE(exact);
  EXPECT_EQ(capabilityOf("sm_90a", &exact), 90);
  EXPECT_TRUE(exact);
  EXPECT_EQ(capabilityOf("compute_120", nullptr), 120);
  for (const char *name : {"", "90", "sm_", "sm_x", "sm_-1"})
    EXPECT_EQ(capabilityOf(name, nullptr), 0) << name;
  auto suits = [](const char *format, const char *chip, int capability) {
    flatbuffers::FlatBufferBuilder fb;
    fb.Finish(schema::CreateCode(fb, fb.CreateString(format), fb.CreateString(chip)));
    return suitabilityOf(*flatbuffers::GetRoot<schema::Code>(fb.GetBufferPointer()), capability);
  };
  EXPECT_GE(suits("cubin", "sm_80", 86), machineCodeSuits);
  EXPECT_GT(suits("cubin", "sm_90a", 90), suits("cubin", "sm_90", 90));
  EXPECT_GT(suits("cubin", "sm_80", 80), suits("ptx", "sm_80", 80));
  EXPECT_EQ(suits("ptx", "sm_80", 90), 80);
  EXPECT_EQ(suits("cubin", "sm_86", 80), -1);
  EXPECT_EQ(suits("cubin", "sm_80", 90), -1);
  EXPECT_EQ(suits("cubin", "sm_90a", 100), -1);
  EXPECT_EQ(suits("ptx", "sm_90", 80), -1);
}

// Products of nearly as many rows share an algorithm; those of padded decode steps are among the
// numbers that cuBLASLt is asked about.
TEST(ProposedRows, ShareAnAlgorithm) {
  using m1rt::cuda::GemmLibrary;
  uint32_t last = 0, sizes = 0;
  for (uint32_t rows = 1; rows <= 8192; ++rows) {
    const uint32_t like = GemmLibrary::proposedRows(rows);
    EXPECT_GE(like, rows);
    EXPECT_LT(like, rows + std::max(1u, rows / 16)) << rows;
    EXPECT_GE(like, last);
    sizes += like != last;
    last = like;
  }
  EXPECT_LE(sizes, 31u + 8 * 16 + 1);
  for (uint32_t padded : {8, 16, 64, 80, 256, 288, 512, 544, 1024})
    EXPECT_EQ(GemmLibrary::proposedRows(padded), padded);
}

} // namespace
