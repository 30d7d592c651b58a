#include "tokenizer/added_tokens.h"

#include "tokenizer/format.h"
#include "tokenizer/unicode.h"

#include <algorithm>
#include <cstring>

namespace m1rt {

using namespace tokenizer_format;

AddedTokens::AddedTokens() : nodes(1) { std::fill(std::begin(roots), std::end(roots), kNone); }

uint32_t AddedTokens::child(uint32_t node, unsigned char byte) const {
  for (const Edge &e : nodes[node].edges)
    if (e.byte == byte)
      return e.node;
  return kNone;
}

void AddedTokens::add(std::string_view content, uint32_t id, uint32_t flags) {
  if (content.empty())
    return;
  uint32_t node = 0;
  for (char c : content) {
    unsigned char byte = static_cast<unsigned char>(c);
    uint32_t next = child(node, byte);
    if (next == kNone) {
      next = static_cast<uint32_t>(nodes.size());
      nodes[node].edges.push_back({byte, next});
      nodes.emplace_back();
      if (node == 0)
        roots[byte] = next;
    }
    node = next;
  }
  int first = static_cast<unsigned char>(content[0]);
  onlyRoot = onlyRoot == -2 || onlyRoot == first ? first : -1;
  if (nodes[node].token != kNone)
    return; // the first of equal contents counts
  nodes[node].token = static_cast<uint32_t>(tokens.size());
  tokens.push_back({id, flags});
}

bool AddedTokens::findNext(std::string_view text, Match &match, const Barriers &barriers) const {
  if (onlyRoot == -2)
    return false;
  CharClasses classes;
  const size_t from = match.end;
  size_t at = match.contentEnd;
  while (at < text.size()) {
    if (onlyRoot >= 0) {
      const void *hit = std::memchr(text.data() + at, onlyRoot, text.size() - at);
      if (!hit)
        return false;
      at = static_cast<size_t>(static_cast<const char *>(hit) - text.data());
    } else {
      while (at < text.size() && roots[static_cast<unsigned char>(text[at])] == kNone)
        ++at;
      if (at == text.size())
        return false;
    }
    uint32_t node = roots[static_cast<unsigned char>(text[at])], found = kNone;
    size_t end = at;
    for (size_t i = at + 1; node != kNone; ++i) {
      if (nodes[node].token != kNone) {
        found = nodes[node].token;
        end = i;
      }
      if (i == text.size() || std::binary_search(barriers.begin(), barriers.end(), i))
        break;
      node = child(node, static_cast<unsigned char>(text[i]));
    }
    if (found == kNone) {
      ++at;
      continue;
    }
    const Token &token = tokens[found];
    size_t begin = at;
    const size_t contentEnd = end;
    if (token.flags & addedSingleWord) {
      size_t left = begin, right = end;
      if ((begin > 0 && isWord(classes(decodeUtf8Before(text.data(), left)))) ||
          (end < text.size() && isWord(classes(decodeUtf8(text.data(), right))))) {
        at = end;
        continue;
      }
    }
    if (token.flags & addedLstrip) {
      for (size_t left = begin;
           left > from && classes(decodeUtf8Before(text.data(), left)) == CharClass::space;)
        begin = left;
      begin = std::max(begin, from);
    }
    if (token.flags & addedRstrip)
      for (size_t right = end;
           right < text.size() && classes(decodeUtf8(text.data(), right)) == CharClass::space;)
        end = right;
    // The match before may have taken all of it as white space.
    if (begin >= end) {
      at = contentEnd;
      continue;
    }
    match = {begin, end, contentEnd, token.id};
    return true;
  }
  return false;
}

} // namespace m1rt
