// plan-fuse-launches and plan-fuse-gated-products, and their registration.
#ifndef M1C_TARGET_CUDA_FUSELAUNCHES_H
#define M1C_TARGET_CUDA_FUSELAUNCHES_H

#include "Plan/Plan.h"

namespace m1c {

std::unique_ptr<mlir::Pass> createFuseLaunchesPass();
std::unique_ptr<mlir::Pass> createFuseGatedProductsPass();
void registerCudaPasses();

} // namespace m1c

#endif
