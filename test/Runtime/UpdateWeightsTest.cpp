// m1_model_update_weights on the toy model: what the model says afterwards, what is refused, and
// what becomes of an engine's samples.
#include "ToyModel.h"
#include "cpu/write_weights.h"
#include "cuda/support_exp.h"
#include "m1/engine.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <map>

namespace {

constexpr unsigned otherSeed = 8;
constexpr int64_t columns = TOY_WIDTH;

/// The message of a failure, "" without one.
std::string message(m1_status *status) {
  std::string text = m1_status_message(status);
  m1_status_destroy(status);
  return text;
}

std::string writeArtifact(const std::string &name, toy::ArtifactOptions options) {
  std::string path = toy::temporaryPath(name);
  if (options.weights == toy::Weights::external)
    options.externalPath = path + ".weights";
  toy::writeFile(path, toy::artifact(options));
  return path;
}

class Loaded {
public:
  explicit Loaded(const std::string &path) {
    EXPECT_EQ(message(m1_model_load(path.c_str(), nullptr, &model)), "");
  }
  explicit Loaded(unsigned seed, toy::Weights weights = toy::Weights::embedded)
      : Loaded([&] {
          toy::ArtifactOptions options;
          options.seed = seed;
          options.weights = weights;
          return writeArtifact("update-" + std::to_string(seed), options);
        }()) {}
  ~Loaded() { m1_model_destroy(model); }
  Loaded(const Loaded &) = delete;

  /// After each of some tokens.
  std::vector<float> logits() const {
    const std::vector<int32_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 89};
    m1_session_options options;
    m1_session_options_init(&options);
    options.max_sequences = 1;
    options.max_logit_rows = uint32_t(tokens.size());
    m1_session *session = nullptr;
    m1_sequence sequence = 0;
    EXPECT_EQ(message(m1_session_create(model, &options, &session)), "");
    EXPECT_EQ(message(m1_sequence_create(session, &sequence)), "");
    std::vector<float> out(tokens.size() * TOY_VOCABULARY);
    m1_step_entry entry = {sequence, tokens.data(), uint32_t(tokens.size()),
                           uint32_t(tokens.size())};
    EXPECT_EQ(message(m1_session_step(session, &entry, 1, nullptr, out.data())), "");
    m1_session_destroy(session);
    return out;
  }

  m1_model *model = nullptr;
};

/// The toy checkpoint of a seed, as tensors for an update.
struct Checkpoint {
  explicit Checkpoint(unsigned seed) : embed(toy::values(0, seed)), head(toy::values(1, seed)) {
    tensors = {{"embed", embed.data(), M1_MEMORY_HOST, M1_ELEMENT_F32, embedShape, 2},
               {"head.first", head.data(), M1_MEMORY_HOST, M1_ELEMENT_F32, firstShape, 2},
               {"head.second", head.data() + toy::headRows * columns, M1_MEMORY_HOST,
                M1_ELEMENT_F32, secondShape, 2}};
  }
  Checkpoint(const Checkpoint &) = delete;

  std::string give(const Loaded &to, m1_running_samples running = M1_RUNNING_FINISH) const {
    return message(m1_model_update_weights(to.model, tensors.data(), tensors.size(), running));
  }

  std::vector<float> embed, head;
  const int64_t embedShape[2] = {TOY_VOCABULARY, columns};
  const int64_t firstShape[2] = {toy::headRows, columns};
  const int64_t secondShape[2] = {TOY_VOCABULARY - toy::headRows, columns};
  std::vector<m1_tensor> tensors;
};

// With all tensors of another checkpoint a model computes bit for bit what that checkpoint's
// artifact does; its own artifact's files and other models of it stay as they were.
TEST(UpdateWeights, MakeTheModelOfAnotherCheckpoint) {
  for (toy::Weights weights : {toy::Weights::embedded, toy::Weights::external}) {
    toy::ArtifactOptions options;
    options.weights = weights;
    const std::string path = writeArtifact("update-own", options);
    const Loaded model(path), bystander(path), wanted(otherSeed);
    const std::vector<float> before = model.logits();
    const std::vector<uint8_t> file = toy::readFile(path),
                               external = toy::readFile(path + ".weights");
    ASSERT_NE(before, wanted.logits());
    EXPECT_EQ(Checkpoint(otherSeed).give(model), "");
    EXPECT_EQ(model.logits(), wanted.logits());
    EXPECT_EQ(bystander.logits(), before);
    EXPECT_EQ(toy::readFile(path), file);
    EXPECT_EQ(toy::readFile(path + ".weights"), external);
    EXPECT_EQ(Checkpoint(toy::ownSeed).give(model), "") << "weights that are private now";
    EXPECT_EQ(model.logits(), before);
  }
}

