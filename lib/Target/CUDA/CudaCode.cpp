#include "GeneratedKernels.h"
#include "Ptx.h"
#include "Toolchain.h"
#include "base/joining_threads.h"
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

using namespace mlir;

namespace m1c {

namespace {

struct Job {
  const CudaKernel *kernel;
  cuda::Toolchain::Compiled result;
  std::string error;
};

/// A source compiled for `architecture`; the PTX is `portable`'s where that is given.
llvm::Expected<cuda::Toolchain::Compiled>
compileSource(const cuda::Toolchain &toolchain, const CudaKernel &kernel, StringRef architecture,
              StringRef portable, ArrayRef<cuda::Header> headers, ArrayRef<std::string> options) {
  auto compiled = toolchain.compile(kernel.source, kernel.symbol, architecture, headers, options);
  if (!compiled || portable.empty())
    return compiled;
  auto text = toolchain.compile(kernel.source, kernel.symbol, portable, headers, options);
  if (!text)
    return text.takeError();
  compiled->ptx = std::move(text->ptx);
  return compiled;
}

// NVRTC takes a second or so a source, and is safe to call from several threads.
void compileAll(const cuda::Toolchain &toolchain, std::vector<Job> &jobs, StringRef chip,
                bool wantPtx, const KernelCache &cache) {
  size_t headerCount = 0;
  const m1k::cuda::SourceFile *files = m1k::cuda::cuda_sources(&headerCount);
  std::vector<cuda::Header> headers;
  for (size_t i = 0; i < headerCount; ++i)
    headers.push_back({files[i].name, files[i].text});
  std::vector<std::string> options = m1k::cuda::nvrtc_options();
  // What all keys have in common.
  std::vector<StringRef> common = {"nvrtc", toolchain.version(), chip};
  for (const std::string &option : options)
    common.push_back(option);
  for (const cuda::Header &header : headers) {
    common.push_back(header.name);
    common.push_back(header.text);
  }
  std::string commonKey = cache ? KernelCache::key(common) : "";
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i; (i = next++) < jobs.size();) {
      const CudaKernel &kernel = *jobs[i].kernel;
      std::string architecture = m1k::cuda::architecture_of(kernel.source, chip.str());
      std::string portable;
      if (wantPtx && architecture != chip)
        portable = "compute_" + std::to_string(cuda::chipNumber(chip));
      std::string key =
          cache
              ? KernelCache::key({commonKey, architecture, portable, kernel.symbol, kernel.source})
              : std::string();
      if (auto kept = cache.find(key, 2)) {
        jobs[i].result = {std::move((*kept)[0]), std::move((*kept)[1])};
        continue;
      }
      auto compiled = compileSource(toolchain, kernel, architecture, portable, headers, options);
      if (!compiled) {
        jobs[i].error = llvm::toString(compiled.takeError());
        continue;
      }
      cache.store(key, {compiled->ptx, compiled->cubin});
      jobs[i].result = std::move(*compiled);
    }
  };
  // Where the system has no more threads, fewer do it.
  const size_t helpers = std::min<size_t>(std::thread::hardware_concurrency(), jobs.size());
  m1rt::JoiningThreads threads;
  while (threads.size() + 1 < helpers && threads.start(work))
    ;
  work();
}

llvm::Expected<cuda::Toolchain::Compiled> compileGenerated(const cuda::Toolchain &toolchain,
                                                           gpu::GPUModuleOp bodies, StringRef chip,
                                                           CodeRequest &request) {
  std::string key;
  if (request.cache && !request.wantLlvm) {
    std::string text;
    llvm::raw_string_ostream(text) << bodies;
    key = KernelCache::key(
        {"generated", KernelCache::compilerIdentity(), toolchain.version(), chip, text});
    if (auto kept = request.cache.find(key, 2))
      return cuda::Toolchain::Compiled{std::move((*kept)[0]), std::move((*kept)[1])};
  }
  FailureOr<std::string> ptx =
      cuda::emitPtx(bodies, chip, request.wantLlvm ? &request.llvm : nullptr);
  if (failed(ptx))
    return llvm::createStringError(""); // as emitPtx has reported
  if (!request.wantCode)
    return cuda::Toolchain::Compiled{std::move(*ptx), {}};
  auto cubin = toolchain.assemble(*ptx, chip);
  if (!cubin)
    return cubin.takeError();
  if (!key.empty())
    request.cache.store(key, {*ptx, *cubin});
  return cuda::Toolchain::Compiled{std::move(*ptx), std::move(*cubin)};
}

} // namespace

gpu::GPUModuleOp generateCudaKernels(OpBuilder &builder, ArrayRef<CudaKernel> kernels,
                                     const CudaChip &chip) {
  if (llvm::all_of(kernels, [](const CudaKernel &kernel) { return !kernel.source.empty(); }))
    return gpu::GPUModuleOp();
  builder.getContext()
      ->loadDialect<gpu::GPUDialect, arith::ArithDialect, cf::ControlFlowDialect, LLVM::LLVMDialect,
                    NVVM::NVVMDialect, memref::MemRefDialect, scf::SCFDialect,
                    vector::VectorDialect>();
  auto module = gpu::GPUModuleOp::create(builder, builder.getUnknownLoc(),
                                         ("cuda_kernels_" + chip.name).str());
  OpBuilder::InsertionGuard guard(builder);
  for (const CudaKernel &kernel : kernels)
    if (kernel.source.empty())
      cuda::buildGeneratedKernel(builder, module, kernel.symbol, kernel.spec,
                                 {kernel.width, kernel.blockSize, kernel.gridX});
  // What launch_successor() of kernels/cuda/common.cuh does in hand-tuned ones.
  if (cuda::chipNumber(chip.name) >= 90)
    module.walk([&](gpu::GPUFuncOp function) {
      builder.setInsertionPointToStart(&function.getBody().front());
      NVVM::GriddepcontrolOp::create(builder, function.getLoc(),
                                     NVVM::GridDepActionKind::launch_dependents);
    });
  return module;
}

llvm::Expected<std::vector<CodeObject>> compileCudaKernels(gpu::GPUModuleOp bodies,
                                                           ArrayRef<CudaKernel> kernels,
                                                           const CudaChip &chip, bool wantPtx,
                                                           CodeRequest &request) {
  auto toolchain = cuda::Toolchain::open();
  if (!toolchain)
    return toolchain.takeError();
  std::vector<CodeObject> cubins, ptxs;
  if (bodies) {
    auto made = compileGenerated(*toolchain, bodies, chip.name, request);
    if (!made)
      return made.takeError();
    cubins.push_back({"cubin", chip.name.str(), std::move(made->cubin)});
    ptxs.push_back({"ptx", chip.name.str(), std::move(made->ptx)});
  }
  std::vector<Job> jobs;
  const bool needsSources = request.wantCode || request.wantAssembly; // LLVM never sees them
  for (const CudaKernel &kernel : kernels)
    if (!kernel.source.empty() && needsSources)
      jobs.push_back({&kernel, {}, {}});
  compileAll(*toolchain, jobs, chip.name, wantPtx, request.cache);
  for (Job &job : jobs) {
    if (!job.error.empty())
      return llvm::createStringError(job.error);
    cubins.push_back({"cubin", chip.name.str(), std::move(job.result.cubin)});
    ptxs.push_back({"ptx", chip.name.str(), std::move(job.result.ptx)});
  }
  if (wantPtx)
    llvm::append_range(cubins, std::move(ptxs));
  return cubins;
}

} // namespace m1c
