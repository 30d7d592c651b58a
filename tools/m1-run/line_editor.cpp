#include "line_editor.h"
#include "interrupt.h"
#include <cerrno>
#include <clocale>
#include <cwchar>
#include <histedit.h>
#include <string_view>
#include <unistd.h>

namespace m1tool {

namespace {

// What terminals put around pasted text once they are asked to (xterm's mode 2004), so that its
// line breaks do not count as Enter.
constexpr char kAskForBrackets[] = "\033[?2004h", kNoBrackets[] = "\033[?2004l";
constexpr char kPasteBegin[] = "\033[200~";
constexpr std::wstring_view kPasteEnd = L"\033[201~";

/// The next character from the terminal; unlike libedit's own function it ends on a signal.
int readCharacter(EditLine *, wchar_t *out) {
  std::mbstate_t shift{};
  for (;;) {
    char byte;
    const ssize_t size = ::read(STDIN_FILENO, &byte, 1);
    if (size == 0)
      return 0;
    if (size < 0) {
      if (errno == EINTR && !interruptFlag().load())
        continue; // the window's size, for instance
      return -1;
    }
    const size_t length = std::mbrtowc(out, &byte, 1, &shift);
    if (length == size_t(-1)) { // not UTF-8
      shift = {};
      *out = L'\uFFFD';
      return 1;
    }
    if (length != size_t(-2))
      return 1;
  }
}

/// Puts pasted text into the line as it is.
unsigned char paste(EditLine *line, int) {
  std::wstring text;
  wchar_t character;
  while (el_wgetc(line, &character) == 1) {
    text += character == L'\r' ? L'\n' : character;
    if (text.size() >= kPasteEnd.size() &&
        text.compare(text.size() - kPasteEnd.size(), kPasteEnd.size(), kPasteEnd) == 0) {
      text.resize(text.size() - kPasteEnd.size());
      break;
    }
  }
  // A line break at its end would only wait for Enter on a line of its own.
  while (!text.empty() && text.back() == L'\n')
    text.pop_back();
  if (!text.empty() && el_winsertstr(line, text.c_str()) != 0)
    return CC_ERROR;
  return CC_REFRESH;
}

wchar_t *prompt(EditLine *) {
  static wchar_t text[] = L"> ";
  return text;
}

} // namespace

struct LineEditor::State {
  EditLine *line = nullptr;
  HistoryW *history = nullptr;
  std::FILE *shown = nullptr;
};

std::unique_ptr<LineEditor> LineEditor::create() {
  // For widths of characters and their bytes alone; the locale of the environment may be none of
  // UTF-8.
  std::setlocale(LC_CTYPE, "C.UTF-8");
  std::unique_ptr<LineEditor> editor(new LineEditor);
  editor->state = std::make_unique<State>();
  State &state = *editor->state;
  state.shown = isatty(STDOUT_FILENO) ? stdout : stderr;
  state.line = el_init("m1-run", stdin, state.shown, stderr);
  state.history = history_winit();
  HistEventW event;
  history_w(state.history, &event, H_SETSIZE, 1000);
  el_wset(state.line, EL_HIST, history_w, state.history);
  el_wset(state.line, EL_PROMPT, prompt);
  el_wset(state.line, EL_EDITOR, L"emacs");
  el_wset(state.line, EL_GETCFN, readCharacter);
  el_wset(state.line, EL_ADDFN, L"m1-paste", L"Puts pasted text into the line", paste);
  el_set(state.line, EL_BIND, kPasteBegin, "m1-paste", nullptr);
  return editor;
}

LineEditor::~LineEditor() {
  el_end(state->line);
  history_wend(state->history);
}

LineEditor::Result LineEditor::read(std::string *out) {
  out->clear();
  std::fputs(kAskForBrackets, state->shown);
  std::fflush(state->shown);
  int count = 0;
  const wchar_t *text = el_wgets(state->line, &count);
  std::fputs(kNoBrackets, state->shown);
  std::fflush(state->shown);
  if (!text || count <= 0)
    return interruptFlag().load() ? Result::interrupted : Result::end;
  std::wstring line(text, size_t(count));
  if (line.back() == L'\n')
    line.pop_back();
  if (line.find_first_not_of(L" \t\n") != std::wstring::npos) {
    HistEventW event;
    history_w(state->history, &event, H_ENTER, line.c_str());
  }
  std::mbstate_t shift{};
  for (wchar_t character : line) {
    char bytes[16];
    const size_t size = std::wcrtomb(bytes, character, &shift);
    if (size != size_t(-1))
      out->append(bytes, size);
  }
  return Result::line;
}

} // namespace m1tool
