// What this process may use of the machine, as far as the system tells: processors and memory,
// control groups of both versions included.
#ifndef M1RT_CPU_HOST_LIMITS_H
#define M1RT_CPU_HOST_LIMITS_H

#include <cstdint>
#include <string>

namespace m1rt {

/// Physical cores that the process may run on, but no more than its control group's quota of
/// processor time lets it use.
unsigned usableCores();

/// Bytes of memory that the process could still take without swapping: free or held by caches that
/// can be dropped, within the control group's limit.
uint64_t availableMemory();

/// The process's group, by what /proc/self/cgroup says, in the hierarchy of a controller of version
/// 1, or in the unified one (""); "/" when there is none.
std::string cgroupPath(const std::string &groups, const std::string &controller);
/// The smallest quota (in processors, rounded up) of a control group and its parents; 0: none.
/// `root` is the mounted hierarchy, `group` the path of the process in it.
unsigned cgroupProcessors(const std::string &root, std::string group);
/// Bytes that the control group and its parents leave; UINT64_MAX: no limit.
uint64_t cgroupMemory(const std::string &root, std::string group);

} // namespace m1rt

#endif
