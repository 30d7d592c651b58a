// Matrix products through cuBLASLt, bound at run time. Row-major out[M,N] = a[M,K] · w[N,K]ᵀ (+
// bias[N]), with a and w of f8e4m3 · aScale[M] · wScale[N].
#ifndef M1RT_CUDA_CUBLASLT_H
#define M1RT_CUDA_CUBLASLT_H

#include "artifact/tuning_table.h"
#include "cuda/driver.h"
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace m1rt::cuda {

struct GemmBuffers {
  CUdeviceptr a = 0, w = 0, bias = 0, out = 0, aScale = 0, wScale = 0;
};

/// One cuBLASLt handle, and the algorithms chosen so far: one a shape, from a table of measured
/// ones or else by cuBLASLt's heuristics for proposedRows() of it, kept for good. The same shape on
/// the same GPU, library and table therefore always takes the same algorithm.
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

  /// Times the algorithms that cuBLASLt proposes for the shape, over the buffers in turn, and notes
  /// the fastest. Waits for the stream.
  Status tune(const Driver &driver, const GemmShape &shape, const std::vector<GemmBuffers> &buffers,
              CUdeviceptr workspace, CUstream stream, const char *name, TunedProduct *out);
  /// The noted algorithms: what take() was given and what tune() found.
  const std::map<GemmShape, TunedProduct> &tuned() const { return choices; }
  /// Products measured on this GPU with this version, before the first product.
  void take(std::map<GemmShape, TunedProduct> products) { choices = std::move(products); }
  uint64_t version() const { return libraryVersion; }
  /// The rows whose proposed algorithm products of so many rows take: at least as many, in sixteen
  /// sizes an octave. Those of padded decode steps up to 1024 sequences are their own.
  static uint32_t proposedRows(uint32_t rows);

private:
  struct Api;
  struct Plan;
  GemmLibrary();
  Status prepare(const GemmShape &shape, const char *name, std::unique_ptr<Plan> *out,
                 bool scaled = true);
  Status propose(const GemmShape &shape, const Plan &plan, const char *name,
                 std::vector<TunedProduct> *out) const;
  Status proposeUnscaled(const GemmShape &shape, const Plan &plan, const char *name,
                         std::vector<TunedProduct> *out);
  Status multiply(const GemmShape &shape, const Plan &plan, const GemmBuffers &buffers,
                  CUdeviceptr workspace, CUstream stream, const char *name);
  Status plan(const GemmShape &shape, const char *name, Plan **out);
  Status chooseAlgorithm(const GemmShape &shape, const char *name, Plan *plan);

  std::unique_ptr<Api> api;
  void *handle = nullptr;
  size_t libraryVersion = 0;
  std::map<GemmShape, std::unique_ptr<Plan>> plans;
  std::map<GemmShape, TunedProduct> choices;                        // measured
  std::map<GemmShape, decltype(TunedProduct::algorithm)> proposals; // by proposedRows()
};

} // namespace m1rt::cuda

#endif
