// Splits an answer into its thought, which <think> and </think> enclose, and the rest.
#ifndef M1_TOOLS_SERVE_REASONING_H
#define M1_TOOLS_SERVE_REASONING_H

#include <string>

namespace m1serve {

/// Takes text piece by piece and gives it away as soon as it is certain what it is. Blanks around
/// the tags belong to neither part.
class ReasoningSplitter {
public:
  /// `opened`: the prompt already ends in <think>. An answer that does not begin with the tag has
  /// no thought.
  explicit ReasoningSplitter(bool opened) : state(opened ? State::beforeThought : State::begin) {}

  struct Piece {
    std::string reasoning, content;
  };
  Piece push(const std::string &text);
  /// What was held back, at the end of the answer.
  Piece finish();
  bool thinking() const { return state == State::beforeThought || state == State::thought; }

  static bool opensThought(const std::string &prompt);

private:
  enum class State { begin, beforeThought, thought, beforeContent, content };
  State state;
  std::string held;
};

} // namespace m1serve

#endif
