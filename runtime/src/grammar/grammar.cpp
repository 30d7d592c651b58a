#include "grammar/grammar.h"
#include <algorithm>
#include <set>

namespace m1rt {

ByteSet bytesFrom(uint8_t first, uint8_t last) {
  ByteSet set;
  for (unsigned byte = first; byte <= last; ++byte)
    set.set(byte);
  return set;
}

Grammar::Rule Grammar::declare() {
  rules.emplace_back();
  return Rule(rules.size() - 1);
}

void Grammar::addAlternative(Rule rule, const Sequence &sequence) {
  rules[rule].push_back(uint32_t(symbols.size()));
  symbols.insert(symbols.end(), sequence.begin(), sequence.end());
  symbols.push_back({Symbol::Kind::end, 0});
}

Grammar::Rule Grammar::define(const std::vector<Sequence> &alternatives) {
  const Rule rule = declare();
  for (const Sequence &sequence : alternatives)
    addAlternative(rule, sequence);
  return rule;
}

Grammar::Symbol Grammar::bytes(const ByteSet &set) {
  auto [it, isNew] = setNumbers.emplace(set, uint32_t(sets.size()));
  if (isNew)
    sets.push_back(set);
  return {Symbol::Kind::bytes, it->second};
}

Grammar::Sequence Grammar::literal(std::string_view text) {
  Sequence sequence;
  for (char byte : text)
    sequence.push_back(bytes(bytesFrom(uint8_t(byte), uint8_t(byte))));
  return sequence;
}

Grammar::Rule Grammar::repeat(const Sequence &sequence, uint32_t least, uint32_t most) {
  auto followedBy = [&](Rule rest) {
    Sequence whole = sequence;
    whole.push_back(use(rest));
    return whole;
  };
  Rule rule;
  if (most == unbounded) {
    rule = declare();
    addAlternative(rule, followedBy(rule));
    addAlternative(rule, {});
  } else {
    rule = define({{}});
    for (uint32_t i = least; i < most; ++i)
      rule = define({followedBy(rule), {}});
  }
  for (uint32_t i = 0; i < least; ++i)
    rule = define({followedBy(rule)});
  return rule;
}

bool Grammar::leftRecursive() const {
  // Which rules can be empty, and from there which rules a rule can begin with.
  std::vector<bool> empty(rules.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t rule = 0; rule < rules.size(); ++rule)
      for (uint32_t at : rules[rule]) {
        while (symbols[at].kind == Symbol::Kind::rule && empty[symbols[at].index])
          ++at;
        if (symbols[at].kind == Symbol::Kind::end && !empty[rule])
          empty[rule] = changed = true;
      }
  }
  std::vector<std::vector<Rule>> begins(rules.size());
  for (size_t rule = 0; rule < rules.size(); ++rule)
    for (uint32_t at : rules[rule])
      for (; symbols[at].kind == Symbol::Kind::rule; ++at) {
        begins[rule].push_back(symbols[at].index);
        if (!empty[symbols[at].index])
          break;
      }
  enum : uint8_t { fresh, open, done };
  std::vector<uint8_t> state(rules.size(), fresh);
  std::vector<std::pair<Rule, size_t>> path; // depth first, and the next child to visit
  for (Rule root = 0; root < rules.size(); ++root) {
    if (state[root] != fresh)
      continue;
    state[root] = open;
    path.emplace_back(root, 0);
    while (!path.empty()) {
      auto &[rule, child] = path.back();
      if (child == begins[rule].size()) {
        state[rule] = done;
        path.pop_back();
        continue;
      }
      const Rule next = begins[rule][child++];
      if (state[next] == open)
        return true;
      if (state[next] == fresh) {
        state[next] = open;
        path.emplace_back(next, 0);
      }
    }
  }
  return false;
}

GrammarAutomaton::GrammarAutomaton(const Grammar &grammar) : grammar(grammar) {
  nodes.push_back({0, 0}); // the empty stack
  std::vector<Stack> stacks;
  for (uint32_t alternative : grammar.rules[grammar.start])
    expand(alternative, 0, &stacks);
  first = intern(std::move(stacks));
}

GrammarAutomaton::Stack GrammarAutomaton::push(uint32_t symbol, Stack below) {
  auto [it, isNew] = stackNumbers.emplace(std::make_pair(symbol, below), Stack(nodes.size()));
  if (isNew)
    nodes.push_back({symbol, below});
  return it->second;
}

/// The stacks whose top is a byte set, or that are empty, when `symbol` comes next.
void GrammarAutomaton::expand(uint32_t symbol, Stack below, std::vector<Stack> *out) {
  std::vector<std::pair<uint32_t, Stack>> left = {{symbol, below}};
  std::set<std::pair<uint32_t, Stack>> visited; // ambiguous rules lead to one place in many ways
  while (!left.empty()) {
    auto [at, under] = left.back();
    left.pop_back();
    if (!visited.emplace(at, under).second)
      continue;
    const Grammar::Symbol &next = grammar.symbols[at];
    if (next.kind == Grammar::Symbol::Kind::bytes) {
      out->push_back(push(at, under));
    } else if (next.kind == Grammar::Symbol::Kind::end) {
      if (under == 0)
        out->push_back(0);
      else
        left.emplace_back(nodes[under].symbol, nodes[under].below);
    } else {
      // At the end of a rule nothing of it needs to be remembered: repetition keeps stacks short.
      const bool last = grammar.symbols[at + 1].kind == Grammar::Symbol::Kind::end;
      const Stack rest = last ? under : push(at + 1, under);
      for (uint32_t alternative : grammar.rules[next.index])
        left.emplace_back(alternative, rest);
    }
  }
}

GrammarAutomaton::State GrammarAutomaton::intern(std::vector<Stack> stacks) {
  std::sort(stacks.begin(), stacks.end());
  stacks.erase(std::unique(stacks.begin(), stacks.end()), stacks.end());
  if (stacks.empty())
    return dead;
  auto [it, isNew] = stateNumbers.emplace(std::move(stacks), State(transitions.size()));
  if (isNew) {
    stateStacks.push_back(&it->first);
    accepting.push_back(it->first.front() == 0);
    transitions.emplace_back();
    transitions.back().fill(unknown);
  }
  return it->second;
}

GrammarAutomaton::State GrammarAutomaton::follow(State state, uint8_t byte) {
  std::vector<Stack> after;
  for (Stack stack : *stateStacks[size_t(state)]) {
    if (stack == 0)
      continue;
    const Node node = nodes[stack];
    if (grammar.sets[grammar.symbols[node.symbol].index].test(byte))
      expand(node.symbol + 1, node.below, &after);
  }
  const State reached = intern(std::move(after));
  transitions[size_t(state)][byte] = reached;
  return reached;
}

GrammarAutomaton::State GrammarAutomaton::next(State state, std::string_view text) {
  for (char byte : text)
    if ((state = next(state, uint8_t(byte))) == dead)
      return dead;
  return state;
}

} // namespace m1rt
