// Launches of the kernels that are not Mamba's: linear, attention, sampling.
#include "describe.h"
#include "m1k_abi.h"

#include <algorithm>
#include <iterator>
#include <map>

namespace m1k::cuda {

/// What a product is, whatever its shape.
static void add_facts(Facts &facts, const Linear &f) {
  facts.type("XT", f.x_type);
  facts.type("WT", f.w_type);
  facts.type("OT", f.out_type);
  facts.number("kN", f.n);
  facts.number("kK", f.k);
  facts.number("kGroup", f.group);
  facts.type("ST", f.scale_type);
  facts.number("kXStride", f.x_stride);
  facts.number("kOutStride", f.out_stride);
  facts.number("kRows", f.max_rows);
  facts.number("kDomain", number_of(f.domain));
  facts.flag("kHasBias", f.has_bias);
  facts.flag("kGated", f.gated);
  facts.map(f.map, f.gated);
  facts.number("kMapShare", f.map_share);
  facts.number("kSquares", f.squares);
  facts.function("eps", f.eps);
  facts.flag("kHasResidual", f.has_residual);
  facts.number("kResidualStride", f.residual_stride);
  facts.flag("kLeavesNorm", f.leaves_norm);
  facts.type("NT", f.normed_type);
  facts.number("kNormedStride", f.normed_stride);
}

std::string refusal_of_chain(const Linear &f, const Tuning &tuning) {
  if (!tuning.warpgroups)
    return "no chip of sm_90";
  if (f.x_type != Type::bf16 || f.w_type != Type::bf16)
    return "x and weight are not of bf16";
  if (f.max_rows > 8)
    return "expected max_rows of at most 8, got " + std::to_string(f.max_rows);
  if (f.k % 8 || f.x_stride % 8)
    return "rows of x or of weight are no multiples of 8";
  return "";
}

/// Bytes of the weights of a chain's products, or with a `depth` of the slots of so many columns
/// that they fill.
static int64_t weight_bytes(const LinearChain &f, int depth = 1) {
  int64_t sum = 0;
  for (const LinearChain::Product &product : f.products)
    sum += int64_t(product.facts.gated ? 2 : 1) * product.facts.n *
           round_up(product.facts.k, depth) * 2;
  return sum;
}

/// Columns of a slot: 1024, or more where all slots together are 5 % smaller then (rows of 1536
/// columns, as granite-4.0-h-1b has, fill one and a half slots of 1024).
static int slot_depth(const LinearChain &f) {
  int best = 1024;
  for (int depth : {1280, 1536}) {
    const int64_t bytes = weight_bytes(f, depth);
    if (bytes < weight_bytes(f, best) && 20 * bytes <= 19 * weight_bytes(f, 1024))
      best = depth;
  }
  return best;
}

/// Whether blocks meet before each product: it reads what others may have written since they last
/// did, or writes what others may still read or have written.
static std::vector<bool> meetings_of(const LinearChain &f) {
  struct Use {
    const std::string &role;
    const Linear &facts;
  };
  auto is_output = [](const std::string &role) {
    return role == "out" || role == "normed" || role == "squares_out" || role == "conv_out" ||
           role == "conv_state";
  };
  std::multimap<std::string, Use> since; // by operand
  std::vector<bool> meets;
  for (const LinearChain::Product &product : f.products) {
    bool must = false;
    for (const auto &[role, name] : product.operands)
      for (auto [use, end] = since.equal_range(name); use != end; ++use) {
        const auto &[before, by] = use->second;
        const bool own = role == "residual" && before == "out" && by.n == product.facts.n &&
                         by.out_stride == product.facts.residual_stride;
        must |= (is_output(role) || is_output(before)) && !own;
      }
    if (must)
      since.clear();
    meets.push_back(must);
    for (const auto &[role, name] : product.operands)
      since.insert({name, {role, product.facts}});
  }
  return meets;
}

/// Why a product of a chain cannot end with this convolution; empty: it can.
static std::string refusal_of_convolution(const CausalConv1d &conv, const Linear &linear) {
  if (!conv.decode || conv.repeat != 1 || conv.width < 2)
    return "expected the decode step of a convolution that repeats no heads";
  if (linear.gated || linear.leaves_norm || conv.channels > linear.n ||
      conv.x_type != linear.out_type || conv.x_stride != linear.out_stride)
    return "expected the first outputs of a product, as it leaves them, before the convolution";
  return "";
}

Description describe(const LinearChain &f, const std::string &symbol, const Tuning &tuning) {
  const std::vector<bool> meets = meetings_of(f);
  // As in ChainTraits.
  const int depth = slot_depth(f), slot_bytes = 8 * (depth * 2 + 64);
  constexpr int threads = 256 + 32, most_tiles = 4,
                others = 2 * (8 * 8 * most_tiles * 8) * 4 + 256 + 8 * 4;
  // A large ring for long streams, else one that leaves the next launch's blocks room to begin
  // beside it (on an H200 12 slots of 1024 columns instead of 8 are 1.5 % of a step of M1-3B, 8
  // instead of 12 1 % of one of Qwen3.5-0.8B).
  const int wanted = (weight_bytes(f) / tuning.multiprocessors > (1 << 20) ? 12 : 8) * 1024 / depth,
            slots = std::min((tuning.block_shared_bytes - others) / slot_bytes, wanted);
  Description description;
  Kernel kernel;
  if (f.products.empty() || slots < 4) {
    description.error = "expected products, and a chip with " +
                        std::to_string(others + 4 * slot_bytes) + " bytes of shared memory";
    return description;
  }
  std::string structures, calls;
  struct Operand {
    std::string name, type;
    bool written;
  };
  std::vector<Operand> operands;
  for (size_t i = 0; i < f.products.size(); ++i) {
    const LinearChain::Product &product = f.products[i];
    const Linear &linear = product.facts;
    description = describe(linear, symbol, tuning);
    if (description.error.empty())
      description.error = refusal_of_chain(linear, tuning);
    if (description.error.empty() && linear.leaves_largest)
      description.error = "it leaves the largest values of rows";
    if (description.error.empty() && linear.domain != f.products[0].facts.domain)
      description.error = "the products' rows are not the same";
    if (!description.error.empty())
      return description;
    const int sides = linear.gated ? 2 : 1, tiles = int(ceil_div(linear.n, 8)),
              of_block = int(ceil_div(tiles, tuning.multiprocessors)),
              groups = int(ceil_div(of_block * sides, most_tiles));
    Facts facts;
    add_facts(facts, linear);
    facts.number("kXColumn", product.x_column);
    facts.flag("kMeets", meets[i]);
    facts.number("kSquaresOut", squares_of(tiles));
    facts.number("kTiles", ceil_div(of_block, groups));
    const std::string name = symbol + "_facts_" + std::to_string(i);
    const CausalConv1d &conv = product.conv;
    if (conv.channels == 0) {
      facts.text += "  using Conv = m1k::NoConvolution;\n";
    } else {
      description.error = refusal_of_convolution(conv, linear);
      if (!description.error.empty())
        return description;
      Facts step;
      step.type("WT", conv.state_type);
      step.type("OT", conv.out_type);
      step.number("kConvWidth", conv.width);
      step.number("kConvInputs", conv.channels);
      step.number("kOutStride", conv.out_stride);
      step.flag("kHasConvBias", conv.has_bias);
      step.flag("kConvSilu", conv.silu);
      structures += "struct " + name + "_conv {\n" + step.text + "};\n";
      facts.text += "  using Conv = " + name + "_conv;\n";
    }
    structures += "struct " + name + " {\n" + facts.text + "};\n";
    calls += ",\n      m1k::ChainOperands<" + name + ">{";
    // In the order of ChainOperands, at last what is written.
    const std::pair<const char *, std::string> roles[] = {{"x", "m1k::bf16"},
                                                          {"weight", "m1k::bf16"},
                                                          {"bias", "float"},
                                                          {"map_vector", "float"},
                                                          {"squares", "float"},
                                                          {"residual", "float"},
                                                          {"norm_weight", "float"},
                                                          {"conv_w", "float"},
                                                          {"conv_bias", "float"},
                                                          {"slots", "int"},
                                                          {"positions", "int"},
                                                          {"out", name_of(linear.out_type)},
                                                          {"normed", name_of(linear.normed_type)},
                                                          {"squares_out", "float"},
                                                          {"conv_state", name_of(conv.state_type)},
                                                          {"conv_out", name_of(conv.out_type)}};
    constexpr size_t first_written = 11;
    for (size_t role = 0; role < std::size(roles); ++role) {
      std::string operand = "nullptr";
      for (const auto &[its, named] : product.operands)
        if (its == roles[role].first)
          operand = named;
      calls += (role ? ", " : "") + operand;
      if (operand == "nullptr")
        continue;
      const std::string &type = roles[role].second;
      auto known = std::find_if(operands.begin(), operands.end(),
                                [&](const Operand &entry) { return entry.name == operand; });
      if (known == operands.end())
        operands.push_back({operand, type, role >= first_written});
      else if (known->type == type)
        known->written |= role >= first_written;
      else
        description.error = "operand " + operand + " is of " + known->type + " and " + type;
    }
    calls += "}";
    if (!description.error.empty())
      return description;
  }
  Parameters parameters;
  for (const Operand &operand : operands)
    parameters.unused((operand.written ? "" : "const ") + operand.type, operand.name);
  parameters.unused("m1k::u32", "arrived");
  kernel.symbol = symbol;
  kernel.operands = parameters.roles;
  kernel.threads = threads;
  kernel.shared_bytes = slots * slot_bytes + others;
  Facts facts;
  facts.number("kSlots", slots);
  facts.number("kSlotDepth", depth);
  // 48 KB of a block's: where results are needed soon, more of them is slower.
  int large = 0;
  for (const LinearChain::Product &product : f.products)
    large += 16 * weight_bytes({{product}}) > weight_bytes(f);
  facts.number("kInFlight", large == 2 ? 3 : 3 * 1024 / depth);
  facts.number("kSharedBytes", kernel.shared_bytes);
  kernel.source = "#include \"linear_chain.cuh\"\n" + structures + "struct " + symbol +
                  "_facts {\n" + facts.text + "};\nextern \"C\" __global__ __launch_bounds__(" +
                  std::to_string(threads) + ", 1) void " + symbol + "(" + parameters.declaration +
                  "m1_dims dims) {\n#if __CUDA_ARCH__ >= 900\n  m1k::linear_chain<" + symbol +
                  "_facts>(arrived, dims" + calls + ");\n#endif\n}\n";
  kernel.cooperative = true;
  kernel.domain = f.products[0].facts.domain;
  kernel.grid_x = tuning.multiprocessors;
  kernel.rows_per_group = 8;
  description = {};
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const Linear &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  const bool int4 = f.w_type == Type::i4x2, grouped = f.group > 0;
  const int most_rows = grouped ? 32 : 16;
  if (f.n <= 0 || f.k <= 0)
    description.error = "sizes must be positive";
  else if (f.max_rows < 1 || f.max_rows > most_rows)
    description.error = "expected max_rows of 1 to " + std::to_string(most_rows) + ", got " +
                        std::to_string(f.max_rows);
  else if (f.gated && (f.has_bias || f.has_residual || f.leaves_norm))
    description.error = "a gated linear has neither bias nor residual nor a norm of its output";
  else if (f.map_share < 0 || (f.map_share && (f.map.empty() || f.n % f.map_share)))
    description.error =
        "expected a map and a map_share that divides n, got " + std::to_string(f.map_share);
  else if (f.squares < 0 || f.squares % 4)
    description.error = "expected squares of a multiple of 4, got " + std::to_string(f.squares);
  else if (f.largest < 0 || f.largest % 8 || (f.largest && f.w_type != Type::e4m3))
    description.error =
        "expected largest of a multiple of 8, of weights of e4m3, got " + std::to_string(f.largest);
  else if (is_quantised(f.x_type) || is_quantised(f.out_type))
    description.error = "expected x and out of a float type";
  else
    description.error = refusal_of_group(f.w_type, f.group, f.scale_type);
  if (!description.error.empty())
    return description;
  int sides = f.gated ? 2 : 1;
  const bool e4m3 = f.w_type == Type::e4m3, bytes = (f.w_type == Type::i8 && !grouped) || e4m3,
             streams = grouped && f.x_type == Type::bf16 && f.k % (int4 ? 8 : 16) == 0 &&
                       f.x_stride % 8 == 0;
  // Every block reads x anew: with 16 weight rows it is at most half of what the weights are. Small
  // blocks even out the chip's last wave. Products of groups take 16 weight rows.
  const bool wide = sides == 1 && (f.max_rows > 4 || (e4m3 && f.max_rows == 1)) &&
                    f.n >= 16 * tuning.multiprocessors &&
                    !(f.leaves_norm && refusal_of_chain(f, tuning).empty());
  int columns = grouped ? 16 / sides : wide ? 16 : 8;
  int warps = 8;
  while (warps > 1 && f.k < warps * 256)
    warps /= 2;
  // Those with stages: as many blocks as the chip holds at once, 16 warps a multiprocessor.
  while (streams && warps > 1 &&
         ceil_div(f.n, columns) * warps > 16 * int64_t(tuning.multiprocessors))
    warps /= 2;
  // As much of K in flight as 48 registers hold, in the depth that leaves the least of the last
  // round empty. With weights of i8, whose rows of x are twice as many bytes, as 64 do.
  int chunks = int(ceil_div(f.k, (bytes ? 64 : 32) * warps)), halves = f.max_rows > 8 ? 2 : 1,
      tiles = columns * sides / 8 + halves * (bytes ? 2 : 1), deep = 1;
  for (int candidate = 1; candidate <= std::max(1, (bytes ? 16 : 12) / tiles); ++candidate)
    if (ceil_div(chunks, candidate) * candidate <= ceil_div(chunks, deep) * deep)
      deep = candidate;
  const int squares_bytes = f.squares ? f.max_rows * (f.squares + 1) * 4 : 0;
  // All of a warp's columns in stages, or what 16 warps' share of a multiprocessor's memory holds;
  // sizes as in LinearTraits.
  int stages = 0, warp_bytes = std::max(f.max_rows * columns * sides * 4, e4m3 ? deep * 128 : 0);
  if (streams) {
    const int scale_bytes = f.group == 32 ? 8 : 4,
              copied = ceil_div(f.k, f.group) * 2 % scale_bytes ? 0 : scale_bytes,
              stage = columns * sides * ((int4 ? 64 : 128) + copied),
              room = std::min((tuning.multiprocessor_shared_bytes / 16 - 1024 / warps) -
                                  squares_bytes / warps,
                              tuning.block_shared_bytes / warps);
    stages = std::clamp(std::min(room / stage, int(ceil_div(ceil_div(f.k, 128), warps))), 2, 16);
    warp_bytes = std::max(warp_bytes, stages * stage);
  }
  const int shared = warps * warp_bytes + squares_bytes +
                     (e4m3 ? f.max_rows * ((f.largest ? 1 : warps) + 1) * 4 : 0);
  int blocks = int(ceil_div(f.n, columns));
  Facts facts;
  add_facts(facts, f);
  facts.number("kSquaresOut", squares_of(blocks));
  facts.number("kLargest", f.largest);
  facts.flag("kLeavesLargest", f.leaves_largest);
  facts.type("LT", f.leaves_norm ? f.normed_type : f.out_type);
  facts.number("kLargestOut", largest_of(blocks));
  facts.number("kColumns", columns);
  facts.number("kWarps", warps);
  facts.number("kDeep", deep);
  facts.number("kStages", stages);
  facts.number("kSharedBytes", shared);
  Parameters parameters;
  parameters.input(f.x_type, "x");
  parameters.input(f.w_type, "weight");
  parameters.scale(f.w_type, f.group, f.scale_type);
  parameters.vector("bias", f.has_bias);
  parameters.vector("map_vector", f.map_share > 0);
  parameters.vector("squares", f.squares > 0);
  parameters.add(std::string("const ") + name_of(f.x_type), "largest", f.largest > 0);
  parameters.vector("residual", f.has_residual);
  parameters.vector("norm_weight", f.leaves_norm);
  parameters.add(name_of(f.out_type), "out");
  parameters.add(name_of(f.normed_type), "normed", f.leaves_norm);
  parameters.add("float", "squares_out", f.leaves_norm);
  parameters.add(name_of(f.leaves_norm ? f.normed_type : f.out_type), "largest_out",
                 f.leaves_largest);
  // For bytes the compiler would take 64 registers, too few for all loads to be in flight; with 80
  // three blocks of 256 threads fit a multiprocessor. For stages the 16 warps that it holds fit.
  const int blocks_at_once = streams ? 16 / warps : bytes && f.x_type == Type::bf16 ? 3 : 0;
  Kernel kernel =
      make_kernel(symbol, "linear.cuh", "linear", facts, parameters, warps * 32, blocks_at_once,
                  /*launches_successor=*/true);
  kernel.launch_early = true;
  kernel.shared_bytes = shared;
  kernel.domain = f.domain;
  kernel.grid_x = blocks;
  kernel.rows_per_group = f.max_rows;
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const TiledLinear &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  if (f.n <= 0 || f.k <= 0)
    description.error = "sizes must be positive";
  else if (f.k % 16)
    description.error = "expected k of a multiple of 16, got " + std::to_string(f.k);
  if (!description.error.empty())
    return description;
  // Columns of a block: those with which its multiprocessor is done first. It reads x for each
  // block, which costs about as much as 32 columns do.
  int columns = 0;
  int64_t least = 0;
  for (int candidate : {128, 64, 32}) {
    int64_t rounds = ceil_div(ceil_div(f.n, candidate), tuning.multiprocessors),
            cost = rounds * (candidate + 32);
    if (!columns || cost < least) {
      columns = candidate;
      least = cost;
    }
  }
  // As in TiledLinearTraits: stages of x and of weights; sums of the parts of K.
  const int tokens = 64, deep = 64;
  int warps = 8, stage = 0;
  auto along = [&] { return warps / (columns / 32); };
  auto measure = [&] {
    stage = along() * tokens * (2 * deep + 16) + warps * 32 * deep;
    return 2 * stage <= tuning.block_shared_bytes;
  };
  while (!measure() && warps > columns / 32)
    warps /= 2;
  const int stages = std::clamp(tuning.block_shared_bytes / stage, 2, 4),
            shared = std::max(stages * stage, along() * tokens * (columns + 4) * 4);
  Facts facts;
  facts.type("OT", f.out_type);
  facts.number("kN", f.n);
  facts.number("kK", f.k);
  facts.number("kXStride", f.x_stride);
  facts.number("kOutStride", f.out_stride);
  facts.number("kDomain", number_of(f.domain));
  facts.flag("kHasBias", f.has_bias);
  facts.number("kColumns", columns);
  facts.number("kWarps", warps);
  facts.number("kSharedBytes", shared);
  Parameters parameters;
  parameters.input(Type::bf16, "x");
  parameters.input(Type::i8, "weight");
  parameters.vector("scale");
  parameters.vector("bias", f.has_bias);
  parameters.add(name_of(f.out_type), "out");
  Kernel kernel =
      make_kernel(symbol, "linear_tiled.cuh", "linear_tiled", facts, parameters, warps * 32);
  kernel.launch_early = true;
  kernel.shared_bytes = shared;
  kernel.domain = f.domain;
  kernel.grid_x = int(ceil_div(f.n, columns));
  kernel.rows_per_group = tokens;
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const GatedProduct &f, const std::string &symbol, const Tuning &tuning) {
  Description description;
  const int rows = 128, columns = 128, stages = 4, threads = 3 * 128;
  // Stages of 64 columns of x and of both weights, the results, barriers; as in GatedProduct.
  const int shared =
      1024 + stages * 64 * 2 * (rows + 2 * columns) + rows * columns * 2 + 16 * stages;
  auto multiple = [&](const char *what, int64_t value) {
    if (value % 8 && description.error.empty())
      description.error =
          std::string("expected ") + what + " of a multiple of 8, got " + std::to_string(value);
  };
  if (f.n <= 0 || f.k <= 0)
    description.error = "sizes must be positive";
  multiple("n", f.n);
  multiple("k", f.k);
  multiple("x_stride", f.x_stride);
  multiple("out_stride", f.out_stride);
  if (!tuning.warpgroups && description.error.empty())
    description.error = "the chip has no warpgroup products";
  if (!description.error.empty())
    return description;
  Facts facts;
  facts.map(f.map, /*gated=*/true);
  facts.number("kN", f.n);
  facts.number("kK", f.k);
  facts.number("kDomain", number_of(f.domain));
  facts.number("kStages", stages);
  facts.number("kStrip", 16);
  facts.number("kSharedBytes", shared);
  Parameters parameters;
  for (const char *role : {"x", "weight", "out"})
    parameters.tensor_map(role);
  Kernel kernel =
      make_kernel(symbol, "linear_warpgroup.cuh", "gated_product", facts, parameters, threads, 1);
  kernel.shared_bytes = shared;
  kernel.domain = f.domain;
  kernel.grid_x = tuning.multiprocessors;
  kernel.rows_per_group = 1 << 30; // the blocks share all rows out
  // Weights in boxes of half of a unit's columns.
  kernel.tensor_maps = {{0, 0, f.k, f.x_stride * 2, rows},
                        {1, 2 * f.n, f.k, int64_t(f.k) * 2, columns / 2},
                        {2, 0, f.n, f.out_stride * 2, 16}};
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const Dequantize &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.n <= 0 || f.k <= 0)
    description.error = "sizes must be positive";
  else if (!is_quantised(f.w_type) || is_quantised(f.out_type))
    description.error = "expected weights of i8, i4x2 or e4m3 and out of a float type";
  else
    description.error = refusal_of_group(f.w_type, f.group, f.scale_type);
  if (!description.error.empty())
    return description;
  const int threads = 256, run = 16 / bytes_of(f.out_type), vector = f.k % run ? 1 : run;
  const bool int4 = f.w_type == Type::i4x2;
  Facts facts;
  facts.type("OT", f.out_type);
  facts.number("kN", f.n);
  facts.number("kK", f.k);
  facts.number("kGroup", f.group);
  facts.type("ST", f.scale_type);
  facts.number("kThreads", threads);
  Parameters parameters;
  parameters.input(f.w_type, "weight");
  parameters.scale(f.w_type, f.group, f.scale_type);
  parameters.add(name_of(f.out_type), "workspace");
  Kernel kernel = make_kernel(symbol, "dequantize.cuh", int4 ? "dequantize_int4" : "dequantize",
                              facts, parameters, threads);
  kernel.grid_x = int(int4 ? ceil_div(int64_t(f.n) * ceil_div(f.k, 128) * 4, threads)
                           : ceil_div(int64_t(f.n) * f.k, int64_t(threads) * vector * 4));
  description.workspace_bytes = int64_t(f.n) * f.k * bytes_of(f.out_type);
  description.kernels.push_back(kernel);
  return description;
}

