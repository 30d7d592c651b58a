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
  const int rows = chunk * (f.key_size + 8) * 2, parts = 10 * 2 * 16 * 24 * 2;
  return rows + std::max(rows, parts) + 6 * factor_bytes;
}

int chunks_bytes(const GatedDelta &f, int warps) {
  int keys = chunk * (f.key_size + 8) * 2, values = chunk * (16 * warps + 8) * 2;
  int input = keys + values + 2 * blocks_bytes + 3 * factor_bytes;
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
int warpgroup_bytes(const GatedDelta &f, int stages) {
  int rows = chunk * f.key_size * 2, tiles = chunk * 64 * 2, values = chunk * (64 + 8) * 2;
  return 1024 + stages * (2 * rows + 3 * tiles + values + 4 * factor_bytes + 16);
}

// Stages of tiles for warpgroup products; 0: not on those.
int stages_of(const GatedDelta &f, const Tuning &tuning) {
  if (!tuning.warpgroups || f.key_size != 128 || f.value_size % 64 != 0 ||
      chunks_bytes(f, 4) > tuning.block_shared_bytes)
    return 0;
  for (int stages : {3, 2})
    if (warpgroup_bytes(f, stages) <= tuning.block_shared_bytes)
      return stages;
  return 0;
}

// As in delta_overlap_warpgroup.cuh: the memory of a group that makes records, a record, the memory
// of a chain's block.
int group_bytes(const GatedDelta &f) {
  return prepare_bytes(f) + chunk * (f.value_size + 8) * 2 + factor_bytes;
}
int64_t overlap_record_bytes(const GatedDelta &f) {
  return chunk * 2 * int64_t(f.key_size + f.value_size) + blocks_bytes + 3 * factor_bytes + 16;
}
int chain_bytes(const GatedDelta &f) {
  const int rows = chunk * f.key_size * 2, columns = chunk * 64 * 2;
  const int input = int(round_up(2 * rows + columns + 2 * factor_bytes, 1024));
  const int output = int(round_up(rows + columns + factor_bytes, 1024));
  const int left = 4 * (f.key_size / 16 + chunk / 16) * 512;
  return 1024 + 3 * (input + 16) + 2 * (output + 16) + 2 * (left + 16);
}

// Of how many sequences the chains, of 64 columns of the state, leave half of the chip to those who
// make records for them; more take less time with less work before the chains
// (docs/performance.md).
int few_sequences(const GatedDelta &f, const Tuning &tuning) {
  if (group_bytes(f) > tuning.block_shared_bytes || chain_bytes(f) > tuning.block_shared_bytes)
    return 0;
  return tuning.multiprocessors / 2 / (f.heads * (f.value_size / 64));
}

void add_prepare_parameters(Parameters &parameters, const GatedDelta &f) {
  parameters.input(f.a_type, "a");
  parameters.input(f.b_type, "b");
  parameters.vector("decay");
  parameters.vector("dt_bias", f.has_dt_bias);
  parameters.batch("sequence_starts");
  parameters.add("unsigned char", "workspace");
  parameters.add("unsigned char", "temporary");
}
void add_state_parameters(Parameters &parameters, const GatedDelta &f) {
  parameters.add(name_of(f.state_type), "state");
  parameters.batch("sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(f.out_type), "out");
  parameters.add("const unsigned char", "workspace");
  parameters.add("const unsigned char", "temporary");
}

// Scratch that launches share of which each step's are one kind.
void reserve(Description &description, const GatedDelta &f, int64_t record) {
  description.workspace_bytes = std::max(description.workspace_bytes, f.heads * record);
  description.temporary_bytes_per_row =
      std::max(description.temporary_bytes_per_row, ceil_div(f.heads * record, chunk));
}

// Launches for steps of at most so many sequences, which others pass by.
void add_overlap(Description &description, const GatedDelta &f, int most, const std::string &suffix,
                 const std::string &symbol, const Tuning &tuning) {
  const char *header = "delta_overlap_warpgroup.cuh";
  const int chains = f.heads * (f.value_size / 64),
            groups = std::min(4, tuning.block_shared_bytes / group_bytes(f));
  Facts facts = common_facts(f);
  facts.number("kMost", most);
  facts.number("kGroups", groups);
  facts.number("kChains", chains);
  facts.number("kSharedBytes", groups * group_bytes(f));
  Parameters parameters;
  parameters.input(f.q_type, "q");
  parameters.input(f.k_type, "k");
  parameters.input(f.v_type, "v");
  add_prepare_parameters(parameters, f);
  Kernel records = make_kernel(symbol + "_prepare" + suffix, header, "delta_records", facts,
                               parameters, 128 * groups, 1, /*launches_successor=*/true);
  records.shared_bytes = groups * group_bytes(f);
  records.grid_x = tuning.multiprocessors;
  description.kernels.push_back(records);

  facts = common_facts(f);
  facts.number("kMost", most);
  facts.number("kSharedBytes", chain_bytes(f));
  parameters = {};
  parameters.input(f.q_type, "q");
  parameters.input(f.k_type, "k");
  add_state_parameters(parameters, f);
  Kernel chain =
      make_kernel(symbol + "_chunks" + suffix, header, "delta_chain", facts, parameters, 384, 1);
  chain.shared_bytes = chain_bytes(f);
  chain.grid_x = chains * most;
  chain.launch_early = true;
  description.kernels.push_back(chain);
  reserve(description, f, overlap_record_bytes(f));
}

// Launches for steps of at least so many sequences, with warpgroup products where `stages` is not
// 0.
void add_chunks(Description &description, const GatedDelta &f, int warps, int stages, int fewest,
                const std::string &suffix, const std::string &symbol, const Tuning &tuning) {
  const char *header = stages ? "delta_warpgroup.cuh" : "delta_chunks.cuh";
  Facts facts = common_facts(f);
  facts.number("kFewest", fewest);
  facts.number("kSharedBytes", prepare_bytes(f));
  Parameters parameters;
  parameters.input(f.q_type, "q");
  parameters.input(f.k_type, "k");
  add_prepare_parameters(parameters, f);
  Kernel prepare =
      make_kernel(symbol + "_prepare" + suffix, header, "delta_prepare", facts, parameters, 128,
                  std::min(6, std::max(1, blocks_per_multiprocessor(tuning, prepare_bytes(f)))));
  prepare.shared_bytes = prepare_bytes(f);
  prepare.domain = Domain::tokens;
  prepare.grid_x = f.heads;
  prepare.rows_per_group = chunk;
  description.kernels.push_back(prepare);

  const int shared = std::max(chunks_bytes(f, warps), stages ? warpgroup_bytes(f, stages) : 0);
  facts = common_facts(f);
  facts.number("kFewest", fewest);
  facts.number("kWarps", warps);
  if (stages)
    facts.number("kStages", stages);
  facts.number("kSharedBytes", shared);
  parameters = {};
  parameters.input(f.q_type, "q");
  parameters.input(f.k_type, "k");
  parameters.input(f.v_type, "v");
  add_state_parameters(parameters, f);
  Kernel chunks =
      make_kernel(symbol + "_chunks" + suffix, header, stages ? "delta_warpgroup" : "delta_chunks",
                  facts, parameters, stages ? 384 : 64 * warps + 32, 1);
  chunks.shared_bytes = shared;
  chunks.domain = Domain::sequences;
  chunks.grid_x = f.heads * (f.value_size / (16 * warps));
  chunks.rows_per_group = 1;
  description.kernels.push_back(chunks);
  reserve(description, f, 3 * blocks_bytes + 4 * factor_bytes);
}

// With warpgroup products, launches for few sequences and for many where there are such steps.
void add_tiles(Description &description, const GatedDelta &f, int warps, const std::string &symbol,
               const Tuning &tuning) {
  const int stages = stages_of(f, tuning), few = stages ? few_sequences(f, tuning) : 0;
  if (few > 0)
    add_overlap(description, f, few, "_to_" + std::to_string(few), symbol, tuning);
  add_chunks(description, f, stages ? 4 : warps, stages, few + 1,
             few > 0 ? "_from_" + std::to_string(few + 1) : "", symbol, tuning);
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
    add_tiles(description, f, warps, symbol, tuning);
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
