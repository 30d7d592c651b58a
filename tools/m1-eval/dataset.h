// Problems with answers, one JSON object a line: {"id", "problem", "answer"}.
#ifndef M1_TOOLS_EVAL_DATASET_H
#define M1_TOOLS_EVAL_DATASET_H

#include "status.h"
#include <string>
#include <vector>

namespace m1tool {

struct Problem {
  std::string id, text, answer;
};

/// Reads at most `limit` problems (0: all). Errors name file and line: not JSON, a missing field,
/// an id that comes twice.
m1rt::Status readDataset(const std::string &path, size_t limit, std::vector<Problem> *out);

/// m1-eval --grade: one {"equal": bool} line for each {"given", "expected"} line. "given" may be
/// null: no answer.
m1rt::Status gradeFile(const std::string &path);

} // namespace m1tool

#endif
