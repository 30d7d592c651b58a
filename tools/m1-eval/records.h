// The samples of an evaluation on disk: one JSON object a line, appended as each sample finishes,
// so that a run that was killed at any moment goes on where it stopped, with nothing lost or done
// twice.
#ifndef M1_TOOLS_EVAL_RECORDS_H
#define M1_TOOLS_EVAL_RECORDS_H

#include "samples.h"
#include "sampling.h"
#include "status.h"
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace m1tool {

struct SampleRecord {
  std::string problem;
  std::string digest; // of the problem's text and answer; empty in files of older versions
  uint32_t sample = 0;
  std::optional<std::string> answer; // that it votes for
  // What the last probe of a sample said that was ended before it could answer, by the deadline or
  // because its vote was decided.
  std::optional<std::string> provisional;
  bool provisionalCorrect = false;
  std::vector<ProbeResult> probes; // only until it is written
  std::string silence;             // why it votes for none; see silenceOf()
  bool correct = false;
  bool forced = false;   // closed by force
  double confidence = 1; // see confidenceOf(); 1 without log probabilities
  uint64_t tokens = 0;
  double seconds = 0; // from the start of its problem, over all runs
  // why it ended; "refused" when the request could not run, "not_needed" when its vote was decided
  std::string finish;
  std::string text;
  std::vector<m1rt::SampledToken> said; // only until it is written
};

/// What a record holds beside what an evaluation needs.
struct RecordDetail {
  bool tokens = false;   // "token_ids"
  bool logprobs = false; // "logprobs", with as many alternatives as were sampled
};

class RecordFile {
public:
  RecordFile() = default;
  ~RecordFile();
  RecordFile(const RecordFile &) = delete;
  RecordFile &operator=(const RecordFile &) = delete;

  /// Opens DIR/samples.jsonl, or of a rank but 0 DIR/samples.RANK.jsonl, creating both, and locks
  /// it against a second run. A last line that was cut off is removed. The records of all ranks are
  /// read. `settings` is what the samples depend on: a directory of other settings is refused,
  /// naming the first that differs.
  m1rt::Status open(const std::string &directory,
                    const std::vector<std::pair<std::string, std::string>> &settings,
                    const RecordDetail &detail = {}, uint32_t rank = 0);
  /// Reads what other ranks have recorded since.
  m1rt::Status readOthers();
  /// Every complete record, each file's in the order in which they were written; the first of equal
  /// (problem, sample).
  const std::vector<SampleRecord> &records() const { return all; }
  /// Null when it is not there; valid until the next append().
  const SampleRecord *find(const std::string &problem, uint32_t sample) const {
    auto it = index.find({problem, sample});
    return it == index.end() ? nullptr : &all[it->second];
  }
  bool has(const std::string &problem, uint32_t sample) const { return find(problem, sample); }
  /// The record counts at once, and is in the file after the next flush().
  void append(SampleRecord record);
  m1rt::Status flush();

private:
  void keep(SampleRecord record);
  m1rt::Status read(const std::string &path, size_t *outEnd);
  std::string directory, path;
  RecordDetail detail;
  int file = -1;
  std::string unwritten; // lines
  std::vector<SampleRecord> all;
  std::map<std::pair<std::string, uint32_t>, size_t> index;
};

} // namespace m1tool

#endif
