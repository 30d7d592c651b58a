#include "tally.h"
#include <algorithm>

namespace m1serve {

void Tally::add(const std::string &text) {
  ++ended;
  std::optional<std::string> boxed = m1rt::extractBoxed(text);
  if (!boxed)
    return;
  // Most samples repeat an answer letter for letter.
  for (Group &group : groups)
    if (group.answer.text() == *boxed) {
      ++group.votes;
      return;
    }
  m1rt::Answer answer(std::move(*boxed));
  for (Group &group : groups)
    if (group.answer.equals(answer)) {
      ++group.votes;
      return;
    }
  groups.push_back({std::move(answer), 1});
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
  const uint32_t open = samples - ended;
  const std::vector<const Group *> order = ranked();
  if (order.empty())
    return open == 0;
  const uint32_t second = order.size() > 1 ? order[1]->votes : 0;
  return order[0]->votes > second + open;
}

nlohmann::ordered_json Tally::json() const {
  nlohmann::ordered_json tally = nlohmann::ordered_json::array();
  for (const Group *group : ranked())
    tally.push_back({{"answer", group->answer.text()}, {"votes", group->votes}});
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