// A weight joined from several tensors takes one of them alone: the other's rows stay, whether they
// are still those of the file or not.
TEST(UpdateWeights, TakeSomeOfTheTensors) {
  const Loaded model(toy::ownSeed);
  Checkpoint other(otherSeed), own(toy::ownSeed);
  const std::vector<float> before = model.logits();
  other.tensors = {other.tensors[2]};
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(other.give(model), "");
    const std::vector<float> after = model.logits();
    for (size_t i = 0; i < after.size(); ++i)
      EXPECT_EQ(after[i] == before[i], i % TOY_VOCABULARY < toy::headRows) << i;
    EXPECT_EQ(own.give(model), "");
    EXPECT_EQ(model.logits(), before);
  }
}

// bf16 and f16 are widened exactly: numbers that all types hold give the same model.
TEST(UpdateWeights, TakeHalfPrecision) {
  std::vector<float> values(TOY_VOCABULARY * columns);
  std::vector<uint16_t> bf16, f16;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = float(int(i % 256) - 128) / 64; // 8 bits of mantissa at most
    uint32_t bits;
    std::memcpy(&bits, &values[i], 4);
    ASSERT_EQ(bits & 0xffff, 0u);
    bf16.push_back(uint16_t(bits >> 16));
    const _Float16 half = _Float16(values[i]);
    uint16_t halfBits;
    std::memcpy(&halfBits, &half, 2);
    f16.push_back(halfBits);
  }
  std::vector<float> wanted;
  for (auto [data, element] :
       {std::pair<const void *, m1_element_type>(values.data(), M1_ELEMENT_F32),
        {bf16.data(), M1_ELEMENT_BF16},
        {f16.data(), M1_ELEMENT_F16}}) {
    const Loaded model(toy::ownSeed);
    Checkpoint update(otherSeed);
    update.tensors.resize(1);
    update.tensors[0].data = data;
    update.tensors[0].element = element;
    EXPECT_EQ(update.give(model), "");
    if (wanted.empty())
      wanted = model.logits();
    EXPECT_EQ(model.logits(), wanted) << element;
  }
}

// Whatever is wrong is named, nothing changes, and the next update works.
TEST(UpdateWeights, RefuseWhatIsWrong) {
  const Loaded model(toy::ownSeed), wanted(otherSeed);
  const std::vector<float> before = model.logits();
  auto refused = [&](auto spoil) {
    Checkpoint update(otherSeed);
    spoil(update.tensors);
    std::string says = update.give(model);
    EXPECT_EQ(model.logits(), before) << says;
    return says;
  };
  using List = std::vector<m1_tensor> &;
  EXPECT_EQ(refused([](List all) { all[1].name = "head.third"; }),
            "tensor 'head.third': no weight of the model is made of it");
  EXPECT_EQ(refused([](List all) { all[2] = all[0]; }), "tensor 'embed': is given twice");
  static const int64_t turned[2] = {columns, TOY_VOCABULARY};
  EXPECT_EQ(refused([](List all) { all[0].shape = turned; }),
            "tensor 'embed': expected shape [97, 12], got [12, 97]");
  EXPECT_EQ(refused([](List all) { all[0].rank = 1; }),
            "tensor 'embed': expected shape [97, 12], got [97]");
  EXPECT_EQ(refused([](List all) { all[0].shape = nullptr; }),
            "tensor 'embed': its shape is null but its rank is 2");
  EXPECT_EQ(refused([](List all) { all[2].data = nullptr; }),
            "tensor 'head.second': its data is null");
  EXPECT_EQ(refused([](List all) { all[2].name = nullptr; }), "tensor 2: its name is null");
  EXPECT_EQ(refused([](List all) { all[2].memory = M1_MEMORY_CUDA; }),
            "tensor 'head.second': memory of a GPU, and the model is on the cpu");
  EXPECT_EQ(refused([](List all) {
              const int none = 3;
              std::memcpy(&all[0].element, &none, sizeof none);
            }),
            "tensor 'embed': 3 is no m1_element_type");
  EXPECT_EQ(refused([](List all) {
              const int none = 2;
              std::memcpy(&all[0].memory, &none, sizeof none);
            }),
            "tensor 'embed': 2 is no m1_memory");
  EXPECT_EQ(message(m1_model_update_weights(model.model, nullptr, 1, M1_RUNNING_FINISH)),
            "tensors is null but its count is 1");
  EXPECT_EQ(message(m1_model_update_weights(nullptr, nullptr, 0, M1_RUNNING_FINISH)),
            "m1_model_update_weights: model must not be null");
  m1_running_samples none;
  const int number = 3;
  std::memcpy(&none, &number, sizeof none);
  EXPECT_EQ(message(m1_model_update_weights(model.model, nullptr, 0, none)),
            "running: 3 is no m1_running_samples");
  EXPECT_EQ(Checkpoint(otherSeed).give(model), "");
  EXPECT_EQ(model.logits(), wanted.logits());
}

