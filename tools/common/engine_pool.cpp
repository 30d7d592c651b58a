#include "engine_pool.h"
#include <algorithm>
#include <cmath>

using namespace m1rt;

namespace m1tool {

/// FNV-1a of the first tokens, as many as make a prefix worth keeping.
static uint64_t beginningOf(const std::vector<int32_t> &prompt) {
  const size_t length = EngineOptions().prefixBlock;
  if (prompt.size() < length)
    return 0; // like no other
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < length; ++i)
    hash = (hash ^ uint32_t(prompt[i])) * 0x100000001b3u;
  return hash;
}

Status EnginePool::create(const std::vector<Model *> &models, const PoolOptions &options,
                          const Engine::DecoderFactory &decoders, Sink sink, Failure failure,
                          std::unique_ptr<EnginePool> *out) {
  std::unique_ptr<EnginePool> pool(new EnginePool);
  pool->options = options;
  pool->sink = std::move(sink);
  pool->failure = std::move(failure);
  for (Model *model : models) {
    auto worker = std::make_unique<Worker>();
    M1_TRY(createEngine(*model, options.engine, decoders, &worker->device));
    const BackendLimits limits = worker->device.session->limits();
    worker->slots = std::max(1u, std::min(options.slots, limits.maxSequences));
    worker->load.kvPages = limits.kvPages;
    worker->load.freePages = worker->device.session->freePages();
    pool->context = pool->context ? std::min(pool->context, limits.maxContext) : limits.maxContext;
    pool->workers.push_back(std::move(worker));
  }
  for (auto &worker : pool->workers)
    if (!worker->thread.start([pool = pool.get(), w = worker.get()] { pool->run(*w); }))
      return error(StatusCode::ioError, "cannot start a thread for each of %zu devices",
                   pool->workers.size());
  *out = std::move(pool);
  return {};
}

EnginePool::~EnginePool() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopping = true;
    changed.notify_all();
  }
  for (auto &worker : workers)
    worker->thread.join();
}

Status EnginePool::check(const Request &request) const {
  for (const auto &worker : workers)
    M1_TRY(worker->device.engine->check(request));
  return {};
}

bool EnginePool::submit(std::vector<Request> requests,
                        const std::function<void(std::vector<Ticket>)> &queued) {
  std::lock_guard<std::mutex> lock(mutex);
  uint32_t room = 0; // samples that engines can begin at once
  for (auto &worker : workers) {
    const uint32_t used = worker->load.runningSamples + worker->load.waitingSamples;
    room += worker->slots > used ? worker->slots - used : 0;
  }
  // What the engines are about to take does not wait.
  if (queue.size() + requests.size() > options.maxQueue + room)
    return false;
  std::vector<Ticket> tickets;
  for (Request &request : requests) {
    Waiting waiting;
    waiting.ticket = nextTicket++;
    waiting.request = std::move(request);
    waiting.arrived = std::chrono::steady_clock::now();
    waiting.beginning = beginningOf(waiting.request.prompt);
    tickets.push_back(waiting.ticket);
    queue.push_back(std::move(waiting));
  }
  queued(std::move(tickets));
  changed.notify_all();
  return true;
}

void EnginePool::cancel(Ticket ticket) {
  std::lock_guard<std::mutex> lock(mutex);
  for (auto it = queue.begin(); it != queue.end(); ++it)
    if (it->ticket == ticket) {
      withdrawn.push_back(std::move(*it));
      queue.erase(it);
      break;
    }
  for (auto &worker : workers)
    worker->wishes.push_back({ticket, UINT32_MAX});
  changed.notify_all();
}

void EnginePool::cancelSample(Ticket ticket, uint32_t sample) {
  std::lock_guard<std::mutex> lock(mutex);
  for (auto &worker : workers)
    worker->wishes.push_back({ticket, sample});
  changed.notify_all();
}

uint32_t EnginePool::retryAfter() const {
  std::lock_guard<std::mutex> lock(mutex);
  uint32_t slots = 0;
  for (auto &worker : workers)
    slots += worker->slots;
  const double seconds = averageSeconds * double(queue.size()) / std::max(slots, 1u);
  return uint32_t(std::clamp(std::ceil(seconds), 1.0, 60.0));
}

