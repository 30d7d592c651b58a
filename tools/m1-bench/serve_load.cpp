#include "serve_load.h"
#include "base/joining_threads.h"
#include "base/json_value.h"
#include "cpu/host_limits.h"
#include "input.h"
#include "stream_reader.h"
#include "tool.h"
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <netdb.h>
#include <netinet/tcp.h>
#include <nlohmann/json.hpp>
#include <random>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <thread>

using namespace m1rt;
using nlohmann::json;

namespace m1bench {

namespace {

using Clock = std::chrono::steady_clock;

double secondsBetween(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

struct Address {
  std::string host, port = "80", path;
  sockaddr_storage where = {};
  socklen_t size = 0;
};

Status resolve(const std::string &url, Address *out) {
  const std::string scheme = "http://";
  if (url.rfind(scheme, 0) != 0)
    return error(StatusCode::invalidArgument, "--serve %s: expected http://HOST:PORT", url.c_str());
  const size_t slash = std::min(url.find('/', scheme.size()), url.size());
  std::string host = url.substr(scheme.size(), slash - scheme.size());
  out->path = url.substr(slash);
  while (!out->path.empty() && out->path.back() == '/')
    out->path.pop_back();
  if (out->path.size() >= 3 && out->path.compare(out->path.size() - 3, 3, "/v1") == 0)
    out->path.erase(out->path.size() - 3);
  out->host = host;
  const size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    out->port = host.substr(colon + 1);
    host.erase(colon);
  }
  if (!host.empty() && host[0] == '[')
    host = host.substr(1, host.size() - 2);
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const int failure = ::getaddrinfo(host.c_str(), out->port.c_str(), &hints, &found);
  if (failure)
    return error(StatusCode::invalidArgument, "--serve %s: %s", url.c_str(),
                 ::gai_strerror(failure));
  out->size = found->ai_addrlen;
  std::memcpy(&out->where, found->ai_addr, found->ai_addrlen);
  ::freeaddrinfo(found);
  return {};
}

Status readQuestions(const LoadOptions &options, std::vector<std::string> *out) {
  if (options.dataset.empty()) {
    out->push_back("What is 17*23? Explain every step.");
    return {};
  }
  m1tool::LineReader file;
  M1_TRY(file.open(options.dataset).prefixed("--dataset"));
  std::string line;
  for (int number = 1; file.next(&line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos)
      continue;
    json entry;
    std::string fault;
    if (!readJson(line, entry, fault))
      return error(StatusCode::invalidArgument, "--dataset %s line %d: %s", options.dataset.c_str(),
                   number, fault.c_str());
    const char *field = entry.is_object() && entry.contains("prompt") ? "prompt" : "problem";
    if (!entry.is_object() || !entry.contains(field) || !entry[field].is_string())
      return error(StatusCode::invalidArgument,
                   "--dataset %s line %d: expected an object with \"problem\" or \"prompt\"",
                   options.dataset.c_str(), number);
    out->push_back(entry[field].get<std::string>());
  }
  if (!file.status().ok())
    return Status(file.status()).prefixed("--dataset");
  if (out->empty())
    return error(StatusCode::invalidArgument, "--dataset %s: no line in it",
                 options.dataset.c_str());
  return {};
}

struct Client {
  ~Client() { ::close(socket); }
  int socket = -1;
  std::string request;
  size_t sent = 0;
  StreamReader reader;
  Clock::time_point began, last;
  uint64_t tokens = 0;
  bool spoke = false, finished = false;
  std::string failure; // that an event told
};

struct Figures {
  std::vector<double> firstToken, between, whole;
  uint64_t tokens = 0, answered = 0;
  std::map<std::string, uint64_t> failures;

  void add(const Figures &more) {
    for (auto list : {&Figures::firstToken, &Figures::between, &Figures::whole})
      (this->*list).insert((this->*list).end(), (more.*list).begin(), (more.*list).end());
    tokens += more.tokens;
    answered += more.answered;
    for (const auto &[what, count] : more.failures)
      failures[what] += count;
  }
};

/// Clients and the thread that serves them.
class Reader {
public:
  /// `ended` hears of every client that is done, from that thread.
  Reader(double timeout, std::function<void()> ended)
      : timeout(timeout), ended(std::move(ended)), poller(::epoll_create1(EPOLL_CLOEXEC)),
        waker(::eventfd(0, EFD_CLOEXEC)), failure(poller < 0 || waker < 0 ? errno : 0) {
    watch(waker, EPOLLIN, EPOLL_CTL_ADD);
  }
  ~Reader() {
    ::close(waker);
    ::close(poller);
  }
  Reader(const Reader &) = delete;
  Reader &operator=(const Reader &) = delete;

