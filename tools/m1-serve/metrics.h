// Counts and times of the server, in Prometheus' text format.
#ifndef M1_TOOLS_SERVE_METRICS_H
#define M1_TOOLS_SERVE_METRICS_H

#include "engine_pool.h"
#include "exchange.h"
#include <map>
#include <mutex>

namespace m1serve {

class Histogram {
public:
  explicit Histogram(std::vector<double> bounds) : bounds(std::move(bounds)) {
    counts.resize(this->bounds.size() + 1);
  }
  void add(double value);
  void print(const std::string &name, const std::string &help, std::string *out) const;

private:
  std::vector<double> bounds; // upper ones, ascending
  std::vector<uint64_t> counts;
  double sum = 0;
};

class Metrics {
public:
  void answered(const std::string &endpoint, int status);
  void ended(const Exchange &exchange, bool hungUp);
  std::string print(const m1tool::EnginePool::Load &load, size_t connections, uint32_t slots) const;

private:
  mutable std::mutex mutex;
  std::map<std::pair<std::string, int>, uint64_t> answers;
  uint64_t hungUp = 0, promptTokens = 0, cachedTokens = 0, completionTokens = 0;
  Histogram firstToken{{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120}};
  Histogram perToken{{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}};
  Histogram whole{{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900}};
};

} // namespace m1serve

#endif
