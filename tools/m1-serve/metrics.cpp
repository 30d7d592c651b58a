#include "metrics.h"
#include <algorithm>

namespace m1serve {

namespace {

std::string textOf(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

void describe(const std::string &name, const char *type, const std::string &help,
              std::string *out) {
  *out += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

void single(const std::string &name, const char *type, const std::string &help, double value,
            std::string *out) {
  describe(name, type, help, out);
  *out += name + " " + textOf(value) + "\n";
}

} // namespace

void Histogram::add(double value) {
  ++counts[size_t(std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin())];
  sum += value;
}

void Histogram::print(const std::string &name, const std::string &help, std::string *out) const {
  describe(name, "histogram", help, out);
  uint64_t below = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    below += counts[i];
    *out += name + "_bucket{le=\"" + (i < bounds.size() ? textOf(bounds[i]) : "+Inf") + "\"} " +
            std::to_string(below) + "\n";
  }
  *out += name + "_sum " + textOf(sum) + "\n" + name + "_count " + std::to_string(below) + "\n";
}

void Metrics::answered(const std::string &endpoint, int status) {
  std::lock_guard<std::mutex> lock(mutex);
  ++answers[{endpoint, status}];
}

void Metrics::ended(const Exchange &exchange, bool cut) {
  using Seconds = std::chrono::duration<double>;
  const auto now = Exchange::Clock::now();
  std::lock_guard<std::mutex> lock(mutex);
  hungUp += cut;
  promptTokens += exchange.promptTokens;
  cachedTokens += exchange.cachedTokens;
  completionTokens += exchange.completionTokens;
  if (exchange.firstToken != Exchange::Clock::time_point()) {
    firstToken.add(Seconds(exchange.firstToken - exchange.arrived).count());
    const size_t samples = exchange.request.samples;
    if (exchange.completionTokens > samples)
      perToken.add(Seconds(now - exchange.firstToken).count() * double(samples) /
                   double(exchange.completionTokens - samples));
  }
  whole.add(Seconds(now - exchange.arrived).count());
}

std::string Metrics::print(const m1tool::EnginePool::Load &load, size_t connections,
                           uint32_t slots) const {
  std::string out;
  const m1rt::EngineStats &stats = load.stats;
  std::lock_guard<std::mutex> lock(mutex);
  describe("m1_requests_total", "counter", "Requests answered, by endpoint and status.", &out);
  for (const auto &[key, count] : answers)
    out += "m1_requests_total{endpoint=\"" + key.first + "\",status=\"" +
           std::to_string(key.second) + "\"} " + std::to_string(count) + "\n";
  auto counter = [&](const char *name, const char *help, double value) {
    single(name, "counter", help, value, &out);
  };
  auto gauge = [&](const char *name, const char *help, double value) {
    single(name, "gauge", help, value, &out);
  };
  counter("m1_hangups_total", "Clients that hung up, or were cut off as too slow.", double(hungUp));
  counter("m1_prompt_tokens_total", "Tokens of the prompts of ended requests.",
          double(promptTokens));
  counter("m1_cached_prompt_tokens_total", "Those of them that earlier prompts had computed.",
          double(cachedTokens));
  counter("m1_completion_tokens_total", "Tokens of the answers of ended requests.",
          double(completionTokens));
  counter("m1_engine_steps_total", "Forward passes.", double(stats.steps));
  counter("m1_engine_generated_tokens_total", "Tokens sampled.", double(stats.generatedTokens));
  counter("m1_engine_computed_tokens_total", "Tokens fed to the model.",
          double(stats.computedTokens));
  counter("m1_engine_recomputed_tokens_total", "Those of them fed again after a preemption.",
          double(stats.recomputedTokens));
  counter("m1_engine_preemptions_total", "Samples that gave their memory up for a while.",
          double(stats.preemptions));
  counter("m1_engine_probes_total", "Probes of samples begun.", double(stats.probes));
  counter("m1_engine_probe_tokens_total", "Of the computed tokens, those fed to probes.",
          double(stats.probeTokens));
  counter("m1_prefix_hits_total", "Prompts that began from an earlier one's state.",
          double(stats.prefixHits));
  counter("m1_prefix_misses_total", "Prompts that did not.", double(stats.prefixMisses));
  counter("m1_engine_model_seconds_total", "Seconds in the model.", stats.modelSeconds);
  counter("m1_engine_seconds_total", "Seconds in the engine.", stats.elapsedSeconds);
  gauge("m1_slots", "Samples that can run at once.", slots);
  gauge("m1_running_samples", "Samples that run.", load.runningSamples);
  gauge("m1_waiting_samples", "Samples of begun requests that wait for a slot.",
        load.waitingSamples);
  gauge("m1_queued_requests", "Requests that wait to be begun.", double(load.queued));
  gauge("m1_kv_pages", "Pages of attention keys and values.", load.kvPages);
  gauge("m1_kv_pages_free", "Those that are free.", load.freePages);
  gauge("m1_connections", "Connections.", double(connections));
  firstToken.print("m1_first_token_seconds", "From a request's arrival to its first token.", &out);
  perToken.print("m1_time_per_token_seconds", "Of a sample, after the first token.", &out);
  whole.print("m1_request_seconds", "From a request's arrival to its end.", &out);
  return out;
}

} // namespace m1serve
