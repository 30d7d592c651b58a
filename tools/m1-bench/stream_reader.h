// The client's side of server-sent events: an HTTP response taken apart as it comes, and what a
// load wants to know of an event. A load has a hundred thousand events a second, so neither copies
// or parses more than it must.
#ifndef M1_TOOLS_BENCH_STREAM_READER_H
#define M1_TOOLS_BENCH_STREAM_READER_H

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace m1bench {

class StreamReader {
public:
  enum class Progress { more, done, broken };
  /// Gets the data of an event; it holds during the call.
  using Sink = std::function<void(std::string_view data)>;
  /// Takes bytes of a response with or without chunks.
  Progress take(const char *data, size_t size, const Sink &sink);
  /// The connection has been closed: the end of a response that tells no length.
  Progress close() const {
    return state == State::plain && left == SIZE_MAX ? Progress::done : Progress::broken;
  }
  int status() const { return code; }

private:
  Progress head();
  Progress line();
  Progress body(size_t count, const Sink &sink);
  enum class State { head, size, data, afterData, trailer, plain } state = State::head;
  std::string held; // received, not taken: held[position, …)
  size_t position = 0;
  std::string text; // of the body, not yet an event
  size_t left = 0;  // bytes of the chunk, or of a body without chunks
  int code = 0;
};

/// What an event of a chat's stream says, found without parsing it as a whole: names with quotes
/// on both sides occur in JSON as members or as whole values alone.
struct EventFacts {
  bool says = false;  // it brings text, of the answer or of its thought
  bool fails = false; // it is an error
  std::optional<uint64_t> completionTokens;
};
EventFacts factsOf(std::string_view event);

} // namespace m1bench

#endif
