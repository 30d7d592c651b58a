// Artifacts that are damaged, truncated, newer or inconsistent: always an error that says what is
// wrong, never a crash.
#include "ToyModel.h"
#include "artifact/artifact.h"
#include <cstring>
#include <gtest/gtest.h>
#include <random>

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

uint64_t digested(const std::vector<uint8_t> &bytes) {
  return uint64_t(reinterpret_cast<const m1_artifact_header *>(bytes.data())->digested_pages) *
         M1_ARTIFACT_PAGE;
}

schema::LaunchT &launch(schema::ModuleT &module, size_t command) {
  return *module.targets[0]->functions[0]->commands[command]->command.AsLaunch();
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
  EXPECT_NE(status.message().find("version 2 is newer than version 1"), std::string::npos)
      << status.message();

  status = openChanged([](schema::ModuleT &module) { module.version = M1_ARTIFACT_VERSION + 1; });
  EXPECT_EQ(status.code(), StatusCode::unsupported);
  EXPECT_NE(status.message().find("module version 2 is newer"), std::string::npos)
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
      {"command 0: kernel index 99", [](auto &m) { launch(m, 0).kernel = 99; }},
      {"command 3: grid_x 0", [](auto &m) { launch(m, 3).grid_x = 0; }},
      {"command 3: unknown row domain",
       [](auto &m) { launch(m, 3).domain = schema::RowDomain(8); }},
      {"command 0: operand 1: weight index 2",
       [](auto &m) { launch(m, 0).operands[1]->index = 2; }},
      {"command 0: operand 1: offset 4656",
       [](auto &m) { launch(m, 0).operands[1]->offset = 4656; }},
      {"command 1: operand 1: state index 5", [](auto &m) { launch(m, 1).operands[1]->index = 5; }},
      {"command 0: operand 0: port index 10",
       [](auto &m) { launch(m, 0).operands[0]->index = 10; }},
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
         m.targets.push_back(std::make_unique<schema::TargetT>(std::move(*m.targets[0])));
         m.targets[0] = std::make_unique<schema::TargetT>();
         m.targets[0]->name = "cpu";
         m.targets[0]->functions.push_back(std::make_unique<schema::FunctionT>());
         m.targets[0]->functions[0]->name = "prefill";
       }},
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

// What is no artifact at all is named: missing, empty, a directory, another kind of file.
TEST(Loader, RefusesOtherFiles) {
  std::unique_ptr<Artifact> artifact;
  EXPECT_EQ(Artifact::open(toy::temporaryPath("absent.m1a"), {}, &artifact).code(),
            StatusCode::notFound);
  EXPECT_NE(Artifact::open("/", {}, &artifact).message().find("not a regular file"),
            std::string::npos);
  EXPECT_NE(open({}).message().find("the file is empty"), std::string::npos);
  EXPECT_NE(open(std::vector<uint8_t>(5000, 'x')).message().find("not an M1 artifact"),
            std::string::npos);
}

} // namespace
