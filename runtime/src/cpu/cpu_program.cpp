// The code of an artifact's cpu target.
#include "artifact/artifact.h"
#include "base/size.h"
#include "cpu/cpu_context.h"
#include "cpu/cpu_features.h"
#include <algorithm>

namespace m1rt {

Status CpuProgram::create(CpuDevice &device, const Artifact &artifact, const schema::Target &target,
                          std::vector<void *> weights, std::unique_ptr<Program> *out) {
  M1_TRY(checkCpuFeatures(target, hostCpu()));
  std::unique_ptr<CpuProgram> program(new CpuProgram());
  program->device = &device;
  program->target = &target;
  program->vocabulary = artifact.module().vocab_size();
  program->weights = std::move(weights);

  for (uint32_t i = 0; target.code() && i < target.code()->size(); ++i) {
    const schema::Code &code = *target.code()->Get(i);
    if (code.format()->str() != "elf")
      return error(StatusCode::unsupported, "code %u: format \"%s\" does not run on a cpu", i,
                   code.format()->c_str());
    ElfCode loaded;
    M1_TRY(
        ElfCode::load(artifact.segment(*code.data()), &loaded).prefixed(formatted("code %u", i)));
    program->code.push_back(std::move(loaded));
  }
  std::vector<CpuKernel> kernels;
  for (uint32_t i = 0; target.kernels() && i < target.kernels()->size(); ++i) {
    const schema::Kernel &kernel = *target.kernels()->Get(i);
    void *address = program->code[kernel.code()].find(kernel.symbol()->c_str());
    if (!address)
      return error(StatusCode::corrupt, "kernel %u: code %u has no symbol \"%s\"", i, kernel.code(),
                   kernel.symbol()->c_str());
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
        return error(StatusCode::unsupported,
                     "function \"%s\", command %u: the cpu device runs launches only",
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
        function.operands.push_back(
            {operand.kind(), operand.index(), operand.arena_offset(), operand.offset()});
      }
      function.launches.push_back(command);
    }
    program->functions.push_back(std::move(function));
  }
  *out = std::move(program);
  return Status();
}

/// A context counts the groups of a launch in 32 bits.
uint32_t CpuProgram::maxTokensPerStep() const {
  uint64_t most = Program::maxTokensPerStep();
  for (const Function &function : functions)
    for (const Launch &launch : function.launches)
      most = std::min<uint64_t>(most, uint64_t(INT32_MAX / launch.gridX) * launch.rowsPerGroup);
  return uint32_t(most);
}

CpuProgram::Sizes CpuProgram::sizes(const ContextOptions &options) const {
  m1_dims dims = {int(options.maxTokens), int(options.maxSequences), int(options.maxLogitRows),
                  int(options.maxPages)};
  Sizes sizes = {};
  auto padded = [](Size bytes) { return bytes.alignedTo(256).get(); };
  for (size_t i = 0; i < portCount; ++i)
    sizes.ports[i] = padded(Size(portElements(schema::Port(i), dims)) *
                            (schema::Port(i) == schema::Port::logits ? vocabulary : 1) * 4);
  for (const Function &function : functions) {
    sizes.temporary =
        std::max(sizes.temporary, padded(Size(function.temporaryBytesPerRow) * options.maxTokens));
    sizes.rowTemporary = std::max(
        sizes.rowTemporary, padded(Size(function.rowTemporaryBytesPerRow) * options.maxLogitRows));
    sizes.workspace = std::max(sizes.workspace, padded(function.workspaceBytes));
  }
  return sizes;
}

uint64_t CpuProgram::contextBytes(const ContextOptions &options) const {
  Sizes all = sizes(options);
  Size total = Size(all.temporary) + all.rowTemporary + all.workspace;
  for (uint64_t bytes : all.ports)
    total += bytes;
  return total.get();
}

Status CpuProgram::weightsWritten(const std::vector<void *> &addresses,
                                  const std::vector<uint32_t> & /*written*/) {
  std::copy(addresses.begin(), addresses.end(), weights.begin());
  ++placement;
  return Status();
}

Status CpuProgram::createContext(const ContextOptions &options, std::unique_ptr<Context> *out) {
  std::unique_ptr<CpuContext> context(new CpuContext(*this, options));
  M1_TRY(context->initialise());
  *out = std::move(context);
  return Status();
}

} // namespace m1rt
