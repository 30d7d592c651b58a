// An artifact's CUDA code on a device, and the contexts that run it.
#ifndef M1RT_CUDA_CUDA_PROGRAM_H
#define M1RT_CUDA_CUDA_PROGRAM_H

#include "artifact/artifact.h"
#include "base/size.h"
#include "cuda/cublaslt.h"
#include "cuda/cuda_device.h"
#include <array>
#include <map>

namespace m1rt::cuda {

constexpr uint32_t maxGridY = 65535; // blocks of a launch along y

class CudaProgram final : public Program {
public:
  static Status create(CudaDevice &device, const Artifact &artifact, const schema::Target &target,
                       std::vector<void *> weights, std::unique_ptr<Program> *out);
  ~CudaProgram() override;
  /// Device::suitability for a GPU of this compute capability.
  static int suitability(const schema::Target &target, int capability);

  Status createContext(const ContextOptions &options, std::unique_ptr<Context> *out) override;
  uint64_t contextBytes(const ContextOptions &options) const override;
  uint32_t maxTokensPerStep() const override;
  bool runs(uint32_t function) const override;
  Status weightsWritten(const std::vector<void *> &addresses,
                        const std::vector<uint32_t> &written) override;
  Status tune(const std::vector<uint32_t> &rows,
              const std::function<void(const std::string &)> &report, std::string *out) override;
  std::string tuning() const override { return tuningText; }

private:
  friend class CudaContext;
  CudaProgram(CudaDevice &device, const Artifact &artifact, const schema::Target &target,
              std::vector<void *> weights)
      : device(device), artifact(artifact), target(target), weights(std::move(weights)) {}
  Status loadCode();
  Status convertGemmWeights();
  Status loadTuning();
  Status convertWeight(uint32_t index, schema::ElementType wanted);
  /// The weight as matrix products of the type read it.
  void *weightAs(uint32_t index, schema::ElementType wanted) const;

  CudaDevice &device;
  const Artifact &artifact;
  const schema::Target &target;
  std::vector<void *> weights;
  // Weights that matrix products need in another type than they are stored in (f32 products of bf16
  // weights, bf16 biases): copies.
  std::map<std::pair<uint32_t, schema::ElementType>, void *> converted;
  std::vector<std::unique_ptr<Module>> modules;
  std::vector<CUfunction> kernels; // by index into Target.kernels
  // the loaded code is for sm_90 or newer: Kernel.launch_early holds
  bool earlyLaunches = false;
  // the loaded code is machine code: kernels with tensor maps have a body
  bool machineCode = false;
  int sampler = -1;                   // index of M1_SAMPLE_KERNEL, if the target has it
  std::unique_ptr<GemmLibrary> gemms; // null when no function has a gemm
  std::string tuningText;
};

/// Steps run as they come, but those of `decode`: these are padded to a bucket of sequences with
/// the scratch slot and page, and each bucket's commands become a CUDA graph after its first step.
class CudaContext final : public Context {
public:
  CudaContext(CudaProgram &program, const ContextOptions &options);
  ~CudaContext() override;
  Status allocate();

  Status run(const Step &step) override;
  Status finish(int32_t *outNextTokens) override;
  Status downloadLogits(uint32_t first, uint32_t count, float *out) override;
  /// On the device, but for rows that need their logits on the host.
  Status sample(const SamplingRow *rows, uint32_t count) override;
  Status takeChosen(SampledToken *out) override;
  bool asynchronous() const override { return true; }
  uint32_t largerStep(uint32_t sequences) const override {
    return bucketOf(sequences + 1, UINT32_MAX);
  }
  StepTraits traits() const override;

  /// Sequences that a decode step of `sequences` is padded to.
  static uint32_t bucketOf(uint32_t sequences, uint32_t maxSequences);

private:
  friend class CudaProgram;

