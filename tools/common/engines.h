// The engines of one device or of several, to be used like one engine. With one device it is that
// engine, stepped by the caller's thread; several work in threads of their own (engine_pool.h), and
// a step is a wait for their news.
#ifndef M1_TOOLS_COMMON_ENGINES_H
#define M1_TOOLS_COMMON_ENGINES_H

#include "engine_pool.h"

namespace m1tool {

class Engines {
public:
  /// The models, one a device, and the decoders' tokenizer outlive the engines. `wish`: of each;
  /// `slots`: samples that each of several engines draws.
  static m1rt::Status create(const std::vector<m1rt::Model *> &models, const EngineWish &wish,
                             uint32_t slots, const m1rt::Engine::DecoderFactory &decoders,
                             std::unique_ptr<Engines> *out);

  /// As in m1rt::Engine.
  m1rt::Status submit(m1rt::Request request, uint64_t *outRequest);
  void cancel(uint64_t request);
  void cancelSample(uint64_t request, uint32_t sample);
  m1rt::Status step();
  void takeEvents(std::vector<m1rt::Event> *out);
  m1rt::EngineStats stats() const; // summed over the devices
  uint32_t waitingSamples() const;
  bool prefixReuse() const { return reuse; }

  uint32_t devices() const { return count; }
  /// Null where there are several devices.
  DeviceEngine *single() { return one.engine ? &one : nullptr; }

private:
  Engines() = default;

  bool reuse = false;
  uint32_t count = 1;
  DeviceEngine one;
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<m1rt::Event> news;    // guarded by the mutex
  m1rt::Status failure;             // and this, the first one
  std::unique_ptr<EnginePool> pool; // destroyed first: its threads bring news
};

} // namespace m1tool

#endif
