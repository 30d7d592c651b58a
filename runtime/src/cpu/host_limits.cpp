#include "cpu/host_limits.h"

#include <algorithm>
#include <fstream>
#include <sched.h>
#include <set>
#include <thread>

namespace m1rt {

namespace {

const std::string cgroupRoot = "/sys/fs/cgroup";

/// The process's group in the unified hierarchy, "/" when there is none.
std::string ownGroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, 3, "0::") == 0)
      return line.substr(3);
  return "/";
}

/// A number in a file; `fallback` for "max" or when there is no such file.
uint64_t readNumber(const std::string &path, uint64_t fallback) {
  std::ifstream file(path);
  uint64_t value = 0;
  return file >> value ? value : fallback;
}

/// Bytes of a group's memory that the system takes back when others need them: files that were
/// read, and caches of the kernel.
uint64_t reclaimable(const std::string &path) {
  std::ifstream file(path);
  uint64_t sum = 0, value = 0;
  for (std::string key; file >> key >> value;)
    if (key == "inactive_file" || key == "active_file" || key == "slab_reclaimable")
      sum += value;
  return sum;
}

/// Calls visit(directory) for the group and its parents.
template <typename Visit> void forGroups(const std::string &root, std::string group, Visit visit) {
  while (true) {
    visit(group == "/" ? root : root + group);
    const size_t slash = group.find_last_of('/');
    if (group.size() <= 1 || slash == std::string::npos)
      return;
    group.erase(std::max<size_t>(slash, 1)); // the parent of "/a" is "/"
  }
}

} // namespace

unsigned cgroupProcessors(const std::string &root, std::string group) {
  unsigned smallest = 0;
  forGroups(root, std::move(group), [&](const std::string &directory) {
    std::ifstream file(directory + "/cpu.max"); // "QUOTA PERIOD" in µs, or "max PERIOD"
    uint64_t quota = 0, period = 0;
    if (file >> quota >> period && quota > 0 && period > 0) {
      const unsigned processors =
          unsigned(std::min<uint64_t>((quota + period - 1) / period, 1u << 20));
      smallest = smallest ? std::min(smallest, processors) : processors;
    }
  });
  return smallest;
}

uint64_t cgroupMemory(const std::string &root, std::string group) {
  uint64_t left = UINT64_MAX;
  forGroups(root, std::move(group), [&](const std::string &directory) {
    const uint64_t limit = readNumber(directory + "/memory.max", UINT64_MAX);
    if (limit == UINT64_MAX)
      return;
    uint64_t used = readNumber(directory + "/memory.current", 0);
    used -= std::min(used, reclaimable(directory + "/memory.stat"));
    left = std::min(left, limit > used ? limit - used : 0);
  });
  return left;
}

uint64_t availableMemory() {
  uint64_t available = UINT64_MAX;
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    uint64_t kilobytes = 0;
    if (key == "MemAvailable:" && file >> kilobytes) {
      available = kilobytes * 1024;
      break;
    }
    std::string rest;
    std::getline(file, rest);
  }
  return std::min(available, cgroupMemory(cgroupRoot, ownGroup()));
}

unsigned usableCores() {
  unsigned cores = 0;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    cores = std::thread::hardware_concurrency();
  } else {
    // Hardware threads of one core share its list of siblings.
    std::set<std::string> known;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed))
        continue;
      std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                         "/topology/thread_siblings_list");
      std::string siblings;
      if (std::getline(file, siblings) && !siblings.empty())
        known.insert(siblings);
      else
        ++cores;
    }
    cores += unsigned(known.size());
  }
  if (unsigned quota = cgroupProcessors(cgroupRoot, ownGroup()))
    cores = std::min(cores, quota);
  return std::max(cores, 1u);
}

} // namespace m1rt
