// Launches of the Mamba kernels: scans, state updates, convolution, gated norm.
#include "describe.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <numeric>

namespace m1k::cuda {
namespace {

// What scan.cuh and update.cuh need to know of either kind of scan; names as there.
struct ScanFacts {
  Type x_type, dt_type, b_type, c_type, z_type, out_type, state_type;
  int channels = 0, states = 0, group = 1, b_share = 1, c_share = 1, x_group = 1, x_repeat = 1;
  bool headwise = false;
  int head = 1;
  int64_t x_stride = 0, dt_stride = 0, b_stride = 0, c_stride = 0, z_stride = 0, out_stride = 0;
  bool has_d = false, has_z = false, has_dt_bias = false, softplus = false;
};

void add_facts(Facts &facts, const ScanFacts &s) {
  facts.type("XT", s.x_type);
  facts.type("DT", s.dt_type);
  facts.type("BT", s.b_type);
  facts.type("CT", s.c_type);
  facts.type("ZT", s.z_type);
  facts.type("OT", s.out_type);
  facts.type("ST", s.state_type);
  facts.number("kChannelCount", s.channels);
  facts.number("kGroup", s.group);
  facts.number("kBShare", s.b_share);
  facts.number("kCShare", s.c_share);
  facts.number("kXGroup", s.x_group);
  facts.number("kXRepeat", s.x_repeat);
  facts.number("kN", s.states);
  facts.flag("kHeadwise", s.headwise);
  facts.number("kHead", s.head);
  facts.number("kXStride", s.x_stride);
  facts.number("kDtStride", s.dt_stride);
  facts.number("kBStride", s.b_stride);
  facts.number("kCStride", s.c_stride);
  facts.number("kZStride", s.z_stride);
  facts.number("kOutStride", s.out_stride);
  facts.flag("kHasD", s.has_d);
  facts.flag("kHasZ", s.has_z);
  facts.flag("kHasDtBias", s.has_dt_bias);
  facts.flag("kSoftplus", s.softplus);
}

void add_inputs(Parameters &parameters, const ScanFacts &s) {
  parameters.input(s.dt_type, "dt");
  parameters.vector("a");
  parameters.input(s.b_type, "b");
  parameters.input(s.c_type, "c");
  parameters.vector("d", s.has_d);
  parameters.input(s.z_type, "z", s.has_z);
  parameters.vector("dt_bias", s.has_dt_bias);
}

// runs_of in common.cuh.
int runs_of(int count, int length, int total) {
  return int(std::min<int64_t>((length - std::gcd(count, length) + count - 1) / length + 1,
                               ceil_div(total, length)));
}

using ScanShape = Tuning::ScanShape;

// The sizes of ScanTraits, computed alike.
int scan_shared_bytes(const ScanFacts &s, const ScanShape &shape) {
  int states = int(ceil_div(s.states, shape.lanes)), channels = shape.main_warps * 32 / shape.lanes,
      groups = runs_of(channels, s.group, s.channels), tile = shape.tile;
  int dt_columns = s.headwise ? runs_of(channels, s.head, s.channels) : channels;
  auto row_bytes = [&](Type type) {
    int vector = 16 / bytes_of(type);
    return (round_up(channels, vector) + vector) * bytes_of(type);
  };
  int64_t stage = tile * row_bytes(s.x_type) + (s.has_z ? tile * row_bytes(s.z_type) : 0) +
                  tile * (round_up(dt_columns, 8) + 8) * bytes_of(s.dt_type) +
                  round_up(tile * groups * s.states * bytes_of(s.b_type), 16) +
                  round_up(tile * groups * s.states * bytes_of(s.c_type), 16);
  return int(3 * stage +
             2 * (round_up(tile * groups * shape.lanes * states * 8, 16) +
                  round_up(tile * channels * 8, 16) + round_up(tile * channels * 4, 16)) +
             2 * round_up(channels * 4, 16));
}

// Lanes of a channel, and warps. Measured on an H200 with 3072 channels of 16 states
// (docs/performance.md): 8 × 4096 tokens 728 us with the shape for many sequences, 858 with three
// helpers, 949 with four states a lane; 1 × 2048 tokens 88 us with that for few, 96 with as many
// helpers as main warps, 92 with two states a lane, 206 with the shape for many.
int lanes_for(const ScanFacts &s, int per_lane) {
  return std::min(32, power_of_two(int(ceil_div(s.states, per_lane))));
}
int warps_of(const ScanFacts &s, int lanes) {
  return int(ceil_div(int64_t(s.channels) * lanes, 32));
}

// With enough sequences, eight states a lane: the fewest instructions a state.
ScanShape shape_for_many(const ScanFacts &s) {
  if (s.states > 64)
    return {16, 4, 4, 16, 1};
  const int lanes = lanes_for(s, 8);
  return {lanes, 4, 4, std::max(16, lanes), 4};
}
// With few, four, so that every multiprocessor has warps; then a block takes a multiprocessor's
// share of one sequence's channels, and more helpers than main warps.
ScanShape shape_for_few(const ScanFacts &s, const Tuning &tuning) {
  const int lanes = lanes_for(s, 4);
  const int warps = std::clamp(int(ceil_div(warps_of(s, lanes), tuning.multiprocessors)), 1, 4);
  return {lanes, warps, warps + 2, 32, 32};
}
// From so many sequences on the shape for many has eight main warps for every multiprocessor.
int many_sequences(const ScanFacts &s, const Tuning &tuning) {
  if (s.states > 64)
    return 1;
  return int(ceil_div(int64_t(tuning.multiprocessors) * 8, warps_of(s, lanes_for(s, 8))));
}

// A launch for steps of `fewest` to `most` sequences, which others pass by.
void add_scan(Description &description, const ScanFacts &s, const std::string &symbol,
              const Tuning &tuning, ScanShape shape, int fewest, int most) {
  int limit = std::min(200 * 1024, tuning.block_shared_bytes);
  while (scan_shared_bytes(s, shape) > limit && shape.main_warps > 1)
    --shape.main_warps;
  while (scan_shared_bytes(s, shape) > limit && shape.tile > std::max(8, shape.lanes))
    shape.tile /= 2;
  if (scan_shared_bytes(s, shape) > tuning.block_shared_bytes) {
    description.error = "a scan of these sizes needs " +
                        std::to_string(scan_shared_bytes(s, shape)) +
                        " bytes of shared memory in a block, more than " +
                        std::to_string(tuning.block_shared_bytes / 1024) + " KiB";
    return;
  }
  int threads = (shape.main_warps + shape.helper_warps) * 32,
      channels = shape.main_warps * 32 / shape.lanes;
  Facts facts;
  add_facts(facts, s);
  facts.number("kLanes", shape.lanes);
  facts.number("kMainWarps", shape.main_warps);
  facts.number("kHelperWarps", shape.helper_warps);
  facts.number("kTile", shape.tile);
  facts.number("kUnroll", std::clamp(shape.unroll / shape.lanes, 1, shape.tile / shape.lanes));
  facts.number("kFewest", fewest);
  facts.number("kMost", most);
  facts.number("kSharedBytes", scan_shared_bytes(s, shape));
  Parameters parameters;
  parameters.input(s.x_type, "x");
  add_inputs(parameters, s);
  parameters.add(name_of(s.state_type), "state");
  parameters.batch("sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(s.out_type), "out");
  // As many blocks as shared memory allows, up to three: more would leave the main warps too few
  // registers.
  int blocks = std::clamp(blocks_per_multiprocessor(tuning, scan_shared_bytes(s, shape)), 1,
                          shape.unroll > 8 ? 2 : 3);
  Kernel kernel = make_kernel(symbol, "scan.cuh", "scan", facts, parameters, threads, blocks);
  kernel.shared_bytes = scan_shared_bytes(s, shape);
  kernel.domain = Domain::sequences;
  kernel.grid_x = int(ceil_div(s.channels, channels));
  kernel.rows_per_group = 1;
  description.kernels.push_back(kernel);
}

// A launch for few sequences and one for many; one for all where one is many, where few are so many
// that hardly a step has more, or where the tuning names its shape.
void add_scans(Description &description, const ScanFacts &s, const std::string &symbol,
               const Tuning &tuning) {
  const int all = std::numeric_limits<int>::max(), many = many_sequences(s, tuning);
  if (tuning.scan.lanes > 0)
    return add_scan(description, s, symbol, tuning, tuning.scan, 1, all);
  if (many <= 1)
    return add_scan(description, s, symbol, tuning, shape_for_many(s), 1, all);
  if (many > 64)
    return add_scan(description, s, symbol, tuning, shape_for_few(s, tuning), 1, all);
  add_scan(description, s, symbol + "_to_" + std::to_string(many - 1), tuning,
           shape_for_few(s, tuning), 1, many - 1);
  add_scan(description, s, symbol + "_from_" + std::to_string(many), tuning, shape_for_many(s),
           many, all);
}

// Channels that share heads of B and C with no others.
int shared_channels(const ScanFacts &s) { return s.group * s.b_share * s.c_share; }

bool convolves_wide(const ScanNeighbours &n) { return n.conv.width > 0 && n.conv.b_column >= 0; }

Description describe_update(const ScanFacts &s, const ScanNeighbours &n, const std::string &symbol,
                            const Tuning &given) {
  Description description;
  Tuning tuning = given;
  if (n.few)
    tuning.expected_sequences = 2;
  const bool conv = n.conv.width > 0, wide = convolves_wide(n), has_norm = n.norm_groups > 0;
  const int norm_size = has_norm ? s.channels / n.norm_groups : 0;
  // With the convolution and eight states of 16 bits a thread would take 160 registers: 24 warps a
  // multiprocessor are asked for. States of f32 are slower with that.
  const bool small_states = conv && !n.few && !s.headwise && bytes_of(s.state_type) == 2;
  // 16 bytes of state a lane where the states allow it.
  int vector = 16 / bytes_of(s.state_type);
  while (vector > 1 && s.states % vector != 0)
    vector /= 2;
  while (vector * 32 < s.states)
    vector *= 2;
  int lanes = std::min(32, power_of_two(int(ceil_div(s.states, vector))));
  int threads = 128;
  // Bytes of state a thread holds at once, as many again on their way: 32 where A stays in
  // registers, 64 else; fewer when the blocks would not cover the chip.
  int passes = std::max(1, (s.headwise ? 64 : 32) / (vector * bytes_of(s.state_type)));
  int channels = 1;
  if (wide || has_norm) {
    // Inside of a group, and whole norms; each block convolves B and C anew, and leaves a sum of
    // squares, so that blocks are of 32 channels where they can be.
    const int unit = n.norm_groups > 1 ? norm_size : 1;
    const int within = wide ? s.group : s.channels;
    for (int candidate = unit; candidate <= std::max(unit, 32); candidate += unit)
      if (within % candidate == 0)
        channels = candidate;
    if (channels % unit != 0) {
      description.error =
          "a norm of " + std::to_string(norm_size) + " channels is not inside of a head of B and C";
      return description;
    }
    while (threads < 512 && ceil_div(channels * lanes, threads) > passes)
      threads *= 2;
    passes = int(ceil_div(channels * lanes, threads));
    if (passes * vector * bytes_of(s.state_type) > 128) {
      description.error = "a norm of " + std::to_string(norm_size) + " channels of " +
                          std::to_string(s.states) + " states is too much for a block";
      return description;
    }
  } else {
    const int pass = threads / lanes;
    while (passes > 1 && int64_t(s.channels) * tuning.expected_sequences <
                             int64_t(passes) * pass * tuning.multiprocessors * 2)
      --passes;
    int unit = conv && s.x_repeat > 1 ? s.x_repeat * s.x_group : 1;
    // Whole units; of up to twice as many channels as wanted, the number that leaves the fewest
    // threads idle.
    auto share = [&](int count) { return double(count) / double(round_up(count, pass)); };
    channels = unit;
    for (int candidate = unit; candidate <= 2 * pass * passes; candidate += unit)
      if (candidate <= pass * passes ? share(candidate) >= share(channels)
                                     : share(candidate) > share(channels))
        channels = candidate;
    channels = std::min(channels, s.channels);
    // Where whole units are more channels than wanted, more threads take them, not further passes,
    // as long as a block has no more than those 24 warps.
    if (small_states)
      threads = std::clamp(int(round_up(ceil_div(channels * lanes, passes), 32)), threads, 24 * 32);
  }
  if (wide && shared_channels(s) % (s.x_repeat * s.x_group) != 0) {
    description.error = "x repeats " + std::to_string(s.x_repeat) +
                        " times for channels that share neither B nor C";
    return description;
  }
  const int groups = runs_of(channels, s.group, s.channels), padded = lanes * vector;
  // Several sequences in turn share A and hide each other's latency, but only once the sequences
  // alone fill the chip. Few ones share the weights of dt's projection.
  int64_t blocks = ceil_div(s.channels, channels) * tuning.expected_sequences;
  const int sequences =
      n.few ? (n.dt_rank > 0 ? 2 : 1)
            : int(std::clamp<int64_t>(blocks / (int64_t(tuning.multiprocessors) * 12), 1,
                                      s.headwise ? 2 : 4));
  int run = 1;
  if (n.dt_rank > 0) {
    run = 16 / bytes_of(n.dt_w_type);
    while (n.dt_rank % run != 0)
      run /= 2;
    // As in DtProjection; the weights stay in registers.
    const int64_t loads = ceil_div(n.dt_rank, 8 * run) * ceil_div(channels, threads / 8);
    if (loads * std::max(4, run * bytes_of(n.dt_w_type)) > 96 * 4) {
      description.error =
          "a projection of " + std::to_string(n.dt_rank) + " columns to dt is too much for a block";
      return description;
    }
  }
  if ((n.b_norm.present || n.c_norm.present) && (padded > 32 || s.group != s.channels)) {
    description.error = "norms of B and C take one head of at most 32 states";
    return description;
  }
  const int shared = (2 * (channels * (has_norm ? 5 : 4) + 2 * groups * padded) +
                      (n.dt_rank > 0 ? sequences * channels : 0) + (has_norm ? channels : 0) + 1) *
                     4;

  Facts facts;
  add_facts(facts, s);
  facts.flag("kConv", conv);
  facts.type("WT", n.conv.state_type);
  facts.number("kConvWidth", conv ? n.conv.width : 1);
  facts.flag("kConvRepeated", conv && !wide && n.conv.channels == s.channels);
  facts.flag("kHasConvBias", conv && n.conv.has_bias);
  facts.flag("kConvSilu", conv && n.conv.silu);
  facts.flag("kConvWide", wide);
  facts.number("kConvInputs", wide ? n.conv.channels : s.channels / s.x_repeat);
  facts.number("kXColumn", n.conv.x_column);
  facts.number("kBColumn", n.conv.b_column);
  facts.number("kCColumn", n.conv.c_column);
  facts.number("kDtRank", n.dt_rank);
  facts.type("DWT", n.dt_w_type);
  facts.number("kDtRun", run);
  auto norm = [&](const char *name, const char *eps, const ScanNeighbours::Norm &kind) {
    facts.number(name, !kind.present ? 0 : kind.has_weight ? 2 : 1);
    facts.function(eps, kind.eps);
  };
  norm("kDtNorm", "dt_eps", n.dt_norm);
  norm("kBNorm", "b_eps", n.b_norm);
  norm("kCNorm", "c_eps", n.c_norm);
  facts.number("kNorm", !has_norm ? 0 : n.norm_groups > 1 ? 1 : 2);
  facts.number("kNormSize", norm_size);
  facts.flag("kNormShared", n.shared_norm_weight);
  facts.function("norm_eps", n.norm_eps);
  facts.number("kSquares", squares_of(int(ceil_div(s.channels, channels))));
  facts.number("kCounters", n.counters);
  facts.flag("kEarly", n.few);
  facts.number("kLanes", lanes);
  facts.number("kVector", vector);
  facts.number("kChannels", channels);
  facts.number("kThreads", threads);
  facts.number("kSequences", sequences);
  facts.number("kSharedBytes", shared);
  const bool counts = wide && channels < shared_channels(s);
  Parameters parameters;
  parameters.input(s.x_type, "x");
  parameters.vector("conv_w", conv);
  parameters.vector("conv_bias", conv && n.conv.has_bias);
  parameters.input(s.dt_type, "dt");
  parameters.input(n.dt_w_type, "dt_w", n.dt_rank > 0);
  parameters.vector("dt_norm", n.dt_norm.present && n.dt_norm.has_weight);
  parameters.vector("a");
  parameters.input(s.b_type, "b", !wide);
  parameters.vector("b_norm", n.b_norm.present && n.b_norm.has_weight);
  parameters.input(s.c_type, "c", !wide);
  parameters.vector("c_norm", n.c_norm.present && n.c_norm.has_weight);
  parameters.vector("d", s.has_d);
  parameters.input(s.z_type, "z", s.has_z);
  parameters.vector("dt_bias", s.has_dt_bias);
  parameters.vector("norm_w", has_norm && n.has_norm_weight);
  parameters.add(name_of(n.conv.state_type), "conv_state", conv);
  parameters.add(name_of(s.state_type), "state");
  parameters.unused("const int", "sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(s.out_type), "out");
  parameters.add("float", "squares_out", n.norm_groups == 1);
  parameters.add("int", "counters", counts);
  Kernel kernel = make_kernel(symbol, "update.cuh", "update", facts, parameters, threads,
                              small_states ? 24 * 32 / threads : 0, n.few);
  kernel.launch_early = n.few;
  kernel.shared_bytes = shared;
  kernel.domain = Domain::sequences;
  kernel.grid_x = int(ceil_div(s.channels, channels));
  kernel.rows_per_group = sequences;
  description.kernels.push_back(kernel);
  return description;
}

// The heads of one operand: their number divides that of what they serve.
std::string check_heads(const char *field, int heads, const char *of, int total) {
  if (heads > 0 && total > 0 && total % heads == 0)
    return "";
  return std::string("expected ") + field + " that divide " + of + " = " + std::to_string(total) +
         ", got " + std::to_string(heads);
}

std::string check_states(int states) {
  if (states >= 1 && states <= 256)
    return "";
  return "expected d_state from 1 to 256, got " + std::to_string(states);
}

std::string first_of(std::initializer_list<std::string> errors) {
  for (const std::string &error : errors)
    if (!error.empty())
      return error;
  return "";
}

std::string convert(const SelectiveScan &f, ScanFacts &s) {
  std::string error =
      first_of({check_states(f.d_state), check_heads("b_heads", f.b_heads, "d_inner", f.d_inner),
                check_heads("c_heads", f.c_heads, "d_inner", f.d_inner),
                check_heads("x_columns", f.x_columns, "d_inner", f.d_inner)});
  if (error.empty() && f.x_columns != f.d_inner && f.x_columns % f.d_state != 0)
    error = "expected x_columns of whole heads of d_state = " + std::to_string(f.d_state) +
            ", got " + std::to_string(f.x_columns);
  if (!error.empty())
    return error;
  int of_b = f.d_inner / f.b_heads, of_c = f.d_inner / f.c_heads;
  s.x_type = f.x_type, s.dt_type = f.dt_type, s.b_type = f.b_type, s.c_type = f.c_type;
  s.z_type = f.z_type, s.out_type = f.out_type, s.state_type = f.state_type;
  s.channels = f.d_inner;
  s.states = f.d_state;
  s.group = std::gcd(of_b, of_c);
  s.b_share = of_b / s.group, s.c_share = of_c / s.group;
  s.x_group = f.d_state, s.x_repeat = f.d_inner / f.x_columns;
  s.x_stride = f.x_stride, s.dt_stride = f.dt_stride, s.b_stride = f.b_stride;
  s.c_stride = f.c_stride, s.z_stride = f.has_z ? f.z_stride : 0, s.out_stride = f.out_stride;
  s.has_d = f.has_d, s.has_z = f.has_z, s.has_dt_bias = f.has_dt_bias;
  s.softplus = f.delta_softplus;
  return "";
}

std::string convert(const SsdScan &f, ScanFacts &s) {
  if (f.heads <= 0 || f.head_dim <= 0)
    return "expected positive heads and head_dim, got " + std::to_string(f.heads) + " and " +
           std::to_string(f.head_dim);
  std::string error =
      first_of({check_states(f.d_state), check_heads("x_heads", f.x_heads, "heads", f.heads),
                check_heads("b_heads", f.b_heads, "heads", f.heads),
                check_heads("c_heads", f.c_heads, "heads", f.heads)});
  if (!error.empty())
    return error;
  int of_b = f.heads / f.b_heads, of_c = f.heads / f.c_heads, shared = std::gcd(of_b, of_c);
  s.x_type = f.x_type, s.dt_type = f.dt_type, s.b_type = f.b_type, s.c_type = f.c_type;
  s.z_type = f.x_type, s.out_type = f.out_type, s.state_type = f.state_type;
  s.channels = f.heads * f.head_dim;
  s.states = f.d_state;
  s.group = shared * f.head_dim;
  s.b_share = of_b / shared, s.c_share = of_c / shared;
  s.x_group = f.head_dim, s.x_repeat = f.heads / f.x_heads;
  s.headwise = true;
  s.head = f.head_dim;
  s.x_stride = f.x_stride, s.dt_stride = f.dt_stride, s.b_stride = f.b_stride;
  s.c_stride = f.c_stride, s.out_stride = f.out_stride;
  s.has_d = f.has_d, s.has_dt_bias = f.has_dt_bias;
  s.softplus = f.delta_softplus;
  return "";
}

} // namespace

Description describe(const SelectiveScan &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  ScanFacts s;
  description.error = convert(f, s);
  if (!description.error.empty())
    return description;
  if (f.decode)
    return describe_update(s, {}, symbol, tuning);
  add_scans(description, s, symbol, tuning);
  return description;
}

namespace {

/// What a scan's step does not do for its neighbours; empty: all is well.
std::string refusal(const ScanFacts &s, const ScanNeighbours &n) {
  const ScanNeighbours::Convolution &conv = n.conv;
  if (conv.width < 0 || conv.width > 16)
    return "expected a convolution of width 1 to 16, got " + std::to_string(conv.width);
  const int x_columns = s.channels / s.x_repeat;
  if (conv.width > 0 && !convolves_wide(n) && conv.channels != s.channels &&
      conv.channels != x_columns)
    return "expected a convolution of " + std::to_string(s.channels) + " or " +
           std::to_string(x_columns) + " channels, got " + std::to_string(conv.channels);
  if (n.dt_rank < 0 || is_quantised(n.dt_w_type))
    return "expected weights of dt of a float type";
  if (n.norm_groups < 0 || (n.norm_groups > 0 && s.channels % n.norm_groups != 0))
    return "expected channels in whole groups, got " + std::to_string(s.channels) + " in " +
           std::to_string(n.norm_groups);
  return "";
}

} // namespace

Description describe(const SelectiveScan &f, const ScanNeighbours &n, const std::string &symbol,
                     const Tuning &tuning) {
  Description description;
  ScanFacts s;
  description.error = convert(f, s);
  if (description.error.empty())
    description.error = refusal(s, n);
  if (description.error.empty() && (convolves_wide(n) || n.has_z || n.norm_groups > 0))
    description.error = "a convolution of B and C, a gate of its own and a norm are an SSD scan's";
  return description.error.empty() ? describe_update(s, n, symbol, tuning) : description;
}

Description describe(const CausalConv1d &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  if (f.channels <= 0 || f.repeat <= 0 || f.head_size <= 0 || f.channels % f.repeat != 0 ||
      (f.repeat > 1 && f.channels / f.repeat % f.head_size != 0)) {
    description.error = "expected channels in whole heads, each repeated equally: channels " +
                        std::to_string(f.channels) + ", head size " + std::to_string(f.head_size) +
                        ", repeat " + std::to_string(f.repeat);
    return description;
  }
  if (f.width < 1 || f.width > 16) {
    description.error = "expected a convolution of width 1 to 16, got " + std::to_string(f.width);
    return description;
  }
  int sources = f.channels / f.repeat;
  // Registers hold the filters of the repetitions at once and the window: about width · vector ·
  // (repetitions + 2) values.
  int together = f.decode ? 1 : f.repeat;
  while (together > 1 && (f.repeat % together != 0 || together * f.width > 16))
    --together;
  int vector = std::min(16 / bytes_of(f.x_type), f.width <= 4 ? 8 : f.width <= 8 ? 4 : 2);
  if (together > 1)
    vector = std::min(vector, std::max(1, 32 / (together * f.width)));
  while (vector > 1 && (sources % vector != 0 || (f.repeat > 1 && f.head_size % vector != 0)))
    vector /= 2;
  int pieces = sources / vector, threads = std::min(128, int(round_up(pieces, 32)));
  // In decode, four sequences share the reads of the filter. In prefill a tile is as long as leaves
  // every multiprocessor threads, and at least so long.
  int tile = f.decode ? 4 : std::max(8, f.width - 1);
  Facts facts;
  facts.type("XT", f.x_type);
  facts.type("WT", f.state_type);
  facts.type("OT", f.out_type);
  facts.number("kSources", sources);
  facts.number("kWidth", f.width);
  facts.number("kRepeat", f.repeat);
  facts.number("kGroup", f.head_size);
  facts.number("kXStride", f.x_stride);
  facts.number("kOutStride", f.out_stride);
  facts.flag("kHasBias", f.has_bias);
  facts.flag("kSilu", f.silu);
  facts.number("kVector", vector);
  facts.number("kThreads", threads);
  facts.number("kTogether", together);
  facts.number("kTile", tile);
  facts.number("kBlocks", tuning.multiprocessors * (2048 / threads));
  facts.flag("kDecode", f.decode);
  Parameters parameters;
  parameters.input(f.x_type, "x");
  parameters.vector("weight");
  parameters.vector("bias", f.has_bias);
  parameters.add(name_of(f.state_type), "state");
  parameters.batch("sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(f.out_type), "out");
  Kernel kernel = make_kernel(symbol, "conv1d.cuh", "conv1d", facts, parameters, threads);
  kernel.domain = Domain::tokens;
  kernel.grid_x = int(ceil_div(pieces, threads));
  kernel.rows_per_group = tile;
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const SsdScan &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  ScanFacts s;
  description.error = convert(f, s);
  if (!description.error.empty())
    return description;
  if (f.decode)
    return describe_update(s, {}, symbol, tuning);
  // All rows of a head in one block where registers and shared memory allow: each block computes
  // C·Bᵀ anew.
  int rows = 128;
  const int chunk = 64;
  auto shared_bytes = [&](bool outputs) {
    int wide = f.d_state + 8, narrow = rows + 8, warps = rows % 32 == 0 ? 8 : 4;
    return 4 * ((outputs ? 2 : 1) * chunk * wide + chunk * narrow) +
           (outputs ? rows * wide * 2 : 0) + chunk * narrow * 2 + warps * chunk * 8;
  };
  auto fits = [&] {
    return f.head_dim % rows == 0 && shared_bytes(true) <= tuning.block_shared_bytes &&
           rows * f.d_state <= (f.d_state > 128 ? 32 * 256 : 128 * 128); // of registers
  };
  while (rows > 16 && !fits())
    rows /= 2;
  bool bf16 = f.x_type == Type::bf16 && f.b_type == Type::bf16 && f.c_type == Type::bf16 &&
              f.out_type == Type::bf16;
  if (!bf16 || f.d_state % 16 != 0 || !fits()) {
    add_scans(description, s, symbol, tuning);
    return description;
  }
  // Segments: enough blocks for the chip from one prompt of a few thousand tokens, few enough that
  // records stay a small part of the traffic.
  const int segment = 1024;
  int64_t record = round_up(int64_t(f.heads) * (2 * int64_t(f.head_dim) * f.d_state + 1), 4);
  auto common = [&](bool outputs) {
    Facts facts;
    facts.type("DT", f.dt_type);
    facts.type("ST", f.state_type);
    facts.number("kHeads", f.heads);
    facts.number("kP", f.head_dim);
    facts.number("kN", f.d_state);
    facts.number("kXShare", f.heads / f.x_heads);
    facts.number("kBShare", f.heads / f.b_heads);
    facts.number("kCShare", f.heads / f.c_heads);
    facts.number("kXStride", f.x_stride);
    facts.number("kDtStride", f.dt_stride);
    facts.number("kBStride", f.b_stride);
    facts.number("kCStride", f.c_stride);
    facts.number("kOutStride", f.out_stride);
    facts.flag("kHasD", f.has_d);
    facts.flag("kHasDtBias", f.has_dt_bias);
    facts.flag("kSoftplus", f.delta_softplus);
    facts.number("kRecord", record);
    facts.number("kSegment", segment);
    facts.number("kRows", rows);
    facts.number("kSharedBytes", shared_bytes(outputs));
    return facts;
  };
  auto add = [&](const char *function, bool outputs) {
    Parameters parameters;
    parameters.input(f.x_type, "x");
    parameters.input(f.dt_type, "dt");
    parameters.vector("a");
    parameters.input(f.b_type, "b");
    if (outputs) {
      parameters.input(f.c_type, "c");
      parameters.vector("d", f.has_d);
    }
    parameters.vector("dt_bias", f.has_dt_bias);
    parameters.add(outputs ? name_of(f.state_type) : std::string("const ") + name_of(f.state_type),
                   "state");
    parameters.batch("sequence_starts");
    parameters.batch("slots");
    parameters.batch("positions");
    if (outputs)
      parameters.add(name_of(f.out_type), "out");
    parameters.add(outputs ? "const float" : "float", "temporary");
    Kernel kernel = make_kernel(symbol + (outputs ? "_scan" : "_states"), "ssd_scan.cuh", function,
                                common(outputs), parameters, rows % 32 == 0 ? 256 : 128, 1);
    kernel.shared_bytes = shared_bytes(outputs);
    kernel.domain = Domain::tokens;
    kernel.grid_x = f.heads * (f.head_dim / rows);
    kernel.rows_per_group = segment;
    description.kernels.push_back(kernel);
  };
  add("ssd_states", false);
  add("ssd_scan", true);
  description.temporary_bytes_per_row = ceil_div(record * 4, segment);
  return description;
}

namespace {

std::string convert(const SsdScan &f, const ScanNeighbours &n, ScanFacts &s) {
  std::string error = convert(f, s);
  if (error.empty())
    error = refusal(s, n);
  if (error.empty() && (n.dt_rank > 0 || n.dt_norm.present || n.b_norm.present || n.c_norm.present))
    error = "a projection of dt and norms of B and C are a selective scan's";
  if (error.empty() && n.conv.width > 0 && !convolves_wide(n))
    error = "an SSD scan's convolution is of B and C, too";
  s.has_z = n.has_z;
  s.z_type = n.z_type;
  s.z_stride = n.z_stride;
  return error;
}

} // namespace

Description describe(const SsdScan &f, const ScanNeighbours &n, const std::string &symbol,
                     const Tuning &tuning) {
  Description description;
  ScanFacts s;
  description.error = convert(f, n, s);
  return description.error.empty() ? describe_update(s, n, symbol, tuning) : description;
}

int counters_of(const SsdScan &f, const ScanNeighbours &n) {
  ScanFacts s;
  return convolves_wide(n) && convert(f, n, s).empty() ? s.channels / shared_channels(s) : 0;
}

Description describe(const ClearCounters &f, const std::string &symbol, const Tuning &) {
  Description description;
  // The facts and the roles of the buffers.
  const std::pair<const char *, const char *> buffers[] = {
      {"kCounters", "counters"}, {"kCounters1", "counters_1"}, {"kCounters2", "counters_2"}};
  if (f.counts.empty() || f.counts.size() > std::size(buffers) ||
      *std::min_element(f.counts.begin(), f.counts.end()) <= 0) {
    description.error = "expected counters in one to three buffers, got " +
                        std::to_string(f.counts.size()) + " buffers, or one of none";
    return description;
  }
  const int threads = 256;
  Facts facts;
  Parameters parameters;
  for (size_t i = 0; i < std::size(buffers); ++i) {
    const bool present = i < f.counts.size();
    facts.number(buffers[i].first, present ? f.counts[i] : 0);
    parameters.add("int", buffers[i].second, present);
  }
  facts.number("kThreads", threads);
  Kernel kernel = make_kernel(symbol, "update.cuh", "clear_counters", facts, parameters, threads);
  kernel.domain = Domain::sequences;
  kernel.rows_per_group = 1 << 30; // the blocks share all out
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const GatedRmsNorm &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.features <= 0 || f.groups <= 0 || f.features % f.groups != 0) {
    description.error = "expected features in whole groups, got " + std::to_string(f.features) +
                        " in " + std::to_string(f.groups);
    return description;
  }
  int size = f.features / f.groups;
  int vector = size >= 256 ? 8 : 4;
  while (vector > 1 && (size % vector != 0 || f.y_stride % vector != 0 ||
                        (f.gated && f.z_stride % vector != 0) || f.out_stride % vector != 0))
    vector /= 2;
  int warps = std::min(8, f.groups);
  Facts facts;
  facts.type("YT", f.y_type);
  facts.type("ZT", f.z_type);
  facts.type("OT", f.out_type);
  facts.number("kFeatures", f.features);
  facts.number("kGroups", f.groups);
  facts.number("kGate", !f.gated ? 0 : f.norm_first ? 2 : 1);
  facts.flag("kHasWeight", f.has_weight);
  facts.flag("kSharedWeight", f.shared_weight);
  facts.number("kYStride", f.y_stride);
  facts.number("kZStride", f.z_stride);
  facts.number("kOutStride", f.out_stride);
  facts.number("kDomain", number_of(f.domain));
  facts.function("eps", f.eps);
  facts.number("kVector", vector);
  facts.number("kWarps", warps);
  Parameters parameters;
  parameters.input(f.y_type, f.gated ? "y" : "x");
  parameters.input(f.z_type, "z", f.gated);
  parameters.vector("weight", f.has_weight);
  parameters.add(name_of(f.out_type), "out");
  Kernel kernel =
      make_kernel(symbol, "gated_rms_norm.cuh", "gated_rms_norm", facts, parameters, warps * 32);
  kernel.domain = f.domain;
  kernel.grid_x = int(ceil_div(f.groups, warps));
  kernel.rows_per_group = 1;
  description.kernels.push_back(kernel);
  return description;
}

} // namespace m1k::cuda