EnginePool::Load EnginePool::load() const {
  std::lock_guard<std::mutex> lock(mutex);
  Load all;
  all.queued = queue.size();
  for (const Waiting &waiting : queue)
    all.queuedSamples += waiting.request.samples - waiting.next;
  for (auto &worker : workers) {
    const Load &one = worker->load;
    all.runningSamples += one.runningSamples;
    all.waitingSamples += one.waitingSamples;
    all.kvPages += one.kvPages;
    all.freePages += one.freePages;
    all.stats.steps += one.stats.steps;
    all.stats.promptTokens += one.stats.promptTokens;
    all.stats.computedTokens += one.stats.computedTokens;
    all.stats.reusedTokens += one.stats.reusedTokens;
    all.stats.sharedTokens += one.stats.sharedTokens;
    all.stats.recomputedTokens += one.stats.recomputedTokens;
    all.stats.generatedTokens += one.stats.generatedTokens;
    all.stats.preemptions += one.stats.preemptions;
    all.stats.probes += one.stats.probes;
    all.stats.probesDropped += one.stats.probesDropped;
    all.stats.probeTokens += one.stats.probeTokens;
    all.stats.probeSeconds += one.stats.probeSeconds;
    all.stats.prefixHits += one.stats.prefixHits;
    all.stats.prefixMisses += one.stats.prefixMisses;
    all.stats.decodeSteps += one.stats.decodeSteps;
    all.stats.decodeTokens += one.stats.decodeTokens;
    all.stats.decodeSeconds += one.stats.decodeSeconds;
    all.stats.modelSeconds += one.stats.modelSeconds;
    all.stats.elapsedSeconds += one.stats.elapsedSeconds;
  }
  return all;
}

/// Ends the request's samples from its next one up to `end`, which no engine has begun.
void EnginePool::endUnbegun(const Waiting &waiting, uint32_t end, FinishReason reason,
                            const std::string &error, std::vector<TicketEvent> *events) {
  for (uint32_t sample = waiting.next; sample < end; ++sample) {
    TicketEvent ended;
    ended.ticket = waiting.ticket;
    ended.event.sample = sample;
    ended.event.reason = reason;
    ended.event.error = error;
    events->push_back(std::move(ended));
  }
}

/// Gives an engine `count` samples of the request, from its next one on.
void EnginePool::submitPart(Worker &worker, const Waiting &waiting, uint32_t count,
                            std::vector<TicketEvent> *events) {
  Request request = waiting.request;
  request.samples = count;
  request.firstSample += waiting.next;
  if (request.timeBudget > 0) { // counted from the request's arrival; zero would be none
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - waiting.arrived;
    request.timeBudget = std::max(request.timeBudget - waited.count(), 1e-3);
  }
  const uint32_t atOnce = request.samplesAtOnce;
  uint64_t id = 0;
  Status status = worker.device.engine->submit(std::move(request), &id);
  if (status.ok()) {
    worker.parts[id] = {waiting.ticket, waiting.next, count, atOnce,
                        std::chrono::steady_clock::now()};
    return;
  }
  endUnbegun(waiting, waiting.next + count, FinishReason::failed, status.message(), events);
}

void EnginePool::fulfil(Worker &worker, const std::vector<Wish> &wishes) {
  for (const Wish &wish : wishes)
    for (auto &[id, part] : worker.parts) {
      if (part.ticket != wish.ticket)
        continue;
      if (wish.sample == UINT32_MAX)
        worker.device.engine->cancel(id);
      else if (wish.sample >= part.first)
        worker.device.engine->cancelSample(id, wish.sample - part.first);
    }
}

/// What an engine takes next: the oldest request, or of several engines' first few requests one
/// that begins like a prompt it had before, so that it need not compute that beginning again. A
/// request is passed over for a second at most.
std::deque<EnginePool::Waiting>::iterator EnginePool::choose(Worker &worker) {
  constexpr size_t within = 16, remembered = 64;
  auto chosen = queue.begin();
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - chosen->arrived;
  if (workers.size() > 1 && waited.count() < 1)
    for (size_t i = 0; i < std::min(within, queue.size()); ++i) {
      const auto &known = worker.beginnings;
      if (queue[i].beginning &&
          std::find(known.begin(), known.end(), queue[i].beginning) != known.end()) {
        chosen = queue.begin() + ptrdiff_t(i);
        break;
      }
    }
  worker.beginnings.push_back(chosen->beginning);
  if (worker.beginnings.size() > remembered)
    worker.beginnings.pop_front();
  return chosen;
}