// Quantised weights are refused by name, and artifacts that do not say what they are made of; a
// record that does not fit the weight is damage.
TEST(UpdateWeights, NeedARecordOfPlainWeights) {
  toy::ArtifactOptions options;
  options.change = [](toy::schema::ModuleT &module) {
    module.weights[1]->transform = toy::schema::WeightTransform::int8_rows;
  };
  const Loaded quantised(writeArtifact("update-quantised", options));
  EXPECT_EQ(Checkpoint(otherSeed).give(quantised),
            "tensor 'head.first': the model holds it quantised, as weight 'output' (int8_rows), "
            "which cannot be updated");
  Checkpoint embedding(otherSeed);
  embedding.tensors.resize(1);
  EXPECT_EQ(embedding.give(quantised), "") << "the weight that is not quantised";

  options.change = [](toy::schema::ModuleT &module) {
    module.checkpoint_tensors.clear();
    for (auto &weight : module.weights)
      weight->sources.clear();
  };
  const Loaded old(writeArtifact("update-old", options));
  EXPECT_NE(Checkpoint(otherSeed).give(old).find("does not say which tensors"), std::string::npos);

  for (auto damage : std::vector<std::function<void(toy::schema::ModuleT &)>>{
           [](auto &module) { module.weights[1]->sources[0] = {7, 0, 50}; },
           [](auto &module) { module.weights[1]->sources[0] = {1, 0, 51}; },
           [](auto &module) { module.weights[1]->sources[0] = {1, UINT64_MAX, 2}; },
           [](auto &module) { module.weights[1]->sources.pop_back(); },
           [](auto &module) { module.checkpoint_tensors[1]->shape[0] = INT64_MAX; },
           [](auto &module) { module.checkpoint_tensors[1]->name = "embed"; },
           [](auto &module) { module.weights[1]->transform = toy::schema::WeightTransform(99); }}) {
    options.change = damage;
    m1_model *model = nullptr;
    m1_status *status =
        m1_model_load(writeArtifact("update-damaged", options).c_str(), nullptr, &model);
    EXPECT_EQ(m1_status_get_code(status), M1_STATUS_CORRUPT) << m1_status_message(status);
    m1_status_destroy(status);
  }
}

/// Samples of an engine on a model, by request and number.
class Samples {
public:
  explicit Samples(const Loaded &model, uint32_t atOnce) {
    m1_engine_options options;
    m1_engine_options_init(&options);
    options.max_samples = atOnce;
    EXPECT_EQ(message(m1_engine_create(model.model, &options, &engine)), "");
  }
  ~Samples() { m1_engine_destroy(engine); }
  Samples(const Samples &) = delete;

