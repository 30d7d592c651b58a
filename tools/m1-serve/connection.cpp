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

/// Receives what is there, behind what has not been read; waits for it until the deadline.
bool Connection::fill(bool stopsOnWake) {
  buffer.erase(0, std::exchange(position, 0));
  const size_t kept = buffer.size();
  buffer.resize(kept + (16 << 10));
  while (true) {
    const ssize_t got = ::recv(descriptor, buffer.data() + kept, buffer.size() - kept, 0);
    if (got > 0) {
      buffer.resize(kept + size_t(got));
      return true;
    }
    if (got < 0 && errno == EINTR)
      continue;
    if (got == 0 || errno != EAGAIN || !wait(POLLIN, deadline, stopsOnWake)) {
      buffer.resize(kept);
      late = Clock::now() >= deadline;
      failed = true;
      return false;
    }
  }
}

bool Connection::refuse(ApiError error) {
  refusal = std::move(error);
  failed = closing = true;
  return false;
}

bool Connection::awaitRequest() {
  deadline = after(limits.idleSeconds);
  do { // Blank lines before a request are none.
    if (failed || closing || (position == buffer.size() && !fill(/*stopsOnWake=*/true)))
      return false;
    while (position < buffer.size() && (buffer[position] == '\r' || buffer[position] == '\n'))
      ++position;
  } while (position == buffer.size());
  deadline = after(limits.headSeconds);
  return readHead();
}

/// The library's form of the head in place of the client's.
bool Connection::readHead() {
  HeadReader head(limits.headBytes);
  HeadReader::State state;
  while ((state = head.read(std::string_view(buffer).substr(position))) ==
         HeadReader::State::open) {
    if (!fill(/*stopsOnWake=*/false))
      return refuse(late ? ApiError{408, "the headers did not arrive in time", {}, {}, 0}
                         : ApiError{400, "the request ends within its headers", {}, {}, 0});
  }
  if (state == HeadReader::State::refused)
    return refuse(head.fault());
  const std::string canonical = head.canonical();
  buffer.replace(position, head.size(), canonical);
  chunks.reset();
  if (head.chunked())
    chunks.emplace(limits.bodyBytes, limits.bodyBytes + limits.headBytes);
  headLeft = canonical.size();
  bodyLeft = head.bodyBytes();
  deadline = after(limits.bodySeconds);
  return true;
}

void Connection::linger() {
  ::shutdown(descriptor, SHUT_WR);
  deadline = after(1);
  for (size_t drained = 0; drained < (4u << 20); drained += buffer.size()) {
    position = buffer.size();
    if (!fill(/*stopsOnWake=*/true))
      break;
  }
}

bool Connection::is_readable() const {
  return handed < unchunked.size() || position < buffer.size() || !failed;
}

/// What the library asks for next: of the head, of a body with a length, or of one in chunks.
ssize_t Connection::read(char *out, size_t size) {
  const auto missing = [&] {
    if (!refusal)
      refuse(late ? ApiError{408, "the body did not arrive in time", {}, {}, 0}
                  : ApiError{400, "the connection ends before the body does", {}, {}, 0});
    return -1;
  };
  const bool body = headLeft == 0;
  while (body && chunks && handed == unchunked.size()) {
    unchunked.clear();
    handed = 0;
    if (chunks->ended() || (position == buffer.size() && (failed || !fill(false))))
      return missing();
    position += chunks->take(std::string_view(buffer).substr(position), &unchunked);
    if (chunks->fault()) {
      refuse(*chunks->fault());
      return -1;
    }
  }
  if (body && chunks) {
    size = std::min(size, unchunked.size() - handed);
    std::memcpy(out, unchunked.data() + handed, size);
    handed += size;
    return ssize_t(size);
  }
  uint64_t &left = body ? bodyLeft : headLeft;
  if (left == 0 || (position == buffer.size() && (failed || !fill(/*stopsOnWake=*/false))))
    return missing();
  size = size_t(std::min({uint64_t(size), uint64_t(buffer.size() - position), left}));
  std::memcpy(out, buffer.data() + position, size);
  position += size;
  left -= size;
  return ssize_t(size);
}

ssize_t Connection::write(const char *data, size_t size) {
  for (size_t written = 0; written < size;) {
    const ssize_t sent = ::send(descriptor, data + written, size - written, MSG_NOSIGNAL);
    if (sent > 0)
      written += size_t(sent);
    else if (errno != EINTR &&
             (errno != EAGAIN || !wait(POLLOUT, after(limits.writeSeconds), false))) {
      failed = closing = broken = true;
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
