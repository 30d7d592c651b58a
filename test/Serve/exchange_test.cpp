// Thought and answer, votes, and the events of a stream.
#include "metrics.h"
#include "reasoning.h"
#include "vote/vote.h"
#include <gtest/gtest.h>
#include <numeric>
#include <random>

using namespace m1serve;

namespace {

std::pair<std::string, std::string> split(const std::string &text, bool opened, size_t step) {
  ReasoningSplitter splitter(opened);
  std::string reasoning, content;
  for (size_t i = 0; i < text.size(); i += step) {
    ReasoningSplitter::Piece piece = splitter.push(text.substr(i, step));
    reasoning += piece.reasoning;
    content += piece.content;
  }
  ReasoningSplitter::Piece rest = splitter.finish();
  return {reasoning + rest.reasoning, content + rest.content};
}

} // namespace

// The parts are the same however the text is cut.
TEST(Reasoning, SplitsWhateverThePieces) {
  using Parts = std::pair<std::string, std::string>;
  for (size_t step : {1, 2, 3, 5, 7, 100}) {
    EXPECT_EQ(split("<think>\na b\n</think>\n\nc d\n", false, step), Parts("a b", "c d\n"));
    EXPECT_EQ(split("a < b </thin\n</think>c", true, step), Parts("a < b </thin", "c"));
    EXPECT_EQ(split("plain <think> text", false, step), Parts("", "plain <think> text"));
    EXPECT_EQ(split("\n<think>never ends ", false, step).second, "");
    EXPECT_EQ(split("<think></think>x", false, step), Parts("", "x"));
    EXPECT_EQ(split("<thin", false, step), Parts("", "<thin"));
    EXPECT_EQ(split("", false, step), Parts("", ""));
  }
  EXPECT_TRUE(ReasoningSplitter::opensThought("<|assistant|><think>\n"));
  EXPECT_FALSE(ReasoningSplitter::opensThought("<think></think>"));
}

namespace {

/// An exchange without tokens' texts: prompts of two tokens.
struct Talk {
  explicit Talk(const std::string &fields)
      : exchange({"m", "f", nullptr}, request(fields), {{{1, 2}, "<think>"}}, "id", -1) {}
  static ApiRequest request(const std::string &fields) {
    ApiRequest out;
    auto error = readRequest(R"({"messages": [{"role": "user", "content": "x"}], )" + fields + "}",
                             true, 100, {}, &out);
    EXPECT_FALSE(error);
    return out;
  }
  void say(uint32_t sample, const std::string &text,
           m1rt::FinishReason reason = m1rt::FinishReason::running) {
    m1rt::Event event;
    event.sample = sample;
    event.text = text;
    event.tokens.resize(1);
    event.reason = reason;
    exchange.take(0, event, [&](size_t, std::optional<uint32_t> which) {
      ended.push_back(which ? int(*which) : -1);
    });
  }
  void probe(uint32_t sample, const std::string &text) {
    m1rt::Event event;
    event.sample = sample;
    event.text = text;
    event.tokens.resize(2);
    event.probeAfter = 4;
    exchange.take(0, event, [&](size_t, std::optional<uint32_t> which) {
      ended.push_back(which ? int(*which) : -1);
    });
  }
  /// The data of the stream's events; checks that the framing is HTTP's.
  std::vector<std::string> events() const {
    std::string text;
    for (size_t at = 0; at < exchange.outgoing.size();) {
      size_t digits = 0;
      const size_t length = std::stoul(exchange.outgoing.substr(at), &digits, 16);
      EXPECT_EQ(exchange.outgoing.substr(at + digits, 2), "\r\n");
      text += exchange.outgoing.substr(at + digits + 2, length);
      EXPECT_EQ(exchange.outgoing.substr(at + digits + 2 + length, 2), "\r\n");
      at += digits + 2 + length + 2;
    }
    std::vector<std::string> all;
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find("\n\n", at);
      EXPECT_EQ(text.compare(at, 6, "data: "), 0);
      all.push_back(text.substr(at + 6, end - at - 6));
      at = end + 2;
    }
    return all;
  }
  Exchange exchange;
  std::vector<int> ended;
};

} // namespace

