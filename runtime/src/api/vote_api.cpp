// The C API over answers.
#include "api/handles.h"
#include "m1/vote.h"
#include "vote/vote.h"
#include <cstdlib>
#include <cstring>

using namespace m1rt;

extern "C" {

m1_status *m1_answer_extract(const char *text, char **out_answer) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_answer_extract", {{"text", text}, {"out_answer", out_answer}}));
    const std::optional<std::string> answer = extractAnswer(text);
    char *copy = nullptr;
    if (answer) {
      copy = static_cast<char *>(std::malloc(answer->size() + 1));
      if (!copy)
        return error(StatusCode::outOfMemory, "out of host memory");
      std::memcpy(copy, answer->c_str(), answer->size() + 1);
    }
    *out_answer = copy;
    return Status();
  });
}

m1_status *m1_answers_equal(const char *a, const char *b, bool *out_equal) {
  return guarded([&]() -> Status {
    M1_TRY(requireArguments("m1_answers_equal", {{"a", a}, {"b", b}, {"out_equal", out_equal}}));
    *out_equal = answersEqual(a, b);
    return Status();
  });
}

} // extern "C"
