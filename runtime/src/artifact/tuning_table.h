// Tables of matrix products whose cuBLASLt algorithms were measured: m1-bench --tune writes them as
// JSON, m1-compile puts them into artifacts.
#ifndef M1RT_ARTIFACT_TUNING_TABLE_H
#define M1RT_ARTIFACT_TUNING_TABLE_H

#include "module_generated.h"
#include "status.h"
#include <array>
#include <map>
#include <string>
#include <tuple>

namespace m1rt {

namespace schema = ::m1::schema;

/// Everything that a product's algorithm depends on.
struct GemmShape {
  uint32_t m = 0, n = 0, k = 0;
  uint32_t lda = 0, ldo = 0;       // elements
  schema::ElementType inputType{}; // of a and w alike
  schema::ElementType outType{};
  bool bias = false;       // of outType
  uint32_t alignment = 16; // bytes that a and out are multiples of; at most 16

  bool operator<(const GemmShape &o) const {
    return std::tie(m, n, k, lda, ldo, inputType, outType, bias, alignment) <
           std::tie(o.m, o.n, o.k, o.lda, o.ldo, o.inputType, o.outType, o.bias, o.alignment);
  }
};

/// The product of a plan for m rows at these addresses (or offsets of aligned memory).
GemmShape shapeOf(const schema::Gemm &gemm, uint32_t m, uint64_t a, uint64_t out);

struct TunedProduct {
  std::array<uint64_t, 8> algorithm{}; // opaque but to cuBLASLt of the table's version
  double seconds = 0, heuristicSeconds = 0;
};

struct TuningTable {
  std::string gpu;       // as the driver names it
  std::string chip;      // sm_90; empty: the m1-bench that made the table did not say
  uint64_t cublaslt = 0; // version of the library
  std::map<GemmShape, TunedProduct> products;
};

/// "NVIDIA H200 with cuBLASLt 130200".
std::string machineOf(const TuningTable &table);

/// Errors begin with `path`.
Status parseTuningTable(const std::string &text, const std::string &path, TuningTable *out);
std::string tuningTableText(const TuningTable &table);

/// What is wrong with a table of an artifact, for the loader; `out` may be null.
Status readTuningTable(const schema::TuningTable &from, TuningTable *out);

/// The products of a target's plan that tables may hold, for 0 rows.
std::map<GemmShape, std::string> productsOf(const schema::Target &target);

/// How well a code object serves a GPU of this compute capability: machine code before PTX, then
/// what was made for the GPU nearest to it; -1: it does not run there.
constexpr int machineCodeSuits = 10000; // or more
int suitabilityOf(const schema::Code &code, int capability);
/// 90 of "sm_90" and "sm_90a"; 0 when it is no chip. `exact`: the latter, which runs on its own GPU
/// only; may be null.
int capabilityOf(const std::string &chip, bool *exact);

} // namespace m1rt

#endif
