// m1-lsp-server: the dialects in an editor (completion, diagnostics, navigation of .mlir files).
#include "M1/IR/M1.h"
#include "Plan/Plan.h"
#include "llvm_options.h"
#include "m1c/ReadableText.h"

#include "mlir/InitAllDialects.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/LSP/Protocol.h"
#include "llvm/Support/LSP/Transport.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sys/prctl.h>
#include <unistd.h>

using namespace llvm;

namespace {

/// Stands between the editor and MLIR's server, whose parser ends the process at some texts
/// (m1c/ReadableText.h): it follows the documents as the editor changes them and passes each on as
/// a whole, with what cannot be read made an error at the same place. All else goes through as it
/// is.
class Documents {
public:
  /// The message that the server gets.
  std::string pass(const std::string &message) {
    Expected<json::Value> parsed = json::parse(message);
    if (!parsed) {
      consumeError(parsed.takeError()); // the server's to complain of
      return message;
    }
    json::Object *object = parsed->getAsObject();
    const StringRef method = object ? object->getString("method").value_or("") : "";
    json::Object *params = object ? object->getObject("params") : nullptr;
    json::Object *document = params ? params->getObject("textDocument") : nullptr;
    std::optional<StringRef> uri = document ? document->getString("uri") : std::nullopt;
    if (!uri)
      return message;
    if (method == "textDocument/didOpen") {
      std::string &text = texts[uri->str()] = document->getString("text").value_or("").str();
      (*document)["text"] = readable(text);
    } else if (method == "textDocument/didChange") {
      std::string &text = texts[uri->str()];
      json::Path::Root root;
      std::vector<lsp::TextDocumentContentChangeEvent> changes;
      json::Value *given = params->get("contentChanges");
      if (!given || !json::fromJSON(*given, changes, root))
        return message;
      for (const lsp::TextDocumentContentChangeEvent &change : changes)
        apply(change, text);
      *given = json::Array{json::Object{{"text", readable(text)}}};
    } else {
      if (method == "textDocument/didClose")
        texts.erase(uri->str());
      return message;
    }
    std::string passed;
    raw_string_ostream(passed) << *parsed;
    return passed;
  }

private:
  static std::string readable(const std::string &text) {
    return m1c::withoutIndexArrays(text).substr(0, m1c::findDeepNesting(text));
  }

  /// Where a position lies in the text, or its end: lines, and units of UTF-16 in a line.
  static size_t offsetOf(StringRef text, const lsp::Position &position) {
    size_t at = 0;
    for (int line = 0; line < position.line && at < text.size(); ++line)
      at = std::min(text.find('\n', at), text.size() - 1) + 1;
    for (int unit = 0; unit < position.character && at < text.size() && text[at] != '\n';) {
      const auto lead = static_cast<unsigned char>(text[at]);
      const int bytes = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
      unit += bytes == 4 ? 2 : 1;
      at += bytes;
    }
    return std::min(at, text.size());
  }

  static void apply(const lsp::TextDocumentContentChangeEvent &change, std::string &text) {
    if (!change.range) {
      text = change.text;
      return;
    }
    const size_t begin = offsetOf(text, change.range->start),
                 end = std::max(begin, offsetOf(text, change.range->end));
    text.replace(begin, end - begin, change.text);
  }

  std::map<std::string, std::string> texts; // by URI, as the editor has them
};

/// Passes the editor's messages on until one of the two ends.
void filter(std::FILE *editor, int server, lsp::JSONStreamStyle style) {
  lsp::JSONTransportInputOverFile input(editor, style);
  raw_fd_ostream out(server, /*shouldClose=*/true);
  Documents documents;
  std::string message;
  while (!input.isEndOfInput() && !input.hasError()) {
    if (failed(input.readMessage(message)))
      continue;
    const std::string passed = documents.pass(message);
    if (style == lsp::Standard)
      out << "Content-Length: " << passed.size() << "\r\n\r\n" << passed;
    else
      out << passed << "\n// -----\n";
    out.flush();
  }
}

/// Starts the filter, a process that ends with this one, and makes its output standard input.
bool filterInput(lsp::JSONStreamStyle style) {
  int ends[2];
  if (pipe(ends) != 0)
    return false;
  const pid_t server = getpid(), child = fork();
  if (child < 0)
    return false;
  if (child == 0) {
    close(ends[0]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == server)
      filter(stdin, ends[1], style);
    std::_Exit(0);
  }
  close(ends[1]);
  return dup2(ends[0], STDIN_FILENO) >= 0 && close(ends[0]) == 0;
}

} // namespace

int main(int argc, char **argv) {
  m1tool::hideLlvmOptions();
  cl::SetVersionPrinter([](raw_ostream &stream) { stream << "m1-lsp-server " M1_VERSION "\n"; });
  cl::extrahelp example("\nExample, for an editor that starts language servers by command "
                        "(here VS Code's MLIR extension):\n"
                        "  \"mlir.server_path\": \"BUILD/bin/m1-lsp-server\"\n");
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<mlir::m1::M1Dialect, mlir::plan::PlanDialect>();
  // MlirLspServerMain reads its options itself; these two choose the style.
  const bool isDelimited = any_of(ArrayRef(argv, argc).drop_front(), [](StringRef argument) {
    return argument.ltrim('-') == "lit-test" || argument.ends_with("delimited");
  });
  if (!filterInput(isDelimited ? lsp::Delimited : lsp::Standard)) {
    std::perror("m1-lsp-server: standard input");
    return 1;
  }
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry)) ? 1 : 0;
}
