// Matrix products through cuBLASLt, bound at run time. Row-major out[M,N] = a[M,K] · w[N,K]ᵀ (+
// bias[N]).
#ifndef M1RT_CUDA_CUBLASLT_H
#define M1RT_CUDA_CUBLASLT_H

#include "cuda/driver.h"
#include "module_generated.h"
#include <map>
#include <memory>
#include <tuple>

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

/// One cuBLASLt handle, and the algorithms chosen so far: one a shape, by cuBLASLt's heuristics,
/// kept for good. The same shape on the same GPU and library therefore always takes the same
/// algorithm.
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

private:
  struct Api;
  struct Plan;
  GemmLibrary();
  Status plan(const GemmShape &shape, const char *name, Plan **out);

  std::unique_ptr<Api> api;
  void *handle = nullptr;
  std::map<GemmShape, std::unique_ptr<Plan>> plans;
};

} // namespace m1rt::cuda

#endif