/// Threads of a block that holds a row in registers. A thread has a run of 8 columns, of long rows
/// a few: up to four, whose loads are in flight together, or, where a norm needs the whole row
/// before it goes on, as few as 512 threads leave.
static int threads_of_row(int k, bool norm = false) {
  const int runs = k / 8, each = norm ? int(ceil_div(runs, 512)) : std::clamp(runs / 192, 1, 4);
  return int(round_up(ceil_div(runs, each), 32));
}

/// Of rows that are made in the same launch.
static Kernel describe_made_rows(const QuantizeRows &f, const std::string &symbol) {
  const bool norm = f.of == QuantizeRows::Of::norm;
  const int threads = threads_of_row(f.k, norm);
  Facts facts;
  facts.type("XT", f.x_type);
  facts.type("AT", f.first_type);
  facts.type("BT", f.second_type);
  facts.number("kK", f.k);
  facts.number("kAStride", f.first_stride);
  facts.number("kBStride", f.second_stride);
  facts.number("kThreads", threads);
  if (norm) {
    facts.type("ST", f.sum_type);
    facts.number("kSumStride", f.sum_stride);
    facts.function("eps", f.eps);
    facts.function("factor", f.factor);
  }
  Parameters parameters;
  parameters.input(f.first_type, norm ? "residual" : "a");
  parameters.input(f.second_type, norm ? "x" : "b");
  if (norm) {
    parameters.vector("weight");
    parameters.add(name_of(f.sum_type), "sum");
  }
  parameters.add(name_of(Type::e4m3), "out");
  parameters.add("float", "scale");
  Kernel kernel = make_kernel(symbol, "quantize_rows.cuh", norm ? "quantize_norm" : "quantize_gate",
                              facts, parameters, threads);
  kernel.launch_early = true;
  kernel.domain = f.domain;
  kernel.rows_per_group = 1;
  return kernel;
}

