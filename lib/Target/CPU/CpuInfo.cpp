#include "m1c/CpuTarget.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/TargetParser/Host.h"

namespace m1c {
namespace {

// LLVM's name of each extension that code generation can use, and the kernel's name of it in
// /proc/cpuinfo.
struct FeatureName {
  const char *llvm, *cpuinfo;
};
constexpr FeatureName kFeatureNames[] = {
    {"sse3", "pni"},
    {"ssse3", "ssse3"},
    {"sse4.1", "sse4_1"},
    {"sse4.2", "sse4_2"},
    {"popcnt", "popcnt"},
    {"avx", "avx"},
    {"avx2", "avx2"},
    {"fma", "fma"},
    {"f16c", "f16c"},
    {"bmi", "bmi1"},
    {"bmi2", "bmi2"},
    {"lzcnt", "abm"},
    {"movbe", "movbe"},
    {"gfni", "gfni"},
    {"vaes", "vaes"},
    {"vpclmulqdq", "vpclmulqdq"},
    {"avxvnni", "avx_vnni"},
    {"avx512f", "avx512f"},
    {"avx512bw", "avx512bw"},
    {"avx512cd", "avx512cd"},
    {"avx512dq", "avx512dq"},
    {"avx512vl", "avx512vl"},
    {"avx512ifma", "avx512ifma"},
    {"avx512vbmi", "avx512vbmi"},
    {"avx512vbmi2", "avx512_vbmi2"},
    {"avx512vnni", "avx512_vnni"},
    {"avx512bitalg", "avx512_bitalg"},
    {"avx512vpopcntdq", "avx512_vpopcntdq"},
    {"avx512bf16", "avx512_bf16"},
    {"avx512fp16", "avx512_fp16"},
    {"amx-tile", "amx_tile"},
    {"amx-bf16", "amx_bf16"},
};

// AVX2, AVX-512, AVX-512 with products of bf16, AMX: what `all` stands for.
constexpr const char *kNamed[] = {"x86-64-v3", "x86-64-v4", "cooperlake", "sapphirerapids"};

} // namespace

llvm::Expected<CpuInfo> resolveCpu(llvm::StringRef name) {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  llvm::InitializeNativeTargetAsmParser();
  CpuInfo info;
  info.name = name.str();
  if (name == "native") {
    info.llvmCpu = llvm::sys::getHostCPUName().str();
    // A virtual machine may lack what its CPU model has.
    llvm::SmallVector<std::string> features;
    for (auto &feature : llvm::sys::getHostCPUFeatures())
      features.push_back((feature.second ? "+" : "-") + feature.first().str());
    llvm::sort(features);
    info.llvmFeatures = llvm::join(features, ",");
  } else if (llvm::is_contained(kNamed, name)) {
    info.llvmCpu = name.str();
  } else {
    return llvm::createStringError("--cpu: unknown CPU '" + name + "'; known are all, native, " +
                                   llvm::join(llvm::ArrayRef(kNamed), ", "));
  }

  std::string error;
  llvm::Triple triple(llvm::sys::getDefaultTargetTriple());
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target || triple.getArch() != llvm::Triple::x86_64)
    return llvm::createStringError("the cpu target needs an x86-64 machine, this is " +
                                   triple.str());
  std::unique_ptr<llvm::MCSubtargetInfo> subtarget(
      target->createMCSubtargetInfo(triple, info.llvmCpu, info.llvmFeatures));
  assert(subtarget && "LLVM has one for each name of an x86-64 CPU");
  auto has = [&](const char *feature) {
    return subtarget->checkFeatures(std::string("+") + feature);
  };
  if (!has("avx2") || !has("fma"))
    return llvm::createStringError("--cpu " + name + ": CPU kernels need AVX2 and FMA, which '" +
                                   info.llvmCpu + "' lacks");
  info.avx512 = has("avx512f") && has("avx512bw") && has("avx512vl") && has("avx512dq");
  info.avx512Bf16 = info.avx512 && has("avx512bf16");
  info.amxBf16 = info.avx512Bf16 && has("amx-tile") && has("amx-bf16");
  for (const FeatureName &feature : kFeatureNames)
    if (has(feature.llvm))
      info.requiredFeatures.push_back(feature.cpuinfo);
  llvm::sort(info.requiredFeatures);
  return info;
}

llvm::Expected<std::vector<CpuInfo>> parseCpus(llvm::StringRef list) {
  llvm::SmallVector<llvm::StringRef> names;
  if (list == "all")
    names.append(std::begin(kNamed), std::end(kNamed));
  else
    list.split(names, ',');
  std::vector<CpuInfo> cpus;
  for (llvm::StringRef name : names) {
    auto cpu = resolveCpu(name);
    if (!cpu)
      return cpu.takeError();
    for (const CpuInfo &other : cpus)
      if (other.requiredFeatures == cpu->requiredFeatures)
        return llvm::createStringError("--cpu: '" + name + "' is the same as '" + other.name + "'");
    cpus.push_back(std::move(*cpu));
  }
  return cpus;
}

} // namespace m1c
