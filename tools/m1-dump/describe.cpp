#include "describe.h"

#include "artifact/tuning_table.h"
#include "base/sha256.h"
#include "device.h"
#include "weight_types.h"
#include <cstring>
#include <elf.h>
#include <map>

using namespace m1rt;
using Json = nlohmann::ordered_json;

namespace m1tool {

static std::string text(const flatbuffers::String *string) {
  return string ? string->str() : std::string();
}

static std::string typeText(const schema::TensorType &type) {
  std::string result;
  if (type.shape())
    for (int64_t size : *type.shape())
      result += std::to_string(size) + "x";
  return result + elementName(type.element());
}

/// Sizes of the symbols of a 64-bit little-endian ELF file (a CPU object or a cubin). Nothing for
/// other formats or a damaged file.
static std::map<std::string, uint64_t> symbolSizes(Bytes image) {
  std::map<std::string, uint64_t> sizes;
  if (image.size < sizeof(Elf64_Ehdr) || std::memcmp(image.data, ELFMAG, SELFMAG) != 0)
    return sizes;
  Elf64_Ehdr header;
  std::memcpy(&header, image.data, sizeof(header));
  auto section = [&](uint64_t index, Elf64_Shdr *out) {
    const uint64_t offset = header.e_shoff + index * sizeof(Elf64_Shdr);
    if (index >= header.e_shnum || header.e_shoff > image.size ||
        offset + sizeof(Elf64_Shdr) > image.size)
      return false;
    std::memcpy(out, image.data + offset, sizeof(*out));
    return out->sh_type == SHT_NOBITS ||
           (out->sh_offset <= image.size && out->sh_size <= image.size - out->sh_offset);
  };
  for (uint64_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr symbols, strings;
    if (!section(i, &symbols) || (symbols.sh_type != SHT_SYMTAB && symbols.sh_type != SHT_DYNSYM) ||
        !section(symbols.sh_link, &strings))
      continue;
    for (uint64_t j = 0; j + sizeof(Elf64_Sym) <= symbols.sh_size; j += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, image.data + symbols.sh_offset + j, sizeof(symbol));
      if (symbol.st_name >= strings.sh_size || symbol.st_size == 0)
        continue;
      const char *name =
          reinterpret_cast<const char *>(image.data + strings.sh_offset + symbol.st_name);
      sizes[std::string(name, strnlen(name, strings.sh_size - symbol.st_name))] = symbol.st_size;
    }
  }
  return sizes;
}

static std::string operandText(const schema::Module &module, const schema::Operand &operand) {
  std::string result;
  switch (operand.kind()) {
  case schema::OperandKind::weight:
    result = "weight:" + text(module.weights()->Get(operand.index())->name());
    break;
  case schema::OperandKind::state:
    result = "state:" + text(module.states()->Get(operand.index())->name());
    break;
  case schema::OperandKind::port:
    result = schema::EnumNamePort(schema::Port(operand.index()));
    break;
  case schema::OperandKind::temporary:
  case schema::OperandKind::row_temporary:
    result = std::string(operand.kind() == schema::OperandKind::temporary ? "T@" : "L@") +
             std::to_string(operand.arena_offset());
    break;
  case schema::OperandKind::workspace:
    result = "workspace";
    break;
  }
  return operand.offset() ? result + "+" + std::to_string(operand.offset()) : result;
}

static Json commandJson(const schema::Module &module, const schema::Target &target,
                        const schema::CommandHolder &holder) {
  Json json;
  Json operands = Json::array();
  if (const schema::Launch *launch = holder.command_as_Launch()) {
    json["command"] = "launch";
    json["name"] = text(launch->name());
    json["kernel"] = text(target.kernels()->Get(launch->kernel())->symbol());
    json["rows"] = schema::EnumNameRowDomain(launch->domain());
    json["grid_x"] = launch->grid_x();
    json["rows_per_group"] = launch->rows_per_group();
    if (launch->operands())
      for (const schema::Operand *operand : *launch->operands())
        operands.push_back(operandText(module, *operand));
  } else if (const schema::Gemm *gemm = holder.command_as_Gemm()) {
    json["command"] = "gemm";
    json["name"] = text(gemm->name());
    json["rows"] = schema::EnumNameRowDomain(gemm->domain());
    json["n"] = gemm->n();
    json["k"] = gemm->k();
    json["lda"] = gemm->lda();
    json["ldo"] = gemm->ldo();
    json["bias"] = gemm->bias() != nullptr;
    json["types"] = Json::array(
        {elementName(gemm->a_type()), elementName(gemm->w_type()), elementName(gemm->out_type())});
    for (const schema::Operand *operand :
         {gemm->a(), gemm->w(), gemm->out(), gemm->bias(), gemm->a_scale(), gemm->w_scale()})
      if (operand)
        operands.push_back(operandText(module, *operand));
  }
  json["operands"] = std::move(operands);
  return json;
}

