#include "dataset.h"
#include "base/json_value.h"
#include "base/shortened.h"
#include "input.h"
#include "tool.h"
#include "vote/vote.h"
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <sstream>

using namespace m1rt;

namespace m1tool {

namespace {

using Json = nlohmann::json;

constexpr char kBlanks[] = " \t\r\n";

/// Takes a record and says whether to stop. Errors get the record's place in front.
using Visitor = std::function<Status(const Json &record, const std::string &place, bool *stop)>;

/// A field that records need, and what a message about one without it says more.
struct Field {
  std::string name;
  const char *hint;
};

Status visit(const std::string &name, const std::string &place, const Json &record,
             const Visitor &use, bool *stop) {
  Status status = use(record, place, stop);
  return status.ok() ? Status() : std::move(status).prefixed(name + place);
}

Status visitLines(const std::string &name, const std::string &content, const Visitor &use) {
  std::istringstream lines(content);
  bool stop = false;
  size_t number = 0;
  for (std::string line; !stop && std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(kBlanks) == std::string::npos)
      continue;
    const std::string place = ":" + std::to_string(number);
    Json record;
    std::string problem;
    if (!readObjectLine(line, record, problem))
      return error(StatusCode::invalidArgument, "%s%s: %s", name.c_str(), place.c_str(),
                   problem.c_str());
    M1_TRY(visit(name, place, record, use, &stop));
  }
  return {};
}

Status visitArray(const std::string &name, const std::string &content, const Visitor &use) {
  Json list;
  std::string problem;
  if (!readJson(content, list, problem))
    return error(StatusCode::invalidArgument, "%s: begins with [ but is no JSON array: %s",
                 name.c_str(), problem.c_str());
  bool stop = false;
  for (size_t i = 0; i < list.size() && !stop; ++i) {
    const std::string place = ": element " + std::to_string(i);
    if (!list[i].is_object())
      return error(StatusCode::invalidArgument, "%s%s: not a JSON object", name.c_str(),
                   place.c_str());
    M1_TRY(visit(name, place, list[i], use, &stop));
  }
  return {};
}

/// One record of RFC 4180 from `*at` on: fields between commas, "…" around those that hold commas,
/// quotes (doubled) or line breaks. False at an open quote.
bool csvRecord(const std::string &text, size_t *at, size_t *line, std::vector<std::string> *out) {
  out->assign(1, "");
  for (bool quoted = false; *at < text.size(); ++*at) {
    const char c = text[*at];
    *line += c == '\n';
    if (quoted) {
      if (c != '"')
        out->back() += c;
      else if (*at + 1 < text.size() && text[*at + 1] == '"')
        out->back() += text[++*at];
      else
        quoted = false;
      if (*at + 1 == text.size() && quoted)
        return false;
    } else if (c == '"' && out->back().empty()) {
      quoted = true;
    } else if (c == ',') {
      out->emplace_back();
    } else if (c == '\n') {
      ++*at;
      return true;
    } else if (c != '\r') {
      out->back() += c;
    }
  }
  return true;
}

/// The fields that a line of names has to hold, each once: a file without them, which may be none
/// of CSV at all, would otherwise pass for one without records.
Status checkNames(const std::vector<std::string> &names, const std::vector<Field> &fields) {
  for (const auto &[wanted, hint] : fields) {
    const auto times = std::count(names.begin(), names.end(), wanted);
    if (times > 1)
      return error(StatusCode::invalidArgument, "names the field \"%s\" %td times", wanted.c_str(),
                   times);
    if (times == 1)
      continue;
    std::string others;
    for (const std::string &name : names)
      others += (others.empty() ? "" : ", ") + name;
    return error(StatusCode::invalidArgument,
                 "neither JSON nor CSV whose first line names the field \"%s\" (it holds: %s)%s",
                 wanted.c_str(), shortened(others, 200).c_str(), hint);
  }
  return {};
}

Status visitCsv(const std::string &name, const std::string &content,
                const std::vector<Field> &fields, const Visitor &use) {
  std::vector<std::string> names, values;
  size_t at = 0, line = 1;
  if (content.compare(0, 3, "\xEF\xBB\xBF") == 0) // byte order mark
    at = 3;
  bool stop = false;
  while (at < content.size() && !stop) {
    const std::string place = ":" + std::to_string(line);
    if (!csvRecord(content, &at, &line, &values))
      return error(StatusCode::invalidArgument, "%s%s: a quote is not closed", name.c_str(),
                   place.c_str());
    if (values.size() == 1 && values[0].empty())
      continue; // a blank line
    if (names.empty()) {
      names = values;
      if (Status status = checkNames(names, fields); !status.ok())
        return std::move(status).prefixed(name + place);
      continue;
    }
    if (values.size() != names.size())
      return error(StatusCode::invalidArgument, "%s%s: %zu fields, the first line names %zu",
                   name.c_str(), place.c_str(), values.size(), names.size());
    Json record = Json::object();
    for (size_t i = 0; i < names.size(); ++i)
      record[names[i]] = values[i];
    M1_TRY(visit(name, place, record, use, &stop));
  }
  return {};
}

Status forEachRecord(const std::string &path, const std::vector<Field> &fields,
                     const Visitor &use) {
  std::string content;
  M1_TRY(readText(path, &content));
  const std::string name = inputName(path);
  const size_t first = content.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  if (first == std::string::npos)
    return {};
  if (content[first] == '[')
    return visitArray(name, content, use);
  return content[first] == '{' ? visitLines(name, content, use)
                               : visitCsv(name, content, fields, use);
}

Status stringField(const Json &json, const Field &field, bool numberToo, std::string *out) {
  const auto &[name, hint] = field;
  auto it = json.find(name);
  if (it == json.end()) {
    std::string others;
    for (const auto &[other, value] : json.items())
      if (*hint && other != "id" && other != "answer")
        others += (others.empty() ? "" : ", ") + other;
    return error(StatusCode::invalidArgument, "no field \"%s\"%s", name.c_str(),
                 others.empty() ? "" : (" (there are: " + others + ")" + hint).c_str());
  }
  if (it->is_string())
    *out = it->get<std::string>();
  else if (numberToo && it->is_number())
    *out = it->dump();
  else
    return error(StatusCode::invalidArgument, "field \"%s\" is not a string", name.c_str());
  return {};
}

/// What stands behind the last "####", or all of it.
std::string finalAnswer(const std::string &answer) {
  const size_t mark = answer.rfind("####");
  if (mark == std::string::npos)
    return answer;
  const size_t begin = answer.find_first_not_of(kBlanks, mark + 4);
  return begin == std::string::npos
             ? ""
             : answer.substr(begin, answer.find_last_not_of(kBlanks) + 1 - begin);
}

} // namespace

