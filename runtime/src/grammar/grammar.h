// Context-free grammars over bytes, and the automaton that follows a text through one.
#ifndef M1RT_GRAMMAR_GRAMMAR_H
#define M1RT_GRAMMAR_GRAMMAR_H

#include <array>
#include <bitset>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace m1rt {

using ByteSet = std::bitset<256>;
ByteSet bytesFrom(uint8_t first, uint8_t last);

/// Rules are numbers. A rule is any of its alternatives, an alternative a sequence of byte sets and
/// rules. No rule may begin with itself, directly or through others (left recursion): the automaton
/// would not come to an end.
class Grammar {
public:
  using Rule = uint32_t;
  struct Symbol {
    enum class Kind : uint8_t { bytes, rule, end } kind = Kind::end;
    uint32_t index = 0; // of the byte set, or the rule
  };
  using Sequence = std::vector<Symbol>;

  /// A rule without alternatives yet, so that others can refer to it.
  Rule declare();
  void addAlternative(Rule rule, const Sequence &sequence);
  Rule define(const std::vector<Sequence> &alternatives);

  static Symbol use(Rule rule) { return {Symbol::Kind::rule, rule}; }
  Symbol bytes(const ByteSet &set);
  Sequence literal(std::string_view text);
  /// `least` to `most` times; most = unbounded: any number from `least` on.
  static constexpr uint32_t unbounded = UINT32_MAX;
  Rule repeat(const Sequence &sequence, uint32_t least, uint32_t most);

  size_t size() const { return symbols.size(); } // of all alternatives
  bool leftRecursive() const;
  Rule start = 0;

private:
  friend class GrammarAutomaton;
  std::vector<std::vector<uint32_t>> rules; // first symbols of the alternatives, in `symbols`
  std::vector<Symbol> symbols;              // alternatives, each with its end
  std::vector<ByteSet> sets;
  std::unordered_map<ByteSet, uint32_t> setNumbers;
};

/// A deterministic automaton, made as texts visit it. Its states are sets of stacks: what may come,
/// innermost first. Equal stacks are stored once. Not safe from several threads.
class GrammarAutomaton {
public:
  explicit GrammarAutomaton(const Grammar &grammar);
  using State = int32_t;
  static constexpr State dead = -1;

  State start() const { return first; }
  /// What the byte leads to; `dead` when no text goes on like that.
  State next(State state, uint8_t byte) {
    const int32_t known = transitions[size_t(state)][byte];
    return known != unknown ? known : follow(state, byte);
  }
  State next(State state, std::string_view text);
  /// Whether the text may end here.
  bool accepts(State state) const { return accepting[size_t(state)]; }
  size_t states() const { return transitions.size(); }

private:
  static constexpr int32_t unknown = -2;
  using Stack = uint32_t; // 0: empty
  struct Node {
    uint32_t symbol; // position in Grammar::symbols that comes next
    Stack below;
  };
  State follow(State state, uint8_t byte);
  void expand(uint32_t symbol, Stack below, std::vector<Stack> *out);
  Stack push(uint32_t symbol, Stack below);
  State intern(std::vector<Stack> stacks);

  const Grammar &grammar;
  std::vector<Node> nodes; // by stack
  std::map<std::pair<uint32_t, Stack>, Stack> stackNumbers;
  std::map<std::vector<Stack>, State> stateNumbers;
  std::vector<const std::vector<Stack> *> stateStacks;
  std::vector<std::array<int32_t, 256>> transitions;
  std::vector<bool> accepting;
  State first = 0;
};

} // namespace m1rt

#endif
