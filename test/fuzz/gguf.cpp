// A GGUF file: refused with a message that names it, or all of its tensors can be read and its
// tokenizer is text.
#include "GgufModel.h"
#include "fuzz.h"
#include "mlir/IR/MLIRContext.h"
#include <vector>

using namespace mlir;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static fuzz::MemoryFile file;
  file.set(fuzz::text(data, size));
  static MLIRContext context(MLIRContext::Threading::DISABLED);
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    message += diagnostic.str();
    return success();
  });
  auto emitError = [&] { return mlir::emitError(UnknownLoc::get(&context)); };
  auto isNamed = [&] { return message.find(file.path()) != std::string::npos; };
  auto opened = m1c::openGguf(file.path(), emitError);
  if (failed(opened)) {
    FUZZ_CHECK(isNamed());
    return 0;
  }
  for (const m1c::GgufTensor &tensor : opened->tensors)
    FUZZ_CHECK(tensor.offset + tensor.data.size() <= size);
  if (failed(m1c::readGgufTokenizer(*opened, emitError)))
    FUZZ_CHECK(isNamed());
  message.clear();
  auto model = m1c::readGgufModel(*opened, emitError);
  if (failed(model)) {
    FUZZ_CHECK(isNamed());
    return 0;
  }
  for (const m1c::SourceTensor &tensor : model->tensors) {
    // 256 values in 84 bytes are the most.
    FUZZ_CHECK(tensor.countElements() <= int64_t(4 * size));
    if (!tensor.code)
      continue;
    std::vector<float> values(tensor.countElements());
    const int64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
    tensor.code->decode(0, tensor.shape.size() < 2 ? 1 : tensor.countElements() / columns,
                        values.data());
    auto groups = tensor.code->storedGroups();
    if (!groups || tensor.shape.size() < 2)
      continue;
    std::vector<int8_t> codes(columns);
    std::vector<char> scales(columns / groups->group * groups->scaleBytes());
    for (int64_t row = 0; row < tensor.countElements() / columns; ++row)
      tensor.code->readGroups(row, codes.data(), scales.data());
  }
  return 0;
}
