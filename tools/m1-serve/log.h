// The log: one JSON object a line on standard error. Neither texts nor keys ever stand in it.
#ifndef M1_TOOLS_SERVE_LOG_H
#define M1_TOOLS_SERVE_LOG_H

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace m1serve {

inline void logLine(const char *event,
                    const nlohmann::ordered_json &fields = nlohmann::ordered_json::object()) {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm utc = {};
  ::gmtime_r(&now.tv_sec, &utc);
  char time[40];
  const size_t length = std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(time + length, sizeof time - length, ".%03ldZ", now.tv_nsec / 1000000);
  nlohmann::ordered_json line = {{"time", time}, {"event", event}};
  line.update(fields);
  const std::string text =
      line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr); // one call: lines of threads do not mix
}

} // namespace m1serve

#endif
