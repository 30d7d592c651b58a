// Matrix products through cuBLASLt, bound at run time. Row-major out[M,N] = a[M,K] · w[N,K]ᵀ (+
// bias[N]).
#ifndef M1RT_CUDA_CUBLASLT_H
#define M1RT_CUDA_CUBLASLT_H

#include "cuda/driver.h"
#include "module_generated.h"
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace m1rt::cuda {

/// Everything that a product's algorithm depends on.
struct GemmShape {
  uint32_t m = 0, n = 0, k = 0;
  uint32_t lda = 0, ldo = 0;             // elements
  ::m1::schema::ElementType inputType{}; // of a and w alike
  ::m1::schema::ElementType outType{};
  bool bias = false;       // of outType
  uint32_t alignment = 16; // bytes that a and out are multiples of; at most 16

  bool operator<(const GemmShape &o) const {
    return std::tie(m, n, k, lda, ldo, inputType, outType, bias, alignment) <
           std::tie(o.m, o.n, o.k, o.lda, o.ldo, o.inputType, o.outType, o.bias, o.alignment);
  }
};

struct GemmBuffers {
  CUdeviceptr a = 0, w = 0, bias = 0, out = 0;
};

/// One cuBLASLt handle, and the algorithms chosen so far: one a shape, from a table of measured
/// ones or else by cuBLASLt's heuristics, kept for good. The same shape on the same GPU, library
/// and table therefore always takes the same algorithm.
class GemmLibrary {
public:
  /// The handle belongs to the current CUDA context.
  static Status create(std::unique_ptr<GemmLibrary> *out);
  ~GemmLibrary();

  /// cuBLASLt may use this much scratch; 32 MiB is NVIDIA's advice for Hopper.
  static constexpr size_t workspaceBytes = size_t(32) << 20;

  /// Enqueues the product. `name` is for the error.
  Status run(const GemmShape &shape, const GemmBuffers &buffers, CUdeviceptr workspace,
             CUstream stream, const char *name);

  struct Tuned {
    double heuristicSeconds = 0, bestSeconds = 0; // of one product
  };
  /// Times the algorithms that cuBLASLt proposes for the shape, over the buffers in turn, and notes
  /// the fastest for table(). Waits for the stream.
  Status tune(const Driver &driver, const GemmShape &shape, const std::vector<GemmBuffers> &buffers,
              CUdeviceptr workspace, CUstream stream, const char *name, Tuned *out);
  /// The noted algorithms as JSON text, for this library on the GPU of that name.
  std::string table(const std::string &gpu) const;
  /// Takes over a table, before the first product. An error when it is none, or was measured with
  /// another GPU or library; `path` is for the error.
  Status load(const std::string &text, const std::string &path, const std::string &gpu);

private:
  struct Api;
  struct Plan;
  struct Choice;
  GemmLibrary();
  Status prepare(const GemmShape &shape, const char *name, std::unique_ptr<Plan> *out);
  Status propose(const GemmShape &shape, const Plan &plan, const char *name,
                 std::vector<Choice> *out) const;
  Status multiply(const GemmShape &shape, const Plan &plan, const GemmBuffers &buffers,
                  CUdeviceptr workspace, CUstream stream, const char *name);
  Status plan(const GemmShape &shape, const char *name, Plan **out);

  std::unique_ptr<Api> api;
  void *handle = nullptr;
  size_t version = 0; // of the library
  std::map<GemmShape, std::unique_ptr<Plan>> plans;
  std::map<GemmShape, Choice> choices; // measured
};

} // namespace m1rt::cuda

#endif
