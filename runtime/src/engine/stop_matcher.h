// Finds stop strings in text that arrives piece by piece.
#ifndef M1RT_ENGINE_STOP_MATCHER_H
#define M1RT_ENGINE_STOP_MATCHER_H

#include <string>
#include <vector>

namespace m1rt {

/// Holds back text that may turn out to be the beginning of a stop string.
class StopMatcher {
public:
  explicit StopMatcher(const std::vector<std::string> &stops) : stops(stops) {}
  bool any() const { return !stops.empty(); }

  /// Takes a piece; appends to `out` the text that is certain not to belong to a stop string. True
  /// when a stop string has appeared: `out` then ends right before the earliest one, and the rest
  /// of the text is gone.
  bool append(const std::string &piece, std::string *out) {
    if (!any()) {
      *out += piece;
      return false;
    }
    held += piece;
    size_t first = std::string::npos;
    for (const std::string &stop : stops)
      first = std::min(first, held.find(stop));
    if (first != std::string::npos) {
      out->append(held, 0, first);
      held.clear();
      return true;
    }
    size_t keep = 0;
    for (const std::string &stop : stops)
      for (size_t n = std::min(stop.size() - 1, held.size()); n > keep; --n)
        if (held.compare(held.size() - n, n, stop, 0, n) == 0) {
          keep = n;
          break;
        }
    out->append(held, 0, held.size() - keep);
    held.erase(0, held.size() - keep);
    return false;
  }

  /// Gives what is still held back, when the text has ended.
  void finish(std::string *out) {
    *out += held;
    held.clear();
  }

private:
  std::vector<std::string> stops;
  std::string held;
};

} // namespace m1rt

#endif
