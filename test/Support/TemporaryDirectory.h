// A directory that is removed, with all that is in it, at the end of its scope.
#ifndef M1_TEST_SUPPORT_TEMPORARYDIRECTORY_H
#define M1_TEST_SUPPORT_TEMPORARYDIRECTORY_H

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace m1test {

class TemporaryDirectory {
public:
  TemporaryDirectory() : path(std::filesystem::temp_directory_path() / "m1-test-XXXXXX") {
    if (mkdtemp(path.data()))
      return;
    std::perror(path.c_str());
    std::abort();
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory &) = delete;
  TemporaryDirectory &operator=(const TemporaryDirectory &) = delete;

  std::string operator/(const std::string &name) const { return path + "/" + name; }
  /// A file in it; its path.
  std::string write(const std::string &name, std::string_view content) const {
    std::ofstream(*this / name, std::ios::binary) << content;
    return *this / name;
  }

  std::string path;
};

} // namespace m1test

#endif
