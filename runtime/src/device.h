// What a device is to the runtime: memory, code, and the execution of plan functions. The CPU
// (src/cpu) and CUDA (src/cuda) implement it; sessions and the engine know nothing else about
// devices.
//
//   Device   one piece of hardware with one stream of work.
//   Program  the code of one artifact's target on a device, with the weights bound. Shared by
//     contexts.
//   Context  what a session executes steps with: arenas, batch arrays and outputs for a largest
//     step, states bound.
//
// Stream: operations marked "in order" take effect in the order of their calls, possibly after the
// call has returned; synchronize() and Context::finish() wait for them. One thread uses a device at
// a time.
#ifndef M1RT_DEVICE_H
#define M1RT_DEVICE_H

#include "artifact/elements.h"
#include "base/bytes.h"
#include "m1k_abi.h"
#include "module_generated.h"
#include "sampling.h"
#include "status.h"
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace m1rt {

namespace schema = ::m1::schema;

class Artifact;
class Context;
class Program;

constexpr uint32_t portCount = uint32_t(schema::Port::MAX) + 1;
/// Whether the port (a schema::Port) is an input; logits and next tokens are outputs.
constexpr bool isBatchArray(uint32_t port) {
  return port < portCount && port != uint32_t(schema::Port::logits) &&
         port != uint32_t(schema::Port::next_tokens);
}

struct CopyRange {
  void *target;
  const void *source;
  uint64_t bytes;
};

/// Neighbouring elements of a weight, made of as many neighbouring ones of a checkpoint tensor.
struct WeightPart {
  void *target = nullptr;                                    // on the device
  schema::ElementType targetType = schema::ElementType::f32; // f32, bf16
  const void *source = nullptr;
  schema::ElementType sourceType = schema::ElementType::f32; // f32, bf16, f16
  bool sourceOnDevice = false;                               // else in host memory
  uint64_t count = 0;
  schema::WeightTransform transform = schema::WeightTransform::none; // of plain weights
};

struct DeviceInfo {
  std::string target; // Target.name whose code it runs: cpu, cuda
  std::string name;   // of the hardware
  uint64_t totalMemory = 0;
};

struct DeviceOptions {
  uint32_t threads = 0; // CPU: 0 means one a physical core that the process may use
  // CUDA: path of a table that Program::tune made; empty: the artifact's, if it holds one for this
  // GPU and library
  std::string tuning;
};

/// What a context must be able to run, and the pools it works on.
struct ContextOptions {
  uint32_t maxTokens = 0;    // T of the largest step
  uint32_t maxSequences = 0; // S
  uint32_t maxLogitRows = 0; // L
  uint32_t maxPages = 0;     // row stride of block_tables: pages of the longest sequence
  uint32_t scratchSlot = 0;  // slot and page that belong to no sequence: for padded rows of a batch
  uint32_t scratchPage = 0;
  // ids from 0 that sampling may choose, at most the vocabulary; 0: the vocabulary
  uint32_t tokenIds = 0;
  std::vector<void *> states; // device base address of each of Module.states
};

/// When one command of a step ran; microseconds since the step began.
struct CommandTime {
  uint32_t command = 0; // index into Function.commands
  double start = 0;
  double duration = 0;
};

/// One forward pass. All arrays are host memory, complete and validated (model/session does both);
/// they are copied before run() returns.
struct Step {
  uint32_t function = 0; // index into Target.functions
  m1_dims dims = {};     // max_pages equals ContextOptions.maxPages
  /// By schema::Port; shapes in docs/architecture.md. Null: outputs, and the prefix arrays where
  /// the function is not decode_shared.
  const int32_t *arrays[portCount] = {};
  /// When set, [T]: where not negative, the token is not that of `tokens` but what the last
  /// Context::sample() chose for this logits row.
  const int32_t *chosenRows = nullptr;
  /// Where this pass's logits rows begin among those of the outputs: more than 0 when the passes
  /// before it belong to the same step and their rows stay.
  uint32_t firstLogitRow = 0;
  /// When set, filled with one entry a command; commands then run one by one, slower than
  /// otherwise.
  std::vector<CommandTime> *profile = nullptr;
  /// Looks at what every command has written before the next one runs (numerics.h); slow.
  bool checkNumerics = false;
};

struct StepTraits {
  /// A step of at least so many one-token sequences, and of others besides, is faster as two
  /// passes, although the weights are then read twice. 0: never.
  uint32_t passesFrom = 0;
  /// When reading shared KV pages once saves so many bytes, decode_shared is faster than decode.
  uint64_t sharedBytesFrom = UINT64_MAX;
  /// Blocks of the kernel that reads them which run at once, and query rows that each takes.
  uint32_t sharedBlocks = 1, sharedRows = 1;
};

/// Executes steps. Made by Program::createContext; must be destroyed before its program and the
/// states it was given.
class Context {
public:
  virtual ~Context() = default;

  /// Runs the step, in order. Allocates nothing and does not wait for the device.
  virtual Status run(const Step &step) = 0;
  /// Waits for the last step and gives its `next_tokens`, those of all its passes (may be null).
  virtual Status finish(int32_t *outNextTokens) = 0;
  /// Copies rows [first, first + count) of the last step's logits to host memory, [count,
  /// vocab_size] floats, and waits.
  virtual Status downloadLogits(uint32_t first, uint32_t count, float *out) = 0;
  /// Chooses a token from each of these rows of the last step's logits, in order. Waits for the
  /// device only when a row needs its logits on the host. At most SequenceBackend::maxUntaken
  /// samplings may wait for takeChosen().
  virtual Status sample(const SamplingRow *rows, uint32_t count) = 0;
  /// Waits for the oldest sample() not taken yet and gives its tokens, [count].
  virtual Status takeChosen(SampledToken *out) = 0;
  /// Whether run() and sample() return before the device is done.
  virtual bool asynchronous() const = 0;
  /// The next larger number of one-token sequences whose steps run otherwise than those of so many.
  virtual uint32_t largerStep(uint32_t sequences) const { return sequences + 1; }
  /// What makes steps fast on the device.
  virtual StepTraits traits() const { return {}; }

protected:
  Context(uint32_t vocabulary, uint32_t tokenIds)
      : vocabulary(vocabulary), tokenIds(tokenIds ? std::min(tokenIds, vocabulary) : vocabulary) {}
  uint32_t vocabulary, tokenIds;
};

/// Loaded code and bound weights.
class Program {
public:
  virtual ~Program() = default;
  /// Allocates arenas, batch arrays and outputs for the largest step; everything that steps need.
  virtual Status createContext(const ContextOptions &options, std::unique_ptr<Context> *out) = 0;
  /// Tokens that the largest step can have.
  virtual uint32_t maxTokensPerStep() const { return 1u << 24; }
  /// Whether the code at hand has all kernels of the function; of those with min_rows alone it may
  /// lack some.
  virtual bool runs(uint32_t function) const {
    (void)function;
    return true;
  }
  /// Measures which ways of computing its products are fastest in steps of so many rows, on this
  /// hardware, and gives them as the text of a table for DeviceOptions.tuning. `report` gets a line
  /// for each. Unsupported where there is nothing to choose.
  virtual Status tune(const std::vector<uint32_t> &rows,
                      const std::function<void(const std::string &)> &report, std::string *out) {
    (void)rows, (void)report, (void)out;
    return error(StatusCode::unsupported, "this device has nothing to tune");
  }
  /// How its products are computed where tables of measured ones were given, in words; else empty.
  virtual std::string tuning() const { return ""; }
  /// Device memory that createContext would take, in bytes. For sizing pools beforehand.
  virtual uint64_t contextBytes(const ContextOptions &options) const = 0;
  /// What has been written to these of Module.weights, which lie at `weights` from now on, becomes
  /// what contexts read in their next step. In order; allocates nothing.
  virtual Status weightsWritten(const std::vector<void *> &weights,
                                const std::vector<uint32_t> &written) = 0;
};

class Device {
public:
  virtual ~Device() = default;

  const DeviceInfo &info() const { return deviceInfo; }
  /// Bytes that allocate() could still give, as far as the device can tell. An error when it does
  /// not answer.
  virtual Status freeMemory(uint64_t *out) const = 0;

  /// Device memory, aligned to 256 bytes, contents undefined; at least 1 byte. `what` names it in
  /// the error ("weights", "kv pages").
  virtual Status allocate(uint64_t bytes, const char *what, void **out) = 0;
  /// Null is allowed. Waits for work that may use the memory.
  virtual void free(void *memory) = 0;

  /// Whether kernels read host memory as it is: weights are then used where the artifact is mapped.
  virtual bool readsHostMemory() const = 0;
  /// Host to device, in order. The source may be a mapped file, must stay valid until
  /// synchronize(), and is read in large pieces.
  virtual Status upload(void *target, const void *source, uint64_t bytes) = 0;
  /// Device to host; waits.
  virtual Status download(void *target, const void *source, uint64_t bytes) = 0;
  /// Device to device, in order; ranges do not overlap.
  virtual Status copy(void *target, const void *source, uint64_t bytes) = 0;
  /// The same for many ranges, none of which another one writes.
  virtual Status copyRanges(const std::vector<CopyRange> &ranges);
  /// Sets bytes to zero, in order.
  virtual Status clear(void *target, uint64_t bytes) = 0;
  /// Fills `count` elements with the dummy values of weight `weight`
  /// (runtime/schema/dummy_weights.h), in order.
  virtual Status fillDummy(void *target, schema::ElementType type, uint64_t count, uint64_t seed,
                           uint32_t weight, float scale, float offset) = 0;
  virtual Status synchronize() = 0;

  /// Whether memory of this device lies at the address, from which writeWeights() can read. An
  /// error that says why not.
  virtual Status checkDeviceMemory(const void *memory) const = 0;
  /// Writes all parts: elements transformed in f32 and rounded to nearest even, as m1-compile does.
  /// Work that others have begun on the device is waited for first, and the writing before it
  /// returns. A failure before the first part is written is no deviceError.
  virtual Status writeWeights(const std::vector<WeightPart> &parts) = 0;

  /// How well the target's code suits this hardware, of those whose name is the device's: the
  /// loader takes the best, the first of equals. Negative: it does not run.
  virtual int suitability(const schema::Target &target) const { return 0; }
  /// Loads the target's code. `weights`: device address of each of Module.weights. The artifact
  /// outlives the program. Checks that the hardware has what the target was compiled for.
  virtual Status createProgram(const Artifact &artifact, const schema::Target &target,
                               std::vector<void *> weights, std::unique_ptr<Program> *out) = 0;

protected:
  DeviceInfo deviceInfo;
};

/// `cpu`, `cuda` or `cuda:N`. An unknown name, or a device that this machine lacks, is an error
/// that says which.
Status createDevice(const std::string &name, const DeviceOptions &options,
                    std::unique_ptr<Device> *out);

/// src/cpu and src/cuda; createDevice chooses.
Status createCpuDevice(const DeviceOptions &options, std::unique_ptr<Device> *out);
Status createCudaDevice(uint32_t ordinal, const DeviceOptions &options,
                        std::unique_ptr<Device> *out);
/// Of this machine; an error without a driver.
Status countCudaDevices(uint32_t *out);

} // namespace m1rt

#endif
