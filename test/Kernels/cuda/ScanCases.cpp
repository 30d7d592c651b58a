// Scans of prompts, over the sizes that break kernels: lengths 1, odd, longer than tiles, chunked
// against whole, strided rows at odd offsets, N, widths and heads of every divisibility, large
// decay.
#include "ScanProblem.h"

namespace m1k::test {

// Three chunks of a sequence give what the whole gives, to the tolerance of one run.
static Case chunked_case(bool smoke, ScanProblem p, int length, int cut1, int cut2,
                         double extra = 0) {
  std::string name = std::string(p.headwise ? "ssd_" : "selective_") + "scan chunked = whole " +
                     type_name(p.x_type) + " C" + std::to_string(p.channels) + " N" +
                     std::to_string(p.states);
  return {name, smoke, [=](Context &context) mutable {
            p.batch = make_batch({length}, {0});
            cuda::Description description = p.headwise ? cuda::describe(mamba2(p, false), "kernel")
                                                       : cuda::describe(mamba1(p, false), "kernel");
            if (!context.prepare(description))
              return;
            p.fill(11);
            std::vector<double> y, end, window, y32, end32;
            p.evaluate<double>(y, end, window);
            p.evaluate<float>(y32, end32, window);
            std::vector<double> joined;
            int cuts[] = {0, cut1, cut2, length};
            p.put(context);
            context.upload();
            for (int i = 0; i < 3; ++i) {
              ScanProblem part = p;
              part.batch = make_batch({cuts[i + 1] - cuts[i]}, {cuts[i]});
              part.batch.slots = p.batch.slots;
              part.batch.slot_count = p.batch.slot_count;
              auto piece = [&](const std::vector<double> &v, int columns) {
                return std::vector<double>(v.begin() + size_t(cuts[i]) * columns,
                                           v.begin() + size_t(cuts[i + 1]) * columns);
              };
              part.x = piece(p.x, p.x_columns);
              part.dt = piece(p.dt, p.dt_columns());
              part.b = piece(p.b, p.b_columns());
              part.c = piece(p.c, p.c_columns());
              part.z = piece(p.z, p.channels);
              std::vector<char> state = context.read_raw("state");
              context.clear();
              part.put(context);
              context.raw("state", state);
              context.upload();
              part.launch(context);
              std::vector<double> rows = context.read("out", p.out_type);
              joined.insert(joined.end(), rows.begin(), rows.end());
            }
            context.compare("out", joined, y,
                            tolerance(p.out_type, relative_error(y32, y)) + extra);
            context.compare("state", context.read("state", p.state_type), end,
                            3 * tolerance(p.state_type, relative_error(end32, end)) + extra);
          }};
}

std::vector<Case> scan_cases() {
  std::vector<Case> cases;
  const std::vector<int> ragged = {1, 37, 64, 3, 0, 130}, past = {5, 0, 9, 0, 4, 64};
  const Type f32 = Type::f32, bf16 = Type::bf16, f16 = Type::f16;
  auto scan = [&](const std::string &label, bool smoke, const ScanProblem &p,
                  int expected_sequences = 8, double extra = 0) {
    cases.push_back(
        scan_case(label, smoke, p, ragged, past, /*decode=*/false, expected_sequences, extra));
  };
  // M1's proportions in small, in every type and both places of the repetition.
  scan("ragged", true, problem1(bf16, f32, 96, 3, 16, false));
  scan("ragged", true, problem1(f32, f32, 96, 3, 16, true));
  scan("few sequences", false, problem1(bf16, bf16, 96, 3, 16, true), 1);
  scan("f16 state", false, problem1(bf16, f16, 64, 1, 16, false), 512);
  // Sizes that divide nothing: N odd, one head, more lanes than channels, a state count at the
  // limit.
  scan("odd", true, problem1(f32, f32, 45, 3, 15, true));
  scan("odd", false, problem1(bf16, f32, 35, 1, 7, false), 1);
  scan("N 1", false, problem1(bf16, f32, 40, 2, 1, true));
  scan("N 24", false, problem1(bf16, f32, 144, 3, 24, false), 512);
  scan("N 64", false, problem1(f32, f32, 128, 2, 64, false));
  scan("N 128", false, problem1(bf16, f32, 256, 2, 128, true));
  cases.push_back(
      scan_case("N 256", false, problem1(f32, f32, 256, 1, 256, false), {1, 40}, {3, 0}, false));
  {
    // Columns of a wider row, at an offset that is not a multiple of 16 bytes: the slow path of the
    // copies.
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, false);
    p.offset = 3;
    p.padding = 5;
    scan("misaligned", true, p);
    p.offset = 8;
    p.padding = 24;
    scan("strided", false, p);
    p = problem1(bf16, f32, 96, 3, 16, false);
    p.dt_type = f32;
    p.has_d = p.has_z = p.has_dt_bias = false;
    scan("bare, f32 dt", false, p);
    p = problem1(f32, f32, 96, 3, 16, false);
    p.decay = 60;
    scan("large decay", false, p);
  }
  cases.push_back(chunked_case(true, problem1(f32, f32, 96, 3, 16, false), 150, 1, 77));
  cases.push_back(chunked_case(false, problem1(bf16, f32, 96, 3, 16, true), 150, 64, 67));

