// A scan of a prompt or an update of a state, of either kind, with all that goes into it: drawn,
// put on the device, and evaluated by the formulas of the model's specification.
#ifndef M1_TEST_KERNELS_CUDA_SCANPROBLEM_H
#define M1_TEST_KERNELS_CUDA_SCANPROBLEM_H

#include "Harness.h"

namespace m1k::test {

struct ScanProblem {
  Type x_type = Type::bf16, dt_type = Type::bf16, b_type = Type::bf16, c_type = Type::bf16,
       z_type = Type::bf16, out_type = Type::bf16, state_type = Type::f32, window_type = Type::bf16;
  // group: channels of a head, N in Mamba-1, P in Mamba-2.
  int channels = 0, group = 0, states = 0, x_columns = 0, b_heads = 1, c_heads = 1;
  bool headwise = false, has_d = true, has_z = true, has_dt_bias = true;
  double decay = 1;  // scale of A
  int offset = 0;    // column where each activation begins in its row
  int padding = 0;   // columns after
  bool conv = false; // decode only: x before the convolution
  int conv_width = 4, conv_channels = 0;
  // Decode only, what a step does for neighbours: dt from a row of so many columns, norms of that
  // row, of B and of C (0: none, 1: without a weight, 2: with one), B and C columns of the
  // convolution behind x, a norm of the results.
  int dt_rank = 0, input_norms = 0, norm_groups = 0;
  Type dt_w_type = Type::bf16;
  bool wide = false, few = false;
  int squares_columns = 0, counters = 0; // of the launch

  Batch batch;
  std::vector<double> x, dt, a, b, c, d, z, dt_bias, state, conv_w, conv_bias, conv_state;
  std::vector<double> dt_w, dt_norm, b_norm, c_norm, norm_w;
  int heads() const { return channels / group; }
  int repeat() const { return channels / x_columns; }
  int b_columns() const { return b_heads * states; }
  int c_columns() const { return c_heads * states; }
  int dt_columns() const { return headwise ? heads() : channels; }
  int stride(int columns) const { return columns + offset + padding; }
  int dt_inputs() const { return dt_rank ? dt_rank : dt_columns(); }
  int inputs() const { return x_columns + (wide ? b_columns() + c_columns() : 0); }

  cuda::ScanNeighbours neighbours() const;
  void fill(uint64_t seed);
  /// Rows of `columns` values, normed as the inputs are.
  template <class Real>
  std::vector<Real> normed(const std::vector<double> &rows, int columns,
                           const std::vector<double> &weight) const;
  /// dt of every channel.
  template <class Real> std::vector<Real> deltas() const;
  /// The convolution's step of input column `column`, whose value is `value`.
  template <class Real> Real convolved(int s, int column, int filter, Real value) const;
  /// B or C, `columns` of them from column `first` of the convolution on.
  template <class Real>
  std::vector<Real> heads_of(const std::vector<double> &rows, int columns, int first,
                             const std::vector<double> &weight) const;
  /// In the precision of Real: the results, the states and the convolution's windows after them,
  /// and the sums of squares by group that a norm of the results is made of.
  template <class Real>
  void evaluate(std::vector<double> &y, std::vector<double> &end_state,
                std::vector<double> &end_window, std::vector<double> *squares = nullptr) const;
  /// Of the convolution: x, then B and C.
  double input(int t, int column) const;
  void put(Context &context) const;
  /// Operands begin `offset` columns into their rows.
  void launch(Context &context) const;
  /// Compares results, states and windows with float64, within the error of float32 and `extra`.
  void verify(Context &context, double extra = 0) const;
};

cuda::SelectiveScan mamba1(const ScanProblem &p, bool decode);
cuda::SsdScan mamba2(const ScanProblem &p, bool decode);

/// M1's kind of heads: B repeated as x is, C one a head.
ScanProblem problem1(Type type, Type state_type, int channels, int repeat, int states,
                     bool x_repeated);
ScanProblem problem2(Type type, Type state_type, int heads, int repeat, int head_dim, int states);
/// Mamba's own kind: `groups` heads of B and of C.
ScanProblem grouped1(Type type, Type state_type, int channels, int groups, int states);
ScanProblem grouped2(Type type, Type state_type, int heads, int groups, int head_dim, int states);

/// Runs the problem whole. With hundreds of expected sequences a prefill's are many, whatever their
/// number: one multiprocessor has enough of them.
Case scan_case(const std::string &label, bool smoke, ScanProblem p, const std::vector<int> &lengths,
               const std::vector<int> &past, bool decode, int expected_sequences = 8,
               double extra = 0);
/// States of f16 beyond 65504 become infinite, of their sign, when a step ends; others do not.
Case overflow_case(bool smoke, ScanProblem p, const std::vector<int> &lengths,
                   const std::vector<int> &past, bool decode);

} // namespace m1k::test

#endif
