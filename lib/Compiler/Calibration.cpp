#include "Calibration.h"

#include "M1/IR/Int4.h"
#include "M1/IR/M1.h"
#include "base/foreign_file.h"
#include "base/json_value.h"
#include "base/mapped_file.h"
#include "m1c/Reference.h"
#include "m1c/Weights.h"
#include "template/chat_template.h"
#include "tokenizer/prepare.h"
#include "tokenizer/tokenizer.h"

#include <numeric>
#include <sstream>

using namespace mlir;

namespace m1c {

namespace m1 = mlir::m1; // not the schema's
namespace {

using Json = nlohmann::ordered_json;

bool isText(const Json &object, const char *key) {
  return object.is_object() && object.contains(key) && object[key].is_string();
}

/// False with `error` when the line says no conversation.
bool readMessages(const Json &line, std::vector<m1rt::ChatMessage> &out, std::string &error) {
  if (isText(line, "prompt")) {
    out.push_back({"user", line["prompt"]});
    return true;
  }
  if (!line.is_object() || !line.contains("messages") || !line["messages"].is_array() ||
      line["messages"].empty()) {
    error = "expected \"prompt\" or \"text\", a string, or \"messages\", a list of {role, content}";
    return false;
  }
  for (const Json &message : line["messages"]) {
    if (!isText(message, "role") || !isText(message, "content")) {
      error = "a message is not {\"role\": text, \"content\": text}";
      return false;
    }
    out.push_back({message["role"], message["content"]});
  }
  return true;
}

class LineReader {
public:
  bool load(const m1rt::PreparedTokenizer &prepared, std::string &error) {
    if (prepared.data.empty()) {
      error = "the model has no tokenizer";
      return false;
    }
    // The tokenizer reads its tables where they lie, which has to be a multiple of 8.
    tables.resize((prepared.data.size() + 7) / 8);
    std::memcpy(tables.data(), prepared.data.data(), prepared.data.size());
    tokenizer = m1rt::Tokenizer::load(
        {reinterpret_cast<const char *>(tables.data()), prepared.data.size()}, error);
    bos = prepared.bosToken, eos = prepared.eosToken;
    if (prepared.chatTemplate.empty())
      chatError = "the model has no chat template; give \"text\"";
    else
      chat = m1rt::ChatTemplate::parse(prepared.chatTemplate, chatError);
    return tokenizer != nullptr;
  }

  bool read(const std::string &line, std::vector<int32_t> &ids, std::string &error) const {
    Json json;
    if (!m1rt::readObjectLine(line, json, error))
      return false;
    for (const char *key : {"text", "prompt"}) // null is as good as missing
      if (json.contains(key) && !json[key].is_null() && !json[key].is_string()) {
        error = "field \"" + std::string(key) + "\" is not a string";
        return false;
      }
    if (isText(json, "text"))
      return tokenizer->encode(json["text"].get<std::string>(), true, ids, error);
    std::vector<m1rt::ChatMessage> messages;
    if (!readMessages(json, messages, error))
      return false;
    std::string text;
    error = chatError;
    return chat &&
           chat->apply(messages, messages.back().role != "assistant", bos, eos, text, error) &&
           tokenizer->encode(text, false, ids, error);
  }

private:
  std::vector<uint64_t> tables;
  std::unique_ptr<m1rt::Tokenizer> tokenizer;
  std::string bos, eos, chatError;
  std::unique_ptr<m1rt::ChatTemplate> chat;
};

} // namespace

llvm::Expected<TokenSequences>
readCalibration(const std::string &path, const m1rt::PreparedTokenizer &prepared, ModuleOp module) {
  auto fail = [&](const std::string &where, const std::string &error) {
    return llvm::createStringError("--calibrate: " + where + ": " + error);
  };
  m1rt::MappedFile file;
  if (m1rt::Status status = m1rt::MappedFile::open(path, &file); !status.ok())
    return llvm::createStringError("--calibrate: " + status.message());
  LineReader reader;
  std::string error;
  const std::string_view content(reinterpret_cast<const char *>(file.bytes().data),
                                 file.bytes().size);
  if (const std::string foreign = m1rt::describeForeignFile(content.substr(0, 64));
      !foreign.empty())
    return fail(path, foreign);
  if (!reader.load(prepared, error))
    return fail(path, error);
  auto model = m1::getModel(module);
  const auto longest = static_cast<size_t>(model.getMaxPositions());
  std::istringstream lines{std::string(content)};
  TokenSequences sequences;
  std::string line;
  for (size_t number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos)
      continue;
    const std::string where = path + ":" + std::to_string(number);
    std::vector<int32_t> ids;
    if (!reader.read(line, ids, error))
      return fail(where, error);
    if (ids.size() > longest)
      return fail(where, std::to_string(ids.size()) + " tokens, where the model has " +
                             std::to_string(longest) + " positions");
    assert(llvm::all_of(ids,
                        [&](int64_t id) {
                          return id >= 0 && id < static_cast<int64_t>(model.getVocabSize());
                        }) &&
           "the import takes no tokenizer with more ids than the model");
    if (!ids.empty())
      sequences.push_back(std::move(ids));
  }
  if (sequences.empty())
    return fail(path, "no prompts");
  return sequences;
}

FailureOr<llvm::StringMap<std::vector<float>>>
measureColumns(ModuleOp module, const CheckpointData &data, const TokenSequences &sequences) {
  auto reference = Reference::create(module, data);
  if (failed(reference))
    return failure();
  llvm::StringMap<ReferenceInputs> inputs;
  (*reference)->observe(&inputs);
  constexpr size_t step = 256; // tokens: rows of all values are kept
  for (const std::vector<int32_t> &sequence : sequences) {
    (*reference)->clearStates();
    for (size_t begin = 0; begin < sequence.size(); begin += step) {
      const size_t end = std::min(sequence.size(), begin + step);
      if (failed((*reference)
                     ->run("prefill", makeReferenceBatch(
                                          {{0,
                                            static_cast<int32_t>(begin),
                                            {sequence.begin() + begin, sequence.begin() + end}}}))))
        return failure();
    }
  }
  llvm::StringMap<std::vector<float>> importance;
  for (const auto &entry : inputs) {
    const std::vector<double> &squares = entry.second.squares;
    const double all = std::accumulate(squares.begin(), squares.end(), 0.0);
    // Where nothing ever came all count the same.
    const double floor = all > 0 ? 0.01 * all / static_cast<double>(squares.size()) : 1;
    std::vector<float> &of = importance[entry.first()];
    for (double square : squares)
      of.push_back(static_cast<float>((square + floor) / static_cast<double>(entry.second.rows)));
  }
  return importance;
}

void setColumnImportance(ModuleOp module, const llvm::StringMap<std::vector<float>> &importance) {
  for (auto weight : module.getOps<m1::WeightOp>()) {
    auto found = importance.find(weight.getSymName());
    std::optional<m1::GroupForm> form = m1::groupFormOf(weight.getTransform());
    if (!form || form->bits != 4 || found == importance.end())
      continue;
    auto type = RankedTensorType::get(static_cast<int64_t>(found->second.size()),
                                      Float32Type::get(module.getContext()));
    weight->setAttr(columnImportanceName,
                    DenseElementsAttr::get(type, llvm::ArrayRef<float>(found->second)));
  }
}

} // namespace m1c
