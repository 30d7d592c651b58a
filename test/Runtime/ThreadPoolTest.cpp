#include "cpu/thread_pool.h"
#include <gtest/gtest.h>
#include <numeric>
#include <stdexcept>

using m1rt::ThreadPool;

namespace {

// Every thread runs the body once a run, whatever the number of threads, also more than there are
// cores.
TEST(ThreadPool, RunsEveryThread) {
  for (unsigned threads : {1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    std::vector<int> runs(threads, 0);
    for (int i = 0; i < 50; ++i)
      pool.run([&](unsigned thread) { ++runs[thread]; });
    EXPECT_EQ(runs, std::vector<int>(threads, 50));
  }
}

// Plain writes before a barrier are seen by all threads after it, phase after phase.
TEST(ThreadPool, BarrierOrdersPhases) {
  for (unsigned threads : {2u, 5u}) {
    ThreadPool pool(threads);
    std::vector<uint64_t> values(threads, 1);
    std::vector<uint64_t> sums(threads, 0);
    pool.run([&](unsigned thread) {
      for (int phase = 0; phase < 200; ++phase) {
        uint64_t sum = std::accumulate(values.begin(), values.end(), uint64_t(0)) % 1000003;
        pool.barrier();
        values[thread] = sum + thread;
        sums[thread] += sum;
        pool.barrier();
      }
    });
    for (unsigned i = 1; i < threads; ++i)
      EXPECT_EQ(sums[i], sums[0]);
  }
}

// forRanges covers every element exactly once, for counts around the piece size.
TEST(ThreadPool, RangesCoverAll) {
  ThreadPool pool(3);
  for (uint64_t count : {0u, 1u, 9u, 10u, 11u, 1000u}) {
    std::vector<int> touched(count, 0);
    pool.forRanges(count, 10, [&](uint64_t begin, uint64_t end) {
      for (uint64_t i = begin; i < end; ++i)
        ++touched[i];
    });
    EXPECT_EQ(touched, std::vector<int>(count, 1));
  }
}

// What a thread throws comes to the caller once all have ended, and the pool goes on working.
TEST(ThreadPool, CarriesExceptions) {
  for (unsigned threads : {1u, 2u, 4u}) {
    ThreadPool pool(threads);
    for (unsigned thrower = 0; thrower <= threads; ++thrower) { // threads: all of them
      std::atomic<unsigned> ended{0};
      try {
        pool.run([&](unsigned thread) {
          ++ended;
          if (thread == thrower || thrower == threads)
            throw std::runtime_error("thread");
        });
        ADD_FAILURE() << "nothing was thrown";
      } catch (const std::runtime_error &error) {
        EXPECT_STREQ(error.what(), "thread");
      }
      EXPECT_EQ(ended, threads);
      ended = 0;
      pool.run([&](unsigned) { ++ended; });
      EXPECT_EQ(ended, threads);
    }
  }
}

// Threads that have gone to sleep wake up for the next run.
TEST(ThreadPool, WakesSleepers) {
  ThreadPool pool(2);
  std::atomic<int> runs{0};
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.run([&](unsigned thread) { runs += int(thread); });
  }
  EXPECT_EQ(runs.load(), 3);
}

} // namespace
