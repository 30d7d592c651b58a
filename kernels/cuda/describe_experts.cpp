// Launches of mixtures of experts.
#include "describe.h"

namespace m1k::cuda {

namespace {

// As in ExpertGroup: outputs of a block, and stages and list of rows in shared memory.
constexpr int groupTile = 64, groupTokens = 512,
              groupBytes = 2 * 2 * groupTile * (groupTile + 8) * 2 + (groupTokens + 4) * 4;

} // namespace

Description describe(const Router &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.experts < 1 || f.groups < 1 || f.experts % f.groups ||
      (f.groups > 1 && f.experts / f.groups < 2))
    description.error = "expected experts in equal groups of two or more, got " +
                        std::to_string(f.experts) + " in " + std::to_string(f.groups);
  else if (f.kept_groups < 1 || f.kept_groups > f.groups)
    description.error = "expected kept_groups from 1 to " + std::to_string(f.groups) + ", got " +
                        std::to_string(f.kept_groups);
  else if (f.chosen < 1 || f.chosen > f.experts / f.groups * f.kept_groups)
    description.error = "expected chosen from 1 to " +
                        std::to_string(f.experts / f.groups * f.kept_groups) + ", got " +
                        std::to_string(f.chosen);
  if (!description.error.empty())
    return description;
  int row_bytes = (2 * f.experts + f.groups + f.chosen) * 4;
  int warps = 4;
  while (warps > 1 && warps * row_bytes > 48 * 1024)
    warps /= 2;
  Facts facts;
  facts.number("kExperts", f.experts);
  facts.number("kChosen", f.chosen);
  facts.flag("kSigmoid", f.sigmoid);
  facts.flag("kNormalize", f.normalize);
  facts.function("scale", f.scale);
  facts.flag("kHasCorrection", f.has_correction);
  facts.number("kGroups", f.groups);
  facts.number("kKeptGroups", f.kept_groups);
  facts.number("kLogitsStride", f.logits_stride);
  facts.number("kWeightsStride", f.weights_stride);
  facts.number("kExpertsStride", f.experts_stride);
  facts.number("kDomain", number_of(f.domain));
  facts.number("kWarps", warps);
  facts.number("kSharedBytes", warps * row_bytes);
  Parameters parameters;
  parameters.vector("logits");
  parameters.vector("correction", f.has_correction);
  parameters.add("float", "weights");
  parameters.add("int", "experts");
  Kernel kernel = make_kernel(symbol, "experts.cuh", "router", facts, parameters, warps * 32);
  kernel.shared_bytes = warps * row_bytes;
  kernel.domain = f.domain;
  kernel.rows_per_group = warps;
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const ExpertLinear &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.experts < 1 || f.chosen < 1 || f.n < 1 || f.k < 1)
    description.error = "sizes must be positive";
  else if (f.first < 0 || f.first + f.n > f.rows_per_expert)
    description.error = "expected first and n within the " + std::to_string(f.rows_per_expert) +
                        " rows_per_expert, got " + std::to_string(f.first) + " and " +
                        std::to_string(f.n);
  else
    description.error = refusal_of_group(f.w_type, f.group, f.scale_type);
  if (!description.error.empty())
    return description;
  const bool grouped = !f.few_rows && f.x_type == Type::bf16 &&
                       (f.w_type == Type::bf16 || is_quantised(f.w_type)) && f.k % 8 == 0 &&
                       f.x_stride % 8 == 0;
  const int warps = 4, rows = 4;
  Facts facts;
  facts.type("XT", f.x_type);
  facts.type("WT", f.w_type);
  facts.type("OT", f.out_type);
  facts.number("kPerExpert", f.rows_per_expert);
  facts.number("kFirst", f.first);
  facts.number("kN", f.n);
  facts.number("kK", f.k);
  facts.number("kGroup", f.group);
  facts.type("ST", f.scale_type);
  facts.number("kChosen", f.chosen);
  facts.flag("kOwnColumns", f.own_columns);
  facts.number("kXStride", f.x_stride);
  facts.number("kExpertsStride", f.experts_stride);
  facts.number("kOutStride", f.out_stride);
  facts.number("kDomain", number_of(f.domain));
  if (grouped) {
    facts.number("kTokens", groupTokens);
    facts.number("kSharedBytes", groupBytes);
  } else {
    facts.number("kWarps", warps);
    facts.number("kRows", rows);
  }
  Parameters parameters;
  parameters.input(f.x_type, "x");
  parameters.batch("experts");
  parameters.input(f.w_type, "weight");
  parameters.scale(f.w_type, f.group, f.scale_type);
  parameters.add(name_of(f.out_type), "out");
  Kernel kernel =
      make_kernel(symbol, "experts.cuh", grouped ? "expert_linear_grouped" : "expert_linear", facts,
                  parameters, warps * 32);
  kernel.domain = f.domain;
  kernel.shared_bytes = grouped ? groupBytes : 0;
  kernel.grid_x = grouped ? f.experts * int(ceil_div(f.n, groupTile))
                          : f.chosen * int(ceil_div(f.n, warps * rows));
  kernel.rows_per_group = grouped ? groupTokens : 1;
  description.kernels.push_back(kernel);
  return description;
}

Description describe(const Combine &f, const std::string &symbol, const Tuning &) {
  Description description;
  if (f.columns < 1 || f.parts < 1) {
    description.error = "sizes must be positive";
    return description;
  }
  const int threads = 256;
  Facts facts;
  facts.type("XT", f.x_type);
  facts.type("WT", f.weights_type);
  facts.type("OT", f.out_type);
  facts.number("kColumns", f.columns);
  facts.number("kParts", f.parts);
  facts.number("kXStride", f.x_stride);
  facts.number("kWeightsStride", f.weights_stride);
  facts.number("kOutStride", f.out_stride);
  facts.number("kDomain", number_of(f.domain));
  Parameters parameters;
  parameters.input(f.x_type, "x");
  parameters.input(f.weights_type, "weights");
  parameters.add(name_of(f.out_type), "out");
  Kernel kernel = make_kernel(symbol, "experts.cuh", "combine", facts, parameters, threads);
  kernel.domain = f.domain;
  kernel.grid_x = int(ceil_div(f.columns, threads));
  kernel.rows_per_group = 1;
  description.kernels.push_back(kernel);
  return description;
}

} // namespace m1k::cuda
