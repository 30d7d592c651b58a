// The GPUs that kernels are shaped for. Shared memory: CUDA C++ Programming Guide 13.0, "Compute
// Capabilities", table "Technical Specifications per Compute Capability". Multiprocessors: NVIDIA's
// architecture white papers and data sheets, of the largest card sold with the chip.
#include "m1c/CudaTarget.h"
#include "llvm/ADT/STLExtras.h"

namespace m1c {

static constexpr int kilobyte = 1024;

static constexpr CudaChip chips[] = {
    {"sm_80", 108, 163 * kilobyte, 164 * kilobyte},  // A100
    {"sm_86", 84, 99 * kilobyte, 100 * kilobyte},    // RTX A6000, A40
    {"sm_89", 142, 99 * kilobyte, 100 * kilobyte},   // L40S, RTX 6000 Ada
    {"sm_90", 132, 227 * kilobyte, 228 * kilobyte},  // H100, H200
    {"sm_90a", 132, 227 * kilobyte, 228 * kilobyte}, // the same, for it alone
    {"sm_100", 148, 227 * kilobyte, 228 * kilobyte}, // B200
    {"sm_120", 188, 99 * kilobyte, 100 * kilobyte},  // RTX PRO 6000
};

const CudaChip *findCudaChip(llvm::StringRef name) {
  const CudaChip *found =
      llvm::find_if(chips, [&](const CudaChip &chip) { return chip.name == name; });
  return found == std::end(chips) ? nullptr : found;
}

llvm::Expected<std::vector<const CudaChip *>> parseCudaChips(llvm::StringRef suffix) {
  std::vector<const CudaChip *> found;
  llvm::SmallVector<llvm::StringRef> names;
  (suffix.empty() ? llvm::StringRef("sm_90") : suffix).split(names, ',');
  for (llvm::StringRef name : names) {
    const CudaChip *chip = findCudaChip(name);
    if (!chip) {
      std::string known;
      for (const CudaChip &entry : chips)
        known += (known.empty() ? "" : ", ") + entry.name.str();
      return llvm::createStringError("--target: unknown CUDA chip '" + name + "'; known are " +
                                     known);
    }
    found.push_back(chip);
  }
  llvm::sort(found);
  found.erase(llvm::unique(found), found.end());
  return found;
}

} // namespace m1c