  /// Where the arrays of a step lie in the array block, in bytes.
  struct ArrayLayout {
    std::array<uint64_t, portCount> offset;
    std::array<uint64_t, portCount> size;
    uint64_t chosenRows = 0; // offset of Step.chosenRows, behind the arrays
    uint64_t total = 0;
  };
  /// `shared`: with the prefix arrays.
  static ArrayLayout layoutOf(const m1_dims &dims, bool shared);
  /// Device memory of a context, part by part.
  struct Sizes {
    uint64_t arrays = 0, temporaries = 0, rowTemporaries = 0, workspace = 0, logits = 0,
             nextTokens = 0, sampling = 0;
    uint64_t total() const {
      return (Size(arrays) + temporaries + rowTemporaries + workspace + logits + nextTokens +
              sampling)
          .get();
    }
  };
  static Sizes sizesOf(const CudaProgram &program, const ContextOptions &options);

  static uint64_t samplingBytes(uint32_t rows);
  struct Sampling;
  Status launchSampler(const SamplingRow *rows, uint32_t count, Sampling &entry);
  void writeArrays(const Step &step, const m1_dims &padded, const ArrayLayout &layout,
                   char *out) const;
  Status enqueue(const schema::Function &function, const m1_dims &dims, const ArrayLayout &layout);
  Status enqueueCommand(const schema::CommandHolder &command, const m1_dims &dims,
                        const ArrayLayout &layout);
  Status enqueueLaunch(const schema::Launch &launch, const m1_dims &dims,
                       const ArrayLayout &layout);
  Status encode(const schema::TensorMap &map, CUdeviceptr memory, uint32_t rows,
                CUtensorMap *out) const;
  Status enqueueGemm(const schema::Gemm &gemm, const m1_dims &dims, const ArrayLayout &layout);
  Status runChecked(const schema::Function &function, const m1_dims &dims, const m1_dims &own,
                    const ArrayLayout &layout);
  Status runProfiled(const schema::Function &function, const m1_dims &dims,
                     const ArrayLayout &layout, std::vector<CommandTime> &profile);
  Status dropOldGraphs();
  Status capture(const schema::Function &function, const m1_dims &dims, const ArrayLayout &layout,
                 CUgraphExec *out);
  CUdeviceptr resolve(const schema::Operand &operand, const m1_dims &dims,
                      const ArrayLayout &layout) const;
  static uint32_t rowsOf(schema::RowDomain domain, const m1_dims &dims);

  CudaProgram &program;
  CudaDevice &device;
  const Driver &driver;
  const ContextOptions options;
  Sizes sizes;
  void *arrays = nullptr, *temporaries = nullptr, *rowTemporaries = nullptr, *workspace = nullptr,
       *logits = nullptr, *nextTokens = nullptr;
  // parameters of the rows and what was drawn; see cuda_sampling.cpp
  void *sampling = nullptr;
  const int32_t *chosen = nullptr; // in device memory: tokens of the last sampling, by logits row
  CUdeviceptr gemmWorkspace = 0;   // at the end of `workspace`

  /// One sample() until its tokens are taken.
  struct Sampling {
    char *host = nullptr; // page-locked image of `sampling`
    CUevent done = nullptr;
    uint32_t rows = 0;                // logits rows of the step
    std::vector<uint32_t> wanted;     // of each token asked for: its logits row
    std::vector<SampledToken> onHost; // in its place, where the host has sampled; else empty
  };
  std::array<Sampling, 2> samplings;
  unsigned nextSampling = 0, nextTaken = 0; // modulo the size
  std::vector<float> downloaded;            // a row of logits

  // Page-locked images of the arrays, in turn, so that a step can be prepared while the one before
  // is still copying.
  struct HostArrays {
    char *memory = nullptr;
    CUevent copied = nullptr;
  };
  HostArrays hostArrays[2];
  unsigned nextHostArrays = 0;
  int32_t *hostNextTokens = nullptr;
  CUevent stepDone = nullptr;
  uint32_t firstLogitRow = 0; // of the pass at hand
  uint32_t lastLogitRows = 0; // of all passes of the last step
  bool stepPending = false;

  struct Bucket {
    bool warm = false; // its first step ran: code is loaded, products' algorithms are chosen
    CUgraphExec graph = nullptr;
    uint64_t used = 0; // graphUses when it last was
  };
  std::map<std::array<uint32_t, 3>, Bucket> buckets; // by function, sequences, logit rows
  uint64_t graphUses = 0;
  std::vector<CUevent> profileEvents;
};

} // namespace m1rt::cuda

#endif
