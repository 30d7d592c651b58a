#include "evaluation.h"
#include "sampling.h"
#include "vote/vote.h"
#include <chrono>
#include <deque>

using namespace m1rt;

namespace m1tool {

namespace {

uint64_t hashOf(
    // FNV-1a: a problem's samples are the same wherever it stands in the dataset
    const std::string &text) {
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : text)
    h = (h ^ uint8_t(c)) * 0x100000001b3u;
  return h;
}

std::string digestOf(const Problem &problem) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx",
                static_cast<unsigned long long>(hashOf(problem.text + '\0' + problem.answer)));
  return text;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// One problem's state in this run.
struct Course {
  const Problem *problem = nullptr;
  double began = 0, earlier = 0;                      // seconds that earlier runs spent on it
  std::vector<std::pair<uint32_t, uint32_t>> missing; // runs of samples: first, count
  uint32_t open = 0;
};

} // namespace

Status evaluate(const std::vector<Problem> &problems, const EvaluationOptions &options,
                Sampler &sampler, RecordFile &records, const std::function<bool()> &interrupted,
                const std::function<void(const EvaluationProgress &)> &progress,
                bool *outComplete) {
  *outComplete = false;
  EvaluationProgress state;
  state.all = uint64_t(problems.size()) * options.samples;
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
  std::deque<Course> courses;
  for (const Problem &problem : problems) {
    Course course;
    course.problem = &problem;
    course.earlier = earlier.count(problem.id) ? earlier[problem.id] : 0;
    for (uint32_t j = 0; j < options.samples; ++j) {
      if (records.has(problem.id, j)) {
        ++state.done;
        continue;
      }
      if (!course.missing.empty() &&
          course.missing.back().first + course.missing.back().second == j)
        ++course.missing.back().second;
      else
        course.missing.push_back({j, 1});
      ++course.open;
    }
    if (course.open)
      courses.push_back(std::move(course));
  }

  auto record = [&](Course &course, FinishedSample &&sample) -> Status {
    SampleRecord r;
    r.problem = course.problem->id;
    r.digest = digests[r.problem];
    r.sample = sample.sample;
    r.answer = extractBoxed(sample.text);
    r.correct = r.answer && answersEqual(*r.answer, course.problem->answer);
    r.forced = sample.forced;
    r.tokens = sample.tokens;
    r.seconds = course.earlier + now() - course.began;
    r.finish = std::move(sample.finish);
    r.text = std::move(sample.text);
    state.tokens += r.tokens;
    ++state.done;
    --course.open;
    return records.append(std::move(r));
  };

  std::map<uint64_t, size_t> jobs; // to courses
  size_t next = 0, openCourses = 0;
  std::vector<FinishedSample> finished;
  while (next < courses.size() || openCourses) {
    if (interrupted && interrupted()) {
      sampler.cancel();
      return {};
    }
    while (next < courses.size() &&
           (options.oneAtATime ? openCourses == 0 : sampler.waiting() < options.maxWaiting)) {
      Course &course = courses[next];
      course.began = now();
      for (auto [first, count] : course.missing) {
        SampleJob job{course.problem->text, first, count,
                      mixBits(options.seed) + hashOf(course.problem->id), course.earlier};
        uint64_t id = 0;
        Status status = sampler.submit(job, &id);
        if (status.ok()) {
          jobs[id] = next;
          continue;
        }
        std::fprintf(stderr, "m1-eval: warning: problem %s: %s\n", course.problem->id.c_str(),
                     status.message().c_str());
        for (uint32_t j = first; j < first + count; ++j) {
          FinishedSample refused;
          refused.sample = j;
          refused.finish = "refused";
          M1_TRY(record(course, std::move(refused)));
        }
      }
      openCourses += course.open > 0;
      ++next;
    }
    finished.clear();
    M1_TRY(sampler.work(&finished));
    for (FinishedSample &sample : finished) {
      Course &course = courses[jobs.at(sample.job)];
      M1_TRY(record(course, std::move(sample)));
      openCourses -= course.open == 0;
    }
    if (progress)
      progress(state);
  }
  *outComplete = true;
  return {};
}

} // namespace m1tool
