// import-messages: what importing checkpoints reports, one after the other in one process. A line
// of standard input is a directory or a GGUF file, and behind blanks `dummy`, `max-positions=N`,
// `activation-type=f16`. The answer: a line for each message, then `imported` or `refused`.
#include "m1c/Import.h"
#include "tokenizer/prepare.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"

#include <iostream>

using namespace mlir;

namespace {

bool import(MLIRContext &context, StringRef path, ArrayRef<StringRef> words) {
  m1c::ImportOptions options;
  options.activationType = options.stateType = options.kvType = Float32Type::get(&context);
  for (StringRef word : words)
    if (word == "dummy")
      options.dummy = true;
    else if (word == "activation-type=f16")
      options.activationType = Float16Type::get(&context);
    else if (!word.consume_front("max-positions=") || word.getAsInteger(10, options.maxPositions))
      return emitError(UnknownLoc::get(&context)) << "import-messages: unknown word " << word,
             false;
  if (m1c::isGgufFile(path)) {
    auto texts = m1c::readGgufTokenizer(path, [&] { return emitError(UnknownLoc::get(&context)); });
    if (failed(texts))
      return false;
    m1rt::PreparedTokenizer tokenizer;
    std::string error;
    if (!texts->tokenizer.empty() &&
        !m1rt::prepareTokenizerText(path.str(), texts->tokenizer, texts->config, tokenizer, error))
      return emitError(UnknownLoc::get(&context)) << error, false;
  }
  m1c::CheckpointData data;
  return succeeded(m1c::importCheckpoint(context, path, options, data));
}

} // namespace

int main() {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.getDiagEngine().registerHandler([](Diagnostic &diagnostic) {
    static const char *const names[] = {"note", "warning", "error", "remark"};
    std::cout << names[int(diagnostic.getSeverity())] << ": " << diagnostic.str() << "\n";
    return success();
  });
  for (std::string line; std::getline(std::cin, line);) {
    SmallVector<StringRef> words;
    StringRef(line).split(words, ' ');
    bool imported = import(context, words.front(), ArrayRef(words).drop_front());
    std::cout << (imported ? "imported" : "refused") << std::endl;
  }
}
