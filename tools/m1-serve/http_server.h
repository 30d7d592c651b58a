// Connections to requests: accepts, gives each connection a thread, lets cpp-httplib read requests,
// find their handlers and write responses. The library's own accept loop and thread pool are not
// used: they know no bound on connections and end at the first error of accept().
#ifndef M1_TOOLS_SERVE_HTTP_SERVER_H
#define M1_TOOLS_SERVE_HTTP_SERVER_H

#include "connection.h"
#include "status.h"
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace m1serve {

class HttpServer final : public httplib::Server {
public:
  HttpServer(const ConnectionLimits &limits, size_t maxConnections);
  ~HttpServer() override;

  struct Address {
    int port = 0;
    bool loopback = false; // only this machine reaches it
  };
  /// Takes the address, where nobody is heard before listen(). Port 0: any free one.
  m1rt::Status open(const std::string &host, int port, Address *out);
  m1rt::Status listen();
  /// Serves until drain(); then waits for the connections that have a request to finish it.
  void serve();
  /// From any thread: no further connections or requests are taken.
  void drain();
  /// drain(), and connections that are still busy a second later are cut: what has been decided
  /// about their requests is to reach who asked.
  void cutOff();
  /// Headers of every response.
  void setHeaders(const httplib::Headers &headers) { set_default_headers(common = headers); }
  /// Hears the status of each request that was refused before it was read.
  std::function<void(int status)> refused;
  size_t connections() const;
  size_t bodyBytes() const { return limits.bodyBytes; }

private:
  bool process_and_close_socket(socket_t socket) override;
  void take(int socket);
  void hand(int socket);
  void work();
  void refuse(int socket);
  void endRefusals(bool all);

  ConnectionLimits limits;
  httplib::Headers common;
  size_t maxConnections;
  int listener = -1;
  int wake = -1; // an eventfd, readable from drain() on
  mutable std::mutex mutex;
  std::condition_variable arrived, left; // left: of threads or, while draining, of sockets
  std::deque<int> accepted;              // handed over, not taken up
  std::set<int> busy;                    // sockets that a thread serves
  size_t idle = 0, threads = 0;          // threads that wait, and all
  bool draining = false;

  /// A connection that has been told 503. Were it closed before the client has said all, that would
  /// be reset, and the answer lost. These belong to the accepting thread.
  struct Refusal {
    int socket;
    std::chrono::steady_clock::time_point until;
  };
  std::array<Refusal, 64> refusals; // the first so many
  size_t refusalCount = 0;
};

} // namespace m1serve

#endif
