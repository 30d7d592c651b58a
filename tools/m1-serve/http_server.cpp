#include "http_server.h"
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

Status HttpServer::open(const std::string &host, int port, int *outPort) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const int failure = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (failure)
    return error(StatusCode::invalidArgument, "--host %s: %s", host.c_str(),
                 ::gai_strerror(failure));
  int reason = 0;
  for (const addrinfo *a = found; a && listener < 0; a = a->ai_next) {
    const int candidate =
        ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    int on = 1;
    if (candidate >= 0)
      ::setsockopt(candidate, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (candidate >= 0 && ::bind(candidate, a->ai_addr, a->ai_addrlen) == 0 &&
        ::listen(candidate, SOMAXCONN) == 0) {
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
  *outPort =
      ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6 &>(address).sin6_port
                                          : reinterpret_cast<sockaddr_in &>(address).sin_port);
  return {};
}

void HttpServer::serve() {
  while (true) {
    struct pollfd polled[2] = {{listener, POLLIN, 0}, {wake, POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0 && errno != EINTR)
      break;
    if (polled[1].revents)
      break;
    const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket >= 0)
      hand(socket);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::close(listener);
  listener = -1;
  std::unique_lock<std::mutex> lock(mutex);
  arrived.notify_all();
  left.wait(lock, [&] { return threads == 0; });
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
    try {
      std::thread([this] { work(); }).detach();
      ++threads;
      accepted.push_back(socket);
      return;
    } catch (const std::system_error &) {
      // no more threads: refused like a connection too many
    }
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
  ::close(socket);
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
    busy.insert(socket);
    lock.unlock();
    process_and_close_socket(socket);
    lock.lock();
  }
  --threads;
  if (threads == 0)
    left.notify_all();
}

/// "GET http://host/path", as clients of proxies write it, is "GET /path" of that host.
static void originForm(httplib::Request &request) {
  for (const std::string scheme : {"http://", "https://"}) {
    if (request.path.compare(0, scheme.size(), scheme) != 0)
      continue;
    const size_t path = std::min(request.path.find('/', scheme.size()), request.path.size());
    request.headers.erase("Host");
    request.set_header("Host", request.path.substr(scheme.size(), path - scheme.size()));
    request.path = path < request.path.size() ? request.path.substr(path) : "/";
    return;
  }
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  Connection connection(socket, wake, limits);
  Connection::current() = &connection;
  for (size_t count = 1; connection.awaitRequest(); ++count) {
    bool closed = false;
    const bool last = count == requestsOfAConnection;
    if (!process_request(connection, last, closed,
                         [&](httplib::Request &request) {
                           connection.headEnds();
                           originForm(request);
                           // Answers are small, or streamed: neither is compressed or cut.
                           request.headers.erase("Accept-Encoding");
                           request.ranges.clear();
                         }) ||
        closed || last || connection.closes())
      break;
  }
  Connection::current() = nullptr;
  connection.linger();
  std::lock_guard<std::mutex> lock(mutex);
  busy.erase(socket);
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
  std::lock_guard<std::mutex> lock(mutex);
  for (int socket : busy)
    ::shutdown(socket, SHUT_RDWR);
}

size_t HttpServer::connections() const {
  std::lock_guard<std::mutex> lock(mutex);
  return busy.size();
}

} // namespace m1serve
