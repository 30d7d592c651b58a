// Updates of states by one token of each sequence, alone and with what they do for neighbours where
// sequences are few: convolution, dt's projection, norms, gate.
#include "ScanProblem.h"

namespace m1k::test {

std::vector<Case> update_cases() {
  std::vector<Case> cases;
  const std::vector<int> ones(9, 1), decoded = {4, 0, 7, 1, 90, 0, 3, 2, 1};
  const Type f32 = Type::f32, bf16 = Type::bf16, f16 = Type::f16;
  auto update = [&](const std::string &label, bool smoke, const ScanProblem &p,
                    int expected_sequences = 8) {
    cases.push_back(scan_case(label, smoke, p, ones, decoded, /*decode=*/true, expected_sequences));
  };
  update("", true, problem1(bf16, f32, 96, 3, 16, false));
  update("many", false, problem1(bf16, bf16, 96, 3, 16, true), 4096);
  update("", true, problem1(f32, f32, 45, 3, 15, true), 4096);
  update("", false, problem1(bf16, f16, 96, 3, 16, false));
  update("", false, problem1(f32, bf16, 256, 1, 256, false), 4096);
  update("", false, problem1(bf16, f32, 250, 1, 250, false));
  for (int width : {4, 1, 2, 7}) {
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, true);
    p.conv = true;
    p.conv_width = width;
    p.conv_channels = 96;
    update("", width == 4, p);
  }
  {
    ScanProblem p = problem1(f32, f32, 45, 3, 15, true);
    p.conv = true;
    p.conv_channels = 15;
    p.offset = 1;
    update("", true, p, 4096);
    p = problem1(bf16, bf16, 384, 3, 16, true);
    p.conv = true;
    p.conv_channels = 384;
    cases.push_back(
        scan_case("", false, p, std::vector<int>(70, 1), std::vector<int>(70, 3), true, 512));
  }

  for (Type type : {f32, bf16}) {
    cases.push_back(
        overflow_case(type == bf16, problem1(type, f16, 96, 3, 16, false), ones, decoded, true));
    cases.push_back(
        overflow_case(type == bf16, problem2(type, f16, 6, 3, 64, 64), ones, decoded, true));
  }

  // With what they do for neighbours where sequences are few: dt's projection, from bf16 and f32,
  // of ranks that are no whole vectors and rows at odd offsets; norms of the inputs.
  {
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, true);
    p.conv = p.few = true;
    p.conv_channels = 96;
    p.dt_rank = 192;
    update("few", true, p);
    p.dt_rank = 36;
    p.offset = 3;
    p.padding = 5;
    update("few, misaligned", true, p);
    p = problem1(f32, f32, 45, 3, 15, true);
    p.conv = p.few = true;
    p.conv_channels = 15;
    p.dt_rank = 3;
    p.dt_w_type = f32;
    update("few", true, p);
    p = grouped1(bf16, f32, 96, 1, 16);
    p.few = true;
    p.dt_rank = 160;
    update("few", false, p);
    p.input_norms = 1;
    update("few, norms", true, p);
    p = grouped1(f32, bf16, 70, 1, 7);
    p.few = true;
    p.input_norms = 2;
    p.dt_rank = 256;
    p.dt_type = bf16;
    update("few, norms with weights", true, p);
    p = grouped1(bf16, f32, 40, 1, 5);
    p.few = true;
    p.input_norms = 2;
    p.dt_rank = 9;
    p.dt_w_type = f32;
    update("few, mixed types", false, p);
  }
  update("", true, problem2(bf16, f32, 6, 3, 128, 128));
  update("", false, problem2(bf16, bf16, 6, 3, 128, 128), 512);
  update("", false, problem2(f32, f32, 3, 3, 20, 12));
  // Other numbers of heads of B and C.
  {
    ScanProblem p = grouped1(f32, f32, 120, 4, 16);
    p.c_heads = 6;
    update("4 of B, 6 of C", false, p);
    p = grouped1(bf16, f32, 96, 1, 16);
    p.conv = true;
    p.conv_channels = 96;
    update("one B and C", true, p);
  }
  update("one B and C", true, grouped1(f32, bf16, 70, 1, 16), 4096);
  update("groups", true, grouped2(bf16, f32, 8, 2, 64, 128));
  update("groups", false, grouped2(bf16, bf16, 6, 3, 80, 32), 512);
  update("one head", false, grouped2(f32, f32, 1, 1, 20, 12));
  // Mamba-2 with the convolution of all inputs, the gate and a norm: B and C of all channels or of
  // groups, of as many blocks; x and B that repeat; norms of all, of a block's channels, of none.
  auto wide = [&](const std::string &label, bool smoke, ScanProblem p, int norm_groups) {
    p.conv = p.few = p.wide = p.has_z = true;
    p.conv_channels = p.inputs();
    p.norm_groups = norm_groups;
    update("few, " + label, smoke, p);
  };
  wide("norm of all", true, grouped2(bf16, f32, 8, 1, 64, 128), 1);
  wide("norm of all", true, grouped2(f32, f32, 6, 3, 20, 12), 1);
  wide("groups", false, grouped2(bf16, bf16, 6, 3, 80, 32), 0);
  wide("norms of heads", true, problem2(bf16, f32, 6, 3, 128, 128), 6);
  wide("norms of heads", false, problem2(f32, f32, 6, 3, 20, 12), 6);
  wide("x repeated", true, problem2(bf16, f32, 6, 3, 64, 32), 0);
  wide("one head", false, grouped2(f32, f32, 1, 1, 20, 12), 1);
  {
    ScanProblem p = grouped2(bf16, f32, 4, 2, 64, 64);
    p.out_type = p.dt_type = p.z_type = p.window_type = f32;
    p.offset = 3;
    p.padding = 5;
    p.conv_width = 2;
    wide("mixed types, misaligned", true, p, 1);
    p.conv_width = 3;
    p.c_heads = 4;
    wide("2 of B, 4 of C", false, p, 4);
  }
  // Every operand of a type of its own.
  {
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, true);
    p.dt_type = p.c_type = p.out_type = f32;
    update("mixed types", false, p);
    p.conv = true;
    p.conv_channels = 96;
    p.window_type = f32;
    update("mixed types", true, p);
    p = grouped2(bf16, f32, 4, 2, 64, 64);
    p.out_type = p.b_type = f32;
    update("mixed types", false, p);
  }
  return cases;
}

} // namespace m1k::test
