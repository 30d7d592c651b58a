#include "records.h"
#include "base/json.h"
#include "base/json_value.h"
#include "quoted.h"
#include "samples.h"
#include "tool.h"
#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <regex>
#include <set>
#include <sys/file.h>

using namespace m1rt;

namespace m1tool {

namespace {

using OrderedJson = nlohmann::ordered_json;

Status failed(const std::string &path, const char *what) {
  return error(StatusCode::ioError, "%s: %s: %s", path.c_str(), what, std::strerror(errno));
}

/// A file of the directory; `exists` is false when there is none. What the directory holds is never
/// waited for, and not passed over when it cannot be read: samples would be lost.
Status readWhole(const std::string &path, std::string *text, bool *exists) {
  struct stat info;
  *exists = ::lstat(path.c_str(), &info) == 0 || errno != ENOENT;
  std::string problem;
  if (!*exists || m1rt::readTextFile(path, SIZE_MAX, *text, problem))
    return {};
  return error(StatusCode::ioError, "%s: %s", path.c_str(), problem.c_str());
}

/// `drawn`: there are samples already. Every rank writes the file before its first one.
Status checkSettings(const std::string &path,
                     const std::vector<std::pair<std::string, std::string>> &settings, bool drawn) {
  bool exists = false;
  std::string content;
  M1_TRY(readWhole(path, &content, &exists));
  OrderedJson old = readJsonOrDiscard<OrderedJson>(content);
  if (exists && old.is_object()) {
    auto differs = [&](const std::string &key, const std::string &there, const std::string &here) {
      return error(StatusCode::invalidArgument,
                   "%s: the samples there were drawn with %s = %s, not %s; choose another --out",
                   path.c_str(), key.c_str(), there.c_str(), here.c_str());
    };
    for (const auto &[key, value] : settings)
      if (!old.contains(key) || old[key] != value)
        return differs(key, old.contains(key) ? old[key].dump() : "nothing",
                       OrderedJson(value).dump());
    for (const auto &[key, value] : old.items())
      if (std::none_of(settings.begin(), settings.end(),
                       [&, &name = key](const auto &setting) { return setting.first == name; }))
        return differs(key, value.dump(), "nothing");
    return {};
  }
  if (drawn)
    return error(StatusCode::corrupt,
                 "%s: %s, which says what the samples there depend on; choose another --out",
                 path.c_str(), exists ? "not a JSON object" : "missing");
  OrderedJson json = OrderedJson::object();
  for (const auto &[key, value] : settings)
    json[key] = value;
  OutputFile file;
  M1_TRY(file.open(path));
  std::string text = json.dump(1) + "\n";
  M1_TRY(file.write(text.data(), text.size()));
  return file.commit();
}

/// Takes the fields of a record, and keeps the first error.
class Fields {
public:
  explicit Fields(const OrderedJson &object) : object(object) {}

  Status problem;

  /// Whether the field is there and of the type; `null` is as good as missing.
  const OrderedJson *find(const char *name, bool required, const char *expected,
                          bool (*accepts)(const OrderedJson &)) {
    auto it = object.find(name);
    const bool there = it != object.end() && !it->is_null();
    if (there ? accepts(*it) : !required)
      return there ? &*it : nullptr;
    if (problem.ok())
      problem = error(StatusCode::corrupt, "field \"%s\": expected %s", name, expected);
    return nullptr;
  }
  void text(const char *name, std::string *out, bool required = true) {
    if (const OrderedJson *value = find(name, required, "a string",
                                        [](const OrderedJson &json) { return json.is_string(); }))
      *out = *value;
  }
  void text(const char *name, std::optional<std::string> *out) {
    std::string value;
    if (find(name, false, "a string", [](const OrderedJson &json) { return json.is_string(); })) {
      text(name, &value);
      *out = value;
    }
  }
  void flag(const char *name, bool *out, bool required) {
    if (const OrderedJson *value = find(name, required, "true or false",
                                        [](const OrderedJson &json) { return json.is_boolean(); }))
      *out = *value;
  }
  /// A count of 32 bits.
  template <typename T> void count(const char *name, T *out) {
    if (const OrderedJson *value =
            find(name, true, "an integer from 0 to 4294967295", [](const OrderedJson &json) {
              return json.is_number_unsigned() && json.get<uint64_t>() <= UINT32_MAX;
            }))
      *out = value->get<uint32_t>();
  }
  void number(const char *name, double *out, bool required) {
    if (const OrderedJson *value =
            find(name, required, "a number of at least 0", [](const OrderedJson &json) {
              return json.is_number() && json.get<double>() >= 0;
            }))
      *out = *value;
  }

private:
  const OrderedJson &object;
};

Status parse(const std::string &line, SampleRecord *r) {
  OrderedJson json;
  std::string problem;
  if (!readObjectLine(line, json, problem))
    return error(StatusCode::corrupt, "%s", problem.c_str());
  Fields fields(json);
  fields.text("problem", &r->problem);
  fields.text("digest", &r->digest, false);
  fields.count("sample", &r->sample);
  fields.text("answer", &r->answer);
  fields.flag("correct", &r->correct, true);
  fields.text("provisional", &r->provisional);
  fields.flag("provisional_correct", &r->provisionalCorrect, false);
  fields.text("no_ballot", &r->silence, false);
  fields.flag("forced", &r->forced, false);
  fields.number("confidence", &r->confidence, false);
  fields.count("tokens", &r->tokens);
  fields.number("seconds", &r->seconds, true);
  fields.text("finish", &r->finish);
  fields.text("text", &r->text);
  return fields.problem;
}

} // namespace

RecordFile::~RecordFile() {
  if (file >= 0)
    ::close(file); // also lets go of the lock
}

void RecordFile::keep(SampleRecord record) {
  if (index.emplace(std::pair(record.problem, record.sample), all.size()).second)
    all.push_back(std::move(record));
}

/// Of complete lines, which end at *outEnd.
Status RecordFile::read(const std::string &name, size_t *outEnd) {
  bool exists = false;
  std::string text;
  M1_TRY(readWhole(name, &text, &exists));
  size_t begin = 0, number = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    ++number;
    SampleRecord record;
    if (Status status = parse(text.substr(begin, end - begin), &record); !status.ok())
      return std::move(status).prefixed(name + ":" + std::to_string(number));
    keep(std::move(record));
  }
  *outEnd = begin;
  return {};
}