Description describe(const QuantizeRows &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.k <= 0)
    description.error = "sizes must be positive";
  else if (is_quantised(f.x_type) || (is_quantised(f.out_type) && f.out_type != Type::e4m3))
    description.error = "expected x of a float type and out of e4m3 or a float type";
  else if (f.of != QuantizeRows::Of::rows &&
           (f.out_type != Type::e4m3 || f.k % 8 || f.k > 16384 || is_quantised(f.first_type) ||
            is_quantised(f.second_type) || is_quantised(f.sum_type)))
    description.error = "expected rows of float types and codes of a multiple of 8 columns up to "
                        "16384";
  if (!description.error.empty())
    return description;
  if (f.of != QuantizeRows::Of::rows) {
    description.kernels.push_back(describe_made_rows(f, symbol));
    return description;
  }
  const bool codes = f.out_type == Type::e4m3, held = codes && f.k % 8 == 0 && f.k <= 16384;
  const int threads = held ? threads_of_row(f.k) : 256, rows = held ? 1 : 4;
  Facts facts;
  facts.type("XT", f.x_type);
  facts.type("OT", f.out_type);
  facts.number("kK", f.k);
  facts.number("kXStride", f.x_stride);
  facts.number("kDomain", number_of(f.domain));
  facts.number("kThreads", threads);
  facts.number("kRows", rows);
  Parameters parameters;
  parameters.input(f.x_type, "x");
  parameters.add(name_of(f.out_type), "out");
  parameters.add("float", "scale", codes);
  Kernel kernel =
      make_kernel(symbol, "quantize_rows.cuh", held ? "quantize_held_rows" : "quantize_rows", facts,
                  parameters, threads);
  kernel.launch_early = true;
  kernel.domain = f.domain;
  kernel.rows_per_group = rows;
  description.kernels.push_back(kernel);
  return description;
}

