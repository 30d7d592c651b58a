#include "device_engine.h"

using namespace m1rt;

namespace m1tool {

Status createEngine(Model &model, const EngineWish &wish, const Engine::DecoderFactory &decoders,
                    DeviceEngine *out) {
  SessionOptions size;
  M1_TRY(sizeSession(model, wish.size, &size));
  M1_TRY(Session::create(model, size, &out->session));
  if (wish.warm)
    M1_TRY(out->session->warmUp());
  out->session->setCheckNumerics(wish.checkNumerics);
  EngineOptions options;
  options.prefixCacheSlots = wish.size.cacheSequences;
  options.planBudgets = wish.planBudgets;
  options.probePlaces = wish.probePlaces;
  options.prefillBesideDecoding = prefillBesideDecoding(model, wish.size);
  out->engine = std::make_unique<Engine>(*out->session, options, decoders);
  return {};
}

} // namespace m1tool
