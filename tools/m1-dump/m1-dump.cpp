// Shows what an artifact holds.
#include "base/counted.h"
#include "command_line.h"
#include "describe.h"
#include "tool.h"
#include "weight_types.h"

using namespace m1rt;
using Json = nlohmann::ordered_json;

namespace {

std::string size(const Json &bytes) { return bytesText(bytes.get<uint64_t>()); }
const char *string(const Json &value) { return value.get_ref<const std::string &>().c_str(); }
unsigned number(const Json &value) { return value.get<unsigned>(); }

void printTarget(const Json &target) {
  std::printf("\ntarget %s", string(target["name"]));
  if (!target["cpu"].get_ref<const std::string &>().empty())
    std::printf(", --cpu %s", string(target["cpu"]));
  std::printf("\n");
  if (!target["cpu_features"].empty()) {
    std::printf("  needs");
    for (const Json &feature : target["cpu_features"])
      std::printf(" %s", string(feature));
    std::printf("\n");
  }
  for (size_t i = 0; i < target["code"].size(); ++i) {
    const Json &code = target["code"][i];
    const char *chip = string(code["chip"]); // none for a CPU
    std::printf("  code %zu: %s%s%s, %s, sha256 %s\n", i, string(code["format"]), *chip ? " " : "",
                chip, size(code["bytes"]).c_str(), string(code["sha256"]));
  }
  if (target.contains("tuning"))
    for (const Json &table : target["tuning"])
      std::printf("  tuning: %s measured on %s (%s) with cuBLASLt %llu\n",
                  counted(table["products"].size(), "product").c_str(), string(table["gpu"]),
                  string(table["chip"]), table["cublaslt"].get<unsigned long long>());
  std::printf("  kernels\n");
  for (const Json &kernel : target["kernels"]) {
    std::printf("    %-56s %10s  %s", string(kernel["symbol"]),
                kernel["bytes"].is_null() ? "-" : size(kernel["bytes"]).c_str(),
                string(kernel["origin"]));
    if (number(kernel["block_size"]))
      std::printf(", block %u, shared %s", number(kernel["block_size"]),
                  size(kernel["shared_bytes"]).c_str());
    std::printf("\n");
  }
  for (const Json &function : target["functions"]) {
    std::printf("  entry point %s: %s; arenas %s a token, %s a logits row, %s workspace",
                string(function["name"]), counted(function["commands"].size(), "command").c_str(),
                size(function["temporary_bytes_per_row"]).c_str(),
                size(function["row_temporary_bytes_per_row"]).c_str(),
                size(function["workspace_bytes"]).c_str());
    if (number(function["max_rows"]))
      std::printf("; for up to %s", counted(number(function["max_rows"]), "token").c_str());
    if (function.contains("min_rows"))
      std::printf("; from %u tokens on", number(function["min_rows"]));
    std::printf("\n");
    for (size_t i = 0; i < function["commands"].size(); ++i) {
      const Json &command = function["commands"][i];
      std::printf("    %4zu %s %s", i, string(command["command"]), string(command["name"]));
      if (command.contains("kernel"))
        std::printf("  %s [%u x %s/%u]", string(command["kernel"]), number(command["grid_x"]),
                    string(command["rows"]), number(command["rows_per_group"]));
      else
        std::printf("  [%s, %u, %u]", string(command["rows"]), number(command["n"]),
                    number(command["k"]));
      for (const Json &operand : command["operands"])
        std::printf(" %s", string(operand));
      std::printf("\n");
    }
  }
}

void print(const Json &json) {
  const Json &header = json["header"];
  std::printf("%s: %s\n", string(json["path"]), size(json["bytes"]).c_str());
  std::printf("header: version %u, %s digested, sha256 %s\n", number(header["version"]),
              size(header["digested_bytes"]).c_str(), string(header["sha256"]));
  if (json.contains("digest"))
    std::printf("digest of everything: %s\n", string(json["digest"]));
  std::printf("module: %s at %llu, producer %s\n", size(header["module_bytes"]).c_str(),
              header["module_offset"].get<unsigned long long>(), string(json["producer"]));
  std::printf("model: %s, vocabulary %u, hidden %u, %s, up to %u positions\n",
              string(json["architecture"]), number(json["vocab_size"]), number(json["hidden_size"]),
              counted(number(json["layers"]), "layer").c_str(), number(json["max_positions"]));
  std::printf(
      "types: activations %s, state %s, kv %s, weights %s\n", string(json["activation_type"]),
      string(json["state_type"]), string(json["kv_type"]),
      m1tool::weightTypesText(json["weight_types"].get<std::map<std::string, uint64_t>>()).c_str());
  std::printf("memory: weights %s, a sequence %s", size(json["weight_bytes"]).c_str(),
              size(json["slot_bytes"]).c_str());
  if (json["page_bytes"].get<uint64_t>() > 0)
    std::printf(" and %s every %u positions, %.0f bytes a token", size(json["page_bytes"]).c_str(),
                number(json["page_size"]),
                json["page_bytes"].get<double>() / json["page_size"].get<double>());
  std::printf("\n");
  std::printf("tokens: bos %d, eos %s\n", json["bos_id"].get<int>(),
              json["eos_ids"].empty()
                  ? "none: answers end at their length limit or a stop string alone"
                  : json["eos_ids"].dump().c_str());
  if (json.contains("generation_defaults")) {
    std::string text;
    for (const auto &[name, value] : json["generation_defaults"].items())
      text += (text.empty() ? "" : ", ") + name + " " + formatted("%g", value.get<double>());
    std::printf("sampling of the checkpoint: %s\n", text.c_str());
  }
  for (auto &[key, value] : json["properties"].items())
    std::printf("property %s: %s\n", key.c_str(), string(value));
  if (json.contains("tokenizer"))
    std::printf("tokenizer: %s, chat template %s\n", size(json["tokenizer"]["bytes"]).c_str(),
                size(json["tokenizer"]["chat_template_bytes"]).c_str());
  if (json.contains("module_text"))
    std::printf("m1 module: %s of text, %s packed (m1-compile --emit m1 prints it)\n",
                size(json["module_text"]["bytes"]).c_str(),
                size(json["module_text"]["packed_bytes"]).c_str());
  else
    std::printf("m1 module: none; its code cannot be made anew\n");
  for (const Json &target : json["targets"])
    printTarget(target);
  std::printf("\nstates: %s a sequence, %s a KV page of %u positions\n",
              size(json["slot_bytes"]).c_str(), size(json["page_bytes"]).c_str(),
              number(json["page_size"]));
  for (const Json &state : json["states"])
    std::printf("  %-32s %-5s %-24s %s\n", string(state["name"]), string(state["kind"]),
                string(state["type"]), size(state["bytes"]).c_str());
  for (const Json &file : json["external_files"])
    std::printf("external file %s: %s, sha256 %s\n", string(file["name"]),
                size(file["bytes"]).c_str(), string(file["sha256"]));
  std::printf("\nweights: %zu, %s, checks' digest %s\n", json["weights"].size(),
              size(json["weight_bytes"]).c_str(), string(json["weights_digest"]));
  for (const Json &weight : json["weights"])
    std::printf("  %-56s %-20s %10s  %s\n", string(weight["name"]), string(weight["type"]),
                size(weight["bytes"]).c_str(), string(weight["where"]));
}

} // namespace

