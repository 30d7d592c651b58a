// m1-eval without a model: datasets, records that survive interruption, statistics, and runs
// through a stand-in sampler.
#include "../../Support/Sanitized.h"
#include "../../Support/TemporaryDirectory.h"
#include "evaluation.h"
#include "html.h"
#include "input.h"
#include "plot.h"
#include "quoted.h"
#include "statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <set>
#include <sys/stat.h>

using namespace m1tool;
using m1rt::Status;
using m1test::TemporaryDirectory;

namespace {

// Blank lines are skipped, answers may be numbers, the limit counts problems.
TEST(Dataset, ReadsLines) {
  TemporaryDirectory folder;
  std::string path = folder.write(
      "d.jsonl", "{\"id\": \"a\", \"problem\": \"1+1?\", \"answer\": 2}\n\n{\"id\": 7, "
                 "\"problem\": \"x\", \"answer\": \"\\\\pi\"}\n");
  std::vector<Problem> problems;
  ASSERT_TRUE(readDataset(path, 0, &problems).ok());
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].answer, "2");
  EXPECT_EQ(problems[1].id, "7");
  EXPECT_EQ(problems[1].answer, "\\pi");
  ASSERT_TRUE(readDataset(path, 1, &problems).ok());
  EXPECT_EQ(problems.size(), 1u);
}

// A bad line is an error with file and line.
TEST(Dataset, ErrorsNameTheLine) {
  TemporaryDirectory folder;
  const std::string good = "{\"id\": \"a\", \"problem\": \"p\", \"answer\": \"1\"}\n";
  const std::pair<std::string, std::string> cases[] = {
      {good + "{\"id\": ",
       ":2: not a JSON object: column 8: syntax error while parsing value - unexpected end of "
       "input; expected '[', '{', or a literal"},
      {good + "[1]\n", ":2: not a JSON object"},
      {good + "{\"id\": \"b\", \"answer\": \"1\"}\n", ":2: no field \"problem\""},
      {"\n{\"id\": \"b\", \"problem\": 5, \"answer\": \"1\"}",
       ":2: field \"problem\" is not a string"},
      {good + good, ":2: id \"a\" was already on line 1"},
      {"", ": no problems"},
      {"hello\n",
       ":1: neither JSON nor CSV whose first line names the field \"problem\" (it holds: "
       "hello); --question-field names it"},
      {"problem,answer,problem\n", ":1: names the field \"problem\" 2 times"},
      {"problem,answer\na,\xE9\n", ":2: not valid UTF-8 at byte 17 of the file"}};
  std::vector<Problem> problems;
  for (const auto &[text, message] : cases) {
    Status status = readDataset(folder.write("d.jsonl", text), 0, &problems);
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(status.message(), folder.path + "/d.jsonl" + message);
  }
  EXPECT_EQ(readDataset(folder.path + "/none", 0, &problems).message(),
            folder.path + "/none: cannot read: No such file or directory");
  EXPECT_EQ(readDataset(folder.path, 0, &problems).message(),
            folder.path + ": cannot read: Is a directory");
}

