#include "device.h"

#include <cstdlib>

namespace m1rt {

Status Device::copyRanges(const std::vector<CopyRange> &ranges) {
  for (const CopyRange &range : ranges)
    M1_TRY(copy(range.target, range.source, range.bytes));
  return Status();
}

Status createDevice(const std::string &name, const DeviceOptions &options,
                    std::unique_ptr<Device> *out) {
  if (name == "cpu")
    return createCpuDevice(options, out);
  if (name == "cuda" || name.compare(0, 5, "cuda:") == 0) {
    uint32_t ordinal = 0;
    if (name.size() > 4) {
      char *end = nullptr;
      unsigned long value = std::strtoul(name.c_str() + 5, &end, 10);
      if (name.size() == 5 || name[5] < '0' || name[5] > '9' || *end != '\0' || value > 1023)
        return error(StatusCode::invalidArgument, "device \"%s\": expected cuda:N with N a number",
                     name.c_str());
      ordinal = uint32_t(value);
    }
    return createCudaDevice(ordinal, options, out);
  }
  return error(StatusCode::invalidArgument, "unknown device \"%s\": expected cpu, cuda or cuda:N",
               name.c_str());
}

} // namespace m1rt
