#include "connection.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

namespace m1serve {

Connection::Connection(int socket, int wake, const ConnectionLimits &limits)
    : descriptor(socket), wake(wake), limits(limits) {
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
  int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Connection::~Connection() { ::close(descriptor); }

Connection *&Connection::current() {
  static thread_local Connection *connection = nullptr;
  return connection;
}

Connection::Clock::time_point Connection::after(double seconds) {
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

bool Connection::wait(short events, Clock::time_point until, bool stopsOnWake) const {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0)
      return false;
    struct pollfd polled[2] = {{descriptor, events, 0}, {wake, POLLIN, 0}};
    const int count = ::poll(polled, stopsOnWake ? 2 : 1, int(std::min<long>(left, 1 << 20)));
    if (count < 0 && errno != EINTR)
      return false;
    if (count > 0 && polled[0].revents)
      return true;
    if (count > 0 && stopsOnWake && polled[1].revents)
      return false;
  }
}

/// Receives what is there into the empty buffer; waits for it until the deadline.
bool Connection::fill(bool stopsOnWake) {
  buffer.resize(16 << 10);
  position = 0;
  while (true) {
    const ssize_t got = ::recv(descriptor, buffer.data(), buffer.size(), 0);
    if (got > 0) {
      buffer.resize(size_t(got));
      return true;
    }
    if (got == 0 || (errno != EAGAIN && errno != EINTR) ||
        (errno == EAGAIN && !wait(POLLIN, deadline, stopsOnWake))) {
      buffer.clear();
      failed = true;
      return false;
    }
  }
}

bool Connection::awaitRequest() {
  deadline = after(limits.idleSeconds);
  do { // Blank lines before a request are none.
    if (failed || closing || (position == buffer.size() && !fill(/*stopsOnWake=*/true)))
      return false;
    while (position < buffer.size() && (buffer[position] == '\r' || buffer[position] == '\n'))
      ++position;
  } while (position == buffer.size());
  allowance = limits.headBytes;
  deadline = after(limits.headSeconds);
  return true;
}

void Connection::headEnds() {
  // Chunk sizes and trailers come on top of a chunked body.
  allowance = 2 * limits.bodyBytes + limits.headBytes;
  deadline = after(limits.bodySeconds);
}

void Connection::linger() {
  ::shutdown(descriptor, SHUT_WR);
  deadline = after(1);
  for (size_t drained = 0; drained < (4u << 20) && fill(/*stopsOnWake=*/true);)
    drained += buffer.size();
}

bool Connection::is_readable() const { return position < buffer.size() || !failed; }

ssize_t Connection::read(char *out, size_t size) {
  if (position == buffer.size() && (failed || !fill(/*stopsOnWake=*/false)))
    return -1;
  size = std::min({size, buffer.size() - position, allowance});
  if (size == 0) { // the request is too large
    failed = true;
    return -1;
  }
  std::memcpy(out, buffer.data() + position, size);
  position += size;
  allowance -= size;
  return ssize_t(size);
}

ssize_t Connection::write(const char *data, size_t size) {
  for (size_t written = 0; written < size;) {
    const ssize_t sent = ::send(descriptor, data + written, size - written, MSG_NOSIGNAL);
    if (sent > 0)
      written += size_t(sent);
    else if (errno != EINTR &&
             (errno != EAGAIN || !wait(POLLOUT, after(limits.writeSeconds), false))) {
      failed = closing = true;
      return -1;
    }
  }
  return ssize_t(size);
}

static void describe(const sockaddr_storage &address, std::string &ip, int &port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto &v4 = reinterpret_cast<const sockaddr_in &>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto &v6 = reinterpret_cast<const sockaddr_in6 &>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    port = ntohs(v6.sin6_port);
  }
  ip = text;
}

void Connection::get_remote_ip_and_port(std::string &ip, int &port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (::getpeername(descriptor, reinterpret_cast<sockaddr *>(&address), &size) == 0)
    describe(address, ip, port);
}

void Connection::get_local_ip_and_port(std::string &ip, int &port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (::getsockname(descriptor, reinterpret_cast<sockaddr *>(&address), &size) == 0)
    describe(address, ip, port);
}

} // namespace m1serve
