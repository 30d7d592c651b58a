#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace m1rt {

using namespace tokenizer_format;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the prepared format is little-endian");

namespace {

// By Section: the name in messages, and the bytes of one item.
struct SectionKind {
  const char *name;
  size_t itemSize;
};
constexpr SectionKind kSections[] = {
    {"settings", sizeof(Settings)},
    {"tokenOffsets", 4},
    {"tokenBytes", 1},
    {"tokenFlags", 1},
    {"pieceSlots", sizeof(PieceSlot)},
    {"mergeSlots", sizeof(MergeSlot)},
    {"byteIds", 4},
    {"addedTokens", sizeof(AddedToken)},
    {"stages", sizeof(Stage)},
    {"strings", 1},
    {"prefixIds", 4},
    {"suffixIds", 4},
    {"normalizer", sizeof(NormalizerStep)},
    {"decoder", sizeof(DecoderSettings)},
    {"shownOffsets", 4},
    {"shownBytes", 1},
};
static_assert(std::size(kSections) == static_cast<size_t>(Section::count), "");

bool inconsistent(Section section, std::string &error) {
  error =
      std::string("section ") + kSections[static_cast<size_t>(section)].name + " is inconsistent";
  return false;
}

// Whether these are where the texts of `count` tokens begin within so many bytes, and where the
// last one ends.
bool areOffsets(const uint32_t *offsets, size_t n, size_t count, size_t bytes) {
  return n == count + 1 && offsets[0] == 0 && offsets[n - 1] <= bytes &&
         std::is_sorted(offsets, offsets + n);
}

bool isPowerOfTwo(size_t n) { return n && (n & (n - 1)) == 0; }

} // namespace

std::unique_ptr<Tokenizer> Tokenizer::load(std::string_view prepared, std::string &error,
                                           TokenizerOptions options) {
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer);
  if (!tokenizer->bindSections(prepared, error) || !tokenizer->bindTokens(error) ||
      !tokenizer->bindMerges(error) || !tokenizer->bindAffixes(error) ||
      !tokenizer->bindText(options, error)) {
    error = "prepared tokenizer: " + error;
    return nullptr;
  }
  return tokenizer;
}

uint32_t Tokenizer::countIds(std::string_view prepared) {
  FileHeader header;
  SectionEntry entry;
  Settings settings;
  static_assert(static_cast<int>(Section::settings) == 0, "its entry is the first");
  if (prepared.size() < sizeof header + sizeof entry)
    return 0;
  std::memcpy(&header, prepared.data(), sizeof header);
  std::memcpy(&entry, prepared.data() + sizeof header, sizeof entry);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.version < kFirstVersion ||
      header.version > kVersion || entry.size != sizeof settings ||
      entry.offset > prepared.size() || entry.size > prepared.size() - entry.offset)
    return 0;
  std::memcpy(&settings, prepared.data() + entry.offset, sizeof settings);
  return settings.vocabSize;
}

// Where the sections lie, each within the file and made of whole items.
bool Tokenizer::bindSections(std::string_view prepared, std::string &error) {
  FileHeader header;
  if (prepared.size() < sizeof header) {
    error = "truncated: " + std::to_string(prepared.size()) + " bytes";
    return false;
  }
  if (reinterpret_cast<uintptr_t>(prepared.data()) % 8) {
    error = "not at an address that is a multiple of 8";
    return false;
  }
  std::memcpy(&header, prepared.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    error = "wrong magic bytes";
    return false;
  }
  if (header.version < kFirstVersion || header.version > kVersion) {
    error = "version " + std::to_string(header.version) + ", this program reads versions " +
            std::to_string(kFirstVersion) + " to " + std::to_string(kVersion);
    return false;
  }
  size_t count =
      header.version == kFirstVersion ? kFirstVersionSections : static_cast<size_t>(Section::count);
  if (header.size != prepared.size() || header.sectionCount != count ||
      prepared.size() < sizeof header + count * sizeof(SectionEntry)) {
    error = "truncated: " + std::to_string(prepared.size()) + " of " + std::to_string(header.size) +
            " bytes";
    return false;
  }
  for (size_t i = 0; i < count; ++i) {
    SectionEntry entry;
    std::memcpy(&entry, prepared.data() + sizeof header + i * sizeof entry, sizeof entry);
    if (entry.section != i || entry.offset % 8 || entry.offset > prepared.size() ||
        entry.size > prepared.size() - entry.offset || entry.size % kSections[i].itemSize) {
      error = std::string("section ") + kSections[i].name + " lies outside the file";
      return false;
    }
    sections[i] = {prepared.data() + entry.offset, static_cast<size_t>(entry.size)};
  }
  return true;
}

