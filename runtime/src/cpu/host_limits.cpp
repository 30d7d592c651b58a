#include "cpu/host_limits.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <sched.h>
#include <set>
#include <sstream>
#include <thread>

namespace m1rt {

namespace {

const std::string cgroupRoot = "/sys/fs/cgroup";

/// A mounted hierarchy of control groups, and the process's group in it.
struct Hierarchy {
  std::string root, group;
};

/// Those that may limit a controller: the unified one, and the controller's own of version 1. In a
/// container the group may be named as outside, where the root is the container's; of directories
/// that are not there nothing is read.
std::array<Hierarchy, 2> hierarchies(const std::string &controller) {
  std::ifstream file("/proc/self/cgroup");
  std::stringstream text;
  text << file.rdbuf();
  return {{{cgroupRoot, cgroupPath(text.str(), "")},
           {cgroupRoot + "/" + controller, cgroupPath(text.str(), controller)}}};
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
  uint64_t sum = 0, total = 0, value = 0; // of version 1 the totals are with the groups below
  for (std::string key; file >> key >> value;)
    if (key == "inactive_file" || key == "active_file" || key == "slab_reclaimable")
      sum += value;
    else if (key == "total_inactive_file" || key == "total_active_file")
      total += value;
  return std::max(sum, total);
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

/// A quota of processor time in processors, rounded up; 0: none.
unsigned quotaOf(const std::string &directory) {
  std::ifstream file(directory + "/cpu.max"); // "QUOTA PERIOD" in µs, or "max PERIOD"
  uint64_t quota = 0, period = 0;
  if (!(file >> quota >> period)) {
    quota = readNumber(directory + "/cpu.cfs_quota_us", 0); // -1: none
    period = readNumber(directory + "/cpu.cfs_period_us", 0);
  }
  if (quota == 0 || period == 0 || quota > uint64_t(INT64_MAX))
    return 0;
  return unsigned(std::min<uint64_t>(quota / period + (quota % period > 0), 1u << 20));
}

} // namespace

std::string cgroupPath(const std::string &groups, const std::string &controller) {
  std::istringstream lines(groups);
  for (std::string line; std::getline(lines, line);) { // NUMBER:CONTROLLER,CONTROLLER:PATH
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const bool found = controller.empty()
                           ? names.empty()
                           : ("," + names + ",").find("," + controller + ",") != std::string::npos;
    if (found)
      return line.substr(second + 1);
  }
  return "/";
}

unsigned cgroupProcessors(const std::string &root, std::string group) {
  unsigned smallest = 0;
  forGroups(root, std::move(group), [&](const std::string &directory) {
    if (const unsigned quota = quotaOf(directory))
      smallest = smallest ? std::min(smallest, quota) : quota;
  });
  return smallest;
}

uint64_t cgroupMemory(const std::string &root, std::string group) {
  uint64_t left = UINT64_MAX;
  forGroups(root, std::move(group), [&](const std::string &directory) {
    uint64_t limit = readNumber(directory + "/memory.max", UINT64_MAX);
    const bool unified = limit != UINT64_MAX;
    if (!unified)
      limit = readNumber(directory + "/memory.limit_in_bytes", UINT64_MAX);
    if (limit > uint64_t(INT64_MAX) / 2) // version 1 says the largest number of pages for none
      return;
    uint64_t used =
        readNumber(directory + (unified ? "/memory.current" : "/memory.usage_in_bytes"), 0);
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
  for (const Hierarchy &hierarchy : hierarchies("memory"))
    available = std::min(available, cgroupMemory(hierarchy.root, hierarchy.group));
  return available;
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
  for (const Hierarchy &hierarchy : hierarchies("cpu"))
    if (unsigned quota = cgroupProcessors(hierarchy.root, hierarchy.group))
      cores = std::min(cores, quota);
  return std::max(cores, 1u);
}

} // namespace m1rt
