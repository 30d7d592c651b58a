#include "cpu/cpu_context.h"

#include "numerics.h"
#include <algorithm>
#include <chrono>
#include <cstring>
#include <sched.h>
#include <xmmintrin.h>

namespace m1rt {

namespace {

uint32_t domainRows(schema::RowDomain domain, const m1_dims &dims) {
  switch (domain) {
  case schema::RowDomain::one:
    return 1;
  case schema::RowDomain::tokens:
    return uint32_t(dims.tokens);
  case schema::RowDomain::sequences:
    return uint32_t(dims.sequences);
  case schema::RowDomain::logit_rows:
    return uint32_t(dims.logit_rows);
  }
  return 0;
}

double microseconds() {
  using namespace std::chrono;
  return duration<double, std::micro>(steady_clock::now().time_since_epoch()).count();
}

uint64_t stamped(uint32_t step, uint32_t groups) { return uint64_t(step) << 32 | groups; }

constexpr uint32_t paceSizes = 8; // log2 of T up to 128: longer steps always want help
constexpr double longStep = 2000; // µs: from here on a step always wants help
// of each size at first, half with and half without helpers
constexpr uint32_t learningSteps = 8;
constexpr uint32_t relearningSteps = 256; // then every so often the slower way gets another try

/// Results below 1e-38 become zero while it lives: decayed states would otherwise turn denormal,
/// which costs over 100 cycles an operation.
class FlushDenormals {
public:
  FlushDenormals() : saved(_mm_getcsr()) { _mm_setcsr(saved | 0x8040); } // FTZ, DAZ
  ~FlushDenormals() { _mm_setcsr(saved); }

private:
  unsigned saved;
};

} // namespace

uint64_t portElements(schema::Port port, const m1_dims &dims) {
  switch (port) {
  case schema::Port::tokens:
  case schema::Port::positions:
  case schema::Port::token_sequence:
    return uint64_t(dims.tokens);
  case schema::Port::sequence_starts:
    return uint64_t(dims.sequences) + 1;
  case schema::Port::slots:
  case schema::Port::context_lengths:
    return uint64_t(dims.sequences);
  case schema::Port::block_tables:
    return uint64_t(dims.sequences) * uint64_t(dims.max_pages);
  case schema::Port::logit_rows:
  case schema::Port::next_tokens:
  case schema::Port::logits:
    return uint64_t(dims.logit_rows);
  case schema::Port::prefix_items:
    return 1 + uint64_t(M1_PREFIX_ITEMS) * M1_PREFIX_ITEM;
  case schema::Port::prefix_slots:
    return uint64_t(dims.sequences) + 1;
  case schema::Port::prefix_pages:
    return uint64_t(dims.sequences);
  }
  return 0;
}

CpuContext::~CpuContext() {
  program.device->threads().disengage(*this);
  program.device->free(memory);
}

Status CpuContext::initialise() {
  CpuProgram::Sizes sizes = program.sizes(options);
  M1_TRY(program.device->allocate(program.contextBytes(options), "arenas and outputs", &memory));
  char *next = static_cast<char *>(memory);
  auto take = [&](uint64_t bytes) {
    char *start = next;
    next += bytes;
    return start;
  };
  for (size_t i = 0; i < portCount; ++i)
    ports[i] = take(sizes.ports[i]);
  temporary = take(sizes.temporary);
  rowTemporary = take(sizes.rowTemporary);
  workspace = take(sizes.workspace);

  size_t commands = 0, operandCount = 0;
  for (const CpuProgram::Function &function : program.functions) {
    commands = std::max(commands, function.launches.size());
    operandCount = std::max(operandCount, function.operands.size());
  }
  progress.reset(new Progress[commands]);
  operands.reserve(operandCount);
  prepared.reserve(commands);
  paces.resize(program.functions.size() * paceSizes);
  return Status();
}

void *CpuContext::resolve(const CpuProgram::Operand &operand) const {
  char *base = nullptr;
  switch (operand.kind) {
  case schema::OperandKind::weight:
    base = static_cast<char *>(program.weights[operand.index]);
    break;
  case schema::OperandKind::state:
    base = static_cast<char *>(options.states[operand.index]);
    break;
  case schema::OperandKind::port:
    base = ports[operand.index];
    break;
  case schema::OperandKind::temporary:
    base = temporary + uint64_t(dims.tokens) * operand.arenaOffset;
    break;
  case schema::OperandKind::row_temporary:
    base = rowTemporary + uint64_t(dims.logit_rows) * operand.arenaOffset;
    break;
  case schema::OperandKind::workspace:
    base = workspace;
    break;
  }
  return base + operand.offset;
}

void CpuContext::prepare(const Step &step) {
  const CpuProgram::Function *next = &program.functions[step.function];
  const bool same = next == function && step.dims.tokens == dims.tokens &&
                    step.dims.sequences == dims.sequences &&
                    step.dims.logit_rows == dims.logit_rows && placement == program.placement;
  ThreadPool &pool = program.device->threads();
  if (!same) {
    pool.disengage(*this);
    function = next;
    dims = step.dims;
    placement = program.placement;
    operands.clear();
    for (const CpuProgram::Operand &operand : function->operands)
      operands.push_back(resolve(operand));
    prepared.clear();
    for (const CpuProgram::Launch &launch : function->launches) {
      const uint32_t rows = domainRows(launch.domain, dims);
      const uint32_t groupsY = (rows + launch.rowsPerGroup - 1) / launch.rowsPerGroup;
      const uint32_t groups = launch.gridX * groupsY;
      // 8 pieces a thread: a thread that was held up costs an eighth of its share, and the counter
      // is touched rarely.
      prepared.push_back({groups, groupsY, std::max(1u, groups / (pool.size() * 8))});
    }
  }
  for (uint32_t i = 0; i < portCount; ++i)
    if (step.arrays[i])
      std::memcpy(ports[i], step.arrays[i], portElements(schema::Port(i), dims) * sizeof(int32_t));
  if (step.chosenRows) {
    int32_t *tokens = reinterpret_cast<int32_t *>(ports[size_t(schema::Port::tokens)]);
    for (int i = 0; i < dims.tokens; ++i)
      if (step.chosenRows[i] >= 0)
        tokens[i] =
            // what follows a row without a token is dropped
            std::max(chosen[size_t(step.chosenRows[i])], 0);
  }
  ++stepNumber;
  for (size_t i = 0; i < prepared.size(); ++i) {
    progress[i].done.store(stamped(stepNumber, 0), std::memory_order_relaxed);
    progress[i].claimed.store(stamped(stepNumber, 0), std::memory_order_release);
  }
}

/// Short steps may be faster alone, above all when other programs keep the cores busy: tries both
/// and keeps to the better.
bool CpuContext::wantsHelp(Pace &pace) const {
  if (program.device->threads().size() == 1)
    return false;
  if (pace.team > longStep)
    return true;
  const uint32_t step = pace.steps++;
  if (step < learningSteps)
    return step < learningSteps / 2;
  const bool faster = pace.team <= pace.solo;
  return step % relearningSteps < 2 ? !faster : faster;
}

void CpuContext::runGroups(size_t command, uint32_t begin, uint32_t end) {
  const CpuProgram::Launch &launch = function->launches[command];
  const Prepared &shape = prepared[command];
  void *const *arguments = operands.data() + launch.firstOperand;
  // y runs fastest: groups of one x share their weights, which stay in the core's cache from one
  // row block to the next.
  uint32_t x = begin / shape.groupsY, y = begin % shape.groupsY;
  for (uint32_t group = begin; group < end; ++group) {
    launch.kernel(arguments, &dims, int(x), int(y));
    if (++y == shape.groupsY)
      y = 0, ++x;
  }
}

void CpuContext::walk(uint32_t step, std::vector<CommandTime> *profile) {
  const unsigned patience = program.device->threads().patience();
  const double began = profile ? microseconds() : 0;
  double last = 0;
  for (size_t i = 0; i < prepared.size(); ++i) {
    Progress &counters = progress[i];
    const Prepared &shape = prepared[i];
    uint64_t claimed = counters.claimed.load(std::memory_order_acquire);
    while (claimed < stamped(step, shape.groups)) {
      const uint32_t begin = uint32_t(claimed), end = std::min(begin + shape.piece, shape.groups);
      if (!counters.claimed.compare_exchange_weak(
              claimed, stamped(step, end), std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      runGroups(i, begin, end);
      counters.done.fetch_add(end - begin, std::memory_order_release);
      claimed = counters.claimed.load(std::memory_order_acquire);
    }
    const uint64_t complete = stamped(step, shape.groups);
    for (unsigned waited = 0;; ++waited) {
      const uint64_t done = counters.done.load(std::memory_order_acquire);
      if (done == complete)
        break;
      if (uint32_t(done >> 32) != step)
        return; // the step is over
      if (waited < patience)
        pauseCore();
      else
        sched_yield();
    }
    if (profile) {
      const double now = microseconds() - began;
      profile->push_back({uint32_t(i), last, now - last});
      last = now;
    }
  }
}

void CpuContext::help(unsigned) noexcept {
  FlushDenormals flush;
  ThreadPool &pool = program.device->threads();
  while (true) {
    const uint32_t seen = steps.load();
    if (leaving.load(std::memory_order_acquire))
      return;
    walk(announced.load(std::memory_order_acquire), nullptr);
    steps.waitPast(seen, pool.patience());
  }
}

void CpuContext::dismiss() {
  leaving.store(true, std::memory_order_release);
  steps.advance();
}

Status CpuContext::run(const Step &step) {
  prepare(step);
  FlushDenormals flush;
  if (step.checkNumerics)
    return runChecked(step.function);
  ThreadPool &pool = program.device->threads();
  uint32_t size = 0;
  while (size < paceSizes && (2u << size) <= uint32_t(dims.tokens))
    ++size;
  Pace always;
  always.team = longStep + 1;
  Pace &pace = size < paceSizes ? paces[step.function * paceSizes + size] : always;
  const bool team = wantsHelp(pace);
  const double began = microseconds();
  if (team) {
    announced.store(stepNumber, std::memory_order_release);
    leaving.store(false, std::memory_order_release);
    pool.engage(*this);
    steps.advance();
  }
  if (step.profile) {
    step.profile->clear();
    step.profile->reserve(prepared.size());
  }
  walk(stepNumber, step.profile);
  const double took = microseconds() - began;
  double &average = team ? pace.team : pace.solo;
  average = average == 0 ? took : 0.75 * average + 0.25 * took;
  return Status();
}

Status CpuContext::runChecked(uint32_t index) {
  const schema::Function &source = *program.target->functions()->Get(index);
  M1_TRY(checkable(source));
  for (uint32_t i = 0; i < prepared.size(); ++i) {
    runGroups(i, 0, prepared[i].groups);
    M1_TRY(checkNumerics(
        source, i,
        {uint64_t(dims.tokens), uint64_t(dims.logit_rows), uint64_t(vocabulary) * sizeof(float)},
        [&](uint32_t operand, uint64_t, const void **out) {
          *out = operands[function->launches[i].firstOperand + operand];
          return Status();
        }));
  }
  return Status();
}

Status CpuContext::finish(int32_t *outNextTokens) {
  if (!outNextTokens)
    return Status();
  std::memcpy(outNextTokens, ports[size_t(schema::Port::next_tokens)],
              size_t(dims.logit_rows) * sizeof(int32_t));
  const float *logits = reinterpret_cast<const float *>(ports[size_t(schema::Port::logits)]);
  for (int row = 0; tokenIds < vocabulary && row < dims.logit_rows; ++row)
    if (uint32_t(outNextTokens[row]) >= tokenIds) {
      SampledToken token;
      sampleOnHost(logits + uint64_t(row) * vocabulary, tokenIds, SamplingRow(), &token);
      outNextTokens[row] = token.token;
    }
  return Status();
}

Status CpuContext::downloadLogits(uint32_t first, uint32_t count, float *out) {
  if (uint64_t(first) + count > uint64_t(dims.logit_rows))
    return error(StatusCode::invalidArgument, "logits rows %u to %u of a step that has %d", first,
                 first + count, dims.logit_rows);
  std::memcpy(out,
              ports[size_t(schema::Port::logits)] + uint64_t(first) * vocabulary * sizeof(float),
              uint64_t(count) * vocabulary * sizeof(float));
  return Status();
}

Status CpuContext::sample(const SamplingRow *rows, uint32_t count) {
  const float *logits = reinterpret_cast<const float *>(ports[size_t(schema::Port::logits)]);
  const int32_t *likeliest =
      reinterpret_cast<const int32_t *>(ports[size_t(schema::Port::next_tokens)]);
  std::vector<SampledToken> tokens(count);
  // The plan itself has found the likeliest tokens. Of a row without one it is asked again here:
  // what is not a number may lie past the ids that can be chosen.
  std::vector<uint32_t> drawn;
  for (uint32_t i = 0; i < count; ++i) {
    tokens[i].token = likeliest[rows[i].row];
    if (!rows[i].greedy() || rows[i].needsLogitsOnHost() ||
        (tokenIds < vocabulary && uint32_t(tokens[i].token) >= tokenIds))
      drawn.push_back(i);
  }
  auto draw = [&](uint64_t begin, uint64_t end) {
    for (uint64_t j = begin; j < end; ++j) {
      const SamplingRow &row = rows[drawn[j]];
      sampleOnHost(logits + uint64_t(row.row) * vocabulary, tokenIds, row, &tokens[drawn[j]]);
    }
  };
  constexpr uint64_t worthSharing = 1 << 15; // logits: about 0.2 ms of work
  if (drawn.size() > 1 && drawn.size() * vocabulary >= worthSharing)
    program.device->threads().forRanges(drawn.size(), 1, draw);
  else
    draw(0, drawn.size());
  chosen.assign(size_t(dims.logit_rows), 0);
  for (uint32_t i = 0; i < count; ++i)
    chosen[rows[i].row] = tokens[i].token;
  untaken.push_back(std::move(tokens));
  return Status();
}

Status CpuContext::takeChosen(SampledToken *out) {
  std::move(untaken.front().begin(), untaken.front().end(), out);
  untaken.pop_front();
  return Status();
}

} // namespace m1rt
