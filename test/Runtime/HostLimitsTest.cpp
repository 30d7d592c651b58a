#include "../Support/TemporaryDirectory.h"
#include "cpu/host_limits.h"
#include "device.h"
#include <cstdlib>
#include <gtest/gtest.h>
#include <sys/resource.h>

using namespace m1rt;

namespace {

/// A hierarchy of control groups: root, root/outer, root/outer/inner.
class HostLimits : public ::testing::Test {
protected:
  void SetUp() override { std::filesystem::create_directories(root + "/outer/inner"); }
  void write(const std::string &path, const std::string &text) { directory.write(path, text); }
  m1test::TemporaryDirectory directory;
  const std::string &root = directory.path;
};

// The tightest quota of the group and its parents counts, rounded up to whole processors; "max" is
// none.
TEST_F(HostLimits, Processors) {
  EXPECT_EQ(cgroupProcessors(root, "/outer/inner"), 0u);
  write("/outer/inner/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroupProcessors(root, "/outer/inner"), 0u);
  write("/outer/cpu.max", "250000 100000\n");
  EXPECT_EQ(cgroupProcessors(root, "/outer/inner"), 3u);
  write("/outer/inner/cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroupProcessors(root, "/outer/inner"), 2u);
  EXPECT_EQ(cgroupProcessors(root, "/"), 0u);
}

// Memory is what the tightest group leaves beside what it already uses.
TEST_F(HostLimits, Memory) {
  EXPECT_EQ(cgroupMemory(root, "/outer/inner"), UINT64_MAX);
  write("/outer/memory.max", "1000000\n");
  write("/outer/memory.current", "400000\n");
  EXPECT_EQ(cgroupMemory(root, "/outer/inner"), 600000u);
  write("/outer/inner/memory.max", "500000\n");
  write("/outer/inner/memory.current", "700000\n");
  EXPECT_EQ(cgroupMemory(root, "/outer/inner"), 0u);
}

// Files that were read count as free: the system drops them when memory is wanted.
TEST_F(HostLimits, PageCacheIsFree) {
  write("/outer/memory.max", "1000000\n");
  write("/outer/memory.current", "900000\n");
  write("/outer/memory.stat", "anon 250000\nfile 600000\nkernel 50000\nshmem 20000\n"
                              "inactive_anon 20000\nactive_anon 250000\ninactive_file 500000\n"
                              "active_file 80000\nslab_reclaimable 20000\nslab 30000\n");
  EXPECT_EQ(cgroupMemory(root, "/outer/inner"), 700000u);
  write("/outer/memory.stat", "inactive_file 5000000\n"); // read a moment later than the rest
  EXPECT_EQ(cgroupMemory(root, "/outer/inner"), 1000000u);
}

// The same of version 1, where no limit is -1 or a huge number, and statistics of the groups below
// have names of their own.
TEST_F(HostLimits, Version1) {
  write("/outer/cpu.cfs_period_us", "100000\n");
  write("/outer/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cgroupProcessors(root, "/outer/inner"), 0u);
  write("/outer/cpu.cfs_quota_us", "150000\n");
  EXPECT_EQ(cgroupProcessors(root, "/outer/inner"), 2u);
  write("/outer/memory.limit_in_bytes", "9223372036854771712\n");
  write("/outer/memory.usage_in_bytes", "900000\n");
  EXPECT_EQ(cgroupMemory(root, "/outer/inner"), UINT64_MAX);
  write("/outer/memory.limit_in_bytes", "1000000\n");
  EXPECT_EQ(cgroupMemory(root, "/outer/inner"), 100000u);
  write("/outer/memory.stat", "inactive_file 0\nactive_file 4096\ntotal_inactive_file 300000\n"
                              "total_active_file 100000\n");
  EXPECT_EQ(cgroupMemory(root, "/outer/inner"), 500000u);
}

// Which group that is, of each hierarchy. A path may hold colons.
TEST(Host, GroupOfTheProcess) {
  const std::string both = "9:name=systemd:/\n4:memory:/a/b:c\n2:cpu,cpuacct:/d\n0::/e\n";
  EXPECT_EQ(cgroupPath(both, "memory"), "/a/b:c");
  EXPECT_EQ(cgroupPath(both, "cpu"), "/d");
  EXPECT_EQ(cgroupPath(both, "cpuset"), "/");
  EXPECT_EQ(cgroupPath(both, ""), "/e");
  EXPECT_EQ(cgroupPath("no such thing", ""), "/");
}

// This machine has at least one core and some memory.
TEST(Host, HasSomething) {
  EXPECT_GE(usableCores(), 1u);
  EXPECT_GT(availableMemory(), 1u << 20);
  EXPECT_LT(availableMemory(), uint64_t(1) << 60);
}

#ifndef M1_SANITIZED // sanitizers need more addresses than any limit leaves
// Memory that a limit of the process withholds is not said to be free without saying so.
TEST(Host, NamesLimitOfAddresses) {
  std::unique_ptr<Device> device;
  ASSERT_TRUE(createDevice("cpu", {}, &device).ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  rlimit small = before;
  small.rlim_cur = device->info().totalMemory / 2;
  ASSERT_EQ(setrlimit(RLIMIT_AS, &small), 0);
  void *memory = nullptr;
  const Status status = device->allocate(small.rlim_cur, "a test", &memory);
  setrlimit(RLIMIT_AS, &before);
  EXPECT_EQ(status.code(), StatusCode::outOfMemory);
  EXPECT_NE(
      status.message().find(", this process at most " + bytesText(small.rlim_cur) + " (ulimit -v)"),
      std::string::npos)
      << status.message();
}
#endif

} // namespace
