// plan-fuse-launches, and the registration of it.
#ifndef M1C_TARGET_CUDA_FUSELAUNCHES_H
#define M1C_TARGET_CUDA_FUSELAUNCHES_H

#include "Plan/Plan.h"

namespace m1c {

std::unique_ptr<mlir::Pass> createFuseLaunchesPass();
void registerCudaPasses();

} // namespace m1c

#endif
