#include "cpu/cpu_features.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace m1rt {

namespace {

CpuDescription readHostCpu() {
  CpuDescription cpu;
  std::ifstream file("/proc/cpuinfo");
  if (!file) {
    cpu.unknown = std::string("cannot read /proc/cpuinfo: ") + std::strerror(errno);
    return cpu;
  }
  for (std::string line; std::getline(file, line) && !line.empty();) {
    size_t colon = line.find(':');
    if (colon == std::string::npos)
      continue;
    std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    std::string value = colon + 2 <= line.size() ? line.substr(colon + 2) : "";
    if (key == "model name")
      cpu.model = value;
    if (key == "flags") {
      std::istringstream words(value);
      for (std::string word; words >> word;)
        cpu.features.insert(word);
    }
  }
#if defined(__x86_64__)
  // Virtual machines' kernels are seen to leave lzcnt out of the list. It needs nothing of the
  // system, so the processor itself can be asked: CPUID 80000001h, ECX bit 5.
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) && (c >> 5 & 1))
    cpu.features.insert("abm");
#endif
  return cpu;
}

} // namespace

CpuDescription hostCpu() {
  static std::mutex mutex;
  static std::optional<CpuDescription> known;
  std::lock_guard<std::mutex> lock(mutex);
  if (known)
    return *known;
  CpuDescription cpu = readHostCpu();
  if (cpu.unknown.empty()) // what failed may work the next time
    known = cpu;
  return cpu;
}

/// Asks the system to let this process use AMX's tile registers. It may deny that.
static bool mayUseAmx() {
#if defined(__x86_64__)
  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  const int archRequestPermission = 0x1023, tileData = 18;
  return syscall(SYS_arch_prctl, archRequestPermission, tileData) == 0;
#else
  return false;
#endif
}

int cpuSuitability(const ::m1::schema::Target &target, const CpuDescription &cpu) {
  if (!target.cpu_features())
    return 0;
  bool amx = false;
  for (const flatbuffers::String *feature : *target.cpu_features()) {
    if (cpu.features.count(feature->str()) == 0)
      return -1;
    amx |= feature->str() == "amx_tile";
  }
  if (amx && !mayUseAmx())
    return -1;
  return int(target.cpu_features()->size());
}

Status checkCpuFeatures(const ::m1::schema::Target &target, const CpuDescription &cpu) {
  std::string missing;
  bool amx = false;
  if (target.cpu_features())
    for (const flatbuffers::String *feature : *target.cpu_features()) {
      if (cpu.features.count(feature->str()) == 0)
        missing += (missing.empty() ? "" : ", ") + feature->str();
      amx |= feature->str() == "amx_tile";
    }
  if (!missing.empty() && !cpu.unknown.empty())
    return error(StatusCode::ioError, "%s, which says what this processor can do",
                 cpu.unknown.c_str());
  if (!missing.empty())
    return error(
        StatusCode::unsupported,
        "the artifact's code was compiled for --cpu %s; this processor (%s) lacks %s: compile with "
        "--cpu native here, "
        "or --cpu x86-64-v3",
        target.cpu() ? target.cpu()->c_str() : "of another kind", cpu.model.c_str(),
        missing.c_str());
  if (amx && !mayUseAmx())
    return error(StatusCode::unsupported,
                 "the system does not let this process use AMX, which the artifact's code needs: "
                 "compile with --cpu cooperlake");
  return Status();
}

} // namespace m1rt