// JSON arrays and CSV (quotes, doubled quotes, line breaks, a byte order mark, CRLF) hold the same
// problems as lines do; fields have the names that are given.
TEST(Dataset, Formats) {
  TemporaryDirectory folder;
  const DatasetFields fields{"question", "key"};
  const std::string files[] = {
      folder.write("a.jsonl",
                   "{\"id\": \"x\", \"question\": \"say \\\"1, 2\\\"\\nnow\", \"key\": \"7\"}\n"
                   "{\"id\": \"y\", \"question\": \"two\", \"key\": \"\"}\n"),
      folder.write("b.json",
                   " [{\"id\": \"x\", \"question\": \"say \\\"1, 2\\\"\\nnow\", \"key\": 7},\n"
                   "{\"id\": \"y\", \"question\": \"two\", \"key\": \"\"}]"),
      folder.write("c.csv", "\xEF\xBB\xBFid,question,key\r\nx,\"say \"\"1, 2\"\"\nnow\",7\r\n\r\n"
                            "y,two,\r\n")};
  for (const std::string &path : files) {
    std::vector<Problem> problems;
    Status status = readDataset(path, 0, &problems, fields);
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_EQ(problems.size(), 2u);
    EXPECT_EQ(problems[0].id, "x");
    EXPECT_EQ(problems[0].text, "say \"1, 2\"\nnow");
    EXPECT_EQ(problems[0].answer, "7");
    EXPECT_EQ(problems[1].id, "y");
    EXPECT_EQ(problems[1].answer, "");
  }
  const std::pair<std::string, std::string> bad[] = {
      {"[{\"question\": \"q\", \"key\": \"1\"}, 5]", ": element 1: not a JSON object"},
      {"[{", ": begins with [ but is no JSON array: parse error at line 1, column 3: syntax error "
             "while parsing object key - unexpected end of input; expected string literal"},
      {"question,key\na,1\nb\n", ":3: 1 fields, the first line names 2"},
      {"question,key\n\"a,1\n", ":2: a quote is not closed"},
      {"{\"problem\": \"q\", \"key\": \"1\"}",
       ":1: no field \"question\" (there are: key, problem); --question-field names it"}};
  for (const auto &[text, message] : bad) {
    std::vector<Problem> problems;
    EXPECT_EQ(readDataset(folder.write("d", text), 0, &problems, fields).message(),
              folder.path + "/d" + message);
  }
}

// A problem without an id gets one that depends on its text alone; the same text twice gets two.
// The answer of a worked solution stands behind ####.
TEST(Dataset, MissingIdsAndFinalAnswers) {
  TemporaryDirectory folder;
  const std::string a = "{\"problem\": \"a\", \"answer\": \"1 + 1 = 2\\n#### 2 \"}\n",
                    b = "{\"problem\": \"b\", \"answer\": \"5\", \"solution\": \"so 5\"}\n";
  std::vector<Problem> forward, backward;
  ASSERT_TRUE(readDataset(folder.write("f", a + b + a), 0, &forward).ok());
  ASSERT_TRUE(readDataset(folder.write("b", b + a), 0, &backward).ok());
  EXPECT_EQ(forward[0].id, backward[1].id);
  EXPECT_EQ(forward[1].id, backward[0].id);
  EXPECT_NE(forward[0].id, forward[1].id);
  EXPECT_EQ(forward[2].id, forward[0].id + "-2");
  EXPECT_EQ(forward[0].answer, "2");
  EXPECT_EQ(forward[0].solution, "1 + 1 = 2\n#### 2 ");
  EXPECT_EQ(forward[1].answer, "5");
  EXPECT_EQ(forward[1].solution, "so 5");
}

// \n is a line break, and LaTeX needs no care.
TEST(Input, EscapesInFlags) {
  EXPECT_EQ(m1tool::unescaped("\\n\\n\\boxed{"), "\n\n\\boxed{");
  EXPECT_EQ(m1tool::unescaped("\\\\neq \\frac \\"), "\\neq \\frac \\");
  EXPECT_EQ(m1tool::unescaped(""), "");
}

SampleRecord record(const std::string &problem, uint32_t sample, std::optional<std::string> answer,
                    bool correct, double seconds = 1) {
  SampleRecord r;
  r.problem = problem;
  r.sample = sample;
  r.answer = std::move(answer);
  r.correct = correct;
  r.tokens = 10;
  r.seconds = seconds;
  r.finish = "stop_token";
  r.text = "text \"with\" everything \n\xC3\xA9\x01";
  return r;
}

// Strings written in place are those of the JSON library, whatever they hold.
TEST(Records, QuoteLikeTheLibrary) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 12, ' '), quoted = "x";
    const unsigned most = round % 4 ? 0x80 : 0x100; // mostly ASCII
    for (char &c : text)
      c = char(random() % (random() % 2 ? most : 0x24));
    appendQuoted(text, &quoted);
    EXPECT_EQ(quoted, "x" + dumped(text));
  }
}

