// Threads that are joined when they go out of scope, and whose start may fail.
#ifndef M1RT_BASE_JOINING_THREADS_H
#define M1RT_BASE_JOINING_THREADS_H

#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace m1rt {

class JoiningThreads {
public:
  JoiningThreads() = default;
  ~JoiningThreads() { join(); }
  JoiningThreads(const JoiningThreads &) = delete;
  JoiningThreads &operator=(const JoiningThreads &) = delete;

  size_t size() const { return threads.size(); }
  /// False when the system has no more threads, or no memory for one.
  template <typename Body> bool start(Body &&body) {
    try {
      threads.reserve(threads.size() + 1);
      threads.emplace_back(std::forward<Body>(body));
      return true;
    } catch (const std::system_error &) {
    } catch (const std::bad_alloc &) {
    }
    return false;
  }
  /// In a forked process: the threads are the parent's, and are neither joined nor detached here.
  void abandon() {
    static_assert(sizeof(std::vector<std::thread>) <= sizeof(abandoned), "room to leave them in");
    new (abandoned) std::vector<std::thread>(std::move(threads));
  }
  void join() {
    for (std::thread &thread : threads)
      thread.join();
    threads.clear();
  }

private:
  std::vector<std::thread> threads;
  alignas(std::vector<std::thread>) char abandoned[sizeof(std::vector<std::thread>)];
};

} // namespace m1rt

#endif
