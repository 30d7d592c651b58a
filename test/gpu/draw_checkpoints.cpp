// Writes COUNT random checkpoints to DIR/SEED, DIR/SEED+1, … and prints what was drawn. usage:
// draw_checkpoints DIR SEED COUNT
#include "RandomCheckpoint.h"
#include <cstdio>
#include <cstdlib>
#include <filesystem>

int main(int argc, char **argv) {
  if (argc != 4)
    return std::fprintf(stderr, "usage: draw_checkpoints DIR SEED COUNT\n"), 2;
  const uint64_t first = std::strtoull(argv[2], nullptr, 10),
                 count = std::strtoull(argv[3], nullptr, 10);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const std::string directory = std::string(argv[1]) + "/" + std::to_string(seed);
    std::filesystem::create_directories(directory);
    m1test::Checkpoint checkpoint = m1test::drawCheckpoint(seed);
    checkpoint.write(directory);
    std::printf("%llu: %s\n", (unsigned long long)seed, checkpoint.describe().c_str());
  }
  return 0;
}
