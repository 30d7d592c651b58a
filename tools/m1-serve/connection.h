// One connection of a client: cpp-httplib's Stream over a socket, with the bounds that the library
// leaves open. Time: an idle connection, a head and a body each have a deadline of their own, so
// that a client that sends a byte a second ends like one that sends none. Size: a head is bounded
// as a whole, and so is all that a request may send.
#ifndef M1_TOOLS_SERVE_CONNECTION_H
#define M1_TOOLS_SERVE_CONNECTION_H

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

  /// Waits for the first byte of the next request. False: none will come.
  bool awaitRequest();
  /// The head has been read; what follows is the body.
  void headEnds();
  /// No further request is read from this connection.
  void closeAfterwards() { closing = true; }
  bool closes() const { return closing; }
  /// Says goodbye: no more is written; waits a moment for the client to read what was, because
  /// closing a socket with unread input would take it back.
  void linger();
  /// Of the thread that serves it; null elsewhere.
  static Connection *&current();

  bool is_readable() const override;
  bool is_writable() const override { return !closing || !failed; }
  ssize_t read(char *out, size_t size) override;
  ssize_t write(const char *data, size_t size) override;
  void get_remote_ip_and_port(std::string &ip, int &port) const override;
  void get_local_ip_and_port(std::string &ip, int &port) const override;
  socket_t socket() const override { return descriptor; }

private:
  using Clock = std::chrono::steady_clock;
  bool wait(short events, Clock::time_point deadline, bool stopsOnWake) const;
  bool fill(bool stopsOnWake);
  static Clock::time_point after(double seconds);

  int descriptor, wake;
  ConnectionLimits limits;
  std::string buffer; // received, not read: buffer[position, …)
  size_t position = 0;
  size_t allowance = 0; // bytes that the request may still send
  Clock::time_point deadline;
  bool closing = false, failed = false;
};

} // namespace m1serve

#endif
