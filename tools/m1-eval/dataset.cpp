#include "dataset.h"
#include "vote/vote.h"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

using namespace m1rt;

namespace m1tool {

namespace {

using Json = nlohmann::json;

/// Calls `use` for every line that is not blank with its number; errors of `use` get file and line
/// in front.
Status forEachLine(const std::string &path,
                   const std::function<Status(const Json &, size_t, bool *)> &use) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return error(StatusCode::notFound, "%s: cannot open: %s", path.c_str(), std::strerror(errno));
  size_t number = 0;
  bool stop = false;
  for (std::string line; !stop && std::getline(file, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos)
      continue;
    Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    Status status = json.is_object() ? use(json, number, &stop)
                                     : error(StatusCode::invalidArgument, "not a JSON object");
    if (!status.ok())
      return std::move(status).prefixed(path + ":" + std::to_string(number));
  }
  if (file.bad()) // a directory, for instance
    return error(StatusCode::ioError, "%s: cannot be read", path.c_str());
  return {};
}

Status stringField(const Json &json, const char *name, bool numberToo, std::string *out) {
  auto it = json.find(name);
  if (it == json.end())
    return error(StatusCode::invalidArgument, "no field \"%s\"", name);
  if (it->is_string())
    *out = it->get<std::string>();
  else if (numberToo && it->is_number())
    *out = it->dump();
  else
    return error(StatusCode::invalidArgument, "field \"%s\" is not a string", name);
  return {};
}

} // namespace

Status readDataset(const std::string &path, size_t limit, std::vector<Problem> *out) {
  std::map<std::string, size_t> lines;
  out->clear();
  M1_TRY(forEachLine(path, [&](const Json &json, size_t number, bool *stop) -> Status {
    Problem problem;
    M1_TRY(stringField(json, "id", true, &problem.id));
    M1_TRY(stringField(json, "problem", false, &problem.text));
    M1_TRY(stringField(json, "answer", true, &problem.answer));
    auto [it, isNew] = lines.emplace(problem.id, number);
    if (!isNew)
      return error(StatusCode::invalidArgument, "id \"%s\" was already on line %zu",
                   problem.id.c_str(), it->second);
    out->push_back(std::move(problem));
    *stop = limit && out->size() == limit;
    return {};
  }));
  if (out->empty())
    return error(StatusCode::invalidArgument, "%s: no problems", path.c_str());
  return {};
}

Status gradeFile(const std::string &path) {
  M1_TRY(forEachLine(path, [&](const Json &json, size_t, bool *) -> Status {
    std::string given, expected;
    M1_TRY(stringField(json, "expected", true, &expected));
    auto it = json.find("given");
    bool none = it != json.end() && it->is_null(); // no answer was found
    if (!none)
      M1_TRY(stringField(json, "given", true, &given));
    std::printf("{\"equal\": %s}\n", !none && answersEqual(given, expected) ? "true" : "false");
    return {};
  }));
  if (std::fflush(stdout) != 0)
    return error(StatusCode::ioError, "cannot write the output: %s", std::strerror(errno));
  return {};
}

} // namespace m1tool
