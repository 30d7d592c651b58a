// Writes COUNT random checkpoints to DIR/SEED, DIR/SEED+1, … and FAMILY_COUNT of each of the
// families to DIR/FAMILY-SEED, …, and prints what was drawn. usage: draw_checkpoints DIR SEED COUNT
// [FAMILY_COUNT FAMILY...]
#include "RandomCheckpoint.h"
#include "RandomFamily.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

int main(int argc, char **argv) {
  if (argc < 4)
    return std::fprintf(stderr,
                        "usage: draw_checkpoints DIR SEED COUNT [FAMILY_COUNT FAMILY...]\n"),
           2;
  const uint64_t first = std::strtoull(argv[2], nullptr, 10),
                 count = std::strtoull(argv[3], nullptr, 10),
                 familyCount = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const std::string directory = std::string(argv[1]) + "/" + std::to_string(seed);
    std::filesystem::create_directories(directory);
    m1test::Checkpoint checkpoint = m1test::drawCheckpoint(seed);
    checkpoint.write(directory);
    std::printf("%llu: %s\n", (unsigned long long)seed, checkpoint.describe().c_str());
  }
  for (int i = 5; i < argc; ++i) {
    const std::string family = argv[i];
    const auto &names = m1test::familyNames();
    if (std::find(names.begin(), names.end(), family) == names.end())
      return std::fprintf(stderr, "draw_checkpoints: unknown family '%s'\n", argv[i]), 2;
    for (uint64_t seed = first; seed < first + familyCount; ++seed) {
      const std::string name = family + "-" + std::to_string(seed);
      std::filesystem::create_directories(std::string(argv[1]) + "/" + name);
      m1test::FamilyCheckpoint checkpoint = m1test::drawFamily(family, seed);
      checkpoint.write(std::string(argv[1]) + "/" + name);
      std::printf("%s: %s\n", name.c_str(), checkpoint.config.dump().c_str());
    }
  }
  return 0;
}
