#include "Support/PassStatistic.h"

#include <map>
#include <mutex>

using namespace mlir;
using namespace mlir::m1;

namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::pair<std::string, std::string>, uint64_t> counts;
};

Registry &registry() {
  static Registry instance;
  return instance;
}

} // namespace

PassStatistic &PassStatistic::operator+=(uint64_t amount) {
  std::lock_guard<std::mutex> lock(registry().mutex);
  registry().counts[{pass.str(), name.str()}] += amount;
  return *this;
}

void mlir::m1::printStatistics(raw_ostream &stream) {
  std::lock_guard<std::mutex> lock(registry().mutex);
  for (const auto &[key, count] : registry().counts)
    stream << key.first << " " << key.second << " " << count << "\n";
}
