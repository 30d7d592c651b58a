#include "engine_sampler.h"
#include "engines.h"
#include "printable.h"
#include "text/model_text.h"
#include <map>
#include <utility>

using namespace m1rt;

namespace m1tool {

namespace {

class EngineSampler final : public Sampler {
public:
  Status start(const std::vector<Model *> &models, const EngineSamplerOptions &wanted,
               const std::vector<Problem> &problems);

  Status submit(const SampleJob &job, uint64_t *outJob) override;
  Status work(std::vector<FinishedSample> *out) override;
  std::vector<ProbedSample> takeProbes() override { return std::exchange(probed, {}); }
  EngineStats stats() const override { return engines->stats(); }
  uint32_t waiting() const override { return engines->waitingSamples(); }
  void cancelJob(uint64_t job) override { engines->cancel(job); }
  void cancel() override {
    for (const auto &[id, job] : jobs)
      engines->cancel(id);
  }

private:
  Status encode(const std::string &problem, std::vector<int32_t> *out) const;
  std::string question(const Problem &problem) const {
    return problem.text + (options.instruction.empty() ? "" : "\n\n" + options.instruction);
  }

  struct Job {
    uint32_t first = 0, open = 0;
    std::vector<FinishedSample> samples;
  };
  EngineSamplerOptions options;
  Request common; // what all requests have in common
  std::unique_ptr<ModelText> text;
  std::unique_ptr<Engines> engines; // destroyed first
  std::map<uint64_t, Job> jobs;
  std::vector<Event> events; // of the last step
  std::vector<ProbedSample> probed;
};

Status EngineSampler::start(const std::vector<Model *> &models, const EngineSamplerOptions &wanted,
                            const std::vector<Problem> &problems) {
  const Model &model = *models[0];
  options = wanted;
  M1_TRY(ModelText::load(model.artifact(), &text));
  M1_TRY(fillRequest(model, text.get(), options.generation, &common));
  constexpr uint32_t cacheSlots = 2; // chat templates and examples share their beginning
  EngineWish wish;
  wish.size.sequences = options.slots + std::max(options.openJobs, 1u); // and a job's prompt each
  wish.size.context = options.context;
  if (!wish.size.context) {
    // Not the model's longest context: memory goes to samples. What does not fit is refused when it
    // is submitted.
    size_t longest = 0;
    std::vector<int32_t> prompt;
    for (const Problem &problem : problems)
      if (encode(problem.text, &prompt).ok())
        longest = std::max(longest, prompt.size());
    uint64_t needed =
        longest + common.maxNewTokens +
        std::max(common.closeTokens.empty() ? 0 : common.closeTokens.size() + common.closeMaxTokens,
                 common.probes() ? common.probeLength() : 0) +
        1;
    wish.size.context = uint32_t(std::min<uint64_t>(needed, model.module().max_positions()));
  }
  wish.size.prefillTokens = options.prefillChunk;
  wish.size.cacheSequences = cacheSlots;
  wish.planBudgets = options.planBudgets;
  wish.warm = true; // what is measured is the model's work
  wish.probePlaces = probePlacesOf(options.generation, options.slots);
  wish.size.sequences += wish.probePlaces;
  M1_TRY(Engines::create(
      models, wish, options.slots,
      [side = text.get()] { return side->createDecoder(/*skipSpecial=*/true); }, &engines));
  return {};
}

Status EngineSampler::encode(const std::string &problem, std::vector<int32_t> *out) const {
  std::vector<ChatMessage> messages;
  if (options.prompt.raw) { // examples and problem are one text
    std::string prompt;
    for (const Problem &example : options.examples)
      prompt += question(example) + "\n\n" + example.solution + "\n\n";
    messages.push_back({"user", prompt + question({"", problem, ""})});
    return encodePrompt(*text, options.prompt, messages, out);
  }
  if (!options.prompt.system.empty())
    messages.push_back({"system", options.prompt.system});
  for (const Problem &example : options.examples) {
    messages.push_back({"user", question(example)});
    messages.push_back({"assistant", example.solution});
  }
  messages.push_back({"user", question({"", problem, ""})});
  return encodePrompt(*text, options.prompt, messages, out);
}

Status EngineSampler::submit(const SampleJob &job, uint64_t *outJob) {
  Request request = common;
  M1_TRY(encode(job.problem, &request.prompt));
  request.samples = job.count;
  request.sampling.seed = job.seed;
  request.firstSample = job.first;
  request.samplesAtOnce = job.atOnce;
  // Zero would be no budget at all.
  if (request.timeBudget > 0)
    request.timeBudget = std::max(request.timeBudget - job.elapsed, 1e-3);
  M1_TRY(engines->submit(std::move(request), outJob));
  Job &state = jobs[*outJob];
  state.first = job.first;
  state.open = job.count;
  state.samples.resize(job.count);
  return {};
}

Status EngineSampler::work(std::vector<FinishedSample> *out) {
  M1_TRY(engines->step());
  engines->takeEvents(&events);
  auto it = jobs.end();
  for (Event &event : events) {
    if (it == jobs.end() || it->first != event.request) // most are of the same job as the last
      it = jobs.find(event.request);
    if (it == jobs.end())
      continue;
    FinishedSample &sample = it->second.samples[event.sample];
    if (sample.result.take(event))
      engines->cancelSample(event.request, event.sample);
    sample.job = event.request;
    sample.sample = it->second.first + event.sample;
    if (event.probeAfter)
      probed.push_back({sample.job, sample.sample, sample.result.probes.back().answer});
    if (!sample.result.ended())
      continue;
    if (!sample.result.error.empty())
      m1tool::say("m1-eval", "warning",
                  "sample " + std::to_string(sample.sample) + ": " + sample.result.error);
    out->push_back(std::move(sample));
    if (--it->second.open == 0) {
      jobs.erase(it);
      it = jobs.end();
    }
  }
  return {};
}

} // namespace

Status createEngineSampler(const std::vector<Model *> &models, const EngineSamplerOptions &options,
                           const std::vector<Problem> &problems, std::unique_ptr<Sampler> *out) {
  auto sampler = std::make_unique<EngineSampler>();
  M1_TRY(sampler->start(models, options, problems));
  *out = std::move(sampler);
  return {};
}

} // namespace m1tool
