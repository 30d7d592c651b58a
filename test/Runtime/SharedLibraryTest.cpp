// Libraries that cannot be loaded.
#include "base/shared_library.h"
#include "gtest/gtest.h"
#include <cstdio>
#include <unistd.h>

using namespace m1rt;

// One that is missing is listed, one that is there and cannot be loaded is listed with the reason.
TEST(SharedLibrary, SaysWhyItCannotBeLoaded) {
  const std::string path = testing::TempDir() + "m1-library-" + std::to_string(getpid()) + ".so";
  std::FILE *file = std::fopen(path.c_str(), "wb");
  ASSERT_TRUE(file);
  EXPECT_EQ(std::fwrite("no library", 1, 10, file), 10u);
  EXPECT_EQ(std::fclose(file), 0);
  std::string tried;
  EXPECT_EQ(openSharedLibrary("/nonexistent/libabsent.so.1", &tried), nullptr);
  EXPECT_EQ(tried, "/nonexistent/libabsent.so.1");
  EXPECT_EQ(openSharedLibrary(path, &tried), nullptr);
  const std::string begin = "/nonexistent/libabsent.so.1, " + path + " (";
  EXPECT_EQ(tried.compare(0, begin.size(), begin), 0) << tried;
  EXPECT_GT(tried.size(), begin.size() + 5);
  EXPECT_EQ(tried.back(), ')');
  std::remove(path.c_str());
}
