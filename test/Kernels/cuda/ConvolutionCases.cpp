// Convolutions of prompts and of steps, with their states.
#include "Harness.h"

namespace m1k::test {
namespace {

using namespace cuda;

struct ConvTypes {
  ConvTypes(Type type) : x(type), state(type), out(type) {}
  ConvTypes(Type x, Type state, Type out) : x(x), state(state), out(out) {}
  Type x, state, out;
};

Case conv_case(const std::string &label, bool smoke, ConvTypes types, int channels, int width,
               int repeat, int head_size, bool has_bias, int padding, int offset,
               const std::vector<int> &lengths, const std::vector<int> &past, bool decode,
               int multiprocessors = 132) {
  std::string name = "causal_conv1d " + label + " " + type_name(types.x) + " C" +
                     std::to_string(channels) + " width " + std::to_string(width) + " repeat " +
                     std::to_string(repeat);
  return {name, smoke, [=](Context &context) {
            CausalConv1d f;
            int sources = channels / repeat, taps = width - 1;
            f.x_type = types.x;
            f.state_type = types.state;
            f.out_type = types.out;
            f.channels = channels;
            f.width = width;
            f.repeat = repeat;
            f.head_size = head_size;
            f.x_stride = sources + offset + padding;
            f.out_stride = channels + offset + padding;
            f.has_bias = has_bias;
            f.decode = decode;
            Tuning tuning;
            tuning.multiprocessors = multiprocessors;
            if (!context.prepare(describe(f, "kernel", tuning)))
              return;
            Batch batch = make_batch(lengths, past);
            Random random(5);
            int T = batch.tokens;
            std::vector<double> x = random_values(random, size_t(T) * sources, -2, 2, types.x);
            std::vector<double> w =
                random_values(random, size_t(channels) * width, -0.7, 0.7, Type::f32);
            std::vector<double> bias = random_values(random, channels, -0.5, 0.5, Type::f32);
            std::vector<double> state = random_values(
                random, size_t(batch.slot_count) * taps * sources, -2, 2, types.state);
            context.values("x", in_rows(x, T, sources, int(f.x_stride), offset), types.x);
            context.values("weight", w, Type::f32);
            context.values("bias", bias, Type::f32);
            context.values("state", state, types.state);
            context.poison("out", size_t(T) * f.out_stride * size_of(types.out));
            put_batch(context, batch);
            context.upload();
            context.shift("x", offset * size_of(types.x));
            context.shift("out", offset * size_of(types.out));
            context.launch({batch.tokens, batch.sequences, 0, 0});

            std::vector<double> y(size_t(T) * channels), end = state;
            for (int s = 0; s < batch.sequences; ++s) {
              int start = batch.starts[s], stop = batch.starts[s + 1];
              if (start == stop)
                continue;
              bool fresh = batch.positions[start] == 0;
              const double *old = state.data() + size_t(batch.slots[s]) * taps * sources;
              // token relative to the sequence's start in this step
              auto at = [&](int token, int source) {
                if (token >= 0)
                  return x[size_t(start + token) * sources + source];
                return fresh ? 0.0 : old[size_t(taps + token) * sources + source];
              };
              for (int t = 0; t < stop - start; ++t)
                for (int c = 0; c < channels; ++c) {
                  int source = c / (head_size * repeat) * head_size + c % head_size;
                  double sum = has_bias ? bias[c] : 0;
                  for (int k = 0; k < width; ++k)
                    sum += w[c * width + k] * at(t - taps + k, source);
                  y[size_t(start + t) * channels + c] = silu(sum);
                }
              for (int k = 0; k < taps; ++k)
                for (int c = 0; c < sources; ++c)
                  end[(size_t(batch.slots[s]) * taps + k) * sources + c] =
                      rounded(at(stop - start - taps + k, c), types.state);
            }
            std::vector<double> rows = context.read("out", types.out);
            std::vector<double> actual(size_t(T) * channels);
            for (int t = 0; t < T; ++t)
              for (int c = 0; c < channels; ++c)
                actual[size_t(t) * channels + c] = rows[size_t(t) * f.out_stride + offset + c];
            context.compare("out", actual, y, tolerance(types.out, 1e-7));
            if (taps > 0)
              context.compare("state", context.read("state", types.state), end, 1e-7);
          }};
}

} // namespace

std::vector<Case> convolution_cases() {
  std::vector<Case> cases;
  const std::vector<int> ones(9, 1), decoded = {4, 0, 7, 1, 90, 0, 3, 2, 1};
  const Type f32 = Type::f32, bf16 = Type::bf16;
  // Sequences that begin at a tile's last token, are shorter than the window, or both.
  const std::vector<int> awkward = {15, 5, 1, 2, 9, 3, 70, 0, 1, 40},
                         seen = {0, 3, 0, 7, 1, 0, 2, 5, 9, 0};
  cases.push_back(conv_case("ragged", true, bf16, 96, 4, 1, 1, true, 0, 0, awkward, seen, false));
  cases.push_back(conv_case("ragged", true, f32, 96, 4, 3, 16, true, 0, 0, awkward, seen, false));
  cases.push_back(
      conv_case("ragged", false, bf16, 192, 4, 3, 16, false, 8, 8, awkward, seen, false));
  cases.push_back(
      conv_case("misaligned", true, bf16, 45, 3, 3, 5, true, 2, 1, awkward, seen, false));
  cases.push_back(
      conv_case("ragged", false, bf16, 1536, 8, 1, 1, true, 0, 0, awkward, seen, false));
  cases.push_back(conv_case("ragged", false, f32, 40, 1, 2, 20, true, 0, 0, awkward, seen, false));
  cases.push_back(conv_case("ragged", false, bf16, 64, 16, 1, 1, true, 0, 0, awkward, seen, false));
  // So many tokens for one multiprocessor that tiles are twice and four times as long.
  cases.push_back(conv_case("long tiles", true, bf16, 96, 4, 3, 16, true, 0, 0, {1000, 3, 200},
                            {0, 7, 1}, false, 1));
  cases.push_back(conv_case("long tiles", false, f32, 96, 4, 1, 1, true, 0, 0, {1500, 2, 700},
                            {5, 0, 1}, false, 1));
  cases.push_back(conv_case("decode", true, bf16, 96, 4, 3, 16, true, 0, 0, ones, decoded, true));
  cases.push_back(conv_case("mixed types", true, ConvTypes(bf16, f32, f32), 96, 4, 1, 1, true, 0, 0,
                            awkward, seen, false));
  cases.push_back(conv_case("mixed types", false, ConvTypes(f32, bf16, bf16), 90, 3, 3, 6, true, 2,
                            1, awkward, seen, false));
  cases.push_back(conv_case("decode, mixed types", false, ConvTypes(f32, bf16, f32), 96, 4, 1, 1,
                            true, 0, 0, ones, decoded, true));
  cases.push_back(
      conv_case("decode", false, bf16, 1280, 4, 1, 1, true, 16, 0, ones, decoded, true));
  return cases;
}

} // namespace m1k::test
