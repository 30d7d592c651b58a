// m1-tokenize: text to token ids and back, one JSON object a line.
#include "base/json_value.h"
#include "command_line.h"
#include "input.h"
#include "text/model_text.h"
#include "tokenizer/prepare.h"
#include "tokenizer/tokenizer.h"

#include <charconv>
#include <chrono>
#include <fstream>
#include <iostream>
#include <sys/stat.h>

namespace {

using Json = nlohmann::json;

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int fail(const std::string &message) {
  m1tool::say("m1-tokenize", "error", message);
  return 1;
}

// A line of input, which names itself in messages.
struct Line {
  const std::string &text;
  std::string where; // "FILE:3: "

  /// Its JSON; false with `error`.
  bool parse(Json &out, std::string &error) const {
    size_t invalid = m1rt::findInvalidUtf8(text);
    if (invalid != std::string::npos) {
      error = where + "not valid UTF-8 at byte " + std::to_string(invalid) + " of the line";
      return false;
    }
    std::string problem;
    if (m1rt::readJsonLine(text, out, problem))
      return true;
    error = where + "not JSON: " + problem;
    return false;
  }

  /// The object's "text"; false with `error`.
  bool parseText(std::string &out, std::string &error) const {
    Json json;
    if (!parse(json, error))
      return false;
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
      error = where + "expected an object with a string \"text\"";
      return false;
    }
    out = std::move(json["text"].get_ref<std::string &>());
    return true;
  }
};

std::string placeOf(const std::string &name, size_t number) {
  return name + ":" + std::to_string(number) + ": ";
}

bool isBlank(const std::string &line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

// Encodes all texts over and over for about a second; prints what the speed goals are about.
int benchmark(const std::string &source, std::string_view prepared,
              const m1rt::TokenizerOptions &options, const std::string &name,
              m1tool::LineReader &in, bool addSpecial) {
  std::vector<std::string> texts;
  std::string error;
  size_t bytes = 0, number = 0;
  for (std::string line; in.next(&line);) {
    ++number;
    if (isBlank(line))
      continue;
    if (!Line{line, placeOf(name, number)}.parseText(texts.emplace_back(), error))
      return fail(error);
    bytes += texts.back().size();
  }
  if (!in.status().ok())
    return fail(in.status().message());
  if (bytes == 0)
    return fail(name + ": no text to measure");
  auto start = std::chrono::steady_clock::now();
  std::unique_ptr<m1rt::Tokenizer> tokenizer = m1rt::Tokenizer::load(prepared, error, options);
  double loadSeconds = secondsSince(start);
  if (!tokenizer)
    return fail(source + ": " + error);
  std::vector<int32_t> ids;
  size_t rounds = 0, tokens = 0;
  double seconds = 0, best = 1e30;
  while (rounds < 3 || seconds < 1) {
    start = std::chrono::steady_clock::now();
    tokens = 0;
    for (const std::string &text : texts) {
      ids.clear();
      if (!tokenizer->encode(text, addSpecial, ids, error))
        return fail(name + ": " + error);
      tokens += ids.size();
    }
    double round = secondsSince(start);
    best = std::min(best, round);
    seconds += round;
    ++rounds;
  }
  std::printf("load %.1f ms (%.1f MB prepared), encode %.1f MB/s (best of %zu rounds; mean %.1f), "
              "%.2f bytes "
              "a token\n",
              loadSeconds * 1e3, prepared.size() / 1e6, bytes / best / 1e6, rounds,
              bytes * rounds / seconds / 1e6, tokens ? static_cast<double>(bytes) / tokens : 0.0);
  return 0;
}

// The prepared tokenizer of an artifact, or of a tokenizer.json prepared now. `artifact` and
// `storage` keep its memory.
bool openSource(const std::string &source, std::unique_ptr<m1rt::Artifact> &artifact,
                std::string &storage, std::string_view &prepared, std::string &error) {
  struct stat info;
  if (::stat(source.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    error = source + ": is " +
            (S_ISDIR(info.st_mode)    ? "a directory"
             : S_ISFIFO(info.st_mode) ? "a pipe"
                                      : "a device") +
            ", expected a file";
    return false;
  }
  std::ifstream file(source, std::ios::binary);
  char magic[sizeof(m1_artifact_header::magic)] = {};
  file.read(magic, sizeof magic);
  if (std::equal(std::begin(magic), std::end(magic), M1_ARTIFACT_MAGIC)) {
    m1rt::ArtifactOptions options;
    options.openExternalFiles = false;
    m1rt::Status status = m1rt::Artifact::open(source, options, &artifact);
    if (!status.ok()) {
      error = status.message();
      return false;
    }
    const auto *table = artifact->module().tokenizer();
    if (!table || !table->data() || table->data()->size() == 0) {
      error = source + ": compiled without a tokenizer (the model directory had no tokenizer.json)";
      return false;
    }
    m1rt::Bytes bytes = artifact->segment(*table->data());
    prepared = {reinterpret_cast<const char *>(bytes.data), bytes.size};
    return true;
  }
  size_t slash = source.rfind('/');
  std::string config =
      (slash == std::string::npos ? "" : source.substr(0, slash + 1)) + "tokenizer_config.json";
  m1rt::PreparedTokenizer result;
  if (!m1rt::prepareTokenizer(source, config, result, error))
    return false;
  storage = std::move(result.data);
  prepared = storage;
  return true;
}

void appendIds(const std::vector<int32_t> &ids, std::string &out) {
  // By hand: as JSON values the ids would take longer than the encoding.
  for (size_t i = 0; i < ids.size(); ++i) {
    char digits[12];
    if (i)
      out += ',';
    out.append(digits, std::to_chars(digits, digits + sizeof digits, ids[i]).ptr);
  }
}

// {"text"} to {"text", "ids", "decoded"}.
bool encodeLine(const m1rt::Tokenizer &tokenizer, const Line &line, bool addSpecial,
                std::string &out, std::string &error) {
  std::string text;
  if (!line.parseText(text, error))
    return false;
  std::vector<int32_t> ids;
  if (!tokenizer.encode(text, addSpecial, ids, error)) {
    error = line.where + error;
    return false;
  }
  std::string quoted = Json(text).dump(), decoded = tokenizer.decode(ids.data(), ids.size(), false);
  out.assign("{\"text\":").append(quoted).append(",\"ids\":[");
  appendIds(ids, out);
  out.append("],\"decoded\":")
      .append(decoded == text ? quoted : Json(decoded).dump())
      .append("}\n");
  return true;
}

// {"ids"}, or the list alone, to {"ids", "text"}.
bool decodeLine(const m1rt::Tokenizer &tokenizer, const Line &line, bool skipSpecial,
                std::string &out, std::string &error) {
  Json json;
  if (!line.parse(json, error))
    return false;
  if (json.is_object() && json.contains("ids"))
    json = Json(json["ids"]);
  if (!json.is_array()) {
    error = line.where + "expected an object with a list \"ids\", or a list";
    return false;
  }
  std::vector<int32_t> ids;
  for (const Json &id : json) {
    if (!id.is_number_integer() || id < 0 || id >= tokenizer.vocabSize()) {
      error = line.where + "id " + std::to_string(ids.size()) + " is " + id.dump() +
              ", expected 0 to " + std::to_string(tokenizer.vocabSize() - 1);
      return false;
    }
    ids.push_back(id.get<int32_t>());
  }
  out.assign("{\"ids\":[");
  appendIds(ids, out);
  const std::string text = tokenizer.decode(ids.data(), ids.size(), skipSpecial);
  out.append("],\"text\":")
      .append(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace))
      .append("}\n");
  return true;
}

} // namespace

