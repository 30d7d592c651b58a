#include "artifact/tuning_table.h"
#include "artifact/elements.h"
#include "base/json_value.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace m1rt {

using nlohmann::json;
using schema::ElementType;

namespace {

constexpr ElementType productTypes[] = {ElementType::f32, ElementType::bf16, ElementType::f16,
                                        ElementType::f8e4m3}; // the last of inputs alone

/// What a product of a table may not be, wherever the table comes from; empty when all is well.
std::string faultOf(const GemmShape &shape) {
  auto isOfProducts = [](ElementType type) {
    return std::find(std::begin(productTypes), std::end(productTypes), type) !=
           std::end(productTypes);
  };
  if (!isOfProducts(shape.inputType) || !isOfProducts(shape.outType) ||
      shape.outType == ElementType::f8e4m3)
    return "expected types among f32, bf16, f16 and, of inputs, f8e4m3";
  if (shape.m == 0 || shape.n == 0 || shape.k == 0 || shape.lda < shape.k || shape.ldo < shape.n)
    return formatted("expected m, n, k above 0, lda of k or more and ldo of n or more, got m %u, n "
                     "%u, k %u, lda %u, ldo %u",
                     shape.m, shape.n, shape.k, shape.lda, shape.ldo);
  if (shape.alignment == 0 || shape.alignment > 16 || (shape.alignment & (shape.alignment - 1)))
    return formatted("expected an alignment of 1, 2, 4, 8 or 16, got %u", shape.alignment);
  return "";
}

bool readNumber(const json &object, const char *field, uint32_t *out) {
  const json value = object.value(field, json());
  if (!value.is_number_unsigned() || value.get<uint64_t>() > UINT32_MAX)
    return false;
  *out = value.get<uint32_t>();
  return true;
}

bool readType(const json &object, const char *field, ElementType *out) {
  const json value = object.value(field, json());
  for (ElementType candidate : productTypes)
    if (value == elementName(candidate)) {
      *out = candidate;
      return true;
    }
  return false;
}

bool readProduct(const json &from, GemmShape *shape, TunedProduct *product) {
  if (!from.is_object() || !readNumber(from, "m", &shape->m) || !readNumber(from, "n", &shape->n) ||
      !readNumber(from, "k", &shape->k) || !readNumber(from, "lda", &shape->lda) ||
      !readNumber(from, "ldo", &shape->ldo) || !readNumber(from, "alignment", &shape->alignment) ||
      !readType(from, "input", &shape->inputType) || !readType(from, "output", &shape->outType))
    return false;
  const json bias = from.value("bias", json()), words = from.value("algorithm", json());
  if (!bias.is_boolean() || !words.is_array() || words.size() != product->algorithm.size())
    return false;
  shape->bias = bias.get<bool>();
  for (size_t i = 0; i < words.size(); ++i) {
    if (!words[i].is_number_unsigned())
      return false;
    product->algorithm[i] = words[i].get<uint64_t>();
  }
  auto seconds = [&](const char *field) {
    const json value = from.value(field, json());
    return value.is_number() ? value.get<double>() * 1e-6 : 0;
  };
  product->seconds = seconds("microseconds");
  product->heuristicSeconds = seconds("heuristic_microseconds");
  return true;
}

} // namespace

GemmShape shapeOf(const schema::Gemm &gemm, uint32_t m, uint64_t a, uint64_t out) {
  GemmShape shape;
  shape.m = m;
  shape.n = gemm.n();
  shape.k = gemm.k();
  shape.lda = gemm.lda();
  shape.ldo = gemm.ldo();
  shape.inputType = gemm.a_type();
  shape.outType = gemm.out_type();
  shape.bias = gemm.bias() != nullptr;
  const uint64_t bits = a | out | uint64_t(shape.lda) * elementSize(shape.inputType) |
                        uint64_t(shape.ldo) * elementSize(shape.outType) | 16;
  // lowest set bit: what all of these are multiples of
  shape.alignment = uint32_t(bits & (~bits + 1));
  return shape;
}

std::map<GemmShape, std::string> productsOf(const schema::Target &target) {
  std::map<GemmShape, std::string> products;
  if (target.functions())
    for (const schema::Function *function : *target.functions())
      for (const schema::CommandHolder *holder : *function->commands())
        if (const schema::Gemm *gemm = holder->command_as_Gemm())
          products.emplace(shapeOf(*gemm, 0, gemm->a()->offset(), gemm->out()->offset()),
                           gemm->name() ? gemm->name()->str() : "");
  return products;
}

std::string machineOf(const TuningTable &table) {
  return formatted("%s with cuBLASLt %llu", table.gpu.c_str(), (unsigned long long)table.cublaslt);
}