  /// errno of what could not be opened; 0: all is.
  int openFailure() const { return failure; }
  /// From another thread: connects a client and sends its request.
  void add(std::unique_ptr<Client> client, const Address &address);
  void run();
  /// run() returns; clients that are left are cut off.
  void stop() {
    const uint64_t one = 1;
    (void)!::write(waker, &one, sizeof one);
  }
  Figures figures; // to be read when run() has returned

private:
  void watch(int descriptor, uint32_t events, int operation) {
    epoll_event event = {};
    event.events = events;
    event.data.fd = descriptor;
    ::epoll_ctl(poller, operation, descriptor, &event);
  }
  void work(Client &client, uint32_t events);
  void send(Client &client);
  void take(Client &client, std::string_view event, Clock::time_point now);
  void end(Client &client, const std::string &failure);

  const double timeout;
  const std::function<void()> ended;
  const int poller, waker, failure;
  std::mutex mutex; // guards the clients; held while some of them are worked on
  std::map<int, std::unique_ptr<Client>> clients;
};

void Reader::add(std::unique_ptr<Client> client, const Address &address) {
  std::lock_guard<std::mutex> lock(mutex);
  const int socket = client->socket;
  client->began = client->last = Clock::now();
  Client &added = *(clients[socket] = std::move(client));
  if (::connect(socket, reinterpret_cast<const sockaddr *>(&address.where), address.size) != 0 &&
      errno != EINPROGRESS)
    return end(added, std::string("connect: ") + std::strerror(errno));
  watch(socket, EPOLLOUT, EPOLL_CTL_ADD);
}

void Reader::end(Client &client, const std::string &failure) {
  if (failure.empty()) {
    ++figures.answered;
    figures.whole.push_back(secondsBetween(client.began, Clock::now()));
  } else {
    ++figures.failures[failure];
  }
  figures.tokens += client.tokens;
  clients.erase(client.socket); // the client, too
  ended();
}

void Reader::take(Client &client, std::string_view event, Clock::time_point now) {
  if (event == "[DONE]") {
    client.finished = true;
    return;
  }
  const EventFacts facts = factsOf(event);
  if (facts.fails)
    client.failure = "an error in the stream";
  if (facts.completionTokens)
    client.tokens = *facts.completionTokens;
  if (!facts.says)
    return;
  (client.spoke ? figures.between : figures.firstToken).push_back(secondsBetween(client.last, now));
  client.spoke = true;
  client.last = now;
}

void Reader::send(Client &client) {
  int failure = 0;
  socklen_t size = sizeof failure;
  ::getsockopt(client.socket, SOL_SOCKET, SO_ERROR, &failure, &size);
  if (failure)
    return end(client, std::string("connect: ") + std::strerror(failure));
  const ssize_t count = ::send(client.socket, client.request.data() + client.sent,
                               client.request.size() - client.sent, MSG_NOSIGNAL);
  if (count < 0 && errno != EAGAIN)
    return end(client, std::string("send: ") + std::strerror(errno));
  client.sent += count > 0 ? size_t(count) : 0;
  if (client.sent == client.request.size())
    watch(client.socket, EPOLLIN, EPOLL_CTL_MOD);
}

void Reader::work(Client &client, uint32_t events) {
  if (events & EPOLLOUT)
    return send(client);
  char buffer[64 << 10];
  const ssize_t count = ::recv(client.socket, buffer, sizeof buffer, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  const int reason = count < 0 ? errno : 0;
  const Clock::time_point now = Clock::now();
  StreamReader::Progress progress = client.reader.close();
  if (count > 0)
    progress = client.reader.take(buffer, size_t(count),
                                  [&](std::string_view event) { take(client, event, now); });
  if (count > 0 && progress == StreamReader::Progress::more)
    return;
  const int status = client.reader.status();
  if (status != 0 && status != 200)
    return end(client, "status " + std::to_string(status));
  if (!client.failure.empty())
    return end(client, client.failure);
  if (!client.finished && count > 0 && progress == StreamReader::Progress::broken)
    return end(client, "no stream of events");
  if (!client.finished)
    return end(client, reason ? std::string("recv: ") + std::strerror(reason)
                              : std::string("the stream ends too soon"));
  end(client, "");
}

void Reader::run() {
  Clock::time_point looked = Clock::now(); // for requests that take too long
  std::vector<epoll_event> events(256);
  while (true) {
    const int count = ::epoll_wait(poller, events.data(), int(events.size()), 1000);
    std::lock_guard<std::mutex> lock(mutex);
    for (int i = 0; i < count; ++i) {
      const int descriptor = events[size_t(i)].data.fd;
      if (descriptor == waker)
        return;
      auto client = clients.find(descriptor);
      if (client != clients.end())
        work(*client->second, events[size_t(i)].events);
    }
    const Clock::time_point now = Clock::now();
    if (secondsBetween(looked, now) < 1)
      continue;
    looked = now;
    std::vector<Client *> late;
    for (auto &[socket, client] : clients)
      if (secondsBetween(client->began, now) > timeout)
        late.push_back(client.get());
    for (Client *client : late)
      end(*client, "timeout");
  }
}

/// Begins requests as their time comes; readers do the rest.
class Load {
public:
  Load(const LoadOptions &options, const Address &address, std::vector<std::string> questions,
       std::string key)
      : options(options), address(address), questions(std::move(questions)), key(std::move(key)) {}
  Status run();
  Figures figures;
  double seconds = 0;

private:
  std::string requestOf(uint32_t number) const;
  Status begin(uint32_t number);
  Status beginAll(Clock::time_point start);

  const LoadOptions &options;
  const Address &address;
  std::vector<std::string> questions;
  std::string key;
  std::vector<std::unique_ptr<Reader>> readers;
  std::mutex mutex;
  std::condition_variable changed;
  uint32_t active = 0; // requests
};

std::string Load::requestOf(uint32_t number) const {
  json body = {
      {"messages", {{{"role", "user"}, {"content", questions[number % questions.size()]}}}},
      {"stream", true},
      {"stream_options", {{"include_usage", true}}},
      {"max_tokens", options.maxTokens},
      {"temperature", options.temperature},
      {"seed", options.seed + number}};
  if (!options.model.empty())
    body["model"] = options.model;
  if (options.ignoreEos)
    body["ignore_eos"] = true;
  const std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace);
  return "POST " + address.path + "/v1/chat/completions HTTP/1.1\r\nHost: " + address.host +
         "\r\nContent-Type: application/json\r\nConnection: close\r\n" +
         (key.empty() ? "" : "Authorization: Bearer " + key + "\r\n") +
         "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
}

Status Load::begin(uint32_t number) {
  auto client = std::make_unique<Client>();
  client->socket = ::socket(address.where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (client->socket < 0)
    return error(StatusCode::ioError, "a socket for request %u: %s", number + 1,
                 std::strerror(errno));
  client->request = requestOf(number);
  int on = 1;
  ::setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  readers[number % readers.size()]->add(std::move(client), address);
  return {};
}

/// Returns when all have ended.
Status Load::beginAll(Clock::time_point start) {
  std::mt19937_64 random(options.seed);
  std::exponential_distribution<double> gap(options.rate > 0 ? options.rate : 1);
  const uint32_t most = options.concurrency ? options.concurrency
                        : options.rate > 0  ? UINT32_MAX
                                            : 1;
  double due = 0; // seconds after the start at which the next request is to begin
  std::unique_lock<std::mutex> lock(mutex);
  for (uint32_t number = 0; number < options.requests; ++number) {
    changed.wait(lock, [&] { return active < most; });
    ++active;
    lock.unlock();
    if (options.rate > 0) {
      std::this_thread::sleep_until(
          start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(due)));
      due += options.evenly ? 1 / options.rate : gap(random);
    }
    M1_TRY(begin(number));
    lock.lock();
  }
  changed.wait(lock, [&] { return active == 0; });
  return {};
}

Status Load::run() {
  const uint32_t threads =
      options.threads ? options.threads : std::clamp(usableCores() / 4, 1u, 8u);
  JoiningThreads running;
  auto stop = [&] {
    for (auto &reader : readers)
      reader->stop();
    running.join();
  };
  for (uint32_t i = 0; i < threads; ++i)
    readers.push_back(std::make_unique<Reader>(options.timeout, [this] {
      std::lock_guard<std::mutex> lock(mutex);
      --active;
      changed.notify_one();
    }));
  for (auto &reader : readers)
    if (const int failure = reader->openFailure())
      return error(StatusCode::ioError, "cannot watch connections: %s", std::strerror(failure));
  for (auto &reader : readers)
    if (!running.start([&reader] { reader->run(); })) {
      stop();
      return error(StatusCode::outOfMemory, "no thread for the clients");
    }
  const Clock::time_point start = Clock::now();
  Status status = beginAll(start);
  seconds = secondsBetween(start, Clock::now());
  stop();
  for (auto &reader : readers)
    figures.add(reader->figures);
  return status;
}

double percentile(const std::vector<double> &sorted, double share) {
  return sorted[std::min(sorted.size() - 1, size_t(share * double(sorted.size())))];
}

json summarise(const char *name, std::vector<double> values) {
  if (values.empty())
    return nullptr;
  std::sort(values.begin(), values.end());
  double sum = 0;
  for (double value : values)
    sum += value;
  const json out = {{"mean", sum / double(values.size())}, {"p50", percentile(values, 0.5)},
                    {"p90", percentile(values, 0.9)},      {"p95", percentile(values, 0.95)},
                    {"p99", percentile(values, 0.99)},     {"max", values.back()}};
  std::printf("%-22s", name);
  for (const char *column : {"mean", "p50", "p90", "p95", "p99", "max"})
    std::printf(" %9.1f", 1e3 * out[column].get<double>());
  std::printf("\n");
  return out;
}

} // namespace

Status runServeLoad(const LoadOptions &options) {
  Address address;
  M1_TRY(resolve(options.url, &address));
  std::vector<std::string> questions;
  M1_TRY(readQuestions(options, &questions));
  std::string key;
  if (!options.apiKeyFile.empty()) {
    m1tool::LineReader file;
    M1_TRY(file.open(options.apiKeyFile).prefixed("--api-key-file"));
    if (!file.next(&key))
      return file.status().ok()
                 ? error(StatusCode::invalidArgument, "--api-key-file %s: the file is empty",
                         options.apiKeyFile.c_str())
                 : Status(file.status()).prefixed("--api-key-file");
  }
  m1tool::OutputFile jsonFile; // what cannot be written is to be known before the load
  if (!options.jsonPath.empty())
    M1_TRY(jsonFile.open(options.jsonPath));
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);