static Json targetJson(const Artifact &artifact, const schema::Target &target) {
  Json json;
  json["name"] = text(target.name());
  json["cpu"] = text(target.cpu());
  json["cpu_features"] = Json::array();
  if (target.cpu_features())
    for (const flatbuffers::String *feature : *target.cpu_features())
      json["cpu_features"].push_back(feature->str());
  std::vector<std::map<std::string, uint64_t>> sizes;
  json["code"] = Json::array();
  if (target.code())
    for (const schema::Code *code : *target.code()) {
      Bytes image = artifact.segment(*code->data());
      sizes.push_back(symbolSizes(image));
      Sha256 sha;
      sha.update(image.data, image.size);
      json["code"].push_back({{"format", text(code->format())},
                              {"chip", text(code->chip())},
                              {"offset", code->data()->offset()},
                              {"bytes", code->data()->size()},
                              {"sha256", digestText(sha.finish().data())}});
    }
  json["kernels"] = Json::array();
  if (target.kernels())
    for (const schema::Kernel *kernel : *target.kernels()) {
      Json entry;
      entry["symbol"] = text(kernel->symbol());
      entry["origin"] = text(kernel->origin());
      entry["code"] = kernel->code();
      auto size = sizes[kernel->code()].find(text(kernel->symbol()));
      entry["bytes"] = size == sizes[kernel->code()].end() ? Json(nullptr) : Json(size->second);
      entry["block_size"] = kernel->block_size();
      entry["shared_bytes"] = kernel->shared_bytes();
      json["kernels"].push_back(std::move(entry));
    }
  for (uint32_t i = 0; target.tuning() && i < target.tuning()->size(); ++i) {
    TuningTable table;
    if (readTuningTable(*target.tuning()->Get(i), &table).ok())
      json["tuning"].push_back(Json::parse(tuningTableText(table)));
  }
  json["functions"] = Json::array();
  if (target.functions())
    for (const schema::Function *function : *target.functions()) {
      Json entry;
      entry["name"] = text(function->name());
      entry["max_rows"] = function->max_rows();
      if (function->min_rows())
        entry["min_rows"] = function->min_rows();
      entry["temporary_bytes_per_row"] = function->temporary_bytes_per_row();
      entry["row_temporary_bytes_per_row"] = function->row_temporary_bytes_per_row();
      entry["workspace_bytes"] = function->workspace_bytes();
      entry["commands"] = Json::array();
      if (function->commands())
        for (const schema::CommandHolder *command : *function->commands())
          entry["commands"].push_back(commandJson(artifact.module(), target, *command));
      json["functions"].push_back(std::move(entry));
    }
  return json;
}

/// The states, and what they take of a sequence and of a page.
static void describeStates(const schema::Module &module, Json &json) {
  uint64_t slotBytes = 0, pageBytes = 0;
  json["states"] = Json::array();
  if (module.states())
    for (const schema::State *state : *module.states()) {
      (state->kind() == schema::StateKind::kv ? pageBytes : slotBytes) += state->bytes();
      json["states"].push_back({{"name", text(state->name())},
                                {"kind", schema::EnumNameStateKind(state->kind())},
                                {"type", typeText(*state->type())},
                                {"bytes", state->bytes()}});
      if (state->window())
        json["states"].back()["window"] = state->window();
    }
  json["slot_bytes"] = slotBytes;
  json["page_bytes"] = pageBytes;
}

