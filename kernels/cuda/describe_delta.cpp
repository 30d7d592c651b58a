// Launches of the gated delta rule.
#include "describe.h"

#include <algorithm>

namespace m1k::cuda {

namespace {

Facts common_facts(const GatedDelta &f) {
  Facts facts;
  facts.type("AT", f.a_type);
  facts.type("BT", f.b_type);
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
  return facts;
}

// Shared memory of the chunked launches, as in delta_chunks.cuh.
const int chunk = 64, blocks_bytes = 10 * 512, factor_bytes = chunk * 4;

int prepare_bytes(const GatedDelta &f) {
  const int rows = chunk * (f.key_size + 8) * 2, parts = 10 * 2 * 16 * 24 * 2,
            values = chunk * (f.value_size + 8) * 2;
  return rows + std::max(rows, parts) + values + 7 * factor_bytes;
}

int chunks_bytes(const GatedDelta &f, int warps) {
  int keys = chunk * (f.key_size + 8) * 2, values = chunk * (16 * warps + 8) * 2;
  int input = 2 * keys + values + 2 * factor_bytes;
  int output = keys + blocks_bytes + factor_bytes;
  return 2 * (input + output + warps * (f.key_size / 16 + chunk / 16) * 512);
}

// Warps a block whose 16 columns each are the state's; 0: not on tensor cores. A sequence is a
// chain of tiles, each of which every block of a head reads: as few blocks as still spread one
// sequence over a third of the chip.
int warps_of(const GatedDelta &f, const Tuning &tuning) {
  for (Type type : {f.q_type, f.k_type, f.v_type, f.out_type})
    if (type != Type::bf16)
      return 0;
  if (f.key_size % 16 != 0 || prepare_bytes(f) > tuning.block_shared_bytes)
    return 0;
  for (int warps : {4, 2, 1})
    if (f.value_size % (16 * warps) == 0 && chunks_bytes(f, warps) <= tuning.block_shared_bytes &&
        (warps <= 2 || f.heads * (f.value_size / (16 * warps)) * 3 >= tuning.multiprocessors))
      return warps;
  return 0;
}

// As in delta_warpgroup.cuh.
int warpgroup_bytes(const GatedDelta &f) {
  const int keys = chunk * f.key_size * 2;
  int input = int(round_up(2 * keys + chunk * (64 + 8) * 2 + 2 * factor_bytes, 1024));
  int output = int(round_up(keys + chunk * 64 * 2 + factor_bytes, 1024));
  int left = 4 * (f.key_size / 16 + chunk / 16) * 512;
  return 1024 + 3 * (input + 16) + 2 * (output + 16) + 2 * (left + 16);
}

bool on_warpgroups(const GatedDelta &f, const Tuning &tuning) {
  return tuning.warpgroups && f.key_size == 128 && f.value_size % 64 == 0 &&
         std::max(warpgroup_bytes(f), chunks_bytes(f, 4)) <= tuning.block_shared_bytes;
}

void add_chunks(Description &description, const GatedDelta &f, int warps, bool warpgroups,
                const std::string &symbol, const Tuning &tuning) {
  const int64_t record =
      chunk * 2 * int64_t(f.key_size + f.value_size) + blocks_bytes + 3 * factor_bytes;
  const char *header = warpgroups ? "delta_warpgroup.cuh" : "delta_chunks.cuh";
  Facts facts = common_facts(f);
  facts.number("kSharedBytes", prepare_bytes(f));
  Parameters parameters;
  parameters.input(f.q_type, "q");
  parameters.input(f.k_type, "k");
  parameters.input(f.v_type, "v");
  parameters.input(f.a_type, "a");
  parameters.input(f.b_type, "b");
  parameters.vector("decay");
  parameters.vector("dt_bias", f.has_dt_bias);
  parameters.batch("sequence_starts");
  parameters.add("unsigned char", "workspace");
  parameters.add("unsigned char", "temporary");
  Kernel prepare =
      make_kernel(symbol + "_prepare", header, "delta_prepare", facts, parameters, 128,
                  std::min(4, std::max(1, blocks_per_multiprocessor(tuning, prepare_bytes(f)))));
  prepare.shared_bytes = prepare_bytes(f);
  prepare.domain = Domain::tokens;
  prepare.grid_x = f.heads;
  prepare.rows_per_group = chunk;
  description.kernels.push_back(prepare);

  const int shared = std::max(chunks_bytes(f, warps), warpgroups ? warpgroup_bytes(f) : 0);
  facts = common_facts(f);
  facts.number("kWarps", warps);
  facts.number("kSharedBytes", shared);
  parameters = {};
  parameters.input(f.q_type, "q");
  parameters.input(f.k_type, "k");
  parameters.add(name_of(f.state_type), "state");
  parameters.batch("sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(f.out_type), "out");
  parameters.add("const unsigned char", "workspace");
  parameters.add("const unsigned char", "temporary");
  Kernel chunks =
      make_kernel(symbol + "_chunks", header, warpgroups ? "delta_warpgroup" : "delta_chunks",
                  facts, parameters, warpgroups ? 384 : 64 * warps + 32, 1);
  chunks.shared_bytes = shared;
  chunks.domain = Domain::sequences;
  chunks.grid_x = f.heads * (f.value_size / (16 * warps));
  chunks.rows_per_group = 1;
  description.kernels.push_back(chunks);
  description.workspace_bytes = f.heads * record;
  description.temporary_bytes_per_row = f.heads * record / chunk;
}

} // namespace

Description describe(const GatedDelta &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  if (f.heads <= 0 || f.key_heads <= 0 || f.heads % f.key_heads != 0)
    description.error = "expected heads to be a multiple of key_heads, got " +
                        std::to_string(f.heads) + " and " + std::to_string(f.key_heads);
  else if (f.key_size < 1 || f.key_size > 256 || f.value_size < 1)
    description.error = "expected key_size from 1 to 256 and a positive value_size, got " +
                        std::to_string(f.key_size) + " and " + std::to_string(f.value_size);
  if (!description.error.empty())
    return description;
  if (int warps = f.decode ? 0 : warps_of(f, tuning)) {
    const bool warpgroups = on_warpgroups(f, tuning);
    add_chunks(description, f, warpgroups ? 4 : warps, warpgroups, symbol, tuning);
    return description;
  }
  // As in GatedDeltaTraits.
  const int threads = 128, parts = 4, columns = threads / parts;
  int padded = int(round_up(ceil_div(f.key_size, parts), 4)) * parts;
  int tile = f.decode ? 1 : 16;
  Facts facts = common_facts(f);
  facts.type("QT", f.q_type);
  facts.type("KT", f.k_type);
  facts.type("VT", f.v_type);
  facts.type("OT", f.out_type);
  facts.number("kTile", tile);
  facts.number("kThreads", threads);
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

Description describe(const DeltaUpdate &f, const std::string &symbol, const Tuning &) {
  Description description;
  const GatedDelta &delta = f.delta;
  const GatedDelta plain = [&] {
    GatedDelta same = delta;
    same.decode = true;
    return same;
  }();
  description.error = describe(plain, symbol).error;
  const int lanes = 4 * int(round_up(delta.value_size, 8));
  if (description.error.empty() && (f.conv_width < 1 || f.conv_width > 16))
    description.error =
        "expected a convolution of width 1 to 16, got " + std::to_string(f.conv_width);
  if (description.error.empty() && lanes > 1024)
    description.error =
        "a head of " + std::to_string(delta.value_size) + " values is too much for a block";
  if (!description.error.empty())
    return description;
  const int threads = std::max(32, lanes);
  // As in GatedDeltaTraits.
  const int padded = int(round_up(ceil_div(delta.key_size, 4), 4)) * 4;
  const int shared =
      std::max(2 * padded + threads / 4 + 2,
               2 * padded + 2 * delta.key_size + delta.value_size + threads / 32 + 1) *
      4;
  Facts facts = common_facts(delta);
  facts.type("QT", f.x_type);
  facts.type("KT", f.x_type);
  facts.type("VT", f.x_type);
  facts.type("XT", f.x_type);
  facts.type("WT", f.conv_state_type);
  facts.type("ZT", f.z_type);
  facts.type("OT", delta.out_type);
  facts.number("kXStride", f.x_stride);
  facts.number("kZStride", f.z_stride);
  facts.number("kConvWidth", f.conv_width);
  facts.number("kConvInputs", f.conv_channels);
  facts.flag("kHasConvBias", f.has_conv_bias);
  facts.flag("kConvSilu", f.conv_silu);
  facts.number("kQColumn", f.q_column);
  facts.number("kKColumn", f.k_column);
  facts.number("kVColumn", f.v_column);
  facts.number("kNorm", !f.has_norm ? 0 : f.norm_first ? 2 : 1);
  facts.flag("kHasNormWeight", f.has_norm_weight);
  facts.flag("kNormShared", f.shared_norm_weight);
  facts.function("norm_eps", f.norm_eps);
  facts.number("kCounters", f.counters);
  facts.flag("kEarly", true);
  facts.number("kTile", 1);
  facts.number("kThreads", threads);
  facts.number("kSharedBytes", shared);
  Parameters parameters;
  parameters.input(f.x_type, "x");
  parameters.vector("conv_w");
  parameters.vector("conv_bias", f.has_conv_bias);
  parameters.input(delta.a_type, "a");
  parameters.input(delta.b_type, "b");
  parameters.vector("decay");
  parameters.vector("dt_bias", delta.has_dt_bias);
  parameters.input(f.z_type, "z", f.has_norm);
  parameters.vector("norm_w", f.has_norm && f.has_norm_weight);
  parameters.add(name_of(f.conv_state_type), "conv_state");
  parameters.add(name_of(delta.state_type), "state");
  parameters.unused("const int", "sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(delta.out_type), "out");
  parameters.add("int", "counters", delta.heads > delta.key_heads);
  Kernel kernel = make_kernel(symbol, "delta_update.cuh", "delta_update", facts, parameters,
                              threads, 0, /*launches_successor=*/true);
  kernel.launch_early = true;
  kernel.shared_bytes = shared;
  kernel.domain = Domain::sequences;
  kernel.grid_x = delta.heads;
  kernel.rows_per_group = 1;
  description.kernels.push_back(kernel);
  return description;
}

int counters_of(const DeltaUpdate &f) {
  return f.delta.heads > f.delta.key_heads ? f.delta.key_heads : 0;
}

} // namespace m1k::cuda
