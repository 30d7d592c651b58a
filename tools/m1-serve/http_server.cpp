#include "http_server.h"
#include <algorithm>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>

using m1rt::error;
using m1rt::Status;
using m1rt::StatusCode;

namespace m1serve {

constexpr size_t requestsOfAConnection = 100000;

HttpServer::HttpServer(const ConnectionLimits &limits, size_t maxConnections)
    : limits(limits), maxConnections(maxConnections), wake(::eventfd(0, EFD_CLOEXEC)) {
  set_keep_alive_max_count(requestsOfAConnection);
  set_keep_alive_timeout(time_t(limits.idleSeconds));
  set_payload_max_length(limits.bodyBytes);
}

HttpServer::~HttpServer() {
  if (listener >= 0)
    ::close(listener);
  ::close(wake);
}

static bool isLoopback(const sockaddr_storage &address) {
  if (address.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in &>(address).sin_addr.s_addr) >> 24 == 127;
  const in6_addr &wide = reinterpret_cast<const sockaddr_in6 &>(address).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&wide) || (IN6_IS_ADDR_V4MAPPED(&wide) && wide.s6_addr[12] == 127);
}

Status HttpServer::open(const std::string &host, int port, Address *out) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const int failure = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (failure)
    return error(StatusCode::invalidArgument, "--host '%s': %s", host.c_str(),
                 ::gai_strerror(failure));
  int reason = 0;
  for (const addrinfo *a = found; a && listener < 0; a = a->ai_next) {
    const int candidate =
        ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    int on = 1;
    if (candidate >= 0)
      ::setsockopt(candidate, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (candidate >= 0 && ::bind(candidate, a->ai_addr, a->ai_addrlen) == 0) {
      listener = candidate;
    } else {
      reason = errno;
      if (candidate >= 0)
        ::close(candidate);
    }
  }
  ::freeaddrinfo(found);
  if (listener < 0)
    return error(StatusCode::ioError, "cannot listen on %s port %d: %s", host.c_str(), port,
                 std::strerror(reason));
  svr_sock_ = listener; // without one the library takes itself for shut down, and streams nothing
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size);
  out->port =
      ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6 &>(address).sin6_port
                                          : reinterpret_cast<sockaddr_in &>(address).sin_port);
  out->loopback = isLoopback(address);
  return {};
}

Status HttpServer::listen() {
  if (::listen(listener, SOMAXCONN) == 0)
    return {};
  return error(StatusCode::ioError, "cannot listen: %s", std::strerror(errno));
}

void HttpServer::serve() {
  while (true) {
    struct pollfd polled[2 + std::tuple_size_v<decltype(refusals)>] = {{listener, POLLIN, 0},
                                                                       {wake, POLLIN, 0}};
    for (size_t i = 0; i < refusalCount; ++i)
      polled[2 + i] = {refusals[i].socket, POLLIN, 0};
    if (::poll(polled, 2 + refusalCount, refusalCount ? 100 : -1) < 0 && errno != EINTR)
      break;
    if (polled[1].revents)
      break;
    endRefusals(false);
    const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket >= 0)
      take(socket);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  endRefusals(true);
  ::close(listener);
  listener = -1;
  std::unique_lock<std::mutex> lock(mutex);
  arrived.notify_all();
  left.wait(lock, [&] { return threads == 0; });
}

/// Without memory for it, a connection ends at once.
void HttpServer::take(int socket) {
  try {
    hand(socket);
  } catch (const std::bad_alloc &) {
    ::close(socket);
  }
}

/// To a thread that waits, to a new one, or to nobody.
void HttpServer::hand(int socket) {
  std::unique_lock<std::mutex> lock(mutex);
  if (idle > accepted.size()) {
    accepted.push_back(socket);
    arrived.notify_one();
    return;
  }
  if (threads < maxConnections) {
    accepted.push_back(socket);
    try {
      std::thread([this] { work(); }).detach();
      ++threads;
      return;
    } catch (const std::system_error &) {
    } catch (const std::bad_alloc &) {
    }
    accepted.pop_back(); // no more threads: refused like a connection too many
  }
  lock.unlock();
  refuse(socket);
}

