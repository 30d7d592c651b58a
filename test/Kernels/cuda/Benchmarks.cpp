// Times at the sizes of M1-3B and its Mamba-2 variant: median of graph replays over buffers that
// rotate through more than the L2 cache, bytes moved at least, the time that copying as many bytes
// takes (floor), its share of the time, and the goal, which was set on a GPU that copies 3.02 TB/s,
// scaled to this one's copy speed.
#include "Harness.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace m1k::test {
namespace {

using namespace cuda;
using Pointers = std::map<std::string, void *>;

constexpr double kGoalCopySpeed = 3.02e12;

void report(Context &context, const std::string &name, Context::Timing timing, double bytes,
            double goal) {
  double floor = bytes / context.copy_speed() * 1e6;
  char goal_text[32] = "-";
  if (goal > 0)
    std::snprintf(goal_text, sizeof goal_text, "%.1f",
                  goal * kGoalCopySpeed / context.copy_speed());
  std::printf("%-58s %9.2f %9.2f %9.2f %9.1f %9.2f %5.0f%% %9s\n", name.c_str(), timing.median,
              timing.low, timing.high, bytes * 1e-6, floor, 100 * floor / timing.median, goal_text);
  std::fflush(stdout);
}

// As many sets of buffers as pass 200 MB.
int sets_for(double bytes) { return int(std::min(64.0, 200e6 / bytes + 2)); }

struct Sequences {
  int count, length;
};

void put_batch(Context &context, Pointers &to, const Sequences &s, int past) {
  Batch batch = make_batch(std::vector<int>(s.count, s.length), std::vector<int>(s.count, past));
  for (int i = 0; i < s.count; ++i)
    batch.slots[i] = i;
  to["sequence_starts"] = context.allocate_integers(batch.starts);
  to["slots"] = context.allocate_integers(batch.slots);
  to["positions"] = context.allocate_integers(batch.positions);
  to["context_lengths"] = context.allocate_integers(batch.contexts);
}

Case scan_bench(const std::string &label, Sequences s, Type state, bool decode, bool conv,
                int expected, double goal, Tuning::ScanShape shape = {}) {
  std::string name = (decode ? "mamba-1 update " : "mamba-1 scan ") + label;
  return {name, true, [=](Context &context) {
            SelectiveScan f;
            f.d_inner = 3072;
            f.b_heads = 64;
            f.c_heads = 192;
            f.d_state = 16;
            f.x_columns = conv ? 1024 : 3072;
            f.state_type = state;
            // Rows as the merged projection leaves them: z, x, B, C, dt; x and dt come from buffers
            // of their own once convolved, projected.
            int merged = 3072 + 1024 + 1024 + 3072 + 192;
            f.x_stride = conv ? merged : 3072;
            f.dt_stride = 3072;
            f.b_stride = f.c_stride = f.z_stride = merged;
            f.out_stride = 3072;
            f.decode = decode;
            Tuning tuning;
            tuning.expected_sequences = expected;
            tuning.scan = shape;
            ScanNeighbours neighbours;
            neighbours.conv.width = 4;
            neighbours.conv.channels = 3072;
            Description description =
                conv ? describe(f, neighbours, "kernel", tuning) : describe(f, "kernel", tuning);
            if (!context.prepare(description))
              return;
            double T = double(s.count) * s.length;
            double bytes = T * 2 * (f.x_columns + 3072 + 1024 + 3072 + 3072 + 3072) +
                           2.0 * s.count * 3072 * 16 * size_of(state) +
                           (conv ? 2.0 * s.count * 3 * 1024 * 2 : 0);
            std::vector<Pointers> sets(sets_for(bytes));
            Pointers common;
            put_batch(context, common, s, 100);
            common["a"] = context.allocate_random(3072 * 16 * 4, Type::f32, -1, -0.01);
            common["d"] = context.allocate_random(3072 * 4, Type::f32, -1, 1);
            common["dt_bias"] = context.allocate_random(3072 * 4, Type::f32, -4, -1);
            common["conv_w"] = context.allocate_random(3072 * 16, Type::f32, -1, 1);
            common["conv_bias"] = context.allocate_random(3072 * 4, Type::f32, -1, 1);
            for (Pointers &set : sets) {
              set = common;
              char *rows = static_cast<char *>(
                  context.allocate_random(size_t(T) * merged * 2, Type::bf16, -1, 1));
              set["z"] = rows;
              set["b"] = rows + 2 * (3072 + 1024);
              set["c"] = rows + 2 * (3072 + 2048);
              set["x"] = conv ? rows + 2 * 3072
                              : context.allocate_random(size_t(T) * 3072 * 2, Type::bf16, -1, 1);
              set["dt"] = context.allocate_random(size_t(T) * 3072 * 2, Type::bf16, -1, 1);
              set["out"] = context.allocate(size_t(T) * 3072 * 2);
              set["state"] = context.allocate_random(size_t(s.count) * 3072 * 16 * size_of(state),
                                                     state, -1, 1);
              set["conv_state"] =
                  context.allocate_random(size_t(s.count) * 3 * 1024 * 2, Type::bf16, -1, 1);
            }
            report(context, name, context.time(sets, {int(T), s.count, 0, 0}), bytes, goal);
            context.release();
          }};
}

Case ssd_bench(const std::string &label, Sequences s, Type type, Type state, bool decode,
               int expected, double goal) {
  std::string name = (decode ? "mamba-2 update " : "mamba-2 scan ") + label;
  return {name, true, [=](Context &context) {
            SsdScan f;
            f.x_type = f.dt_type = f.b_type = f.c_type = f.out_type = type;
            f.state_type = state;
            f.heads = 24;
            f.head_dim = f.d_state = 128;
            f.x_heads = f.b_heads = 8;
            f.c_heads = 24;
            f.x_stride = f.b_stride = f.c_stride = 1024 + 1024 + 3072;
            f.dt_stride = 8 * ((3072 + 1024 + 1024 + 3072 + 24) / 8);
            f.out_stride = 3072;
            f.decode = decode;
            Tuning tuning;
            tuning.expected_sequences = expected;
            Description description = describe(f, "kernel", tuning);
            if (!context.prepare(description))
              return;
            double T = double(s.count) * s.length;
            int size = size_of(type);
            double bytes = T * size * (1024 + 1024 + 3072 + 3072 + 24) +
                           2.0 * s.count * 24 * 128 * 128 * size_of(state);
            std::vector<Pointers> sets(sets_for(bytes));
            Pointers common;
            put_batch(context, common, s, 100);
            common["temporary"] = context.allocate(size_t(T) * description.temporary_bytes_per_row);
            common["a"] = context.allocate_random(24 * 4, Type::f32, -1, -0.01);
            common["d"] = context.allocate_random(24 * 4, Type::f32, -1, 1);
            common["dt_bias"] = context.allocate_random(24 * 4, Type::f32, -4, -1);
            for (Pointers &set : sets) {
              set = common;
              char *rows = static_cast<char *>(
                  context.allocate_random(size_t(T) * f.x_stride * size, type, -1, 1));
              set["x"] = rows;
              set["b"] = rows + size * 1024;
              set["c"] = rows + size * 2048;
              set["dt"] = context.allocate_random(size_t(T) * f.dt_stride * size, type, -1, 1);
              set["out"] = context.allocate(size_t(T) * 3072 * size);
              set["state"] = context.allocate_random(
                  size_t(s.count) * 24 * 128 * 128 * size_of(state), state, -1, 1);
            }
            report(context, name, context.time(sets, {int(T), s.count, 0, 0}), bytes, goal);
            context.release();
          }};
}

// Of Qwen3.5: 0.8B has 16 heads, 9B 32 over 16 of q and k.
Case delta_bench(const std::string &label, Sequences s, int heads, Type state, bool decode,
                 double goal) {
  std::string name = (decode ? "gated delta update " : "gated delta ") + label;
  return {name, true, [=](Context &context) {
            const int keys = 16 * 128, values = heads * 128;
            GatedDelta f;
            f.heads = heads;
            f.key_heads = 16;
            f.key_size = f.value_size = 128;
            f.state_type = state;
            f.q_stride = f.k_stride = f.v_stride = 2 * keys + values;
            f.a_stride = f.b_stride = heads;
            f.out_stride = values;
            f.decode = decode;
            Description description = describe(f, "kernel");
            if (!context.prepare(description))
              return;
            double T = double(s.count) * s.length;
            double bytes = T * 2 * (2 * keys + 2 * values + 2 * heads) +
                           2.0 * s.count * values * 128 * size_of(state);
            std::vector<Pointers> sets(sets_for(bytes));
            Pointers common;
            put_batch(context, common, s, 100);
            common["temporary"] = context.allocate(size_t(T) * description.temporary_bytes_per_row);
            common["workspace"] = context.allocate(size_t(description.workspace_bytes));
            common["decay"] = context.allocate_random(heads * 4, Type::f32, -1, -0.01);
            common["dt_bias"] = context.allocate_random(heads * 4, Type::f32, -4, -1);
            for (Pointers &set : sets) {
              set = common;
              char *rows = static_cast<char *>(
                  context.allocate_random(size_t(T) * f.q_stride * 2, Type::bf16, -1, 1));
              set["q"] = rows;
              set["k"] = rows + 2 * keys;
              set["v"] = rows + 4 * keys;
              set["a"] = context.allocate_random(size_t(T) * heads * 2, Type::bf16, -1, 1);
              set["b"] = context.allocate_random(size_t(T) * heads * 2, Type::bf16, -1, 1);
              set["out"] = context.allocate(size_t(T) * values * 2);
              set["state"] = context.allocate_random(
                  size_t(s.count) * values * 128 * size_of(state), state, -1, 1);
            }
            report(context, name, context.time(sets, {int(T), s.count, 0, 0}), bytes, goal);
            context.release();
          }};
}

Case conv_bench(const std::string &label, Sequences s, int channels, int repeat, bool decode) {
  std::string name = "causal_conv1d " + label;
  return {name, true, [=](Context &context) {
            CausalConv1d f;
            int sources = channels / repeat;
            f.channels = channels;
            f.repeat = repeat;
            f.head_size = repeat > 1 ? 16 : 1;
            f.x_stride = 8384;
            f.out_stride = channels;
            f.decode = decode;
            if (!context.prepare(describe(f, "kernel")))
              return;
            double T = double(s.count) * s.length;
            double bytes = T * 2 * (sources + channels) + 2.0 * s.count * 3 * sources * 2;
            std::vector<Pointers> sets(std::min(sets_for(bytes), 8));
            Pointers common;
            put_batch(context, common, s, 100);
            common["weight"] = context.allocate_random(size_t(channels) * 16, Type::f32, -1, 1);
            common["bias"] = context.allocate_random(size_t(channels) * 4, Type::f32, -1, 1);
            for (Pointers &set : sets) {
              set = common;
              set["x"] = context.allocate_random(size_t(T) * 8384 * 2, Type::bf16, -1, 1);
              set["out"] = context.allocate(size_t(T) * channels * 2);
              set["state"] =
                  context.allocate_random(size_t(s.count) * 3 * sources * 2, Type::bf16, -1, 1);
            }
            report(context, name, context.time(sets, {int(T), s.count, 0, 0}), bytes, 0);
            context.release();
          }};
}

Case norm_bench(int rows) {
  std::string name = "gated_rms_norm " + std::to_string(rows) + " × 3072 in 24";
  return {name, true, [=](Context &context) {
            GatedRmsNorm f;
            f.features = 3072;
            f.groups = 24;
            f.y_stride = f.out_stride = 3072;
            f.z_stride = 8216;
            if (!context.prepare(describe(f, "kernel")))
              return;
            double bytes = rows * 3072.0 * 6;
            std::vector<Pointers> sets(sets_for(bytes));
            for (Pointers &set : sets) {
              set["y"] = context.allocate_random(size_t(rows) * 3072 * 2, Type::bf16, -1, 1);
              set["z"] = context.allocate_random(size_t(rows) * 8216 * 2, Type::bf16, -1, 1);
              set["weight"] = context.allocate_random(3072 * 4, Type::f32, 0, 1);
              set["out"] = context.allocate(size_t(rows) * 3072 * 2);
            }
            report(context, name, context.time(sets, {rows, 0, 0, 0}), bytes, 0);
            context.release();
          }};
}

/// The products of a gated MLP with silu·mul inside; docs/performance.md has cuBLASLt's beside it.
Case gated_product_bench(int rows, int n, int k) {
  std::string name = "gated product " + std::to_string(rows) + " × 2·" + std::to_string(n) + " × " +
                     std::to_string(k);
  return {name, true, [=](Context &context) {
            GatedProduct f;
            f.n = f.out_stride = n;
            f.k = f.x_stride = k;
            if (!context.warpgroups() || !context.prepare(describe(f, "kernel")))
              return;
            double bytes = 2.0 * (2.0 * n * k + double(rows) * (k + n));
            std::vector<Pointers> sets(2);
            for (Pointers &set : sets) {
              set["x"] = context.allocate_random(size_t(rows) * k * 2, Type::bf16, -1, 1);
              set["weight"] = context.allocate_random(size_t(4) * n * k, Type::bf16, -1, 1);
              set["out"] = context.allocate(size_t(rows) * n * 2);
            }
            Context::Timing timing = context.time(sets, {rows, 0, 0, 0});
            report(context, name, timing, bytes, 0);
            std::printf("  %.0f TFLOP/s\n", 4.0 * rows * n * k / timing.median * 1e-6);
            context.release();
          }};
}

/// `neighbours`: scaled, and if not gated with the residual and what the next norm needs.
Case linear_bench(int rows, int max_rows, int n, int k, Type type, bool gated = false,
                  bool neighbours = false, Type weights = Type::bf16, int group = 0) {
  const bool int4 = weights == Type::i4x2,
             quantised = int4 || weights == Type::i8 || weights == Type::e4m3;
  std::string name = "linear " + std::string(type == Type::f32 ? "f32 " : "bf16 ") +
                     (quantised ? type_name(weights) + " " : "") +
                     (group ? "in " + std::to_string(group) + " " : "") + std::to_string(rows) +
                     " × " + std::to_string(gated ? 2 * n : n) + " × " + std::to_string(k) +
                     (gated ? " gated" : "") + (neighbours ? " with neighbours" : "");
  return {name, true, [=](Context &context) {
            Linear f;
            f.x_type = f.w_type = f.out_type = type;
            if (quantised)
              f.w_type = weights;
            f.group = group;
            f.n = n;
            f.k = k;
            f.x_stride = k;
            f.out_stride = n;
            f.max_rows = max_rows;
            f.gated = gated;
            if (neighbours) {
              f.squares = 384;
              f.has_residual = f.leaves_norm = !gated;
              f.residual_stride = f.normed_stride = n;
              f.normed_type = type;
              if (!gated)
                f.out_type = Type::f32;
            }
            if (!context.prepare(describe(f, "kernel")))
              return;
            int size = size_of(type), weight_rows = gated ? 2 * n : n;
            const double weight_bytes =
                double(weight_rows) * (int4 ? (k + 127) / 128 * 64 : k * size_of(f.w_type));
            const double scale_bytes = double(weight_rows) * (group ? (k + group - 1) / group * 2
                                                              : quantised ? 4
                                                                          : 0);
            double bytes = weight_bytes + scale_bytes + double(size) * rows * (double(k) + n);
            std::vector<Pointers> sets(sets_for(bytes));
            for (Pointers &set : sets) {
              set["x"] = context.allocate_random(size_t(rows) * k * size, type, -1, 1);
              set["weight"] =
                  context.allocate_random(size_t(weight_bytes), int4 ? Type::i8 : f.w_type,
                                          quantised ? -127 : -1, quantised ? 127 : 1);
              if (quantised)
                set["scale"] = context.allocate_random(size_t(scale_bytes),
                                                       group ? Type::bf16 : Type::f32, 0.001, 0.01);
              set["out"] = context.allocate(size_t(rows) * n * size_of(f.out_type));
              if (!neighbours)
                continue;
              set["squares"] = context.allocate_random(size_t(rows) * 384 * 4, Type::f32, 0, 1);
              set["residual"] = context.allocate_random(size_t(rows) * n * 4, Type::f32, -1, 1);
              set["norm_weight"] = context.allocate_random(size_t(n) * 4, Type::f32, -1, 1);
              set["normed"] = context.allocate(size_t(rows) * n * size);
              set["squares_out"] = context.allocate(size_t(rows) * n * 4);
            }
            // A decode step's goal is 2.55 ms over a floor of 2.28.
            report(context, name, context.time(sets, {rows, 0, 0, 0}), bytes,
                   bytes / kGoalCopySpeed * 1e6 * 2.55 / 2.28);
            context.release();
          }};
}

/// The goal is the floor of weights of bf16.
Case tiled_bench(int rows, int n, int k) {
  std::string name = "linear bf16 i8 tiled " + std::to_string(rows) + " × " + std::to_string(n) +
                     " × " + std::to_string(k);
  return {name, true, [=](Context &context) {
            TiledLinear f;
            f.n = n;
            f.k = k;
            f.x_stride = k;
            f.out_stride = n;
            if (!context.prepare(describe(f, "kernel")))
              return;
            double bytes = double(n) * k + 2 * rows * (double(k) + n);
            std::vector<Pointers> sets(sets_for(bytes));
            for (Pointers &set : sets) {
              set["x"] = context.allocate_random(size_t(rows) * k * 2, Type::bf16, -1, 1);
              set["weight"] = context.allocate_random(size_t(n) * k, Type::i8, -127, 127);
              set["scale"] = context.allocate_random(size_t(n) * 4, Type::f32, 0.001, 0.01);
              set["out"] = context.allocate(size_t(rows) * n * 2);
            }
            report(context, name, context.time(sets, {rows, 0, 0, 0}), bytes,
                   (bytes + double(n) * k) / kGoalCopySpeed * 1e6);
            context.release();
          }};
}

Case dequantize_bench(int n, int k, int group = 0, Type weights = Type::i8) {
  const bool int4 = weights == Type::i4x2;
  std::string name = std::string("dequantize bf16 ") + (int4 ? "i4 " : "") +
                     (group ? "in " + std::to_string(group) + " " : "") + std::to_string(n) +
                     " × " + std::to_string(k);
  return {name, true, [=](Context &context) {
            Dequantize f;
            f.w_type = weights;
            f.n = n;
            f.k = k;
            f.group = group;
            if (!context.prepare(describe(f, "kernel")))
              return;
            const double scale_bytes = group ? 2.0 * n * k / group : 4.0 * n,
                         weight_bytes = double(n) * k / (int4 ? 2 : 1),
                         bytes = weight_bytes + scale_bytes + 2.0 * n * k;
            std::vector<Pointers> sets(sets_for(bytes));
            for (Pointers &set : sets) {
              set["weight"] = context.allocate_random(size_t(weight_bytes), Type::i8, -127, 127);
              set["scale"] = context.allocate_random(size_t(scale_bytes),
                                                     group ? Type::bf16 : Type::f32, 0.001, 0.01);
              set["workspace"] = context.allocate(size_t(n) * k * 2);
            }
            report(context, name, context.time(sets, {1, 0, 0, 0}), bytes,
                   bytes / kGoalCopySpeed * 1e6);
            context.release();
          }};
}

/// Rows rounded to e4m3, of a tensor, or where silu·mul or a residual and its norm make them.
Case quantize_bench(QuantizeRows::Of of, int rows, int k) {
  using Of = QuantizeRows::Of;
  std::string name = std::string("quantize ") +
                     (of == Of::rows   ? "rows "
                      : of == Of::gate ? "gate "
                                       : "norm ") +
                     std::to_string(rows) + " × " + std::to_string(k);
  return {name, true, [=](Context &context) {
            QuantizeRows f;
            f.of = of;
            f.k = k;
            f.x_stride = f.second_stride = f.sum_stride = k;
            f.first_stride = of == Of::gate ? 2 * k : k;
            if (of == Of::gate)
              f.second_stride = 2 * k;
            f.first_type = of == Of::norm ? Type::f32 : Type::bf16;
            f.eps = 1e-5f;
            if (!context.prepare(describe(f, "kernel")))
              return;
            const size_t values = size_t(rows) * k;
            const double bytes = double(values) * (of == Of::rows ? 3 : of == Of::gate ? 5 : 11);
            std::vector<Pointers> sets(sets_for(bytes));
            for (Pointers &set : sets) {
              set["out"] = context.allocate(values);
              set["scale"] = context.allocate(size_t(rows) * 4);
              if (of == Of::rows) {
                set["x"] = context.allocate_random(values * 2, Type::bf16, -1, 1);
              } else if (of == Of::gate) {
                set["a"] = context.allocate_random(values * 4, Type::bf16, -1, 1);
                set["b"] = context.allocate_random(values * 4, Type::bf16, -1, 1);
              } else {
                set["residual"] = context.allocate_random(values * 4, Type::f32, -1, 1);
                set["x"] = context.allocate_random(values * 2, Type::bf16, -1, 1);
                set["weight"] = context.allocate_random(size_t(k) * 4, Type::f32, 0, 1);
                set["sum"] = context.allocate(values * 4);
              }
            }
            report(context, name, context.time(sets, {rows, 0, 0, 0}), bytes,
                   bytes / kGoalCopySpeed * 1e6);
            context.release();
          }};
}

/// Experts of Qwen3-30B-A3B. The floor reads each expert that a row names once.
Case expert_bench(int rows, bool few_rows) {
  std::string name = "expert_linear " + std::to_string(rows) + " × 8 of 128, 768 × 2048" +
                     (few_rows ? " few rows" : "");
  return {name, true, [=](Context &context) {
            ExpertLinear f;
            f.experts = 128;
            f.chosen = f.experts_stride = 8;
            f.rows_per_expert = f.n = 768;
            f.k = f.x_stride = 2048;
            f.out_stride = 8 * 768;
            f.few_rows = few_rows;
            if (!context.prepare(describe(f, "kernel")))
              return;
            Random random(3);
            std::vector<int> experts;
            std::vector<bool> named(f.experts);
            for (int t = 0; t < rows; ++t) {
              int at = int(random.next() % f.experts);
              for (int j = 0; j < f.chosen; ++j) {
                experts.push_back((at + 11 * j) % f.experts);
                named[experts.back()] = true;
              }
            }
            double each = 2.0 * f.n * f.k,
                   bytes = each * double(std::count(named.begin(), named.end(), true)) +
                           rows * 2.0 * (f.k + f.chosen * f.n);
            std::vector<Pointers> sets(std::min(sets_for(bytes), 4));
            for (Pointers &set : sets) {
              set["x"] = context.allocate_random(size_t(rows) * f.k * 2, Type::bf16, -1, 1);
              set["experts"] = context.allocate_integers(experts);
              set["weight"] =
                  context.allocate_random(size_t(f.experts) * size_t(each), Type::bf16, -1, 1);
              set["out"] = context.allocate(size_t(rows) * f.out_stride * 2);
            }
            report(context, name, context.time(sets, {rows, 0, 0, 0}), bytes, 0);
            context.release();
          }};
}

Case attention_bench(Sequences s, int past, bool decode, Type kv_type = Type::bf16) {
  const bool codes = kv_type != Type::bf16;
  std::string name = std::string("attention ") + (decode ? "decode " : "prefill ") +
                     (codes ? type_name(kv_type) + " " : "") + std::to_string(s.count) + " × " +
                     std::to_string(s.length + past);
  return {
      name, true, [=](Context &context) {
        Attention f;
        f.heads = 24;
        f.kv_heads = 8;
        f.head_dim = 128;
        f.q_stride = 5120;
        f.out_stride = 3072;
        f.scale = 0.088388f;
        f.decode = decode;
        f.kv_type = kv_type;
        Description description = describe(f, "kernel");
        if (!context.prepare(description))
          return;
        double T = double(s.count) * s.length;
        int context_length = s.length + past, pages = (context_length + 63) / 64;
        const int token_bytes = 2 * 8 * (codes ? 128 + 4 : 2 * 128);
        double kv = double(s.count) * context_length * token_bytes;
        double bytes = kv + T * 2 * 2 * 3072;
        std::vector<Pointers> sets(std::min(sets_for(bytes), 8));
        std::vector<int> tables(size_t(s.count) * pages);
        for (size_t i = 0; i < tables.size(); ++i)
          tables[i] = int(i);
        Random random(4);
        for (size_t i = tables.size(); i > 1; --i)
          std::swap(tables[i - 1], tables[random.next() % i]);
        Pointers common;
        put_batch(context, common, s, past);
        common["block_tables"] = context.allocate_integers(tables);
        for (Pointers &set : sets) {
          set = common;
          set["q"] = context.allocate_random(size_t(T) * 5120 * 2, Type::bf16, -1, 1);
          // Of codes scales, too: bytes of which each four are a positive number.
          set["cache"] =
              codes ? context.allocate_random(tables.size() * 64 * token_bytes, Type::i8, 32, 62)
                    : context.allocate_random(tables.size() * 64 * token_bytes, Type::bf16, -1, 1);
          set["out"] = context.allocate(size_t(T) * 3072 * 2);
          set["workspace"] = context.allocate(size_t(description.workspace_bytes));
        }
        Context::Timing timing = context.time(sets, {int(T), s.count, 0, pages});
        report(context, name, timing, bytes, decode ? bytes / kGoalCopySpeed * 1e6 * 21 / 19.8 : 0);
        if (!decode) {
          double pairs =
              s.count * (double(s.length) * past + double(s.length) * (s.length + 1) / 2);
          std::printf("%-58s %9.0f TFLOP/s\n", "", pairs * 24 * 128 * 4 / timing.median * 1e-6);
        }
        context.release();
      }};
}

/// Logits to sample from: normal ones of a deviation and one far above them; normal ones alone; or
/// such as models give, whose probabilities fall by a power of their rank.
enum class Logits { spread, flat, zipf };

/// Greedy, and at a temperature of 0.75 with top-k and top-p, in blocks of every size that the
/// kernel takes.
Case sample_bench(int rows, int vocabulary, Logits kind) {
  const char *kinds[] = {"", ", flat", ", as models give"};
  const std::string shape =
      std::to_string(rows) + " × " + std::to_string(vocabulary) + kinds[int(kind)];
  return {"sample " + shape, true, [=](Context &context) {
            Sample f;
            f.vocabulary = f.logits_stride = vocabulary;
            const Description greedy = describe(f, "kernel");
            f.random = true;
            const Description random = describe(f, "kernel");
            const bool compiled = !context.prepare(random);
            if (!context.prepare(greedy) || compiled)
              return;
            double bytes = rows * double(vocabulary) * 4;
            Random generator(5);
            std::vector<double> row(vocabulary);
            for (int i = 0; i < vocabulary; ++i)
              row[i] = kind == Logits::zipf ? -1.5 * std::log(1 + int64_t(i) * 7919 % vocabulary)
                                            : (kind == Logits::flat ? 1 : 3) * generator.normal();
            if (kind == Logits::spread)
              row[7] = 15;
            const int likeliest = int(std::max_element(row.begin(), row.end()) - row.begin());
            std::vector<Pointers> sets(sets_for(bytes));
            for (Pointers &set : sets) {
              set["temperature"] = context.allocate_rows({0.75}, rows, Type::f32);
              set["min_p"] = context.allocate_rows({0}, rows, Type::f32);
              set["seed"] = context.allocate_integers(std::vector<int>(2 * rows, 5));
              set["position"] = context.allocate_integers(std::vector<int>(rows, 9));
              set["likeliest"] = context.allocate_integers(std::vector<int>(rows, likeliest));
              set["logits"] = context.allocate_rows(row, rows, Type::f32);
              set["out"] = context.allocate(rows * 4);
            }
            auto time = [&](Description description, const std::string &what) {
              cuda::Kernel &kernel = description.kernels.front();
              for (; kernel.threads <= 1024; kernel.threads *= 2)
                if (context.prepare(description))
                  report(context,
                         "sample " + what + " " + shape + ", " + std::to_string(kernel.threads) +
                             " threads",
                         context.time(sets, {0, 0, rows, 0}), bytes, 0);
            };
            time(greedy, "greedy");
            for (auto [k, p] :
                 {std::pair(0, 1.0), std::pair(0, 0.95), std::pair(50, 1.0), std::pair(50, 0.95)}) {
              for (Pointers &set : sets) {
                set["top_k"] = context.allocate_integers(std::vector<int>(rows, k));
                set["top_p"] = context.allocate_rows({p}, rows, Type::f32);
              }
              time(random,
                   "top-k " + std::to_string(k) + " top-p " + std::to_string(p).substr(0, 4));
            }
            context.release();
          }};
}

} // namespace

