// Helpers of the describe functions: text of the facts structure and of the kernel around a device
// function.
#ifndef M1K_CUDA_DESCRIBE_H
#define M1K_CUDA_DESCRIBE_H

#include "m1k_cuda.h"
#include <utility>

namespace m1k::cuda {

int bytes_of(Type type);
const char *name_of(Type type); // float, m1k::bf16, m1k::f16, m1k::i8, m1k::i4x2, m1k::e4m3
bool is_quantised(Type type);   // weights: i8, i4x2 or e4m3
bool is_code(Type type);        // of caches: i8 or e4m3
/// Why weights of this type have no such scales for groups of so many columns, or, with 0, none at
/// all; empty: they may have.
std::string refusal_of_group(Type weights, int group, Type scale);
// kDomain of the kernels: 0 tokens, 1 sequences, 2 logit rows, 3 one
int number_of(Domain domain);
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
int power_of_two(int value); // smallest one >= value

/// Blocks of this much shared memory that a multiprocessor holds, if nothing else bounds them.
inline int blocks_per_multiprocessor(const Tuning &tuning, int64_t shared_bytes) {
  return int((tuning.multiprocessor_shared_bytes - 2 * 1024) / (shared_bytes + 1024));
}

/// The members of `struct Facts` in a kernel's source.
class Facts {
public:
  void type(const char *name, Type value);
  void number(const char *name, int64_t value);
  void flag(const char *name, bool value);
  // static device function, for values that are no integers
  void function(const char *name, float value);
  // static device function `map` of v0, v1 and v2 with this body: of Linear and GatedProduct
  void map(const std::string &body, bool gated);

  std::string text;
};

/// Kernel parameters in order of the call: a C++ type and a role; an absent one is passed to the
/// device function as nullptr.
class Parameters {
public:
  void add(const std::string &type, std::string role, bool present = true);
  void input(Type type, std::string role, bool present = true) {
    add(std::string("const ") + name_of(type), std::move(role), present);
  }
  void vector(std::string role, bool present = true) {
    add("const float", std::move(role), present);
  }
  void batch(std::string role, bool present = true) { add("const int", std::move(role), present); }
  /// That of quantised weights, `of_groups` with a group, else f32; absent for others.
  void scale(Type weights, int group, Type of_groups);
  /// By value; the element type is in the map.
  void tensor_map(std::string role);
  /// A role of the kernel's contract that the device function does not take.
  void unused(const std::string &type, std::string role);

  std::string declaration, arguments;
  std::vector<std::string> roles;
};

/// `extern "C"` kernel that calls m1k::function<Facts>; `minimum_blocks` a multiprocessor bounds
/// registers when > 0. The next launch may begin when all blocks have, or when the function says
/// so (`launches_successor`).
Kernel make_kernel(const std::string &symbol, const char *header, const char *function,
                   const Facts &facts, const Parameters &parameters, int threads,
                   int minimum_blocks = 0, bool launches_successor = false);

} // namespace m1k::cuda

#endif
