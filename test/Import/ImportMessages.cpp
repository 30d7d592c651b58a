// import-messages: what importing checkpoints reports, one after the other in one process. A line
// of standard input is a directory or a GGUF file, and behind blanks `dummy`, `max-positions=N`,
// `activation-type=f16`, `digest`. The answer: a line for each message, with `digest` one that
// equal modules have in common, then `imported` or `refused`.
#include "m1c/Import.h"
#include "tokenizer/prepare.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/MD5.h"

#include <iostream>

using namespace mlir;

namespace {

bool import(MLIRContext &context, StringRef path, ArrayRef<StringRef> words) {
  m1c::ImportOptions options;
  options.activationType = options.stateType = options.kvType = Float32Type::get(&context);
  bool digest = false;
  for (StringRef word : words)
    if (word == "dummy")
      options.dummy = true;
    else if (word == "digest")
      digest = true;
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
  auto module = m1c::importCheckpoint(context, path, options, data);
  if (failed(module))
    return false;
  if (digest) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    (*module)->print(stream);
    llvm::MD5 hash;
    hash.update(text);
    std::cout << "digest: " << hash.final().digest().c_str() << "\n";
  }
  return true;
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
