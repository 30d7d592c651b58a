// Requests at random on the engine of one model.
#ifndef M1_TEST_INTEGRATION_ENGINEREQUESTS_H
#define M1_TEST_INTEGRATION_ENGINEREQUESTS_H

#include "RandomCheckpoint.h"
#include "model/model.h"

namespace m1test {

struct EngineSeen {
  uint64_t preemptions = 0, reused = 0; // tokens of prefixes
};

/// Random arrivals, prompts that share beginnings, several samples, greedy and drawn tokens,
/// cancellations, chunked prefill, and pools so small that samples are preempted: expects the
/// tokens of a run alone. Adds to `seen`.
void runRequests(m1rt::Model &model, Random &random, size_t requests, int leastPages, int mostPages,
                 EngineSeen &seen);

} // namespace m1test

#endif
