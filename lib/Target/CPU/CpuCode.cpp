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

std::unique_ptr<llvm::TargetMachine> createTargetMachine(const CpuInfo &cpu, std::string &error) {
  llvm::Triple triple(llvm::sys::getDefaultTargetTriple());
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
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

llvm::Error linkHandKernels(llvm::Module &module) {
  auto buffer = llvm::MemoryBufferRef(cpuKernelBitcode(), "cpu kernels");
  auto kernels = llvm::parseBitcodeFile(buffer, module.getContext());
  if (!kernels)
    return kernels.takeError();
  (*kernels)->setDataLayout(module.getDataLayout());
  (*kernels)->setTargetTriple(module.getTargetTriple());
  if (llvm::Linker::linkModules(module, std::move(*kernels), llvm::Linker::LinkOnlyNeeded))
    return llvm::createStringError("linking the hand-tuned CPU kernels failed");
  return llvm::Error::success();
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

llvm::Error emit(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type,
                 std::string &out) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    return llvm::createStringError("LLVM cannot emit code for this target");
  passes.run(module);
  out.assign(bytes.begin(), bytes.end());
  return llvm::Error::success();
}

/// The loader resolves nothing but these three from libc.
llvm::Error checkUndefinedSymbols(llvm::StringRef object) {
  auto file =
      llvm::object::ObjectFile::createELFObjectFile(llvm::MemoryBufferRef(object, "kernels.o"));
  if (!file)
    return file.takeError();
  for (const llvm::object::ELFSymbolRef symbol :
       llvm::cast<llvm::object::ELFObjectFileBase>(**file).symbols()) {
    auto flags = symbol.getFlags();
    auto name = symbol.getName();
    if (!flags || !name)
      return llvm::joinErrors(flags.takeError(), name.takeError());
    if ((*flags & llvm::object::SymbolRef::SF_Undefined) && !name->empty() && *name != "memcpy" &&
        *name != "memset" && *name != "memmove")
      return llvm::createStringError("generated CPU code needs '" + *name +
                                     "', which the runtime does not provide");
  }
  return llvm::Error::success();
}

} // namespace

llvm::Expected<CpuCode> compileCpuKernels(ModuleOp module, const CpuInfo &cpu,
                                          llvm::ArrayRef<CpuKernel> kernels,
                                          const CpuCodeOptions &options) {
  std::string error;
  auto machine = createTargetMachine(cpu, error);
  if (!machine)
    return llvm::createStringError("cannot create a target machine: " + error);
  if (failed(lowerToLlvmDialect(module)))
    return llvm::createStringError("lowering CPU kernels to LLVM failed");
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  llvm::LLVMContext context;
  auto llvmModule = translateModuleToLLVMIR(module, context, "m1_kernels");
  if (!llvmModule)
    return llvm::createStringError("translating CPU kernels to LLVM IR failed");
  llvmModule->setDataLayout(machine->createDataLayout());
  llvmModule->setTargetTriple(machine->getTargetTriple());
  if (auto e = linkHandKernels(*llvmModule))
    return std::move(e);
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
  llvm::raw_string_ostream errors(error);
  if (llvm::verifyModule(*llvmModule, &errors))
    return llvm::createStringError("invalid LLVM IR for CPU kernels: " + error);

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
    if (auto e = emit(*copy, *machine, llvm::CodeGenFileType::AssemblyFile, code.assembly))
      return std::move(e);
  }
  if (!options.emitElf)
    return code;
  std::string object;
  if (auto e = emit(*llvmModule, *machine, llvm::CodeGenFileType::ObjectFile, object))
    return std::move(e);
  if (auto e = checkUndefinedSymbols(object))
    return std::move(e);
  auto elf = linkSharedObject(object, symbols);
  if (!elf)
    return elf.takeError();
  code.elf = std::move(*elf);
  return code;
}

} // namespace m1c
