#include "cuda/cublaslt.h"
#include "device.h"
#include <algorithm>
#include <cstring>
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
using MatmulAlgo = decltype(TunedProduct::algorithm);
struct HeuristicResult {
  MatmulAlgo algo;
  size_t workspaceSize;
  cublasStatus_t state;
  float wavesCount;
  int reserved[4];
};

constexpr int CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14, CUDA_R_8F_E4M3 = 28;
constexpr int CUBLAS_COMPUTE_32F = 68; // true f32: TF32 needs CUBLAS_COMPUTE_32F_FAST_TF32
constexpr int CUBLAS_OP_T = 1;
constexpr int CUBLASLT_MATMUL_DESC_TRANSA = 3, CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
              CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER = 17,
              CUBLASLT_MATMUL_DESC_B_SCALE_POINTER = 18, CUBLASLT_MATMUL_DESC_A_SCALE_MODE = 31,
              CUBLASLT_MATMUL_DESC_B_SCALE_MODE = 32;
constexpr int CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F = 3;
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
  X(cublasLtMatmulAlgoCheck, (Handle, MatmulDesc, MatrixLayout a, MatrixLayout b, MatrixLayout c,  \
                              MatrixLayout d, const MatmulAlgo *, HeuristicResult *))              \
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
  case ElementType::f8e4m3:
    return CUDA_R_8F_E4M3;
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
  if (auto *getVersion = reinterpret_cast<size_t (*)()>(dlsym(library, "cublasLtGetVersion")))
    result->libraryVersion = getVersion();
  if (cublasStatus_t status = result->api->cublasLtCreate(&result->handle))
    return error(StatusCode::deviceError, "cublasLtCreate failed with status %d", status);
  *out = std::move(result);
  return {};
}

/// The plan without an algorithm; of f8e4m3 with its scales, or as if it had none.
Status GemmLibrary::prepare(const GemmShape &shape, const char *name, std::unique_ptr<Plan> *out,
                            bool scaled) {
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
  if (shape.inputType == ElementType::f8e4m3 && scaled) {
    for (int mode : {CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_DESC_B_SCALE_MODE})
      attempt(api->cublasLtMatmulDescSetAttribute(
          made->operation, mode, &CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F, sizeof(int)));
    // The heuristics refuse scales that are nowhere; where they are, multiply() says.
    const CUdeviceptr somewhere = 256;
    for (int pointer : {CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER})
      attempt(api->cublasLtMatmulDescSetAttribute(made->operation, pointer, &somewhere,
                                                  sizeof somewhere));
  }
  attempt(api->cublasLtMatrixLayoutCreate(&made->w, inputType, shape.k, shape.n, shape.k));
  attempt(api->cublasLtMatrixLayoutCreate(&made->a, inputType, shape.k, shape.m, shape.lda));
  attempt(api->cublasLtMatrixLayoutCreate(&made->out, outType, shape.n, shape.m, shape.ldo));
  if (status)
    return error(StatusCode::deviceError, "cuBLASLt cannot describe %s (status %d)", name, status);
  *out = std::move(made);
  return {};
}

/// Algorithms for the shape, the one that the heuristics like best first.
Status GemmLibrary::propose(const GemmShape &shape, const Plan &plan, const char *name,
                            std::vector<TunedProduct> *out) const {
  constexpr int most = 32;
  const int wanted = std::max<int>(1, std::min<int>(most, int(out->capacity())));
  Preference preference = nullptr;
  cublasStatus_t status = api->cublasLtMatmulPreferenceCreate(&preference);
  HeuristicResult results[most] = {};
  int found = 0;
  if (!status) {
    auto set = [&](int attribute, auto value) {
      if (!status)
        status =
            api->cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(workspaceBytes));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(256)); // weights
    for (int attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(attribute, uint32_t(shape.alignment));
    if (!status)
      status = api->cublasLtMatmulAlgoGetHeuristic(handle, plan.operation, plan.w, plan.a, plan.out,
                                                   plan.out, preference, wanted, results, &found);
    api->cublasLtMatmulPreferenceDestroy(preference);
  }
  out->clear();
  for (int i = 0; i < found; ++i)
    if (!results[i].state)
      out->push_back({results[i].algo, 0, 0});
  if (status || out->empty())
    return error(
        StatusCode::deviceError,
        "cuBLASLt has no algorithm for %s: [%u, %u] x [%u, %u] transposed, %s to %s (status %d)",
        name, shape.m, shape.k, shape.n, shape.k, elementName(shape.inputType),
        elementName(shape.outType), status);
  return {};
}

