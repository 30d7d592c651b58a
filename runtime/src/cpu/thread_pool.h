// Threads that run the same function together and meet at barriers. Made for many short parallel phases: waiting spins for a while
// before it sleeps.
#ifndef M1RT_CPU_THREAD_POOL_H
#define M1RT_CPU_THREAD_POOL_H

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace m1rt {

/// A counter that threads wait on to change: spins, then sleeps in the kernel.
class Epoch {
public:
  uint32_t load() const { return value.load(std::memory_order_acquire); }
  /// Increments and wakes all who wait.
  void advance();
  /// Returns once the value differs from `seen`.
  void waitPast(uint32_t seen, unsigned spins);

private:
  std::atomic<uint32_t> value{0};
  std::atomic<uint32_t> sleepers{0};
};

class ThreadPool {
public:
  /// `threads` counts the caller of run(), so threads − 1 are started.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  unsigned size() const { return unsigned(workers.size()) + 1; }

  /// Runs body(thread) on every thread, 0 being the caller, and returns when all are done. Not reentrant.
  void run(const std::function<void(unsigned)> &body);

  /// Only inside run(): every thread must call it; none goes on before all have. What was written before is seen after.
  void barrier();

  /// Runs body(begin, end) over [0, count) in pieces of at most `piece`, shared out dynamically.
  void forRanges(uint64_t count, uint64_t piece, const std::function<void(uint64_t, uint64_t)> &body);

private:
  void work(unsigned thread);

  std::vector<std::thread> workers;
  const std::function<void(unsigned)> *current = nullptr;
  bool stopping = false;
  unsigned spins;
  Epoch started;
  Epoch passed;
  std::atomic<unsigned> arrived{0};
};

/// Physical cores that this process may use.
unsigned usableCores();

} // namespace m1rt

#endif
