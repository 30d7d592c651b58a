#include "workload.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <set>

using namespace m1rt;

namespace m1bench {

namespace {

constexpr uint64_t randomSeed = 0x6d31;

bool isKv(const schema::State &state) { return state.kind() == schema::StateKind::kv; }

const schema::Weight *matrixOf(const Model &model, const schema::Operand &operand) {
  if (operand.kind() != schema::OperandKind::weight)
    return nullptr;
  const schema::Weight *weight = model.module().weights()->Get(operand.index());
  return weight->type()->shape()->size() == 2 ? weight : nullptr;
}

} // namespace

Workload::~Workload() {
  context.reset();
  for (void *memory : states)
    model.device().free(memory);
}

uint32_t Workload::commonTokens() const {
  const uint32_t page = model.module().page_size();
  return std::min(what.shared, what.context - 1) / page * page;
}

Status Workload::allocateStates(ContextOptions &options) {
  const uint32_t pageSize = model.module().page_size();
  const uint32_t pagesPerSequence = (what.context + pageSize - 1) / pageSize;
  options.maxTokens = what.tokens();
  options.maxSequences = options.maxLogitRows = what.sequences;
  options.maxPages = pagesPerSequence;
  options.scratchSlot = what.sequences;
  // The common pages exist once.
  const uint32_t common = commonTokens() / pageSize;
  options.scratchPage = common + what.sequences * (pagesPerSequence - common);
  if (!model.module().states())
    return {};
  for (uint32_t i = 0; i < model.module().states()->size(); ++i) {
    const schema::State &state = *model.module().states()->Get(i);
    const uint64_t count = (isKv(state) ? uint64_t(options.scratchPage) : what.sequences) + 1;
    void *memory = nullptr;
    M1_TRY(model.device().allocate(count * state.bytes(), state.name()->c_str(), &memory));
    states.push_back(memory);
    const schema::ElementType type = state.type()->element();
    if (isKv(state) && elementSize(type) == 1) {
      M1_TRY(fillWithCodes(state, count, memory));
      continue;
    }
    M1_TRY(model.device().fillDummy(memory, type, count * state.bytes() / elementSize(type),
                                    randomSeed, i, 1.0f, 0.0f));
  }
  options.states = states;
  return {};
}

/// Pages of codes that stand for numbers of about 1, as their scales have it; all pages alike.
Status Workload::fillWithCodes(const schema::State &state, uint64_t pages, void *memory) {
  const auto &shape = *state.type()->shape(); // [2, kv heads, page, head size + 4]
  const uint64_t rows = uint64_t(shape.Get(2)),
                 codes = rows * (uint64_t(shape.Get(3)) - sizeof(float)),
                 plane = rows * uint64_t(shape.Get(3));
  std::vector<unsigned char> page(state.bytes());
  uint64_t random = randomSeed;
  for (unsigned char &byte : page) {
    random = random * 6364136223846793005ull + 1442695040888963407ull; // Knuth's MMIX generator
    // Not the last of a sign's codes, which is no number as e4m3.
    byte = static_cast<unsigned char>((random >> 40) % 127 | (random >> 56 & 0x80));
  }
  const float scale = state.type()->element() == schema::ElementType::i8 ? 1.0f / 64 : 1.0f / 128;
  for (uint64_t begin = 0; begin < page.size(); begin += plane)
    for (uint64_t row = 0; row < rows; ++row)
      std::memcpy(page.data() + begin + codes + row * sizeof(float), &scale, sizeof(float));
  M1_TRY(model.device().upload(memory, page.data(), page.size()));
  auto at = [&](uint64_t index) { return static_cast<char *>(memory) + index * state.bytes(); };
  for (uint64_t done = 1; done < pages; done += std::min(done, pages - done))
    M1_TRY(model.device().copy(at(done), memory, std::min(done, pages - done) * state.bytes()));
  return model.device().synchronize(); // the page goes
}

void Workload::buildArrays(uint32_t pagesPerSequence) {
  auto at = [&](schema::Port port) -> std::vector<int32_t> & { return arrays[size_t(port)]; };
  const uint32_t perSequence = what.decode ? 1 : what.context;
  const uint32_t vocabulary = model.module().vocab_size();
  uint64_t random = randomSeed;
  auto next = [&] {
    random = random * 6364136223846793005ull + 1442695040888963407ull; // Knuth's MMIX generator
    return random >> 33;
  };
  // Pages lie anywhere, as after some hours of serving.
  const uint32_t common = commonTokens() / model.module().page_size(),
                 own = pagesPerSequence - common;
  std::vector<int32_t> pages(size_t(common) + size_t(what.sequences) * own);
  std::iota(pages.begin(), pages.end(), 0);
  for (size_t i = pages.size(); i > 1; --i)
    std::swap(pages[i - 1], pages[next() % i]);
  at(schema::Port::sequence_starts).push_back(0);
  for (uint32_t s = 0; s < what.sequences; ++s) {
    for (uint32_t t = 0; t < perSequence; ++t) {
      at(schema::Port::tokens).push_back(int32_t(next() % vocabulary));
      at(schema::Port::positions).push_back(int32_t(what.decode ? what.context - 1 : t));
      at(schema::Port::token_sequence).push_back(int32_t(s));
    }
    at(schema::Port::sequence_starts).push_back(int32_t((s + 1) * perSequence));
    at(schema::Port::slots).push_back(int32_t(s));
    at(schema::Port::context_lengths).push_back(int32_t(what.context));
    for (uint32_t page = 0; page < pagesPerSequence; ++page)
      at(schema::Port::block_tables).push_back(pages[size_t(page < common ? 0 : s) * own + page]);
    at(schema::Port::logit_rows).push_back(int32_t((s + 1) * perSequence - 1));
  }
  step.dims = {int(what.tokens()), int(what.sequences), int(what.sequences), int(pagesPerSequence)};
  for (uint32_t port = 0; port < uint32_t(schema::Port::logits); ++port)
    step.arrays[port] = arrays[port].data();
}

/// Takes decode_shared where the device is faster with it.
void Workload::sharePages() {
  const int function = model.functionFor("decode_shared", what.sequences);
  if (!what.decode || function < 0 || what.sequences < 2)
    return;
  const std::vector<int32_t> &tables = arrays[size_t(schema::Port::block_tables)];
  std::vector<uint32_t> pages(tables.begin(), tables.end());
  std::vector<SequencePages> sequences;
  for (uint32_t s = 0; s < what.sequences; ++s)
    sequences.push_back({pages.data() + size_t(s) * size_t(step.dims.max_pages),
                         (what.context - 1) / model.module().page_size()});
  findSharedPrefixes(sequences, prefixWorkOf(model.module(), context->traits()), &prefixes);
  if (prefixes.savedPages * model.pageBytes() < context->traits().sharedBytesFrom) {
    prefixes.savedPages = 0;
    return;
  }
  step.function = uint32_t(function);
  step.arrays[size_t(schema::Port::prefix_items)] = prefixes.items.data();
  step.arrays[size_t(schema::Port::prefix_slots)] = prefixes.slots.data();
  step.arrays[size_t(schema::Port::prefix_pages)] = prefixes.pages.data();
}

Status Workload::create(Model &model, const Case &what, std::unique_ptr<Workload> *out) {
  const uint32_t positions = model.module().max_positions();
  if (what.context == 0 || what.context > positions)
    return error(StatusCode::invalidArgument,
                 "context %u: the model was compiled for 1 to %u tokens", what.context, positions);
  if (const uint32_t most = model.program().maxTokensPerStep();
      uint64_t(what.sequences) * (what.decode ? 1 : what.context) > most)
    return error(StatusCode::invalidArgument,
                 "a step of %u x %u tokens: the launches of this model cover at most %u tokens",
                 what.sequences, what.decode ? 1 : what.context, most);
  std::unique_ptr<Workload> load(new Workload(model, what));
  int function = model.functionFor(what.decode ? "decode" : "prefill", what.tokens());
  if (function < 0)
    function = model.functionFor("prefill", what.tokens());
  if (function < 0)
    return error(StatusCode::unsupported, "the artifact has no function for a step of %u tokens",
                 what.tokens());
  load->step.function = uint32_t(function);
  ContextOptions options;
  M1_TRY(load->allocateStates(options));
  load->buildArrays(options.maxPages);
  M1_TRY(model.program().createContext(options, &load->context));
  load->sharePages();
  *out = std::move(load);
  return {};
}

Status Workload::run(std::vector<CommandTime> *profile) {
  step.profile = profile;
  return context->run(step);
}

Status Workload::finish() { return context->finish(nullptr); }

Status Workload::checksum(uint32_t *out) {
  std::vector<float> row(model.module().vocab_size());
  uint32_t hash = 2166136261u; // FNV-1a
  for (uint32_t which : {0u, what.sequences / 2, what.sequences - 1}) {
    M1_TRY(context->downloadLogits(which, 1, row.data()));
    for (size_t i = 0; i < row.size() * sizeof(float); ++i)
      hash = (hash ^ reinterpret_cast<const unsigned char *>(row.data())[i]) * 16777619u;
  }
  *out = hash;
  return {};
}

const schema::Function &Workload::function() const {
  return *model.target().functions()->Get(step.function);
}

void Workload::addOperand(const schema::Operand &operand, Cost &cost, bool weights) const {
  if (operand.kind() == schema::OperandKind::weight && weights)
    cost.weightBytes += double(model.artifact().weightBytes(operand.index()));
  if (operand.kind() != schema::OperandKind::state)
    return;
  const schema::State &state = *model.module().states()->Get(operand.index());
  if (isKv(state)) // [2, kv_heads, page_size, head_dim] a page
    cost.kvBytes += double(state.bytes()) / model.module().page_size() * what.sequences;
  else
    cost.stateBytes += 2.0 * double(state.bytes()) * what.sequences;
}

Cost Workload::costOf(uint32_t index) const {
  Cost cost;
  const schema::CommandHolder &command = *function().commands()->Get(index);
  auto rowsOf = [&](schema::RowDomain domain) -> double {
    switch (domain) {
    case schema::RowDomain::tokens:
      return step.dims.tokens;
    case schema::RowDomain::sequences:
      return step.dims.sequences;
    case schema::RowDomain::logit_rows:
      return step.dims.logit_rows;
    default:
      return 1;
    }
  };
  if (const schema::Gemm *gemm = command.command_as_Gemm()) {
    double rows = rowsOf(gemm->domain());
    addOperand(*gemm->w(), cost, true);
    cost.activationBytes = rows * (double(gemm->k()) * elementSize(gemm->a_type()) +
                                   double(gemm->n()) * elementSize(gemm->out_type()));
    cost.flops = 2.0 * rows * gemm->n() * gemm->k();
    return cost;
  }
  const schema::Launch &launch = *command.command_as_Launch();
  cost.activationBytes = double(launch.token_bytes()) * step.dims.tokens +
                         double(launch.logit_row_bytes()) * step.dims.logit_rows;
  const std::string name = launch.name() ? launch.name()->str() : "";
  auto begins = [&](const char *word) { return name.rfind(word, 0) == 0; };
  for (const schema::Operand *operand : *launch.operands()) {
    if (begins("embedding") || begins("rotary_table")) // reads rows of its table only
      continue;
    addOperand(*operand, cost, true);
    if (const schema::Weight *w = begins("linear") ? matrixOf(model, *operand) : nullptr)
      cost.flops += 2.0 * rowsOf(launch.domain()) * double(w->type()->shape()->Get(0)) *
                    double(w->type()->shape()->Get(1));
  }
  // In a prefill, the kernels for sequences of one token find nothing to do.
  const std::string kernel = kernelOf(index);
  auto ends = [&](const std::string &word) {
    return kernel.size() > word.size() &&
           kernel.compare(kernel.size() - word.size(), word.size(), word) == 0;
  };
  if (begins("attention") && !what.decode && (ends("_split") || ends("_combine")))
    return Cost();
  // Nor do scans for other numbers of sequences (…_to_5, …_from_6).
  auto numberBehind = [&](const std::string &word) {
    const size_t at = kernel.rfind(word);
    return at == std::string::npos ? 0ul : std::strtoul(&kernel[at + word.size()], nullptr, 10);
  };
  if (begins("selective_scan")) {
    const unsigned long most = numberBehind("_to_"), fewest = numberBehind("_from_");
    if ((most && what.sequences > most) || what.sequences < fewest)
      return Cost();
  }
  // addOperand counted the one position that is written; attention reads all of them, but in a
  // prefill it reads what it just wrote.
  const double common = commonTokens(), once = common / what.sequences;
  if (ends("_prefix"))
    cost.kvBytes *= once;
  else if (begins("attention") || !what.decode)
    cost.kvBytes *= what.context - common + (prefixes.savedPages ? 0 : once);
  return cost;
}

Cost Workload::stepCost() const {
  Cost total;
  std::set<uint32_t> seen;
  for (uint32_t i = 0; i < function().commands()->size(); ++i) {
    Cost cost = costOf(i);
    total.stateBytes += cost.stateBytes;
    total.kvBytes += cost.kvBytes;
    total.activationBytes += cost.activationBytes;
    total.flops += cost.flops;
    Cost weights;
    auto add = [&](const schema::Operand &operand) {
      if (operand.kind() == schema::OperandKind::weight && seen.insert(operand.index()).second)
        addOperand(operand, weights, true);
    };
    const schema::CommandHolder &command = *function().commands()->Get(i);
    if (cost.weightBytes == 0)
      continue;
    if (const schema::Gemm *gemm = command.command_as_Gemm())
      add(*gemm->w());
    else
      for (const schema::Operand *operand : *command.command_as_Launch()->operands())
        add(*operand);
    total.weightBytes += weights.weightBytes;
  }
  return total;
}

std::string Workload::kernelOf(uint32_t index) const {
  const schema::CommandHolder &command = *function().commands()->Get(index);
  if (const schema::Gemm *gemm = command.command_as_Gemm())
    return "gemm " + std::to_string(gemm->n()) + "x" + std::to_string(gemm->k());
  return model.target().kernels()->Get(command.command_as_Launch()->kernel())->symbol()->str();
}

} // namespace m1bench
