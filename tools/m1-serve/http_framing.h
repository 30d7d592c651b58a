// Where the head and the body of a request end, by the letter of RFC 9112. What could be read in
// two ways is refused: a proxy in front of the server may read it in the other one, and what is one
// request for it would be two here. What is accepted is written anew in the one form that
// cpp-httplib, which skips lines that it does not understand, reads as it is meant.
#ifndef M1_TOOLS_SERVE_HTTP_FRAMING_H
#define M1_TOOLS_SERVE_HTTP_FRAMING_H

#include "api_request.h"
#include <string_view>

namespace m1serve {

/// A request line and headers, read as they arrive.
class HeadReader {
public:
  explicit HeadReader(size_t maxBytes) : maxBytes(maxBytes) {}

  enum class State { open, complete, refused };
  /// `received`: the request so far, from its first byte; goes on where the last call ended.
  State read(std::string_view received);
  /// Of a complete head: its bytes.
  size_t size() const { return at; }
  /// Whether the body comes in chunks; if not, its bytes.
  bool chunked() const { return inChunks; }
  uint64_t bodyBytes() const { return length; }
  /// For the library. Ranges and compressed answers, which the server has none of, are not asked
  /// for any more; an absolute address has become a path and a Host.
  std::string canonical() const;
  /// Why it was refused.
  const ApiError &fault() const { return *refusal; }

private:
  bool refuse(int status, std::string message);
  bool takeRequestLine(std::string_view line);
  bool takeHeader(std::string_view line);
  bool finish();
  bool takeTarget(const std::string &target, std::optional<std::string> *authority);
  bool checkFraming();
  const std::string *find(const std::string &name) const; // in lower case

  size_t maxBytes, at = 0, lineBegin = 0;
  size_t lines = 0; // that have been read
  std::string method, path;
  unsigned minor = 0;                                       // of the version
  std::vector<std::pair<std::string, std::string>> headers; // names in lower case
  uint64_t length = 0;
  bool inChunks = false, kept = false, expects = false;
  std::optional<ApiError> refusal;
};

/// A body in chunks, read as it arrives. Extensions and trailers are dropped.
class ChunkReader {
public:
  /// `maxFraming`: bytes of sizes, extensions and trailers.
  ChunkReader(size_t maxBody, size_t maxFraming) : maxBody(maxBody), maxFraming(maxFraming) {}

  /// Takes what belongs to the body, and appends it in the library's form; the bytes taken.
  size_t take(std::string_view received, std::string *out);
  bool ended() const { return state == State::ended; }
  const std::optional<ApiError> &fault() const { return refusal; }

private:
  enum class State { size, data, dataEnd, trailer, ended };
  void refuse(int status, std::string message);
  void takeLine(std::string *out);
  void takeSize(std::string *out);

  size_t maxBody, maxFraming;
  State state = State::size;
  std::string line; // so far, without its end
  size_t left = 0;  // of the chunk's data
  size_t body = 0, framing = 0;
  std::optional<ApiError> refusal;
};

/// The line of a status that a head or a body is refused with.
const char *reasonOf(int status);

} // namespace m1serve

#endif
