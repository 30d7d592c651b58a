// The code of an artifact's cpu target, and the walk over its commands.
#include "artifact/artifact.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_features.h"
#include <chrono>
#include <cstring>
#include <xmmintrin.h>

namespace m1rt {

namespace {

constexpr size_t portCount = size_t(schema::Port::MAX) + 1;

uint64_t alignUp(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

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

/// Elements of each batch array.
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
  }
  return 0;
}

double microseconds() {
  using namespace std::chrono;
  return duration<double, std::micro>(steady_clock::now().time_since_epoch()).count();
}

/// Results below 1e-38 become zero while it lives: decayed states would otherwise turn denormal, which costs over 100 cycles an operation.
class FlushDenormals {
public:
  FlushDenormals() : saved(_mm_getcsr()) { _mm_setcsr(saved | 0x8040); } // FTZ, DAZ
  ~FlushDenormals() { _mm_setcsr(saved); }

private:
  unsigned saved;
};

} // namespace

class CpuContext final : public Context {
public:
  CpuContext(CpuProgram &program, const ContextOptions &options)
      : Context(program.vocabulary), program(program), options(options) {}
  ~CpuContext() override { program.device->free(memory); }

  Status initialise();
  Status run(const Step &step) override;
  Status finish(int32_t *outNextTokens) override;
  Status downloadLogits(uint32_t first, uint32_t count, float *out) override;

private:
  void *resolve(const CpuProgram::Operand &operand) const;
  void prepare(const Step &step);
  void execute(unsigned thread, std::vector<CommandTime> *profile);

  struct Prepared {
    uint32_t groups;
    uint32_t groupsY;
    uint32_t piece; // groups that a thread takes at once
  };

  CpuProgram &program;
  ContextOptions options;
  void *memory = nullptr;
  char *ports[portCount] = {};
  char *temporary = nullptr, *rowTemporary = nullptr, *workspace = nullptr;

  // Of the last step; pointers stay as they are while function, T and L do.
  const CpuProgram::Function *function = nullptr;
  m1_dims dims = {};
  std::vector<void *> operands;
  std::vector<Prepared> prepared;
  struct alignas(64) Counter {
    std::atomic<uint32_t> next{0};
  };
  std::unique_ptr<Counter[]> counters; // one a command, so that no thread has to reset one that another still reads
};