/// Whether an engine takes something now: it has sequences to spare, and so has no other engine
/// with fewer samples; a few long requests then do not gather on one of them.
bool EnginePool::mayDraw(const Worker &worker) const {
  return !queue.empty() && worker.used < worker.slots &&
         std::none_of(
             workers.begin(), workers.end(),
             [&](const auto &other) { return other->used < std::min(other->slots, worker.used); });
}

void EnginePool::run(Worker &worker) {
  try {
    work(worker);
  } catch (const std::bad_alloc &) {
    failure(error(StatusCode::outOfMemory, "out of memory"));
  }
}

/// Waits until there is something to do and takes it: what was wished and withdrawn, and requests
/// or shares of them. False: the pool ends.
bool EnginePool::take(Worker &worker, Taken *out) {
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait(lock, [&] {
    return stopping || !worker.device.engine->idle() || !worker.wishes.empty() ||
           !withdrawn.empty() || mayDraw(worker);
  });
  if (stopping)
    return false;
  out->wishes.swap(worker.wishes);
  out->withdrawn.swap(withdrawn);
  while (mayDraw(worker)) {
    const auto chosen = choose(worker);
    Waiting &front = *chosen;
    // Of several engines each takes its share, so that all of them work on a request with many
    // samples.
    const uint32_t left = front.request.samples - front.next;
    const uint32_t share =
        (front.request.samples + uint32_t(workers.size()) - 1) / uint32_t(workers.size());
    const uint32_t atOnce = front.request.samplesAtOnce;
    const uint32_t count = atOnce ? left : std::min(left, share);
    const uint32_t places = Part{front.ticket, 0, count, atOnce, {}}.places();
    worker.used += places;
    worker.load.waitingSamples += places;
    if (count == left) {
      out->parts.emplace_back(std::move(front), count);
      queue.erase(chosen);
    } else {
      out->parts.emplace_back(front, count);
      front.next += count;
    }
  }
  if (!out->parts.empty() && !queue.empty())
    changed.notify_all(); // others may now have the fewest samples
  return true;
}

/// The engine's events as those of tickets. Returns the seconds that parts took which have ended.
std::vector<double> EnginePool::tell(Worker &worker, std::vector<TicketEvent> *events) {
  std::vector<double> took;
  worker.device.engine->takeEvents(&worker.news);
  events->reserve(events->size() + worker.news.size());
  for (Event &event : worker.news) {
    auto part = worker.parts.find(event.request);
    if (part == worker.parts.end())
      continue;
    TicketEvent out;
    out.ticket = part->second.ticket;
    const bool ends = event.reason != FinishReason::running;
    event.sample += part->second.first;
    out.event = std::move(event);
    events->push_back(std::move(out));
    if (ends && --part->second.open == 0) {
      const std::chrono::duration<double> seconds =
          std::chrono::steady_clock::now() - part->second.began;
      took.push_back(seconds.count());
      worker.parts.erase(part);
    }
  }
  return took;
}

/// Counts what a step has left running.
void EnginePool::count(Worker &worker, const std::vector<double> &took) {
  std::lock_guard<std::mutex> lock(mutex);
  for (double seconds : took)
    averageSeconds += (seconds - averageSeconds) / 16;
  const uint32_t before = worker.used;
  worker.used = 0;
  for (const auto &[id, part] : worker.parts)
    worker.used += part.places();
  if (worker.used < before && !queue.empty())
    changed.notify_all();
  const Engine &engine = *worker.device.engine;
  worker.load.runningSamples = engine.runningSamples();
  worker.load.waitingSamples = engine.waitingSamples();
  worker.load.freePages = worker.device.session->freePages();
  worker.load.stats = engine.stats();
}

void EnginePool::work(Worker &worker) {
  for (Taken taken; take(worker, &taken); taken = {}) {
    std::vector<TicketEvent> events;
    for (const Waiting &waiting : taken.withdrawn)
      endUnbegun(waiting, waiting.request.samples, FinishReason::cancelled, "", &events);
    fulfil(worker, taken.wishes);
    for (const auto &[waiting, count] : taken.parts)
      submitPart(worker, waiting, count, &events);
    Status status = worker.device.engine->step();
    const std::vector<double> took = tell(worker, &events);
    count(worker, took);
    // Whoever hears of a sample's end finds it counted.
    if (!events.empty())
      sink(std::move(events));
    if (!status.ok()) {
      failure(status);
      return;
    }
  }
}

} // namespace m1tool
