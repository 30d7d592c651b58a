// An evaluation as one HTML page that needs nothing else: accuracy by problem, votes, and every
// sample to unfold.
#ifndef M1_TOOLS_EVAL_HTML_H
#define M1_TOOLS_EVAL_HTML_H

#include "dataset.h"
#include "statistics.h"

namespace m1tool {

/// Text as it stands in HTML and SVG.
std::string markupText(const std::string &text);

/// `samples[i]` are those of `problems[i]`; `curve`: the SVG picture; `facts`: lines of name and
/// value for the head of the page.
std::string htmlReport(const std::string &title,
                       const std::vector<std::pair<std::string, std::string>> &facts,
                       const std::string &curve, const std::vector<Problem> &problems,
                       const std::vector<ProblemSamples> &samples, bool byConfidence);

} // namespace m1tool

#endif
