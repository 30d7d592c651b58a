// Compiles described kernels with NVRTC and runs them on a GPU against references in float64. The
// two halves may run on two machines: a Context compiles each description to DIR/symbol-N.cubin,
// another loads it from there.
#ifndef M1_TEST_KERNELS_CUDA_HARNESS_H
#define M1_TEST_KERNELS_CUDA_HARNESS_H

#include "m1k_abi.h"
#include "m1k_cuda.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace m1k::test {

using cuda::Description;
using cuda::Domain;
using cuda::Type;

/// Result of NVRTC: machine code, and what ptxas says of registers, stack and spills.
struct Compiled {
  std::vector<char> cubin;
  std::string log, error;
  int registers = 0, spill_bytes = 0, stack_bytes = 0;
};
/// `architecture` as NVRTC names it: sm_80, sm_90a.
Compiled compile(const cuda::Kernel &kernel, const std::string &architecture);

/// Deterministic values in [-1, 1), or normal ones.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ull + 0x1234567) {}
  uint64_t next();
  double uniform(double low, double high);
  double normal();

private:
  uint64_t state;
};

int size_of(Type type);
std::string type_name(Type type);
/// The nearest value of the type, of int4 the nearest integer in its range.
double rounded(double value, Type type);
/// A matrix [n, k] of integers from -8 to 7 as rows of int4 (M1/IR/Int4.h).
std::vector<char> int4_rows(const std::vector<double> &values, int n, int k);
void encode(const std::vector<double> &values, Type type, std::vector<char> &bytes);
std::vector<double> decode(const std::vector<char> &bytes, Type type);

/// A device buffer and its host image.
struct Buffer {
  std::vector<char> host;
  void *device = nullptr;
  int shift = 0;
};

enum class Mode { compile, run, bench };

/// Everything that a test or a benchmark needs of the GPU. In compile mode `prepare` writes cubins
/// and returns false, and nothing else is called.
class Context {
public:
  Context(Mode mode, std::string directory, std::string architecture);
  ~Context();
  const Mode mode;
  /// Whether the code is for a GPU with warpgroup products.
  bool warpgroups() const { return architecture == "sm_90a"; }

  /// Loads (or compiles) the kernels of a description. False: leave the case.
  bool prepare(const Description &description);

  /// Buffers of the current case, by role.
  void values(const std::string &role, const std::vector<double> &values, Type type);
  void integers(const std::string &role, const std::vector<int> &values);
  void raw(const std::string &role, std::vector<char> bytes);
  /// Bytes of 0xFF, which are NaN in every float type.
  void poison(const std::string &role, size_t bytes);
  void upload();
  /// The role's operand begins this many bytes into its buffer.
  void shift(const std::string &role, int bytes) { buffers[role].shift = bytes; }
  void launch(const m1_dims &dims);
  std::vector<double> read(const std::string &role, Type type);
  std::vector<int> read_integers(const std::string &role);
  std::vector<char> read_raw(const std::string &role);
  void clear();

  /// Fails the case unless ‖actual − expected‖ ≤ tolerance · ‖expected‖ and no element is NaN.
  void compare(const std::string &what, const std::vector<double> &actual,
               const std::vector<double> &expected, double tolerance);
  void require(bool condition, const std::string &what);

  void begin(const std::string &name);
  void end();
  int passed = 0, failed = 0;
  double worst_share = 0; // error over tolerance of the case
  std::string detail;

  /// For benchmarks: median of graph replays in microseconds, one replay launching the description
  /// once on each of the sets of buffers.
  struct Timing {
    double median = 0, low = 0, high = 0;
  };
  /// Each set overrides roles of the current buffers with device pointers. Returns microseconds of
  /// one launch.
  Timing time(const std::vector<std::map<std::string, void *>> &sets, const m1_dims &dims,
              int replays = 7);
  void *allocate(size_t bytes);
  /// Random values of the type over the whole buffer, drawn on the host once and tiled.
  void *allocate_random(size_t bytes, Type type, double low, double high);
  /// The same values in every row.
  void *allocate_rows(const std::vector<double> &row, int rows, Type type);
  void *allocate_integers(const std::vector<int> &values);
  void release();
  double copy_speed(); // bytes read and written a second, of a large device-to-device copy

private:
  struct Loaded;
  void enqueue(const std::map<std::string, void *> &pointers, const m1_dims &dims, void *stream);
  std::string directory, architecture, name;
  bool good = true;
  size_t temporary_bytes_per_row = 0;
  std::vector<std::unique_ptr<Loaded>> loaded;
  std::map<std::string, std::unique_ptr<Loaded>> cache;
  std::vector<Loaded *> current;
  std::map<std::string, Buffer> buffers;
  std::vector<void *> allocations;
};

/// One case of the table.
struct Case {
  std::string name;
  bool smoke; // in the small table
  std::function<void(Context &)> body;
};
std::vector<Case> scan_cases();
std::vector<Case> update_cases();
std::vector<Case> convolution_cases();
std::vector<Case> norm_cases();
std::vector<Case> dense_cases();
std::vector<Case> linear_cases();
std::vector<Case> chain_cases();
std::vector<Case> product_cases();
std::vector<Case> delta_cases();
std::vector<Case> expert_cases();
std::vector<Case> benchmarks();

/// A ragged batch with everything the batch arrays say of it.
struct Batch {
  std::vector<int> starts, slots, positions, token_sequence, contexts;
  int tokens = 0, sequences = 0, slot_count = 0;
};
/// Sequences of these lengths; `past` tokens of each were seen before (0: fresh). Slots are
/// scattered.
Batch make_batch(const std::vector<int> &lengths, const std::vector<int> &past);
void put_batch(Context &context, const Batch &batch);

std::vector<double> random_values(Random &random, size_t count, double low, double high, Type type);
/// Rows of `stride` with `columns` values each from column `offset`; the others are NaN, which must
/// not matter.
std::vector<double> in_rows(const std::vector<double> &values, int rows, int columns, int stride,
                            int offset = 0);
std::vector<double> out_of_rows(const std::vector<double> &rows_of_stride, int rows, int columns,
                                int stride);
/// Tolerance of an output of the type, for a float32 evaluation that misses float64 by `naive`.
double tolerance(Type type, double naive);
template <class Real> Real silu(Real x) { return x / (Real(1) + std::exp(-x)); }
double relative_error(const std::vector<double> &actual, const std::vector<double> &expected);

} // namespace m1k::test

#endif
