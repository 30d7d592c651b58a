// m1-optimize: from the imported, unfused form to the fused form that kernels are chosen for.
#include "M1/Transforms/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::m1;

void mlir::m1::buildOptimizePipeline(OpPassManager &manager) {
  manager.addNestedPass<func::FuncOp>(createExpandGatedMlpPass());
  // One m1.get_weight per weight and function, so that equal weights are equal values.
  manager.addNestedPass<func::FuncOp>(createCanonicalizerPass());
  manager.addNestedPass<func::FuncOp>(createCSEPass());
  manager.addPass(createFoldDoubledBiasPass());
  manager.addPass(createMergeProjectionsPass());
  manager.addNestedPass<func::FuncOp>(createFuseSiluMulPass());
  manager.addPass(createFuseConvSiluPass());
  manager.addNestedPass<func::FuncOp>(createFuseScanPass());
  manager.addNestedPass<func::FuncOp>(createFuseRotaryKVWritePass());
  // After the scans have taken over what follows them, before norms fuse with additions that only
  // need the wanted rows.
  manager.addNestedPass<func::FuncOp>(createHoistGatherRowsPass());
  manager.addNestedPass<func::FuncOp>(createFuseResidualNormPass());
  // When no pass looks for single maps any more.
  manager.addNestedPass<func::FuncOp>(createFuseMapsPass());
  manager.addNestedPass<func::FuncOp>(createCanonicalizerPass());
  manager.addNestedPass<func::FuncOp>(createCSEPass());
  manager.addPass(createEliminateDeadPass());
}

void mlir::m1::registerOptimizePipeline() {
  PassPipelineRegistration<>("m1-optimize", "expand MLPs and fuse the m1 dialect",
                             buildOptimizePipeline);
}