static Json weightJson(const Artifact &artifact, uint32_t index) {
  const schema::Module &module = artifact.module();
  const schema::Weight &weight = *module.weights()->Get(index);
  Json entry{{"name", text(weight.name())},
             {"type", typeText(*weight.type())},
             {"bytes", artifact.weightBytes(index)}};
  if (weight.dummy()) {
    entry["where"] = "dummy";
    entry["scale"] = weight.dummy_scale();
    entry["mean"] = weight.dummy_offset();
  } else {
    entry["where"] =
        weight.file() < 0
            ? "embedded"
            : "external:" + text(module.external_files()->Get(uint32_t(weight.file()))->name());
    entry["offset"] = weight.data()->offset();
  }
  if (weight.sources()) {
    for (const schema::TensorRows *rows : *weight.sources())
      entry["sources"].push_back(
          {{"tensor", text(module.checkpoint_tensors()->Get(rows->tensor())->name())},
           {"first", rows->first()},
           {"rows", rows->count()}});
    entry["transform"] = schema::EnumNameWeightTransform(weight.transform());
  }
  return entry;
}

static Json defaultsJson(const GenerationDefaults &defaults) {
  Json out = Json::object();
  auto put = [&](const char *name, auto value) {
    if (value)
      out[name] = *value;
  };
  put("temperature", defaults.temperature);
  put("top_k", defaults.topK);
  put("top_p", defaults.topP);
  put("min_p", defaults.minP);
  put("repetition_penalty", defaults.repetitionPenalty);
  return out;
}

Json describe(const Artifact &artifact) {
  const schema::Module &module = artifact.module();
  const m1_artifact_header &header = artifact.header();
  Json json;
  json["path"] = artifact.path();
  json["bytes"] = artifact.fileSize();
  json["header"] = {{"version", header.version},
                    {"digested_bytes", uint64_t(header.digested_pages) * M1_ARTIFACT_PAGE},
                    {"module_offset", header.module_offset},
                    {"module_bytes", header.module_size},
                    {"sha256", digestText(header.digest)}};
  json["producer"] = text(module.producer());
  json["architecture"] = text(module.architecture());
  json["vocab_size"] = module.vocab_size();
  json["hidden_size"] = module.hidden_size();
  json["layers"] = module.layers();
  json["max_positions"] = module.max_positions();
  json["page_size"] = module.page_size();
  json["bos_id"] = module.bos_id();
  json["eos_ids"] = Json::array();
  if (module.eos_ids())
    for (int32_t id : *module.eos_ids())
      json["eos_ids"].push_back(id);
  if (const GenerationDefaults defaults = artifact.generationDefaults(); !defaults.empty())
    json["generation_defaults"] = defaultsJson(defaults);
  json["activation_type"] = elementName(module.activation_type());
  json["state_type"] = elementName(module.state_type());
  json["kv_type"] = elementName(module.kv_type());
  json["properties"] = Json::object();
  if (module.properties())
    for (const schema::KeyValue *property : *module.properties())
      json["properties"][text(property->key())] = text(property->value());
  if (const schema::Tokenizer *tokenizer = module.tokenizer())
    json["tokenizer"] = {{"bytes", tokenizer->data() ? tokenizer->data()->size() : 0},
                         {"chat_template_bytes", text(tokenizer->chat_template()).size()},
                         {"bos_token", text(tokenizer->bos_token())},
                         {"eos_token", text(tokenizer->eos_token())}};

  if (const schema::ModuleText *text = module.module_text())
    json["module_text"] = {{"bytes", text->bytes()},
                           {"offset", text->data()->offset()},
                           {"packed_bytes", text->data()->size()}};

  describeStates(module, json);
  json["targets"] = Json::array();
  if (module.targets())
    for (const schema::Target *target : *module.targets())
      json["targets"].push_back(targetJson(artifact, *target));
  json["external_files"] = Json::array();
  if (module.external_files())
    for (const schema::ExternalFile *file : *module.external_files())
      json["external_files"].push_back({{"name", text(file->name())},
                                        {"bytes", file->size()},
                                        {"sha256", digestText(file->digest()->data())}});
  json["dummy_seed"] = module.dummy_seed();
  uint64_t weightBytes = 0;
  json["weights"] = Json::array();
  for (uint32_t i = 0; module.weights() && i < module.weights()->size(); ++i) {
    json["weights"].push_back(weightJson(artifact, i));
    weightBytes += artifact.weightBytes(i);
  }
  json["weight_bytes"] = weightBytes;
  json["weight_types"] = weightTypes(artifact);
  json["weights_digest"] = digestText(artifact.weightsDigest().data());
  return json;
}

} // namespace m1tool
