#include "vote/ballots.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace m1rt {

bool parseStopRule(const std::string &text, StopRule *out) {
  StopRule rule = *out;
  const std::string confident = "confident";
  if (text == "off") {
    rule.kind = StopRule::Kind::off;
  } else if (text == "exact") {
    rule.kind = StopRule::Kind::exact;
  } else if (text.compare(0, confident.size(), confident) == 0) {
    rule.kind = StopRule::Kind::confident;
    if (text.size() > confident.size()) {
      char *end = nullptr;
      const char *number = text.c_str() + confident.size() + 1;
      rule.confidence = std::strtod(number, &end);
      if (text[confident.size()] != ':' || end == number || *end ||
          !(rule.confidence > 0.5 && rule.confidence < 1))
        return false;
    }
  } else {
    return false;
  }
  *out = rule;
  return true;
}

double leadProbability(uint32_t leader, uint32_t other) {
  // P(p > 1/2) under Beta(a + 1, b + 1) is P(at most a heads in a + b + 1 fair throws).
  const double throws = double(leader) + other + 1;
  double sum = 0;
  for (uint32_t heads = 0; heads <= leader; ++heads)
    sum += std::exp(std::lgamma(throws + 1) - std::lgamma(double(heads) + 1) -
                    std::lgamma(throws - heads + 1) - throws * std::log(2.0));
  return std::min(sum, 1.0);
}

size_t Ballots::groupOf(uint32_t sample, const std::string &answer) {
  auto [spelling, isNew] = known.emplace(answer, groups.size());
  if (isNew) { // most samples repeat an answer letter for letter
    Answer read(answer);
    const auto same = std::find_if(groups.begin(), groups.end(),
                                   [&](const Group &group) { return group.answer.equals(read); });
    spelling->second = size_t(same - groups.begin());
    if (same == groups.end())
      groups.push_back({std::move(read), {answer, 0, 0, sample, 0}});
  }
  return spelling->second;
}

void Ballots::add(uint32_t sample, const std::optional<std::string> &answer, double weight) {
  if (!has.emplace(sample, true).second)
    return;
  provisional.erase(sample);
  while (has.count(firstMissing))
    ++firstMissing;
  if (!answer)
    return;
  ++ballots;
  Entry &entry = groups[groupOf(sample, *answer)].entry;
  if (entry.votes == 0 || sample < entry.first) {
    entry.first = sample;
    entry.answer = *answer;
  }
  ++entry.votes;
  entry.weight += weight;
}

void Ballots::probe(uint32_t sample, const std::optional<std::string> &answer) {
  if (has.count(sample))
    return;
  provisional.erase(sample);
  if (answer)
    provisional.emplace(sample, std::pair(*answer, groupOf(sample, *answer)));
}

void Ballots::addUnfinished(uint32_t sample) {
  auto kept = provisional.extract(sample);
  add(sample, std::nullopt);
  if (kept)
    provisional.insert(std::move(kept));
}

std::vector<Ballots::Entry> Ballots::sorted(bool withProvisional) const {
  std::vector<Entry> out;
  for (const Group &group : groups)
    out.push_back(group.entry);
  if (withProvisional)
    for (const auto &[sample, said] : provisional) {
      Entry &entry = out[said.second];
      if (entry.votes == 0 || sample < entry.first) {
        entry.first = sample;
        entry.answer = said.first;
      }
      ++entry.votes;
      ++entry.provisional;
      entry.weight += 1;
    }
  out.erase(
      std::remove_if(out.begin(), out.end(), [](const Entry &entry) { return entry.votes == 0; }),
      out.end());
  std::sort(out.begin(), out.end(), [](const Entry &a, const Entry &b) {
    return a.weight != b.weight ? a.weight > b.weight : a.first < b.first;
  });
  return out;
}

std::vector<Ballots::Entry> Ballots::tally() const { return sorted(/*withProvisional=*/true); }

bool Ballots::decided() const {
  if (groups.empty() || ended() >= samples)
    return false;
  switch (rule.kind) {
  case StopRule::Kind::off:
    return false;
  case StopRule::Kind::exact:
    return decidedExactly();
  case StopRule::Kind::confident:
    return decidedExactly() || decidedConfidently();
  }
  return false;
}

/// Whether no other answer wins even if every missing sample votes for it, each with weight 1. On a
/// tie the least index decides, which that answer takes from the missing samples when they hold
/// one below the leader's.
bool Ballots::decidedExactly() const {
  const std::vector<Entry> order = sorted(/*withProvisional=*/false);
  if (order.empty())
    return false;
  const Entry &leader = order.front();
  const double missing = samples - ended();
  auto overtakes = [&](double weight, uint32_t first) {
    const double most = weight + missing;
    return most > leader.weight || (most == leader.weight && first < leader.first);
  };
  if (overtakes(0, firstMissing)) // an answer that nobody has given yet
    return false;
  return std::none_of(order.begin() + 1, order.end(), [&](const Entry &entry) {
    return overtakes(entry.weight, std::min(entry.first, firstMissing));
  });
}

bool Ballots::decidedConfidently() const {
  if (ballots + provisional.size() < rule.leastBallots)
    return false;
  const std::vector<Entry> order = tally();
  const uint32_t other = order.size() > 1 ? order[1].votes : 0;
  return leadProbability(order[0].votes, other) >= rule.confidence;
}

} // namespace m1rt