int main(int argc, char **argv) {
  m1tool::prepareProcess();
  CLI::App app(
      "Turns text into token ids and back.\n"
      "Reads one {\"text\": ...} a line, writes {\"text\", \"ids\", \"decoded\"} a line; with "
      "--decode reads {\"ids\": [...]} and writes {\"ids\", \"text\"}.\n\n"
      "Example: echo '{\"text\": \"Hello, world!\"}' | m1-tokenize model/tokenizer.json",
      "m1-tokenize");
  std::string source, inputPath = "-";
  bool addSpecial = false, decode = false, skipSpecial = false, runBenchmark = false,
       alwaysRegex = false;
  app.add_option("source", source,
                 "A compiled model, or a tokenizer.json (with its tokenizer_config.json beside it)")
      ->required()
      ->type_name("OUT.m1a|tokenizer.json");
  app.add_option("--input", inputPath, "JSON lines to read; - is standard input")
      ->type_name("FILE")
      ->capture_default_str();
  auto *special = app.add_flag(
      "--add-special", addSpecial,
      "Add the tokens of the post-processor's template (such as the begin-of-text token)");
  auto *back = app.add_flag("--decode", decode, "Turn ids into text instead");
  app.add_flag("--skip-special", skipSpecial, "With --decode: leave special tokens out")
      ->needs(back);
  auto *benchmarkFlag =
      app.add_flag("--benchmark", runBenchmark,
                   "Measure loading and encoding of the input instead of writing ids");
  back->excludes(special)->excludes(benchmarkFlag);
  app.add_flag("--always-regex", alwaysRegex,
               "Run every pattern in PCRE2, also where there is a faster matcher");
  app.set_version_flag("--version", std::string("m1-tokenize " M1_VERSION));
  int exitCode = 0;
  if (!m1tool::parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;

  std::string error;
  std::unique_ptr<m1rt::Artifact> artifact;
  std::string storage;
  std::string_view prepared;
  if (!openSource(source, artifact, storage, prepared, error))
    return fail(error);
  m1rt::TokenizerOptions options;
  options.alwaysRegex = alwaysRegex;

  m1tool::LineReader in;
  if (const m1rt::Status status = in.open(inputPath); !status.ok())
    return fail(status.message());
  std::ios::sync_with_stdio(false);
  const std::string name = m1tool::inputName(inputPath);
  if (runBenchmark)
    return benchmark(source, prepared, options, name, in, addSpecial);

  std::unique_ptr<m1rt::Tokenizer> tokenizer = m1rt::Tokenizer::load(prepared, error, options);
  if (!tokenizer)
    return fail(source + ": " + error);
  std::string out;
  size_t lineNumber = 0;
  for (std::string text; in.next(&text);) {
    ++lineNumber;
    if (isBlank(text))
      continue;
    const Line line{text, placeOf(name, lineNumber)};
    if (!(decode ? decodeLine(*tokenizer, line, skipSpecial, out, error)
                 : encodeLine(*tokenizer, line, addSpecial, out, error)))
      return fail(error);
    std::cout.write(out.data(), static_cast<std::streamsize>(out.size()));
    if (in.waits())
      std::cout.flush();
  }
  if (!in.status().ok())
    return fail(in.status().message());
  std::cout.flush();
  return std::cout ? 0 : fail("writing to standard output failed");
}
