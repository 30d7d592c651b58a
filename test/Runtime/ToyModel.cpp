#include "ToyModel.h"

#include "base/sha256.h"
#include "dummy_weights.h"
#include "weight_check.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <unistd.h>

namespace toy {

// At once: byte by byte a library takes seconds with sanitizers.
std::vector<uint8_t> readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::vector<uint8_t> bytes(size_t(std::max<std::streamoff>(file.tellg(), 0)));
  file.seekg(0);
  file.read(reinterpret_cast<char *>(bytes.data()), std::streamsize(bytes.size()));
  return bytes;
}

namespace {

void pad(std::vector<uint8_t> &bytes, size_t alignment) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
}

std::unique_ptr<schema::TensorTypeT> type(std::vector<int64_t> shape) {
  auto result = std::make_unique<schema::TensorTypeT>();
  result->element = schema::ElementType::f32;
  result->shape = std::move(shape);
  return result;
}

struct Op {
  schema::OperandKind kind;
  uint32_t index;
  uint64_t arena = 0;
  schema::Access access = schema::Access::read;
};
Op out(Op op) {
  op.access = schema::Access::write;
  return op;
}
Op inOut(Op op) {
  op.access = schema::Access::read_write;
  return op;
}
Op weight(uint32_t i) { return {schema::OperandKind::weight, i}; }
Op state(uint32_t i) { return {schema::OperandKind::state, i}; }
Op port(schema::Port p) { return {schema::OperandKind::port, uint32_t(p)}; }
Op rows(uint64_t arena) { return {schema::OperandKind::temporary, 0, arena}; }
Op logitRows(uint64_t arena) { return {schema::OperandKind::row_temporary, 0, arena}; }

bool isTokens(const Op &op) {
  return op.kind == schema::OperandKind::port &&
         schema::Port(op.index) == schema::Port::next_tokens;
}

schema::ParameterT parameter(const Op &op) {
  using schema::OperandKind;
  schema::ParameterT result;
  result.access = op.access;
  const uint64_t row = TOY_WIDTH * 4;
  switch (op.kind) {
  case OperandKind::weight:
    result.bytes = TOY_VOCABULARY * row;
    break;
  case OperandKind::state:
    result.bytes = op.index == 0 ? row : TOY_PAGE * row;
    result.state = int8_t(op.index == 0 ? schema::StateKind::scan : schema::StateKind::kv);
    break;
  case OperandKind::port:
    if (schema::Port(op.index) < schema::Port::logits)
      result.port = int8_t(op.index);
    else
      result.bytes = result.stride =
          schema::Port(op.index) == schema::Port::logits ? TOY_VOCABULARY * 4 : 4;
    break;
  default:
    result.bytes = result.stride = row;
  }
  return result;
}

class Plan {
public:
  explicit Plan(schema::TargetT &target) : target(target) {}
  std::unique_ptr<schema::FunctionT> function = std::make_unique<schema::FunctionT>();

  void launch(const char *symbol, schema::RowDomain domain, uint32_t gridX, uint32_t rowsPerGroup,
              std::vector<Op> operands) {
    uint32_t kernel = 0;
    while (kernel < target.kernels.size() && target.kernels[kernel]->symbol != symbol)
      ++kernel;
    if (kernel == target.kernels.size()) {
      auto made = std::make_unique<schema::KernelT>();
      made->symbol = symbol;
      made->origin = "test";
      made->grid_x = gridX;
      made->rows_per_group = rowsPerGroup;
      made->domains = {domain};
      made->decode = made->symbol == "toy_scan_decode";
      for (const Op &op : operands) {
        made->parameters.push_back(std::make_unique<schema::ParameterT>(parameter(op)));
        if (op.kind == schema::OperandKind::state && op.index == 1)
          made->page_size = TOY_PAGE;
      }
      target.kernels.push_back(std::move(made));
    }
    schema::LaunchT launch;
    launch.kernel = kernel;
    launch.name = symbol;
    launch.domain = domain;
    launch.grid_x = gridX;
    launch.rows_per_group = rowsPerGroup;
    for (const Op &op : operands) {
      auto operand = std::make_unique<schema::OperandT>();
      operand->kind = op.kind;
      operand->index = op.index;
      operand->arena_offset = op.arena;
      if (op.access == schema::Access::write) {
        const schema::ParameterT rows = parameter(op);
        auto written = std::make_unique<schema::WrittenRowsT>();
        written->operand = uint32_t(launch.operands.size());
        written->bytes = rows.bytes;
        written->stride = rows.stride;
        written->element = isTokens(op) ? schema::ElementType::i32 : schema::ElementType::f32;
        launch.written.push_back(std::move(written));
      }
      launch.operands.push_back(std::move(operand));
    }
    auto holder = std::make_unique<schema::CommandHolderT>();
    holder->command.Set(std::move(launch));
    function->commands.push_back(std::move(holder));
  }

private:
  schema::TargetT &target;
};

