// A model with its text side, and engines that are sized for the work.
#ifndef M1_TOOLS_RUN_RUNNING_H
#define M1_TOOLS_RUN_RUNNING_H

#include "arguments.h"
#include "engines.h"
#include "samples.h"
#include "text/model_text.h"
#include <chrono>
#include <memory>

namespace m1tool {

struct Running {
  std::unique_ptr<m1rt::ModelText> text; // null: the artifact has no tokenizer
  std::unique_ptr<Engines> engines;      // destroyed first
};

/// Sequences at once on each of the devices that share `samples`: as many as --slots says or keep
/// it busy, and the prompt that several samples fork from.
uint32_t slotsFor(m1rt::Model &model, const Arguments &arguments, uint64_t samples,
                  uint32_t devices);

/// `sequences` at once at most on each device, parents of several samples included, of `context`
/// tokens (0: the model's longest), and `cacheSlots` more for prefixes.
m1rt::Status start(const std::vector<m1rt::Model *> &models, const Arguments &arguments,
                   std::unique_ptr<m1rt::ModelText> text, uint32_t sequences, uint32_t context,
                   uint32_t cacheSlots, Running *out);

/// Limits the request's answer to what the context leaves behind its prompt, or refuses a length
/// that was asked for and does not fit. *outContext: the longest sequence that it needs, forced
/// close included.
m1rt::Status fitContext(const m1rt::Model &model, const Arguments &arguments,
                        m1rt::Request *request, uint32_t *outContext);

/// --stats.
void printStats(const m1rt::Model &model, const Running &running, double loadSeconds,
                double seconds);

/// Why a streamed answer ends where it does, when it did not end by itself: for a person at a
/// terminal.
void noteEnd(const SampleResult &sample);

inline double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

} // namespace m1tool

#endif