Status RecordFile::readOthers() {
  std::error_code problem;
  std::set<std::string> others;
  const std::regex records("samples(\\.[0-9]+)?\\.jsonl");
  for (const auto &entry : std::filesystem::directory_iterator(directory, problem))
    if (std::regex_match(entry.path().filename().string(), records) && entry.path() != path)
      others.insert(entry.path());
  if (problem)
    return error(StatusCode::ioError, "%s: cannot list the directory: %s", directory.c_str(),
                 problem.message().c_str());
  for (const std::string &other : others) {
    size_t end = 0; // what follows is being written, or was when its rank was killed
    M1_TRY(read(other, &end));
  }
  return {};
}

Status RecordFile::open(const std::string &wantedDirectory,
                        const std::vector<std::pair<std::string, std::string>> &settings,
                        const RecordDetail &wanted, uint32_t rank) {
  directory = wantedDirectory;
  detail = wanted;
  std::error_code problem;
  std::filesystem::create_directories(directory, problem);
  if (problem)
    return error(StatusCode::ioError, "%s: cannot create the directory: %s", directory.c_str(),
                 problem.message().c_str());
  path = directory + (rank ? "/samples." + std::to_string(rank) + ".jsonl" : "/samples.jsonl");
  file = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  struct stat info;
  if (file < 0 || ::fstat(file, &info) != 0)
    return failed(path, "cannot open");
  if (!S_ISREG(info.st_mode))
    return error(StatusCode::ioError, "%s: expected a file, to which samples are added",
                 path.c_str());
  if (::flock(file, LOCK_EX | LOCK_NB) != 0)
    return errno == EWOULDBLOCK
               ? error(StatusCode::ioError, "%s: another m1-eval is writing there", path.c_str())
               : failed(path, "cannot lock");
  size_t end = 0;
  M1_TRY(read(path, &end));
  M1_TRY(readOthers());
  M1_TRY(checkSettings(directory + "/run.json", settings, !all.empty()));
  // A line without its end was being written when the run was killed.
  if (::lseek(file, 0, SEEK_END) > off_t(end) && ::ftruncate(file, off_t(end)) != 0)
    return failed(path, "cannot remove the last, cut-off line");
  return {};
}

void RecordFile::append(SampleRecord r) {
  std::string &line = unwritten;
  auto field = [&line](const char *name) -> std::string & {
    return ((line += ",\"") += name) += "\":";
  };
  auto text = [&](const char *name, const std::string &value) {
    appendQuoted(value, &field(name));
  };
  auto flag = [&](const char *name, bool value) { field(name) += value ? "true" : "false"; };
  auto number = [&](const char *name, auto value) { field(name) += OrderedJson(value).dump(); };
  line += "{\"problem\":";
  appendQuoted(r.problem, &line);
  text("digest", r.digest);
  field("sample") += std::to_string(r.sample);
  if (r.answer)
    text("answer", *r.answer);
  else
    field("answer") += "null";
  flag("correct", r.correct);
  if (r.provisional) {
    text("provisional", *r.provisional);
    flag("provisional_correct", r.provisionalCorrect);
  }
  if (!r.probes.empty()) {
    OrderedJson probes = jsonOf(r.probes);
    for (size_t i = 0; i < r.probes.size(); ++i)
      probes[i]["correct"] = r.probes[i].correct;
    field("probes") += probes.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }
  if (!r.silence.empty())
    text("no_ballot", r.silence);
  text("finish", r.finish);
  flag("forced", r.forced);
  field("tokens") += std::to_string(r.tokens);
  number("seconds", r.seconds);
  if (detail.logprobs || r.confidence != 1) // votes weigh it when the run goes on
    number("confidence", r.confidence);
  text("text", r.text);
  if (detail.tokens) {
    field("token_ids") += '[';
    for (size_t i = 0; i < r.said.size(); ++i) {
      if (i > 0)
        line += ',';
      line += std::to_string(r.said[i].token);
    }
    line += ']';
  }
  if (detail.logprobs)
    field("logprobs") += dumped(jsonOf(r.said));
  line += "}\n";
  std::vector<SampledToken>().swap(r.said); // their memory, too: many times that of the text
  std::vector<ProbeResult>().swap(r.probes);
  keep(std::move(r));
}

Status RecordFile::flush() {
  if (unwritten.empty())
    return {};
  for (size_t done = 0; done < unwritten.size();) {
    ssize_t n = ::write(file, unwritten.data() + done, unwritten.size() - done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0) {
      const Status problem = failed(path, "cannot write");
      unwritten.erase(0, done);
      return problem;
    }
    done += size_t(n);
  }
  unwritten.clear();
  return {};
}

} // namespace m1tool
