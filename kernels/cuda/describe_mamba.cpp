// Launches of the Mamba kernels: scans, state updates, convolution, gated norm.
#include "describe.h"

#include <algorithm>
#include <numeric>

namespace m1k::cuda {
namespace {

// What scan.cuh and update.cuh need to know of either kind of scan.
struct ScanFacts {
  Type type, dt_type, state_type;
  int channels, group, repeat, states;
  bool headwise, x_repeated;
  int64_t x_stride, dt_stride, b_stride, c_stride, z_stride, out_stride;
  bool has_d, has_z, has_dt_bias, softplus;
};

void add_facts(Facts &facts, const ScanFacts &s) {
  facts.type("T", s.type);
  facts.type("DT", s.dt_type);
  facts.type("ST", s.state_type);
  facts.number("kChannelCount", s.channels);
  facts.number("kGroup", s.group);
  facts.number("kRepeat", s.repeat);
  facts.number("kN", s.states);
  facts.flag("kHeadwise", s.headwise);
  facts.flag("kXRepeated", s.x_repeated);
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

void add_inputs(Parameters &parameters, const ScanFacts &s, bool mamba1) {
  parameters.input(s.dt_type, "dt");
  parameters.vector("a");
  parameters.input(s.type, "b");
  parameters.input(s.type, "c");
  parameters.vector("d", s.has_d);
  if (mamba1)
    parameters.input(s.type, "z", s.has_z);
  else
    parameters.input(s.type, "z", false);
  parameters.vector("dt_bias", s.has_dt_bias);
}

int heads_of_block(int channels, int group) {
  return (group - std::gcd(channels, group) + channels - 1) / group + 1;
}

using ScanShape = Tuning::ScanShape;

// The sizes of ScanTraits, computed alike.
int scan_shared_bytes(const ScanFacts &s, const ScanShape &shape) {
  int states = int(ceil_div(s.states, shape.lanes)), channels = shape.main_warps * 32 / shape.lanes,
      heads = heads_of_block(channels, s.group);
  int size = bytes_of(s.type), vector = 16 / size, tile = shape.tile;
  int row = int(round_up(channels, vector)) + vector;
  int dt_row = int(round_up(s.headwise ? heads : channels, 8)) + 8;
  int64_t stage = tile * row * size * (s.has_z ? 2 : 1) + tile * dt_row * bytes_of(s.dt_type) +
                  2 * round_up(tile * heads * s.states * size, 16);
  return int(3 * stage +
             2 * (round_up(tile * heads * shape.lanes * states * 8, 16) +
                  round_up(tile * channels * 8, 16) + round_up(tile * channels * 4, 16)) +
             2 * round_up(channels * 4, 16));
}

// Lanes of a channel, and warps. With enough sequences, eight states a lane: the fewest
// instructions a state. With few, four, so that every multiprocessor has warps; then a block takes
// a multiprocessor's share of the channels, and more helpers than main warps. Measured on an H200
// with 3072 channels of 16 states (docs/gpu-results.md): 8 × 4096 tokens 728 us with these, 858
// with three helpers, 949 with four states a lane; 1 × 2048 tokens 88 us, 96 with as many helpers
// as main warps, 92 with two states a lane.
ScanShape scan_shape(const ScanFacts &s, const Tuning &tuning) {
  if (tuning.scan.lanes > 0)
    return tuning.scan;
  auto lanes_for = [&](int per_lane) {
    return std::min(32, power_of_two(int(ceil_div(s.states, per_lane))));
  };
  auto warps_for = [&](int lanes) {
    return ceil_div(int64_t(s.channels) * lanes, 32) * tuning.expected_sequences;
  };
  if (s.states > 64)
    return {16, 4, 4, 16, 1};
  int lanes = lanes_for(8);
  if (warps_for(lanes) >= int64_t(tuning.multiprocessors) * 8)
    return {lanes, 4, 4, std::max(16, lanes), 4};
  lanes = lanes_for(4);
  int warps = int(std::clamp<int64_t>(ceil_div(warps_for(lanes), tuning.multiprocessors), 1, 4));
  return {lanes, warps, warps + 2, 32, 32};
}

Kernel scan_kernel(const ScanFacts &s, const std::string &symbol, const Tuning &tuning) {
  ScanShape shape = scan_shape(s, tuning);
  while (scan_shared_bytes(s, shape) > 200 * 1024 && shape.main_warps > 1)
    --shape.main_warps;
  int threads = (shape.main_warps + shape.helper_warps) * 32,
      channels = shape.main_warps * 32 / shape.lanes;
  Facts facts;
  add_facts(facts, s);
  facts.number("kLanes", shape.lanes);
  facts.number("kMainWarps", shape.main_warps);
  facts.number("kHelperWarps", shape.helper_warps);
  facts.number("kTile", shape.tile);
  facts.number("kUnroll", std::clamp(shape.unroll / shape.lanes, 1, shape.tile / shape.lanes));
  facts.number("kSharedBytes", scan_shared_bytes(s, shape));
  Parameters parameters;
  parameters.input(s.type, "x");
  add_inputs(parameters, s, !s.headwise);
  parameters.add(name_of(s.state_type), "state");
  parameters.batch("sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(s.type), "out");
  // As many blocks as shared memory allows, up to three: more would leave the main warps too few
  // registers.
  int blocks =
      std::clamp(226 * 1024 / (scan_shared_bytes(s, shape) + 1024), 1, shape.unroll > 8 ? 2 : 3);
  Kernel kernel = make_kernel(symbol, "scan.cuh", "scan", facts, parameters, threads, blocks);
  kernel.shared_bytes = scan_shared_bytes(s, shape);
  kernel.domain = Domain::sequences;
  kernel.grid_x = int(ceil_div(s.channels, channels));
  kernel.rows_per_group = 1;
  return kernel;
}

struct ConvFacts {
  bool present = false, repeated = false, has_bias = false, silu = false;
  int width = 1;
};

Kernel update_kernel(const ScanFacts &s, const ConvFacts &conv, const std::string &symbol,
                     const Tuning &tuning) {
  // 16 bytes of state a lane where the states allow it.
  int vector = 16 / bytes_of(s.state_type);
  while (vector > 1 && s.states % vector != 0)
    vector /= 2;
  while (vector * 32 < s.states)
    vector *= 2;
  int lanes = std::min(32, power_of_two(int(ceil_div(s.states, vector))));
  int threads = 128, pass = threads / lanes;
  // Bytes of state a thread holds at once, as many again on their way: 32 where A stays in
  // registers, 64 else; fewer when the blocks would not cover the chip.
  int passes = std::max(1, (s.headwise ? 64 : 32) / (vector * bytes_of(s.state_type)));
  while (passes > 1 && int64_t(s.channels) * tuning.expected_sequences <
                           int64_t(passes) * pass * tuning.multiprocessors * 2)
    --passes;
  int unit = conv.present ? s.repeat * s.group : 1;
  // Whole units; of up to twice as many channels as wanted, the number that leaves the fewest
  // threads idle.
  auto share = [&](int channels) { return double(channels) / double(round_up(channels, pass)); };
  int channels = unit;
  for (int candidate = unit; candidate <= 2 * pass * passes; candidate += unit)
    if (candidate <= pass * passes ? share(candidate) >= share(channels)
                                   : share(candidate) > share(channels))
      channels = candidate;
  channels = std::min(channels, s.channels);
  int heads = heads_of_block(channels, s.group);
  int shared = 2 * (channels * 4 + 2 * heads * lanes * vector) * 4;
  // Several sequences in turn share A and hide each other's latency, but only once the sequences
  // alone fill the chip.
  int64_t blocks = ceil_div(s.channels, channels) * tuning.expected_sequences;
  int sequences = int(
      std::clamp<int64_t>(blocks / (int64_t(tuning.multiprocessors) * 12), 1, s.headwise ? 2 : 4));

  Facts facts;
  add_facts(facts, s);
  facts.flag("kConv", conv.present);
  facts.number("kConvWidth", conv.width);
  facts.flag("kConvRepeated", conv.repeated);
  facts.flag("kHasConvBias", conv.has_bias);
  facts.flag("kConvSilu", conv.silu);
  facts.number("kLanes", lanes);
  facts.number("kVector", vector);
  facts.number("kChannels", channels);
  facts.number("kThreads", threads);
  facts.number("kSequences", sequences);
  facts.number("kSharedBytes", shared);
  Parameters parameters;
  parameters.input(s.type, "x");
  parameters.vector("conv_w", conv.present);
  parameters.vector("conv_bias", conv.present && conv.has_bias);
  add_inputs(parameters, s, !s.headwise);
  parameters.add(name_of(s.type), "conv_state", conv.present);
  parameters.add(name_of(s.state_type), "state");
  parameters.unused("const int", "sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(s.type), "out");
  Kernel kernel = make_kernel(symbol, "update.cuh", "update", facts, parameters, threads);
  kernel.shared_bytes = shared;
  kernel.domain = Domain::sequences;
  kernel.grid_x = int(ceil_div(s.channels, channels));
  kernel.rows_per_group = sequences;
  return kernel;
}

std::string check(const ScanFacts &s, int d_inner_columns) {
  if (s.channels <= 0 || s.group <= 0 || s.repeat <= 0 || s.states <= 0)
    return "sizes must be positive";
  if (s.states > 256)
    return "expected d_state of at most 256, got " + std::to_string(s.states);
  if (s.channels % s.group != 0 || s.channels / s.group % s.repeat != 0)
    return "expected whole heads, each repeated equally: channels " + std::to_string(s.channels) +
           ", head size " + std::to_string(s.group) + ", repeat " + std::to_string(s.repeat);
  if (d_inner_columns != s.channels && d_inner_columns != s.channels / s.repeat)
    return "expected x of " + std::to_string(s.channels) + " or " +
           std::to_string(s.channels / s.repeat) + " columns, got " +
           std::to_string(d_inner_columns);
  return "";
}

std::string convert(const SelectiveScan &f, ScanFacts &s) {
  if (f.d_inner <= 0 || f.d_xb <= 0 || f.d_inner % f.d_xb != 0)
    return "expected d_inner to be a multiple of d_xb, got " + std::to_string(f.d_inner) + " and " +
           std::to_string(f.d_xb);
  s = {f.type,          f.dt_type,
       f.state_type,    f.d_inner,
       f.d_state,       f.d_inner / f.d_xb,
       f.d_state,       false,
       false,           f.x_stride,
       f.dt_stride,     f.b_stride,
       f.c_stride,      f.has_z ? f.z_stride : 0,
       f.out_stride,    f.has_d,
       f.has_z,         f.has_dt_bias,
       f.delta_softplus};
  s.x_repeated = f.x_columns == f.d_xb && f.d_xb != f.d_inner;
  return check(s, f.x_columns);
}

} // namespace

Description describe(const SelectiveScan &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  ScanFacts s;
  description.error = convert(f, s);
  if (description.error.empty())
    description.kernels.push_back(f.decode ? update_kernel(s, {}, symbol, tuning)
                                           : scan_kernel(s, symbol, tuning));
  return description;
}

Description describe(const SelectiveUpdateConv &f, const std::string &symbol,
                     const Tuning &tuning) {
  Description description;
  ScanFacts s;
  description.error = convert(f.scan, s);
  if (description.error.empty() && f.scan.x_columns != f.scan.d_xb)
    description.error = "expected x of d_xb columns before the convolution";
  if (description.error.empty() && (f.conv_width < 1 || f.conv_width > 16))
    description.error =
        "expected a convolution of width 1 to 16, got " + std::to_string(f.conv_width);
  if (description.error.empty() && f.conv_channels != f.scan.d_inner &&
      f.conv_channels != f.scan.d_xb)
    description.error = "expected a convolution of d_inner or d_xb channels, got " +
                        std::to_string(f.conv_channels);
  if (!description.error.empty())
    return description;
  ConvFacts conv;
  conv.present = true;
  conv.repeated = f.conv_channels == f.scan.d_inner;
  conv.has_bias = f.has_conv_bias;
  conv.silu = f.conv_silu;
  conv.width = f.conv_width;
  description.kernels.push_back(update_kernel(s, conv, symbol, tuning));
  return description;
}

Description describe(const CausalConv1d &f, const std::string &symbol, const Tuning &) {
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
  // Registers hold the filter, the window and the old window: 3 · width · vector values.
  int vector = std::min(16 / bytes_of(f.type), f.width <= 4 ? 8 : f.width <= 8 ? 4 : 2);
  while (vector > 1 && (sources % vector != 0 || (f.repeat > 1 && f.head_size % vector != 0)))
    vector /= 2;
  int pieces = sources / vector, threads = std::min(128, int(round_up(pieces, 32)));
  // A tile long enough that its reads of the filter are few beside its tokens; in decode, four
  // sequences share them.
  int tile = f.decode ? 4 : std::max(f.repeat > 1 ? 32 : 64, f.width - 1);
  Facts facts;
  facts.type("T", f.type);
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
  facts.number("kTile", tile);
  facts.flag("kDecode", f.decode);
  Parameters parameters;
  parameters.input(f.type, "x");
  parameters.vector("weight");
  parameters.vector("bias", f.has_bias);
  parameters.add(name_of(f.type), "state");
  parameters.batch("sequence_starts");
  parameters.batch("slots");
  parameters.batch("positions");
  parameters.add(name_of(f.type), "out");
  Kernel kernel = make_kernel(symbol, "conv1d.cuh", "conv1d", facts, parameters, threads);
  kernel.domain = Domain::tokens;
  kernel.grid_x = int(ceil_div(pieces, threads));
  kernel.rows_per_group = tile;
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const SsdScan &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  ScanFacts s = {f.type,          f.dt_type,
                 f.state_type,    f.heads * f.head_dim,
                 f.head_dim,      f.repeat,
                 f.d_state,       true,
                 false,           f.x_stride,
                 f.dt_stride,     f.b_stride,
                 f.c_stride,      0,
                 f.out_stride,    f.has_d,
                 false,           f.has_dt_bias,
                 f.delta_softplus};
  s.x_repeated = f.repeat > 1;
  description.error = f.heads <= 0 || f.head_dim <= 0 || f.repeat <= 0
                          ? "sizes must be positive"
                          : check(s, s.channels / f.repeat);
  if (!description.error.empty())
    return description;
  if (f.decode) {
    description.kernels.push_back(update_kernel(s, {}, symbol, tuning));
    return description;
  }
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
    return f.head_dim % rows == 0 && shared_bytes(true) <= 226 * 1024 &&
           rows * f.d_state <= 128 * 128;
  };
  while (rows > 16 && !fits())
    rows /= 2;
  if (f.type != Type::bf16 || f.d_state % 16 != 0 || !fits()) {
    description.kernels.push_back(scan_kernel(s, symbol, tuning));
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
    facts.number("kRepeat", f.repeat);
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
    parameters.input(f.type, "x");
    parameters.input(f.dt_type, "dt");
    parameters.vector("a");
    parameters.input(f.type, "b");
    if (outputs) {
      parameters.input(f.type, "c");
      parameters.vector("d", f.has_d);
    }
    parameters.vector("dt_bias", f.has_dt_bias);
    parameters.add(outputs ? name_of(f.state_type) : std::string("const ") + name_of(f.state_type),
                   "state");
    parameters.batch("sequence_starts");
    parameters.batch("slots");
    parameters.batch("positions");
    if (outputs)
      parameters.add(name_of(f.type), "out");
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
                        f.z_stride % vector != 0 || f.out_stride % vector != 0))
    vector /= 2;
  int warps = std::min(8, f.groups);
  Facts facts;
  facts.type("YT", f.y_type);
  facts.type("ZT", f.z_type);
  facts.type("OT", f.out_type);
  facts.number("kFeatures", f.features);
  facts.number("kGroups", f.groups);
  facts.number("kYStride", f.y_stride);
  facts.number("kZStride", f.z_stride);
  facts.number("kOutStride", f.out_stride);
  facts.number("kDomain", number_of(f.domain));
  facts.function("eps", f.eps);
  facts.number("kVector", vector);
  facts.number("kWarps", warps);
  Parameters parameters;
  parameters.input(f.y_type, "y");
  parameters.input(f.z_type, "z");
  parameters.vector("weight");
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