/// With scales of rows the heuristics propose one algorithm. Adds those that they propose without,
/// as far as the product with its scales can take them.
Status GemmLibrary::proposeUnscaled(const GemmShape &shape, const Plan &plan, const char *name,
                                    std::vector<TunedProduct> *out) {
  std::unique_ptr<Plan> unscaled;
  M1_TRY(prepare(shape, name, &unscaled, /*scaled=*/false));
  std::vector<TunedProduct> others;
  others.reserve(32);
  M1_TRY(propose(shape, *unscaled, name, &others));
  for (TunedProduct &other : others) {
    HeuristicResult result = {};
    const bool known = std::any_of(out->begin(), out->end(), [&](const TunedProduct &one) {
      return one.algorithm == other.algorithm;
    });
    if (!known &&
        !api->cublasLtMatmulAlgoCheck(handle, plan.operation, plan.w, plan.a, plan.out, plan.out,
                                      &other.algorithm, &result) &&
        !result.state && result.workspaceSize <= workspaceBytes)
      out->push_back(other);
  }
  return {};
}

uint32_t GemmLibrary::proposedRows(uint32_t rows) {
  uint32_t step = 1;
  while (step <= rows / 32)
    step *= 2;
  return (rows + step - 1) / step * step;
}

/// Asks cuBLASLt once for rows that differ by less than a sixteenth: an algorithm takes any number
/// of them, prompts come in every length, and each question takes tens of microseconds.
Status GemmLibrary::chooseAlgorithm(const GemmShape &shape, const char *name, Plan *plan) {
  GemmShape like = shape;
  like.m = proposedRows(shape.m);
  auto known = proposals.find(like);
  if (known == proposals.end()) {
    std::unique_ptr<Plan> made;
    M1_TRY(prepare(like, name, &made));
    std::vector<TunedProduct> proposed;
    M1_TRY(propose(like, *made, name, &proposed));
    known = proposals.emplace(like, proposed.front().algorithm).first;
  }
  plan->algorithm = known->second;
  HeuristicResult result = {};
  const cublasStatus_t status = api->cublasLtMatmulAlgoCheck(
      handle, plan->operation, plan->w, plan->a, plan->out, plan->out, &plan->algorithm, &result);
  if (!status && result.workspaceSize <= workspaceBytes)
    return {};
  std::vector<TunedProduct> proposed;
  M1_TRY(propose(shape, *plan, name, &proposed));
  plan->algorithm = proposed.front().algorithm;
  return {};
}

Status GemmLibrary::plan(const GemmShape &shape, const char *name, Plan **out) {
  std::unique_ptr<Plan> &entry = plans[shape];
  if (entry) {
    *out = entry.get();
    return {};
  }
  std::unique_ptr<Plan> made;
  M1_TRY(prepare(shape, name, &made));
  if (auto chosen = choices.find(shape); chosen != choices.end()) {
    HeuristicResult result = {};
    made->algorithm = chosen->second.algorithm;
    if (cublasStatus_t status =
            api->cublasLtMatmulAlgoCheck(handle, made->operation, made->w, made->a, made->out,
                                         made->out, &made->algorithm, &result);
        status || result.workspaceSize > workspaceBytes)
      return error(
          StatusCode::deviceError,
          "the tuning table's algorithm for %s, [%u, %u] x [%u, %u] transposed, is none of "
          "this cuBLASLt (status %d): tune again",
          name, shape.m, shape.k, shape.n, shape.k, status);
  } else {
    M1_TRY(chooseAlgorithm(shape, name, made.get()));
  }
  entry = std::move(made);
  *out = entry.get();
  return {};
}

