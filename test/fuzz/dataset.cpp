// A dataset (JSON lines, a JSON array, CSV): refused, or problems that all have an id of their own.
#include "dataset.h"
#include "fuzz.h"
#include <set>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static fuzz::MemoryFile file;
  file.set(fuzz::text(data, size));
  std::vector<m1tool::Problem> problems;
  const m1rt::Status status = m1tool::readDataset(file.path(), 0, &problems);
  if (!status.ok()) {
    FUZZ_CHECK(!status.message().empty());
    return 0;
  }
  std::set<std::string> ids;
  for (const m1tool::Problem &problem : problems)
    FUZZ_CHECK(ids.insert(problem.id).second);
  return 0;
}