std::unique_ptr<schema::FunctionT> plan(schema::TargetT &target, bool decode, bool withPages) {
  using schema::Port;
  using schema::RowDomain;
  const uint64_t x = 0, y = 256, z = 512, normed = 0;
  Plan plan(target);
  plan.function->name = decode ? "decode" : "prefill";
  plan.function->temporary_bytes_per_row = 768;
  plan.function->row_temporary_bytes_per_row = 256;
  plan.launch("toy_embed", RowDomain::tokens, 1, 3, {port(Port::tokens), weight(0), out(rows(x))});
  plan.launch(decode ? "toy_scan_decode" : "toy_scan", RowDomain::sequences, 1, 1,
              {rows(x), inOut(state(0)), port(Port::sequence_starts), port(Port::slots),
               port(Port::positions), out(rows(y))});
  if (withPages) {
    plan.launch("toy_cache_write", RowDomain::tokens, 1, 1,
                {rows(y), inOut(state(1)), port(Port::positions), port(Port::token_sequence),
                 port(Port::block_tables)});
    plan.launch("toy_attend", RowDomain::tokens, 1, 1,
                {state(1), port(Port::positions), port(Port::token_sequence),
                 port(Port::block_tables), out(rows(z))});
  }
  plan.launch("toy_gather", RowDomain::logit_rows, 1, 1,
              {rows(withPages ? z : y), port(Port::logit_rows), out(logitRows(normed))});
  plan.launch("toy_logits", RowDomain::logit_rows, (TOY_VOCABULARY + 15) / 16, 2,
              {logitRows(normed), weight(1), out(port(Port::logits))});
  plan.launch("toy_argmax", RowDomain::logit_rows, 1, 1,
              {port(Port::logits), out(port(Port::next_tokens))});
  return std::move(plan.function);
}

std::vector<std::string> &temporaries() {
  static auto *paths = new std::vector<std::string>(); // used at exit, after static destructors
  return *paths;
}

} // namespace

std::vector<float> values(unsigned weight, unsigned seed) {
  std::vector<float> result(TOY_VOCABULARY * TOY_WIDTH);
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = float(m1_dummy_integer(m1_dummy_key(seed, weight), i)) * M1_DUMMY_INVERSE_DEVIATION;
  return result;
}

const std::vector<float> &table() {
  static const std::vector<float> result = values(0, ownSeed);
  return result;
}

const std::vector<float> &output() {
  static const std::vector<float> result = values(1, ownSeed);
  return result;
}

