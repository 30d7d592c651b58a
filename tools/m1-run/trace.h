// A Chrome/Perfetto trace (JSON array format) of steps and of the launches within them. Tracing
// runs commands one by one, so a traced run is slower than others; its launch times are what they
// would be alone.
#ifndef M1_TOOLS_RUN_TRACE_H
#define M1_TOOLS_RUN_TRACE_H

#include "engine/engine.h"
#include "model/session.h"
#include "tool.h"
#include <chrono>
#include <string>
#include <vector>

namespace m1tool {

class Trace {
public:
  /// From here on the session's steps are profiled. Model and session outlive the trace.
  m1rt::Status open(const std::string &path, m1rt::Model &model, m1rt::Session &session);
  void beginStep();
  void endStep(const m1rt::Engine &engine);
  /// Completes the file. No effect when it was never opened.
  m1rt::Status close();

private:
  double microseconds() const;
  void event(const std::string &json);

  m1rt::Model *model = nullptr;
  m1rt::Session *session = nullptr;
  OutputFile file;
  m1rt::Status failure; // the first one; reported by close()
  std::vector<m1rt::CommandTime> times;
  std::chrono::steady_clock::time_point origin;
  double stepBegan = 0;
  uint64_t steps = 0;
  bool any = false;
};

} // namespace m1tool

#endif
