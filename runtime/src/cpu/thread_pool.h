// Threads that run the same function together and meet at barriers, or that help a job along whose
// owner never waits for idle helpers. Waiting spins for a while before it sleeps.
#ifndef M1RT_CPU_THREAD_POOL_H
#define M1RT_CPU_THREAD_POOL_H

#include "base/joining_threads.h"
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <sys/types.h>

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
  virtual void help(unsigned thread) noexcept = 0;
  /// Makes help() return on all threads soon.
  virtual void dismiss() = 0;
};

class ThreadPool {
public:
  /// `threads` counts the caller of run(), so threads − 1 are started; fewer when the system has no
  /// more, which size() tells.
  explicit ThreadPool(unsigned threads);
  /// In a process forked from the one that made it, which has none of its threads, it only leaves
  /// things as they are.
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  unsigned size() const { return unsigned(workers.size()) + 1; }

  /// Runs body(thread) on every thread, 0 being the caller, and returns when all are done. What a
  /// body throws is thrown to the caller then, the first of several. Not reentrant.
  void run(const std::function<void(unsigned)> &body);

  /// Lets the threads help the job until it is disengaged, also by run() or by another job. Cheap
  /// when it is engaged already.
  void engage(TeamJob &job);
  /// Waits until no thread is inside the job's help(). Nothing to do when it is not engaged.
  void disengage(TeamJob &job);
  /// Pauses before a waiting thread should sleep or yield.
  unsigned patience() const { return spins; }

  /// Only inside run(): every thread must call it, so none may throw before; none goes on before
  /// all have. What was written before is seen after.
  void barrier();

  /// Runs body(begin, end) over [0, count) in pieces of at most `piece`, shared out dynamically.
  void forRanges(uint64_t count, uint64_t piece,
                 const std::function<void(uint64_t, uint64_t)> &body);

private:
  void work(unsigned thread);
  void runGuarded(unsigned thread) noexcept;
  bool forked() const;

  const std::function<void(unsigned)> *current = nullptr; // exactly one of these while threads work
  TeamJob *engaged = nullptr;
  bool stopping = false;
  unsigned spins;
  Epoch started;
  Epoch passed;
  std::atomic<unsigned> arrived{0};
  std::atomic<bool> threw{false};
  std::exception_ptr thrown; // by the first body that threw in this run
  const pid_t owner;
  JoiningThreads workers; // last: they use all of the above
};

} // namespace m1rt

#endif
