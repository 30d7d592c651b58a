// parseJson into nlohmann's values.
#ifndef M1RT_BASE_JSONVALUE_H
#define M1RT_BASE_JSONVALUE_H

#include "base/json.h"

#include <nlohmann/json.hpp>

#include <utility>
#include <vector>

namespace m1rt {

// `Json`: nlohmann::json or nlohmann::ordered_json. Of a key that an object holds twice the last
// value counts.
template <typename Json> class JsonBuilder : public JsonSink {
public:
  Json result;

  void null() override { add(nullptr); }
  void boolean(bool value) override { add(value); }
  void integer(int64_t value) override {
    // As nlohmann's own parser: numbers without a sign are unsigned.
    if (value >= 0)
      add(static_cast<uint64_t>(value));
    else
      add(value);
  }
  void largeInteger(uint64_t value) override { add(value); }
  void real(double value) override { add(value); }
  void string(std::string &value) override { add(std::move(value)); }
  void beginObject() override { open.push_back(&add(Json::object())); }
  void key(std::string &name) override { member = &(*open.back())[std::move(name)]; }
  void endObject() override { open.pop_back(); }
  void beginArray() override { open.push_back(&add(Json::array())); }
  void endArray() override { open.pop_back(); }

private:
  Json &add(Json value) {
    Json *place = &result;
    if (!open.empty() && open.back()->is_array()) {
      open.back()->push_back(std::move(value));
      return open.back()->back();
    }
    if (!open.empty())
      place = member;
    *place = std::move(value);
    return *place;
  }

  std::vector<Json *> open; // what has begun; the children of all but the last stay in place
  Json *member = nullptr;   // of the innermost object: where the next value goes
};

template <typename Json>
bool readJson(std::string_view text, Json &out, std::string &error, const JsonLimits &limits = {}) {
  JsonBuilder<Json> builder;
  if (!parseJson(text, builder, error, limits))
    return false;
  out = std::move(builder.result);
  return true;
}

// The value; where readJson refuses the text, one that is_discarded().
template <typename Json> Json readJsonOrDiscard(std::string_view text) {
  Json value;
  std::string error;
  return readJson(text, value, error) ? value : Json(Json::value_t::discarded);
}

// What a line of a file holds, of which others know the number: messages say the column.
template <typename Json> bool readJsonLine(std::string_view line, Json &out, std::string &error) {
  if (readJson(line, out, error))
    return true;
  constexpr std::string_view place = "parse error at line 1, ";
  if (error.compare(0, place.size(), place) == 0)
    error.erase(0, place.size());
  return false;
}

// The same of lines that have to be objects.
template <typename Json> bool readObjectLine(std::string_view line, Json &out, std::string &error) {
  std::string problem;
  if (readJsonLine(line, out, problem) && out.is_object())
    return true;
  error = "not a JSON object" + (problem.empty() ? "" : ": " + problem);
  return false;
}

} // namespace m1rt

#endif
