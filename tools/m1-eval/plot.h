// The curves of an evaluation as an SVG picture.
#ifndef M1_TOOLS_EVAL_PLOT_H
#define M1_TOOLS_EVAL_PLOT_H

#include "statistics.h"

namespace m1tool {

/// Two panels: accuracy over the number of samples (logarithmic), and over seconds.
std::string drawCurves(const Summary &summary, const std::string &title);

} // namespace m1tool

#endif