// Records come back as written; a last line that a kill cut off disappears, and writing goes on
// behind the whole ones.
TEST(Records, SurviveACutOffLine) {
  TemporaryDirectory folder;
  std::string path = folder.path + "/out/samples.jsonl";
  {
    RecordFile file;
    ASSERT_TRUE(file.open(folder.path + "/out", {{"seed", "1"}}).ok());
    SampleRecord spoken = record("a", 0, "5", true);
    spoken.said.resize(9);
    file.append(std::move(spoken));
    file.append(record("a", 1, std::nullopt, false));
    EXPECT_EQ(file.records().size(), 2u) << "counts before it is written";
    ASSERT_TRUE(file.flush().ok());
    EXPECT_EQ(file.records()[0].said.capacity(), 0u) << "written tokens keep their memory";
    RecordFile second;
    EXPECT_NE(second.open(folder.path + "/out", {{"seed", "1"}})
                  .message()
                  .find("another m1-eval is writing there"),
              std::string::npos);
  }
  uintmax_t whole = std::filesystem::file_size(path);
  for (uintmax_t cut = whole - 1; cut > whole / 2 + 5; cut -= 7) {
    std::filesystem::resize_file(path, cut);
    RecordFile file;
    ASSERT_TRUE(file.open(folder.path + "/out", {{"seed", "1"}}).ok());
    ASSERT_EQ(file.records().size(), 1u);
    EXPECT_TRUE(file.has("a", 0));
    EXPECT_FALSE(file.has("a", 1));
    EXPECT_EQ(file.records()[0].text, record("", 0, "", true).text);
    file.append(record("a", 1, std::nullopt, false));
    ASSERT_TRUE(file.flush().ok());
  }
  {
    RecordFile other;
    Status status = other.open(folder.path + "/out", {{"seed", "2"}});
    EXPECT_NE(status.message().find("seed = \"1\", not \"2\""), std::string::npos)
        << status.message();
  }
}

// A record is what it says, or an error that names its field: no number wraps, and no answer of
// another type passes for none. Nor is what a directory holds waited for, or passed over.
TEST(Records, AreCheckedByField) {
  TemporaryDirectory folder;
  const std::string path = folder.path + "/out/samples.jsonl";
  auto message = [&] {
    RecordFile file;
    return file.open(folder.path + "/out", {{"seed", "1"}}).message();
  };
  ASSERT_EQ(message(), "");
  const std::string rest = R"("problem": "a", "correct": true, "seconds": 1, "finish": "end",)";
  const std::pair<std::string, std::string> cases[] = {
      {"{}", "field \"problem\": expected a string"},
      {"5", "not a JSON object"},
      {"{" + rest + R"("sample": 4294967296, "tokens": 1, "text": ""})",
       "field \"sample\": expected an integer from 0 to 4294967295"},
      {"{" + rest + R"("sample": 0, "tokens": -1, "text": ""})",
       "field \"tokens\": expected an integer from 0 to 4294967295"},
      {"{" + rest + R"("sample": 0, "tokens": 1, "text": "", "answer": 5})",
       "field \"answer\": expected a string"},
      {"{" + rest + R"("sample": 0, "tokens": 1, "text": "", "forced": 1})",
       "field \"forced\": expected true or false"},
      {"{" + rest + R"("sample": 0, "tokens": 1, "text": "", "confidence": -1})",
       "field \"confidence\": expected a number of at least 0"}};
  for (const auto &[line, problem] : cases) {
    std::ofstream(path, std::ios::trunc) << line << "\n";
    EXPECT_EQ(message(), path + ":1: " + problem);
  }
  std::ofstream(path, std::ios::trunc)
      << "{" + rest + R"("sample": 0, "tokens": 1, "text": ""})" << "\n";
  ASSERT_EQ(message(), "");
  const std::string other = folder.path + "/out/samples.7.jsonl";
  const std::pair<std::function<void()>, std::string> files[] = {
      {[&] { ASSERT_EQ(::mkfifo(other.c_str(), 0600), 0); }, ": is a pipe, expected a file"},
      {[&] { std::filesystem::create_directory(other); }, ": cannot read: Is a directory"},
      {[&] { std::filesystem::create_symlink("/dev/zero", other); },
       ": is a device, expected a file"},
      {[&] { std::filesystem::create_symlink("none", other); },
       ": cannot read: No such file or directory"}};
  for (const auto &[make, problem] : files) {
    make();
    EXPECT_EQ(message(), other + problem);
    std::filesystem::remove(other);
  }
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(message(), path + ": expected a file, to which samples are added");
}

