// An engine on a device, with a session that is sized for the work.
#ifndef M1_TOOLS_COMMON_DEVICE_ENGINE_H
#define M1_TOOLS_COMMON_DEVICE_ENGINE_H

#include "engine/engine.h"
#include "model/session.h"
#include "model/sizing.h"
#include <memory>

namespace m1tool {

struct EngineWish {
  m1rt::SizeWish size; // its sequences include the prompts that several samples fork from
  bool planBudgets = true;
  uint32_t probePlaces = 0; // of its sequences, for probes alone
  bool checkNumerics = false;
  bool warm = false; // does what the first steps would do besides their work now (warmUp)
};

struct DeviceEngine {
  std::unique_ptr<m1rt::Session> session;
  std::unique_ptr<m1rt::Engine> engine; // destroyed first
};

/// The model and the decoders' tokenizer outlive the engine. Without decoders there is no text.
m1rt::Status createEngine(m1rt::Model &model, const EngineWish &wish,
                          const m1rt::Engine::DecoderFactory &decoders, DeviceEngine *out);

} // namespace m1tool

#endif
