#include "tokenizer/byte_pair.h"

#include "tokenizer/unicode.h"

#include <algorithm>
#include <functional>

namespace m1rt {
namespace {
constexpr uint32_t kNoRank = 0xFFFFFFFF;
// Up to here a linear search for the best pair beats the heap.
constexpr size_t kShortPiece = 64;
} // namespace

void MergeFilter::build(const tokenizer_format::MergeSlot *slots, size_t count,
                        const int32_t *byteIds, uint32_t vocabSize) {
  constexpr int16_t none = -1;
  std::vector<int16_t> byteOf(vocabSize, none);
  for (int b = 0; b < 256; ++b)
    if (byteIds[b] >= 0)
      byteOf[static_cast<size_t>(byteIds[b])] = static_cast<int16_t>(b);
  byteMerges.assign(256 * 256, kNoMerge);
  // 16 bits a merge: about one pair in sixteen without a merge passes.
  size_t size = 64;
  while (size < count * 8)
    size *= 2;
  bits.assign(size / 64, 0);
  mask = size - 1;
  for (size_t i = 0; i < count; ++i) {
    const tokenizer_format::MergeSlot &m = slots[i];
    if (m.merged == tokenizer_format::kEmpty)
      continue;
    uint64_t bit = hashPair(m.left, m.right) >> 32 & mask;
    bits[bit >> 6] |= static_cast<uint64_t>(1) << (bit & 63);
    if (m.left < vocabSize && m.right < vocabSize && byteOf[m.left] != none &&
        byteOf[m.right] != none)
      byteMerges[static_cast<size_t>(byteOf[m.left]) << 8 | static_cast<size_t>(byteOf[m.right])] =
          static_cast<uint64_t>(m.rank) << 32 | m.merged;
  }
}

bool BytePairEncoder::encodeByMerging(std::string_view piece, uint64_t hash,
                                      BytePairScratch &scratch, std::vector<int32_t> &ids,
                                      size_t &missing) const {
  using Scratch = BytePairScratch;
  if (piece.size() > Scratch::kCachedBytes)
    return merge(piece, scratch, ids, missing);
  Scratch::CacheEntry &entry = scratch.cache[(hash >> 20) % Scratch::kCacheEntries];
  if (entry.size == piece.size() && std::memcmp(entry.bytes, piece.data(), piece.size()) == 0) {
    ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
    return true;
  }
  size_t before = ids.size();
  if (!merge(piece, scratch, ids, missing))
    return false;
  size_t count = ids.size() - before;
  if (count <= Scratch::kCachedIds) {
    entry.size = static_cast<uint8_t>(piece.size());
    entry.count = static_cast<uint8_t>(count);
    std::memcpy(entry.bytes, piece.data(), piece.size());
    std::copy(ids.begin() + before, ids.end(), entry.ids);
  }
  return true;
}

// The first symbols of a piece of bytes, with the merges of neighbours.
bool BytePairEncoder::splitBytes(std::string_view piece, BytePairScratch &s,
                                 size_t &missing) const {
  bool afterUnknown = false, anyUnknown = false;
  for (size_t i = 0; i < piece.size(); ++i) {
    int32_t id = tables.byteIds[static_cast<unsigned char>(piece[i])];
    if (id < 0) {
      if (tables.unknownId < 0) {
        missing = i;
        return false;
      }
      if (!(afterUnknown && tables.fuseUnknown))
        s.symbols.push_back(static_cast<uint32_t>(tables.unknownId));
      afterUnknown = anyUnknown = true;
      continue;
    }
    afterUnknown = false;
    s.symbols.push_back(static_cast<uint32_t>(id));
  }
  size_t n = s.symbols.size();
  s.ranks.assign(n, kNoRank);
  s.merged.resize(n);
  if (!anyUnknown) {
    for (size_t i = 0; i + 1 < n; ++i) {
      uint64_t merge = tables.filter->ofBytes(static_cast<unsigned char>(piece[i]),
                                              static_cast<unsigned char>(piece[i + 1]));
      if (merge != MergeFilter::kNoMerge) {
        s.ranks[i] = static_cast<uint32_t>(merge >> 32);
        s.merged[i] = static_cast<uint32_t>(merge);
      }
    }
    return true;
  }
  rankNeighbours(s);
  return true;
}

// The first symbols of a piece of characters. A character without a token becomes the tokens of its
// bytes, if there are all of them, else an unknown token. As in tokenizers an unknown token waits
// for the next character that has one, so that bytes come before it.
bool BytePairEncoder::splitCharacters(std::string_view piece, BytePairScratch &s,
                                      size_t &missing) const {
  bool unknownWaits = false;
  auto pushUnknown = [&] {
    if (unknownWaits)
      s.symbols.push_back(static_cast<uint32_t>(tables.unknownId));
    unknownWaits = false;
  };
  for (size_t at = 0; at < piece.size();) {
    size_t begin = at;
    decodeUtf8(piece.data(), at);
    std::string_view character = piece.substr(begin, at - begin);
    uint32_t id = tables.findPiece(character, hashPiece(character.data(), character.size()));
    if (id != tokenizer_format::kEmpty) {
      pushUnknown();
      s.symbols.push_back(id);
      continue;
    }
    auto byteId = [&](char c) { return tables.byteIds[static_cast<unsigned char>(c)]; };
    if (tables.byteFallback &&
        std::all_of(character.begin(), character.end(), [&](char c) { return byteId(c) >= 0; })) {
      for (char c : character)
        s.symbols.push_back(static_cast<uint32_t>(byteId(c)));
      continue;
    }
    if (tables.unknownId < 0) {
      missing = begin;
      return false;
    }
    if (!tables.fuseUnknown)
      pushUnknown();
    unknownWaits = true;
  }
  pushUnknown();
  s.ranks.assign(s.symbols.size(), kNoRank);
  s.merged.resize(s.symbols.size());
  rankNeighbours(s);
  return true;
}

void BytePairEncoder::rankNeighbours(BytePairScratch &s) const {
  for (size_t i = 0; i + 1 < s.symbols.size(); ++i)
    if (const auto *m = tables.findMerge(s.symbols[i], s.symbols[i + 1])) {
      s.ranks[i] = m->rank;
      s.merged[i] = m->merged;
    }
}

bool BytePairEncoder::merge(std::string_view piece, BytePairScratch &s, std::vector<int32_t> &ids,
                            size_t &missing) const {
  s.symbols.clear();
  if (!(tables.ofCharacters ? splitCharacters(piece, s, missing) : splitBytes(piece, s, missing)))
    return false;
  if (s.symbols.size() <= kShortPiece)
    mergeShort(s);
  else
    mergeLong(s);
  ids.insert(ids.end(), s.symbols.begin(), s.symbols.end());
  return true;
}

// ranks[i] is the rank of the pair (i, i + 1); the lowest, and of equal ones the leftmost, merges
// first.
void BytePairEncoder::mergeShort(BytePairScratch &s) const {
  uint32_t *symbols = s.symbols.data(), *ranks = s.ranks.data(), *merged = s.merged.data();
  size_t n = s.symbols.size();
  auto rankPair = [&](size_t i) {
    const auto *m = i + 1 < n ? tables.findMerge(symbols[i], symbols[i + 1]) : nullptr;
    ranks[i] = m ? m->rank : kNoRank;
    if (m)
      merged[i] = m->merged;
  };
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (ranks[i] < ranks[best])
        best = i;
    if (ranks[best] == kNoRank)
      break;
    symbols[best] = merged[best];
    if (best + 2 < n)
      tables.prefetchMerge(symbols[best], symbols[best + 2]);
    if (best > 0)
      tables.prefetchMerge(symbols[best - 1], symbols[best]);
    size_t tail = n - best - 2;
    std::memmove(symbols + best + 1, symbols + best + 2, tail * sizeof *symbols);
    std::memmove(ranks + best + 1, ranks + best + 2, tail * sizeof *ranks);
    std::memmove(merged + best + 1, merged + best + 2, tail * sizeof *merged);
    --n;
    rankPair(best);
    if (best > 0)
      rankPair(best - 1);
  }
  s.symbols.resize(n);
}

