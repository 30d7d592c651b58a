// Where requests end, and which of them could end elsewhere for another reader.
#include "http_framing.h"
#include "out_of_memory.h"
#include <gtest/gtest.h>
#include <thread>

using namespace m1serve;

namespace {

using State = HeadReader::State;
constexpr size_t headBytes = 64 << 10;

/// Given in pieces of `step` bytes.
HeadReader head(const std::string &text, State *state, size_t step = SIZE_MAX) {
  HeadReader reader(headBytes);
  *state = State::open;
  for (size_t end = 0; *state == State::open && end < text.size();) {
    end = std::min(step < text.size() - end ? end + step : text.size(), text.size());
    *state = reader.read(std::string_view(text).substr(0, end));
  }
  return reader;
}

std::string canonical(const std::string &text) {
  State state;
  const HeadReader reader = head(text, &state);
  EXPECT_EQ(state, State::complete) << text;
  return state == State::complete ? reader.canonical() : "";
}

/// The status that it is refused with, whatever its pieces; what the message says is checked.
int status(const std::string &text, const std::string &says = "") {
  State state, piecewise;
  const HeadReader reader = head(text, &state), other = head(text, &piecewise, 1);
  EXPECT_EQ(state, piecewise) << text;
  if (state != State::refused)
    return state == State::complete ? 200 : 0;
  EXPECT_EQ(reader.fault().message, other.fault().message);
  EXPECT_NE(reader.fault().message.find(says), std::string::npos) << reader.fault().message;
  return reader.fault().status;
}

const std::string get = "GET /a HTTP/1.1\r\nHost: h\r\n", post = "POST /a HTTP/1.1\r\nHost: h\r\n";

/// A body in chunks: its status, 0 when it has not ended, and the library's form of it; what the
/// message says is checked.
int chunked(const std::string &text, std::string *out, size_t step, size_t *taken,
            const std::string &says, size_t most = 100) {
  ChunkReader reader(most, 200);
  *taken = 0;
  for (size_t at = 0; at < text.size() && !reader.ended(); at += step) {
    const std::string_view piece = std::string_view(text).substr(at, step);
    *taken += reader.take(piece, out);
    if (reader.fault()) {
      EXPECT_NE(reader.fault()->message.find(says), std::string::npos) << reader.fault()->message;
      return reader.fault()->status;
    }
  }
  return reader.ended() ? 200 : 0;
}

int chunkStatus(const std::string &text, const std::string &expected = "",
                const std::string &says = "") {
  std::string whole, pieces;
  size_t taken = 0, takenByPieces = 0;
  const int status = chunked(text, &whole, text.size(), &taken, says);
  EXPECT_EQ(chunked(text, &pieces, 1, &takenByPieces, says), status) << text;
  if (status == 200) {
    EXPECT_EQ(whole, expected);
    EXPECT_EQ(pieces, expected);
    EXPECT_EQ(taken, takenByPieces);
  }
  return status;
}

} // namespace

// What is accepted reaches the library in one form, however it was written.
TEST(Framing, CanonicalHeads) {
  EXPECT_EQ(canonical(get + "\r\n"),
            "GET /a HTTP/1.1\r\nhost: h\r\nconnection: Keep-Alive\r\n\r\n");
  EXPECT_EQ(
      canonical(post + "X:\t a b \t\r\nContent-LENGTH:2\r\nConnection: x,  Close\r\n\r\n{}"),
      "POST /a HTTP/1.1\r\nhost: h\r\nx: a b\r\ncontent-length: 2\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(
      canonical(post + "Expect: 100-Continue\r\nRange: x\r\nAccept-Encoding: gzip\r\n\r\n"),
      "POST /a HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\nconnection: Keep-Alive\r\n\r\n");
  EXPECT_EQ(canonical("GET /a HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"),
            "GET /a HTTP/1.0\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(canonical("GET /a HTTP/1.0\r\nConnection: Keep-alive\r\n\r\n"),
            "GET /a HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n");
  EXPECT_EQ(canonical("GET HTTP://x:1?q/r HTTP/1.9\r\nHost: h\r\n\r\n"),
            "GET /?q/r HTTP/1.1\r\nhost: x:1\r\nconnection: Keep-Alive\r\n\r\n");
  EXPECT_EQ(canonical("OPTIONS * HTTP/1.1\r\nHost: h\r\nX: 5%41\r\n\r\n"),
            "OPTIONS * HTTP/1.1\r\nhost: h\r\nx: 5%2541\r\nconnection: Keep-Alive\r\n\r\n");
  State state;
  const std::string text = post + "Transfer-Encoding: Chunked\r\n\r\n";
  const HeadReader reader = head(text + "0\r\n", &state, 1);
  EXPECT_TRUE(state == State::complete && reader.chunked());
  EXPECT_EQ(reader.size(), text.size());
  const HeadReader sized = head(post + "Content-Length: 0012\r\n\r\n", &state);
  EXPECT_TRUE(!sized.chunked() && sized.bodyBytes() == 12);
}