  Load load(options, address, std::move(questions), std::move(key));
  M1_TRY(load.run());
  Figures &figures = load.figures;
  const double rate = double(figures.tokens) / load.seconds;
  std::printf("requests              %u in %.2f s, %.2f a second; %llu answered\n",
              options.requests, load.seconds, options.requests / load.seconds,
              (unsigned long long)figures.answered);
  std::printf("tokens                %llu, %.1f a second\n", (unsigned long long)figures.tokens,
              rate);
  std::printf(
      "milliseconds               mean       p50       p90       p95       p99       max\n");
  json report = {{"url", options.url},
                 {"requests", options.requests},
                 {"answered", figures.answered},
                 {"failures", figures.failures},
                 {"seconds", load.seconds},
                 {"tokens", figures.tokens},
                 {"tokens_per_second", rate},
                 {"first_token_seconds", summarise("to the first token", figures.firstToken)},
                 {"between_token_seconds", summarise("between tokens", figures.between)},
                 {"request_seconds", summarise("whole requests", figures.whole)}};
  uint64_t failed = 0;
  for (const auto &[what, count] : figures.failures) {
    std::printf("failed                %llu: %s\n", (unsigned long long)count, what.c_str());
    failed += count;
  }
  if (!options.jsonPath.empty()) {
    const std::string text = report.dump(1) + "\n";
    M1_TRY(jsonFile.write(text.data(), text.size()));
    M1_TRY(jsonFile.commit());
  }
  if (failed)
    return error(StatusCode::ioError, "%llu of %u requests failed", (unsigned long long)failed,
                 options.requests);
  return {};
}

} // namespace m1bench