  uint64_t submit(const std::vector<int32_t> &prompt, uint32_t samples) {
    m1_request request;
    m1_request_init(&request);
    request.tokens = prompt.data();
    request.token_count = prompt.size();
    request.samples = samples;
    request.max_new_tokens = 24;
    request.temperature = 1;
    request.repetition_penalty = 1.2f;
    request.seed = 5;
    request.ignore_eos = true;
    request.want_logprobs = true;
    uint64_t id = 0;
    EXPECT_EQ(message(m1_engine_submit(engine, &request, &id)), "");
    return id;
  }

  void poll() {
    m1_event event;
    while (m1_engine_poll(engine, &event)) {
      auto &sample = tokens[{event.request, event.sample}];
      if (event.restarted) {
        sample.clear();
        ++restarts;
      }
      sample.insert(sample.end(), event.tokens, event.tokens + event.token_count);
      ends += event.reason != M1_FINISH_RUNNING;
      failures += event.reason == M1_FINISH_FAILED;
    }
  }
  void steps(int count) {
    for (int i = 0; i < count; ++i)
      EXPECT_EQ(message(m1_engine_step(engine)), "");
    poll();
  }
  void run() {
    for (int i = 0; i < 2000 && !m1_engine_is_idle(engine); ++i)
      steps(1);
    poll();
    EXPECT_TRUE(m1_engine_is_idle(engine));
  }

  m1_engine *engine = nullptr;
  std::map<std::pair<uint64_t, uint32_t>, std::vector<int32_t>> tokens;
  int restarts = 0, ends = 0, failures = 0;
};

std::vector<int32_t> promptOf(int length) {
  std::vector<int32_t> prompt;
  for (int i = 0; i < length; ++i)
    prompt.push_back((7 * i + 3) % 90);
  return prompt;
}

/// Five samples of the prompt, from a model of that seed alone.
std::map<std::pair<uint64_t, uint32_t>, std::vector<int32_t>> alone(unsigned seed) {
  const Loaded model(seed);
  Samples samples(model, 2);
  samples.submit(promptOf(40), 5);
  samples.run();
  return samples.tokens;
}

class UpdateWeightsModes : public testing::TestWithParam<int> {};

