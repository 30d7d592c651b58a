#include "cpu/thread_pool.h"

#include <algorithm>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace m1rt {

namespace {

// About 30 to 60 µs of pause instructions: longer than the gaps between the launches of a step,
// shorter than a scheduler's time slice.
constexpr unsigned spinsBeforeSleep = 1000;

long futex(std::atomic<uint32_t> *address, int operation, uint32_t value) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t *>(address), operation | FUTEX_PRIVATE_FLAG,
                 value, nullptr, nullptr, 0);
}

} // namespace

void pauseCore() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void Epoch::advance() {
  // Sequentially consistent with waitPast: either the waiter sees the new value or this thread sees
  // the sleeper.
  value.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) != 0)
    futex(&value, FUTEX_WAKE, INT32_MAX);
}

void Epoch::waitPast(uint32_t seen, unsigned spins) {
  for (unsigned i = 0; i < spins; ++i) {
    if (value.load(std::memory_order_acquire) != seen)
      return;
    pauseCore();
  }
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  while (value.load(std::memory_order_seq_cst) == seen)
    futex(&value, FUTEX_WAIT, seen);
  sleepers.fetch_sub(1, std::memory_order_seq_cst);
}

ThreadPool::ThreadPool(unsigned threads) : owner(getpid()) {
  threads = std::max(threads, 1u);
  // With more threads than cores a spinning thread keeps the one it waits for from running.
  cpu_set_t allowed;
  bool crowded = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 &&
                 threads > unsigned(CPU_COUNT(&allowed));
  spins = crowded ? 0 : spinsBeforeSleep;
  for (unsigned i = 1; i < threads && workers.start([this, i] { work(i); }); ++i)
    ;
}

ThreadPool::~ThreadPool() {
  if (forked()) {
    workers.abandon();
    return;
  }
  if (engaged)
    disengage(*engaged);
  stopping = true;
  started.advance();
}

bool ThreadPool::forked() const { return getpid() != owner; }

void ThreadPool::runGuarded(unsigned thread) noexcept {
  try {
    (*current)(thread);
  } catch (...) {
    if (!threw.exchange(true))
      thrown = std::current_exception();
  }
}

void ThreadPool::work(unsigned thread) {
  for (uint32_t seen = 0;; ++seen) {
    started.waitPast(seen, spins);
    if (stopping)
      return;
    if (TeamJob *job = engaged)
      job->help(thread);
    else
      runGuarded(thread);
    barrier();
  }
}

void ThreadPool::run(const std::function<void(unsigned)> &body) {
  if (workers.size() == 0 || forked())
    return body(0);
  if (engaged)
    disengage(*engaged);
  current = &body;
  started.advance();
  runGuarded(0);
  barrier();
  if (threw.exchange(false))
    std::rethrow_exception(std::exchange(thrown, nullptr));
}

void ThreadPool::engage(TeamJob &job) {
  if (workers.size() == 0 || engaged == &job || forked())
    return;
  if (engaged)
    disengage(*engaged);
  engaged = &job;
  started.advance();
}

void ThreadPool::disengage(TeamJob &job) {
  if (engaged != &job)
    return;
  if (!forked()) {
    job.dismiss();
    barrier();
  }
  engaged = nullptr;
}

void ThreadPool::barrier() {
  if (workers.size() == 0)
    return;
  uint32_t seen = passed.load();
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size()) {
    arrived.store(0, std::memory_order_relaxed);
    passed.advance();
  } else {
    passed.waitPast(seen, spins);
  }
}

void ThreadPool::forRanges(uint64_t count, uint64_t piece,
                           const std::function<void(uint64_t, uint64_t)> &body) {
  std::atomic<uint64_t> next{0};
  run([&](unsigned) {
    for (uint64_t begin; (begin = next.fetch_add(piece, std::memory_order_relaxed)) < count;)
      body(begin, std::min(begin + piece, count));
  });
}

} // namespace m1rt