std::vector<uint8_t> artifact(const ArtifactOptions &options) {
  const std::vector<uint8_t> code = readFile(TOY_KERNELS);
  const std::vector<float> drawn[2] = {values(0, options.seed), values(1, options.seed)};
  const std::vector<float> *data[2] = {&drawn[0], &drawn[1]};
  const uint64_t weightBytes = table().size() * sizeof(float),
                 alignedBytes = (weightBytes + 255) / 256 * 256;

  schema::ModuleT module;
  module.version = M1_ARTIFACT_VERSION;
  module.producer = "toy";
  module.architecture = "toy";
  module.vocab_size = TOY_VOCABULARY;
  module.hidden_size = TOY_WIDTH;
  module.layers = 1;
  module.max_positions = TOY_POSITIONS;
  module.page_size = TOY_PAGE;
  module.eos_ids = {96};
  module.dummy_seed = 7;
  for (int i = 0; i < 2; ++i) {
    auto weight = std::make_unique<schema::WeightT>();
    weight->name = i == 0 ? "table" : "output";
    weight->type = type({TOY_VOCABULARY, TOY_WIDTH});
    weight->dummy = options.weights == Weights::dummy;
    weight->dummy_scale = weight->dummy ? 1 : 0;
    if (!weight->dummy && i == 0)
      weight->sources = {{0, 0, TOY_VOCABULARY}};
    else if (!weight->dummy)
      weight->sources = {{1, 0, headRows}, {2, 0, TOY_VOCABULARY - headRows}};
    module.weights.push_back(std::move(weight));
  }
  for (auto [name, rows] : {std::pair("embed", TOY_VOCABULARY),
                            {"head.first", headRows},
                            {"head.second", TOY_VOCABULARY - headRows}}) {
    if (options.weights == Weights::dummy)
      break;
    auto tensor = std::make_unique<schema::CheckpointTensorT>();
    tensor->name = name;
    tensor->shape = {rows, TOY_WIDTH};
    module.checkpoint_tensors.push_back(std::move(tensor));
  }
  auto slot = std::make_unique<schema::StateT>();
  slot->name = "recurrent";
  slot->kind = schema::StateKind::scan;
  slot->type = type({TOY_WIDTH});
  slot->bytes = TOY_WIDTH * 4;
  module.states.push_back(std::move(slot));
  if (options.withPages) {
    auto page = std::make_unique<schema::StateT>();
    page->name = "cache";
    page->kind = schema::StateKind::kv;
    page->type = type({TOY_PAGE, TOY_WIDTH});
    page->bytes = TOY_PAGE * TOY_WIDTH * 4;
    module.states.push_back(std::move(page));
  }
  auto target = std::make_unique<schema::TargetT>();
  target->name = "cpu";
  target->cpu = "x86-64";
  target->functions.push_back(plan(*target, false, options.withPages));
  target->functions.push_back(plan(*target, true, options.withPages));
  target->code.push_back(std::make_unique<schema::CodeT>());
  target->code[0]->format = "elf";
  module.targets.push_back(std::move(target));
  if (options.weights == Weights::external) {
    std::vector<uint8_t> bytes(64); // something before the first weight, as in a checkpoint file
    for (const std::vector<float> *values : data)
      bytes.insert(bytes.end(), reinterpret_cast<const uint8_t *>(values->data()),
                   reinterpret_cast<const uint8_t *>(values->data()) + weightBytes);
    writeFile(options.externalPath, bytes);
    auto file = std::make_unique<schema::ExternalFileT>();
    file->name = options.externalPath.substr(options.externalPath.find_last_of('/') + 1);
    file->size = bytes.size();
    m1rt::Sha256 sha;
    sha.update(bytes.data(), bytes.size());
    m1rt::Digest digest = sha.finish();
    file->digest.assign(digest.begin(), digest.end());
    module.external_files.push_back(std::move(file));
  }

  std::vector<uint64_t> checks; // a weight is smaller than a piece
  for (const std::vector<float> *values : data)
    if (options.weights != Weights::dummy)
      checks.push_back(m1_weight_check(values->data(), weightBytes));

  // The module comes first in the file and names offsets behind it: they are right after the second
  // round, whose size is the same.
  std::vector<uint8_t> bytes;
  uint64_t codeOffset = 0, firstWeight = 0;
  for (int round = 0; round < 2; ++round) {
    module.targets[0]->code[0]->data = std::make_unique<schema::Segment>(codeOffset, code.size());
    for (uint32_t i = 0; i < 2; ++i) {
      schema::WeightT &weight = *module.weights[i];
      weight.file = options.weights == Weights::external ? 0 : -1;
      const uint64_t offset = options.weights == Weights::external ? 64 + i * weightBytes
                                                                   : firstWeight + i * alignedBytes;
      if (!weight.dummy)
        weight.data = std::make_unique<schema::Segment>(offset, weightBytes);
    }
    module.weight_checks = std::make_unique<schema::Segment>(
        firstWeight + (options.weights == Weights::embedded ? 2 * alignedBytes : 0),
        checks.size() * sizeof(uint64_t));
    if (round == 1 && options.change)
      options.change(module);
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(schema::Module::Pack(builder, &module), schema::ModuleIdentifier());

    m1_artifact_header header = {};
    std::memcpy(header.magic, M1_ARTIFACT_MAGIC, 8);
    header.version = M1_ARTIFACT_VERSION;
    header.module_offset = sizeof(header);
    header.module_size = builder.GetSize();
    bytes.assign(sizeof(header), 0);
    bytes.insert(bytes.end(), builder.GetBufferPointer(),
                 builder.GetBufferPointer() + builder.GetSize());
    // room, so that changes do not move what follows
    bytes.resize(std::max<size_t>(bytes.size(), 16384));
    pad(bytes, M1_ARTIFACT_PAGE);
    codeOffset = bytes.size();
    bytes.insert(bytes.end(), code.begin(), code.end());
    pad(bytes, M1_ARTIFACT_PAGE);
    firstWeight = bytes.size();
    header.digested_pages = uint32_t(bytes.size() / M1_ARTIFACT_PAGE);
    std::memcpy(bytes.data(), &header, sizeof(header));
  }
  fixDigest(bytes);
  if (options.weights == Weights::embedded)
    for (const std::vector<float> *values : data) {
      const uint8_t *begin = reinterpret_cast<const uint8_t *>(values->data());
      pad(bytes, 256);
      bytes.insert(bytes.end(), begin, begin + weightBytes);
      pad(bytes, 256);
    }
  bytes.insert(bytes.end(), reinterpret_cast<const uint8_t *>(checks.data()),
               reinterpret_cast<const uint8_t *>(checks.data() + checks.size()));
  return bytes;
}