// Two of five samples have begun when the weights change, somewhere between the first step and
// their end: those that have not begun are the new model's.
TEST_P(UpdateWeightsModes, BegunSamples) {
  const auto old = alone(toy::ownSeed), fresh = alone(otherSeed);
  for (m1_running_samples mode : {M1_RUNNING_FINISH, M1_RUNNING_RESTART, M1_RUNNING_KEEP}) {
    SCOPED_TRACE(mode);
    const Loaded model(toy::ownSeed);
    Samples samples(model, 2);
    const uint64_t id = samples.submit(promptOf(40), 5);
    samples.steps(GetParam());
    const auto before = samples.tokens;
    m1_engine_stats stats;
    m1_engine_get_stats(samples.engine, &stats);
    const uint32_t begun = stats.running_samples;
    EXPECT_EQ(Checkpoint(otherSeed).give(model, mode), "");
    samples.run();
    EXPECT_EQ(samples.ends, 5);
    EXPECT_EQ(samples.failures, 0);
    for (uint32_t i = 0; i < 5; ++i) {
      const auto &said = samples.tokens[{id, i}];
      EXPECT_EQ(said.size(), 24u);
      if (i >= begun || mode == M1_RUNNING_RESTART)
        EXPECT_EQ(said, fresh.at({1, i})) << i;
      else if (mode == M1_RUNNING_FINISH)
        EXPECT_EQ(said, old.at({1, i})) << i;
      else if (before.count({id, i}))
        EXPECT_TRUE(std::equal(before.at({id, i}).begin(), before.at({id, i}).end(), said.begin()));
    }
    EXPECT_EQ(samples.restarts, mode == M1_RUNNING_RESTART ? int(begun) : 0);
    // Nothing that the old weights computed is reused, by whatever prompt.
    Samples later(model, 1);
    later.submit(promptOf(40), 5);
    later.run();
    EXPECT_EQ(later.tokens, fresh);
    samples.tokens.clear();
    const uint64_t again = samples.submit(promptOf(40), 5);
    samples.run();
    for (uint32_t i = 0; i < 5; ++i)
      EXPECT_EQ((samples.tokens[{again, i}]), fresh.at({1, i}));
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, UpdateWeightsModes, testing::Values(0, 1, 2, 9, 20));

// A prompt that was computed before the update is computed again after it, and then reused.
TEST(UpdateWeights, DropThePrefixCache) {
  const Loaded model(toy::ownSeed), other(otherSeed);
  Samples samples(model, 1), wanted(other, 1);
  wanted.submit(promptOf(70), 1);
  wanted.run();
  auto reused = [&] {
    m1_engine_stats stats;
    m1_engine_get_stats(samples.engine, &stats);
    return stats.reused_tokens;
  };
  auto ask = [&] {
    const uint64_t id = samples.submit(promptOf(70), 1);
    samples.run();
    return samples.tokens[{id, 0}];
  };
  const std::vector<int32_t> old = ask();
  EXPECT_EQ(ask(), old);
  const uint64_t before = reused();
  EXPECT_GT(before, 0u);
  EXPECT_EQ(Checkpoint(otherSeed).give(model), "");
  EXPECT_EQ(ask(), (wanted.tokens[{1, 0}]));
  EXPECT_EQ(reused(), before);
  EXPECT_EQ(ask(), (wanted.tokens[{1, 0}]));
  EXPECT_GT(reused(), before);
}

// The GPU's own -exp equals the library's in double precision, rounded, for every exponent.
TEST(UpdateWeights, ExpOfTheGpu) {
  uint32_t differing = 0, total = 0;
  for (uint32_t bits = 0; bits < 0x7f800000; bits += 9973)
    for (uint32_t sign : {0u, 0x80000000u}) {
      const uint32_t pattern = bits | sign;
      float x;
      std::memcpy(&x, &pattern, sizeof x);
      const float wanted = float(-std::exp(double(x))), got = m1_neg_exp(x);
      ++total;
      differing += got != wanted;
      EXPECT_TRUE(got == wanted || std::nextafter(got, wanted) == wanted) << x;
    }
  EXPECT_LE(differing, total / 100000);
  EXPECT_TRUE(std::isnan(m1_neg_exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(m1_neg_exp(std::numeric_limits<float>::infinity()),
            -std::numeric_limits<float>::infinity());
  EXPECT_EQ(m1_neg_exp(-std::numeric_limits<float>::infinity()), 0.0f);
}

// What the CPU writes, against plain formulas in double precision: every transform and type, parts
// that begin and end anywhere.
TEST(UpdateWeights, TransformsOnTheCpu) {
  using toy::schema::ElementType;
  using toy::schema::WeightTransform;
  std::vector<float> source;
  for (int i = 0; i < 3001; ++i)
    source.push_back(std::sin(float(i)) * 9);
  for (WeightTransform transform : {WeightTransform::none, WeightTransform::neg_exp,
                                    WeightTransform::twice, WeightTransform::plus_one}) {
    auto wanted = [&](float x) {
      switch (transform) {
      case WeightTransform::neg_exp:
        return -std::exp(double(x));
      case WeightTransform::twice:
        return 2.0 * double(x);
      case WeightTransform::plus_one:
        return 1.0 + double(x);
      default:
        return double(x);
      }
    };
    std::vector<float> out(source.size(), 77.0f);
    std::vector<uint16_t> half(source.size(), 77);
    m1rt::WeightPart part;
    part.source = source.data();
    part.count = source.size();
    part.transform = transform;
    part.target = out.data();
    m1rt::writeWeightRange(part, 1, source.size() - 1);
    part.target = half.data();
    part.targetType = ElementType::bf16;
    m1rt::writeWeightRange(part, 1, source.size() - 1);
    for (size_t i = 1; i + 1 < source.size(); ++i) {
      EXPECT_EQ(out[i], float(wanted(source[i])));
      const uint32_t bits = uint32_t(half[i]) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      EXPECT_LE(std::abs(double(value) - wanted(source[i])), std::abs(wanted(source[i])) / 256);
    }
    EXPECT_EQ(out.front(), 77.0f);
    EXPECT_EQ(out.back(), 77.0f);
    EXPECT_EQ(half.front(), 77);
    EXPECT_EQ(half.back(), 77);
  }
}

} // namespace
