#include "describe.h"

#include <cstdio>

namespace m1k::cuda {

int bytes_of(Type type) { return type == Type::f32 ? 4 : is_quantised(type) ? 1 : 2; }

const char *name_of(Type type) {
  switch (type) {
  case Type::f32:
    return "float";
  case Type::bf16:
    return "m1k::bf16";
  case Type::f16:
    return "m1k::f16";
  case Type::i8:
    return "m1k::i8";
  case Type::i4x2:
    return "m1k::i4x2";
  case Type::e4m3:
    return "m1k::e4m3";
  }
  return "";
}

int number_of(Domain domain) {
  switch (domain) {
  case Domain::tokens:
    return 0;
  case Domain::sequences:
    return 1;
  case Domain::logit_rows:
    return 2;
  case Domain::one:
    return 3;
  }
  return 3;
}

bool is_quantised(Type type) {
  return type == Type::i8 || type == Type::i4x2 || type == Type::e4m3;
}
bool is_code(Type type) { return type == Type::i8 || type == Type::e4m3; }

std::string refusal_of_group(Type weights, int group, Type scale) {
  const bool is_size = group == 32 || group == 64 || group == 128;
  if (weights == Type::i4x2 ? !is_size : weights == Type::i8 ? group && !is_size : group != 0)
    return std::string("expected a group of ") +
           (weights == Type::i4x2 || weights == Type::i8 ? "32, 64 or 128 columns" : "none") +
           ", got " + std::to_string(group);
  return group && scale != Type::bf16 && scale != Type::f16
             ? std::string("expected scales of groups of bf16 or f16, got ") + name_of(scale)
             : "";
}

int power_of_two(int value) {
  int power = 1;
  while (power < value)
    power *= 2;
  return power;
}

void Facts::type(const char *name, Type value) {
  text += std::string("  using ") + name + " = " + name_of(value) + ";\n";
}
void Facts::number(const char *name, int64_t value) {
  text += std::string("  static constexpr int ") + name + " = " + std::to_string(value) + ";\n";
}
void Facts::flag(const char *name, bool value) {
  text +=
      std::string("  static constexpr bool ") + name + " = " + (value ? "true" : "false") + ";\n";
}
void Facts::function(const char *name, float value) {
  char literal[64];
  std::snprintf(literal, sizeof literal, "%.9ef", static_cast<double>(value));
  text += std::string("  static __device__ float ") + name + "() { return " + literal + "; }\n";
}

void Facts::map(const std::string &body, bool gated) {
  const char *absent = gated ? "return m1k::silu(v0) * v1;" : "return v0;";
  text +=
      "  static __device__ float map(float v0, [[maybe_unused]] float v1, [[maybe_unused]] float "
      "v2) { " +
      (body.empty() ? absent : body) + " }\n";
}

void Parameters::add(const std::string &type, std::string role, bool present) {
  if (!arguments.empty())
    arguments += ", ";
  arguments += present ? role : "nullptr";
  if (present)
    unused(type, std::move(role));
}

void Parameters::scale(Type weights, int group, Type of_groups) {
  add(std::string("const ") + name_of(group ? of_groups : Type::f32), "scale",
      is_quantised(weights));
}

void Parameters::tensor_map(std::string role) {
  arguments += (arguments.empty() ? "" : ", ") + role;
  declaration += "const __grid_constant__ m1k::TensorMap " + role + ", ";
  roles.push_back(std::move(role));
}

void Parameters::unused(const std::string &type, std::string role) {
  declaration += type + " *__restrict__ " + role + ", ";
  roles.push_back(std::move(role));
}

std::string architecture_of(const std::string &source, const std::string &chip) {
  return chip == "sm_90" && source.find("warpgroup.cuh\"") != std::string::npos ? "sm_90a" : chip;
}

Kernel make_kernel(const std::string &symbol, const char *header, const char *function,
                   const Facts &facts, const Parameters &parameters, int threads,
                   int minimum_blocks, bool launches_successor) {
  Kernel kernel;
  kernel.symbol = symbol;
  kernel.operands = parameters.roles;
  kernel.threads = threads;
  std::string bounds =
      std::to_string(threads) + (minimum_blocks > 0 ? ", " + std::to_string(minimum_blocks) : "");
  // The structure has the kernel's name, so that several kernels may stand in one translation unit.
  kernel.source = std::string("#include \"") + header + "\"\nstruct " + symbol + "_facts {\n" +
                  facts.text + "};\nextern \"C\" __global__ " + "__launch_bounds__(" + bounds +
                  ") void " + symbol + "(" + parameters.declaration + "m1_dims dims) {\n" +
                  (launches_successor ? "" : "  m1k::launch_successor();\n") +
                  "  m1k::" + function + "<" + symbol + "_facts>(" + parameters.arguments +
                  ", dims);\n}\n";
  return kernel;
}

} // namespace m1k::cuda
