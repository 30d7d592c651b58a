// A grammar over the tokens of a tokenizer: which ids may come next in a sample.
#ifndef M1RT_GRAMMAR_TOKEN_GRAMMAR_H
#define M1RT_GRAMMAR_TOKEN_GRAMMAR_H

#include "engine/engine.h"
#include "grammar/grammar.h"
#include "tokenizer/tokenizer.h"
#include <memory>
#include <mutex>

namespace m1rt {

/// The tokens in order of their bytes, so that one walk over a grammar's automaton judges all of
/// them. Made once for a tokenizer, which must outlive it.
class TokenOrder {
public:
  /// `vocabulary`: ids that the model knows. Special tokens are no part of any text.
  TokenOrder(const Tokenizer &tokenizer, uint32_t vocabulary);
  const Tokenizer &tokenizer;
  const uint32_t vocabulary;
  struct Entry {
    int32_t id;
    uint32_t common; // leading bytes shared with the entry before
    std::string_view bytes;
  };
  std::vector<Entry> entries;
};

/// Shared by the samples of a request; safe from several threads.
class TokenGrammar : public std::enable_shared_from_this<TokenGrammar> {
public:
  /// `ends`: ids that end a sample; where the grammar's text may end, they are allowed.
  TokenGrammar(std::shared_ptr<const TokenOrder> order, Grammar grammar, std::vector<int32_t> ends);

  /// For one sample. With `afterThought` everything is allowed until the sample has said
  /// </think>; the grammar's text begins behind it.
  std::unique_ptr<TokenFilter> createFilter(bool afterThought);

private:
  friend class GrammarFilter;
  using Mask = std::shared_ptr<const std::vector<uint32_t>>;
  /// Where the text stands that begins the sample's: the state, and the ids that may follow.
  struct Place {
    uint64_t generation = 0; // of the automaton that the state is of
    GrammarAutomaton::State state = 0;
  };
  void advance(Place *place, const std::string &said, std::string_view more);
  Mask allowed(Place *place, const std::string &said);
  void settle(Place *place, const std::string &said);
  Mask judge(GrammarAutomaton::State state);

  std::shared_ptr<const TokenOrder> order;
  const Grammar grammar;
  std::vector<int32_t> ends;
  std::mutex mutex;
  std::unique_ptr<GrammarAutomaton> automaton;
  uint64_t generation = 1;
  std::unordered_map<GrammarAutomaton::State, Mask> masks;
};

} // namespace m1rt

#endif
