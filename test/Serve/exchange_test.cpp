// Thought and answer, votes, and the events of a stream.
#include "metrics.h"
#include "reasoning.h"
#include "tally.h"
#include <gtest/gtest.h>
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

// The tally equals the vote over all samples, and is decided only when nothing can change it.
TEST(Tally, EqualsTheVote) {
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < 100; ++round) {
    const uint32_t samples = 1 + random() % 12;
    std::vector<std::string> texts;
    for (uint32_t i = 0; i < samples; ++i)
      texts.push_back(random() % 5 == 0 ? "none"
                                        : "so \\boxed{" + std::to_string(random() % 3) + "}");
    std::vector<std::optional<m1rt::Answer>> answers;
    for (const std::string &text : texts)
      answers.push_back(m1rt::extractBoxed(text) ? std::optional<m1rt::Answer>(text)
                                                 : std::nullopt);
    const m1rt::VoteResult vote = m1rt::majorityVote(answers);
    Tally tally(samples);
    std::string decided;
    for (const std::string &text : texts) {
      tally.add(text);
      if (decided.empty() && tally.decided() && tally.json()["answer"].is_string())
        decided = tally.json()["answer"];
    }
    EXPECT_EQ(tally.json()["ended"], samples);
    EXPECT_EQ(tally.json()["votes"], vote.votes);
    if (vote.winner < 0) {
      EXPECT_TRUE(tally.json()["answer"].is_null());
      continue;
    }
    const std::string winner = *m1rt::extractBoxed(texts[size_t(vote.winner)]);
    EXPECT_EQ(tally.json()["answer"], winner);
    if (!decided.empty()) {
      EXPECT_EQ(decided, winner);
    }
  }
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