// A stream's pieces make up the answer; usage comes last, then the word that it is over.
TEST(Exchange, Stream) {
  Talk run(R"("n": 2, "stream": true, "stream_options": {"include_usage": true})");
  run.say(0, "why</think>a");
  run.say(1, "</think>");
  run.say(0, "b\"\n", m1rt::FinishReason::stopToken);
  EXPECT_FALSE(run.exchange.ended());
  run.say(1, "c", m1rt::FinishReason::length);
  EXPECT_TRUE(run.exchange.ended());
  std::vector<std::string> content(2), reasoning(2), finish(2);
  std::vector<std::string> events = run.events();
  ASSERT_EQ(events.back(), "[DONE]");
  events.pop_back();
  const Json usage = Json::parse(events.back());
  EXPECT_TRUE(usage["choices"].empty());
  EXPECT_EQ(usage["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(usage["usage"]["completion_tokens"], 4);
  EXPECT_EQ(usage["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
  events.pop_back();
  for (const std::string &event : events) {
    const Json data = Json::parse(event);
    EXPECT_EQ(data["object"], "chat.completion.chunk");
    EXPECT_TRUE(data["usage"].is_null());
    const Json &choice = data["choices"][0];
    const size_t index = choice["index"];
    content[index] += choice["delta"].value("content", "");
    reasoning[index] += choice["delta"].value("reasoning_content", "");
    if (choice["finish_reason"].is_string())
      finish[index] = choice["finish_reason"];
  }
  EXPECT_EQ(content, (std::vector<std::string>{"ab\"\n", "c"}));
  EXPECT_EQ(reasoning, (std::vector<std::string>{"why", ""}));
  EXPECT_EQ(finish, (std::vector<std::string>{"stop", "length"}));
}

// Whatever bytes a text holds, an event is JSON that says it; what is no UTF-8 is replaced.
TEST(Exchange, Texts) {
  std::string everything;
  for (char c = 1; c > 0; ++c)
    everything += c;
  for (const std::string &text : {everything, std::string("\0", 1), std::string("ü😀\"\\\n"),
                                  std::string("plain"), std::string("\\boxed{")}) {
    Talk run(R"("stream": true)");
    run.say(0, "</think>");
    run.say(0, "a" + text);
    EXPECT_EQ(Json::parse(run.events().back())["choices"][0]["delta"]["content"], "a" + text);
  }
  Talk run(R"("stream": true)");
  run.say(0, "</think>");
  run.say(0, "a\xFF\xE2");
  EXPECT_EQ(Json::parse(run.events().back())["choices"][0]["delta"]["content"], "a\uFFFD\uFFFD");
}

// HTTP/1.0 knows no chunks: a stream is its events.
TEST(Exchange, StreamWithoutChunks) {
  Exchange exchange({"m", "f", nullptr}, Talk::request(R"("stream": true)"), {{{1, 2}, ""}}, "id",
                    -1, /*chunked=*/false);
  m1rt::Event event;
  event.text = "a";
  event.tokens.resize(1);
  event.reason = m1rt::FinishReason::length;
  exchange.take(0, event, {});
  EXPECT_EQ(exchange.outgoing.rfind("data: {", 0), 0u);
  const std::string end = "data: [DONE]\n\n";
  ASSERT_GT(exchange.outgoing.size(), end.size());
  EXPECT_EQ(exchange.outgoing.substr(exchange.outgoing.size() - end.size()), end);
  EXPECT_EQ(exchange.outgoing.find('\r'), std::string::npos);
}

// A vote that is decided ends the samples that still run; their choices say so.
TEST(Exchange, DecidedVote) {
  Talk run(R"("n": 5, "vote": {"decide_early": true})");
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(run.exchange.ended());
    run.say(i, "</think>\\boxed{7}", m1rt::FinishReason::stopToken);
  }
  EXPECT_TRUE(run.exchange.ended());
  EXPECT_EQ(run.ended, std::vector<int>{-1});
  const Json response = run.exchange.response();
  EXPECT_EQ(response["vote"]["answer"], "7");
  EXPECT_EQ(response["vote"]["votes"], 3);
  EXPECT_EQ(response["choices"][4]["finish_detail"], "decided");
  EXPECT_EQ(response["choices"][0]["message"]["content"], "\\boxed{7}");
}

// The vote equals the one over all samples, whatever the order of ends; cut and dropped samples
// cast no ballot; what is decided early has the same winner.
TEST(Exchange, VoteEqualsTheOneOverAll) {
  using m1rt::FinishReason;
  std::mt19937 random(1);
  for (int round = 0; round < 100; ++round) {
    const uint32_t samples = 1 + random() % 12;
    std::vector<std::string> texts;
    std::vector<FinishReason> reasons;
    std::vector<std::optional<m1rt::Answer>> answers;
    for (uint32_t i = 0; i < samples; ++i) {
      texts.push_back(random() % 5 == 0 ? "none"
                                        : "so \\boxed{" + std::to_string(random() % 3) + "}");
      const FinishReason all[] = {FinishReason::stopToken, FinishReason::stopToken,
                                  FinishReason::stopString, FinishReason::length,
                                  FinishReason::dropped};
      reasons.push_back(all[random() % 5]);
      const std::optional<std::string> box = m1rt::extractBoxed(texts[i]);
      const bool ends = reasons[i] < FinishReason::length;
      answers.push_back(box && ends ? std::optional<m1rt::Answer>(*box) : std::nullopt);
    }
    const m1rt::VoteResult vote = m1rt::majorityVote(answers);
    const Json winner =
        vote.winner < 0 ? Json() : Json(*m1rt::extractBoxed(texts[size_t(vote.winner)]));
    std::vector<uint32_t> order(samples);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    const std::string n = "\"n\": " + std::to_string(samples);
    Talk whole(n + R"(, "vote": true)"), early(n + R"(, "vote": {"stop_early": "exact"})");
    for (uint32_t sample : order)
      for (Talk *talk : {&whole, &early})
        talk->say(sample, "</think>" + texts[sample], reasons[sample]);
    ASSERT_TRUE(whole.exchange.ended() && early.exchange.ended());
    const Json all = whole.exchange.response()["vote"];
    EXPECT_EQ(all["ended"], samples);
    EXPECT_EQ(all["votes"], vote.votes);
    EXPECT_EQ(all["answer"], winner);
    EXPECT_EQ(early.exchange.response()["vote"]["answer"], winner);
  }
}

// What probes say is a provisional ballot, shown as such, until the sample answers; of a sample
// that was dropped it stays. It is no part of the sample, and costs no tokens of the answer.
TEST(Exchange, ProvisionalBallots) {
  Talk run(R"("n": 3, "stream": true, "time_budget": 9, "at_deadline": "drop",
              "vote": {"probe_every": 4})");
  run.probe(1, "The answer is \\boxed{5}");
  run.probe(2, "The answer is \\boxed{}");
  run.say(0, "</think>\\boxed{6}", m1rt::FinishReason::stopToken);
  run.probe(1, "The answer is \\boxed{6.0}");
  run.say(1, "</think>who knows", m1rt::FinishReason::stopToken);
  run.probe(2, "The answer is \\boxed{8}");
  run.say(2, "</think>", m1rt::FinishReason::dropped);
  ASSERT_TRUE(run.exchange.ended());
  std::vector<Json> states;
  std::string said;
  for (const std::string &event : run.events()) {
    if (event == "[DONE]")
      continue;
    const Json data = Json::parse(event);
    if (data.contains("vote"))
      states.push_back(data["vote"]["tally"]);
    else
      said += data["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(said, "\\boxed{6}who knows");
  const auto entry = [](const char *answer, int votes, int provisional) {
    Json out = {{"answer", answer}, {"votes", votes}};
    if (provisional)
      out["provisional"] = provisional;
    return out;
  };
  EXPECT_EQ(states,
            (std::vector<Json>{Json::array({entry("5", 1, 1)}), Json::array({entry("5", 1, 1)}),
                               Json::array({entry("6", 1, 0), entry("5", 1, 1)}),
                               Json::array({entry("6", 2, 1)}), Json::array({entry("6", 1, 0)}),
                               Json::array({entry("6", 1, 0), entry("8", 1, 1)}),
                               Json::array({entry("6", 1, 0), entry("8", 1, 1)})}));
  const Json vote = run.exchange.response()["vote"];
  EXPECT_EQ(vote["probes"], (Json{{"answered", 4}, {"tokens", 8}}));
  EXPECT_EQ(vote["ended"], 3);
  EXPECT_EQ(run.exchange.usage()["completion_tokens"], 3);
}

// Provisional ballots stop a confident vote, and never an exact one.
TEST(Exchange, ProvisionalBallotsDecide) {
  for (const bool confident : {false, true}) {
    Talk run(std::string(R"("n": 6, "vote": {"probe_every": 4, "stop_early": ")") +
             (confident ? "confident\"" : "exact\"") + "}");
    for (uint32_t i = 0; i < 6; ++i)
      run.probe(i, "\\boxed{5}");
    EXPECT_EQ(run.exchange.ended(), confident);
    if (!confident)
      continue;
    EXPECT_EQ(run.ended, std::vector<int>{-1});
    const Json response = run.exchange.response();
    EXPECT_EQ(response["vote"]["answer"], "5");
    EXPECT_EQ(response["vote"]["votes"], 4); // (31/32)
    EXPECT_EQ(response["vote"]["tally"][0]["provisional"], 4);
    EXPECT_EQ(response["vote"]["ended"], 0);
    EXPECT_EQ(response["choices"][0]["finish_detail"], "decided");
  }
}

// One failed sample fails the request, in a stream too.
TEST(Exchange, Failure) {
  for (const char *stream : {"true", "false"}) {
    Talk run(std::string(R"("n": 2, "stream": )") + stream);
    run.say(0, "a");
    m1rt::Event event;
    event.sample = 1;
    event.reason = m1rt::FinishReason::failed;
    event.error = "a NaN";
    run.exchange.take(0, event, {});
    ASSERT_TRUE(run.exchange.ended() && run.exchange.error());
    EXPECT_EQ(run.exchange.error()->status, 500);
    if (run.exchange.request.stream) {
      EXPECT_EQ(Json::parse(run.events()[1])["error"]["message"], "a NaN");
      EXPECT_EQ(run.events().back(), "[DONE]");
    }
  }
}

// Buckets of a histogram count everything below their bound.
TEST(Metrics, Histogram) {
  Histogram histogram({1, 2});
  for (double value : {0.5, 1.0, 1.5, 9.0})
    histogram.add(value);
  std::string text;
  histogram.print("t", "times", &text);
  EXPECT_EQ(text, "# HELP t times\n# TYPE t histogram\nt_bucket{le=\"1\"} 2\nt_bucket{le=\"2\"} 3\n"
                  "t_bucket{le=\"+Inf\"} 4\nt_sum 12\nt_count 4\n");
}
