// Mutates JSON as a tree: bytes alone rarely give JSON again, and what comes after the reader would
// hardly be tried.
#ifndef M1_TEST_FUZZ_JSON_MUTATOR_H
#define M1_TEST_FUZZ_JSON_MUTATOR_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t largest);

namespace fuzz {

class JsonMutator {
public:
  using Json = nlohmann::ordered_json;

  explicit JsonMutator(unsigned seed) : random(seed) {}

  /// The text of a mutant; empty when `text` is no JSON, and now and then without a reason.
  std::string mutate(std::string_view text) {
    if (below(3) == 0)
      return {};
    Json root = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (root.is_discarded())
      return {};
    for (uint32_t i = 1 + below(3); i > 0; --i)
      change(root);
    return root.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  uint32_t below(uint32_t bound) { return uint32_t(random() >> 16) % bound; }

private:
  void collect(Json &value) {
    nodes.push_back(&value);
    if (value.is_object())
      for (auto &[key, member] : value.get_ref<Json::object_t &>()) {
        keys.push_back(key);
        collect(member);
      }
    else if (value.is_array())
      for (Json &element : value)
        collect(element);
  }

  Json any() { return *nodes[below(uint32_t(nodes.size()))]; }

  std::string changed(std::string text) { // with libFuzzer's dictionary
    const size_t size = text.size(), largest = size + 16;
    text.resize(largest);
    text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(text.data()), size, largest));
    return text;
  }

  std::string key() {
    std::string name = keys.empty() ? std::string() : keys[below(uint32_t(keys.size()))];
    return below(2) ? changed(std::move(name)) : name;
  }

  Json scalar() {
    static const Json values[] = {nullptr,
                                  true,
                                  false,
                                  "",
                                  0,
                                  1,
                                  2,
                                  7,
                                  -1,
                                  64,
                                  0.5,
                                  1e-5,
                                  1e300,
                                  65536,
                                  int64_t(1) << 31,
                                  int64_t(1) << 32,
                                  INT64_MAX,
                                  INT64_MIN,
                                  UINT64_MAX,
                                  Json::array(),
                                  Json::object()};
    return values[below(std::size(values))];
  }

  Json changedNumber(const Json &value) {
    if (below(4) == 0)
      return value.dump();
    if (value.is_number_float())
      return value.get<double>() * (below(2) ? -1 : 0.5);
    const uint64_t number = value.get<uint64_t>();
    switch (below(3)) {
    case 0:
      return int64_t(0 - number);
    case 1:
      return number << below(33);
    default:
      return int64_t(number + below(3) - 1);
    }
  }

  void change(Json &root) {
    nodes.clear();
    keys.clear();
    collect(root);
    Json &at = *nodes[below(uint32_t(nodes.size()))];
    switch (below(6)) {
    case 0:
      at = scalar();
      return;
    case 1: // assigned at once, `at` may be part of what is copied
      at = any();
      return;
    case 2:
      at = below(2) ? Json::array({any()}) : Json{{key(), any()}};
      return;
    default:
      break;
    }
    if (at.is_string()) {
      at = changed(at.get<std::string>());
    } else if (at.is_number()) {
      at = below(2) ? scalar() : changedNumber(at);
    } else if (at.is_array()) {
      const uint32_t count = uint32_t(at.size());
      if (count && below(2))
        at.erase(below(count));
      else
        at.insert(at.begin() + below(count + 1), any());
    } else if (at.is_object()) {
      auto &members = at.get_ref<Json::object_t &>();
      const uint32_t count = uint32_t(members.size());
      if (count == 0 || below(3) == 0)
        members.emplace_back(key(), any()); // perhaps the same key twice
      else if (below(2)) {
        const std::string name = (members.begin() + below(count))->first;
        at.erase(name);
      } else {
        const uint32_t renamed = below(count);
        std::vector<std::pair<std::string, Json>> all(members.begin(), members.end());
        all[renamed].first = key();
        members.clear();
        for (auto &[name, member] : all)
          members.emplace_back(name, std::move(member));
      }
    } else {
      at = scalar();
    }
  }

  std::minstd_rand random;
  std::vector<Json *> nodes;
  std::vector<std::string> keys;
};

/// Mutates the JSON between two places of an input; false, and nothing done, where this gives
/// nothing that fits.
inline bool mutateJson(JsonMutator &mutator, uint8_t *data, size_t &size, size_t largest,
                       size_t begin, size_t end) {
  const std::string mutant =
      mutator.mutate({reinterpret_cast<const char *>(data) + begin, end - begin});
  if (mutant.empty() || size - (end - begin) + mutant.size() > largest)
    return false;
  std::memmove(data + begin + mutant.size(), data + end, size - end);
  std::memcpy(data + begin, mutant.data(), mutant.size());
  size = size - (end - begin) + mutant.size();
  return true;
}

/// Mutates JSON behind some bytes of another meaning, or all bytes.
inline size_t mutateJson(uint8_t *data, size_t size, size_t largest, unsigned seed,
                         size_t prefix = 0) {
  JsonMutator mutator(seed);
  if (size > prefix && mutator.below(8) && mutateJson(mutator, data, size, largest, prefix, size))
    return size;
  return LLVMFuzzerMutate(data, size, largest);
}

/// Mutates a safetensors file: its header as JSON, whose length is stated anew, or its bytes.
inline size_t mutateSafetensors(uint8_t *data, size_t size, size_t largest, unsigned seed) {
  uint64_t length = 0;
  JsonMutator mutator(seed);
  if (size > sizeof length && mutator.below(4)) {
    std::memcpy(&length, data, sizeof length);
    const size_t end = sizeof length + std::min<uint64_t>(length, size - sizeof length);
    const size_t rest = size - end;
    if (mutateJson(mutator, data, size, largest, sizeof length, end)) {
      length = size - rest - sizeof length;
      std::memcpy(data, &length, sizeof length);
      return size;
    }
  }
  return LLVMFuzzerMutate(data, size, largest);
}

} // namespace fuzz

#endif