uint64_t hashOf(const std::string &text) {
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : text)
    h = (h ^ uint8_t(c)) * 0x100000001b3u;
  return h;
}

Status readDataset(const std::string &path, size_t limit, std::vector<Problem> *out,
                   const DatasetFields &fields) {
  std::map<std::string, std::string> places;
  out->clear();
  const std::vector<Field> needed = {{fields.question, "; --question-field names it"},
                                     {fields.answer, "; --answer-field names it"}};
  M1_TRY(forEachRecord(
      path, needed, [&](const Json &json, const std::string &place, bool *stop) -> Status {
        Problem problem;
        M1_TRY(stringField(json, needed[0], false, &problem.text));
        M1_TRY(stringField(json, needed[1], true, &problem.solution));
        problem.answer = finalAnswer(problem.solution);
        if (json.contains("solution") && json["solution"].is_string())
          problem.solution = json["solution"].get<std::string>();
        const bool named = json.contains("id");
        if (named) {
          M1_TRY(stringField(json, {"id", ""}, true, &problem.id));
        } else {
          problem.id = formatted("%012llx", (unsigned long long)(hashOf(problem.text) >> 16));
          const std::string base = problem.id;
          for (int copy = 2; places.count(problem.id); ++copy) // the same question twice
            problem.id = base + "-" + std::to_string(copy);
        }
        auto [it, isNew] = places.emplace(problem.id, place);
        if (!isNew) {
          const bool isLine = it->second[1] != ' ';
          return error(StatusCode::invalidArgument, "id \"%s\" was already %s%s",
                       problem.id.c_str(), isLine ? "on line " : "in ",
                       it->second.c_str() + (isLine ? 1 : 2));
        }
        out->push_back(std::move(problem));
        *stop = limit && out->size() == limit;
        return {};
      }));
  if (out->empty())
    return error(StatusCode::invalidArgument, "%s: no problems", inputName(path).c_str());
  return {};
}

Status gradeFile(const std::string &path) {
  const Field wanted = {"expected", ""};
  M1_TRY(
      forEachRecord(path, {wanted}, [&](const Json &json, const std::string &, bool *) -> Status {
        std::string given, expected;
        M1_TRY(stringField(json, wanted, true, &expected));
        auto it = json.find("given");
        bool none = it != json.end() && it->is_null(); // no answer was found
        if (!none)
          M1_TRY(stringField(json, {"given", ""}, true, &given));
        std::printf("{\"equal\": %s}\n", !none && answersEqual(given, expected) ? "true" : "false");
        return {};
      }));
  if (std::fflush(stdout) != 0)
    return outputError();
  return {};
}

} // namespace m1tool
