// Artifacts that are damaged, truncated, newer or inconsistent: always an error that says what is
// wrong, never a crash.
#include "ToyModel.h"
#include "artifact/artifact.h"
#include "artifact/tuning_table.h"
#include <cmath>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sys/stat.h>
#include <unistd.h>

using namespace m1rt;

namespace {

Status open(const std::vector<uint8_t> &bytes, std::unique_ptr<Artifact> *out = nullptr,
            m1rt::ArtifactOptions options = {}) {
  static const std::string path = toy::temporaryPath("loader.m1a");
  toy::writeFile(path, bytes);
  std::unique_ptr<Artifact> artifact;
  Status status = Artifact::open(path, options, &artifact);
  if (out)
    *out = std::move(artifact);
  return status;
}

Status openChanged(std::function<void(schema::ModuleT &)> change) {
  toy::ArtifactOptions options;
  options.change = std::move(change);
  return open(toy::artifact(options));
}

/// A table of measured products, one, that is right.
schema::TuningTableT &tuned(schema::ModuleT &module) {
  auto table = std::make_unique<schema::TuningTableT>();
  table->gpu = "NVIDIA H200";
  table->chip = "sm_90";
  table->cublaslt = 130200;
  auto product = std::make_unique<schema::TunedProductT>();
  product->m = 16;
  product->n = 48;
  product->k = product->lda = 32;
  product->ldo = 48;
  product->input_type = product->output_type = schema::ElementType::bf16;
  product->alignment = 16;
  product->algorithm.assign(8, 1);
  table->products.push_back(std::move(product));
  module.targets[0]->tuning.push_back(std::move(table));
  return *module.targets[0]->tuning.back();
}

uint64_t digested(const std::vector<uint8_t> &bytes) {
  return uint64_t(reinterpret_cast<const m1_artifact_header *>(bytes.data())->digested_pages) *
         M1_ARTIFACT_PAGE;
}

schema::LaunchT &launch(schema::ModuleT &module, size_t command) {
  return *module.targets[0]->functions[0]->commands[command]->command.AsLaunch();
}

/// The first kernel takes this operand as a tensor map, as functions with min_rows may.
schema::TensorMapT &mapped(schema::ModuleT &module, uint32_t operand) {
  auto map = std::make_unique<schema::TensorMapT>();
  map->operand = operand;
  map->columns = 4;
  map->row_bytes = TOY_WIDTH * 4;
  map->box_rows = 16;
  for (auto &function : module.targets[0]->functions)
    function->min_rows = 4;
  auto &maps = module.targets[0]->kernels[0]->tensor_maps;
  maps.push_back(std::move(map));
  return *maps.back();
}

/// The first weight is made of these rows of a checkpoint's tensors, of which there is one of
/// [5, 12].
void made(schema::ModuleT &module, uint32_t tensor, uint64_t first, uint64_t count) {
  module.checkpoint_tensors.clear();
  module.checkpoint_tensors.push_back(std::make_unique<schema::CheckpointTensorT>());
  module.checkpoint_tensors[0]->name = "source";
  module.checkpoint_tensors[0]->shape = {5, 12};
  for (auto &weight : module.weights)
    weight->sources.clear();
  module.weights[0]->sources = {{tensor, first, count}};
}

/// The second command is a product.
schema::GemmT &gemm(schema::ModuleT &module) {
  schema::GemmT product;
  for (auto *operand : {&product.a, &product.w, &product.out})
    *operand = std::make_unique<schema::OperandT>();
  product.n = product.ldo = 8;
  product.k = product.lda = 16;
  auto &command = module.targets[0]->functions[0]->commands[1]->command;
  command.Set(std::move(product));
  return *command.AsGemm();
}

// A sound artifact opens, and its weights are the bytes that were written.
TEST(Loader, OpensSoundArtifact) {
  std::unique_ptr<Artifact> artifact;
  Status status = open(toy::artifact(), &artifact);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(artifact->module().vocab_size(), uint32_t(TOY_VOCABULARY));
  Bytes data = artifact->weightData(1);
  ASSERT_EQ(data.size, toy::output().size() * 4);
  EXPECT_EQ(std::memcmp(data.data, toy::output().data(), data.size), 0);
  EXPECT_EQ(uintptr_t(data.data) % M1_ARTIFACT_WEIGHT_ALIGN, 0u);
}

// So do tensor maps of rows and of weights.
TEST(Loader, OpensTensorMaps) {
  Status status = openChanged([](schema::ModuleT &module) {
    mapped(module, 2);
    mapped(module, 1).rows = TOY_VOCABULARY;
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

// Measured products are read as they were written.
TEST(Loader, ReadsTuningTables) {
  toy::ArtifactOptions options;
  options.change = [](schema::ModuleT &module) { tuned(module); };
  std::unique_ptr<Artifact> artifact;
  Status status = open(toy::artifact(options), &artifact);
  ASSERT_TRUE(status.ok()) << status.message();
  const auto *tables = artifact->module().targets()->Get(0)->tuning();
  ASSERT_TRUE(tables && tables->size() == 1);
  TuningTable table;
  ASSERT_TRUE(readTuningTable(*tables->Get(0), &table).ok());
  EXPECT_EQ(machineOf(table), "NVIDIA H200 with cuBLASLt 130200");
  EXPECT_EQ(table.chip, "sm_90");
  ASSERT_EQ(table.products.size(), 1u);
  EXPECT_EQ(table.products.begin()->first.n, 48u);
  EXPECT_EQ(table.products.begin()->second.algorithm[7], 1u);
}

// A file cut at any place is refused: in the header, the module, the code or the weights.
TEST(Loader, RefusesTruncation) {
  const std::vector<uint8_t> whole = toy::artifact();
  std::vector<size_t> cuts;
  for (size_t i = 0; i < 200; ++i)
    cuts.push_back(i);
  for (size_t i = 200; i < whole.size(); i += 509)
    cuts.push_back(i);
  for (size_t edge = M1_ARTIFACT_PAGE; edge < whole.size(); edge += M1_ARTIFACT_PAGE)
    cuts.insert(cuts.end(), {edge - 1, edge, edge + 1});
  cuts.push_back(whole.size() - 1);
  for (size_t cut : cuts) {
    Status status = open(std::vector<uint8_t>(whole.begin(), whole.begin() + ptrdiff_t(cut)));
    EXPECT_EQ(status.code(), cut == whole.size() ? StatusCode::ok : StatusCode::corrupt)
        << "cut at " << cut << ": " << status.message();
  }
}

// One flipped bit before the weights is always noticed; in the weights it leaves the artifact
// readable.
TEST(Loader, NoticesFlippedBits) {
  const std::vector<uint8_t> whole = toy::artifact();
  std::mt19937 random(1);
  for (int round = 0; round < 700; ++round) {
    std::vector<uint8_t> bytes = whole;
    // Every bit of the header, then places at random.
    size_t bit = round < 512 ? size_t(round) : random() % (whole.size() * 8);
    bytes[bit / 8] ^= uint8_t(1 << bit % 8);
    Status status = open(bytes);
    EXPECT_EQ(status.ok(), bit / 8 >= digested(whole)) << "bit " << bit << ": " << status.message();
  }
}

// Damage that the digest does not show (it is computed anew) is refused by the verifier or the
// bounds, or harmless: never a crash.
TEST(Loader, SurvivesDamageWithMatchingDigest) {
  const std::vector<uint8_t> whole = toy::artifact();
  const m1_artifact_header header = *reinterpret_cast<const m1_artifact_header *>(whole.data());
  std::mt19937 random(2);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> bytes = whole;
    for (unsigned i = 0; i < 1 + random() % 3; ++i) {
      size_t at = random() % 20 == 0 ? random() % sizeof(header)
                                     : header.module_offset + random() % header.module_size;
      bytes[at] = random() % 2 ? uint8_t(random()) : uint8_t(bytes[at] ^ (1 << random() % 8));
    }
    if (digested(bytes) > bytes.size())
      continue;
    toy::fixDigest(bytes);
    refused += !open(bytes).ok();
  }
  EXPECT_GT(refused, 300);
}

// A newer file version, in the header or in the module, is named as such.
TEST(Loader, RefusesNewerVersions) {
  std::vector<uint8_t> bytes = toy::artifact();
  reinterpret_cast<m1_artifact_header *>(bytes.data())->version = M1_ARTIFACT_VERSION + 1;
  toy::fixDigest(bytes);
  Status status = open(bytes);
  EXPECT_EQ(status.code(), StatusCode::unsupported);
  EXPECT_NE(status.message().find("version 3 is newer than version 2"), std::string::npos)
      << status.message();

  reinterpret_cast<m1_artifact_header *>(bytes.data())->version = 0;
  EXPECT_NE(open(bytes).message().find("artifact version 0 does not exist"), std::string::npos);

  status = openChanged([](schema::ModuleT &module) { module.version = M1_ARTIFACT_VERSION + 1; });
  EXPECT_EQ(status.code(), StatusCode::unsupported);
  EXPECT_NE(status.message().find("module version 3 is newer"), std::string::npos)
      << status.message();
}

// Every index, offset, size and enumerator of the module that lies out of range is refused with a
// message that says where it is.
TEST(Loader, ChecksBounds) {
  struct Case {
    const char *message;
    std::function<void(schema::ModuleT &)> change;
  };
  const Case cases[] = {
      {"vocab_size 0", [](auto &m) { m.vocab_size = 0; }},
      {"max_positions 0", [](auto &m) { m.max_positions = 0; }},
      {"page_size 0", [](auto &m) { m.page_size = 0; }},
      {"weight 0 \"table\": size -1", [](auto &m) { m.weights[0]->type->shape[0] = -1; }},
      {"weight 0 \"table\": size 4611686018427387904",
       [](auto &m) { m.weights[0]->type->shape[0] = int64_t(1) << 62; }},
      {"weight 1 \"output\": has 4656 bytes, its type needs 9312",
       [](auto &m) { m.weights[1]->type->shape[1] *= 2; }},
      {"weight 1 \"output\": bytes",
       [](auto &m) { m.weights[1]->data = std::make_unique<schema::Segment>(~0ull - 8, 4656); }},
      {"weight 1 \"output\": file index 3", [](auto &m) { m.weights[1]->file = 3; }},
      {"weight 0 \"table\": unknown element type 77",
       [](auto &m) { m.weights[0]->type->element = schema::ElementType(77); }},
      {"weight 0 \"table\": neither data nor dummy", [](auto &m) { m.weights[0]->data.reset(); }},
      {"state 0 \"recurrent\": says 47 bytes", [](auto &m) { m.states[0]->bytes = 47; }},
      {"state 1 \"cache\": unknown kind 9",
       [](auto &m) { m.states[1]->kind = schema::StateKind(9); }},
      {"code 0: bytes",
       [](auto &m) {
         m.targets[0]->code[0]->data = std::make_unique<schema::Segment>(0, uint64_t(1) << 40);
       }},
      {"kernel 2 \"toy_cache_write\": code index 1",
       [](auto &m) { m.targets[0]->kernels[2]->code = 1; }},
      {"tuning table 0: no GPU's name, or a chip 'H100' unlike sm_90",
       [](auto &m) { tuned(m).chip = "H100"; }},
      {"tuning table 0: no GPU's name", [](auto &m) { tuned(m).gpu = ""; }},
      {"tuning table 0: product 0: an algorithm of 7 words, expected 8",
       [](auto &m) { tuned(m).products[0]->algorithm.pop_back(); }},
      {"tuning table 0: product 0: expected types among f32, bf16, f16 and, of inputs, f8e4m3",
       [](auto &m) { tuned(m).products[0]->input_type = schema::ElementType(77); }},
      {"tuning table 0: product 0: expected m, n, k above 0, lda of k or more and ldo of n or more",
       [](auto &m) { tuned(m).products[0]->lda = 31; }},
      {"tuning table 0: product 0: expected an alignment of 1, 2, 4, 8 or 16, got 3",
       [](auto &m) { tuned(m).products[0]->alignment = 3; }},
      {"tuning table 0: product 1: is in the table twice",
       [](auto &m) {
         auto &products = tuned(m).products;
         products.push_back(std::make_unique<schema::TunedProductT>(*products[0]));
       }},
      {"tuning table 1: a second one for NVIDIA H200 with cuBLASLt 130200",
       [](auto &m) {
         tuned(m);
         tuned(m);
       }},
      {"command 0: kernel index 99", [](auto &m) { launch(m, 0).kernel = 99; }},
      {"command 0: kernel \"toy_embed\" takes 3 operands, the launch has 2",
       [](auto &m) { launch(m, 0).operands.pop_back(); }},
      {"command 5: kernel \"toy_logits\" is for a grid of 7 and groups of 2 rows, the launch has 8",
       [](auto &m) { launch(m, 5).grid_x = 8; }},
      {"command 5: kernel \"toy_logits\" is for a grid of 7",
       [](auto &m) { launch(m, 5).rows_per_group = 3; }},
      {"command 1: operand 2: the kernel expects another batch array, or none",
       [](auto &m) { std::swap(launch(m, 1).operands[2], launch(m, 1).operands[3]); }},
      {"command 0: operand 0: the kernel expects another batch array, or none",
       [](auto &m) { std::swap(launch(m, 0).operands[0], launch(m, 0).operands[1]); }},
      {"command 0: operand 1: 4656 of every 0 bytes are used",
       [](auto &m) { std::swap(launch(m, 0).operands[1], launch(m, 0).operands[2]); }},
      {"command 0: operand 1: the kernel writes a weight",
       [](auto &m) { m.targets[0]->kernels[0]->parameters[1]->access = schema::Access::write; }},
      {"command 0: operand 1: the kernel touches 4656 bytes from byte 4 of 4656",
       [](auto &m) { launch(m, 0).operands[1]->offset = 4; }},
      {"command 1: operand 1: the kernel works on 48 bytes of every slot or page, the state has 44",
       [](auto &m) {
         m.states[0]->type->shape = {11};
         m.states[0]->bytes = 44;
       }},
      {"command 3: operand 4: rows of 48 bytes from byte 512 of an arena of 520 bytes a row",
       [](auto &m) { m.targets[0]->functions[0]->temporary_bytes_per_row = 520; }},
      {"command 1: operand 5: 48 of every 48 bytes are used, from byte 4 of 48",
       [](auto &m) { launch(m, 1).operands[5]->offset = 4; }},
      {"command 5: operand 2: 388 of every 388 bytes are used, from byte 0 of 376",
       [](auto &m) { m.vocab_size = 94; }},
      {"command 5: operand 2: 388 of every 388 bytes are used, from byte 0 of 392",
       [](auto &m) { m.vocab_size = 98; }},
      {"command 1: operand 1: the kernel expects a state of another kind, or none",
       [](auto &m) { launch(m, 1).operands[1]->index = 1; }},
      {"command 1: operand 1: the kernel expects a state of another kind, or none",
       [](auto &m) { m.states[0]->kind = schema::StateKind::kv; }},
      {"command 0: operand 1: the kernel works on elements of type f32, not i32",
       [](auto &m) { m.weights[0]->type->element = schema::ElementType::i32; }},
      {"command 1: operand 1: the kernel works on elements of type f32, not i32",
       [](auto &m) { m.states[0]->type->element = schema::ElementType::i32; }},
      {"command 5: kernel \"toy_logits\" is not for rows over tokens, as the launch has",
       [](auto &m) { launch(m, 5).domain = schema::RowDomain::tokens; }},
      {"command 5: operand 0: rows of logits in a command over tokens",
       [](auto &m) {
         launch(m, 5).domain = m.targets[0]->kernels[5]->domains[0] = schema::RowDomain::tokens;
       }},
      {"command 6: operand 0: rows of logits in a command over sequences",
       [](auto &m) {
         launch(m, 6).domain = m.targets[0]->kernels[6]->domains[0] = schema::RowDomain::sequences;
       }},
      {"command 1: operand 0: reads what no command before it writes",
       [](auto &m) { std::swap(launch(m, 1).operands[0], launch(m, 1).operands[5]); }},
      {"command 2: operand 0: reads what no command before it writes",
       [](auto &m) { launch(m, 2).operands[0]->arena_offset = 512; }},
      // The launch between has written over a part of it.
      {"command 2: operand 0: reads what no command before it writes",
       [](auto &m) {
         launch(m, 1).operands[5]->arena_offset = 20;
         launch(m, 2).operands[0]->arena_offset = 0;
       }},
      {"function \"prefill\": no command writes its next tokens",
       [](auto &m) { m.targets[0]->functions[0]->commands.pop_back(); }},
      {"function \"prefill\": command 1: kernel \"toy_scan_decode\" is for decode functions",
       [](auto &m) {
         std::swap(m.targets[0]->functions[0]->name, m.targets[0]->functions[1]->name);
       }},
      {"kernel \"toy_logits\" is for at most 8 rows, the function for 16 (0: any)",
       [](auto &m) {
         m.targets[0]->kernels[5]->max_rows = 8;
         m.targets[0]->functions[0]->max_rows = 16;
       }},
      {"kernel \"toy_logits\", whose blocks wait for one another, is for one group of 2 rows, the "
       "function for 0 (0: any)",
       [](auto &m) { m.targets[0]->kernels[5]->cooperative = true; }},
      {"is for at least 9 and at most 8 rows",
       [](auto &m) {
         m.targets[0]->functions[1]->min_rows = 9;
         m.targets[0]->functions[1]->max_rows = 8;
       }},
      {"command 0: tensor map 0: kernel \"toy_embed\" is for functions with min_rows",
       [](auto &m) {
         mapped(m, 2);
         m.targets[0]->functions[0]->min_rows = 0;
       }},
      {"command 0: tensor map 0: of operand 9, the launch has 3",
       [](auto &m) { mapped(m, 2).operand = 9; }},
      {"command 0: tensor map 0: [0, 0] in rows of", [](auto &m) { mapped(m, 2).columns = 0; }},
      {"command 0: tensor map 0: [0, 4] in rows of 20 bytes",
       [](auto &m) { mapped(m, 2).row_bytes = 20; }},
      {"and boxes of 257", [](auto &m) { mapped(m, 2).box_rows = 257; }},
      {"command 0: tensor map 0: is not within what the kernel touches of operand 2",
       [](auto &m) { mapped(m, 2).row_bytes = 16 * 1000; }},
      {"command 0: tensor map 0: is not within what the kernel touches of operand 1",
       [](auto &m) { mapped(m, 1).rows = 1 << 20; }},
      {"command 0: tensor map 0: is not within what the kernel touches of operand 0",
       [](auto &m) { mapped(m, 0); }},
      {"kernel \"toy_embed\" is for at most 199 positions, the model for 200",
       [](auto &m) { m.targets[0]->kernels[0]->max_positions = 199; }},
      {"kernel \"toy_cache_write\" is for pages of 8 positions, the model has 16",
       [](auto &m) { m.page_size = 16; }},
      {"command 0: operand 2: rows of logits in a command over tokens",
       [](auto &m) {
         m.targets[0]->functions[0]->row_temporary_bytes_per_row = 768;
         launch(m, 0).operands[2]->kind = schema::OperandKind::row_temporary;
       }},
      {"kernel 0 \"toy_embed\": parameter 1 is out of range",
       [](auto &m) { m.targets[0]->kernels[0]->parameters[1]->port = 100; }},
      {"function \"prefill\": has no commands",
       [](auto &m) { m.targets[0]->functions[0]->commands.clear(); }},
      {"command 3: grid_x 0", [](auto &m) { launch(m, 3).grid_x = 0; }},
      {"command 3: unknown row domain",
       [](auto &m) { launch(m, 3).domain = schema::RowDomain(8); }},
      {"command 0: operand 1: weight index 2",
       [](auto &m) { launch(m, 0).operands[1]->index = 2; }},
      {"command 0: operand 1: offset 4656",
       [](auto &m) { launch(m, 0).operands[1]->offset = 4656; }},
      {"command 1: operand 1: state index 5", [](auto &m) { launch(m, 1).operands[1]->index = 5; }},
      {"command 0: operand 0: port index 200",
       [](auto &m) { launch(m, 0).operands[0]->index = 200; }},
      {"command 0: operand 2: offset 768",
       [](auto &m) { launch(m, 0).operands[2]->arena_offset = 768; }},
      {"command 0: operand 2: unknown operand kind",
       [](auto &m) { launch(m, 0).operands[2]->kind = schema::OperandKind(44); }},
      {"command 1: unknown kind 0",
       [](auto &m) { m.targets[0]->functions[0]->commands[1]->command.Reset(); }},
      {"an arena is larger",
       [](auto &m) { m.targets[0]->functions[0]->temporary_bytes_per_row = ~0ull; }},
      {"has no function \"prefill\"", [](auto &m) { m.targets[0]->functions[0]->name = "other"; }},
      {"a second target \"cpu\"",
       [](auto &m) {
         m.targets.push_back(std::make_unique<schema::TargetT>());
         m.targets[1]->name = "cpu";
       }},
      {"unknown activation, state or kv type",
       [](auto &m) { m.kv_type = schema::ElementType(77); }},
      {"weight 0 \"table\": dummy scale or offset is not finite",
       [](auto &m) {
         m.weights[0]->dummy = true;
         m.weights[0]->dummy_scale = INFINITY;
       }},
      {"weight 0 \"table\": unknown transform 77",
       [](auto &m) { m.weights[0]->transform = schema::WeightTransform(77); }},
      {"weight 0 \"table\": made of checkpoint tensor 1, but there are 1",
       [](auto &m) { made(m, 1, 0, 1); }},
      {"weight 0 \"table\": made of rows that \"source\" has not",
       [](auto &m) { made(m, 0, 3, 3); }},
      {"weight 0 \"table\": made of 24 elements of the checkpoint, its type has 1164",
       [](auto &m) { made(m, 0, 0, 2); }},
      {"code 0: no data", [](auto &m) { m.targets[0]->code[0]->data.reset(); }},
      {"kernel 0: empty symbol", [](auto &m) { m.targets[0]->kernels[0]->symbol = ""; }},
      {"command 0: operand 0: a port with an offset",
       [](auto &m) { launch(m, 0).operands[0]->offset = 4; }},
      {"command 0: operand 0: port prefix_items in a function that is not decode_shared",
       [](auto &m) { launch(m, 0).operands[0]->index = uint32_t(schema::Port::prefix_items); }},
      {"command 1: gemm without a, w or out", [](auto &m) { gemm(m).a.reset(); }},
      {"command 1: gemm with an unknown domain or type",
       [](auto &m) { gemm(m).out_type = schema::ElementType(77); }},
      {"command 1: gemm of f32 with scales",
       [](auto &m) { gemm(m).a_scale = std::make_unique<schema::OperandT>(); }},
      {"command 1: gemm with the scales of a alone",
       [](auto &m) {
         auto &product = gemm(m);
         product.a_scale = std::make_unique<schema::OperandT>();
         product.a_type = product.w_type = schema::ElementType::f8e4m3;
       }},
      {"command 1: gemm with n 8, k 16, lda 15, ldo 8", [](auto &m) { gemm(m).lda = 15; }},
      {"tokenizer: bytes",
       [](auto &m) {
         m.tokenizer = std::make_unique<schema::TokenizerT>();
         m.tokenizer->data = std::make_unique<schema::Segment>(uint64_t(1) << 50, 1);
       }},
  };
  for (const Case &test : cases) {
    Status status = openChanged(test.change);
    EXPECT_EQ(status.code(), StatusCode::corrupt) << test.message;
    EXPECT_NE(status.message().find(test.message), std::string::npos)
        << "wanted: " << test.message << "\ngot: " << status.message();
  }
}

// External weight files must be there and as large as recorded; their digest is compared when
// asked.
TEST(Loader, ChecksExternalFiles) {
  toy::ArtifactOptions options;
  options.weights = toy::Weights::external;
  options.externalPath = toy::temporaryPath("weights.bin");
  const std::vector<uint8_t> bytes = toy::artifact(options);
  EXPECT_TRUE(open(bytes).ok());
  m1rt::ArtifactOptions verify;
  verify.checkExternalDigests = true;
  EXPECT_TRUE(open(bytes, nullptr, verify).ok());

  std::vector<uint8_t> other(64 + 2 * TOY_VOCABULARY * TOY_WIDTH * 4);
  toy::writeFile(options.externalPath, other);
  EXPECT_TRUE(open(bytes).ok());
  EXPECT_NE(open(bytes, nullptr, verify).message().find("SHA-256 is"), std::string::npos);
  other.pop_back();
  toy::writeFile(options.externalPath, other);
  Status status = open(bytes);
  EXPECT_EQ(status.code(), StatusCode::corrupt);
  EXPECT_NE(status.message().find("weights.bin: has 9375 bytes, the artifact was made with 9376"),
            std::string::npos)
      << status.message();
  std::remove(options.externalPath.c_str());
  EXPECT_EQ(open(bytes).code(), StatusCode::notFound);
}

// Weights lie beside the artifact or below, unless the caller allows another directory: no artifact
// makes the runtime open what its user did not think of.
TEST(Loader, ExternalFilesStayBeside) {
  toy::ArtifactOptions options;
  options.weights = toy::Weights::external;
  options.externalPath = toy::temporaryPath("beside.bin");
  const std::string directory = options.externalPath.substr(0, options.externalPath.rfind('/')),
                    base = options.externalPath.substr(directory.size() + 1),
                    last = directory.substr(directory.rfind('/') + 1);
  auto named = [&](const std::string &name) {
    options.change = [&](schema::ModuleT &module) { module.external_files[0]->name = name; };
    return toy::artifact(options);
  };
  EXPECT_TRUE(open(named("./" + base)).ok());
  for (const std::string &name : {options.externalPath, "../" + last + "/" + base,
                                  "x/../../" + last + "/../" + last + "/" + base}) {
    const std::vector<uint8_t> bytes = named(name);
    Status status = open(bytes);
    if (name[0] == 'x') { // no such directory
      EXPECT_EQ(status.code(), StatusCode::notFound) << status.message();
      continue;
    }
    EXPECT_EQ(status.code(), StatusCode::invalidArgument) << name;
    EXPECT_NE(status.message().find("--allow-external " + directory), std::string::npos)
        << status.message();
    m1rt::ArtifactOptions allow;
    allow.allowExternal = {"/nowhere", "/dev"};
    EXPECT_FALSE(open(bytes, nullptr, allow).ok());
    allow.allowExternal.push_back(directory);
    EXPECT_TRUE(open(bytes, nullptr, allow).ok()) << name;
  }
}

// What was checked is what is used, whatever becomes of the file; and reading weights of a file
// that was cut off gives zeros and no signal.
TEST(Loader, FilesMayChangeWhileInUse) {
  const std::string path = toy::temporaryPath("inuse.m1a");
  const std::vector<uint8_t> whole = toy::artifact();
  toy::writeFile(path, whole);
  std::unique_ptr<Artifact> artifact;
  ASSERT_TRUE(Artifact::open(path, {}, &artifact).ok());
  EXPECT_TRUE(artifact->unchanged().ok());
  ASSERT_EQ(truncate(path.c_str(), 10), 0);
  EXPECT_EQ(artifact->module().vocab_size(), uint32_t(TOY_VOCABULARY));
  const schema::Segment &code = *artifact->module().targets()->Get(0)->code()->Get(0)->data();
  EXPECT_EQ(std::memcmp(artifact->segment(code).data, "\177ELF", 4), 0);
  Bytes data = artifact->weightData(1);
  uint8_t sum = 0;
  for (uint8_t byte : data)
    sum |= byte;
  EXPECT_EQ(sum, 0);
  Status status = artifact->unchanged();
  EXPECT_EQ(status.code(), StatusCode::corrupt);
  EXPECT_NE(status.message().find("inuse.m1a: was changed while in use"), std::string::npos);
}

// The digest covers the last bit of everything; that of the weights tells weights apart whatever
// else the artifact holds, and reads none of them.
TEST(Loader, Digests) {
  std::unique_ptr<Artifact> artifact;
  auto digests = [&](const std::vector<uint8_t> &bytes, Digest *all) {
    EXPECT_TRUE(open(bytes, &artifact).ok());
    EXPECT_TRUE(artifact->digest(3, {}, all).ok());
    return artifact->weightsDigest();
  };
  Digest first, second;
  const std::vector<uint8_t> bytes = toy::artifact();
  const Digest weights = digests(bytes, &first);
  EXPECT_EQ(digests(bytes, &second), weights);
  EXPECT_EQ(second, first);

  std::vector<uint8_t> swapped = bytes; // weights that their checks do not match
  swapped[artifact->module().weights()->Get(1)->data()->offset() + 100] ^= 1;
  EXPECT_EQ(digests(swapped, &second), weights);
  EXPECT_NE(second, first);

  toy::ArtifactOptions other;
  other.change = [](schema::ModuleT &module) { module.producer = "somebody"; };
  EXPECT_EQ(digests(toy::artifact(other), &second), weights);
  EXPECT_NE(second, first);
  other.change = [](schema::ModuleT &module) { module.weights[0]->name = "other"; };
  EXPECT_NE(digests(toy::artifact(other), &second), weights);
  std::vector<uint8_t> checked = bytes;
  checked.back() ^= 1; // the last check
  EXPECT_NE(digests(checked, &second), weights);

  bool asked = false;
  EXPECT_EQ(
      artifact->digest(1, [&] { return asked = true; }, &second).code(), StatusCode::cancelled);
  EXPECT_TRUE(asked);
}

// What is no artifact at all is named: missing, empty, a directory, another kind of file.
TEST(Loader, RefusesOtherFiles) {
  std::unique_ptr<Artifact> artifact;
  EXPECT_EQ(Artifact::open(toy::temporaryPath("absent.m1a"), {}, &artifact).code(),
            StatusCode::notFound);
  EXPECT_NE(Artifact::open("/", {}, &artifact).message().find("/: is a directory, expected a file"),
            std::string::npos);
  // Neither waits for anybody.
  EXPECT_NE(Artifact::open("/dev/zero", {}, &artifact).message().find("is a device"),
            std::string::npos);
  const std::string pipe = toy::temporaryPath("pipe.m1a");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_NE(Artifact::open(pipe, {}, &artifact).message().find("is a pipe"), std::string::npos);
  EXPECT_NE(open({}).message().find("the file is empty"), std::string::npos);
  EXPECT_NE(open(std::vector<uint8_t>(5000, 'x')).message().find("not an M1 artifact"),
            std::string::npos);
}

} // namespace