// What the tokens are: their number, their bytes and, where these are spelled, what they show as.
bool Tokenizer::bindTokens(std::string &error) {
  size_t n = 0, bytes = 0;
  const Settings *settings = section<Settings>(Section::settings, n);
  if (n != 1 || settings->vocabSize >= 0x7FFFFFFF)
    return inconsistent(Section::settings, error);
  tables.vocabSize = settings->vocabSize;
  tables.longestPiece = settings->longestPiece;
  tables.unknownId = settings->unknownId;
  tables.fuseUnknown = settings->flags & fuseUnknown;
  tables.ofCharacters = settings->flags & ofCharacters;
  tables.byteFallback = settings->flags & byteFallback;
  if ((settings->flags & composeNfc) && !normalizer.add(NormalizerKind::nfc, {}, {}, error))
    return false;
  if (tables.unknownId != -1 && !isToken(static_cast<uint32_t>(tables.unknownId)))
    return inconsistent(Section::settings, error);

  tables.tokenOffsets = section<uint32_t>(Section::tokenOffsets, n);
  tables.tokenBytes = section<char>(Section::tokenBytes, bytes);
  if (!areOffsets(tables.tokenOffsets, n, tables.vocabSize, bytes))
    return inconsistent(Section::tokenOffsets, error);
  tables.tokenFlags = section<uint8_t>(Section::tokenFlags, n);
  if (n != tables.vocabSize)
    return inconsistent(Section::tokenFlags, error);

  const DecoderSettings *decoder = section<DecoderSettings>(Section::decoder, n);
  if (n > 1 || (n && (decoder->character > 0x10FFFF || decoder->strip > 0x10FFFF)))
    return inconsistent(Section::decoder, error);
  if (n == 0)
    return true;
  decoderSettings = *decoder;
  spelled = true;
  shownOffsets = section<uint32_t>(Section::shownOffsets, n);
  shownBytes = section<char>(Section::shownBytes, bytes);
  if (!areOffsets(shownOffsets, n, tables.vocabSize, bytes))
    return inconsistent(Section::shownOffsets, error);
  // Decoders read the spellings as characters.
  for (uint32_t id = 0; id < tables.vocabSize; ++id)
    if (findInvalidUtf8(tables.bytesOf(id)) != std::string_view::npos)
      return inconsistent(Section::tokenBytes, error);
  return true;
}

// How pieces of text become tokens: whole, by merges, by bytes.
bool Tokenizer::bindMerges(std::string &error) {
  // A table without a free slot would make a search endless.
  size_t n = 0;
  tables.pieceSlots = section<PieceSlot>(Section::pieceSlots, n);
  bool free = false;
  for (size_t i = 0; i < n; ++i) {
    free |= tables.pieceSlots[i].id == kEmpty;
    if (tables.pieceSlots[i].id != kEmpty && !isToken(tables.pieceSlots[i].id))
      return inconsistent(Section::pieceSlots, error);
  }
  if (!isPowerOfTwo(n) || !free)
    return inconsistent(Section::pieceSlots, error);
  tables.pieceMask = static_cast<uint32_t>(n - 1);
  tables.mergeSlots = section<MergeSlot>(Section::mergeSlots, n);
  free = false;
  for (size_t i = 0; i < n; ++i) {
    const MergeSlot &m = tables.mergeSlots[i];
    free |= m.merged == kEmpty;
    if (m.merged != kEmpty &&
        !(isToken(m.merged) && isToken(m.left) && isToken(m.right) && m.rank < n))
      return inconsistent(Section::mergeSlots, error);
  }
  if (!isPowerOfTwo(n) || !free)
    return inconsistent(Section::mergeSlots, error);
  tables.mergeMask = static_cast<uint32_t>(n - 1);
  tables.byteIds = section<int32_t>(Section::byteIds, n);
  if (n != 256 || !std::all_of(tables.byteIds, tables.byteIds + 256, [&](int32_t id) {
        return id == -1 || isToken(static_cast<uint32_t>(id));
      }))
    return inconsistent(Section::byteIds, error);
  filter.build(tables.mergeSlots, static_cast<size_t>(tables.mergeMask) + 1, tables.byteIds,
               tables.vocabSize);
  tables.filter = &filter;
  return true;
}

// The tokens that are put around a text.
bool Tokenizer::bindAffixes(std::string &error) {
  for (auto [s, ids] : {std::make_pair(Section::prefixIds, &prefixIds),
                        std::make_pair(Section::suffixIds, &suffixIds)}) {
    size_t n = 0;
    const int32_t *first = section<int32_t>(s, n);
    if (!std::all_of(first, first + n,
                     [&](int32_t id) { return isToken(static_cast<uint32_t>(id)); }))
      return inconsistent(s, error);
    ids->assign(first, first + n);
  }
  return true;
}