Summary summarizeAll(const std::vector<std::vector<SampleRecord>> &problems, uint32_t wanted) {
  std::vector<ProblemSamples> all;
  for (const auto &problem : problems) {
    all.emplace_back();
    for (const SampleRecord &r : problem)
      all.back().samples.push_back(&r);
  }
  SummaryOptions options;
  options.samples = wanted;
  return summarize(all, options);
}

// A case that can be worked out by hand: pass@1, majority with a tie to the earlier answer,
// coverage, and the curve over time.
TEST(Statistics, WorkedExample) {
  Summary s =
      summarizeAll({{record("a", 0, "1", true, 1), record("a", 1, "2", false, 2),
                     record("a", 2, "\\frac{2}{2}", true, 3), record("a", 3, "2", false, 4)},
                    {record("b", 0, "9", false, 1), record("b", 1, "8", true, 2),
                     record("b", 2, "8.0", true, 3), record("b", 3, std::nullopt, false, 8)}},
                   4);
  EXPECT_EQ(s.problems, 2u);
  EXPECT_EQ(s.samples, 8u);
  EXPECT_EQ(s.answered, 7u);
  EXPECT_EQ(s.tokens, 80u);
  EXPECT_DOUBLE_EQ(s.passAt1.mean, 0.5);
  ASSERT_EQ(s.overSamples.size(), 3u); // k = 1, 2, 4
  EXPECT_DOUBLE_EQ(s.overSamples[0].majority, 0.5);
  EXPECT_DOUBLE_EQ(s.overSamples[0].coverage, 0.5);
  // of six pairs of samples, a wins four and b three
  EXPECT_DOUBLE_EQ(s.overSamples[1].majority, 7.0 / 12);
  EXPECT_DOUBLE_EQ(s.overSamples[1].coverage, 1 - 1.0 / 6);
  EXPECT_DOUBLE_EQ(s.overSamples[2].majority, 1); // a: 1 ties 2 and came first; b: 8
  EXPECT_DOUBLE_EQ(s.overSamples[2].coverage, 1);
  EXPECT_DOUBLE_EQ(s.overSeconds.back().x, 8);
  EXPECT_DOUBLE_EQ(s.overSeconds.back().majority, 1);
  EXPECT_DOUBLE_EQ(s.overSeconds[7].majority, 0.5); // after one second: a right, b wrong
  EXPECT_DOUBLE_EQ(s.overSeconds[6].majority, 0);   // before: nothing
  std::string svg = drawCurves(s, "a < b");
  EXPECT_NE(svg.find("<svg"), std::string::npos);
  EXPECT_NE(svg.find("a &lt; b"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

// maj@k and coverage@k are the means over all subsets of k samples.
TEST(Statistics, EqualsBruteForce) {
  std::mt19937 random(2);
  for (int round = 0; round < 40; ++round) {
    std::vector<SampleRecord> samples;
    const uint32_t n = 1 + random() % 9, right = random() % 4;
    for (uint32_t j = 0; j < n; ++j) {
      uint32_t answer = random() % 5;
      bool none = answer == 4;
      samples.push_back(record("p", j, none ? std::nullopt : std::optional(std::to_string(answer)),
                               !none && answer == right));
    }
    Summary s = summarizeAll({samples}, n);
    for (const CurvePoint &point : s.overSamples) {
      uint32_t k = uint32_t(point.x), subsets = 0, majority = 0, covered = 0;
      for (uint32_t set = 0; set < 1u << n; ++set) {
        if (uint32_t(__builtin_popcount(set)) != k)
          continue;
        ++subsets;
        int votes[4] = {}, best = -1;
        for (uint32_t j = 0; j < n; ++j)
          if ((set >> j & 1) && samples[j].answer)
            ++votes[std::stoi(*samples[j].answer)];
        for (uint32_t j = 0; j < n; ++j)
          if ((set >> j & 1) && samples[j].answer) {
            int a = std::stoi(*samples[j].answer);
            best = best < 0 || votes[a] > votes[best] ? a : best;
          }
        majority += best == int(right);
        covered += votes[right] > 0;
      }
      EXPECT_NEAR(point.majority, double(majority) / subsets, 1e-12)
          << "n = " << n << ", k = " << k;
      EXPECT_NEAR(point.coverage, double(covered) / subsets, 1e-12) << "n = " << n << ", k = " << k;
    }
  }
}

// The interval is Wilson's, narrows with more problems, and covers the true rate in about 95 of 100
// simulated evaluations.
TEST(Statistics, IntervalCoversTheTruth) {
  Interval w = wilson(0.5, 100);
  EXPECT_NEAR(w.low, 0.4038, 1e-4);
  EXPECT_NEAR(w.high, 0.5962, 1e-4);
  EXPECT_NEAR(wilson(0, 10).high, 0.2775, 1e-4);
  uint64_t state = 1;
  auto uniform = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return double(state >> 40) / double(1 << 24);
  };
  int covered = 0;
  constexpr int rounds = m1test::repeated(400, 40);
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::vector<SampleRecord>> problems;
    for (int p = 0; p < 40; ++p) {
      double difficulty = uniform(); // the mean rate is 0.5
      problems.emplace_back();
      for (uint32_t j = 0; j < 4; ++j)
        problems.back().push_back(record("p", j, "1", uniform() < difficulty));
    }
    Interval i = summarizeAll(problems, 1).passAt1;
    covered += i.low <= 0.5 && 0.5 <= i.high;
  }
  EXPECT_GT(covered, rounds * m1test::repeated(0.92, 0.8));
  EXPECT_LT(covered, rounds * m1test::repeated(0.985, 1.1));
}

// Nothing, one sample, and only unanswered samples give numbers, not faults.
TEST(Statistics, SmallCases) {
  EXPECT_EQ(summarizeAll({}, 4).problems, 0u);
  EXPECT_EQ(summarizeAll({{}}, 4).problems, 0u);
  Summary s = summarizeAll({{record("a", 0, std::nullopt, false)}}, 8);
  EXPECT_DOUBLE_EQ(s.passAt1.mean, 0);
  EXPECT_EQ(s.overSamples.size(), 1u); // one of eight samples has ended: there is no larger k
  EXPECT_DOUBLE_EQ(s.overSamples.back().majority, 0);
  EXPECT_EQ(drawCurves(s, "").find("nan"), std::string::npos);
}

// Samples that a time budget dropped before their first token are counted as dropped, and do not
// lower any rate.
TEST(Statistics, SamplesThatNeverBegan) {
  std::vector<SampleRecord> samples = {record("a", 0, "1", true), record("a", 1, "2", false),
                                       record("a", 2, std::nullopt, false),
                                       record("a", 3, std::nullopt, false)};
  samples[2].finish = samples[3].finish = "dropped"; // one in the middle, one before it began
  samples[3].tokens = 0;
  Summary s = summarizeAll({samples}, 4);
  EXPECT_EQ(s.samples, 4u);
  EXPECT_EQ(s.dropped, 2u);
  EXPECT_EQ(s.refused, 0u);
  EXPECT_DOUBLE_EQ(s.passAt1.mean, 1.0 / 3);
  EXPECT_DOUBLE_EQ(s.overSamples[0].coverage, 1.0 / 3);
  ASSERT_EQ(s.overSamples.size(), 2u); // two of the four have ended
  EXPECT_DOUBLE_EQ(s.endedPerProblem, 2);
  EXPECT_DOUBLE_EQ(s.vote.mean, 1);
  samples = {samples[3]};
  samples[0].finish = "refused";
  EXPECT_EQ(summarizeAll({samples}, 4).refused, 1u);
  samples[0].finish = "dropped";
  EXPECT_DOUBLE_EQ(summarizeAll({samples}, 4).passAt1.mean, 0);
}

// Samples that their token limit cut are counted, with the reason why they cast no ballot; those
// that a decided vote did not need change no rate.
TEST(Statistics, CutAndUnneededSamples) {
  std::vector<SampleRecord> samples;
  for (uint32_t j = 0; j < 5; ++j)
    samples.push_back(record("a", j, std::nullopt, false));
  for (uint32_t j : {0, 1}) {
    samples[j].finish = "length";
    samples[j].silence = "cut";
  }
  samples[2].silence = "open_box";
  samples[3] = record("a", 3, "1", true);
  samples[4].finish = samples[4].silence = "not_needed";
  Summary s = summarizeAll({samples}, 5);
  EXPECT_EQ(s.length, 2u);
  EXPECT_EQ(s.notNeeded, 1u);
  EXPECT_EQ(s.silent, (std::map<std::string, size_t>{{"cut", 2}, {"open_box", 1}}));
  EXPECT_DOUBLE_EQ(s.passAt1.mean, 0.25);
  EXPECT_DOUBLE_EQ(s.vote.mean, 1);
}

// With weights a confident minority can win.
TEST(Statistics, WeightedVotes) {
  std::vector<SampleRecord> samples = {record("a", 0, "1", false), record("a", 1, "1", false),
                                       record("a", 2, "2", true)};
  samples[0].confidence = samples[1].confidence = 0.3;
  samples[2].confidence = 0.9;
  std::vector<ProblemSamples> all(1);
  for (const SampleRecord &r : samples)
    all[0].samples.push_back(&r);
  SummaryOptions options;
  options.samples = 3;
  EXPECT_DOUBLE_EQ(summarize(all, options).vote.mean, 0);
  options.byConfidence = true;
  EXPECT_DOUBLE_EQ(summarize(all, options).vote.mean, 1);
  EXPECT_DOUBLE_EQ(summarize(all, options).overSamples.back().majority, 1);
}

// The page holds every problem and sample, and no text of theirs becomes markup.
TEST(Report, EscapesWhatItShows) {
  const std::vector<Problem> problems = {{"p<1>", "is 1 < 2 & \"3\"?", "<b>"}};
  const SampleRecord r = record("p<1>", 0, "<i>", false);
  const std::string page =
      htmlReport("t & t", {{"pass@1", "<5"}}, "<svg/>", problems, {{{&r}}}, false);
  EXPECT_NE(page.find("is 1 &lt; 2 &amp; &quot;3&quot;?"), std::string::npos);
  EXPECT_NE(page.find("expected &lt;b&gt; — p&lt;1&gt;"), std::string::npos);
  EXPECT_NE(page.find("sample 0: &lt;i&gt;"), std::string::npos);
  EXPECT_NE(page.find("<svg/>"), std::string::npos);
  EXPECT_EQ(page.find("<i>"), std::string::npos);
}

// Ends samples out of order, a few at a time; the answer depends on seed and sample alone. Problems
// named "long" are refused.
class StandInSampler final : public Sampler {
public:
  Status submit(const SampleJob &job, uint64_t *outJob) override {
    if (job.problem == "long")
      return m1rt::error(m1rt::StatusCode::invalidArgument, "prompt longer than the context");
    *outJob = ++jobs;
    ++together.back();
    elapsed = job.elapsed;
    mostAtOnce = std::max(mostAtOnce, job.atOnce);
    for (uint32_t j = 0; j < job.count; ++j) {
      FinishedSample s;
      s.job = jobs;
      s.sample = job.first + j;
      s.result.text = "\\boxed{" + std::to_string((job.seed + s.sample) % kinds) + "}";
      s.result.reason = m1rt::FinishReason::stopToken;
      s.result.tokens.resize(5);
      queue.push_back(s);
    }
    mostQueued = std::max(mostQueued, queue.size());
    return {};
  }
  Status work(std::vector<FinishedSample> *out) override {
    if (together.back())
      together.push_back(0);
    for (int n = 0; n < 3 && !queue.empty(); ++n) {
      size_t i = (queue.size() * 7 + 3) % queue.size();
      out->push_back(queue[i]);
      queue.erase(queue.begin() + std::ptrdiff_t(i));
    }
    return {};
  }
  uint32_t waiting() const override { return uint32_t(queue.size()); }
  void cancelJob(uint64_t job) override {
    for (FinishedSample &s : queue)
      if (s.job == job) {
        s.result = {};
        s.result.reason = m1rt::FinishReason::cancelled;
      }
  }
  void cancel() override { queue.clear(); }
  uint32_t kinds = 3, mostAtOnce = 0;
  size_t mostQueued = 0;
  double elapsed = 0;
  std::vector<size_t> together = {0}; // jobs between two calls of work(), where there were some

private:
  uint64_t jobs = 0;
  std::vector<FinishedSample> queue;
};

std::vector<Problem> problems(size_t count) {
  std::vector<Problem> out;
  for (size_t i = 0; i < count; ++i)
    out.push_back({"p" + std::to_string(i), i == 3 ? "long" : "text", "1"});
  return out;
}

std::set<std::string> linesOf(const RecordFile &file) {
  std::set<std::string> out;
  for (const SampleRecord &r : file.records())
    out.insert(r.problem + "/" + std::to_string(r.sample) + ":" + r.answer.value_or("-") +
               (r.correct ? "+" : "") + r.finish);
  return out;
}

// A run interrupted again and again records exactly what one whole run does; a refused problem is
// recorded and harms no other; problems are queued only as places come free.
TEST(Evaluation, InterruptedEqualsWhole) {
  TemporaryDirectory folder;
  EvaluationOptions options;
  options.samples = 10;
  options.seed = 42;
  RecordFile whole;
  ASSERT_TRUE(whole.open(folder.path + "/whole", {}).ok());
  StandInSampler sampler;
  bool complete = false;
  uint64_t done = 0;
  ASSERT_TRUE(evaluate(
                  problems(8), options, sampler, whole, [] { return false; },
                  [&](const EvaluationProgress &p) { done = p.done; }, &complete)
                  .ok());
  EXPECT_TRUE(complete);
  EXPECT_EQ(done, 80u);
  EXPECT_EQ(whole.records().size(), 80u);
  EXPECT_LT(sampler.mostQueued, options.maxWaiting + 2 * options.samples);
  int runs = 0;
  for (complete = false; !complete; ++runs) {
    ASSERT_LT(runs, 100);
    RecordFile parts;
    ASSERT_TRUE(parts.open(folder.path + "/parts", {}).ok());
    StandInSampler again;
    int steps = 0;
    ASSERT_TRUE(evaluate(
                    problems(8), options, again, parts, [&] { return ++steps > 3; }, {}, &complete)
                    .ok());
  }
  EXPECT_GT(runs, 3);
  RecordFile parts;
  ASSERT_TRUE(parts.open(folder.path + "/parts", {}).ok());
  EXPECT_EQ(linesOf(parts), linesOf(whole));
  // More samples later: only the new ones are drawn.
  options.samples = 12;
  StandInSampler more;
  ASSERT_TRUE(evaluate(problems(8), options, more, parts, {}, {}, &complete).ok());
  EXPECT_EQ(parts.records().size(), 96u);
}

// Another problem under an id that has samples is refused, not mixed in; what earlier runs used of
// a time budget is told to the sampler.
TEST(Evaluation, KnowsItsProblems) {
  TemporaryDirectory folder;
  EvaluationOptions options;
  RecordFile file;
  ASSERT_TRUE(file.open(folder.path + "/a/b", {}).ok()); // parents too
  StandInSampler sampler;
  bool complete = false;
  ASSERT_TRUE(evaluate({{"p", "1 + 1", "2"}}, options, sampler, file, {}, {}, &complete).ok());
  for (const Problem &other : {Problem{"p", "1 + 2", "2"}, Problem{"p", "1 + 1", "3"}}) {
    Status status = evaluate({other}, options, sampler, file, {}, {}, &complete);
    EXPECT_EQ(status.message(),
              "the samples there of problem p are of another text or answer; choose another --out");
  }
  options.samples = 2;
  ASSERT_TRUE(evaluate({{"p", "1 + 1", "2"}}, options, sampler, file, {}, {}, &complete).ok());
  EXPECT_EQ(sampler.elapsed, file.records()[0].seconds);
}

// A vote that stops ends its other samples, which are recorded as not needed; its winner is that of
// all samples, and a run that goes on does not draw what was not needed.
TEST(Evaluation, VotesStop) {
  TemporaryDirectory folder;
  EvaluationOptions options;
  options.samples = 12;
  options.stop.kind = m1rt::StopRule::Kind::exact;
  options.ballotsAtOnce = 2;
  options.openProblems = 3;
  RecordFile file;
  ASSERT_TRUE(file.open(folder.path + "/out", {}).ok());
  StandInSampler sampler;
  sampler.kinds = 1; // all agree: seven of twelve decide
  bool complete = false;
  ASSERT_TRUE(evaluate(problems(3), options, sampler, file, {}, {}, &complete).ok());
  EXPECT_EQ(sampler.mostAtOnce, 2u);
  EXPECT_EQ(sampler.mostQueued, 36u);
  std::map<std::string, size_t> ends;
  for (const SampleRecord &r : file.records())
    ++ends[r.finish];
  EXPECT_EQ(file.records().size(), 36u);
  EXPECT_GE(ends["stop_token"], 21u);
  EXPECT_LE(ends["stop_token"], 27u);
  EXPECT_EQ(ends["stop_token"] + ends["not_needed"], 36u);
  StandInSampler none;
  ASSERT_TRUE(evaluate(problems(3), options, none, file, {}, {}, &complete).ok());
  EXPECT_EQ(none.mostQueued, 0u);
}

// Problems whose votes stop begin several at a time, so that their prompts share a step.
TEST(Evaluation, ProblemsBeginTogether) {
  TemporaryDirectory folder;
  EvaluationOptions options;
  options.samples = 4;
  options.stop.kind = m1rt::StopRule::Kind::exact;
  options.ballotsAtOnce = 2;
  options.openProblems = 5;
  options.begunTogether = 3;
  RecordFile file;
  ASSERT_TRUE(file.open(folder.path + "/out", {}).ok());
  StandInSampler sampler;
  bool complete = false;
  ASSERT_TRUE(evaluate(problems(18), options, sampler, file, {}, {}, &complete).ok());
  EXPECT_TRUE(complete);
  ASSERT_GT(sampler.together.size(), 3u);
  EXPECT_EQ(sampler.together[0], 5u);
  for (size_t i = 1; i + 2 < sampler.together.size(); ++i)
    EXPECT_GE(sampler.together[i], 3u);
}

// With a time budget problems run one after another.
TEST(Evaluation, OneProblemAtATime) {
  TemporaryDirectory folder;
  EvaluationOptions options;
  options.samples = 10;
  options.oneAtATime = true;
  RecordFile file;
  ASSERT_TRUE(file.open(folder.path + "/out", {}).ok());
  StandInSampler sampler;
  bool complete = false;
  ASSERT_TRUE(evaluate(problems(6), options, sampler, file, {}, {}, &complete).ok());
  EXPECT_TRUE(complete);
  EXPECT_EQ(sampler.mostQueued, 10u);
}

} // namespace
