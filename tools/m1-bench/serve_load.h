// A load of streaming clients on a server that speaks OpenAI's interface, this project's or
// another.
#ifndef M1_TOOLS_BENCH_SERVE_LOAD_H
#define M1_TOOLS_BENCH_SERVE_LOAD_H

#include "status.h"
#include <cstdint>
#include <string>

namespace m1bench {

struct LoadOptions {
  std::string url;        // http://HOST:PORT, perhaps with a path before /v1
  std::string model;      // that requests name; empty: none
  std::string apiKeyFile; // whose first line is the key; empty: none is shown
  std::string dataset;    // lines of {"problem": …} or {"prompt": …}; empty: one question
  uint32_t requests = 100;
  double rate = 0;          // requests a second; 0: as many as `concurrency` allows
  bool evenly = false;      // arrivals evenly spaced; otherwise at random with that rate
  uint32_t concurrency = 0; // requests at once at most; 0: no bound with a rate, otherwise 1
  uint32_t maxTokens = 128;
  double temperature = 0.7;
  bool ignoreEos = false; // a field of this project's server and of vLLM's
  uint64_t seed = 0;      // of arrivals; request i asks for seed + i
  double timeout = 600;   // seconds of one request
  uint32_t threads = 0;   // that read streams; 0: by the machine's cores
  std::string jsonPath;
};

/// Runs the load and prints rates, errors and percentiles; writes them to jsonPath if given. An
/// error when a request failed.
m1rt::Status runServeLoad(const LoadOptions &options);

} // namespace m1bench

#endif
