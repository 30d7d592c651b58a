// Byte-pair encoding of one piece (what the pre-tokeniser cuts the text into) over the tables of a
// prepared tokenizer.
#ifndef M1RT_TOKENIZER_BYTEPAIR_H
#define M1RT_TOKENIZER_BYTEPAIR_H

#include "tokenizer/format.h"
#include "tokenizer/hash.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace m1rt {

// What most pairs are looked up in: small enough for a core's own cache, where the table of all
// merges is not. Built when a tokenizer is loaded.
class MergeFilter {
public:
  static constexpr uint64_t kNoMerge = ~static_cast<uint64_t>(0);
  // `byteIds` as in the file; slots are those of the merge table.
  void build(const tokenizer_format::MergeSlot *slots, size_t count, const int32_t *byteIds,
             uint32_t vocabSize);
  // rank << 32 | merged for the tokens of two bytes, or kNoMerge.
  uint64_t ofBytes(unsigned char left, unsigned char right) const {
    return byteMerges[left << 8 | right];
  }
  // False only if the pair whose hashPair this is has no merge.
  bool mayHave(uint64_t hash) const {
    uint64_t bit = hash >> 32 & mask;
    return bits[bit >> 6] >> (bit & 63) & 1;
  }
  void prefetch(uint64_t hash) const { __builtin_prefetch(&bits[(hash >> 32 & mask) >> 6]); }

private:
  std::vector<uint64_t> byteMerges, bits;
  uint64_t mask = 0;
};

// Pointers into the mapped file; checked by Tokenizer::load.
struct BytePairTables {
  uint32_t vocabSize = 0;
  const uint32_t *tokenOffsets = nullptr;
  const char *tokenBytes = nullptr;
  const uint8_t *tokenFlags = nullptr;
  const tokenizer_format::PieceSlot *pieceSlots = nullptr;
  uint32_t pieceMask = 0; // slots - 1
  const tokenizer_format::MergeSlot *mergeSlots = nullptr;
  uint32_t mergeMask = 0;
  const int32_t *byteIds = nullptr;
  const MergeFilter *filter = nullptr;
  int32_t unknownId = -1;
  bool fuseUnknown = false;
  bool ofCharacters = false, byteFallback = false; // see SettingFlag
  uint32_t longestPiece = 0;

  std::string_view bytesOf(uint32_t id) const {
    return {tokenBytes + tokenOffsets[id], tokenOffsets[id + 1] - tokenOffsets[id]};
  }
  // The token with exactly these bytes, or kEmpty.
  uint32_t findPiece(std::string_view piece, uint64_t hash) const {
    uint32_t tag = static_cast<uint32_t>(hash >> 32);
    for (uint32_t slot = static_cast<uint32_t>(hash) & pieceMask;; slot = (slot + 1) & pieceMask) {
      const tokenizer_format::PieceSlot &s = pieceSlots[slot];
      if (s.id == tokenizer_format::kEmpty)
        return tokenizer_format::kEmpty;
      if (s.tag == tag && bytesOf(s.id) == piece)
        return s.id;
    }
  }
  // Begins to load what findMerge of these will read.
  void prefetchMerge(uint32_t left, uint32_t right) const {
    uint64_t hash = hashPair(left, right);
    filter->prefetch(hash);
    __builtin_prefetch(mergeSlots + (static_cast<uint32_t>(hash) & mergeMask));
  }
  // The merge of two tokens, or null.
  const tokenizer_format::MergeSlot *findMerge(uint32_t left, uint32_t right) const {
    uint64_t hash = hashPair(left, right);
    if (!filter->mayHave(hash))
      return nullptr;
    for (uint32_t slot = static_cast<uint32_t>(hash) & mergeMask;; slot = (slot + 1) & mergeMask) {
      const tokenizer_format::MergeSlot &s = mergeSlots[slot];
      if (s.merged == tokenizer_format::kEmpty)
        return nullptr;
      if (s.left == left && s.right == right)
        return &s;
    }
  }
};

// What encoding needs besides the tables; one per thread of encoding at a time.
class BytePairScratch {
public:
  BytePairScratch() : cache(new CacheEntry[kCacheEntries]()) {}

private:
  friend class BytePairEncoder;
  // Pieces that took merging, by hash; the whole piece is kept, so a hit is exact.
  static constexpr size_t kCacheEntries = 4096, kCachedBytes = 30, kCachedIds = 8;
  struct CacheEntry {
    uint8_t size = 0, count = 0;
    char bytes[kCachedBytes];
    uint32_t ids[kCachedIds];
  };
  std::unique_ptr<CacheEntry[]> cache;
  std::vector<uint32_t> symbols, ranks, merged, next, previous;
  std::vector<uint64_t> heap;
};

class BytePairEncoder {
public:
  explicit BytePairEncoder(const BytePairTables &tables) : tables(tables) {}

  // Appends the tokens of the piece (not empty). False when a byte or character has no token and
  // there is no unknown token: `missing` is its offset.
  bool encode(std::string_view piece, BytePairScratch &scratch, std::vector<int32_t> &ids,
              size_t &missing) const {
    uint64_t hash = hashPiece(piece.data(), piece.size());
    if (piece.size() <= tables.longestPiece) {
      uint32_t id = tables.findPiece(piece, hash);
      if (id != tokenizer_format::kEmpty &&
          (tables.tokenFlags[id] & tokenizer_format::wholePiece)) {
        ids.push_back(static_cast<int32_t>(id));
        return true;
      }
    }
    return encodeByMerging(piece, hash, scratch, ids, missing);
  }

  // The same by merging alone, without the look-up of whole pieces and the cache.
  bool merge(std::string_view piece, BytePairScratch &scratch, std::vector<int32_t> &ids,
             size_t &missing) const;

private:
  bool encodeByMerging(std::string_view piece, uint64_t hash, BytePairScratch &scratch,
                       std::vector<int32_t> &ids, size_t &missing) const;
  bool splitBytes(std::string_view piece, BytePairScratch &scratch, size_t &missing) const;
  bool splitCharacters(std::string_view piece, BytePairScratch &scratch, size_t &missing) const;
  void rankNeighbours(BytePairScratch &scratch) const;
  void mergeShort(BytePairScratch &scratch) const;
  void mergeLong(BytePairScratch &scratch) const;

  BytePairTables tables;
};

} // namespace m1rt

#endif
