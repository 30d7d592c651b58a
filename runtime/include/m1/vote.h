/* Answers of chains of thought: found in a text, and compared by value. Needs no model. The
 * conventions are those of m1/runtime.h. */
#ifndef M1_VOTE_H
#define M1_VOTE_H

#include "m1/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The answer that a text gives: its last \boxed{...}, or without one what its words announce, as
 * "#### 5" and "the answer is 5" do. out_answer: owned, release with m1_text_destroy; null when the
 * text gives none. */
M1_API m1_status *m1_answer_extract(const char *text, char **out_answer);
/* Whether two answers have equal value: 1/2 and 0.5, \sqrt8 and 2\sqrt2. What is not understood as
 * mathematics is compared as text. */
M1_API m1_status *m1_answers_equal(const char *a, const char *b, bool *out_equal);

#ifdef __cplusplus
}
#endif

#endif
