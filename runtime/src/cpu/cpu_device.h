// The CPU as a device: memory is the process's, code is ELF, launches are spread over a thread
// pool. All operations are done when their call returns.
#ifndef M1RT_CPU_CPU_DEVICE_H
#define M1RT_CPU_CPU_DEVICE_H

#include "cpu/elf_code.h"
#include "cpu/thread_pool.h"
#include "device.h"

namespace m1rt {

using CpuKernel = void (*)(void *const *operands, const m1_dims *dims, int groupX, int groupY);

class CpuDevice final : public Device {
public:
  explicit CpuDevice(unsigned threads);

  Status freeMemory(uint64_t *out) const override;
  Status allocate(uint64_t bytes, const char *what, void **out) override;
  void free(void *memory) override;
  bool readsHostMemory() const override { return true; }
  Status upload(void *target, const void *source, uint64_t bytes) override;
  Status download(void *target, const void *source, uint64_t bytes) override;
  Status copy(void *target, const void *source, uint64_t bytes) override;
  Status clear(void *target, uint64_t bytes) override;
  Status fillDummy(void *target, schema::ElementType type, uint64_t count, uint64_t seed,
                   uint32_t weight, float scale, float offset) override;
  Status synchronize() override { return Status(); }
  Status checkDeviceMemory(const void *memory) const override;
  Status writeWeights(const std::vector<WeightPart> &parts) override;
  int suitability(const schema::Target &target) const override;
  Status createProgram(const Artifact &artifact, const schema::Target &target,
                       std::vector<void *> weights, std::unique_ptr<Program> *out) override;

  ThreadPool &threads() { return pool; }

private:
  ThreadPool pool;
};

class CpuProgram final : public Program {
public:
  /// One command of a function, ready but for the sizes of the step.
  struct Launch {
    CpuKernel kernel;
    uint32_t firstOperand; // into Function::operands
    uint32_t operandCount;
    uint32_t gridX;
    uint32_t rowsPerGroup;
    schema::RowDomain domain;
  };
  struct Operand {
    schema::OperandKind kind;
    uint32_t index;
    uint64_t arenaOffset;
    uint64_t offset;
  };
  struct Function {
    std::vector<Launch> launches;
    std::vector<Operand> operands;
    uint64_t temporaryBytesPerRow, rowTemporaryBytesPerRow, workspaceBytes;
  };

  static Status create(CpuDevice &device, const Artifact &artifact, const schema::Target &target,
                       std::vector<void *> weights, std::unique_ptr<Program> *out);
  Status createContext(const ContextOptions &options, std::unique_ptr<Context> *out) override;
  uint64_t contextBytes(const ContextOptions &options) const override;
  uint32_t maxTokensPerStep() const override;
  Status weightsWritten(const std::vector<void *> &addresses,
                        const std::vector<uint32_t> &written) override;

  CpuDevice *device = nullptr;
  const schema::Target *target = nullptr;
  uint32_t vocabulary = 0;
  std::vector<void *> weights;
  uint64_t placement = 0; // counts how often `weights` has changed
  std::vector<Function> functions;

private:
  /// Bytes of each of the context's buffers, multiples of 256.
  struct Sizes {
    uint64_t ports[portCount], temporary, rowTemporary, workspace;
  };
  Sizes sizes(const ContextOptions &options) const;
  std::vector<ElfCode> code;
  friend class CpuContext;
};

} // namespace m1rt

#endif
