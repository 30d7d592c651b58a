#include "GeneratedKernels.h"
#include "Ptx.h"
#include "Toolchain.h"
#include "m1c/CudaTarget.h"
#include "m1k_cuda.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <atomic>
#include <thread>

using namespace mlir;

namespace m1c {

namespace {

llvm::Error failure(const llvm::Twine &text) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), text);
}

llvm::Expected<std::string> generatedPtx(MLIRContext *context, ArrayRef<CudaKernel> kernels,
                                         StringRef chip) {
  context->loadDialect<gpu::GPUDialect, arith::ArithDialect, cf::ControlFlowDialect,
                       LLVM::LLVMDialect, NVVM::NVVMDialect, memref::MemRefDialect, scf::SCFDialect,
                       vector::VectorDialect>();
  OpBuilder builder(context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder, builder.getUnknownLoc());
  builder.setInsertionPointToStart(module->getBody());
  auto gpuModule = gpu::GPUModuleOp::create(builder, builder.getUnknownLoc(), "generated");
  for (const CudaKernel &kernel : kernels)
    if (kernel.source.empty() &&
        failed(cuda::buildGeneratedKernel(builder, gpuModule, kernel.symbol, kernel.spec,
                                          {kernel.width, kernel.blockSize, kernel.gridX})))
      return failure("cannot generate CUDA kernel " + kernel.symbol);
  // What launch_successor() of kernels/cuda/common.cuh does in hand-tuned ones.
  if (cuda::chipNumber(chip) >= 90)
    gpuModule.walk([&](gpu::GPUFuncOp function) {
      builder.setInsertionPointToStart(&function.getBody().front());
      NVVM::GriddepcontrolOp::create(builder, function.getLoc(),
                                     NVVM::GridDepActionKind::launch_dependents);
    });
  FailureOr<std::string> ptx = cuda::emitPtx(gpuModule, chip);
  if (failed(ptx))
    return failure("cannot lower the generated CUDA kernels for " + chip);
  return *ptx;
}

struct Job {
  const CudaKernel *kernel;
  cuda::Toolchain::Compiled result;
  std::string error;
};

// NVRTC takes a second or so a source, and is safe to call from several threads.
void compileAll(const cuda::Toolchain &toolchain, std::vector<Job> &jobs, StringRef chip) {
  size_t headerCount = 0;
  const m1k::cuda::SourceFile *files = m1k::cuda::cuda_sources(&headerCount);
  std::vector<cuda::Header> headers;
  for (size_t i = 0; i < headerCount; ++i)
    headers.push_back({files[i].name, files[i].text});
  std::vector<std::string> options = m1k::cuda::nvrtc_options();
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i; (i = next++) < jobs.size();) {
      auto compiled =
          toolchain.compile(jobs[i].kernel->source, jobs[i].kernel->symbol, chip, headers, options);
      if (compiled)
        jobs[i].result = std::move(*compiled);
      else
        jobs[i].error = llvm::toString(compiled.takeError());
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::min<size_t>(std::thread::hardware_concurrency(), jobs.size()); ++i)
    threads.emplace_back(work);
  work();
  for (std::thread &thread : threads)
    thread.join();
}

} // namespace

llvm::Expected<std::vector<CodeObject>>
compileCudaKernels(MLIRContext *context, ArrayRef<CudaKernel> kernels, const CudaOptions &options) {
  auto toolchain = cuda::Toolchain::open();
  if (!toolchain)
    return toolchain.takeError();
  bool anyGenerated = llvm::any_of(kernels, [](const CudaKernel &k) { return k.source.empty(); });
  std::vector<CodeObject> cubins, ptxs;
  for (const std::string &chip : options.chips) {
    bool keepPtx = chip == options.chips.front();
    if (anyGenerated) {
      auto ptx = generatedPtx(context, kernels, chip);
      if (!ptx)
        return ptx.takeError();
      auto cubin = toolchain->assemble(*ptx, chip);
      if (!cubin)
        return cubin.takeError();
      cubins.push_back({"cubin", chip, std::move(*cubin)});
      if (keepPtx)
        ptxs.push_back({"ptx", chip, std::move(*ptx)});
    }
    std::vector<Job> jobs;
    for (const CudaKernel &kernel : kernels)
      if (!kernel.source.empty())
        jobs.push_back({&kernel, {}, {}});
    compileAll(*toolchain, jobs, chip);
    for (Job &job : jobs) {
      if (!job.error.empty())
        return failure(job.error);
      cubins.push_back({"cubin", chip, std::move(job.result.cubin)});
      if (keepPtx)
        ptxs.push_back({"ptx", chip, std::move(job.result.ptx)});
    }
  }
  cubins.insert(cubins.end(), std::make_move_iterator(ptxs.begin()),
                std::make_move_iterator(ptxs.end()));
  return cubins;
}

} // namespace m1c