std::vector<Case> benchmarks() {
  std::vector<Case> cases;
  const Type f32 = Type::f32, bf16 = Type::bf16;
  // Other shapes (lanes, main warps, helper warps, tile, unroll) than the ones chosen.
  auto shaped = [&](Sequences s, Tuning::ScanShape shape, double goal) {
    cases.push_back(scan_bench(std::to_string(s.count) + " × " + std::to_string(s.length) +
                                   ", shape " + std::to_string(shape.lanes) + " " +
                                   std::to_string(shape.main_warps) + " " +
                                   std::to_string(shape.helper_warps) + " " +
                                   std::to_string(shape.tile) + " " + std::to_string(shape.unroll),
                               s, f32, false, false, 8, goal, shape));
  };
  shaped({1, 2048}, {8, 6, 6, 32, 32}, 55);
  shaped({1, 2048}, {4, 3, 6, 32, 16}, 55);
  shaped({8, 4096}, {4, 4, 4, 16, 8}, 650);
  cases.push_back(scan_bench("1 × 16384", {1, 16384}, f32, false, false, 8, 400));
  cases.push_back(scan_bench("8 × 4096", {8, 4096}, f32, false, false, 8, 650));
  cases.push_back(scan_bench("512, bf16 state", {512, 1}, bf16, true, false, 512, 47));
  cases.push_back(scan_bench("512, f32 state", {512, 1}, f32, true, false, 512, 85));
  cases.push_back(
      scan_bench("512, f32 state, convolution inside", {512, 1}, f32, true, true, 512, 85));
  cases.push_back(
      scan_bench("512, bf16 state, convolution inside", {512, 1}, bf16, true, true, 512, 47));
  cases.push_back(scan_bench("64, f32 state", {64, 1}, f32, true, false, 64, 0));
  cases.push_back(scan_bench("1, f32 state, convolution inside", {1, 1}, f32, true, true, 1, 0));
  cases.push_back(ssd_bench("512, f32 state", {512, 1}, bf16, f32, true, 512, 620));
  cases.push_back(ssd_bench("512, bf16 state", {512, 1}, bf16, bf16, true, 512, 310));
  cases.push_back(ssd_bench("1, f32 state", {1, 1}, bf16, f32, true, 1, 0));
  cases.push_back(ssd_bench("1 × 16384", {1, 16384}, bf16, f32, false, 1, 330));
  cases.push_back(ssd_bench("8 × 4096", {8, 4096}, bf16, f32, false, 8, 600));
  cases.push_back(ssd_bench("1 × 4096 in f32", {1, 4096}, f32, f32, false, 1, 0));
  cases.push_back(delta_bench("1 × 512", {1, 512}, 16, f32, false, 7));
  cases.push_back(delta_bench("1 × 2048", {1, 2048}, 16, f32, false, 24));
  cases.push_back(delta_bench("1 × 16384", {1, 16384}, 16, f32, false, 180));
  cases.push_back(delta_bench("8 × 2048", {8, 2048}, 16, f32, false, 190));
  cases.push_back(delta_bench("32 × 512", {32, 512}, 16, f32, false, 224));
  cases.push_back(delta_bench("1 × 512, 32 heads", {1, 512}, 32, f32, false, 11));
  cases.push_back(delta_bench("1 × 2048, 32 heads", {1, 2048}, 32, f32, false, 36));
  cases.push_back(delta_bench("1 × 16384, 32 heads", {1, 16384}, 32, f32, false, 270));
  cases.push_back(delta_bench("8 × 2048, 32 heads", {8, 2048}, 32, f32, false, 300));
  cases.push_back(delta_bench("32 × 512, 32 heads", {32, 512}, 32, f32, false, 350));
  cases.push_back(delta_bench("512, f32 state", {512, 1}, 16, f32, true, 710));
  cases.push_back(conv_bench("8 × 4096, 3072 channels from 1024", {8, 4096}, 3072, 3, false));
  cases.push_back(conv_bench("8 × 4096, 5120 channels", {8, 4096}, 5120, 1, false));
  for (int length : {512, 2048}) {
    const std::string tokens = "1 × " + std::to_string(length);
    cases.push_back(conv_bench(tokens + ", 3072 channels from 1024", {1, length}, 3072, 3, false));
    cases.push_back(conv_bench(tokens + ", 5120 channels", {1, length}, 5120, 1, false));
    cases.push_back(scan_bench(tokens, {1, length}, f32, false, false, 8, length == 2048 ? 55 : 0));
  }
  cases.push_back(scan_bench("4 × 2048", {4, 2048}, f32, false, false, 8, 0));
  cases.push_back(conv_bench("512 × 1, 5120 channels", {512, 1}, 5120, 1, true));
  cases.push_back(norm_bench(32768));
  cases.push_back(norm_bench(512));
  for (int rows : {1, 8}) {
    cases.push_back(linear_bench(rows, rows, 16384, 3072, bf16));
    cases.push_back(linear_bench(rows, rows, 8192, 3072, bf16, true));
    cases.push_back(linear_bench(rows, rows, 3072, 8192, bf16));
    cases.push_back(linear_bench(rows, rows, 8192, 3072, bf16, true, true));
    cases.push_back(linear_bench(rows, rows, 3072, 8192, bf16, false, true));
    cases.push_back(linear_bench(rows, rows, 8384, 3072, bf16));
    cases.push_back(linear_bench(rows, rows, 8384, 3072, bf16, false, true));
    cases.push_back(linear_bench(rows, rows, 3072, 3072, bf16));
    cases.push_back(linear_bench(rows, rows, 128256, 3072, bf16));
    cases.push_back(linear_bench(rows, rows, 16384, 3072, f32));
    for (auto [weights, group] :
         {std::pair(Type::i8, 0), {Type::i8, 32}, {Type::e4m3, 0}, {Type::i4x2, 32}}) {
      cases.push_back(linear_bench(rows, rows, 8192, 3072, bf16, true, true, weights, group));
      cases.push_back(linear_bench(rows, rows, 3072, 8192, bf16, false, true, weights, group));
      cases.push_back(linear_bench(rows, rows, 8384, 3072, bf16, false, true, weights, group));
      cases.push_back(linear_bench(rows, rows, 3072, 3072, bf16, false, false, weights, group));
    }
  }
  for (int rows : {512, 1024, 2048, 4096, 16384, 32768})
    cases.push_back(gated_product_bench(rows, 8192, 3072));
  for (int rows : {16, 32, 64, 128})
    for (int n : {16384, 8384, 3072})
      cases.push_back(tiled_bench(rows, n, 3072));
  for (int rows : {16, 64})
    cases.push_back(tiled_bench(rows, 3072, 8192));
  for (int rows : {16, 64, 512, 32768}) {
    cases.push_back(quantize_bench(QuantizeRows::Of::rows, rows, 3072));
    cases.push_back(quantize_bench(QuantizeRows::Of::gate, rows, 8192));
    cases.push_back(quantize_bench(QuantizeRows::Of::norm, rows, 3072));
  }
  cases.push_back(dequantize_bench(16384, 3072));
  cases.push_back(dequantize_bench(16384, 3072, 32));
  cases.push_back(dequantize_bench(16384, 3072, 32, Type::i4x2));
  for (int rows : {16, 32})
    for (auto [n, k] : {std::pair(16384, 3072), std::pair(8384, 3072), std::pair(3072, 8192)})
      for (Type weights : {Type::i8, Type::i4x2})
        cases.push_back(linear_bench(rows, rows, n, k, bf16, false, false, weights, 32));
  cases.push_back(expert_bench(1, true));
  cases.push_back(expert_bench(8, true));
  for (int rows : {8, 64, 512, 4096})
    cases.push_back(expert_bench(rows, false));
  cases.push_back(attention_bench({1, 1}, 255, true));
  cases.push_back(attention_bench({1, 1}, 16639, true));
  cases.push_back(attention_bench({8, 1}, 2303, true));
  cases.push_back(attention_bench({64, 1}, 2303, true));
  cases.push_back(attention_bench({512, 1}, 255, true));
  for (Type kv_type : {Type::bf16, Type::i8, Type::e4m3})
    cases.push_back(attention_bench({512, 1}, 2303, true, kv_type));
  cases.push_back(attention_bench({128, 1}, 16639, true));
  cases.push_back(attention_bench({8, 4096}, 0, false));
  cases.push_back(attention_bench({1, 2048}, 14336, false));
  for (int rows : {8, 64, 512}) {
    cases.push_back(sample_bench(rows, 128256, Logits::spread));
    cases.push_back(sample_bench(rows, 128256, Logits::flat));
    cases.push_back(sample_bench(rows, 128256, Logits::zipf));
  }
  for (int vocabulary : {4096, 32000, 151936})
    cases.push_back(sample_bench(512, vocabulary, Logits::spread));
  return cases;
}

} // namespace m1k::test