// What is done with a text before that: normalised, searched for added tokens, cut into pieces.
bool Tokenizer::bindText(const TokenizerOptions &options, std::string &error) {
  size_t stringBytes = 0, n = 0;
  const char *strings = section<char>(Section::strings, stringBytes);
  auto inside = [&](uint32_t offset, uint32_t size) {
    return offset <= stringBytes && size <= stringBytes - offset;
  };
  auto isText = [&](uint32_t offset, uint32_t size) {
    return inside(offset, size) &&
           findInvalidUtf8({strings + offset, size}) == std::string_view::npos;
  };
  const NormalizerStep *steps = section<NormalizerStep>(Section::normalizer, n);
  for (size_t i = 0; i < n; ++i) {
    const NormalizerStep &s = steps[i];
    if (s.kind > NormalizerKind::replaceRegex || !isText(s.patternOffset, s.patternSize) ||
        !isText(s.contentOffset, s.contentSize)) {
      error = "normalizer step " + std::to_string(i) + " is inconsistent";
      return false;
    }
    if (!normalizer.add(s.kind, {strings + s.patternOffset, s.patternSize},
                        {strings + s.contentOffset, s.contentSize}, error))
      return false;
  }
  const AddedToken *added = section<AddedToken>(Section::addedTokens, n);
  for (size_t i = 0; i < n; ++i) {
    if (added[i].id >= tables.vocabSize || !inside(added[i].contentOffset, added[i].contentSize)) {
      error = "added token " + std::to_string(i) + " is inconsistent";
      return false;
    }
    std::string_view content(strings + added[i].contentOffset, added[i].contentSize);
    if (findInvalidUtf8(content) != std::string_view::npos) {
      error = "added token " + std::to_string(i) + " is not UTF-8";
      return false;
    }
    std::string normalized;
    if (!(added[i].flags & addedNormalized)) {
      rawTokens.add(content, added[i].id, added[i].flags);
      continue;
    }
    bool keepsStart = true;
    Normalizer::Result result = normalizer.apply(content, normalized, keepsStart, error);
    if (result == Normalizer::Result::failed)
      return false;
    normalizedTokens.add(result == Normalizer::Result::changed ? normalized : content, added[i].id,
                         added[i].flags);
  }
  const Stage *stages = section<Stage>(Section::stages, n);
  bool spelled = false; // pieces may begin and end within a character
  for (size_t i = 0; i < n; ++i) {
    const Stage &s = stages[i];
    const bool isSpelled =
        s.kind == StageKind::splitSpelledRegex || s.kind == StageKind::splitSpelledLiteral;
    if (s.kind > StageKind::splitSpelledLiteral || s.behavior > SplitBehavior::contiguous ||
        !isText(s.patternOffset, s.patternSize) ||
        (s.kind == StageKind::metaspace && s.patternSize == 0) || (spelled && !isSpelled) ||
        (isSpelled && tables.ofCharacters)) {
      error = "pre-tokeniser stage " + std::to_string(i) + " is inconsistent";
      return false;
    }
    spelled |= isSpelled;
    if (s.kind == StageKind::prefixSpace)
      preTokenizer.addPrefixSpace();
    else if (s.kind == StageKind::metaspace)
      preTokenizer.addMetaspace({strings + s.patternOffset, s.patternSize}, s.reserved);
    else if (!preTokenizer.addSplit({strings + s.patternOffset, s.patternSize}, s.kind, s.behavior,
                                    s.invert != 0, !options.alwaysRegex, error))
      return false;
  }
  return true;
}

// ---- Encoding ----

std::unique_ptr<BytePairScratch> Tokenizer::takeScratch() const {
  std::lock_guard<std::mutex> lock(scratchMutex);
  if (scratchPool.empty())
    return std::make_unique<BytePairScratch>();
  std::unique_ptr<BytePairScratch> scratch = std::move(scratchPool.back());
  scratchPool.pop_back();
  return scratch;
}

void Tokenizer::keepScratch(std::unique_ptr<BytePairScratch> scratch) const {
  std::lock_guard<std::mutex> lock(scratchMutex);
  scratchPool.push_back(std::move(scratch));
}

std::vector<Tokenizer::Added> Tokenizer::addedTokens() const {
  size_t stringBytes = 0, n = 0;
  const char *strings = section<char>(Section::strings, stringBytes);
  const AddedToken *added = section<AddedToken>(Section::addedTokens, n);
  std::vector<Added> all;
  for (size_t i = 0; i < n; ++i)
    all.push_back({static_cast<int32_t>(added[i].id),
                   {strings + added[i].contentOffset, added[i].contentSize}});
  return all;
}

