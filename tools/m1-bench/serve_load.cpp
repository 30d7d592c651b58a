#include "serve_load.h"
#include "base/json_value.h"
#include "tool.h"
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <netdb.h>
#include <netinet/tcp.h>
#include <nlohmann/json.hpp>
#include <random>
#include <sys/epoll.h>
#include <sys/resource.h>

using namespace m1rt;
using nlohmann::json;

namespace m1bench {

// ---- Responses
// -------------------------------------------------------------------------------------------------

StreamReader::Progress StreamReader::head() {
  const size_t end = held.find("\r\n\r\n");
  if (end == std::string::npos)
    return held.size() > (64u << 10) ? Progress::broken : Progress::more;
  std::string lines = held.substr(0, end + 2);
  held.erase(0, end + 4);
  if (lines.rfind("HTTP/1.", 0) != 0 || lines.size() < 12)
    return Progress::broken;
  code = std::atoi(lines.c_str() + 9);
  if (code == 100) // Continue: the head proper follows
    return head();
  std::transform(lines.begin(), lines.end(), lines.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  const size_t length = lines.find("\r\ncontent-length:");
  if (lines.find("\r\ntransfer-encoding: chunked") != std::string::npos) {
    state = State::size;
  } else {
    state = State::plain;
    left = length == std::string::npos ? SIZE_MAX : std::strtoull(&lines[length + 17], nullptr, 10);
  }
  return Progress::more;
}

StreamReader::Progress StreamReader::take(const char *data, size_t size,
                                          std::vector<std::string> *events) {
  held.append(data, size);
  while (true) {
    if (state == State::head) {
      if (Progress progress = head(); progress == Progress::broken)
        return progress;
      if (state == State::head)
        return Progress::more;
    } else if (state == State::plain) {
      const size_t count = std::min(left, held.size());
      text.append(held, 0, count);
      held.erase(0, count);
      left -= left == SIZE_MAX ? 0 : count;
      return left == 0 ? Progress::done : Progress::more;
    } else if (state == State::data) {
      const size_t count = std::min(left, held.size());
      text.append(held, 0, count);
      held.erase(0, count);
      left -= count;
      for (size_t end; (end = text.find("\n\n")) != std::string::npos; text.erase(0, end + 2))
        if (text.rfind("data: ", 0) == 0)
          events->push_back(text.substr(6, end - 6));
      if (left > 0)
        return Progress::more;
      state = State::afterData;
    } else { // a line: the size of a chunk, the empty one behind it, or a trailer
      const size_t end = held.find("\r\n");
      if (end == std::string::npos)
        return held.size() > 4096 ? Progress::broken : Progress::more;
      const std::string line = held.substr(0, end);
      held.erase(0, end + 2);
      if (state == State::afterData) {
        if (!line.empty())
          return Progress::broken;
        state = State::size;
      } else if (state == State::trailer) {
        if (line.empty())
          return Progress::done;
      } else {
        char *stop = nullptr;
        left = std::strtoull(line.c_str(), &stop, 16);
        if (stop == line.c_str())
          return Progress::broken;
        state = left ? State::data : State::trailer;
      }
    }
  }
}

// ---- Load
// -------------------------------------------------------------------------------------------------

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
  std::ifstream file(options.dataset);
  if (!file)
    return error(StatusCode::notFound, "--dataset %s: %s", options.dataset.c_str(),
                 std::strerror(errno));
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
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
  if (out->empty())
    return error(StatusCode::invalidArgument, "--dataset %s: no line in it",
                 options.dataset.c_str());
  return {};
}

struct Client {
  int socket = -1;
  std::string request;
  size_t sent = 0;
  StreamReader reader;
  Clock::time_point began, last;
  bool spoke = false, finished = false;
};

struct Figures {
  std::vector<double> firstToken, between, whole;
  uint64_t tokens = 0, answered = 0;
  std::map<std::string, uint64_t> failures;
};

class Load {
public:
  Load(const LoadOptions &options, const Address &address, std::vector<std::string> questions,
       std::string key)
      : options(options), address(address), questions(std::move(questions)), key(std::move(key)) {}
  ~Load() {
    for (auto &[socket, client] : clients)
      ::close(socket);
    ::close(poller);
  }
  Status run();
  Figures figures;
  double seconds = 0;

private:
  std::string requestOf(uint32_t number) const;
  Status begin(uint32_t number);
  void work(Client &client, uint32_t events);
  void take(Client &client, const std::string &event);
  void end(Client &client, const std::string &failure);

  const LoadOptions &options;
  const Address &address;
  std::vector<std::string> questions;
  std::string key;
  int poller = ::epoll_create1(EPOLL_CLOEXEC);
  std::map<int, std::unique_ptr<Client>> clients;
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
  const int socket =
      ::socket(address.where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0)
    return error(StatusCode::ioError, "a socket for client %zu: %s", clients.size() + 1,
                 std::strerror(errno));
  auto client = std::make_unique<Client>();
  client->socket = socket;
  client->request = requestOf(number);
  client->began = client->last = Clock::now();
  int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  epoll_event event = {};
  event.events = EPOLLOUT;
  event.data.fd = socket;
  ::epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event);
  Client &added = *(clients[socket] = std::move(client));
  if (::connect(socket, reinterpret_cast<const sockaddr *>(&address.where), address.size) != 0 &&
      errno != EINPROGRESS)
    end(added, std::string("connect: ") + std::strerror(errno));
  return {};
}

