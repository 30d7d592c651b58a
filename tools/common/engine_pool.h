// One queue of requests before one engine a device, each in a thread of its own. An engine takes
// the next request when it has sequences to spare and no other engine has fewer samples, so that
// what waits can be counted, refused and withdrawn here. A request with several samples is dealt
// out among the engines, a run of samples that fork from one prompt to each; one whose samples take
// turns (Request::samplesAtOnce) stays on one engine. A sample's tokens are the same whichever
// draws it.
#ifndef M1_TOOLS_COMMON_ENGINE_POOL_H
#define M1_TOOLS_COMMON_ENGINE_POOL_H

#include "base/joining_threads.h"
#include "device_engine.h"
#include "model/model.h"
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>

namespace m1tool {

using Ticket = uint64_t; // a prompt with its samples

/// An engine's event; `event.sample` counts within the ticket's request, `event.request` is void.
struct TicketEvent {
  Ticket ticket = 0;
  m1rt::Event event;
};

struct PoolOptions {
  EngineWish engine;      // of each
  uint32_t slots = 1;     // samples at once on one engine
  size_t maxQueue = 1024; // requests that no engine has begun
};

class EnginePool {
public:
  /// Called from the engines' threads; must not wait.
  using Sink = std::function<void(std::vector<TicketEvent>)>;
  /// Called once when a device has failed: every ticket is lost.
  using Failure = std::function<void(const m1rt::Status &)>;

  /// The models and the decoders' tokenizer outlive the pool.
  static m1rt::Status create(const std::vector<m1rt::Model *> &models, const PoolOptions &options,
                             const m1rt::Engine::DecoderFactory &decoders, Sink sink,
                             Failure failure, std::unique_ptr<EnginePool> *out);
  ~EnginePool();

  /// Whether the engines would take the request.
  m1rt::Status check(const m1rt::Request &request) const;
  /// Queues requests, all or none. `queued` gets their tickets before any event of them comes; it
  /// must not call the pool. False: the queue is full.
  bool submit(std::vector<m1rt::Request> requests,
              const std::function<void(std::vector<Ticket>)> &queued);
  /// Ends a ticket: samples that have not ended are reported as cancelled. Unknown tickets are
  /// ignored.
  void cancel(Ticket ticket);
  void cancelSample(Ticket ticket, uint32_t sample);

  /// Seconds after which a request that the full queue refused may well be taken.
  uint32_t retryAfter() const;
  uint32_t maxContext() const { return context; }

  struct Load {
    size_t queued = 0; // requests
    uint32_t queuedSamples = 0;
    uint32_t runningSamples = 0, waitingSamples = 0;
    uint32_t kvPages = 0, freePages = 0;
    m1rt::EngineStats stats; // summed over engines
  };
  Load load() const;

private:
  struct Waiting {
    Ticket ticket = 0;
    m1rt::Request request;
    uint32_t next = 0; // first sample that no engine has taken
    std::chrono::steady_clock::time_point arrived;
    uint64_t beginning = 0; // of the prompt, by which those that begin alike are known
  };
  struct Part { // of a ticket, on one engine
    Ticket ticket = 0;
    uint32_t first = 0, open = 0;
    uint32_t atOnce = 0; // of them, while others wait; 0: any number
    std::chrono::steady_clock::time_point began;
    uint32_t places() const { return atOnce ? std::min(open, atOnce) : open; }
  };
  struct Wish { // to end a ticket's samples
    Ticket ticket = 0;
    uint32_t sample = UINT32_MAX; // all of them
  };
  struct Taken { // by a worker before a step
    std::vector<Wish> wishes;
    std::vector<Waiting> withdrawn;
    std::vector<std::pair<Waiting, uint32_t>> parts; // requests, and how many samples of each
  };
  struct Worker {
    DeviceEngine device;
    uint32_t slots = 0;
    std::map<uint64_t, Part> parts; // by the engine's request; of the worker's thread
    std::vector<m1rt::Event> news;  // of the last step, for their memory; of the worker's thread
    std::vector<Wish> wishes;       // below: guarded by the pool's mutex
    uint32_t used = 0;              // places of its parts
    Load load;
    std::deque<uint64_t> beginnings; // of the prompts it took last
    m1rt::JoiningThreads thread;     // one, which the pool joins
  };

  EnginePool() = default;
  void run(Worker &worker);
  void work(Worker &worker);
  bool take(Worker &worker, Taken *out);
  std::vector<double> tell(Worker &worker, std::vector<TicketEvent> *events);
  void count(Worker &worker, const std::vector<double> &took);
  bool mayDraw(const Worker &worker) const;
  std::deque<Waiting>::iterator choose(Worker &worker);
  static void endUnbegun(const Waiting &waiting, uint32_t end, m1rt::FinishReason reason,
                         const std::string &error, std::vector<TicketEvent> *events);
  void submitPart(Worker &worker, const Waiting &waiting, uint32_t count,
                  std::vector<TicketEvent> *events);
  static void fulfil(Worker &worker, const std::vector<Wish> &wishes);

  std::vector<std::unique_ptr<Worker>> workers;
  PoolOptions options;
  Sink sink;
  Failure failure;
  uint32_t context = 0;
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<Waiting> queue;
  std::vector<Waiting> withdrawn; // cancelled in the queue, not yet reported
  Ticket nextTicket = 1;
  double averageSeconds = 1; // of an engine for a request, moving
  bool stopping = false;
};

} // namespace m1tool

#endif