Status parseTuningTable(const std::string &text, const std::string &path, TuningTable *out) {
  auto bad = [&](const std::string &why) {
    return error(StatusCode::corrupt, "%s: %s", path.c_str(), why.c_str());
  };
  const json table = readJsonOrDiscard<json>(text);
  if (!table.is_object() || table.value("format", json()) != "m1-products" ||
      table.value("version", json()) != 1 || !table.value("products", json()).is_array() ||
      !table.value("gpu", json()).is_string() ||
      !table.value("cublaslt", json()).is_number_unsigned())
    return bad("expected a tuning table as m1-bench --tune writes it, version 1");
  TuningTable read;
  read.gpu = table["gpu"].get<std::string>();
  read.cublaslt = table["cublaslt"].get<uint64_t>();
  if (const json chip = table.value("chip", json()); chip.is_string())
    read.chip = chip.get<std::string>();
  if (!read.chip.empty() && capabilityOf(read.chip, nullptr) == 0)
    return bad("chip '" + read.chip + "': expected one like sm_90");
  for (size_t i = 0; i < table["products"].size(); ++i) {
    GemmShape shape;
    TunedProduct product;
    if (!readProduct(table["products"][i], &shape, &product))
      return bad(
          formatted("product %zu: expected m, n, k, lda, ldo, input, output, bias, alignment "
                    "and an algorithm of %zu words",
                    i, product.algorithm.size()));
    if (const std::string fault = faultOf(shape); !fault.empty())
      return bad(formatted("product %zu: %s", i, fault.c_str()));
    if (!read.products.emplace(shape, product).second)
      return bad(formatted("product %zu: is in the table twice", i));
  }
  *out = std::move(read);
  return {};
}

std::string tuningTableText(const TuningTable &table) {
  json products = json::array();
  for (const auto &[shape, product] : table.products)
    products.push_back({{"m", shape.m},
                        {"n", shape.n},
                        {"k", shape.k},
                        {"lda", shape.lda},
                        {"ldo", shape.ldo},
                        {"input", elementName(shape.inputType)},
                        {"output", elementName(shape.outType)},
                        {"bias", shape.bias},
                        {"alignment", shape.alignment},
                        {"algorithm", product.algorithm},
                        {"microseconds", product.seconds * 1e6},
                        {"heuristic_microseconds", product.heuristicSeconds * 1e6}});
  return json({{"format", "m1-products"},
               {"version", 1},
               {"gpu", table.gpu},
               {"chip", table.chip},
               {"cublaslt", table.cublaslt},
               {"products", products}})
             .dump(1) +
         "\n";
}

Status readTuningTable(const schema::TuningTable &from, TuningTable *out) {
  TuningTable read;
  read.gpu = from.gpu()->str();
  read.chip = from.chip() ? from.chip()->str() : "";
  read.cublaslt = from.cublaslt();
  if (read.gpu.empty() || capabilityOf(read.chip, nullptr) == 0)
    return error(StatusCode::corrupt, "no GPU's name, or a chip '%s' unlike sm_90",
                 read.chip.c_str());
  if (from.products())
    for (uint32_t i = 0; i < from.products()->size(); ++i) {
      const schema::TunedProduct &entry = *from.products()->Get(i);
      TunedProduct product;
      if (!entry.algorithm() || entry.algorithm()->size() != product.algorithm.size())
        return error(StatusCode::corrupt, "product %u: an algorithm of %u words, expected %zu", i,
                     entry.algorithm() ? entry.algorithm()->size() : 0, product.algorithm.size());
      // As in validate.cpp: FlatBuffers' verifier does not look at where elements lie.
      if (reinterpret_cast<uintptr_t>(entry.algorithm()->Data()) % sizeof(uint64_t) != 0)
        return error(StatusCode::corrupt, "product %u: its algorithm lies at no multiple of 8", i);
      std::copy(entry.algorithm()->begin(), entry.algorithm()->end(), product.algorithm.begin());
      product.seconds = double(entry.microseconds()) * 1e-6;
      product.heuristicSeconds = double(entry.heuristic_microseconds()) * 1e-6;
      const GemmShape shape{entry.m(),           entry.n(),    entry.k(),
                            entry.lda(),         entry.ldo(),  entry.input_type(),
                            entry.output_type(), entry.bias(), entry.alignment()};
      if (const std::string fault = faultOf(shape); !fault.empty())
        return error(StatusCode::corrupt, "product %u: %s", i, fault.c_str());
      if (!read.products.emplace(shape, product).second)
        return error(StatusCode::corrupt, "product %u: is in the table twice", i);
    }
  if (out)
    *out = std::move(read);
  return {};
}

int capabilityOf(const std::string &chip, bool *exact) {
  const size_t digits = chip.find('_');
  if (digits == std::string::npos)
    return 0;
  char *end = nullptr;
  const long number = std::strtol(chip.c_str() + digits + 1, &end, 10);
  if (exact)
    *exact = *end != 0;
  return number > 0 && number < 1000 ? int(number) : 0;
}

int suitabilityOf(const schema::Code &code, int capability) {
  bool exact = false;
  const int chip = code.chip() ? capabilityOf(code.chip()->str(), &exact) : 0;
  const std::string format = code.format()->str();
  // Machine code runs on its own generation from its own number on.
  if (format == "cubin" &&
      (exact ? chip == capability : chip / 10 == capability / 10 && chip <= capability))
    return machineCodeSuits + 2 * chip + exact;
  return format == "ptx" && chip <= capability && !exact ? chip : -1;
}

} // namespace m1rt
