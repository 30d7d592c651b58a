// Launches of the kernels that are not Mamba's: linear, attention, sampling.
#include "describe.h"

#include <algorithm>

namespace m1k::cuda {

Description describe(const Linear &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  if (f.n <= 0 || f.k <= 0)
    description.error = "sizes must be positive";
  else if (f.max_rows < 1 || f.max_rows > 16)
    description.error = "expected max_rows of 1 to 16, got " + std::to_string(f.max_rows);
  else if (f.accumulate && f.out_type != Type::f32)
    description.error = "expected an f32 output to accumulate to";
  else if (f.gated && (f.has_bias || f.accumulate))
    description.error = "a gated linear has neither bias nor accumulation";
  if (!description.error.empty())
    return description;
  int sides = f.gated ? 2 : 1;
  // More columns a block read x less often; two blocks a multiprocessor come first.
  int columns = 8;
  while (columns * sides < 32 && f.n / (columns * 2) >= tuning.multiprocessors * 2)
    columns *= 2;
  int warps = 8;
  while (warps > 1 && f.k < warps * 256)
    warps /= 2;
  int shared = warps * f.max_rows * columns * sides * 4;
  Facts facts;
  facts.type("XT", f.x_type);
  facts.type("WT", f.w_type);
  facts.type("OT", f.out_type);
  facts.number("kN", f.n);
  facts.number("kK", f.k);
  facts.number("kXStride", f.x_stride);
  facts.number("kOutStride", f.out_stride);
  facts.number("kRows", f.max_rows);
  facts.number("kDomain", number_of(f.domain));
  facts.flag("kHasBias", f.has_bias);
  facts.flag("kAccumulate", f.accumulate);
  facts.flag("kGated", f.gated);
  facts.number("kColumns", columns);
  facts.number("kWarps", warps);
  facts.number("kSharedBytes", shared);
  Parameters parameters;
  parameters.input(f.x_type, "x");
  parameters.input(f.w_type, "w");
  parameters.vector("bias", f.has_bias);
  parameters.add(name_of(f.out_type), "out");
  Kernel kernel = make_kernel(symbol, "linear.cuh", "linear", facts, parameters, warps * 32);
  kernel.shared_bytes = shared;
  kernel.domain = f.domain;
  kernel.grid_x = int(ceil_div(f.n, columns));
  kernel.rows_per_group = f.max_rows;
  description.kernels.push_back(kernel);
  return description;
}

} // namespace m1k::cuda