Status CpuContext::initialise() {
  CpuProgram::Sizes sizes = program.sizes(options);
  M1_TRY(program.device->allocate(program.contextBytes(options), "arenas and outputs", &memory));
  char *next = static_cast<char *>(memory);
  auto take = [&](uint64_t bytes) {
    char *start = next;
    next += alignUp(bytes);
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
  counters.reset(new Counter[commands]);
  operands.reserve(operandCount);
  prepared.reserve(commands);
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
  const bool same = next == function && step.dims.tokens == dims.tokens && step.dims.sequences == dims.sequences &&
                    step.dims.logit_rows == dims.logit_rows;
  function = next;
  dims = step.dims;
  for (uint32_t i = 0; i < inputPortCount; ++i)
    if (uint64_t elements = portElements(schema::Port(i), dims))
      std::memcpy(ports[i], step.arrays[i], elements * sizeof(int32_t));
  for (size_t i = 0; i < function->launches.size(); ++i)
    counters[i].next.store(0, std::memory_order_relaxed);
  if (same)
    return;
  operands.clear();
  for (const CpuProgram::Operand &operand : function->operands)
    operands.push_back(resolve(operand));
  prepared.clear();
  const uint32_t threads = program.device->threads().size();
  for (const CpuProgram::Launch &launch : function->launches) {
    uint32_t rows = domainRows(launch.domain, dims);
    uint32_t groupsY = (rows + launch.rowsPerGroup - 1) / launch.rowsPerGroup;
    uint32_t groups = launch.gridX * groupsY;
    // 8 pieces a thread: a thread that was held up costs an eighth of its share, and the counter is touched rarely.
    prepared.push_back({groups, groupsY, std::max(1u, groups / (threads * 8))});
  }
}

void CpuContext::execute(unsigned thread, std::vector<CommandTime> *profile) {
  FlushDenormals flush;
  ThreadPool &pool = program.device->threads();
  const double began = profile && thread == 0 ? microseconds() : 0;
  double last = 0;
  for (size_t i = 0; i < prepared.size(); ++i) {
    const CpuProgram::Launch &launch = function->launches[i];
    const Prepared &shape = prepared[i];
    void *const *arguments = operands.data() + launch.firstOperand;
    for (uint32_t begin; (begin = counters[i].next.fetch_add(shape.piece, std::memory_order_relaxed)) < shape.groups;) {
      uint32_t end = std::min(begin + shape.piece, shape.groups);
      // y runs fastest: groups of one x share their weights, which stay in the core's cache from one row block to the next.
      uint32_t x = begin / shape.groupsY, y = begin % shape.groupsY;
      for (uint32_t group = begin; group < end; ++group) {
        launch.kernel(arguments, &dims, int(x), int(y));
        if (++y == shape.groupsY)
          y = 0, ++x;
      }
    }
    if (i + 1 < prepared.size() || profile)
      pool.barrier();
    if (profile && thread == 0) {
      double now = microseconds() - began;
      profile->push_back({uint32_t(i), last, now - last});
      last = now;
    }
  }
}

Status CpuContext::run(const Step &step) {
  prepare(step);
  if (step.profile) {
    step.profile->clear();
    step.profile->reserve(function->launches.size());
  }
  std::vector<CommandTime> *profile = step.profile;
  program.device->threads().run([this, profile](unsigned thread) { execute(thread, profile); });
  return Status();
}

Status CpuContext::finish(int32_t *outNextTokens) {
  if (outNextTokens)
    std::memcpy(outNextTokens, ports[size_t(schema::Port::next_tokens)], size_t(dims.logit_rows) * sizeof(int32_t));
  return Status();
}

Status CpuContext::downloadLogits(uint32_t first, uint32_t count, float *out) {
  if (uint64_t(first) + count > uint64_t(dims.logit_rows))
    return error(StatusCode::invalidArgument, "logits rows %u to %u of a step that has %d", first, first + count, dims.logit_rows);
  std::memcpy(out, ports[size_t(schema::Port::logits)] + uint64_t(first) * vocabulary * sizeof(float),
              uint64_t(count) * vocabulary * sizeof(float));
  return Status();
}

Status CpuProgram::create(CpuDevice &device, const Artifact &artifact, const schema::Target &target,
                          std::vector<void *> weights, std::unique_ptr<Program> *out) {
  M1_TRY(checkCpuFeatures(target, hostCpu()));
  std::unique_ptr<CpuProgram> program(new CpuProgram());
  program->device = &device;
  program->vocabulary = artifact.module().vocab_size();
  program->weights = std::move(weights);

  for (uint32_t i = 0; target.code() && i < target.code()->size(); ++i) {
    const schema::Code &code = *target.code()->Get(i);
    if (code.format()->str() != "elf")
      return error(StatusCode::unsupported, "code %u: format \"%s\" does not run on a cpu", i, code.format()->c_str());
    ElfCode loaded;
    M1_TRY(ElfCode::load(artifact.segment(*code.data()), &loaded).prefixed(formatted("code %u", i)));
    program->code.push_back(std::move(loaded));
  }
  std::vector<CpuKernel> kernels;
  for (uint32_t i = 0; target.kernels() && i < target.kernels()->size(); ++i) {
    const schema::Kernel &kernel = *target.kernels()->Get(i);
    void *address = program->code[kernel.code()].find(kernel.symbol()->c_str());
    if (!address)
      return error(StatusCode::corrupt, "kernel %u: code %u has no symbol \"%s\"", i, kernel.code(), kernel.symbol()->c_str());
    kernels.push_back(reinterpret_cast<CpuKernel>(address));
  }
  for (const schema::Function *source : *target.functions()) {
    Function function;
    function.temporaryBytesPerRow = source->temporary_bytes_per_row();
    function.rowTemporaryBytesPerRow = source->row_temporary_bytes_per_row();
    function.workspaceBytes = source->workspace_bytes();
    for (uint32_t i = 0; source->commands() && i < source->commands()->size(); ++i) {
      const schema::Launch *launch = source->commands()->Get(i)->command_as_Launch();
      if (!launch)
        return error(StatusCode::unsupported, "function \"%s\", command %u: the cpu device runs launches only",
                     source->name()->c_str(), i);
      Launch command;
      command.kernel = kernels[launch->kernel()];
      command.firstOperand = uint32_t(function.operands.size());
      command.operandCount = launch->operands() ? launch->operands()->size() : 0;
      command.gridX = launch->grid_x();
      command.rowsPerGroup = launch->rows_per_group();
      command.domain = launch->domain();
      for (uint32_t j = 0; j < command.operandCount; ++j) {
        const schema::Operand &operand = *launch->operands()->Get(j);
        function.operands.push_back({operand.kind(), operand.index(), operand.arena_offset(), operand.offset()});
      }
      function.launches.push_back(command);
    }
    program->functions.push_back(std::move(function));
  }
  *out = std::move(program);
  return Status();
}

CpuProgram::Sizes CpuProgram::sizes(const ContextOptions &options) const {
  m1_dims dims = {int(options.maxTokens), int(options.maxSequences), int(options.maxLogitRows), int(options.maxPages)};
  Sizes sizes = {};
  for (size_t i = 0; i < portCount; ++i)
    sizes.ports[i] = portElements(schema::Port(i), dims) * (schema::Port(i) == schema::Port::logits ? vocabulary : 1) * 4;
  for (const Function &function : functions) {
    sizes.temporary = std::max(sizes.temporary, function.temporaryBytesPerRow * options.maxTokens);
    sizes.rowTemporary = std::max(sizes.rowTemporary, function.rowTemporaryBytesPerRow * options.maxLogitRows);
    sizes.workspace = std::max(sizes.workspace, function.workspaceBytes);
  }
  return sizes;
}

uint64_t CpuProgram::contextBytes(const ContextOptions &options) const {
  Sizes all = sizes(options);
  uint64_t total = alignUp(all.temporary) + alignUp(all.rowTemporary) + alignUp(all.workspace);
  for (uint64_t bytes : all.ports)
    total += alignUp(bytes);
  return total;
}

Status CpuProgram::createContext(const ContextOptions &options, std::unique_ptr<Context> *out) {
  std::unique_ptr<CpuContext> context(new CpuContext(*this, options));
  M1_TRY(context->initialise());
  *out = std::move(context);
  return Status();
}

} // namespace m1rt
