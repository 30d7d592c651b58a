// One connection of a client: cpp-httplib's Stream over a socket, with the bounds that the library
// leaves open. Time: an idle connection, a head and a body each have a deadline of their own, so
// that a client that sends a byte a second ends like one that sends none. Size: a head is bounded
// as a whole, and so is all that a request may send. Form: the library sees heads and chunks that
// http_framing.h has read.
#ifndef M1_TOOLS_SERVE_CONNECTION_H
#define M1_TOOLS_SERVE_CONNECTION_H

#include "http_framing.h"
#include <chrono>
#include <cstdint>
#include <httplib.h>
#include <string>

namespace m1serve {

struct ConnectionLimits {
  size_t headBytes = 64 << 10; // request line and headers
  size_t bodyBytes = 16 << 20;
  double idleSeconds = 75; // between requests
  double headSeconds = 10;
  double bodySeconds = 60;
  double writeSeconds = 30; // without any progress
};

class Connection final : public httplib::Stream {
public:
  /// Owns `socket`, which is made non-blocking. `wake` becomes readable when the server drains: a
  /// connection that waits for its next request then ends.
  Connection(int socket, int wake, const ConnectionLimits &limits);
  ~Connection() override;

  /// Waits for the head of the next request. False: none will come, or it is refused (fault()).
  bool awaitRequest();
  /// Why the request, or its body, cannot be read.
  const std::optional<ApiError> &fault() const { return refusal; }
  /// No further request is read from this connection.
  void closeAfterwards() { closing = true; }
  bool closes() const { return closing; }
  /// Says goodbye: no more is written; waits a moment for the client to read what was, because
  /// closing a socket with unread input would take it back.
  void linger();
  /// Of the thread that serves it; null elsewhere.
  static Connection *&current();

  bool is_readable() const override;
  bool is_writable() const override { return !broken; }
  ssize_t read(char *out, size_t size) override;
  ssize_t write(const char *data, size_t size) override;
  void get_remote_ip_and_port(std::string &ip, int &port) const override;
  void get_local_ip_and_port(std::string &ip, int &port) const override;
  socket_t socket() const override { return descriptor; }

private:
  using Clock = std::chrono::steady_clock;
  bool wait(short events, Clock::time_point deadline, bool stopsOnWake) const;
  bool fill(bool stopsOnWake);
  bool readHead();
  bool refuse(ApiError error);
  static Clock::time_point after(double seconds);

  int descriptor, wake;
  ConnectionLimits limits;
  std::string buffer; // received, not read: buffer[position, …)
  size_t position = 0;
  uint64_t headLeft = 0, bodyLeft = 0; // bytes that the library may still read, without chunks'
  std::optional<ChunkReader> chunks;   // of a body that comes so
  std::string unchunked;               // of it, read and not handed on: unchunked[handed, …)
  size_t handed = 0;
  std::optional<ApiError> refusal;
  Clock::time_point deadline;
  bool closing = false;
  bool failed = false, late = false; // nothing more comes; because it did not come in time
  bool broken = false;               // nothing can be sent
};

} // namespace m1serve

#endif
