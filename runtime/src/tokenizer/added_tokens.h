// Finds added tokens in text: leftmost, and of those the longest, as Hugging Face's tokenizers
// does.
#ifndef M1RT_TOKENIZER_ADDEDTOKENS_H
#define M1RT_TOKENIZER_ADDEDTOKENS_H

#include <cstdint>
#include <string_view>
#include <vector>

namespace m1rt {

// Byte offsets into a text, ascending, that no added token spans: what the text there spells is
// plain.
using Barriers = std::vector<size_t>;

class AddedTokens {
public:
  struct Match {
    size_t begin, end; // including the white space that lstrip and rstrip take
    size_t contentEnd; // where to look on: white space that rstrip took may be a token again
    uint32_t id;
  };

  AddedTokens();
  // `flags` are those of tokenizer_format::AddedFlag. Empty content never matches.
  void add(std::string_view content, uint32_t id, uint32_t flags);
  bool empty() const { return nodes.size() == 1; }
  // The match after `match` whose content has no barrier inside; all 0 at first. lstrip does not
  // reach before the previous match's end.
  bool findNext(std::string_view text, Match &match, const Barriers &barriers = {}) const;

private:
  struct Edge {
    unsigned char byte;
    uint32_t node;
  };
  struct Node {
    std::vector<Edge> edges;
    uint32_t token = kNone; // index into tokens
  };
  struct Token {
    uint32_t id, flags;
  };
  static constexpr uint32_t kNone = 0xFFFFFFFF;
  uint32_t child(uint32_t node, unsigned char byte) const;

  std::vector<Node> nodes;
  std::vector<Token> tokens;
  uint32_t roots[256]; // node of each first byte, or kNone
  int onlyRoot = -2;   // the one first byte that all tokens share; -1: several; -2: no token
};

} // namespace m1rt

#endif
