// Lines typed at a terminal, with editing, history and pasted text of several lines (libedit).
#ifndef M1_TOOLS_RUN_LINE_EDITOR_H
#define M1_TOOLS_RUN_LINE_EDITOR_H

#include <memory>
#include <string>

namespace m1tool {

class LineEditor {
public:
  /// For a terminal on standard input. The line is shown on standard output, or on standard error
  /// where that is no terminal.
  static std::unique_ptr<LineEditor> create();
  ~LineEditor();

  enum class Result { line, interrupted, end };
  /// Reads what is typed or pasted until Enter, without it. `interrupted`: by Ctrl-C, whose flag
  /// stays up (interrupt.h).
  Result read(std::string *out);

private:
  LineEditor() = default;
  struct State;
  std::unique_ptr<State> state;
};

} // namespace m1tool

#endif
