#include "evaluation.h"
#include "printable.h"
#include "sampling.h"
#include "vote/vote.h"
#include <algorithm>
#include <chrono>
#include <deque>
#include <map>

using namespace m1rt;

namespace m1tool {

namespace {

std::string digestOf(const Problem &problem) {
  return formatted("%016llx",
                   static_cast<unsigned long long>(hashOf(problem.text + '\0' + problem.answer)));
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// One problem's state in this run.
struct Course {
  Course(const Problem &problem, double earlier, const EvaluationOptions &options)
      : problem(&problem), digest(digestOf(problem)), earlier(earlier),
        ballots(options.samples, options.stop) {}

  const Problem *problem;
  std::string digest;
  double began = 0, earlier = 0;                      // seconds that earlier runs spent on it
  std::vector<std::pair<uint32_t, uint32_t>> missing; // runs of samples: first, count
  std::vector<uint64_t> jobs;
  uint32_t open = 0;
  Ballots ballots;
  bool decided = false;
  std::map<std::string, bool> graded; // answers that were given, and whether they are right

  bool isRight(const std::string &answer) {
    const auto [it, isNew] = graded.try_emplace(answer, false);
    if (isNew)
      it->second = answersEqual(answer, problem->answer);
    return it->second;
  }
};

class Evaluation {
public:
  Evaluation(const std::vector<Problem> &problems, const EvaluationOptions &options,
             Sampler &sampler, RecordFile &records)
      : problems(problems), options(options), sampler(sampler), records(records) {
    state.all = uint64_t(problems.size()) * options.samples;
  }

  Status prepare();
  Status run(const std::function<bool()> &interrupted,
             const std::function<void(const EvaluationProgress &)> &progress, bool *outComplete);

private:
  void addCourse(const Problem &problem, double earlier);
  bool mayBegin();
  bool drawNext();
  void begin(Course &course);
  void record(Course &course, FinishedSample &&sample);

  const std::vector<Problem> &problems;
  const EvaluationOptions &options;
  Sampler &sampler;
  RecordFile &records;
  std::deque<Course> courses;          // of the problems in order
  std::map<uint64_t, size_t> courseOf; // by job
  EvaluationProgress state;
  size_t next = 0, inOrder = 0, openCourses = 0; // `next`: drawn last
  bool exhausted = false;
  bool filling = true; // problems are begun until openProblems are open
};

/// Finds out what is missing.
Status Evaluation::prepare() {
  std::map<std::string, double> earlier;
  std::map<std::string, std::string> digests;
  for (const Problem &problem : problems)
    digests[problem.id] = digestOf(problem);
  for (const SampleRecord &r : records.records()) {
    earlier[r.problem] = std::max(earlier[r.problem], r.seconds);
    auto it = digests.find(r.problem);
    if (it != digests.end() && !r.digest.empty() && r.digest != it->second)
      return error(
          StatusCode::invalidArgument,
          "the samples there of problem %s are of another text or answer; choose another --out",
          r.problem.c_str());
  }
  for (const Problem &problem : problems)
    addCourse(problem, earlier.count(problem.id) ? earlier[problem.id] : 0);
  return {};
}

void Evaluation::addCourse(const Problem &problem, double earlier) {
  Course course(problem, earlier, options);
  for (uint32_t j = 0; j < options.samples; ++j) {
    if (const SampleRecord *r = records.find(problem.id, j)) {
      ++state.done;
      if (r->provisional) {
        course.ballots.probe(j, r->provisional);
        course.ballots.addUnfinished(j);
      } else {
        course.ballots.add(j, r->answer, options.weighByConfidence ? r->confidence : 1);
      }
      continue;
    }
    if (!course.missing.empty() && course.missing.back().first + course.missing.back().second == j)
      ++course.missing.back().second;
    else
      course.missing.push_back({j, 1});
    ++course.open;
  }
  if (course.open && course.ballots.decided()) {
    state.done += course.open;
    course.open = 0;
  }
  courses.push_back(std::move(course));
}

bool Evaluation::mayBegin() {
  if (options.oneAtATime)
    return openCourses == 0;
  if (openCourses >= options.mostOpen)
    return false;
  if (options.stop.kind == StopRule::Kind::off)
    return sampler.waiting() < options.maxWaiting;
  // Several at a time: their prompts are then computed in one step.
  filling =
      openCourses + (filling ? 1 : std::max(1u, options.begunTogether)) <= options.openProblems;
  return filling;
}

/// The next problem that lacks samples; false when there is none left to begin.
bool Evaluation::drawNext() {
  while (!exhausted) {
    next = options.draw ? options.draw() : inOrder++;
    exhausted = next >= courses.size();
    if (!exhausted && courses[next].open)
      return true;
  }
  return false;
}

void Evaluation::begin(Course &course) {
  course.began = now();
  for (auto [first, count] : course.missing) {
    SampleJob job{course.problem->text,
                  first,
                  count,
                  mixBits(options.seed) + hashOf(course.problem->id),
                  course.earlier,
                  options.stop.kind == StopRule::Kind::off ? 0 : options.ballotsAtOnce};
    uint64_t id = 0;
    Status status = sampler.submit(job, &id);
    if (status.ok()) {
      courseOf[id] = next;
      course.jobs.push_back(id);
      continue;
    }
    m1tool::say("m1-eval", "warning", "problem " + course.problem->id + ": " + status.message());
    for (uint32_t j = first; j < first + count; ++j) {
      FinishedSample refused;
      refused.sample = j;
      refused.result.error = status.message();
      record(course, std::move(refused));
    }
  }
  openCourses += course.open > 0;
}

void Evaluation::record(Course &course, FinishedSample &&sample) {
  SampleResult &result = sample.result;
  result.notNeeded = course.decided && result.reason == FinishReason::cancelled;
  SampleRecord r;
  r.problem = course.problem->id;
  r.digest = course.digest;
  r.sample = sample.sample;
  r.answer = ballotOf(result);
  r.correct = r.answer && course.isRight(*r.answer);
  r.silence = r.answer ? "" : silenceOf(result);
  r.forced = result.forced;
  r.confidence = confidenceOf(result);
  r.tokens = result.tokens.size();
  r.seconds = course.earlier + now() - course.began;
  r.finish = !result.ended()    ? "refused"
             : result.notNeeded ? "not_needed"
                                : finishReasonName(result.reason);
  r.text = std::move(result.text);
  r.said = std::move(result.tokens);
  state.tokens += r.tokens;
  ++state.done;
  --course.open;
  r.provisional = provisionalOf(result);
  r.probes = std::move(result.probes);
  for (ProbeResult &probe : r.probes)
    probe.correct = probe.answer && course.isRight(*probe.answer);
  if (r.provisional) {
    r.provisionalCorrect = course.isRight(*r.provisional);
    course.ballots.addUnfinished(r.sample);
  } else {
    course.ballots.add(r.sample, r.answer, options.weighByConfidence ? r.confidence : 1);
  }
  records.append(std::move(r));
}

Status Evaluation::run(const std::function<bool()> &interrupted,
                       const std::function<void(const EvaluationProgress &)> &progress,
                       bool *outComplete) {
  std::vector<FinishedSample> finished;
  while (!exhausted || openCourses) {
    if (interrupted && interrupted()) {
      sampler.cancel();
      return {};
    }
    while (mayBegin() && drawNext())
      begin(courses[next]);
    M1_TRY(records.flush()); // those that were refused
    if (!openCourses)
      continue;
    finished.clear();
    M1_TRY(sampler.work(&finished));
    auto stopIfDecided = [&](Course &course) {
      if (course.decided || course.open == 0 || !course.ballots.decided())
        return;
      course.decided = true;
      for (uint64_t job : course.jobs)
        sampler.cancelJob(job);
    };
    for (FinishedSample &sample : finished) {
      Course &course = courses[courseOf.at(sample.job)];
      record(course, std::move(sample));
      openCourses -= course.open == 0;
      stopIfDecided(course);
    }
    M1_TRY(records.flush());
    for (const ProbedSample &probed : sampler.takeProbes()) {
      Course &course = courses[courseOf.at(probed.job)];
      course.ballots.probe(probed.sample, probed.answer);
      stopIfDecided(course);
    }
    if (progress)
      progress(state);
  }
  *outComplete = true;
  return {};
}

} // namespace

Status evaluate(const std::vector<Problem> &problems, const EvaluationOptions &options,
                Sampler &sampler, RecordFile &records, const std::function<bool()> &interrupted,
                const std::function<void(const EvaluationProgress &)> &progress,
                bool *outComplete) {
  *outComplete = false;
  Evaluation evaluation(problems, options, sampler, records);
  M1_TRY(evaluation.prepare());
  return evaluation.run(interrupted, progress, outComplete);
}

} // namespace m1tool
