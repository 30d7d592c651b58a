// A request's head and a body in chunks, after one byte that says how they come: in whatever
// pieces, the outcome is the same, and what is accepted is accepted again in the library's form.
#include "fuzz.h"
#include "http_framing.h"

using m1serve::ChunkReader;
using m1serve::HeadReader;

namespace {

constexpr size_t most = 600;

HeadReader::State read(HeadReader &reader, std::string_view text, size_t step) {
  HeadReader::State state = HeadReader::State::open;
  for (size_t end = 0; state == HeadReader::State::open && end < text.size();) {
    end = std::min(end + step, text.size());
    state = reader.read(text.substr(0, end));
  }
  return state;
}

size_t take(ChunkReader &reader, std::string_view text, size_t step, std::string *out) {
  size_t taken = 0;
  for (size_t at = 0; at < text.size() && !reader.ended() && !reader.fault(); at += step)
    taken += reader.take(text.substr(at, step), out);
  return taken;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  const size_t step = 1 + data[0] % 16;
  const std::string_view text = fuzz::text(data + 1, size - 1);

  HeadReader whole(most), pieces(most);
  const HeadReader::State state = read(whole, text, text.size());
  FUZZ_CHECK(read(pieces, text, step) == state);
  if (state == HeadReader::State::refused) {
    FUZZ_CHECK(whole.fault().status >= 400 && whole.fault().message == pieces.fault().message);
  } else if (state == HeadReader::State::complete) {
    FUZZ_CHECK(whole.size() == pieces.size() && whole.size() <= text.size());
    FUZZ_CHECK(text.substr(0, whole.size()).substr(whole.size() - 4) == "\r\n\r\n");
    HeadReader again(4 * most);
    const std::string canonical = whole.canonical();
    FUZZ_CHECK(read(again, canonical, canonical.size()) == HeadReader::State::complete);
    FUZZ_CHECK(again.size() == canonical.size() && again.chunked() == whole.chunked() &&
               again.bodyBytes() == whole.bodyBytes());
  }

  ChunkReader body(most, most), parts(most, most);
  std::string out, outOfParts;
  const size_t taken = take(body, text, text.size() + 1, &out);
  FUZZ_CHECK(take(parts, text, step, &outOfParts) == taken && out == outOfParts);
  FUZZ_CHECK(body.ended() == parts.ended() && bool(body.fault()) == bool(parts.fault()));
  if (body.ended()) {
    ChunkReader again(most, 4 * most);
    std::string same;
    FUZZ_CHECK(take(again, out, out.size(), &same) == out.size() && again.ended() && same == out);
  }
  return 0;
}