int main(int argc, char **argv) {
  m1tool::prepareProcess();
  std::string path;
  bool asJson = false, withDigest = false;
  CLI::App app{
      "Shows what a compiled model (.m1a) holds: header, targets, entry points, plan, kernels, "
      "arenas, weights, digests.",
      "m1-dump"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-dump ") + M1_VERSION);
  app.footer("Example:\n  m1-dump model.m1a --json | python3 -m json.tool");
  app.add_option("artifact", path, "The compiled model")->required()->type_name("OUT.m1a");
  app.add_flag("--json", asJson, "Print JSON");
  app.add_flag("--digest", withDigest,
               "Also the digest of everything, which m1-run --require-digest takes; reads all "
               "weights");
  int exitCode = 0;
  if (!m1tool::parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;

  ArtifactOptions options;
  options.openExternalFiles = withDigest;
  options.allowExternal = {"/"}; // they are only read
  std::unique_ptr<Artifact> artifact;
  Digest digest;
  Status status = Artifact::open(path, options, &artifact);
  if (status.ok() && withDigest)
    status = artifact->digest(0, {}, &digest);
  if (!status.ok())
    return m1tool::fail("m1-dump", status);
  Json json = m1tool::describe(*artifact);
  if (withDigest)
    json["digest"] = digestText(digest.data());
  if (asJson)
    std::printf("%s\n", json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  else
    print(json);
  if (std::fflush(stdout) != 0)
    return m1tool::fail("m1-dump", m1tool::outputError());
  return 0;
}