void fixDigest(std::vector<uint8_t> &bytes) {
  m1_artifact_header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  std::memset(bytes.data() + offsetof(m1_artifact_header, digest), 0, 32);
  m1rt::Sha256 sha;
  sha.update(bytes.data(),
             std::min<size_t>(bytes.size(), size_t(header.digested_pages) * M1_ARTIFACT_PAGE));
  m1rt::Digest digest = sha.finish();
  std::copy(digest.begin(), digest.end(), bytes.begin() + offsetof(m1_artifact_header, digest));
}

void writeFile(const std::string &path, const std::vector<uint8_t> &bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char *>(bytes.data()), std::streamsize(bytes.size()));
  if (!file.flush()) {
    std::perror(path.c_str());
    std::abort();
  }
}

std::string temporaryPath(const std::string &name) {
  static const std::string directory = [] {
    const char *base = std::getenv("TMPDIR");
    std::string pattern = std::string(base ? base : "/tmp") + "/m1-test-XXXXXX";
    if (!mkdtemp(pattern.data()))
      std::abort();
    std::atexit([] {
      for (const std::string &path : temporaries())
        std::remove(path.c_str());
    });
    temporaries().push_back(pattern);
    return pattern;
  }();
  std::string path = directory + "/" + name;
  temporaries().insert(temporaries().begin(), path); // the directory stays last
  return path;
}

std::vector<float> referenceLogits(const std::vector<int32_t> &tokens, bool withPages) {
  std::vector<std::vector<float>> history;
  std::vector<float> s(TOY_WIDTH, 0.0f);
  for (int32_t token : tokens) {
    for (int d = 0; d < TOY_WIDTH; ++d)
      s[d] = 0.75f * s[d] + table()[size_t(token) * TOY_WIDTH + d];
    history.push_back(s);
  }
  std::vector<float> z = s;
  if (withPages) {
    std::fill(z.begin(), z.end(), 0.0f);
    for (size_t p = 0; p < history.size(); ++p)
      for (int d = 0; d < TOY_WIDTH; ++d)
        z[d] += history[p][d] / float(history.size() - p);
  }
  std::vector<float> logits(TOY_VOCABULARY, 0.0f);
  for (int v = 0; v < TOY_VOCABULARY; ++v)
    for (int d = 0; d < TOY_WIDTH; ++d)
      logits[v] += z[d] * output()[size_t(v) * TOY_WIDTH + d];
  return logits;
}

int32_t argmax(const std::vector<float> &logits) {
  return int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

} // namespace toy