  for (Type type : {f32, bf16}) {
    cases.push_back(
        overflow_case(type == bf16, problem1(type, f16, 96, 3, 16, false), ragged, past, false));
    cases.push_back(overflow_case(false, problem2(type, f16, 6, 3, 64, 64), ragged, past, false));
  }

  // Mamba-2 in f32 and odd sizes (the kernel without tensor cores), then bf16 on tensor cores.
  scan("ragged", true, problem2(f32, f32, 6, 3, 16, 16));
  scan("ragged", false, problem2(f32, f32, 4, 2, 128, 128));
  scan("odd", false, problem2(bf16, f32, 3, 3, 20, 12));
  cases.push_back(chunked_case(false, problem2(f32, f32, 6, 3, 32, 32), 150, 1, 77));
  // 6e-3: x·Δ·decay, the masked products and the carried state are rounded to bf16 before they meet
  // in a product.
  for (int n : {128, 64, 32, 16})
    scan("ragged", n == 128, problem2(bf16, f32, 6, 3, n, n), 8, 6e-3);
  {
    ScanProblem p = problem2(bf16, bf16, 6, 3, 64, 128);
    p.offset = 8;
    p.padding = 8;
    scan("strided", false, p, 1, 6e-3);
    p = problem2(bf16, f32, 2, 1, 128, 64);
    p.dt_type = f32;
    p.has_d = p.has_dt_bias = false;
    scan("bare", false, p, 1, 6e-3);
    p = problem2(bf16, f32, 6, 3, 128, 128);
    p.offset = 3;
    p.padding = 5;
    scan("misaligned", false, p, 8, 6e-3);
    p = problem2(bf16, f32, 2, 1, 64, 64);
    p.decay = 60;
    scan("large decay", false, p, 8, 6e-3);
  }
  // Sequences over several segments, some begun in an earlier step, and many within one segment.
  cases.push_back(scan_case("segments", true, problem2(bf16, f32, 3, 3, 32, 32),
                            {700, 2500, 3, 0, 1100, 40}, {9, 64, 0, 0, 0, 5}, false, 8, 6e-3));
  cases.push_back(scan_case("segments", false, problem2(bf16, bf16, 2, 1, 64, 64), {1024, 2048, 1},
                            {7, 3, 2}, false, 8, 6e-3));
  {
    ScanProblem p = problem2(bf16, f32, 2, 1, 16, 48);
    p.decay = 0.02;
    cases.push_back(scan_case("segments, slow decay", false, p, {3000, 1}, {5, 0}, false, 8, 6e-3));
  }
  cases.push_back(chunked_case(false, problem2(bf16, f32, 6, 3, 128, 128), 200, 1, 77, 6e-3));

  // Mamba's and Mamba-2's own heads of B and C: one, or some that no power of two counts; head
  // sizes that are not the state's.
  scan("one B and C", true, grouped1(bf16, f32, 96, 1, 16));
  scan("one B and C", false, grouped1(f32, f32, 70, 1, 16), 512);
  scan("groups", false, grouped1(bf16, f32, 84, 3, 8));
  {
    ScanProblem p = grouped1(f32, f32, 120, 4, 16);
    p.c_heads = 6;
    scan("4 of B, 6 of C", false, p);
  }
  scan("groups", true, grouped2(bf16, f32, 8, 2, 64, 128), 8, 6e-3);
  scan("groups", false, grouped2(bf16, bf16, 6, 3, 80, 32), 8, 6e-3);
  scan("one head", false, grouped2(bf16, f32, 1, 1, 64, 256), 8, 6e-3);
  scan("groups", true, grouped2(f32, f32, 6, 3, 20, 12));
  scan("groups", false, grouped2(f32, f32, 8, 1, 64, 128));
  cases.push_back(scan_case("groups, segments", false, grouped2(bf16, f32, 4, 2, 32, 64),
                            {700, 2500, 3, 0, 1100, 40}, {9, 64, 0, 0, 0, 5}, false, 8, 6e-3));
  cases.push_back(chunked_case(false, grouped1(bf16, f32, 96, 1, 16), 150, 64, 67));
  cases.push_back(chunked_case(false, grouped2(bf16, f32, 4, 1, 64, 128), 200, 1, 77, 6e-3));
  // Every operand of a type of its own.
  {
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, true);
    p.dt_type = p.c_type = p.out_type = f32;
    scan("mixed types", true, p);
    p.offset = 3;
    p.padding = 5;
    scan("mixed types", false, p);
    p = problem1(f32, f32, 96, 3, 16, false);
    p.b_type = p.z_type = p.out_type = bf16;
    scan("mixed types", false, p, 1);
    p = grouped2(bf16, f32, 4, 2, 64, 64);
    p.out_type = p.b_type = f32;
    scan("mixed types", true, p);
  }
  return cases;
}

} // namespace m1k::test