static bool takes_tensor_cores(const Attention &f) {
  return f.type == Type::bf16 && (f.kv_type == Type::bf16 || is_code(f.kv_type)) &&
         f.head_dim % 16 == 0 && f.head_dim <= 256;
}

bool can_share_prefixes(const Attention &f) { return takes_tensor_cores(f) && f.window == 0; }

/// Q heads that a block attends with at once. On tensor cores eight are one tile; sixteen share a
/// read of the cache while their outputs still fit the registers.
static int group_of(const Attention &f, bool tensor) {
  const int ratio = f.heads / f.kv_heads;
  return !tensor ? std::min(ratio, 8) : ratio > 8 && f.head_dim <= 128 ? 16 : 8;
}

int counters_of(const AttentionStep &step) {
  const Attention &f = step.attention;
  return f.kv_heads * int(ceil_div(f.heads / f.kv_heads, group_of(f, true)));
}

/// With `step`, whose attention is `f`: that.
static Description describe_attention(const Attention &f, const AttentionStep *step,
                                      const std::string &symbol, const Tuning &tuning) {
  Description description;
  if (f.heads <= 0 || f.kv_heads <= 0 || f.heads % f.kv_heads != 0)
    description.error = "expected heads to be a multiple of kv_heads, got " +
                        std::to_string(f.heads) + " and " + std::to_string(f.kv_heads);
  else if (f.head_dim < 1 || f.head_dim > 512)
    description.error = "expected head_dim of 1 to 512, got " + std::to_string(f.head_dim);
  else if (!(f.scale > 0))
    description.error = "expected a positive scale";
  else if (f.shared && !(f.decode && can_share_prefixes(f)))
    description.error = "prefixes are shared in decode only, by bf16 heads of 16's multiple up to "
                        "256 without a window";
  else if (f.window < 0)
    description.error = "expected a window of at least 0, got " + std::to_string(f.window);
  if (!description.error.empty())
    return description;

  int ratio = f.heads / f.kv_heads;
  const int threads = 128, page = 64;
  // Keys and values of a page, and of a block's rows of queries beside two of them. Codes have
  // rows of 16 bytes more than they are, and scales; those at hand are there as bf16, too.
  const bool codes = is_code(f.kv_type);
  int stage = 2 * page * (f.head_dim + 8) * 2, code_stage = 2 * page * (f.head_dim + 16 + 4);
  int rows = f.head_dim <= 128 ? 128 : 64;
  auto bytes_with_rows = [&] {
    return (codes ? 2 * code_stage + stage : 2 * stage) + rows * (f.head_dim + 8) * 2;
  };
  while (rows > 64 && bytes_with_rows() > tuning.block_shared_bytes)
    rows /= 2;
  const int rows_shared = bytes_with_rows();
  bool fits = rows_shared <= tuning.block_shared_bytes;
  bool tensor = takes_tensor_cores(f) && fits;
  if (f.shared && !tensor) {
    description.error = "shared prefixes need " + std::to_string(rows_shared) +
                        " bytes of shared memory in a block";
    return description;
  }
  int group = group_of(f, tensor);
  int unit_heads = f.kv_heads * int(ceil_div(ratio, group));
  int generic = (page * (f.head_dim + 1) + 2 * group * f.head_dim + group * page + 3 * group) * 4;
  // Two blocks a multiprocessor. Of codes half the bytes take as much work, so four, or three where
  // a thread wants more than its 128 registers. A stage of codes holds the sums of a block's warps,
  // too.
  const int at_once = !codes ? 2 : group * f.head_dim > 8 * 128 ? 3 : 4;
  if (codes)
    stage = std::max(code_stage, 4 * group * (f.head_dim + 6) * 4);
  const int budget =
      codes ? (tuning.multiprocessor_shared_bytes - 2 * 1024) / at_once - 1024 : 112 * 1024;
  int stages = std::clamp(std::min(budget, tuning.block_shared_bytes) / stage, 2, 4);
  int shared = tensor ? stages * stage : generic;
  if (step)
    shared += group * (f.head_dim + 8) * 2; // queries that have turned
  int per_multiprocessor = std::clamp(blocks_per_multiprocessor(tuning, shared), 1, 4);
  int blocks = tuning.multiprocessors *
               (tensor ? std::min(per_multiprocessor, at_once) : per_multiprocessor);

  if (step && (!tensor || codes || f.shared || !f.decode))
    description.error = "one launch attends in decode on tensor cores, to a cache of bf16";
  else if (step && std::min(group, ratio) * (blocks + 1) * 4 > stage)
    description.error = "a page has no room for the weights of all blocks";
  else if (step && (step->turned < 0 || step->turned > f.head_dim || step->turned % 2))
    description.error = "expected an even number of columns that turn, at most head_dim, got " +
                        std::to_string(step->turned);
  if (!description.error.empty())
    return description;

  // With warpgroup products: a tile of queries, stages of 128 positions, barriers.
  const int warpgroup_stages = f.head_dim == 64 ? 3 : 2,
            warpgroup_shared = 1024 + rows * f.head_dim * 2 * (1 + 2 * warpgroup_stages) +
                               8 * (4 + 4 * warpgroup_stages) + 8;
  const bool warpgroups = !f.decode && tensor && !codes && tuning.warpgroups && rows == 128 &&
                          (f.head_dim == 64 || f.head_dim == 128) &&
                          warpgroup_shared <= tuning.block_shared_bytes;

  auto common = [&] {
    Facts facts;
    facts.type("T", f.type);
    facts.type("KT", f.kv_type);
    facts.number("kHeads", f.heads);
    facts.number("kKvHeads", f.kv_heads);
    facts.number("kD", f.head_dim);
    facts.number("kQStride", f.q_stride);
    facts.number("kOutStride", f.out_stride);
    facts.function("scale", f.scale);
    facts.number("kGroup", group);
    // No sequence is so long; the kernels compute with differences to the window.
    facts.number("kWindow", std::min(f.window, 1 << 30));
    return facts;
  };
  const int64_t own_floats = int64_t(2) * blocks * group * (f.head_dim + 2);
  auto inputs = [&](bool split) {
    Parameters parameters;
    parameters.input(f.type, "q");
    if (split) {
      parameters.input(f.type, "k", step);
      parameters.input(f.type, "v", step);
      parameters.vector("table", step && step->turned);
    }
    if (step)
      parameters.add(name_of(f.kv_type), "cache");
    else
      parameters.input(f.kv_type, "cache");
    parameters.batch("sequence_starts");
    parameters.batch("context_lengths");
    parameters.batch("block_tables");
    if (split) {
      parameters.batch("prefix_slots", f.shared);
      parameters.batch("prefix_pages", f.shared);
    }
    parameters.add(name_of(f.type), "out");
    if (split) {
      parameters.add("float", "workspace");
      parameters.add("int", "counters", step);
    }
    return parameters;
  };

  if (f.decode || tensor) {
    Facts facts = common();
    facts.flag("kRagged", !f.decode);
    facts.flag("kTensor", tensor);
    facts.number("kBlocks", blocks);
    facts.number("kStages", stages);
    facts.number("kSharedBytes", shared);
    facts.flag("kPrefix", f.shared);
    description.workspace_bytes = (own_floats + warpgroups) * 4;
    facts.number("kTakenOffset", warpgroups ? own_floats : -1);
    facts.number("kSlots", M1_PREFIX_SLOTS);
    facts.number("kPrefixOffset", own_floats);
    facts.flag("kStep", step);
    facts.number("kTurned", step ? step->turned : 0);
    facts.number("kKeyStride", step ? step->k_stride : 0);
    facts.number("kValueStride", step ? step->v_stride : 0);
    facts.number("kTableStride", step ? step->table_stride : 0);
    facts.number("kCounters", step ? step->counters : 0);
    if (f.shared) {
      description.workspace_bytes += int64_t(M1_PREFIX_SLOTS) * f.heads * (f.head_dim + 2) * 4;
      Facts prefix_facts = common();
      prefix_facts.number("kRows", rows);
      prefix_facts.number("kSlots", M1_PREFIX_SLOTS);
      prefix_facts.number("kPrefixOffset", own_floats);
      prefix_facts.number("kSharedBytes", rows_shared);
      Parameters parameters;
      parameters.input(f.type, "q");
      parameters.input(f.kv_type, "cache");
      for (const char *array : {"sequence_starts", "block_tables", "prefix_items", "prefix_slots"})
        parameters.batch(array);
      parameters.add("float", "workspace");
      // One block a multiprocessor is said, as ptxas would rather spill than take more than 128
      // registers.
      Kernel prefix = make_kernel(symbol + "_prefix", "attention_prefix.cuh", "attention_prefix",
                                  prefix_facts, parameters, rows * 2, 1);
      prefix.shared_bytes = rows_shared;
      prefix.domain = Domain::one;
      prefix.grid_x =
          tuning.multiprocessors * std::clamp(blocks_per_multiprocessor(tuning, rows_shared), 1, 2);
      description.kernels.push_back(prefix);
    }
    Kernel split =
        make_kernel(step ? symbol : symbol + "_split", "attention_decode.cuh", "attention_split",
                    facts, inputs(true), threads, (codes && tensor) || step ? at_once : 0, step);
    split.shared_bytes = shared;
    split.domain = Domain::one;
    split.grid_x = blocks;
    split.launch_early = step;
    description.kernels.push_back(split);
    if (step)
      return description;
    Parameters parameters;
    parameters.batch("sequence_starts");
    parameters.batch("context_lengths");
    parameters.batch("prefix_pages", f.shared);
    parameters.add(name_of(f.type), "out");
    parameters.add("const float", "workspace");
    Kernel combine = make_kernel(symbol + "_combine", "attention_decode.cuh", "attention_combine",
                                 facts, parameters, threads);
    combine.domain = Domain::sequences;
    combine.grid_x = unit_heads;
    combine.rows_per_group = 1;
    description.kernels.push_back(combine);
  }
  if (warpgroups) {
    Facts facts = common();
    facts.flag("kSkipSingle", true);
    facts.number("kRows", rows);
    facts.number("kStages", warpgroup_stages);
    facts.number("kTakenOffset", own_floats);
    facts.number("kSharedBytes", warpgroup_shared);
    Parameters parameters = inputs(false);
    parameters.add("float", "workspace");
    Kernel prefill = make_kernel(symbol + "_prefill", "attention_warpgroup.cuh",
                                 "attention_warpgroup", facts, parameters, 384, 1);
    prefill.shared_bytes = warpgroup_shared;
    prefill.domain = Domain::one;
    prefill.grid_x = tuning.multiprocessors;
    description.kernels.push_back(prefill);
  } else if (!f.decode && tensor) {
    Facts facts = common();
    facts.flag("kSkipSingle", true);
    facts.number("kRows", rows);
    facts.number("kSharedBytes", rows_shared);
    Kernel prefill = make_kernel(symbol + "_prefill", "attention_prefill.cuh", "attention_prefill",
                                 facts, inputs(false), rows * 2);
    prefill.shared_bytes = rows_shared;
    prefill.domain = Domain::tokens;
    prefill.grid_x = f.heads;
    prefill.rows_per_group = rows;
    description.kernels.push_back(prefill);
  } else if (!f.decode) {
    Facts facts = common();
    facts.number("kSharedBytes", generic);
    Kernel kernel = make_kernel(symbol + "_generic", "attention.cuh", "attention_generic", facts,
                                inputs(false), threads);
    kernel.shared_bytes = generic;
    kernel.domain = Domain::tokens;
    kernel.grid_x = unit_heads;
    kernel.rows_per_group = 1;
    description.kernels.push_back(kernel);
  }
  return description;
}