Status GemmLibrary::multiply(const GemmShape &shape, const Plan &p, const GemmBuffers &buffers,
                             CUdeviceptr workspace, CUstream stream, const char *name) {
  auto pointer = [](CUdeviceptr address) { return reinterpret_cast<void *>(address); };
  cublasStatus_t status = 0;
  auto point = [&](int attribute, CUdeviceptr address) {
    if (!status)
      status =
          api->cublasLtMatmulDescSetAttribute(p.operation, attribute, &address, sizeof address);
  };
  if (shape.bias)
    point(CUBLASLT_MATMUL_DESC_BIAS_POINTER, buffers.bias);
  if (shape.inputType == ElementType::f8e4m3) { // cuBLASLt's a are the weights
    point(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, buffers.wScale);
    point(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, buffers.aScale);
  }
  const float one = 1, zero = 0;
  if (!status)
    status =
        api->cublasLtMatmul(handle, p.operation, &one, pointer(buffers.w), p.w, pointer(buffers.a),
                            p.a, &zero, pointer(buffers.out), p.out, pointer(buffers.out), p.out,
                            &p.algorithm, pointer(workspace), workspaceBytes, stream);
  if (status)
    return error(StatusCode::deviceError,
                 "cublasLtMatmul of %s failed with status %d: [%u, %u] x [%u, %u] transposed", name,
                 status, shape.m, shape.k, shape.n, shape.k);
  return {};
}

Status GemmLibrary::run(const GemmShape &shape, const GemmBuffers &buffers, CUdeviceptr workspace,
                        CUstream stream, const char *name) {
  Plan *p = nullptr;
  M1_TRY(plan(shape, name, &p));
  return multiply(shape, *p, buffers, workspace, stream, name);
}

Status GemmLibrary::tune(const Driver &driver, const GemmShape &shape,
                         const std::vector<GemmBuffers> &buffers, CUdeviceptr workspace,
                         CUstream stream, const char *name, TunedProduct *out) {
  std::unique_ptr<Plan> p;
  M1_TRY(prepare(shape, name, &p));
  std::vector<TunedProduct> proposed;
  proposed.reserve(32);
  M1_TRY(propose(shape, *p, name, &proposed));
  if (shape.inputType == ElementType::f8e4m3)
    M1_TRY(proposeUnscaled(shape, *p, name, &proposed));
  CUevent begin = nullptr, end = nullptr;
  M1_TRY(driver.check(driver.cuEventCreate(&begin, 0), "cuEventCreate"));
  Status status = driver.check(driver.cuEventCreate(&end, 0), "cuEventCreate");
  auto time = [&](TunedProduct &choice, int rounds, double *seconds) -> Status {
    p->algorithm = choice.algorithm;
    M1_TRY(multiply(shape, *p, buffers.front(), workspace, stream, name)); // loads its code
    M1_TRY(driver.check(driver.cuEventRecord(begin, stream), "cuEventRecord"));
    for (int round = 0; round < rounds; ++round)
      for (const GemmBuffers &set : buffers)
        M1_TRY(multiply(shape, *p, set, workspace, stream, name));
    M1_TRY(driver.check(driver.cuEventRecord(end, stream), "cuEventRecord"));
    M1_TRY(driver.check(driver.cuEventSynchronize(end), "cuEventSynchronize"));
    float milliseconds = 0;
    M1_TRY(
        driver.check(driver.cuEventElapsedTime(&milliseconds, begin, end), "cuEventElapsedTime"));
    *seconds = milliseconds * 1e-3 / (double(rounds) * double(buffers.size()));
    return {};
  };
  // Once for all, then again for those that could be the fastest.
  for (TunedProduct &choice : proposed)
    if (status.ok())
      status = time(choice, 1, &choice.seconds);
  if (status.ok()) {
    const TunedProduct first = proposed.front();
    std::sort(proposed.begin(), proposed.end(),
              [](const TunedProduct &a, const TunedProduct &b) { return a.seconds < b.seconds; });
    proposed.resize(std::min<size_t>(proposed.size(), 4));
    proposed.insert(proposed.begin(), first);
    for (TunedProduct &choice : proposed)
      if (status.ok())
        status = time(choice, 5, &choice.seconds);
  }
  driver.cuEventDestroy(begin);
  if (end)
    driver.cuEventDestroy(end);
  M1_TRY(std::move(status));
  const double heuristic = proposed.front().seconds;
  TunedProduct best = *std::min_element(
      proposed.begin(), proposed.end(),
      [](const TunedProduct &a, const TunedProduct &b) { return a.seconds < b.seconds; });
  best.heuristicSeconds = heuristic;
  *out = best;
  choices[shape] = best;
  plans.erase(shape);
  return {};
}

} // namespace m1rt::cuda
