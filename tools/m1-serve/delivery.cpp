#include "delivery.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace m1serve {

Delivery::Delivery(const DeliveryLimits &limits, Cancel cancel, Ended ended)
    : limits(limits), cancel(std::move(cancel)), ended(std::move(ended)),
      poller(::epoll_create1(EPOLL_CLOEXEC)), waker(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = waker;
  ::epoll_ctl(poller, EPOLL_CTL_ADD, waker, &event);
}

m1rt::Status Delivery::start() {
  if (poller < 0 || waker < 0 || !thread.start([this] { run(); }))
    return m1rt::error(m1rt::StatusCode::ioError, "cannot start a thread that sends answers");
  return {};
}

Delivery::~Delivery() {
  tell([](Inbox &inbox) { inbox.stop = true; });
  thread.join();
  ::close(waker);
  ::close(poller);
}

template <typename Change> void Delivery::tell(Change change) {
  bool sleeps = false;
  {
    std::lock_guard<std::mutex> lock(mutex);
    sleeps = inbox.empty();
    change(inbox);
  }
  const uint64_t one = 1;
  if (sleeps)
    (void)!::write(waker, &one, sizeof one);
}

void Delivery::post(std::vector<TicketEvent> events) {
  tell([&](Inbox &inbox) {
    if (inbox.events.empty())
      inbox.events.swap(events);
    else
      std::move(events.begin(), events.end(), std::back_inserter(inbox.events));
  });
}
void Delivery::attach(std::shared_ptr<Exchange> exchange) {
  tell([&](Inbox &inbox) { inbox.attached.push_back(std::move(exchange)); });
}
void Delivery::open(std::shared_ptr<Exchange> exchange) {
  tell([&](Inbox &inbox) { inbox.opened.push_back(std::move(exchange)); });
}
void Delivery::abandon(std::shared_ptr<Exchange> exchange) {
  tell([&](Inbox &inbox) { inbox.abandoned.push_back(std::move(exchange)); });
}
void Delivery::failAll(const ApiError &error) {
  tell([&](Inbox &inbox) {
    if (!inbox.failure)
      inbox.failure = error;
  });
}

void Delivery::run() {
  epoll_event events[256];
  while (true) {
    const int count = ::epoll_wait(poller, events, 256, bySocket.empty() ? -1 : 1000);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == waker)
        continue;
      auto found = bySocket.find(events[i].data.fd);
      if (found == bySocket.end())
        continue;
      const std::shared_ptr<Exchange> exchange = found->second;
      if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        hangUp(exchange);
      else if (events[i].events & EPOLLOUT)
        settle(exchange);
    }
    uint64_t woken = 0;
    (void)!::read(waker, &woken, sizeof woken);
    Inbox news;
    {
      std::lock_guard<std::mutex> lock(mutex);
      std::swap(news, inbox);
      inbox.stop = news.stop;
    }
    if (!handle(news))
      return;
    lookAtClock();
  }
}

/// False: the thread ends.
bool Delivery::handle(Inbox &news) {
  for (auto &exchange : news.attached) {
    for (size_t prompt = 0; prompt < exchange->tickets.size(); ++prompt)
      tickets[exchange->tickets[prompt]] = {exchange, prompt};
    watch(exchange);
    if (lost) {
      exchange->fail(*lost);
      settle(exchange);
    }
  }
  for (auto &exchange : news.opened) {
    exchange->opened = true;
    exchange->progress = Exchange::Clock::now();
    settle(exchange);
  }
  std::vector<std::shared_ptr<Exchange>> touched;
  for (TicketEvent &event : news.events) {
    auto target = tickets.find(event.ticket);
    if (target == tickets.end())
      continue;
    const std::shared_ptr<Exchange> &exchange = target->second.exchange;
    exchange->take(target->second.prompt, event.event,
                   [&](size_t prompt, std::optional<uint32_t> sample) {
                     cancel(exchange->tickets[prompt], sample);
                   });
    if (!std::exchange(exchange->touched, true))
      touched.push_back(exchange);
  }
  for (auto &exchange : touched) {
    exchange->touched = false;
    settle(exchange);
  }
  for (auto &exchange : news.abandoned)
    hangUp(exchange);
  if (news.failure || news.stop) {
    if (!lost) // the first reason is the one
      lost = news.failure ? *news.failure : ApiError{503, "the server has stopped", {}, {}, 0};
    std::vector<std::shared_ptr<Exchange>> all;
    for (auto &[socket, exchange] : bySocket)
      all.push_back(exchange);
    for (auto &exchange : all) {
      exchange->fail(*lost);
      settle(exchange);
      if (news.stop)
        hangUp(exchange);
    }
  }
  return !news.stop;
}