Description describe(const Attention &f, const std::string &symbol, const Tuning &tuning) {
  return describe_attention(f, nullptr, symbol, tuning);
}

Description describe(const AttentionStep &f, const std::string &symbol, const Tuning &tuning) {
  return describe_attention(f.attention, &f, symbol, tuning);
}

Description describe(const KvWrite &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.kv_heads <= 0 || f.head_dim <= 0 || (f.rotates && f.heads <= 0))
    description.error = "sizes must be positive";
  else if (!is_code(f.kv_type))
    description.error = "expected a cache of i8 or e4m3";
  else if (f.rotates && (f.turned <= 0 || f.turned % 2 || f.turned > f.head_dim))
    description.error = "expected an even number of columns that turn, at most head_dim, got " +
                        std::to_string(f.turned);
  if (!description.error.empty())
    return description;
  const int threads = 128, heads = f.rotates ? f.heads : 0, turned = f.rotates ? f.turned : 0;
  // Columns a lane takes side by side: whole rows of codes, and of what turns whole halves.
  int vector = 4;
  auto fits = [&](int64_t length) { return length % vector == 0; };
  while (!(fits(f.head_dim) && fits(turned / 2) && fits(f.k_stride) && fits(f.v_stride) &&
           (!f.rotates || (fits(f.q_stride) && fits(f.table_stride) && fits(f.out_stride)))))
    vector /= 2;
  Facts facts;
  facts.type("QT", f.q_type);
  facts.type("KeyT", f.k_type);
  facts.type("ValueT", f.v_type);
  facts.type("OT", f.out_type);
  facts.type("KT", f.kv_type);
  facts.number("kHeads", heads);
  facts.number("kKvHeads", f.kv_heads);
  facts.number("kD", f.head_dim);
  facts.number("kTurned", turned);
  facts.number("kQStride", f.q_stride);
  facts.number("kKeyStride", f.k_stride);
  facts.number("kValueStride", f.v_stride);
  facts.number("kTableStride", f.table_stride);
  facts.number("kOutStride", f.out_stride);
  facts.number("kDomain", number_of(f.domain));
  facts.number("kThreads", threads);
  facts.number("kVector", vector);
  Parameters parameters;
  parameters.input(f.q_type, "q", f.rotates);
  parameters.input(f.k_type, "k");
  parameters.input(f.v_type, "v");
  parameters.vector("table", f.rotates);
  parameters.add(name_of(f.kv_type), "cache");
  for (const char *array : {"positions", "token_sequence", "block_tables"})
    parameters.batch(array);
  parameters.add(name_of(f.out_type), "out", f.rotates);
  Kernel kernel = make_kernel(symbol, "kv_write.cuh", "kv_write", facts, parameters, threads);
  kernel.domain = f.domain;
  kernel.grid_x = int(ceil_div(heads + 2 * f.kv_heads, threads / 32));
  kernel.rows_per_group = 1;
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const Sample &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.vocabulary <= 0 || f.logits_stride < f.vocabulary) {
    description.error = "expected a positive vocabulary and rows that hold it, got " +
                        std::to_string(f.vocabulary) + " in rows of " +
                        std::to_string(f.logits_stride);
    return description;
  }
  // bins or list of the cut and the reductions' words, then what there is for each chunk
  const int most_threads = 1024, shared = 17 * 1024 + 24 * int(ceil_div(f.vocabulary, 512));
  Facts facts;
  facts.number("kV", f.vocabulary);
  facts.number("kStride", f.logits_stride);
  facts.number("kSharedBytes", shared);
  Parameters parameters;
  parameters.vector("logits");
  if (f.random) {
    parameters.batch("likeliest");
    parameters.vector("temperature");
    parameters.batch("top_k");
    parameters.vector("top_p");
    parameters.vector("min_p");
    parameters.add("const unsigned long long", "seed");
    parameters.batch("position");
  }
  parameters.add("int", "out");
  Kernel kernel = make_kernel(symbol, "sample.cuh", f.random ? "sample_random" : "sample_greedy",
                              facts, parameters, most_threads, 1);
  kernel.threads = f.random ? 256 : most_threads;
  kernel.shared_bytes = shared;
  kernel.domain = Domain::logit_rows;
  kernel.rows_per_group = 1;
  description.kernels.push_back(kernel);
  return description;
}

} // namespace m1k::cuda
