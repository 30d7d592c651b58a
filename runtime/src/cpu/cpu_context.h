// Executes steps on the CPU: walks the commands of a plan, their groups shared out over the thread
// pool.
//
// Every thread walks the command list by itself. For each command it claims pieces of the grid
// until there are none, waits until all claimed groups are done, and goes on. So nobody waits for a
// thread that has nothing in its hands: a helper that the system has put to sleep delays a step
// only while it holds a piece, and one that comes late runs past what is done. Counters carry the
// number of the step; a helper from an earlier step finds other numbers and leaves.
#ifndef M1RT_CPU_CPU_CONTEXT_H
#define M1RT_CPU_CPU_CONTEXT_H

#include "cpu/cpu_device.h"
#include <atomic>
#include <deque>
#include <memory>

namespace m1rt {

/// Elements of a batch array or output; logits count as one element a row.
uint64_t portElements(schema::Port port, const m1_dims &dims);

class CpuContext final : public Context, private TeamJob {
public:
  CpuContext(CpuProgram &program, const ContextOptions &options)
      : Context(program.vocabulary, options.tokenIds), program(program), options(options) {}
  ~CpuContext() override;

  Status initialise();
  Status run(const Step &step) override;
  Status finish(int32_t *outNextTokens) override;
  Status downloadLogits(uint32_t first, uint32_t count, float *out) override;
  /// From the logits where they are; many rows are shared out over the threads.
  Status sample(const SamplingRow *rows, uint32_t count) override;
  Status takeChosen(SampledToken *out) override;
  bool asynchronous() const override { return false; }

private:
  /// A command with the sizes of the step at hand.
  struct Prepared {
    uint32_t groups;
    uint32_t groupsY;
    uint32_t piece; // groups that a thread claims at once
  };
  /// Progress of a command: step number in the upper half, groups in the lower.
  struct alignas(64) Progress {
    std::atomic<uint64_t> claimed{0};
    std::atomic<uint64_t> done{0};
  };
  /// How long steps of one size have taken with helpers and without.
  struct Pace {
    double team = 0, solo = 0; // µs, moving averages
    uint32_t steps = 0;
  };

  Status runChecked(uint32_t function);
  void help(unsigned thread) noexcept override;
  void dismiss() override;
  void *resolve(const CpuProgram::Operand &operand) const;
  void prepare(const Step &step);
  bool wantsHelp(Pace &pace) const;
  void walk(uint32_t step, std::vector<CommandTime> *profile);
  void runGroups(size_t command, uint32_t begin, uint32_t end);

  CpuProgram &program;
  ContextOptions options;
  void *memory = nullptr;
  char *ports[portCount] = {};
  char *temporary = nullptr, *rowTemporary = nullptr, *workspace = nullptr;

  // Of the last step; what helpers read stays as it is while function and sizes do.
  const CpuProgram::Function *function = nullptr;
  m1_dims dims = {};
  uint64_t placement = 0; // CpuProgram::placement
  std::vector<void *> operands;
  std::vector<Prepared> prepared;
  std::unique_ptr<Progress[]> progress; // of each command
  uint32_t stepNumber = 0;
  std::deque<std::vector<SampledToken>> untaken; // of samplings, oldest first
  std::vector<int32_t> chosen;                   // of the last sampling, by logits row
  Epoch steps;                                   // advanced when helpers should look at a new step
  std::atomic<uint32_t> announced{0};            // that step's number
  std::atomic<bool> leaving{false};
  std::vector<Pace> paces; // by function and log2 of T
};

} // namespace m1rt

#endif
