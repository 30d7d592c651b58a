// m1-reduce: shrinks a module while a script still finds it interesting.
#include "M1/IR/M1.h"
#include "Plan/Plan.h"
#include "Reducer.h"
#include "base/counted.h"
#include "command_line.h"
#include "llvm_errors.h"
#include "m1c/ReadableText.h"
#include "progress.h"
#include "tool.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/SourceMgr.h"
#include <chrono>

using namespace mlir;
using m1rt::Status, m1rt::StatusCode;

namespace {

struct Arguments {
  std::string module, test, output = "-";
};

/// Exit code of the script on a file with this text; what it prints goes nowhere.
Status runScript(const std::string &script, const std::string &file, StringRef text,
                 int *exitCode) {
  std::error_code code;
  llvm::raw_fd_ostream stream(file, code);
  stream << text;
  stream.close();
  if (code || (code = stream.error())) {
    stream.clear_error();
    return m1rt::error(StatusCode::ioError, "%s: %s", file.c_str(), code.message().c_str());
  }
  StringRef nowhere = "";
  std::string message;
  *exitCode = llvm::sys::ExecuteAndWait(script, {script, file}, /*Env=*/std::nullopt,
                                        {nowhere, nowhere, nowhere}, /*SecondsToWait=*/0,
                                        /*MemoryLimit=*/0, &message);
  if (*exitCode == -1)
    return m1rt::error(StatusCode::invalidArgument, "--test %s: %s", script.c_str(),
                       message.c_str());
  return Status();
}

Status run(const Arguments &arguments) {
  const char *path = arguments.module.c_str();
  m1tool::workedOn() = path;
  auto buffer = m1c::readModuleText(arguments.module);
  if (!buffer)
    return m1rt::error(StatusCode::invalidArgument, "%s",
                       llvm::toString(buffer.takeError()).c_str());

  DialectRegistry registry;
  registerAllDialects(registry);
  registerAllExtensions(registry);
  registry.insert<m1::M1Dialect, plan::PlanDialect>();
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  llvm::SourceMgr sources;
  sources.AddNewSourceBuffer(std::move(*buffer), {});
  SourceMgrDiagnosticHandler handler(sources, &context);
  // What a script looks for may be a verifier's message.
  auto module =
      parseSourceFile<ModuleOp>(sources, ParserConfig(&context, /*verifyAfterParse=*/false));
  if (!module)
    return m1rt::error(StatusCode::invalidArgument, "%s: not a module that MLIR can read", path);

  m1rt::TemporaryDirectory directory;
  M1_TRY(directory.open("m1-reduce"));
  const std::string file = directory / "candidate.mlir";
  m1rt::OutputFile output;
  M1_TRY(output.open(arguments.output));
  const auto began = std::chrono::steady_clock::now();
  m1tool::ProgressLine progress;
  Status failure;
  int exitCode = 0;
  m1tool::Reducer *running = nullptr;
  m1tool::Reducer reducer(std::move(module), [&](StringRef text) {
    if (!failure.ok())
      return false;
    if (progress.due())
      progress.show(m1rt::counted(running->countOperations(), "operation") + " left");
    failure = runScript(arguments.test, file, text, &exitCode);
    return failure.ok() && exitCode == 0;
  });
  running = &reducer;
  const size_t before = reducer.countOperations();
  const bool interesting = reducer.run();
  progress.clear();
  M1_TRY(failure);
  if (!interesting)
    return m1rt::error(StatusCode::invalidArgument,
                       "%s: expected --test %s to exit with 0 on the whole module, printed anew, "
                       "got %d",
                       path, arguments.test.c_str(), exitCode);
  M1_TRY(output.write(reducer.getText()));
  M1_TRY(output.commit());
  std::fprintf(stderr, "m1-reduce: %zu of %s left after %s, %.1f s\n", reducer.countOperations(),
               m1rt::counted(before, "operation").c_str(),
               m1rt::counted(reducer.countTests(), "test").c_str(),
               std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  return Status();
}

} // namespace

int main(int argc, char **argv) {
  m1tool::prepareProcess();
  m1tool::reportLlvmErrors();
  CLI::App app{"Shrinks a module of the m1 and plan dialects, or of MLIR's own, while a script "
               "still finds it interesting.",
               "m1-reduce"};
  app.set_version_flag("--version", "m1-reduce " M1_VERSION);
  app.footer("Example: what is left of a module for which m1-opt says so.\n"
             "  printf '#!/bin/sh\\nm1-opt --m1-optimize \"$1\" 2>&1 | grep -q \"expected A\"\\n' "
             "> says.sh\n  chmod +x says.sh && m1-reduce bad.mlir --test ./says.sh");
  Arguments arguments;
  app.add_option("module", arguments.module, "The module, text or bytecode; - is standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("--test", arguments.test,
                 "Program that is given the name of a file and exits with 0 if the module in it is "
                 "interesting")
      ->required()
      ->type_name("SCRIPT")
      ->check([](const std::string &script) {
        return llvm::sys::fs::can_execute(script) ? std::string()
                                                  : "expected a program, got " + script;
      });
  app.add_option("-o,--output", arguments.output, "File to write; - is standard output")
      ->capture_default_str()
      ->type_name("FILE");
  int exitCode = 0;
  if (!m1tool::parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;
  if (std::string mistake =
          m1tool::overwrites("--output", arguments.output, {arguments.module, arguments.test});
      !mistake.empty())
    return m1tool::usageError("m1-reduce", mistake);
  Status status = run(arguments);
  return status.ok() ? 0 : m1tool::fail("m1-reduce", status);
}
