// The formulas of the model, in float64 on plain arrays. Written from the model's specification and
// from nothing else.
#ifndef M1C_LIB_REFERENCE_FORMULAS_H
#define M1C_LIB_REFERENCE_FORMULAS_H

#include "m1c/ReferenceBatch.h"
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

namespace m1c::reference {

/// rows × columns, row-major. A vector is one row.
struct Rows {
  Rows() = default;
  Rows(int64_t rows, int64_t columns) : rows(rows), columns(columns), values(rows * columns, 0.0) {}
  double &at(int64_t r, int64_t c) { return values[r * columns + c]; }
  double at(int64_t r, int64_t c) const { return values[r * columns + c]; }
  double operator[](int64_t c) const { return values[c]; }
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
};

/// A pool of states: the values of each slot or page written so far.
using Pool = std::map<int32_t, std::vector<double>>;

/// What a state keeps of a number: itself (a type of f32, whose rounding is left out), or the
/// nearest of bf16 or f16, of two the one whose last bit is 0.
enum class StateFormat { exact, bf16, f16 };
double rounded(StateFormat format, double value);
/// The states that a step leaves behind, as their type keeps them.
void roundStates(StateFormat format, const ReferenceBatch &batch, Pool &pool);

/// Calls `walk(begin, end, state)` for each sequence with tokens in this step: those, and its state
/// of `size` numbers, zeros where the sequence starts, which is written back. Returns false when a
/// slot is read that was never written.
bool forSequences(const ReferenceBatch &batch, int64_t size, Pool &pool,
                  const std::function<void(int64_t, int64_t, std::vector<double> &)> &walk);

double sigmoid(double x);
double silu(double x);
double softplus(double x);

/// Same shape, each value by `f`; the second form takes two operands of one shape.
Rows map(const Rows &a, const std::function<double(double)> &f);
Rows map(const Rows &a, const Rows &b, const std::function<double(double, double)> &f);

/// x · wᵀ (+ bias), bias null when absent.
Rows linear(const Rows &x, const Rows &w, const Rows *bias);
/// Each row as e4m3 numbers and one scale: the row's largest absolute value / 448. Rows whose
/// largest is below 2^-100 are zeros.
struct QuantisedRows {
  Rows codes, scale; // scale: one column
};
QuantisedRows quantizeRows(const Rows &x);
/// Row t times scale[t].
Rows scaled(Rows x, const Rows &scale);
/// x · rsqrt(mean(x²) + eps) · w, each of `groups` equal column ranges normalised on its own; w has
/// a value a column, or one for each column of a range; null: none.
Rows rmsNorm(const Rows &x, const Rows *w, double eps, int64_t groups = 1);
inline Rows rmsNorm(const Rows &x, const Rows &w, double eps, int64_t groups = 1) {
  return rmsNorm(x, &w, eps, groups);
}
/// Columns [begin, begin + count).
Rows columns(const Rows &x, int64_t begin, int64_t count);
/// Each head of headSize columns `repeat` times in a row.
Rows repeatHeads(const Rows &x, int64_t headSize, int64_t repeat);

/// y[t] = bias + Σ_j w[j] · x[t - (width-1) + j] per channel, zeros before the sequence's start.
/// Pool: [width-1, channels], oldest first. Returns false when a slot is read that was never
/// written.
bool causalConvolution(const Rows &x, const Rows &w, const Rows *bias, const ReferenceBatch &batch,
                       Pool &pool, Rows &result);

/// Mamba-1. x, dt: [T, d_inner]; A: [d_inner, N]; B and C: heads of N columns, each of which serves
/// an equal number of neighbouring channels. Pool: [d_inner, N].
bool selectiveScan(const Rows &x, const Rows &delta, const Rows &A, const Rows &B, const Rows &C,
                   const ReferenceBatch &batch, Pool &pool, Rows &result);

/// Mamba-2. x: [T, H·P], delta: [T, H], A: [1, H]; B and C: heads of N columns, each of which
/// serves an equal number of neighbouring heads. Pool: [H, P, N].
bool ssdScan(const Rows &x, const Rows &delta, const Rows &A, const Rows &B, const Rows &C,
             int64_t N, const ReferenceBatch &batch, Pool &pool, Rows &result);

/// Experts of each row of logits [T, E], and their weights, both [T, chosen]: the largest s +
/// correction (null: 0) with s the softmax or sigmoid. Experts of groups that are not among the
/// `kept` with the largest sums of their two largest are out.
struct RouterShape {
  bool sigmoid, normalize;
  double scale;
  int64_t groups, kept, chosen;
};
void route(const Rows &logits, const Rows *correction, const RouterShape &shape, Rows &weights,
           Rows &experts);
/// Products of each row with rows [first, first + n) of each of its experts, `size` rows of w each;
/// x has columns of its own for each expert, or the same for all.
Rows expertLinear(const Rows &x, const Rows &experts, const Rows &w, int64_t size, int64_t first,
                  int64_t n);
/// Σ_j weights[t, j] · part j of row t.
Rows combine(const Rows &x, const Rows &weights);

/// (cos, sin) tables of 256·a·f_i and b·f_i → [T, d]: d/2 cosines, then d/2 sines of each token's
/// angles.
Rows rotaryTable(const Rows &hi, const Rows &lo, const ReferenceBatch &batch);
/// Rotates (x[i], x[i + r/2]) of each head of headDim columns, i < r/2, for a table of r columns.
Rows rotate(const Rows &x, const Rows &table, int64_t headDim);

/// Keys and values of a page: [2, kv_heads, page_size, head_dim].
/// What a cache keeps of a head's key or value at a position; codes stand for themselves times
/// a scale that the head has there (m1.kv_cache).
enum class CacheCode { none, i8, e4m3 };
struct CacheShape {
  int64_t kvHeads, pageSize, headDim;
  CacheCode code = CacheCode::none;
  int64_t index(int64_t which, int64_t head, int64_t position, int64_t i) const {
    return ((which * kvHeads + head) * pageSize + position % pageSize) * headDim + i;
  }
};
/// The numbers that the codes of `count` numbers stand for, in their place.
void quantise(CacheCode code, double *values, int64_t count);
void writeCache(const Rows &k, const Rows &v, const ReferenceBatch &batch, const CacheShape &shape,
                Pool &pool);
/// `window`: how many positions a token sees, its own included; 0: all before.
bool attention(const Rows &q, double scale, int64_t window, const ReferenceBatch &batch,
               const CacheShape &shape, const Pool &pool, Rows &result);

/// Index of the largest value of each row, the first among equals; -1 when one is NaN or the
/// largest is not finite.
std::vector<int32_t> greatest(const Rows &logits, int64_t ids);

} // namespace m1c::reference

#endif