// What other readers could read otherwise is refused, at the byte that shows it.
TEST(Framing, RefusedHeads) {
  EXPECT_EQ(status(post + "Content-Length : 2\r\n\r\n", "before the colon"), 400);
  EXPECT_EQ(status(get + "X: a\r\n b\r\n\r\n", "several lines"), 400);
  EXPECT_EQ(status(post + "Transfer-Encoding:\r\n chunked\r\n\r\n", "several lines"), 400);
  EXPECT_EQ(status(get + "X: a\nY: b\r\n\r\n", "LF alone in line 3"), 400);
  EXPECT_EQ(status("GET /a HTTP/1.1\nHost: h\n\n", "LF alone in line 1"), 400);
  EXPECT_EQ(status(get + "X: a\rY", "CR alone"), 400);
  EXPECT_EQ(status(get + std::string("X: a\0b\r\n\r\n", 10), "control"), 400);
  EXPECT_EQ(status(get + "nonsense\r\n\r\n", "'nonsense'"), 400);
  EXPECT_EQ(status(get + ": x\r\n\r\n", "name"), 400);
  EXPECT_EQ(status(get + "X(y): x\r\n\r\n", "name"), 400);
  EXPECT_EQ(status(get + "host: h\r\n\r\n", "host: given more than once"), 400);
  EXPECT_EQ(status(post + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n", "more than once"), 400);
  EXPECT_EQ(status(post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "exclude"),
            400);
  for (const char *length : {"2, 2", "+2", "-2", "0x2", "", "2 2", "9999999999999999999"})
    EXPECT_EQ(status(post + "Content-Length: " + length + "\r\n\r\n", "one number"), 400) << length;
  for (const char *coding : {"gzip, chunked", "chunked, chunked", "identity", "xchunked"})
    EXPECT_EQ(status(post + "Transfer-Encoding: " + coding + "\r\n\r\n", "only chunked"), 501);
  EXPECT_EQ(status("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "1.0"), 400);
  EXPECT_EQ(status("GET /a HTTP/1.1\r\n\r\n", "Host is missing"), 400);
  EXPECT_EQ(status("GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "Host"), 400);
  EXPECT_EQ(status("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", "the address"), 400);
  for (const char *target : {"a", "*", "ftp://h/", "http://", "h:80"})
    EXPECT_EQ(status("GET " + std::string(target) + " HTTP/1.1\r\nHost: h\r\n\r\n", target), 400);
  for (const char *line : {"GET /a", "GET  /a HTTP/1.1", " GET /a HTTP/1.1", "GET /a http/1.1",
                           "GET /a b HTTP/1.1", "GET\t/a\tHTTP/1.1", "GET /a HTTP/1.10"})
    EXPECT_EQ(status(std::string(line) + "\r\nHost: h\r\n\r\n", "expected METHOD"), 400) << line;
  EXPECT_EQ(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2.0"), 505);
  EXPECT_EQ(status("\x16\x03\x01", "TLS"), 400);
  EXPECT_EQ(status("get /a HTTP/1.1\r\n", "'get'"), 501);
  EXPECT_EQ(status(post + "Expect: 200-maybe\r\n\r\n", "200-maybe"), 417);
  // long ones, as soon as they are
  EXPECT_EQ(status("GET /" + std::string(9000, 'a'), "address"), 414);
  EXPECT_EQ(status(get + "X: " + std::string(9000, 'a'), "header is too long"), 431);
  EXPECT_EQ(status(get + "X: " + std::string(4000, '%') + "\r\n\r\n", "too long"), 431);
  std::string many = get;
  while (many.size() <= headBytes)
    many += "A: b\r\n";
  EXPECT_EQ(status(many, "headers are too large"), 431);
  EXPECT_EQ(status("GET /" + std::string(8000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
}

// A body ends where its chunks end; what they bring beside it is dropped.
TEST(Framing, Chunks) {
  EXPECT_EQ(chunkStatus("2\r\n{}\r\n0\r\n\r\nGET", "2\r\n{}\r\n0\r\n\r\n"), 200);
  EXPECT_EQ(chunkStatus("0001;a=\"b\" \r\n{\r\n1 ; x\r\n}\r\n00;y\r\nX: y\r\nZ: 1\r\n\r\n",
                        "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"),
            200);
  EXPECT_EQ(chunkStatus("2\r\n\r\n\r\n0\r\n\r\n", "2\r\n\r\n\r\n0\r\n\r\n"), 200);
  EXPECT_EQ(chunkStatus("2\r\n{}\r\n0\r\n"), 0);
  for (const char *text : {"-2\r\n", "+2\r\n", " 2\r\n", "0x2\r\n", "\r\n", "g\r\n", "2 2\r\n",
                           "1111111111111111\r\n"})
    EXPECT_EQ(chunkStatus(text, "", "the size of a chunk: expected hexadecimal digits, got '"), 400)
        << text;
  for (const char *text : {"2\n", "2;a\nb\r\n", "2\r\n{}\n", "2\r{}", "0\r\nX: y\n"})
    EXPECT_EQ(chunkStatus(text, "",
                          "a chunk's line: expected CR LF at its end, and no control characters"),
              400)
        << text;
  EXPECT_EQ(chunkStatus("2\r\n{}x", "", "a chunk is longer than its size"), 400);
  const std::string large = "the body is too large";
  EXPECT_EQ(chunkStatus("65\r\n", "", large), 413); // 101
  EXPECT_EQ(chunkStatus("60\r\n" + std::string(96, 'x') + "\r\n5\r\n", "", large), 413);
  EXPECT_EQ(chunkStatus("fffffffffffffff\r\n", "", large), 413);
  const std::string framing = "the chunks' sizes, extensions and trailers are too large";
  EXPECT_EQ(chunkStatus("1;" + std::string(300, 'x'), "", framing), 413);
  EXPECT_EQ(chunkStatus("0\r\n" + std::string(300, 'x'), "", framing), 413);
}

/// Memory that runs out in a thread that can give up nothing ends the program with a message.
TEST(OutOfMemory, EndsWithAMessage) {
  const auto runOut = [] {
    m1tool::reportOutOfMemory();
    std::thread([] { throw std::bad_alloc(); }).join();
  };
  EXPECT_EXIT(runOut(), testing::ExitedWithCode(1), "^serve-test: error: out of memory\n$");
}