// A heap of (rank, position) over a linked list. An entry whose rank is no longer that of its
// position is stale.
void BytePairEncoder::mergeLong(BytePairScratch &s) const {
  uint32_t n = static_cast<uint32_t>(s.symbols.size());
  constexpr uint32_t none = kNoRank;
  s.next.resize(n);
  s.previous.resize(n);
  s.heap.clear();
  for (uint32_t i = 0; i < n; ++i) {
    s.next[i] = i + 1 < n ? i + 1 : none;
    s.previous[i] = i > 0 ? i - 1 : none;
    if (s.ranks[i] != kNoRank)
      s.heap.push_back(static_cast<uint64_t>(s.ranks[i]) << 32 | i);
  }
  std::make_heap(s.heap.begin(), s.heap.end(), std::greater<>());
  auto rankPair = [&](uint32_t i) {
    s.ranks[i] = kNoRank;
    if (s.next[i] == none)
      return;
    if (const auto *m = tables.findMerge(s.symbols[i], s.symbols[s.next[i]])) {
      s.ranks[i] = m->rank;
      s.merged[i] = m->merged;
      s.heap.push_back(static_cast<uint64_t>(m->rank) << 32 | i);
      std::push_heap(s.heap.begin(), s.heap.end(), std::greater<>());
    }
  };
  while (!s.heap.empty()) {
    std::pop_heap(s.heap.begin(), s.heap.end(), std::greater<>());
    uint64_t top = s.heap.back();
    s.heap.pop_back();
    uint32_t i = static_cast<uint32_t>(top);
    if (s.ranks[i] != static_cast<uint32_t>(top >> 32))
      continue;
    uint32_t absorbed = s.next[i];
    s.symbols[i] = s.merged[i];
    s.ranks[absorbed] = kNoRank;
    s.next[i] = s.next[absorbed];
    if (s.next[i] != none)
      s.previous[s.next[i]] = i;
    rankPair(i);
    if (s.previous[i] != none)
      rankPair(s.previous[i]);
  }
  size_t out = 0;
  for (uint32_t i = 0; i != none; i = s.next[i])
    s.symbols[out++] = s.symbols[i];
  s.symbols.resize(out);
}

} // namespace m1rt