// Those within [begin, end), from `begin`.
static Barriers barriersInside(const Barriers &barriers, size_t begin, size_t end) {
  Barriers inside;
  for (auto it = std::upper_bound(barriers.begin(), barriers.end(), begin);
       it != barriers.end() && *it < end; ++it)
    inside.push_back(*it - begin);
  return inside;
}

bool Tokenizer::encode(std::string_view text, bool addSpecial, const Barriers &barriers,
                       std::vector<int32_t> &ids, std::string &error) const {
  size_t invalid = findInvalidUtf8(text);
  if (invalid != std::string_view::npos) {
    char byte[8];
    snprintf(byte, sizeof byte, "0x%02X", static_cast<unsigned char>(text[invalid]));
    error = "text is not valid UTF-8: byte " + std::string(byte) + " at offset " +
            std::to_string(invalid);
    return false;
  }
  if (addSpecial)
    ids.insert(ids.end(), prefixIds.begin(), prefixIds.end());
  std::unique_ptr<BytePairScratch> scratch = takeScratch();
  bool ok = true;
  size_t at = 0;
  AddedTokens::Match match{};
  auto plain = [&](size_t begin, size_t end) {
    return begin >= end ||
           encodeNormalized(text.substr(begin, end - begin), begin == 0,
                            barriersInside(barriers, begin, end), *scratch, ids, error);
  };
  while (ok && rawTokens.findNext(text, match, barriers)) {
    ok = plain(at, match.begin);
    ids.push_back(static_cast<int32_t>(match.id));
    at = match.end;
  }
  ok = ok && plain(at, text.size());
  keepScratch(std::move(scratch));
  if (ok && addSpecial)
    ids.insert(ids.end(), suffixIds.begin(), suffixIds.end());
  return ok;
}

bool Tokenizer::encodeNormalized(std::string_view text, bool atStart, Barriers barriers,
                                 BytePairScratch &scratch, std::vector<int32_t> &ids,
                                 std::string &error) const {
  std::string normalized;
  if (normalizedTokens.empty())
    barriers.clear();
  for (size_t &barrier : barriers) { // to where the text before it ends when it is normalised
    bool keepsStart = atStart;
    const Normalizer::Result before =
        normalizer.apply(text.substr(0, barrier), normalized, keepsStart, error);
    if (before == Normalizer::Result::failed)
      return false;
    if (before == Normalizer::Result::changed)
      barrier = normalized.size();
  }
  Normalizer::Result result = normalizer.apply(text, normalized, atStart, error);
  if (result == Normalizer::Result::failed)
    return false;
  if (result == Normalizer::Result::changed)
    text = normalized;
  size_t at = 0;
  AddedTokens::Match match{};
  while (normalizedTokens.findNext(text, match, barriers)) {
    if (match.begin > at &&
        !encodePieces(text.substr(at, match.begin - at), atStart && at == 0, scratch, ids, error))
      return false;
    ids.push_back(static_cast<int32_t>(match.id));
    at = match.end;
  }
  return at == text.size() ||
         encodePieces(text.substr(at), atStart && at == 0, scratch, ids, error);
}

bool Tokenizer::encodePieces(std::string_view text, bool atStart, BytePairScratch &scratch,
                             std::vector<int32_t> &ids, std::string &error) const {
  BytePairEncoder encoder(tables);
  size_t missing = 0;
  auto noToken = [&](std::string_view piece) {
    if (tables.ofCharacters) {
      size_t end = missing;
      decodeUtf8(piece.data(), end);
      error = "the vocabulary has no token for '" +
              std::string(piece.substr(missing, end - missing)) +
              "', and there is no unknown token";
      return false;
    }
    char byte[8];
    snprintf(byte, sizeof byte, "0x%02X", static_cast<unsigned char>(piece[missing]));
    error = "the vocabulary has no token for byte " + std::string(byte) +
            ", and there is no unknown token";
    return false;
  };
  auto encodeAll = [&](auto pieceEnd) {
    for (size_t at = 0; at < text.size();) {
      size_t end = pieceEnd(at);
      if (!encoder.encode(text.substr(at, end - at), scratch, ids, missing))
        return noToken(text.substr(at, end - at));
      at = end;
    }
    return true;
  };
  switch (preTokenizer.onlyMatcher()) {
  case KnownPattern::llama3:
    return encodeAll([&](size_t at) { return matcher.llama3(text, at, 3); });
  case KnownPattern::qwen2:
    return encodeAll([&](size_t at) { return matcher.llama3(text, at, 1); });
  case KnownPattern::gpt2:
    return encodeAll([&](size_t at) { return matcher.gpt2(text, at); });
  case KnownPattern::none:
    break;
  }
  PreTokenizer::Pieces pieces;
  if (!preTokenizer.split(text, atStart, pieces, error))
    return false;
  for (std::string_view piece : pieces.views)
    if (!encoder.encode(piece, scratch, ids, missing))
      return noToken(piece);
  return true;
}

