// Launches of the gated delta rule.
#include "describe.h"

namespace m1k::cuda {

Description describe(const GatedDelta &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.heads <= 0 || f.key_heads <= 0 || f.heads % f.key_heads != 0)
    description.error = "expected heads to be a multiple of key_heads, got " +
                        std::to_string(f.heads) + " and " + std::to_string(f.key_heads);
  else if (f.key_size < 1 || f.key_size > 256 || f.value_size < 1)
    description.error = "expected key_size from 1 to 256 and a positive value_size, got " +
                        std::to_string(f.key_size) + " and " + std::to_string(f.value_size);
  if (!description.error.empty())
    return description;
  // As in GatedDeltaTraits.
  const int threads = 128, parts = 4, columns = threads / parts;
  int padded = int(round_up(ceil_div(f.key_size, parts), 4)) * parts;
  int tile = f.decode ? 1 : 16;
  Facts facts;
  facts.type("QT", f.q_type);
  facts.type("KT", f.k_type);
  facts.type("VT", f.v_type);
  facts.type("AT", f.a_type);
  facts.type("BT", f.b_type);
  facts.type("OT", f.out_type);
  facts.type("ST", f.state_type);
  facts.number("kHeads", f.heads);
  facts.number("kShare", f.heads / f.key_heads);
  facts.number("kK", f.key_size);
  facts.number("kV", f.value_size);
  facts.number("kQStride", f.q_stride);
  facts.number("kKStride", f.k_stride);
  facts.number("kVStride", f.v_stride);
  facts.number("kAStride", f.a_stride);
  facts.number("kBStride", f.b_stride);
  facts.number("kOutStride", f.out_stride);
  facts.flag("kHasDtBias", f.has_dt_bias);
  facts.function("eps", f.eps);
  facts.function("scale", f.scale);
  facts.number("kTile", tile);
  int shared = tile * (2 * padded + columns + 2) * 4;
  facts.number("kSharedBytes", shared);
  Parameters parameters;
  parameters.input(f.q_type, "q");
  parameters.input(f.k_type, "k");
  parameters.input(f.v_type, "v");
  parameters.input(f.a_type, "a");
  parameters.input(f.b_type, "b");
  parameters.vector("decay");
  parameters.vector("dt_bias", f.has_dt_bias);
  parameters.add(name_of(f.state_type), "state");
  parameters.batch("sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(f.out_type), "out");
  Kernel kernel = make_kernel(symbol, "gated_delta.cuh", "gated_delta", facts, parameters, threads);
  kernel.shared_bytes = shared;
  kernel.domain = Domain::sequences;
  kernel.grid_x = f.heads * int(ceil_div(f.value_size, columns));
  kernel.rows_per_group = 1;
  description.kernels.push_back(kernel);
  return description;
}

} // namespace m1k::cuda
