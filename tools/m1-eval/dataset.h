// Problems with answers: JSON lines, a JSON array of objects, or CSV with a line of names.
#ifndef M1_TOOLS_EVAL_DATASET_H
#define M1_TOOLS_EVAL_DATASET_H

#include "status.h"
#include <string>
#include <vector>

namespace m1tool {

struct Problem {
  std::string id, text;
  std::string answer;        // behind the last "####", where the field holds one (GSM8K)
  std::string solution = {}; // as an example shows it: the field "solution", or the whole answer
};

struct DatasetFields {
  std::string question = "problem", answer = "answer";
};

/// Reads at most `limit` problems (0: all); "-" is standard input. A problem without a field "id"
/// gets one made of its text, so that its samples do not depend on its place. Errors name file and
/// line or element: not JSON, a missing field, an id that comes twice.
m1rt::Status readDataset(const std::string &path, size_t limit, std::vector<Problem> *out,
                         const DatasetFields &fields = {});

/// m1-eval --grade: one {"equal": bool} line for each {"given", "expected"} line. "given" may be
/// null: no answer.
m1rt::Status gradeFile(const std::string &path);

/// FNV-1a.
uint64_t hashOf(const std::string &text);

} // namespace m1tool

#endif
