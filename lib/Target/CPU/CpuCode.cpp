// From a module of CPU kernels to a shared ELF object: MLIR to LLVM, hand-tuned kernels linked in,
// LLVM's O3, code, lld.
#include "EmbeddedBitcode.h"
#include "m1c/CpuTarget.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Analysis/TargetTransformInfo.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Linker/Linker.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/Transforms/IPO/Internalize.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace mlir;

namespace m1c {

llvm::Expected<std::string> linkSharedObject(llvm::StringRef object,
                                             llvm::ArrayRef<std::string> exported); // ElfLink.cpp

namespace {

/// exp, log1p (through log), tanh and erf become polynomials (MLIR's, of Cephes and Eigen: exp
/// within 2 ulp, log1p within 4 ulp where normal), so no code calls libm.
struct ApproximateMathPass : PassWrapper<ApproximateMathPass, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ApproximateMathPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, math::MathDialect, vector::VectorDialect>();
  }
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(patterns, [](StringRef name) {
      return llvm::is_contained({"math.erf", "math.exp", "math.log", "math.log1p", "math.tanh"},
                                name);
    });
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

LogicalResult lowerToLlvmDialect(ModuleOp module) {
  PassManager passes(module.getContext());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(std::make_unique<ApproximateMathPass>());
  passes.addPass(createSCFToControlFlowPass());
  ConvertVectorToLLVMPassOptions vectorOptions;
  vectorOptions.reassociateFPReductions = true;
  passes.addPass(createConvertVectorToLLVMPass(vectorOptions));
  passes.addPass(createConvertMathToLLVMPass());
  passes.addPass(createArithToLLVMConversionPass());
  passes.addPass(createConvertControlFlowToLLVMPass());
  passes.addPass(createConvertFuncToLLVMPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
  return passes.run(module);
}

std::unique_ptr<llvm::TargetMachine> createTargetMachine(const CpuInfo &cpu) {
  llvm::Triple triple(llvm::sys::getDefaultTargetTriple());
  std::string error;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  assert(target && "resolveCpu has found it");
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard;
  return std::unique_ptr<llvm::TargetMachine>(
      target->createTargetMachine(triple, cpu.llvmCpu, cpu.llvmFeatures, options, llvm::Reloc::PIC_,
                                  llvm::CodeModel::Small, llvm::CodeGenOptLevel::Aggressive));
}

/// All functions get the instruction set of the module; the hand-tuned kernels come with that of a
/// generic x86-64.
void setTargetAttributes(llvm::Module &module, const CpuInfo &cpu) {
  for (llvm::Function &function : module) {
    for (const char *name : {"target-cpu", "target-features", "tune-cpu", "min-legal-vector-width",
                             "prefer-vector-width"})
      function.removeFnAttr(name);
    function.addFnAttr("target-cpu", cpu.llvmCpu);
    if (!cpu.llvmFeatures.empty())
      function.addFnAttr("target-features", cpu.llvmFeatures);
    if (cpu.avx512) {
      function.addFnAttr("min-legal-vector-width", "512");
      function.addFnAttr("prefer-vector-width", "512");
    }
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
}

/// Takes in the hand-tuned kernels (kernels/cpu) that generated ones call.
void linkHandTunedKernels(llvm::Module &module) {
  auto buffer = llvm::MemoryBufferRef(cpuKernelBitcode(), "cpu kernels");
  auto kernels = llvm::cantFail(llvm::parseBitcodeFile(buffer, module.getContext()));
  kernels->setDataLayout(module.getDataLayout());
  kernels->setTargetTriple(module.getTargetTriple());
  [[maybe_unused]] bool failed =
      llvm::Linker::linkModules(module, std::move(kernels), llvm::Linker::LinkOnlyNeeded);
  assert(!failed && "functions that are needed have no other definition");
}

void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, modules);
}

std::string emit(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  [[maybe_unused]] bool failed = machine.addPassesToEmitFile(passes, stream, nullptr, type);
  assert(!failed && "x86-64 has an assembler");
  passes.run(module);
  return std::string(bytes.begin(), bytes.end());
}

/// The loader resolves nothing but these three from libc.
llvm::Error checkUndefinedSymbols(llvm::StringRef object) {
  auto file = llvm::cantFail(
      llvm::object::ObjectFile::createELFObjectFile(llvm::MemoryBufferRef(object, "kernels.o")));
  for (const llvm::object::ELFSymbolRef symbol :
       llvm::cast<llvm::object::ELFObjectFileBase>(*file).symbols()) {
    const uint32_t flags = llvm::cantFail(symbol.getFlags());
    const llvm::StringRef name = llvm::cantFail(symbol.getName());
    if ((flags & llvm::object::SymbolRef::SF_Undefined) && !name.empty() && name != "memcpy" &&
        name != "memset" && name != "memmove")
      return llvm::createStringError("generated CPU code needs '" + name +
                                     "', which the runtime does not provide");
  }
  return llvm::Error::success();
}

} // namespace

llvm::Expected<CpuCode> compileCpuKernels(ModuleOp module, const CpuInfo &cpu,
                                          llvm::ArrayRef<CpuKernel> kernels,
                                          const CpuCodeOptions &options) {
  auto machine = createTargetMachine(cpu);
  // A text may hold kernels of which MLIR says what it cannot lower or translate.
  auto reported = [] { return llvm::createStringError(""); };
  if (failed(lowerToLlvmDialect(module)))
    return reported();
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  llvm::LLVMContext context;
  auto llvmModule = translateModuleToLLVMIR(module, context, "m1_kernels");
  if (!llvmModule)
    return reported();
  llvmModule->setDataLayout(machine->createDataLayout());
  llvmModule->setTargetTriple(machine->getTargetTriple());
  linkHandTunedKernels(*llvmModule);
  setTargetAttributes(*llvmModule, cpu);

  llvm::StringSet<> exported;
  std::vector<std::string> symbols;
  for (const CpuKernel &kernel : kernels) {
    exported.insert(kernel.symbol);
    symbols.push_back(kernel.symbol);
  }
  llvm::internalizeModule(*llvmModule, [&](const llvm::GlobalValue &value) {
    return exported.contains(value.getName());
  });
  assert(!llvm::verifyModule(*llvmModule, &llvm::errs()) && "LLVM IR of CPU kernels is valid");

  CpuCode code;
  if (options.keepLlvmIr) {
    llvm::raw_string_ostream stream(code.llvmIr);
    llvmModule->print(stream, nullptr);
  }
  if (!options.keepAssembly && !options.emitElf)
    return code;
  optimize(*llvmModule, *machine);
  if (options.keepAssembly) {
    auto copy = llvm::CloneModule(*llvmModule);
    code.assembly = emit(*copy, *machine, llvm::CodeGenFileType::AssemblyFile);
  }
  if (!options.emitElf)
    return code;
  const std::string object = emit(*llvmModule, *machine, llvm::CodeGenFileType::ObjectFile);
  if (auto e = checkUndefinedSymbols(object))
    return std::move(e);
  auto elf = linkSharedObject(object, symbols);
  if (!elf)
    return elf.takeError();
  code.elf = std::move(*elf);
  return code;
}

} // namespace m1c
