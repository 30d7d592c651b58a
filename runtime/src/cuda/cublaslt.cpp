#include "cuda/cublaslt.h"
#include "device.h"
#include <dlfcn.h>

namespace m1rt::cuda {

namespace {

using schema::ElementType;

// Types and values of cublasLt.h (CUDA 13).
using cublasStatus_t = int;
using Handle = void *;
using MatmulDesc = void *;
using MatrixLayout = void *;
using Preference = void *;
struct MatmulAlgo {
  uint64_t data[8];
};
struct HeuristicResult {
  MatmulAlgo algo;
  size_t workspaceSize;
  cublasStatus_t state;
  float wavesCount;
  int reserved[4];
};

constexpr int CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14;
constexpr int CUBLAS_COMPUTE_32F = 68; // true f32: TF32 needs CUBLAS_COMPUTE_32F_FAST_TF32
constexpr int CUBLAS_OP_T = 1;
constexpr int CUBLASLT_MATMUL_DESC_TRANSA = 3, CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
              CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8;
constexpr int CUBLASLT_EPILOGUE_BIAS = 4;
constexpr int CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8;

#define M1_CUBLASLT_FUNCTIONS(X)                                                                   \
  X(cublasLtCreate, (Handle *))                                                                    \
  X(cublasLtDestroy, (Handle))                                                                     \
  X(cublasLtMatmulDescCreate, (MatmulDesc *, int computeType, int scaleType))                      \
  X(cublasLtMatmulDescDestroy, (MatmulDesc))                                                       \
  X(cublasLtMatmulDescSetAttribute, (MatmulDesc, int attribute, const void *, size_t))             \
  X(cublasLtMatrixLayoutCreate,                                                                    \
    (MatrixLayout *, int type, uint64_t rows, uint64_t columns, int64_t ld))                       \
  X(cublasLtMatrixLayoutDestroy, (MatrixLayout))                                                   \
  X(cublasLtMatmulPreferenceCreate, (Preference *))                                                \
  X(cublasLtMatmulPreferenceDestroy, (Preference))                                                 \
  X(cublasLtMatmulPreferenceSetAttribute, (Preference, int attribute, const void *, size_t))       \
  X(cublasLtMatmulAlgoGetHeuristic,                                                                \
    (Handle, MatmulDesc, MatrixLayout a, MatrixLayout b, MatrixLayout c, MatrixLayout d,           \
     Preference, int wanted, HeuristicResult *, int *found))                                       \
  X(cublasLtMatmul,                                                                                \
    (Handle, MatmulDesc, const void *alpha, const void *a, MatrixLayout, const void *b,            \
     MatrixLayout, const void *beta, const void *c, MatrixLayout, void *d, MatrixLayout,           \
     const MatmulAlgo *, void *workspace, size_t workspaceBytes, CUstream))

int cudaType(ElementType type) {
  switch (type) {
  case ElementType::bf16:
    return CUDA_R_16BF;
  case ElementType::f16:
    return CUDA_R_16F;
  default:
    return CUDA_R_32F;
  }
}

} // namespace

struct GemmLibrary::Api {
#define M1_CUBLASLT_DECLARE(name, parameters) cublasStatus_t(*name) parameters = nullptr;
  M1_CUBLASLT_FUNCTIONS(M1_CUBLASLT_DECLARE)
#undef M1_CUBLASLT_DECLARE
};

// cuBLASLt is column-major: a row-major [R, C] matrix is its [C, R] one with leading dimension C.
// So D [N, M] = Wᵀ [N, K] · A [K, M].
struct GemmLibrary::Plan {
  explicit Plan(const Api &api) : api(api) {}
  ~Plan() {
    for (MatrixLayout layout : {w, a, out})
      if (layout)
        api.cublasLtMatrixLayoutDestroy(layout);
    if (operation)
      api.cublasLtMatmulDescDestroy(operation);
  }
  const Api &api;
  MatmulDesc operation = nullptr;
  MatrixLayout w = nullptr, a = nullptr, out = nullptr;
  MatmulAlgo algorithm = {};
};

GemmLibrary::GemmLibrary() = default;

GemmLibrary::~GemmLibrary() {
  plans.clear();
  if (handle)
    api->cublasLtDestroy(handle);
}

Status GemmLibrary::create(std::unique_ptr<GemmLibrary> *out) {
  static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
  std::string tried;
  void *library = openCudaLibrary(names, std::size(names), &tried);
  if (!library)
    return error(
        StatusCode::unsupported,
        "cannot load cuBLASLt, which matrix products on the GPU need (tried %s); install the CUDA "
        "toolkit or set CUDA_HOME",
        tried.c_str());
  std::unique_ptr<GemmLibrary> result(new GemmLibrary);
  result->api = std::make_unique<Api>();
#define M1_CUBLASLT_BIND(name, parameters)                                                         \
  result->api->name = reinterpret_cast<decltype(Api::name)>(dlsym(library, #name));                \
  if (!result->api->name)                                                                          \
    return error(StatusCode::unsupported, "the cuBLASLt library that was found lacks " #name);
  M1_CUBLASLT_FUNCTIONS(M1_CUBLASLT_BIND)
#undef M1_CUBLASLT_BIND
  if (cublasStatus_t status = result->api->cublasLtCreate(&result->handle))
    return error(StatusCode::deviceError, "cublasLtCreate failed with status %d", status);
  *out = std::move(result);
  return {};
}

Status GemmLibrary::plan(const GemmShape &shape, const char *name, Plan **out) {
  std::unique_ptr<Plan> &entry = plans[shape];
  if (entry) {
    *out = entry.get();
    return {};
  }
  auto made = std::make_unique<Plan>(*api);
  cublasStatus_t status = 0;
  auto attempt = [&](cublasStatus_t result) {
    if (!status)
      status = result;
  };
  int inputType = cudaType(shape.inputType), outType = cudaType(shape.outType);
  attempt(api->cublasLtMatmulDescCreate(&made->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  attempt(api->cublasLtMatmulDescSetAttribute(made->operation, CUBLASLT_MATMUL_DESC_TRANSA,
                                              &CUBLAS_OP_T, sizeof(int)));
  if (shape.bias)
    attempt(api->cublasLtMatmulDescSetAttribute(made->operation, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                &CUBLASLT_EPILOGUE_BIAS, sizeof(int)));
  attempt(api->cublasLtMatrixLayoutCreate(&made->w, inputType, shape.k, shape.n, shape.k));
  attempt(api->cublasLtMatrixLayoutCreate(&made->a, inputType, shape.k, shape.m, shape.lda));
  attempt(api->cublasLtMatrixLayoutCreate(&made->out, outType, shape.n, shape.m, shape.ldo));
  Preference preference = nullptr;
  attempt(api->cublasLtMatmulPreferenceCreate(&preference));
  HeuristicResult result = {};
  int found = 0;
  if (!status) {
    auto set = [&](int attribute, auto value) {
      attempt(
          api->cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(workspaceBytes));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(256)); // weights
    for (int attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(attribute, uint32_t(shape.alignment));
    attempt(api->cublasLtMatmulAlgoGetHeuristic(handle, made->operation, made->w, made->a,
                                                made->out, made->out, preference, 1, &result,
                                                &found));
  }
  if (preference)
    api->cublasLtMatmulPreferenceDestroy(preference);
  if (status || !found)
    return error(
        StatusCode::deviceError,
        "cuBLASLt has no algorithm for %s: [%u, %u] x [%u, %u] transposed, %s to %s (status %d)",
        name, shape.m, shape.k, shape.n, shape.k, elementName(shape.inputType),
        elementName(shape.outType), status);
  made->algorithm = result.algo;
  entry = std::move(made);
  *out = entry.get();
  return {};
}

Status GemmLibrary::run(const GemmShape &shape, const GemmBuffers &buffers, CUdeviceptr workspace,
                        CUstream stream, const char *name) {
  Plan *p = nullptr;
  M1_TRY(plan(shape, name, &p));
  auto pointer = [](CUdeviceptr address) { return reinterpret_cast<void *>(address); };
  cublasStatus_t status = 0;
  if (shape.bias)
    status = api->cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                 &buffers.bias, sizeof buffers.bias);
  const float one = 1, zero = 0;
  if (!status)
    status = api->cublasLtMatmul(handle, p->operation, &one, pointer(buffers.w), p->w,
                                 pointer(buffers.a), p->a, &zero, pointer(buffers.out), p->out,
                                 pointer(buffers.out), p->out, &p->algorithm, pointer(workspace),
                                 workspaceBytes, stream);
  if (status)
    return error(StatusCode::deviceError,
                 "cublasLtMatmul of %s failed with status %d: [%u, %u] x [%u, %u] transposed", name,
                 status, shape.m, shape.k, shape.n, shape.k);
  return {};
}

} // namespace m1rt::cuda