// ---- Decoding ----

std::string_view Tokenizer::tokenBytes(int32_t id) const {
  if (id < 0 || static_cast<uint32_t>(id) >= tables.vocabSize)
    return {};
  return spelled ? std::string_view(shownBytes + shownOffsets[id],
                                    shownOffsets[id + 1] - shownOffsets[id])
                 : tables.bytesOf(static_cast<uint32_t>(id));
}

bool Tokenizer::isByte(int32_t id) const {
  return id >= 0 && static_cast<uint32_t>(id) < tables.vocabSize &&
         (tables.tokenFlags[id] & byteToken);
}

bool Tokenizer::isSpecial(int32_t id) const {
  return id >= 0 && static_cast<uint32_t>(id) < tables.vocabSize &&
         (tables.tokenFlags[id] & special);
}

int32_t Tokenizer::findToken(std::string_view content) const {
  size_t n = 0, stringBytes = 0;
  const char *strings = section<char>(Section::strings, stringBytes);
  const AddedToken *added = section<AddedToken>(Section::addedTokens, n);
  for (size_t i = 0; i < n; ++i)
    if (std::string_view(strings + added[i].contentOffset, added[i].contentSize) == content)
      return static_cast<int32_t>(added[i].id);
  uint32_t id = tables.findPiece(content, hashPiece(content.data(), content.size()));
  return id == kEmpty ? -1 : static_cast<int32_t>(id);
}

std::string Tokenizer::decode(const int32_t *ids, size_t count, bool skipSpecial) const {
  if (spelled) {
    StreamingDecoder stream(*this, skipSpecial);
    std::string text;
    for (size_t i = 0; i < count; ++i)
      stream.push(ids[i], &text);
    return text + stream.finish();
  }
  std::string bytes;
  for (size_t i = 0; i < count; ++i)
    if (!(skipSpecial && isSpecial(ids[i])))
      bytes += tokenBytes(ids[i]);
  return findInvalidUtf8(bytes) == std::string::npos ? bytes : replaceInvalidUtf8(bytes);
}

StreamingDecoder::StreamingDecoder(const Tokenizer &tokenizer, bool skipSpecial)
    : tokenizer(tokenizer), skipSpecial(skipSpecial), spelled(tokenizer.decoderSettings) {}

void StreamingDecoder::push(int32_t id, std::string *out) {
  if (skipSpecial && tokenizer.isSpecial(id))
    return;
  if (tokenizer.spelled) {
    const size_t from = out->size();
    if (id >= 0 && id < tokenizer.vocabSize() && (tokenizer.tables.tokenFlags[id] & present))
      spelled.push(tokenizer.tokenBytes(id), tokenizer.tables.bytesOf(static_cast<uint32_t>(id)),
                   tokenizer.isByte(id), *out);
    // Damaged tables may show what is no text.
    const std::string_view text = std::string_view(*out).substr(from);
    if (findInvalidUtf8(text) != std::string::npos)
      out->replace(from, std::string::npos, replaceInvalidUtf8(text));
    return;
  }
  const std::string_view bytes = tokenizer.tokenBytes(id);
  if (pending.empty() && findInvalidUtf8(bytes) == std::string::npos) { // whole characters
    out->append(bytes);
    return;
  }
  pending += bytes;
  // Only an unfinished character of at most three bytes at the end has to wait.
  size_t keep = 0;
  for (size_t back = 1; back <= 3 && back <= pending.size(); ++back)
    if (utf8CharacterLength(std::string_view(pending).substr(pending.size() - back)) == 0)
      keep = back;
  *out += replaceInvalidUtf8(std::string_view(pending).substr(0, pending.size() - keep));
  pending.erase(0, pending.size() - keep);
}

std::string StreamingDecoder::finish() {
  if (tokenizer.spelled) {
    std::string text;
    spelled.finish(text);
    return findInvalidUtf8(text) == std::string::npos ? text : replaceInvalidUtf8(text);
  }
  std::string text = replaceInvalidUtf8(pending);
  pending.clear();
  return text;
}

} // namespace m1rt
