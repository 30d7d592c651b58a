// Sequences and steps on the toy model, whose results do not depend on batching to the last bit.
#include "model/session.h"
#include "ToyModel.h"
#include <gtest/gtest.h>
#include <map>
#include <random>

using namespace m1rt;

namespace {

class SessionTest : public ::testing::Test {
protected:
  void open(const SessionOptions &options, bool withPages = true) {
    toy::ArtifactOptions artifact;
    artifact.withPages = pages = withPages;
    const std::string path = toy::temporaryPath("session.m1a");
    toy::writeFile(path, toy::artifact(artifact));
    ModelOptions modelOptions;
    modelOptions.deviceOptions.threads = 2;
    Status status = Model::load(path, modelOptions, &model);
    ASSERT_TRUE(status.ok()) << status.message();
    status = Session::create(*model, options, &session);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  SequenceId create() {
    SequenceId id = 0;
    Status status = session->create(&id);
    EXPECT_TRUE(status.ok()) << status.message();
    return id;
  }
  Status feed(SequenceId id, const std::vector<int32_t> &tokens, uint32_t logits = 1) {
    BackendEntry entry{id, tokens.data(), uint32_t(tokens.size()), logits};
    return session->step(&entry, 1);
  }
  std::vector<float> logits(uint32_t row = 0) {
    std::vector<float> result(TOY_VOCABULARY);
    EXPECT_TRUE(session->logits(row, 1, result.data()).ok());
    return result;
  }
  std::vector<int32_t> random(size_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t &token : tokens)
      token = int32_t(generator() % TOY_VOCABULARY);
    return tokens;
  }

