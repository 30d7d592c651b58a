#include "engines.h"

using namespace m1rt;

namespace m1tool {

Status Engines::create(const std::vector<Model *> &models, const EngineWish &wish, uint32_t slots,
                       const Engine::DecoderFactory &decoders, std::unique_ptr<Engines> *out) {
  std::unique_ptr<Engines> engines(new Engines);
  engines->reuse = wish.size.cacheSequences > 0;
  engines->count = uint32_t(models.size());
  if (models.size() == 1) {
    M1_TRY(createEngine(*models[0], wish, decoders, &engines->one));
    engines->reuse = engines->one.engine->prefixReuse();
    *out = std::move(engines);
    return {};
  }
  PoolOptions options;
  options.engine = wish;
  options.slots = slots;
  options.maxQueue = UINT32_MAX;
  auto sink = [self = engines.get()](std::vector<TicketEvent> events) {
    std::lock_guard<std::mutex> lock(self->mutex);
    for (TicketEvent &event : events) {
      event.event.request = event.ticket;
      self->news.push_back(std::move(event.event));
    }
    self->arrived.notify_one();
  };
  auto failed = [self = engines.get()](const Status &status) {
    std::lock_guard<std::mutex> lock(self->mutex);
    if (self->failure.ok())
      self->failure = status;
    self->arrived.notify_one();
  };
  M1_TRY(EnginePool::create(models, options, decoders, sink, failed, &engines->pool));
  *out = std::move(engines);
  return {};
}

Status Engines::submit(Request request, uint64_t *outRequest) {
  if (!pool)
    return one.engine->submit(std::move(request), outRequest);
  M1_TRY(pool->check(request));
  std::vector<Request> requests;
  requests.push_back(std::move(request));
  if (!pool->submit(std::move(requests),
                    [&](std::vector<Ticket> tickets) { *outRequest = tickets[0]; }))
    return error(StatusCode::outOfMemory, "too many requests are waiting");
  return {};
}

void Engines::cancel(uint64_t request) {
  pool ? pool->cancel(request) : one.engine->cancel(request);
}

void Engines::cancelSample(uint64_t request, uint32_t sample) {
  pool ? pool->cancelSample(request, sample) : one.engine->cancelSample(request, sample);
}

Status Engines::step() {
  if (!pool)
    return one.engine->step();
  // Callers look for Ctrl-C between steps.
  constexpr std::chrono::milliseconds patience(100);
  std::unique_lock<std::mutex> lock(mutex);
  arrived.wait_for(lock, patience, [&] { return !news.empty() || !failure.ok(); });
  return failure;
}

void Engines::takeEvents(std::vector<Event> *out) {
  if (!pool)
    return one.engine->takeEvents(out);
  out->clear();
  std::lock_guard<std::mutex> lock(mutex);
  news.swap(*out);
}

EngineStats Engines::stats() const { return pool ? pool->load().stats : one.engine->stats(); }

uint32_t Engines::waitingSamples() const {
  if (!pool)
    return one.engine->waitingSamples();
  const EnginePool::Load load = pool->load();
  return load.queuedSamples + load.waitingSamples;
}

} // namespace m1tool
