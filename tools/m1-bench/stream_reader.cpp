#include "stream_reader.h"
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <iterator>

namespace m1bench {

constexpr size_t longestEvent = size_t(8) << 20; // a server may never end one

StreamReader::Progress StreamReader::head() {
  const size_t end = held.find("\r\n\r\n", position);
  if (end == std::string::npos)
    return held.size() - position > (64u << 10) ? Progress::broken : Progress::more;
  std::string lines = held.substr(position, end + 2 - position);
  position = end + 4;
  if (lines.rfind("HTTP/1.", 0) != 0 || lines.size() < 12)
    return Progress::broken;
  code = std::atoi(lines.c_str() + 9);
  if (code == 100) // Continue: the head proper follows
    return head();
  std::transform(lines.begin(), lines.end(), lines.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  const size_t length = lines.find("\r\ncontent-length:");
  if (lines.find("\r\ntransfer-encoding: chunked") != std::string::npos) {
    state = State::size;
  } else {
    state = State::plain;
    left = length == std::string::npos ? SIZE_MAX : std::strtoull(&lines[length + 17], nullptr, 10);
  }
  return Progress::more;
}

/// A line between chunks: the size of one, the empty one behind it, or a trailer.
StreamReader::Progress StreamReader::line() {
  const size_t end = held.find("\r\n", position);
  if (end == std::string::npos)
    return held.size() - position > 4096 ? Progress::broken : Progress::more;
  const bool empty = end == position;
  const char *begin = held.c_str() + position;
  position = end + 2;
  if (state == State::afterData) {
    state = State::size;
    return empty ? Progress::more : Progress::broken;
  }
  if (state == State::trailer)
    return empty ? Progress::done : Progress::more;
  left = std::strtoull(begin, nullptr, 16);
  state = left ? State::data : State::trailer;
  return std::isxdigit(uint8_t(*begin)) ? Progress::more : Progress::broken;
}

/// The next bytes of the body: events that are complete go to the sink.
StreamReader::Progress StreamReader::body(size_t count, const Sink &sink) {
  const std::string_view fresh(held.data() + position, count);
  position += count;
  if (code != 200)
    return Progress::more;
  const bool copied = !text.empty() || fresh.find('\r') != std::string_view::npos;
  if (copied) // lines may end in \r\n; JSON holds no bare \r
    std::remove_copy(fresh.begin(), fresh.end(), std::back_inserter(text), '\r');
  const std::string_view all = copied ? std::string_view(text) : fresh;
  size_t at = 0;
  for (size_t end; (end = all.find("\n\n", at)) != std::string_view::npos; at = end + 2) {
    std::string_view event = all.substr(at, end - at);
    if (event.substr(0, 5) != "data:")
      continue;
    event.remove_prefix(event.substr(5, 1) == " " ? 6 : 5);
    sink(event);
  }
  if (copied)
    text.erase(0, at);
  else
    text.assign(all.substr(at));
  return text.size() > longestEvent ? Progress::broken : Progress::more;
}

StreamReader::Progress StreamReader::take(const char *data, size_t size, const Sink &sink) {
  held.append(data, size);
  Progress progress = Progress::more;
  while (progress == Progress::more) {
    const size_t before = position;
    const State was = state;
    if (state == State::head) {
      progress = head();
    } else if (state == State::data || state == State::plain) {
      const size_t count = std::min(left, held.size() - position);
      progress = body(count, sink);
      left -= left == SIZE_MAX ? 0 : count;
      if (progress == Progress::more && left == 0 && state == State::plain)
        progress = Progress::done;
      else if (left == 0)
        state = State::afterData;
    } else {
      progress = line();
    }
    if (position == before && state == was)
      break; // the next bytes are needed
  }
  held.erase(0, position);
  position = 0;
  return progress;
}

namespace {

constexpr size_t npos = std::string_view::npos;

size_t findText(std::string_view text, std::string_view wanted, size_t from) {
  const void *found =
      ::memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return found ? size_t(static_cast<const char *>(found) - text.data()) : npos;
}

/// Whether any member of this name has such a value: the test gets what begins with it.
template <typename Test>
bool anyMember(std::string_view event, std::string_view name, const Test &test) {
  for (size_t at = findText(event, name, 0); at != npos; at = findText(event, name, at + 1)) {
    size_t value = event.find_first_not_of(" \t", at + name.size());
    if (value == npos || event[value] != ':')
      continue; // a value
    value = event.find_first_not_of(" \t", value + 1);
    if (value != npos && test(event.substr(value)))
      return true;
  }
  return false;
}

} // namespace

EventFacts factsOf(std::string_view event) {
  EventFacts facts;
  for (std::string_view name : {"\"content\"", "\"reasoning_content\"", "\"reasoning\""})
    facts.says |= anyMember(event, name, [](std::string_view value) {
      return value.size() > 1 && value[0] == '"' && value[1] != '"';
    });
  facts.fails = event.substr(std::min(event.find('"'), event.size()), 7) == "\"error\"";
  anyMember(event, "\"completion_tokens\"", [&](std::string_view value) {
    if (std::isdigit(uint8_t(value[0])))
      facts.completionTokens = std::strtoull(std::string(value).c_str(), nullptr, 10);
    return facts.completionTokens.has_value();
  });
  return facts;
}

} // namespace m1bench
