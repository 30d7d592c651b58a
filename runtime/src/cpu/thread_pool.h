// Threads that run the same function together and meet at barriers, or that help a job along whose
// owner never waits for idle helpers. Waiting spins for a while before it sleeps.
#ifndef M1RT_CPU_THREAD_POOL_H
#define M1RT_CPU_THREAD_POOL_H

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace m1rt {

/// One pause instruction.
void pauseCore();

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

/// Work that the pool's threads take part in from ThreadPool::engage to disengage.
class TeamJob {
public:
  virtual ~TeamJob() = default;
  /// Called on every thread but the owner's; returns after dismiss().
  virtual void help(unsigned thread) = 0;
  /// Makes help() return on all threads soon.
  virtual void dismiss() = 0;
};

class ThreadPool {
public:
  /// `threads` counts the caller of run(), so threads − 1 are started.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  unsigned size() const { return unsigned(workers.size()) + 1; }

  /// Runs body(thread) on every thread, 0 being the caller, and returns when all are done. Not
  /// reentrant.
  void run(const std::function<void(unsigned)> &body);

  /// Lets the threads help the job until it is disengaged, also by run() or by another job. Cheap
  /// when it is engaged already.
  void engage(TeamJob &job);
  /// Waits until no thread is inside the job's help(). Nothing to do when it is not engaged.
  void disengage(TeamJob &job);
  /// Pauses before a waiting thread should sleep or yield.
  unsigned patience() const { return spins; }

  /// Only inside run(): every thread must call it; none goes on before all have. What was written
  /// before is seen after.
  void barrier();

  /// Runs body(begin, end) over [0, count) in pieces of at most `piece`, shared out dynamically.
  void forRanges(uint64_t count, uint64_t piece,
                 const std::function<void(uint64_t, uint64_t)> &body);

private:
  void work(unsigned thread);

  std::vector<std::thread> workers;
  const std::function<void(unsigned)> *current = nullptr; // exactly one of these while threads work
  TeamJob *engaged = nullptr;
  bool stopping = false;
  unsigned spins;
  Epoch started;
  Epoch passed;
  std::atomic<unsigned> arrived{0};
};

} // namespace m1rt

#endif