void Load::end(Client &client, const std::string &failure) {
  if (failure.empty()) {
    ++figures.answered;
    figures.whole.push_back(secondsBetween(client.began, Clock::now()));
  } else {
    ++figures.failures[failure];
  }
  ::close(client.socket);
  clients.erase(client.socket); // the client, too
}

void Load::take(Client &client, const std::string &event) {
  if (event == "[DONE]") {
    client.finished = true;
    return;
  }
  const json data = json::parse(event, nullptr, false);
  if (data.is_discarded())
    return;
  if (data.contains("usage") && data["usage"].is_object())
    if (const auto count = data["usage"].find("completion_tokens");
        count != data["usage"].end() && count->is_number_unsigned())
      figures.tokens += count->get<uint64_t>();
  const json &choices = data.contains("choices") ? data["choices"] : json::array();
  bool says = false;
  for (const json &choice : choices)
    for (const char *field : {"content", "reasoning_content"})
      says |= choice.contains("delta") && choice["delta"].contains(field) &&
              choice["delta"][field].is_string() &&
              !choice["delta"][field].get_ref<const std::string &>().empty();
  if (!says)
    return;
  const Clock::time_point now = Clock::now();
  (client.spoke ? figures.between : figures.firstToken).push_back(secondsBetween(client.last, now));
  client.spoke = true;
  client.last = now;
}

void Load::work(Client &client, uint32_t events) {
  if (events & EPOLLOUT) {
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
    if (client.sent == client.request.size()) {
      epoll_event event = {};
      event.events = EPOLLIN;
      event.data.fd = client.socket;
      ::epoll_ctl(poller, EPOLL_CTL_MOD, client.socket, &event);
    }
    return;
  }
  char buffer[16 << 10];
  const ssize_t count = ::recv(client.socket, buffer, sizeof buffer, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  std::vector<std::string> data;
  StreamReader::Progress progress = StreamReader::Progress::broken;
  if (count > 0)
    progress = client.reader.take(buffer, size_t(count), &data);
  for (const std::string &event : data)
    take(client, event);
  if (count > 0 && progress == StreamReader::Progress::more)
    return;
  const int status = client.reader.status();
  if (status != 0 && status != 200)
    return end(client, "status " + std::to_string(status));
  if (!client.finished)
    return end(client, count < 0 ? std::string("recv: ") + std::strerror(errno)
                                 : std::string("the stream ends too soon"));
  end(client, "");
}

Status Load::run() {
  const Clock::time_point start = Clock::now();
  Clock::time_point looked = start; // for requests that take too long
  std::mt19937_64 random(options.seed);
  std::exponential_distribution<double> gap(options.rate > 0 ? options.rate : 1);
  const uint32_t most = options.concurrency ? options.concurrency
                        : options.rate > 0  ? UINT32_MAX
                                            : 1;
  double due = 0; // seconds after the start at which the next request is to begin
  uint32_t begun = 0;
  std::vector<epoll_event> events(1024);
  while (begun < options.requests || !clients.empty()) {
    while (begun < options.requests && clients.size() < most &&
           (options.rate <= 0 || secondsBetween(start, Clock::now()) >= due)) {
      M1_TRY(begin(begun++));
      if (options.rate > 0)
        due += options.evenly ? 1 / options.rate : gap(random);
    }
    int wait = 1000;
    if (begun < options.requests && options.rate > 0 && clients.size() < most)
      wait = int(std::clamp(1e3 * (due - secondsBetween(start, Clock::now())), 0.0, 1000.0));
    const int count = ::epoll_wait(poller, events.data(), int(events.size()), wait);
    for (int i = 0; i < count; ++i) {
      auto client = clients.find(events[size_t(i)].data.fd);
      if (client != clients.end())
        work(*client->second, events[size_t(i)].events);
    }
    const Clock::time_point now = Clock::now();
    if (secondsBetween(looked, now) < 1)
      continue;
    looked = now;
    std::vector<Client *> late;
    for (auto &[socket, client] : clients)
      if (secondsBetween(client->began, now) > options.timeout)
        late.push_back(client.get());
    for (Client *client : late)
      end(*client, "timeout");
  }
  seconds = secondsBetween(start, Clock::now());
  return {};
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
    std::ifstream file(options.apiKeyFile);
    if (!std::getline(file, key))
      return error(StatusCode::ioError, "--api-key-file %s: cannot be read, or is empty",
                   options.apiKeyFile.c_str());
  }
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
    m1tool::OutputFile file;
    const std::string text = report.dump(1) + "\n";
    M1_TRY(file.open(options.jsonPath));
    M1_TRY(file.write(text.data(), text.size()));
    M1_TRY(file.commit());
  }
  if (failed)
    return error(StatusCode::ioError, "%llu of %u requests failed", (unsigned long long)failed,
                 options.requests);
  return {};
}

} // namespace m1bench
