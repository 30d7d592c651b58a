#include "grammar/token_grammar.h"
#include <algorithm>

namespace m1rt {

namespace {

// A state takes a kilobyte, a mask 16 at usual vocabularies. Few of either are ever in use: the
// bounds are for schemas made to have many.
constexpr size_t mostStates = 1 << 16, mostMasks = 2048;

constexpr char endOfThought[] = "</think>";

} // namespace

TokenOrder::TokenOrder(const Tokenizer &tokenizer, uint32_t vocabulary)
    : tokenizer(tokenizer), vocabulary(vocabulary) {
  const int32_t count = std::min(tokenizer.vocabSize(), int32_t(vocabulary));
  for (int32_t id = 0; id < count; ++id)
    if (!tokenizer.isSpecial(id) && !tokenizer.tokenBytes(id).empty())
      entries.push_back({id, 0, tokenizer.tokenBytes(id)});
  std::sort(entries.begin(), entries.end(),
            [](const Entry &a, const Entry &b) { return a.bytes < b.bytes; });
  for (size_t i = 1; i < entries.size(); ++i) {
    const std::string_view a = entries[i - 1].bytes, b = entries[i].bytes;
    entries[i].common = uint32_t(
        std::mismatch(a.begin(), a.begin() + std::min(a.size(), b.size()), b.begin()).first -
        a.begin());
  }
}

/// One sample's place in the grammar.
class GrammarFilter final : public TokenFilter {
public:
  GrammarFilter(std::shared_ptr<TokenGrammar> grammar, bool afterThought)
      : grammar(std::move(grammar)), thinking(afterThought) {}

  void accept(int32_t token) override {
    std::string_view bytes = grammar->order->tokenizer.tokenBytes(token);
    if (grammar->order->tokenizer.isSpecial(token))
      return; // it ends the sample
    if (thinking) {
      thought += bytes;
      const size_t end = thought.find(endOfThought);
      if (end == std::string::npos) {
        // What may be the beginning of the tag is all that matters of it.
        if (thought.size() > sizeof endOfThought)
          thought.erase(0, thought.size() - sizeof endOfThought);
        return;
      }
      thinking = false;
      return; // a token that holds the tag's end holds nothing but blanks behind it
    }
    grammar->advance(&place, said, bytes);
    said += bytes;
  }

  const uint32_t *allowed() override {
    if (thinking)
      return nullptr;
    mask = grammar->allowed(&place, said);
    return mask->data();
  }

private:
  std::shared_ptr<TokenGrammar> grammar;
  TokenGrammar::Place place;
  TokenGrammar::Mask mask;
  std::string said, thought;
  bool thinking;
};

TokenGrammar::TokenGrammar(std::shared_ptr<const TokenOrder> order, Grammar rules,
                           std::vector<int32_t> ends)
    : order(std::move(order)), grammar(std::move(rules)), ends(std::move(ends)),
      automaton(std::make_unique<GrammarAutomaton>(grammar)) {}

std::unique_ptr<TokenFilter> TokenGrammar::createFilter(bool afterThought) {
  return std::make_unique<GrammarFilter>(shared_from_this(), afterThought);
}

/// Makes the place one of the automaton at hand, which is begun anew when it has grown too large.
void TokenGrammar::settle(Place *place, const std::string &said) {
  if (automaton->states() > mostStates || masks.size() > mostMasks) {
    automaton = std::make_unique<GrammarAutomaton>(grammar);
    masks.clear();
    ++generation;
  }
  if (place->generation != generation) {
    place->generation = generation;
    place->state = automaton->next(automaton->start(), said);
  }
}

void TokenGrammar::advance(Place *place, const std::string &said, std::string_view more) {
  std::lock_guard<std::mutex> lock(mutex);
  settle(place, said);
  if (place->state != GrammarAutomaton::dead)
    place->state = automaton->next(place->state, more);
}

TokenGrammar::Mask TokenGrammar::allowed(Place *place, const std::string &said) {
  std::lock_guard<std::mutex> lock(mutex);
  settle(place, said);
  Mask &mask = masks[place->state];
  if (!mask)
    mask = judge(place->state);
  return mask;
}

TokenGrammar::Mask TokenGrammar::judge(GrammarAutomaton::State state) {
  auto mask = std::make_shared<std::vector<uint32_t>>((order->vocabulary + 31) / 32);
  auto allow = [&](int32_t id) { (*mask)[size_t(id) / 32] |= 1u << (id % 32); };
  if (state != GrammarAutomaton::dead) {
    // along[n]: the state behind the first n bytes of the entry at hand, as far as they lead.
    std::vector<GrammarAutomaton::State> along = {state};
    for (const TokenOrder::Entry &entry : order->entries) {
      along.resize(std::min<size_t>(along.size(), entry.common + 1));
      while (along.back() != GrammarAutomaton::dead && along.size() <= entry.bytes.size())
        along.push_back(automaton->next(along.back(), uint8_t(entry.bytes[along.size() - 1])));
      if (along.back() != GrammarAutomaton::dead)
        allow(entry.id);
    }
  }
  if (state == GrammarAutomaton::dead || automaton->accepts(state))
    for (int32_t id : ends)
      allow(id);
  return mask;
}

} // namespace m1rt
