// What an engine of the C API is. Made, used and destroyed alone on its model.
#ifndef M1RT_API_ENGINE_HANDLE_H
#define M1RT_API_ENGINE_HANDLE_H

#include "api/handles.h"
#include "engine/engine.h"
#include "m1/engine.h"
#include <algorithm>
#include <unordered_map>

struct m1_engine {
  explicit m1_engine(std::shared_ptr<m1rt::LoadedModel> of) : loaded(std::move(of)) {
    loaded->engines.push_back(this);
  }
  ~m1_engine() {
    auto &all = loaded->engines;
    all.erase(std::find(all.begin(), all.end(), this));
  }
  m1_engine(const m1_engine &) = delete;

  std::shared_ptr<m1rt::LoadedModel> loaded;
  m1rt::ModelText *text = nullptr; // null: the model has no tokenizer
  std::unique_ptr<m1rt::Session> session;
  std::unique_ptr<m1rt::Engine> engine; // destroyed before the session
  bool lost = false;                    // a step has failed

  std::vector<m1rt::Event> events; // taken from the engine, not yet polled
  size_t nextEvent = 0;
  // request to its samples whose end is not yet polled
  std::unordered_map<uint64_t, uint32_t> wantLogprobs;
  // What the last polled event points to.
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<m1_token_logprob> topLogprobs;
};

#endif
