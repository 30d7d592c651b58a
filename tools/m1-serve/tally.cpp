#include "tally.h"
#include <algorithm>
#include <iterator>

namespace m1serve {

void Tally::add(const std::string &text) {
  ++ended;
  std::optional<std::string> boxed = m1rt::extractBoxed(text);
  if (!boxed)
    return;
  // Most samples repeat an answer letter for letter.
  for (Group &group : groups)
    for (const m1rt::Answer &known : group.answers)
      if (known.text() == *boxed) {
        ++group.votes;
        return;
      }
  m1rt::Answer answer(std::move(*boxed));
  Group *home = nullptr;
  for (size_t i = 0; i < groups.size();) {
    Group &group = groups[i];
    const bool same = std::any_of(group.answers.begin(), group.answers.end(),
                                  [&](const m1rt::Answer &known) { return known.equals(answer); });
    if (same && home) { // connected by this answer; groups before it stay where they are
      home->votes += group.votes;
      std::move(group.answers.begin(), group.answers.end(), std::back_inserter(home->answers));
      groups.erase(groups.begin() + ptrdiff_t(i));
      continue;
    }
    if (same)
      home = &group;
    ++i;
  }
  if (home) {
    ++home->votes;
  } else {
    groups.emplace_back();
    home = &groups.back();
  }
  home->answers.push_back(std::move(answer));
}

std::vector<const Tally::Group *> Tally::ranked() const {
  std::vector<const Group *> order;
  for (const Group &group : groups)
    order.push_back(&group);
  std::sort(order.begin(), order.end(), [](const Group *a, const Group *b) {
    return a->votes != b->votes ? a->votes > b->votes : a < b; // they lie in order of arrival
  });
  return order;
}

bool Tally::decided() const {
  uint32_t others = samples - ended; // a later answer may connect all groups but the leader's
  for (const Group &group : groups)
    others += group.votes;
  if (groups.empty())
    return others == 0;
  const uint32_t leading = ranked().front()->votes;
  return leading > others - leading;
}

nlohmann::ordered_json Tally::json() const {
  nlohmann::ordered_json tally = nlohmann::ordered_json::array();
  for (const Group *group : ranked())
    tally.push_back({{"answer", group->answers.front().text()}, {"votes", group->votes}});
  nlohmann::ordered_json winner, votes = 0;
  if (!tally.empty()) {
    winner = tally[0]["answer"];
    votes = tally[0]["votes"];
  }
  return {{"answer", winner},
          {"votes", votes},
          {"ended", ended},
          {"samples", samples},
          {"tally", tally}};
}

} // namespace m1serve
