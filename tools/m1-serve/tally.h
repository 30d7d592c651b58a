// The vote of a request's samples while they end one by one.
#ifndef M1_TOOLS_SERVE_TALLY_H
#define M1_TOOLS_SERVE_TALLY_H

#include "vote/vote.h"
#include <nlohmann/json.hpp>

namespace m1serve {

class Tally {
public:
  explicit Tally(uint32_t samples) : samples(samples) {}
  /// A sample has ended with this text, of which its last \boxed{…} is the answer.
  void add(const std::string &text);
  /// Whether no outcome of the samples that have not ended can change the winner. A tie goes to the
  /// answer that came first.
  bool decided() const;
  /// {"answer", "votes", "ended", "samples", "tally": [{"answer", "votes"}, …]}: most votes first.
  nlohmann::ordered_json json() const;

private:
  struct Group {                       // answers that a chain of equal ones connects
    std::vector<m1rt::Answer> answers; // each text once, the first one first
    uint32_t votes = 1;
  };
  std::vector<const Group *> ranked() const;
  uint32_t samples, ended = 0;
  std::vector<Group> groups; // by arrival
};

} // namespace m1serve

#endif
