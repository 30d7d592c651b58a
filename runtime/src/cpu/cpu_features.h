// Instruction sets of the processor that this process runs on.
#ifndef M1RT_CPU_CPU_FEATURES_H
#define M1RT_CPU_CPU_FEATURES_H

#include "module_generated.h"
#include "status.h"
#include <set>
#include <string>

namespace m1rt {

struct CpuDescription {
  std::string model;
  std::set<std::string> features; // names as in /proc/cpuinfo
  std::string unknown;            // why they could not be read; empty when they are known
};

CpuDescription hostCpu();

/// Device::suitability: how many extensions the target's code was compiled for, as long as `cpu`
/// has them all and the system lets this process use AMX where the code does.
int cpuSuitability(const ::m1::schema::Target &target, const CpuDescription &cpu);

/// Checks that `cpu` has everything that the target's code was compiled for, and asks the system
/// for AMX when the code uses it.
Status checkCpuFeatures(const ::m1::schema::Target &target, const CpuDescription &cpu);

} // namespace m1rt

#endif