void Delivery::watch(const std::shared_ptr<Exchange> &exchange) {
  bySocket[exchange->socket] = exchange;
  epoll_event event = {};
  event.events = EPOLLRDHUP;
  event.data.fd = exchange->socket;
  ::epoll_ctl(poller, EPOLL_CTL_ADD, exchange->socket, &event);
}

/// Sends what may be sent, and lets go of an exchange that is over.
void Delivery::settle(const std::shared_ptr<Exchange> &exchange) {
  auto known = bySocket.find(exchange->socket);
  if (known == bySocket.end() || known->second != exchange)
    return; // over already
  if (exchange->ended())
    for (Ticket ticket : exchange->tickets)
      if (exchange->error())
        cancel(ticket, std::nullopt);
  if (!exchange->request.stream) {
    if (exchange->ended())
      retire(exchange, false);
    return;
  }
  if (!exchange->opened) { // the head of the response comes first
    if (exchange->outgoing.size() > limits.buffered + exchange->echoed)
      hangUp(exchange);
    return;
  }
  if (exchange->sent < exchange->outgoing.size() && !flush(*exchange))
    return hangUp(exchange);
  const bool blocked = exchange->sent < exchange->outgoing.size();
  if (!blocked && exchange->ended())
    return retire(exchange, false);
  if (blocked == exchange->blocked)
    return;
  exchange->blocked = blocked;
  epoll_event event = {};
  event.events = blocked ? EPOLLRDHUP | EPOLLOUT : EPOLLRDHUP;
  event.data.fd = exchange->socket;
  ::epoll_ctl(poller, EPOLL_CTL_MOD, exchange->socket, &event);
}

/// False: the client is gone, or too slow.
bool Delivery::flush(Exchange &exchange) {
  while (exchange.sent < exchange.outgoing.size()) {
    const ssize_t count =
        ::send(exchange.socket, exchange.outgoing.data() + exchange.sent,
               exchange.outgoing.size() - exchange.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) {
      exchange.sent += size_t(count);
      exchange.progress = Exchange::Clock::now();
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return false;
    }
  }
  if (exchange.sent > (64u << 10)) {
    exchange.outgoing.erase(0, exchange.sent);
    exchange.sent = 0;
  }
  return exchange.outgoing.size() - exchange.sent <= limits.buffered + exchange.echoed;
}

void Delivery::hangUp(const std::shared_ptr<Exchange> &exchange) {
  auto known = bySocket.find(exchange->socket);
  if (known == bySocket.end() || known->second != exchange)
    return;
  for (Ticket ticket : exchange->tickets)
    cancel(ticket, std::nullopt);
  exchange->cut = true;
  // What its own thread may be waiting to write, it need not.
  ::shutdown(exchange->socket, SHUT_RDWR);
  retire(exchange, true);
}

void Delivery::retire(const std::shared_ptr<Exchange> &exchange, bool hungUp) {
  for (Ticket ticket : exchange->tickets)
    tickets.erase(ticket);
  ::epoll_ctl(poller, EPOLL_CTL_DEL, exchange->socket, nullptr);
  const auto kept = bySocket.extract(exchange->socket); // `exchange` may be a reference into it
  ended(*exchange, hungUp);
  exchange->release();
}

void Delivery::lookAtClock() {
  const Exchange::Clock::time_point now = Exchange::Clock::now();
  if (now - lookedAt < std::chrono::seconds(1))
    return;
  lookedAt = now;
  std::vector<std::shared_ptr<Exchange>> stalled, silent;
  for (auto &[socket, exchange] : bySocket) {
    if (!exchange->request.stream || !exchange->opened)
      continue;
    const std::chrono::duration<double> still = now - exchange->progress;
    if (exchange->sent < exchange->outgoing.size() && still.count() > limits.stallSeconds)
      stalled.push_back(exchange);
    else if (exchange->sent == exchange->outgoing.size() && still.count() > limits.heartbeatSeconds)
      silent.push_back(exchange);
  }
  for (auto &exchange : stalled)
    hangUp(exchange);
  for (auto &exchange : silent) {
    exchange->heartbeat();
    settle(exchange);
  }
}

} // namespace m1serve
