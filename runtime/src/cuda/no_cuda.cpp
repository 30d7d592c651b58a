// Stands in for the CUDA device in builds without a CUDA toolkit.
#include "device.h"

namespace m1rt {

Status createCudaDevice(uint32_t, const DeviceOptions &, std::unique_ptr<Device> *) {
  return error(StatusCode::unsupported, "device cuda: this build of the runtime has no CUDA support");
}

} // namespace m1rt
