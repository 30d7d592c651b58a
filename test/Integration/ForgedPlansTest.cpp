// Plans of compiled models whose numbers somebody changed, digest and all: what a launch would do
// beyond its arenas, states, weights and ports is refused, whatever the model; what is accepted
// runs, if to other results, and touches nothing else.
#include "CompiledModel.h"
#include "RandomCheckpoint.h"
#include "RandomFamily.h"
#include "artifact_header.h"
#include "base/sha256.h"
#include "module_generated.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

using namespace m1test;
namespace schema = m1::schema;

namespace {

using Bytes = std::vector<uint8_t>;

Bytes read(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

m1_artifact_header &headerOf(Bytes &bytes) {
  return *reinterpret_cast<m1_artifact_header *>(bytes.data());
}

const schema::Module &moduleOf(Bytes &bytes) {
  return *schema::GetModule(bytes.data() + headerOf(bytes).module_offset);
}

/// The compiler stores every scalar, so that it can be changed where it is.
template <typename Value, typename Table>
void set(const Table *table, flatbuffers::voffset_t field, Value value) {
  auto *plain = reinterpret_cast<flatbuffers::Table *>(const_cast<Table *>(table));
  ASSERT_NE(plain->GetAddressOf(field), nullptr) << "a scalar that is not stored";
  plain->SetField<Value>(field, value, Value());
}

struct Plan {
  explicit Plan(Bytes &bytes) {
    const schema::Target &target = *moduleOf(bytes).targets()->Get(0);
    kernels = target.kernels()->size();
    for (const schema::Function *function : *target.functions()) {
      functions.push_back(function);
      for (const schema::CommandHolder *holder : *function->commands())
        if (const schema::Launch *launch = holder->command_as_Launch()) {
          launches.push_back(launch);
          for (const schema::Operand *operand : *launch->operands())
            operands.push_back(operand);
        } else {
          const schema::Gemm *gemm = holder->command_as_Gemm();
          gemms.push_back(gemm);
          for (const schema::Operand *operand : {gemm->a(), gemm->w(), gemm->out()})
            operands.push_back(operand);
        }
    }
  }
  uint32_t kernels;
  std::vector<const schema::Function *> functions;
  std::vector<const schema::Launch *> launches;
  std::vector<const schema::Gemm *> gemms;
  std::vector<const schema::Operand *> operands;
};

/// Small numbers, neighbours, multiples and giants: what a wrong number is like.
uint64_t wrong(uint64_t number, Random &random) {
  switch (random.integer(0, 5)) {
  case 0:
    return number + 1;
  case 1:
    return number * 2 + 4;
  case 2:
    return number / 2;
  case 3:
    return random.integer(0, 9);
  case 4:
    return uint64_t(1) << random.integer(0, 47);
  default:
    return number + 64 * random.integer(1, 40);
  }
}

/// Changes one number of the plan.
void forge(Bytes &bytes, Random &random) {
  const Plan plan(bytes);
  const schema::Module &module = moduleOf(bytes);
  auto any = [&](const auto &list) { return list[random.integer(0, list.size() - 1)]; };
  const int kind = random.integer(0, plan.gemms.empty() ? 5 : 6);
  if (kind <= 1) {
    const schema::Operand *operand = any(plan.operands), *other = any(plan.operands);
    switch (random.integer(0, 4)) {
    case 0: // another operand's place
      set(operand, schema::Operand::VT_KIND, uint8_t(other->kind()));
      set(operand, schema::Operand::VT_INDEX, other->index());
      set(operand, schema::Operand::VT_ARENA_OFFSET, other->arena_offset());
      set(operand, schema::Operand::VT_OFFSET, other->offset());
      break;
    case 1:
      set(operand, schema::Operand::VT_INDEX, uint32_t(wrong(operand->index(), random)));
      break;
    case 2:
      set(operand, schema::Operand::VT_ARENA_OFFSET, wrong(operand->arena_offset(), random));
      break;
    case 3:
      set(operand, schema::Operand::VT_OFFSET, wrong(operand->offset(), random));
      break;
    default:
      set(operand, schema::Operand::VT_KIND, uint8_t(random.integer(0, 5)));
    }
  } else if (kind == 2) {
    const schema::Launch *launch = any(plan.launches);
    switch (random.integer(0, 3)) {
    case 0:
      set(launch, schema::Launch::VT_KERNEL, uint32_t(random.integer(0, plan.kernels - 1)));
      break;
    case 1:
      set(launch, schema::Launch::VT_GRID_X, uint32_t(wrong(launch->grid_x(), random)));
      break;
    case 2:
      set(launch, schema::Launch::VT_ROWS_PER_GROUP,
          uint32_t(wrong(launch->rows_per_group(), random)));
      break;
    default:
      set(launch, schema::Launch::VT_DOMAIN, uint8_t(random.integer(0, 3)));
    }
  } else if (kind == 3) {
    const schema::Function *function = any(plan.functions);
    switch (random.integer(0, 3)) {
    case 0:
      set(function, schema::Function::VT_TEMPORARY_BYTES_PER_ROW,
          wrong(function->temporary_bytes_per_row() / 256, random) * 256);
      break;
    case 1:
      set(function, schema::Function::VT_ROW_TEMPORARY_BYTES_PER_ROW,
          wrong(function->row_temporary_bytes_per_row() / 256, random) * 256);
      break;
    case 2:
      set(function, schema::Function::VT_MAX_ROWS, uint32_t(wrong(function->max_rows(), random)));
      break;
    default:
      set(function, schema::Function::VT_WORKSPACE_BYTES,
          wrong(function->workspace_bytes(), random));
    }
  } else if (kind == 4 && module.states()->size()) {
    const schema::State *state =
        module.states()->Get(random.integer(0, module.states()->size() - 1));
    set(state, schema::State::VT_BYTES, wrong(state->bytes(), random));
  } else if (kind <= 5) {
    switch (random.integer(0, 2)) {
    case 0:
      set(&module, schema::Module::VT_VOCAB_SIZE, uint32_t(wrong(module.vocab_size(), random)));
      break;
    case 1:
      set(&module, schema::Module::VT_PAGE_SIZE, uint32_t(wrong(module.page_size(), random)));
      break;
    default:
      set(&module, schema::Module::VT_MAX_POSITIONS,
          uint32_t(wrong(module.max_positions(), random)));
    }
  } else {
    const schema::Gemm *gemm = any(plan.gemms);
    const auto field =
        random.pick({schema::Gemm::VT_N, schema::Gemm::VT_K, schema::Gemm::VT_LDA,
                     schema::Gemm::VT_LDO, schema::Gemm::VT_DOMAIN, schema::Gemm::VT_OUT_TYPE});
    if (field == schema::Gemm::VT_DOMAIN || field == schema::Gemm::VT_OUT_TYPE)
      set(gemm, field, uint8_t(random.integer(0, 3)));
    else
      set(gemm, field, uint32_t(wrong(gemm->n(), random)));
  }
}

void write(const std::string &path, Bytes &bytes) {
  m1_artifact_header &header = headerOf(bytes);
  std::memset(header.digest, 0, sizeof(header.digest));
  m1rt::Sha256 sha;
  sha.update(bytes.data(), header.digested_pages * size_t(M1_ARTIFACT_PAGE));
  const m1rt::Digest digest = sha.finish();
  std::copy(digest.begin(), digest.end(), header.digest);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<char *>(bytes.data()), std::streamsize(bytes.size()));
}

struct Case {
  const char *name;
  std::string model; // a golden, or a family of which one is drawn
  Types types = {};
  int rounds = 30;
};

void PrintTo(const Case &which, std::ostream *stream) { *stream << which.name; }

class ForgedPlans : public testing::TestWithParam<Case> {};

TEST_P(ForgedPlans, AreRefusedOrHarmless) {
  TemporaryDirectory directory;
  const auto &families = familyNames();
  std::string model = std::string(M1_GOLDENS) + "/" + GetParam().model;
  if (std::find(families.begin(), families.end(), GetParam().model) != families.end()) {
    model = directory / "checkpoint";
    std::filesystem::create_directory(model);
    drawFamily(GetParam().model, 1).write(model);
  }
  ASSERT_EQ(compileModel(model, directory / "model.m1a", GetParam().types), "");
  Bytes whole = read(directory / "model.m1a");
  { // every kernel that is launched says what it touches
    const Plan plan(whole);
    for (const schema::Launch *launch : plan.launches) {
      const auto *kernel = moduleOf(whole).targets()->Get(0)->kernels()->Get(launch->kernel());
      ASSERT_TRUE(kernel->parameters());
      ASSERT_EQ(kernel->parameters()->size(), launch->operands()->size());
    }
  }
  // The same forgeries each time; by hand M1_TEST_SEED takes others.
  const uint64_t seed = std::getenv("M1_TEST_SEED") ? testSeed() : 1;
  const char *given = std::getenv("M1_FORGERIES");
  const int rounds = given ? std::atoi(given) : GetParam().rounds;
  Random random(seed);
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << seed << " round " << round);
    Bytes bytes = whole;
    forge(bytes, random);
    write(directory / "forged.m1a", bytes);
    CompiledModel model(directory / "forged.m1a", 2, 8, 24);
    if (model.problem.empty()) {
      const m1_sequence sequence = model.newSequence();
      model.step({{sequence, {1, 2, 3, 4, 5}, 1}});
      model.step({{sequence, {6}, 1}});
    }
    refused += !model.problem.empty();
  }
  // Most numbers of a plan are bound to others.
  EXPECT_GT(refused, rounds / 2);
}

INSTANTIATE_TEST_SUITE_P(
    Models, ForgedPlans,
    testing::Values(Case{"mamba1", "m1-mamba1-f32", {}, 150},
                    Case{"mamba2", "m1-mamba2-f32", {}, 150},
                    Case{"attention", "hf-qwen2", {}, 150},
                    Case{"int4", "hf-llama", {"bf16", "f16", "int8", "native", "int4"}},
                    Case{"int8", "m1-mamba2-bf16", {"bf16", "bf16", "fp8", "native", "int8"}},
                    Case{"fp8", "hf-llama", {"bf16", "f32", "bf16", "x86-64-v3", "fp8"}},
                    Case{"variants", "m1-mamba1-bf16", {"bf16", "f32", "int8", "x86-64-v3,native"}},
                    Case{"window", "recurrent_gemma"}, Case{"mixture", "qwen3_moe"},
                    Case{"quantised_mixture", "lfm2_moe", {"bf16", "f32", "fp8", "native", "int4"}},
                    Case{"shared_blocks", "zamba2"}, Case{"delta", "qwen3_next"}),
    [](const testing::TestParamInfo<Case> &info) { return info.param.name; });

} // namespace
