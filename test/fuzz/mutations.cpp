// A fuzz target where there is no libFuzzer for it: its seeds, and mutants of them, the same in
// every run of one seed. It sees less than the fuzzer, which follows the code that it reaches.
//
// Usage: mutate-NAME RUNS SEED LENGTH DICTIONARY SEEDS...   (files, or directories of them)
#include "fuzz.h"
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/// The target's own, where it has one.
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size,
                                                                size_t largest, unsigned seed);

namespace {

std::string read(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The words of libFuzzer's dictionary: "text", with \\, \" and \xAB.
std::vector<std::string> readDictionary(const std::string &path) {
  std::vector<std::string> words;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t begin = line.find('"'), end = line.rfind('"');
    if (line.empty() || line[0] == '#' || begin == std::string::npos || end <= begin)
      continue;
    std::string word;
    for (size_t i = begin + 1; i < end; ++i) {
      if (line[i] != '\\') {
        word += line[i];
      } else if (line[++i] == 'x') {
        word += char(std::stoi(line.substr(i + 1, 2), nullptr, 16));
        i += 2;
      } else {
        word += line[i];
      }
    }
    words.push_back(word);
  }
  return words;
}

class Mutator {
public:
  Mutator(std::vector<std::string> seeds, std::vector<std::string> words, uint64_t seed,
          size_t length)
      : seeds(std::move(seeds)), words(std::move(words)), random(seed), length(length) {}

  std::string next() {
    std::string text = pick(seeds);
    for (size_t count = 1 + below(4); count > 0; --count)
      if (LLVMFuzzerCustomMutator && below(2))
        mutateAsTarget(text);
      else
        mutate(text);
    text.resize(std::min(text.size(), length));
    return text;
  }

  void mutate(std::string &text) {
    const size_t at = below(text.size() + 1), span = below(std::min<size_t>(40, text.size() - at));
    switch (below(8)) {
    case 0: // a bit
      if (at < text.size())
        text[at] = char(text[at] ^ 1 << below(8));
      break;
    case 1: // a byte
      if (at < text.size())
        text[at] = char(below(256));
      break;
    case 2: // a number of 8 bytes, often at its limits
      for (size_t i = 0; i < 8 && at + i < text.size(); ++i)
        text[at + i] = char(below(3) ? 0xff * below(2) : below(256));
      break;
    case 3:
      text.erase(at, span);
      break;
    case 4:
      text.insert(at, text.substr(below(text.size() + 1), span));
      break;
    case 5:
      if (!words.empty())
        text.replace(at, below(2) ? span : 0, pick(words));
      break;
    case 6: // a number in text
      if (const size_t digit = text.find_first_of("0123456789", at); digit != std::string::npos) {
        static const char *const numbers[] = {
            "0", "1",   "-1",   "2147483648", "4294967296", "1e99", "9223372036854775807",
            "7", "1.5", "65536"};
        const size_t end = text.find_first_not_of("0123456789", digit);
        text.replace(digit, end == std::string::npos ? end : end - digit,
                     numbers[below(std::size(numbers))]);
      }
      break;
    case 7: { // the end of another one
      const std::string &other = pick(seeds);
      text = text.substr(0, at) + other.substr(std::min(at, other.size()));
      break;
    }
    }
  }

private:
  size_t below(size_t bound) { return bound ? random() % bound : 0; }
  const std::string &pick(const std::vector<std::string> &list) { return list[below(list.size())]; }
  void mutateAsTarget(std::string &text) {
    const size_t size = text.size();
    text.resize(std::max(size, length));
    text.resize(LLVMFuzzerCustomMutator(reinterpret_cast<uint8_t *>(text.data()), size, text.size(),
                                        unsigned(random())));
  }

  const std::vector<std::string> seeds, words;
  std::mt19937_64 random;
  const size_t length;
};

Mutator *mutator = nullptr;

} // namespace

/// What libFuzzer gives to mutators of targets.
extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t largest) {
  std::string text(fuzz::text(data, size));
  mutator->mutate(text);
  text.resize(std::min(text.size(), largest));
  std::copy(text.begin(), text.end(), data);
  return text.size();
}

int main(int argc, char **argv) {
  if (argc < 6)
    return 2;
  std::vector<std::filesystem::path> files;
  for (int i = 5; i < argc; ++i)
    if (std::filesystem::is_directory(argv[i]))
      for (const auto &entry : std::filesystem::directory_iterator(argv[i]))
        files.push_back(entry.path());
    else
      files.push_back(argv[i]);
  std::sort(files.begin(), files.end());
  std::vector<std::string> seeds;
  for (const auto &path : files)
    seeds.push_back(read(path));
  FUZZ_CHECK(!seeds.empty());
  auto run = [](const std::string &text) {
    alarm(20); // a hang ends the program
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(text.data()), text.size());
  };
  for (const std::string &text : seeds)
    run(text);
  Mutator made(seeds, readDictionary(argv[4]), std::stoull(argv[2]), std::stoull(argv[3]));
  mutator = &made;
  const uint64_t runs = std::stoull(argv[1]);
  const std::string last =
      std::filesystem::temp_directory_path() / ("m1-mutant-" + std::to_string(getpid()));
  for (uint64_t i = 0; i < runs; ++i) {
    const std::string text = mutator->next();
    std::ofstream(last, std::ios::binary) << text; // stays where the program dies
    run(text);
  }
  std::filesystem::remove(last);
  std::printf("%llu mutants of %zu seeds\n", (unsigned long long)runs, seeds.size());
  return 0;
}
