// From engines to clients: one thread that gives samples' news to their exchanges, sends streams
// and notices clients that hang up. It never waits for a client: what a slow one does not take is
// kept up to a bound, and a client beyond it, or one that takes nothing for long, is cut off.
#ifndef M1_TOOLS_SERVE_DELIVERY_H
#define M1_TOOLS_SERVE_DELIVERY_H

#include "base/joining_threads.h"
#include "engine_pool.h"
#include "exchange.h"
#include <memory>
#include <unordered_map>

namespace m1serve {

using m1tool::EnginePool;
using m1tool::Ticket;
using m1tool::TicketEvent;

struct DeliveryLimits {
  size_t buffered = 1 << 20; // bytes of a stream that its client has not taken
  double stallSeconds = 30;  // without taking any
  double heartbeatSeconds = 15;
};

class Delivery {
public:
  /// `cancel` ends a ticket in the engines, or one sample of it. `ended` hears of every exchange
  /// that is over, when it is.
  using Cancel = std::function<void(Ticket, std::optional<uint32_t>)>;
  using Ended = std::function<void(const Exchange &, bool hungUp)>;
  Delivery(const DeliveryLimits &limits, Cancel cancel, Ended ended);
  ~Delivery();
  Delivery(const Delivery &) = delete;
  Delivery &operator=(const Delivery &) = delete;

  /// Its thread; what is told before waits for it.
  m1rt::Status start();

  // From any thread; none of them waits.
  void post(std::vector<TicketEvent> events);
  /// Before events of its tickets are posted.
  void attach(std::shared_ptr<Exchange> exchange);
  /// The head of its response has been sent: the stream may follow.
  void open(std::shared_ptr<Exchange> exchange);
  /// Nobody waits for its answer any more.
  void abandon(std::shared_ptr<Exchange> exchange);
  /// Ends all exchanges with this error, now and from now on.
  void failAll(const ApiError &error);

private:
  struct Inbox {
    std::vector<std::shared_ptr<Exchange>> attached, opened, abandoned;
    std::vector<TicketEvent> events;
    std::optional<ApiError> failure;
    bool stop = false;
    bool empty() const {
      return attached.empty() && opened.empty() && abandoned.empty() && events.empty() && !failure;
    }
  };
  void run();
  template <typename Change> void tell(Change change);
  bool handle(Inbox &inbox);
  void watch(const std::shared_ptr<Exchange> &exchange);
  void settle(const std::shared_ptr<Exchange> &exchange);
  bool flush(Exchange &exchange);
  void hangUp(const std::shared_ptr<Exchange> &exchange);
  void retire(const std::shared_ptr<Exchange> &exchange, bool hungUp);
  void lookAtClock();

  DeliveryLimits limits;
  Cancel cancel;
  Ended ended;
  int poller, waker;
  std::mutex mutex;
  Inbox inbox;

  // of the thread
  struct Target {
    std::shared_ptr<Exchange> exchange;
    size_t prompt;
  };
  std::unordered_map<Ticket, Target> tickets;
  std::unordered_map<int, std::shared_ptr<Exchange>> bySocket;
  std::optional<ApiError> lost; // what new exchanges are told
  Exchange::Clock::time_point lookedAt = Exchange::Clock::now();
  m1rt::JoiningThreads thread; // one
};

} // namespace m1serve

#endif