  std::mt19937 generator{17};
  bool pages = true;
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
};

// Any split of a prompt into chunks gives the logits of the whole prompt.
TEST_F(SessionTest, ChunkedEqualsWhole) {
  open({});
  const std::vector<int32_t> prompt = random(60);
  const std::vector<float> expected = toy::referenceLogits(prompt);
  for (size_t chunk : {1u, 2u, 7u, 8u, 9u, 59u, 60u}) {
    SequenceId id = create();
    for (size_t done = 0; done < prompt.size(); done += chunk)
      ASSERT_TRUE(feed(id, {prompt.begin() + ptrdiff_t(done),
                            prompt.begin() + ptrdiff_t(std::min(done + chunk, prompt.size()))})
                      .ok());
    EXPECT_EQ(logits(), expected) << "chunks of " << chunk;
    ASSERT_TRUE(session->destroy(id).ok());
  }
}

// Logits of several rows of one sequence are those of its prefixes.
TEST_F(SessionTest, LogitsOfManyRows) {
  SessionOptions options;
  options.maxLogitRows = 5;
  open(options);
  const std::vector<int32_t> prompt = random(12);
  ASSERT_TRUE(feed(create(), prompt, 5).ok());
  for (uint32_t row = 0; row < 5; ++row)
    EXPECT_EQ(logits(row), toy::referenceLogits({prompt.begin(), prompt.begin() + 8 + row}));
}

// A step of single tokens runs the decode function, any other step prefill.
TEST_F(SessionTest, ChoosesTheFunction) {
  SessionOptions options;
  options.maxSequences = 2;
  open(options);
  SequenceId id = create();
  ASSERT_TRUE(feed(id, {1, 2}).ok());
  EXPECT_EQ(session->lastFunction(), 0u);
  ASSERT_TRUE(feed(id, {3}).ok());
  EXPECT_EQ(session->lastFunction(), 1u);
}

// What cannot be is refused by name, and changes nothing.
TEST_F(SessionTest, RefusesBadSteps) {
  SessionOptions options;
  options.maxSequences = 2;
  options.maxTokensPerStep = 300;
  open(options);
  SequenceId id = create();
  ASSERT_TRUE(feed(id, {5}).ok());
  EXPECT_NE(feed(id, {1, 97}).message().find("token 1 is 97, the vocabulary has ids 0 to 96"),
            std::string::npos);
  EXPECT_NE(feed(id, {-1}).message().find("token 0 is -1"), std::string::npos);
  EXPECT_NE(feed(id, random(200))
                .message()
                .find("longer than the context of 200 tokens that the model was compiled for"),
            std::string::npos);
  EXPECT_NE(feed(99, {1}).message().find("sequence 99 does not exist"), std::string::npos);
  EXPECT_NE(feed(id, {}).message().find("1 logits rows of 0 tokens"), std::string::npos);
  EXPECT_EQ(session->step(nullptr, 0).message(), "a step without entries");
  const BackendEntry sampled[] = {{id, nullptr, 1, 1, 7}};
  EXPECT_NE(session->step(sampled, 1)
                .message()
                .find("entry 0: 1 tokens from sampled row 7, expected one of 0 rows"),
            std::string::npos);
  const int32_t token = 1;
  const BackendEntry twice[] = {{id, &token, 1, 1}, {id, &token, 1, 1}};
  EXPECT_NE(session->step(twice, 2).message().find("occurs twice"), std::string::npos);
  const BackendEntry rows[] = {{id, &token, 1, 2}};
  EXPECT_NE(session->step(rows, 1).message().find("2 logits rows of 1 tokens"), std::string::npos);
  uint32_t length = 0;
  ASSERT_TRUE(session->length(id, &length).ok());
  EXPECT_EQ(length, 1u);
  ASSERT_TRUE(feed(id, {6}).ok());
  EXPECT_EQ(logits(), toy::referenceLogits({5, 6}));
  create();
  SequenceId third = 0;
  EXPECT_EQ(session->create(&third).code(), StatusCode::outOfMemory);
}

// When KV pages run out the step fails as a whole, and works again once pages are free.
TEST_F(SessionTest, RunsOutOfPages) {
  SessionOptions options;
  options.maxSequences = 3;
  options.kvPages = 4;
  open(options);
  EXPECT_EQ(session->limits().maxContext, 32u); // as far as the pages reach
  SequenceId first = create(), second = create();
  const std::vector<int32_t> a = random(16), b = random(9);
  ASSERT_TRUE(feed(first, a).ok());
  ASSERT_TRUE(feed(second, b).ok());
  EXPECT_EQ(session->freePages(), 0u);
  const int32_t token = 3;
  const BackendEntry both[] = {{second, &token, 1, 1}, {first, &token, 1, 1}};
  Status status = session->step(both, 2);
  EXPECT_EQ(status.code(), StatusCode::outOfMemory);
  EXPECT_NE(status.message().find("1 more KV pages, but only 0 of 4 are free"), std::string::npos)
      << status.message();
  SequenceId fork = 0;
  // its last page is partly filled
  status = session->fork(second, &fork);
  EXPECT_EQ(status.code(), StatusCode::outOfMemory);
  EXPECT_NE(status.message().find("no free KV page to fork sequence"), std::string::npos);
  ASSERT_TRUE(session->fork(first, &fork).ok()); // full pages are shared
  ASSERT_TRUE(session->destroy(fork).ok());
  ASSERT_TRUE(session->reset(second).ok());
  ASSERT_TRUE(session->step(both, 2).ok());
  EXPECT_EQ(logits(0), toy::referenceLogits({3}));
  std::vector<int32_t> longer = a;
  longer.push_back(3);
  EXPECT_EQ(logits(1), toy::referenceLogits(longer));
}

// Forks of forks hold the same, and hold it when their source is gone or its slot and pages are
// another's.
TEST_F(SessionTest, ForksOfForks) {
  SessionOptions options;
  options.maxSequences = 4;
  options.maxTokensPerStep = 50;
  open(options);
  const SequenceId source = create();
  const std::vector<int32_t> prompt = random(13); // its last page is partly filled
  ASSERT_TRUE(feed(source, prompt).ok());
  SequenceId first = 0, second = 0, third = 0;
  ASSERT_TRUE(session->fork(source, &first).ok());
  ASSERT_TRUE(session->fork(first, &second).ok());
  ASSERT_TRUE(session->fork(second, &third).ok());
  ASSERT_TRUE(session->destroy(first).ok());
  ASSERT_TRUE(session->reset(source).ok());
  const SequenceId other = create();
  const std::vector<int32_t> another = random(13);
  ASSERT_TRUE(feed(other, another).ok());
  EXPECT_EQ(logits(), toy::referenceLogits(another));
  std::vector<int32_t> longer = prompt;
  longer.push_back(4);
  for (SequenceId fork : {third, second}) {
    ASSERT_TRUE(feed(fork, {4}).ok());
    EXPECT_EQ(logits(), toy::referenceLogits(longer));
  }
}

// Random creations, forks, steps of many sequences, resets and ends, with and without pages: every
// logits row equals the reference of its sequence alone, and at the end no page is lost.
TEST_F(SessionTest, RandomOperations) {
  for (bool withPages : {true, false}) {
    SessionOptions options;
    options.maxSequences = 6;
    options.kvPages = 40;
    options.maxContext = 70;
    options.maxTokensPerStep = 50;
    open(options, withPages);
    std::map<SequenceId, std::vector<int32_t>> known;
    for (int round = 0; round < 600; ++round) {
      auto any = [&] { return std::next(known.begin(), ptrdiff_t(generator() % known.size())); };
      const unsigned choice = generator() % 10;
      if (known.empty() || (choice == 0 && known.size() < 6)) {
        known[create()];
      } else if (choice == 1 && known.size() < 6) {
        auto source = any();
        SequenceId fork = 0;
        if (session->fork(source->first, &fork).ok())
          known[fork] = source->second;
      } else if (choice == 2) {
        auto victim = any();
        ASSERT_TRUE(session->destroy(victim->first).ok());
        known.erase(victim);
      } else if (choice == 3) {
        auto victim = any();
        ASSERT_TRUE(session->reset(victim->first).ok());
        victim->second.clear();
      } else {
        std::vector<BackendEntry> entries;
        std::vector<std::vector<int32_t>> tokens;
        tokens.reserve(known.size());
        const bool decode = generator() % 2;
        for (auto &[id, all] : known) {
          const size_t count = decode ? 1 : 1 + generator() % 8;
          if (generator() % 3 == 0 || all.size() + count > 70)
            continue;
          tokens.push_back(random(count));
          entries.push_back({id, tokens.back().data(), uint32_t(count), uint32_t(generator() % 2)});
        }
        if (entries.empty())
          continue;
        Status status = session->step(entries.data(), uint32_t(entries.size()));
        if (status.code() == StatusCode::outOfMemory)
          continue;
        ASSERT_TRUE(status.ok()) << status.message();
        std::vector<int32_t> next(6);
        ASSERT_TRUE(session->nextTokens(next.data()).ok());
        uint32_t row = 0;
        for (size_t i = 0; i < entries.size(); ++i) {
          std::vector<int32_t> &all = known[entries[i].sequence];
          all.insert(all.end(), tokens[i].begin(), tokens[i].end());
          if (entries[i].logitCount) {
            std::vector<float> expected = toy::referenceLogits(all, withPages);
            ASSERT_EQ(logits(row), expected) << "round " << round;
            ASSERT_EQ(next[row], toy::argmax(expected));
            ++row;
          }
        }
      }
    }
    for (auto &[id, all] : known)
      ASSERT_TRUE(session->destroy(id).ok());
    EXPECT_EQ(session->freePages(), withPages ? 40u : 0u);
    session.reset();
    model.reset();
  }
}

// Two sessions of one model that take turns share its threads, with steps of equal and of changing
// sizes.
TEST_F(SessionTest, SessionsTakeTurns) {
  open({});
  std::unique_ptr<Session> other;
  ASSERT_TRUE(Session::create(*model, {}, &other).ok());
  std::vector<int32_t> known[2];
  Session *sessions[2] = {session.get(), other.get()};
  SequenceId ids[2];
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(sessions[i]->create(&ids[i]).ok());
  for (int round = 0; round < 150; ++round) {
    const int i = round < 20 ? round % 2 : int(generator() % 2);
    if (known[i].size() > 180) {
      known[i].clear();
      ASSERT_TRUE(sessions[i]->reset(ids[i]).ok());
    }
    const std::vector<int32_t> tokens = random(generator() % 3 ? 1 : 1 + generator() % 9);
    known[i].insert(known[i].end(), tokens.begin(), tokens.end());
    BackendEntry entry{ids[i], tokens.data(), uint32_t(tokens.size()), 1};
    ASSERT_TRUE(sessions[i]->step(&entry, 1).ok());
    int32_t next = -1;
    ASSERT_TRUE(sessions[i]->nextTokens(&next).ok());
    ASSERT_EQ(next, toy::argmax(toy::referenceLogits(known[i]))) << "round " << round;
  }
}

// Sampling takes the plan's own argmax of greedy rows, and the logits otherwise; both agree.
TEST_F(SessionTest, SamplesRows) {
  open({});
  SequenceId id = create();
  const std::vector<int32_t> prompt = random(5);
  ASSERT_TRUE(feed(id, prompt).ok());
  SamplingRow row;
  SampledToken token;
  ASSERT_TRUE(session->sample(&row, 1).ok());
  ASSERT_TRUE(session->takeChosen(&token).ok());
  EXPECT_EQ(token.token, toy::argmax(toy::referenceLogits(prompt)));
  row.wantLogprob = true;
  ASSERT_TRUE(session->sample(&row, 1).ok());
  ASSERT_TRUE(session->takeChosen(&token).ok());
  EXPECT_EQ(token.token, toy::argmax(toy::referenceLogits(prompt)));
  EXPECT_LT(token.logprob, 0);
  row.row = 1;
  EXPECT_FALSE(session->sample(&row, 1).ok());
}

// A step takes tokens that the last sampling has chosen before anybody has seen them, beside tokens
// that are given; what is asked for without a sampling, or taken twice, is an error.
TEST_F(SessionTest, FeedsChosenTokens) {
  SessionOptions options;
  options.maxSequences = 3;
  open(options);
  std::vector<int32_t> known[2] = {random(5), random(3)};
  SequenceId ids[2] = {create(), create()};
  BackendEntry entries[2] = {{ids[0], known[0].data(), 5, 1}, {ids[1], known[1].data(), 3, 1}};
  const BackendEntry unsampled{ids[0], nullptr, 1, 1, 0};
  EXPECT_FALSE(session->step(&unsampled, 1).ok());
  ASSERT_TRUE(session->step(entries, 2).ok());
  SamplingRow rows[2];
  rows[1].row = 1;
  SampledToken tokens[2];
  ASSERT_TRUE(session->sample(rows, 2).ok());
  // In the other order, with a given token between them.
  const std::vector<int32_t> given = random(1);
  SequenceId third = create();
  const BackendEntry next[3] = {
      {ids[1], nullptr, 1, 1, 1}, {third, given.data(), 1, 1}, {ids[0], nullptr, 1, 1, 0}};
  ASSERT_TRUE(session->step(next, 3).ok());
  ASSERT_TRUE(session->takeChosen(tokens).ok());
  for (int i = 0; i < 2; ++i)
    known[i].push_back(toy::argmax(toy::referenceLogits(known[i])));
  EXPECT_EQ(tokens[0].token, known[0].back());
  EXPECT_EQ(tokens[1].token, known[1].back());
  EXPECT_EQ(logits(0), toy::referenceLogits(known[1]));
  EXPECT_EQ(logits(1), toy::referenceLogits(given));
  EXPECT_EQ(logits(2), toy::referenceLogits(known[0]));
  EXPECT_FALSE(session->takeChosen(tokens).ok());
}

// A profiled step gives every command's time, in order and without overlap.
TEST_F(SessionTest, Profiles) {
  open({});
  std::vector<CommandTime> times;
  session->setProfile(&times);
  ASSERT_TRUE(feed(create(), random(20)).ok());
  ASSERT_EQ(times.size(), 7u);
  for (size_t i = 0; i < times.size(); ++i) {
    EXPECT_EQ(times[i].command, i);
    EXPECT_GE(times[i].duration, 0);
    if (i)
      EXPECT_GE(times[i].start + 1e-3, times[i - 1].start + times[i - 1].duration);
  }
}

} // namespace
