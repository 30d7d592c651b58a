// config.json and, each after a zero byte, mamba_config.json and generation_config.json: refused
// with a message, or a module that verifies, with dummy weights.
#include "../Support/TemporaryDirectory.h"
#include "fuzz.h"
#include "json_mutator.h"
#include "m1c/Import.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include <optional>
#include <vector>

using namespace mlir;

namespace {

constexpr const char *files[] = {"config.json", "mamba_config.json", "generation_config.json"};

/// Where the parts of an input end.
std::vector<size_t> endsOf(std::string_view text) {
  std::vector<size_t> ends;
  for (size_t end = text.find('\0'); end != text.npos && ends.size() + 1 < std::size(files);
       end = text.find('\0', end + 1))
    ends.push_back(end);
  ends.push_back(text.size());
  return ends;
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  fuzz::JsonMutator mutator(seed);
  const std::vector<size_t> ends = endsOf(fuzz::text(data, size));
  const uint32_t part = mutator.below(uint32_t(ends.size()));
  if (mutator.below(8) && fuzz::mutateJson(mutator, data, size, largest,
                                           part == 0 ? 0 : ends[part - 1] + 1, ends[part]))
    return size;
  return LLVMFuzzerMutate(data, size, largest);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const m1test::TemporaryDirectory directory;
  const std::string_view text = fuzz::text(data, size);
  const std::vector<size_t> ends = endsOf(text);
  static size_t written = 0;
  for (size_t i = 0, begin = 0; i < ends.size(); begin = ends[i++] + 1)
    directory.write(files[i], text.substr(begin, ends[i] - begin));
  for (; written > ends.size(); --written) // of the input before
    std::filesystem::remove(directory / files[written - 1]);
  written = ends.size();
  // Dialects take longer to load than a file to import; names and types stay in a context, so that
  // each serves some hundred files.
  static std::optional<MLIRContext> reused;
  static unsigned uses = 0;
  if (uses++ % 256 == 0)
    reused.emplace(MLIRContext::Threading::DISABLED);
  MLIRContext &context = *reused;
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    message += diagnostic.str();
    return success();
  });
  m1c::ImportOptions options;
  options.activationType = options.stateType = options.kvType = Float32Type::get(&context);
  options.dummy = true;
  m1c::CheckpointData checkpoint;
  m1c::GenerationDefaults generation;
  auto module = m1c::importCheckpoint(context, directory.path, options, checkpoint, &generation);
  if (failed(module))
    FUZZ_CHECK(!message.empty());
  else
    FUZZ_CHECK(succeeded(verify(**module)));
  return 0;
}
