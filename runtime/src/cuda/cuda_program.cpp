#include "cuda/cuda_program.h"

#include <algorithm>

namespace m1rt::cuda {

using schema::ElementType;
using schema::OperandKind;

Status CudaProgram::create(CudaDevice &device, const Artifact &artifact,
                           const schema::Target &target, std::vector<void *> weights,
                           std::unique_ptr<Program> *out) {
  std::unique_ptr<CudaProgram> program(
      new CudaProgram(device, artifact, target, std::move(weights)));
  M1_TRY(device.bind());
  M1_TRY(program->loadCode());
  M1_TRY(program->convertGemmWeights());
  M1_TRY(program->loadTuning());
  *out = std::move(program);
  return {};
}

int CudaProgram::suitability(const schema::Target &target, int capability) {
  int best = -1;
  if (target.code())
    for (const schema::Code *code : *target.code())
      best = std::max(best, suitabilityOf(*code, capability));
  return best;
}

CudaProgram::~CudaProgram() {
  (void)device.synchronize();
  for (auto &entry : converted)
    device.free(entry.second);
}

Status CudaProgram::loadCode() {
  int capability = device.capability();
  // The machine code nearest to this GPU, else PTX, which the driver compiles.
  const int best = suitability(target, capability);
  machineCode = best >= machineCodeSuits;
  std::string offered;
  uint32_t index = 0;
  if (target.code())
    for (const schema::Code *code : *target.code()) {
      const std::string chip = code->chip() ? code->chip()->str() : "";
      std::string name = code->format()->str() + " for " + (chip.empty() ? "?" : chip);
      if (offered.find(name) == std::string::npos)
        offered += (offered.empty() ? "" : ", ") + name;
      const int suits = suitabilityOf(*code, capability);
      const bool take = machineCode ? suits == best : suits >= 0;
      std::string what = formatted("code object %u (%s)", index++, code->format()->c_str());
      if (!take)
        continue;
      earlyLaunches = capabilityOf(chip, nullptr) >= 90 && (modules.empty() || earlyLaunches);
      Bytes bytes = artifact.segment(*code->data());
      // PTX must end in a zero byte
      std::string text(reinterpret_cast<const char *>(bytes.data), bytes.size);
      modules.push_back(std::make_unique<Module>(device.api()));
      M1_TRY(modules.back()->load(text.c_str(), what.c_str()));
    }
  if (modules.empty())
    return error(
        StatusCode::unsupported, "the artifact has no CUDA code for %s (sm_%d): it holds %s",
        device.info().name.c_str(), capability, offered.empty() ? "none" : offered.c_str());

  if (target.kernels())
    for (const schema::Kernel *kernel : *target.kernels()) {
      // The objects of every chip and format come in one order; a kernel's index counts within
      // them.
      CUfunction function = nullptr;
      if (kernel->code() < modules.size())
        M1_TRY(modules[kernel->code()]->find(kernel->symbol()->c_str(), &function));
      if (!function)
        return error(StatusCode::corrupt, "the artifact's CUDA code lacks kernel %s",
                     kernel->symbol()->c_str());
      if (kernel->shared_bytes())
        M1_TRY(device.api().check(device.api().cuFuncSetAttribute(
                                      function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                      int(kernel->shared_bytes())),
                                  "kernel %s asks for %u bytes of shared memory, which",
                                  kernel->symbol()->c_str(), kernel->shared_bytes()));
      if (kernel->symbol()->str() == M1_SAMPLE_KERNEL)
        sampler = int(kernels.size());
      kernels.push_back(function);
    }
  return {};
}

Status CudaProgram::convertWeight(uint32_t index, ElementType wanted) {
  const schema::Weight &weight = *artifact.module().weights()->Get(index);
  ElementType stored = weight.type()->element();
  if (stored == wanted || converted.count({index, wanted}))
    return {};
  uint64_t count = elementCount(*weight.type());
  void *memory = nullptr;
  std::string what =
      formatted("copy of weight %s as %s", weight.name()->c_str(), elementName(wanted));
  M1_TRY(device.allocate((Size(count) * elementSize(wanted)).get(), what.c_str(), &memory));
  converted[{index, wanted}] = memory;
  return device.convert(memory, wanted, weights[index], stored, count);
}

// The addresses never change on a GPU: graphs hold them.
Status CudaProgram::weightsWritten(const std::vector<void *> & /*addresses*/,
                                   const std::vector<uint32_t> &written) {
  for (const auto &[key, memory] : converted) {
    const auto &[index, type] = key;
    if (!std::binary_search(written.begin(), written.end(), index))
      continue;
    const schema::TensorType &stored = *artifact.module().weights()->Get(index)->type();
    M1_TRY(device.convert(memory, type, weights[index], stored.element(), elementCount(stored)));
  }
  return {};
}

void *CudaProgram::weightAs(uint32_t index, ElementType wanted) const {
  auto found = converted.find({index, wanted});
  return found == converted.end() ? weights[index] : found->second;
}

Status CudaProgram::convertGemmWeights() {
  for (const schema::Function *function : *target.functions())
    for (const schema::CommandHolder *holder : *function->commands()) {
      const schema::Gemm *gemm = holder->command_as_Gemm();
      if (!gemm)
        continue;
      if (!gemms)
        M1_TRY(GemmLibrary::create(&gemms));
      if (gemm->w()->kind() == OperandKind::weight)
        M1_TRY(convertWeight(gemm->w()->index(), gemm->a_type()));
      if (gemm->bias() && gemm->bias()->kind() == OperandKind::weight)
        M1_TRY(convertWeight(gemm->bias()->index(), gemm->out_type()));
    }
  return {};
}

Status CudaProgram::createContext(const ContextOptions &options, std::unique_ptr<Context> *out) {
  auto context = std::make_unique<CudaContext>(*this, options);
  M1_TRY(context->allocate());
  *out = std::move(context);
  return {};
}

bool CudaProgram::runs(uint32_t function) const {
  for (const schema::CommandHolder *holder : *target.functions()->Get(function)->commands())
    if (const schema::Launch *launch = holder->command_as_Launch();
        launch && target.kernels()->Get(launch->kernel())->tensor_maps() && !machineCode)
      return false;
  return true;
}

// No domain of a launch has more rows than the step has tokens.
uint32_t CudaProgram::maxTokensPerStep() const {
  uint32_t most = Program::maxTokensPerStep();
  for (const schema::Function *function : *target.functions())
    for (const schema::CommandHolder *holder : *function->commands())
      if (const schema::Launch *launch = holder->command_as_Launch();
          launch && launch->domain() != schema::RowDomain::one &&
          !(function->max_rows() && function->max_rows() <= maxGridY))
        most = std::min(most, maxGridY * std::min(std::max(1u, launch->rows_per_group()), 256u));
  return most;
}

uint64_t CudaProgram::contextBytes(const ContextOptions &options) const {
  return CudaContext::sizesOf(*this, options).total();
}

} // namespace m1rt::cuda
