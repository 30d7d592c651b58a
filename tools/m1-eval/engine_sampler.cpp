#include "engine_sampler.h"
#include "engine/engine.h"
#include "model/sizing.h"
#include "text/model_text.h"

using namespace m1rt;

namespace m1tool {

namespace {

class EngineSampler final : public Sampler {
public:
  Status start(Model &model, const EngineSamplerOptions &wanted,
               const std::vector<Problem> &problems);

  Status submit(const SampleJob &job, uint64_t *outJob) override;
  Status work(std::vector<FinishedSample> *out) override;
  uint32_t waiting() const override { return engine->waitingSamples(); }
  void cancel() override {
    for (const auto &[id, job] : jobs)
      engine->cancel(id);
  }

private:
  Status encode(const std::string &problem, std::vector<int32_t> *out) const;

  struct Job {
    uint32_t first = 0, open = 0;
    std::vector<FinishedSample> samples;
  };
  EngineSamplerOptions options;
  std::vector<int32_t> stopTokens, closeTokens;
  std::unique_ptr<ModelText> text;
  std::unique_ptr<Session> session;
  std::unique_ptr<Engine> engine; // destroyed first
  std::map<uint64_t, Job> jobs;
};

Status EngineSampler::start(Model &model, const EngineSamplerOptions &wanted,
                            const std::vector<Problem> &problems) {
  options = wanted;
  M1_TRY(ModelText::load(model.artifact(), &text));
  if (const auto *ids = model.module().eos_ids())
    stopTokens.assign(ids->begin(), ids->end());
  if (options.maxThinkTokens || (options.timeBudget > 0 && !options.dropAtDeadline))
    M1_TRY(text->encode(options.closeText, false, &closeTokens));
  constexpr uint32_t cacheSlots = 2; // chat templates share their beginning
  SizeWish wish;
  wish.sequences = options.slots + 1; // and the parent of a problem's samples
  wish.context = options.context;
  if (!wish.context) {
    // Not the model's longest context: memory goes to samples. What does not fit is refused when it
    // is submitted.
    size_t longest = 0;
    std::vector<int32_t> prompt;
    for (const Problem &problem : problems)
      if (encode(problem.text, &prompt).ok())
        longest = std::max(longest, prompt.size());
    uint64_t needed = longest + options.maxNewTokens +
                      (closeTokens.empty() ? 0 : closeTokens.size() + Request().closeMaxTokens) + 1;
    wish.context = uint32_t(std::min<uint64_t>(needed, model.module().max_positions()));
  }
  wish.prefillTokens = options.prefillChunk;
  wish.cacheSequences = cacheSlots;
  SessionOptions size;
  M1_TRY(sizeSession(model, wish, &size));
  M1_TRY(Session::create(model, size, &session));
  EngineOptions engineOptions;
  engineOptions.prefixCacheSlots = cacheSlots;
  const ModelText *side = text.get();
  engine = std::make_unique<Engine>(*session, engineOptions,
                                    [side] { return side->createDecoder(/*skipSpecial=*/true); });
  return {};
}

Status EngineSampler::encode(const std::string &problem, std::vector<int32_t> *out) const {
  std::string prompt = problem + (options.instruction.empty() ? "" : "\n\n" + options.instruction);
  if (options.raw)
    return text->encode(prompt, true, out);
  std::vector<ChatMessage> messages;
  if (!options.system.empty())
    messages.push_back({"system", options.system});
  messages.push_back({"user", prompt});
  return text->encodeChat(messages, out);
}

Status EngineSampler::submit(const SampleJob &job, uint64_t *outJob) {
  Request request;
  M1_TRY(encode(job.problem, &request.prompt));
  request.samples = job.count;
  request.sampling = options.sampling;
  request.sampling.seed = job.seed;
  request.firstSample = job.first;
  request.maxNewTokens = options.maxNewTokens;
  request.stopTokens = stopTokens;
  request.closeTokens = closeTokens;
  request.maxThinkTokens = options.maxThinkTokens;
  // Zero would be no budget at all.
  request.timeBudget =
      options.timeBudget > 0 ? std::max(options.timeBudget - job.elapsed, 1e-3) : 0;
  request.atDeadline = options.dropAtDeadline ? DeadlineAction::drop : DeadlineAction::close;
  M1_TRY(engine->submit(std::move(request), outJob));
  Job &state = jobs[*outJob];
  state.first = job.first;
  state.open = job.count;
  state.samples.resize(job.count);
  return {};
}

Status EngineSampler::work(std::vector<FinishedSample> *out) {
  M1_TRY(engine->step());
  for (Event &event : engine->takeEvents()) {
    auto it = jobs.find(event.request);
    if (it == jobs.end())
      continue;
    FinishedSample &sample = it->second.samples[event.sample];
    sample.text += event.text;
    sample.tokens += event.tokens.size();
    sample.forced |= event.forced;
    if (event.reason == FinishReason::running)
      continue;
    sample.job = event.request;
    sample.sample = it->second.first + event.sample;
    sample.finish = finishReasonName(event.reason);
    if (!event.error.empty())
      std::fprintf(stderr, "m1-eval: warning: sample %u: %s\n", sample.sample, event.error.c_str());
    out->push_back(std::move(sample));
    if (--it->second.open == 0)
      jobs.erase(it);
  }
  return {};
}

} // namespace

Status createEngineSampler(Model &model, const EngineSamplerOptions &options,
                           const std::vector<Problem> &problems, std::unique_ptr<Sampler> *out) {
  auto sampler = std::make_unique<EngineSampler>();
  M1_TRY(sampler->start(model, options, problems));
  *out = std::move(sampler);
  return {};
}

} // namespace m1tool
