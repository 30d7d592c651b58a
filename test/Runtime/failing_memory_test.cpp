// Fails each allocation in turn, once and from there on, while a model is loaded, stepped, run
// through the engine and given new weights by the C API: there is a status every time, and the same
// process then does the whole work. Usage: m1-failing-memory-test TOY_ARTIFACT
#include "ToyModel.h"
#include "m1/engine.h"
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>

namespace {

std::atomic<bool> armed{false}, forever{false};
std::atomic<long> countdown{0}, allocations{0};

/// Whether this allocation is the one.
bool fails() {
  if (!armed.load(std::memory_order_relaxed))
    return false;
  allocations.fetch_add(1, std::memory_order_relaxed);
  const long left = countdown.fetch_sub(1, std::memory_order_relaxed);
  return left == 0 || (left < 0 && forever.load(std::memory_order_relaxed));
}

void *allocate(std::size_t size) { return fails() ? nullptr : std::malloc(size ? size : 1); }

} // namespace

void *operator new(std::size_t size) {
  if (void *memory = allocate(size))
    return memory;
  throw std::bad_alloc();
}
void *operator new[](std::size_t size) { return operator new(size); }
void *operator new(std::size_t size, const std::nothrow_t &) noexcept { return allocate(size); }
void *operator new[](std::size_t size, const std::nothrow_t &) noexcept { return allocate(size); }
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete[](void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void *memory, std::size_t) noexcept { std::free(memory); }

namespace {

struct Result {
  m1_status_code code = M1_STATUS_OK; // of the first call that failed
  int failedEvents = 0, ended = 0;
  int32_t stepped = -1;
  int32_t tokens[3][64] = {};
  size_t counts[3] = {};
};

/// Takes the status; false for a failure.
bool note(m1_status *status, Result &result) {
  if (!status)
    return true;
  if (result.code == M1_STATUS_OK)
    result.code = m1_status_get_code(status);
  if (std::strlen(m1_status_message(status)) == 0) {
    std::printf("a status without a message\n");
    std::exit(1);
  }
  m1_status_destroy(status);
  return false;
}

Result work(const char *path, uint32_t threads) {
  Result result;
  m1_model *model = nullptr;
  m1_session *session = nullptr;
  m1_engine *engine = nullptr;
  m1_model_options options;
  m1_model_options_init(&options);
  options.threads = threads;
  if (note(m1_model_load(path, &options, &model), result)) {
    const int32_t prompt[] = {5, 17, 3, 9, 30, 2, 8, 11, 40};
    m1_session_options sizes;
    m1_session_options_init(&sizes);
    sizes.max_sequences = 2;
    sizes.max_tokens_per_step = 16;
    m1_sequence sequence = 0, copy = 0;
    if (note(m1_session_create(model, &sizes, &session), result) &&
        note(m1_sequence_create(session, &sequence), result)) {
      m1_step_entry entry = {sequence, prompt, 9, 1};
      if (note(m1_session_step(session, &entry, 1, &result.stepped, nullptr), result))
        note(m1_sequence_fork(session, sequence, &copy), result);
    }
    m1_engine_options engineOptions;
    m1_engine_options_init(&engineOptions);
    engineOptions.max_samples = 3;
    if (note(m1_engine_create(model, &engineOptions, &engine), result)) {
      m1_request request;
      m1_request_init(&request);
      request.tokens = prompt;
      request.token_count = 9;
      request.samples = 3;
      request.max_new_tokens = 20;
      request.temperature = 1;
      request.repetition_penalty = 1.1f;
      request.top_logprobs = 2;
      request.ignore_eos = true;
      const int64_t shape[] = {toy::headRows, TOY_WIDTH};
      const m1_tensor half = {
          "head.first", toy::output().data(), M1_MEMORY_HOST, M1_ELEMENT_F32, shape, 2};
      uint64_t id = 0, other = 0;
      note(m1_engine_submit(engine, &request, &id), result);
      request.samples = 1;
      if (note(m1_engine_submit(engine, &request, &other), result))
        m1_engine_cancel(engine, other);
      // The rows that the model has anyway: nothing that it says depends on whether they were set.
      for (int steps = 0; steps < 200 && !m1_engine_is_idle(engine); ++steps) {
        if (steps == 8)
          note(m1_model_update_weights(model, &half, 1, M1_RUNNING_KEEP), result);
        if (!note(m1_engine_step(engine), result)) {
          m1_engine_cancel(engine, id); // of a lost engine: nothing
          break;
        }
        m1_event event;
        while (m1_engine_poll(engine, &event)) {
          result.failedEvents += event.reason == M1_FINISH_FAILED;
          result.ended += event.reason != M1_FINISH_RUNNING;
          if (event.request != id)
            continue;
          for (size_t i = 0; i < event.token_count; ++i)
            if (result.counts[event.sample] < 64)
              result.tokens[event.sample][result.counts[event.sample]++] = event.tokens[i];
        }
      }
    }
  }
  m1_engine_destroy(engine);
  m1_session_destroy(session);
  m1_model_destroy(model);
  return result;
}

bool complete(const Result &result, const Result &wanted) {
  return result.code == M1_STATUS_OK && result.failedEvents == 0 && result.ended == 4 &&
         result.stepped == wanted.stepped &&
         std::memcmp(result.tokens, wanted.tokens, sizeof result.tokens) == 0 &&
         std::memcmp(result.counts, wanted.counts, sizeof result.counts) == 0;
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  toy::output(); // allocated before anything fails
  long points = 0, statuses = 0;
  for (uint32_t threads : {1u, 3u})
    for (bool always : {false, true}) {
      const Result wanted = work(argv[1], threads);
      if (!complete(wanted, wanted)) {
        std::printf("the work fails by itself: status %d\n", int(wanted.code));
        return 1;
      }
      forever = always;
      for (long point = 0;; ++point) {
        countdown = point;
        armed = true;
        const Result result = work(argv[1], threads);
        armed = false;
        const bool reached = countdown.load() < 0;
        if (!reached)
          break;
        ++points;
        statuses += result.code != M1_STATUS_OK;
        // A failure that nobody noticed has changed nothing; threads that cannot start are an
        // error of the system.
        const bool expected = result.code == M1_STATUS_OUT_OF_MEMORY ||
                              result.code == M1_STATUS_IO_ERROR ||
                              result.code == M1_STATUS_DEVICE_ERROR || complete(result, wanted);
        if (!expected || (point % 16 == 0 && !complete(work(argv[1], threads), wanted))) {
          std::printf("allocation %ld of %u threads, %s: status %d, then no clean run\n", point,
                      threads, always ? "from there on" : "once", int(result.code));
          return 1;
        }
      }
      if (!complete(work(argv[1], threads), wanted)) {
        std::printf("no clean run at the end, %u threads\n", threads);
        return 1;
      }
    }
  std::printf("%ld allocations failed, %ld statuses, no crash\n", points, statuses);
  return points < 500 || statuses < points / 2;
}
