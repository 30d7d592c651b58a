// The prepared tokenizer: a flat little-endian file that is used where it is mapped, without
// parsing.
//
//   FileHeader, SectionEntry[section_count], then the sections, each 8-byte aligned.
//
// Every section appears exactly once. Sizes, indices and values are checked when a tokenizer is
// loaded. Version 1 ends with suffixIds; version 2 adds the sections behind it, version 3 the
// stages that split the spelling of bytes. Written is the least that a tokenizer needs. Files of
// later versions are refused.
#ifndef M1RT_TOKENIZER_FORMAT_H
#define M1RT_TOKENIZER_FORMAT_H

#include <cstdint>

namespace m1rt::tokenizer_format {

constexpr char kMagic[8] = {'M', '1', 'T', 'O', 'K', 'E', 'N', '\0'};
constexpr uint32_t kVersion = 3, kVersionOfCharacters = 2, kFirstVersion = 1;

struct FileHeader {
  char magic[8];
  uint32_t version;
  uint32_t sectionCount;
  uint64_t size; // of the whole file
};

enum class Section : uint32_t {
  settings,     // Settings
  tokenOffsets, // u32[vocabSize + 1]: where each token's bytes lie in tokenBytes
  tokenBytes,   // what each id decodes to
  tokenFlags,   // u8[vocabSize], TokenFlag
  pieceSlots,   // PieceSlot[2^k]: open addressing (linear), hashPiece of the token's bytes
  mergeSlots,   // MergeSlot[2^k]: open addressing (linear), hashPair of the two ids
  byteIds,      // i32[256]: the token of each single byte; -1: none
  addedTokens,  // AddedToken[]
  stages,       // Stage[]: the pre-tokeniser, in order
  strings,      // UTF-8 that added tokens and stages point into
  prefixIds,    // i32[]: special tokens that encoding puts before the text when asked
  suffixIds,    // i32[]: and after it
  normalizer,   // NormalizerStep[], in order; with them composeNfc is not set
  decoder,      // DecoderSettings: one, or none for tokens that are the bytes of the text
  shownOffsets, // u32[vocabSize + 1]: where what each token shows as lies in shownBytes
  shownBytes,   // with a decoder: the token's text, or the byte it stands for
  count
};
constexpr uint32_t kFirstVersionSections = 12;

struct SectionEntry {
  uint32_t section;
  uint32_t reserved;
  uint64_t offset;
  uint64_t size;
};

enum SettingFlag : uint32_t {
  composeNfc = 1,   // normal form C before everything but the raw added tokens
  fuseUnknown = 2,  // adjacent unknown bytes or characters become one unknown token
  ofCharacters = 4, // merging begins with characters, not bytes; tokenBytes are spellings
  byteFallback = 8, // ofCharacters: a character without a token becomes its bytes' (byteIds)
};

struct Settings {
  uint32_t vocabSize; // largest id + 1
  uint32_t flags;
  int32_t unknownId;     // -1: bytes without a token are an error
  uint32_t longestPiece; // bytes of the longest token in pieceSlots
};

enum TokenFlag : uint8_t {
  present = 1,    // ids may have holes
  special = 2,    // left out by decoding with skipSpecial
  wholePiece = 4, // a piece with exactly these bytes becomes this one token
  byteToken = 8,  // shows as one byte; with those beside it, as the characters they spell
};

struct PieceSlot {
  uint32_t tag; // upper half of hashPiece
  uint32_t id;  // kEmpty: free
};

struct MergeSlot {
  uint32_t left, right;
  uint32_t rank;   // smaller merges first
  uint32_t merged; // kEmpty: free
};

constexpr uint32_t kEmpty = 0xFFFFFFFF;

enum AddedFlag : uint32_t {
  addedLstrip = 1,     // takes the white space before it
  addedRstrip = 2,     // and after it
  addedSingleWord = 4, // only where no word character touches it
  addedNormalized = 8, // found in normalized text, not in the raw one
};

struct AddedToken {
  uint32_t id;
  uint32_t flags;
  uint32_t contentOffset, contentSize; // in strings
};

enum class StageKind : uint32_t {
  splitRegex,   // pattern is a regular expression
  splitLiteral, // pattern is a string
  prefixSpace,  // puts a space before each piece that does not begin with one
  metaspace,    // spaces become the pattern's character; `reserved` holds MetaspaceFlag
  // The same of pieces in the spelling of bytes (spellingOfByte), as behind ByteLevel.
  splitSpelledRegex,
  splitSpelledLiteral,
};

enum MetaspaceFlag : uint32_t {
  metaspacePrepend = 1, // the character comes before each piece that does not begin with it
  metaspaceFirst = 2,   // only before the piece at the beginning of the text
  metaspaceSplit = 4,   // a piece begins at each such character
};

enum class SplitBehavior : uint32_t {
  removed,
  isolated,
  mergedWithPrevious,
  mergedWithNext,
  contiguous
};

struct Stage {
  StageKind kind;
  SplitBehavior behavior;
  uint32_t invert;
  uint32_t patternOffset, patternSize; // in strings
  uint32_t reserved;
};

enum class NormalizerKind : uint32_t {
  nfc,
  nfd,
  nfkc,
  nfkd,
  lowercase,
  stripMarks,
  stripLeft, // white space
  stripRight,
  prepend,        // content, unless the text is empty
  replaceLiteral, // pattern by content
  replaceRegex,
};

struct NormalizerStep {
  NormalizerKind kind;
  uint32_t patternOffset, patternSize, contentOffset, contentSize; // in strings
  uint32_t reserved;
};

enum DecoderFlag : uint32_t {
  dropsInFirst = 1, // of the first token, `character` is left out
};

struct DecoderSettings {
  uint32_t flags;
  uint32_t character;             // code point: what spaces are in spellings (dropsInFirst)
  uint32_t strip;                 // code point that may be stripped from the ends of the whole text
  uint32_t stripStart, stripStop; // how often at most
  uint32_t reserved;
};

} // namespace m1rt::tokenizer_format

#endif