/// Never waits: the accepting thread does it.
void HttpServer::refuse(int socket) {
  static constexpr char body[] =
      R"({"error":{"message":"too many connections","type":"server_error","param":null,)"
      R"("code":"too_many_connections"}})";
  const std::string response =
      "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
      "Content-Type: application/json\r\nContent-Length: " +
      std::to_string(sizeof body - 1) + "\r\n\r\n" + body;
  (void)::send(socket, response.data(), response.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(socket, SHUT_WR);
  if (refusalCount == refusals.size()) {
    ::close(refusals[0].socket);
    std::move(refusals.begin() + 1, refusals.end(), refusals.begin());
    --refusalCount;
  }
  refusals[refusalCount++] = {socket, std::chrono::steady_clock::now() + std::chrono::seconds(1)};
}

/// Of those whose client has ended too, or had its second; what they still say is passed over.
void HttpServer::endRefusals(bool all) {
  const auto now = std::chrono::steady_clock::now();
  const auto ends = [&](const Refusal &refusal) {
    char said[16384];
    const ssize_t size = ::recv(refusal.socket, said, sizeof said, MSG_DONTWAIT);
    const bool open = size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR));
    if (!all && open && now < refusal.until)
      return false;
    ::close(refusal.socket);
    return true;
  };
  const auto end = refusals.begin() + refusalCount;
  refusalCount = std::remove_if(refusals.begin(), end, ends) - refusals.begin();
}

void HttpServer::work() {
  std::unique_lock<std::mutex> lock(mutex);
  while (true) {
    ++idle;
    // A burst's threads do not stay for ever.
    const bool woken = arrived.wait_for(lock, std::chrono::seconds(30),
                                        [&] { return !accepted.empty() || draining; });
    --idle;
    if (accepted.empty() && (draining || !woken))
      break;
    const int socket = accepted.front();
    accepted.pop_front();
    // A connection for which there is no memory ends; others may go on.
    try {
      busy.insert(socket);
    } catch (const std::bad_alloc &) {
      ::close(socket);
      continue;
    }
    lock.unlock();
    try {
      process_and_close_socket(socket);
    } catch (const std::bad_alloc &) {
    }
    lock.lock();
  }
  --threads;
  if (threads == 0)
    left.notify_all();
}

/// To a request that cannot be read, which the library does not see.
static void writeRefusal(const ApiError &error, const httplib::Headers &headers,
                         Connection &connection) {
  const std::string body = error.json().dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string response = "HTTP/1.1 " + std::to_string(error.status) + " " + reasonOf(error.status) +
                         "\r\nConnection: close\r\nContent-Type: application/json\r\n";
  for (const auto &[name, value] : headers)
    response += name + ": " + value + "\r\n";
  response += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  connection.write(response.data(), response.size());
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  Connection connection(socket, wake, limits);
  struct Leaving { // before the connection closes the socket, whose number may then be another's
    HttpServer &server;
    int socket;
    ~Leaving() {
      Connection::current() = nullptr;
      std::lock_guard<std::mutex> lock(server.mutex);
      server.busy.erase(socket);
      if (server.draining && server.busy.empty())
        server.left.notify_all();
    }
  } leaving{*this, socket};
  Connection::current() = &connection;
  bool closed = false;
  for (size_t count = 1; !closed && connection.awaitRequest(); ++count) {
    const bool last = count == requestsOfAConnection;
    closed = !process_request(connection, last, closed, nullptr) || closed || last ||
             connection.closes();
  }
  if (!closed && connection.fault()) { // of a head
    if (refused)
      refused(connection.fault()->status);
    writeRefusal(*connection.fault(), common, connection);
  }
  connection.linger();
  return true;
}

void HttpServer::drain() {
  std::lock_guard<std::mutex> lock(mutex);
  draining = true;
  const uint64_t one = 1;
  (void)!::write(wake, &one, sizeof one);
  arrived.notify_all();
}

void HttpServer::cutOff() {
  drain();
  std::unique_lock<std::mutex> lock(mutex);
  left.wait_for(lock, std::chrono::seconds(1), [&] { return busy.empty(); });
  for (int socket : busy)
    ::shutdown(socket, SHUT_RDWR);
}

size_t HttpServer::connections() const {
  std::lock_guard<std::mutex> lock(mutex);
  return busy.size();
}

} // namespace m1serve
