// m1-kernel-test: --compile DIR [--arch sm_90a] here, --run DIR or --bench DIR on the machine with
// the GPU.
#include "Harness.h"

#include <cstdio>
#include <cstring>
#include <sys/stat.h>

using namespace m1k::test;

int main(int argc, char **argv) {
  std::string directory, architecture = "sm_90a", filter;
  bool smoke = false, have_mode = false, with_benchmarks = true;
  Mode mode = Mode::compile;
  for (int i = 1; i < argc; ++i) {
    auto value = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (!std::strcmp(argv[i], "--compile"))
      mode = Mode::compile, have_mode = true, directory = value();
    else if (!std::strcmp(argv[i], "--run"))
      mode = Mode::run, have_mode = true, directory = value();
    else if (!std::strcmp(argv[i], "--bench"))
      mode = Mode::bench, have_mode = true, directory = value();
    else if (!std::strcmp(argv[i], "--arch"))
      architecture = value();
    else if (!std::strcmp(argv[i], "--filter"))
      filter = value();
    else if (!std::strcmp(argv[i], "--smoke"))
      smoke = true;
    else if (!std::strcmp(argv[i], "--tests-only"))
      with_benchmarks = false;
    else
      have_mode = false, i = argc;
  }
  if (!have_mode || directory.empty()) {
    std::fprintf(
        stderr, "usage: m1-kernel-test (--compile | --run | --bench) DIR [--arch sm_90a] [--filter "
                "TEXT] [--smoke] [--tests-only]\n");
    return 64;
  }
  mkdir(directory.c_str(), 0777);
  Context context(mode, directory, architecture);
  std::vector<Case> cases;
  auto append = [&](std::vector<Case> more) {
    cases.insert(cases.end(), more.begin(), more.end());
  };
  if (mode != Mode::bench) {
    append(scan_cases());
    append(update_cases());
    append(convolution_cases());
    append(norm_cases());
    append(dense_cases());
    append(linear_cases());
    append(chain_cases());
    append(product_cases());
    append(delta_cases());
    append(expert_cases());
  }
  if (mode == Mode::bench || (mode == Mode::compile && with_benchmarks && !smoke))
    append(benchmarks());
  if (mode == Mode::bench)
    std::printf("device copy: %.2f TB/s, read and written\n%-58s %9s %9s %9s %9s %9s %6s %9s\n",
                context.copy_speed() * 1e-12, "kernel", "us", "low", "high", "MB", "floor us",
                "share", "goal us");
  for (const Case &test : cases) {
    if ((smoke && !test.smoke) || test.name.find(filter) == std::string::npos)
      continue;
    context.begin(test.name);
    test.body(context);
    context.end();
  }
  std::printf("%d passed, %d failed\n", context.passed, context.failed);
  return context.failed ? 1 : 0;
}
