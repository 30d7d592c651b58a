#include "Harness.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nvrtc.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>

#ifndef M1_NVRTC_LIBRARY // where the build found the toolkit's
#define M1_NVRTC_LIBRARY "libnvrtc.so"
#endif

namespace m1k::test {
namespace {

void check(cudaError_t status, const char *what) {
  if (status != cudaSuccess) {
    std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
    std::exit(2);
  }
}

CUtensorMap tensor_map(const cuda::TensorMap &map, void *memory, int rows) {
  static const auto encode = [] {
    void *function = nullptr;
    cudaDriverEntryPointQueryResult found;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                           cudaEnableDefault, &found),
          "cuTensorMapEncodeTiled");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  CUtensorMap result;
  const cuuint64_t sizes[] = {cuuint64_t(map.columns), cuuint64_t(rows)},
                   strides[] = {cuuint64_t(map.row_bytes)};
  const cuuint32_t box[] = {64, cuuint32_t(map.box_rows)}, steps[] = {1, 1};
  if (encode(&result, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, memory, sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS) {
    std::fprintf(stderr, "cuTensorMapEncodeTiled refuses [%d, %d] at %p\n", rows, map.columns,
                 memory);
    std::exit(2);
  }
  return result;
}

// NVRTC is looked up when something is compiled, so that the machine with the GPU needs none.
struct Nvrtc {
  decltype(&nvrtcCreateProgram) create = nullptr;
  decltype(&nvrtcCompileProgram) compile = nullptr;
  decltype(&nvrtcGetProgramLogSize) log_size = nullptr;
  decltype(&nvrtcGetProgramLog) log = nullptr;
  decltype(&nvrtcGetCUBINSize) cubin_size = nullptr;
  decltype(&nvrtcGetCUBIN) cubin = nullptr;
  decltype(&nvrtcGetErrorString) error = nullptr;
  decltype(&nvrtcDestroyProgram) destroy = nullptr;
  bool found = false;
  Nvrtc() {
    void *library = nullptr;
    for (const char *name : {"libnvrtc.so.13", M1_NVRTC_LIBRARY})
      if (!library)
        library = dlopen(name, RTLD_NOW);
    if (!library)
      return;
    found = true;
    auto get = [&](auto &function, const char *name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      found &= function != nullptr;
    };
    get(create, "nvrtcCreateProgram");
    get(compile, "nvrtcCompileProgram");
    get(log_size, "nvrtcGetProgramLogSize");
    get(log, "nvrtcGetProgramLog");
    get(cubin_size, "nvrtcGetCUBINSize");
    get(cubin, "nvrtcGetCUBIN");
    get(error, "nvrtcGetErrorString");
    get(destroy, "nvrtcDestroyProgram");
  }
};

int number_after(const std::string &log, const std::string &before_unit) {
  // "... 12 bytes spill stores": the number before the unit, summed over the functions of the log.
  int total = 0;
  for (size_t at = log.find(before_unit); at != std::string::npos;
       at = log.find(before_unit, at + 1)) {
    size_t start = at;
    while (start > 0 && std::isdigit(static_cast<unsigned char>(log[start - 1])))
      --start;
    total += std::atoi(log.substr(start, at - start).c_str());
  }
  return total;
}

} // namespace

Compiled compile(const cuda::Kernel &kernel, const std::string &architecture) {
  Compiled result;
  static const Nvrtc nvrtc;
  if (!nvrtc.found) {
    result.error = "libnvrtc.so.13 was not found";
    return result;
  }
  size_t count = 0;
  const cuda::SourceFile *files = cuda::cuda_sources(&count);
  std::vector<const char *> names, texts;
  for (size_t i = 0; i < count; ++i) {
    names.push_back(files[i].name);
    texts.push_back(files[i].text);
  }
  nvrtcProgram program;
  if (nvrtc.create(&program, kernel.source.c_str(), (kernel.symbol + ".cu").c_str(), int(count),
                   texts.data(), names.data()) != NVRTC_SUCCESS) {
    result.error = "nvrtcCreateProgram failed";
    return result;
  }
  std::vector<std::string> options = cuda::nvrtc_options();
  options.push_back("--gpu-architecture=" + architecture);
  options.push_back("--ptxas-options=-v");
  std::vector<const char *> pointers;
  for (const std::string &option : options)
    pointers.push_back(option.c_str());
  nvrtcResult status = nvrtc.compile(program, int(pointers.size()), pointers.data());
  size_t size = 0;
  nvrtc.log_size(program, &size);
  result.log.resize(size);
  nvrtc.log(program, result.log.data());
  if (status != NVRTC_SUCCESS) {
    result.error = std::string(nvrtc.error(status)) + "\n" + result.log;
  } else {
    nvrtc.cubin_size(program, &size);
    result.cubin.resize(size);
    nvrtc.cubin(program, result.cubin.data());
    result.registers = number_after(result.log, " registers");
    result.spill_bytes = number_after(result.log, " bytes spill stores");
    result.stack_bytes = number_after(result.log, " bytes stack frame");
  }
  nvrtc.destroy(&program);
  return result;
}

uint64_t Random::next() {
  state += 0x9E3779B97F4A7C15ull;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
double Random::uniform(double low, double high) {
  return low + (high - low) * double(next() >> 11) * 0x1p-53;
}
double Random::normal() {
  return std::sqrt(-2 * std::log(uniform(1e-12, 1))) * std::cos(6.283185307179586 * uniform(0, 1));
}

std::string type_name(Type type) {
  switch (type) {
  case Type::f32:
    return "f32";
  case Type::bf16:
    return "bf16";
  case Type::f16:
    return "f16";
  case Type::i8:
    return "i8";
  case Type::i4x2:
    return "i4";
  case Type::e4m3:
    return "e4m3";
  }
  return "";
}
int size_of(Type type) {
  return type == Type::f32 ? 4 : type == Type::bf16 || type == Type::f16 ? 2 : 1;
}
std::vector<char> int4_rows(const std::vector<double> &values, int n, int k) {
  const size_t row_bytes = size_t(k + 127) / 128 * 64;
  std::vector<char> bytes(size_t(n) * row_bytes, 0x77); // what fills a row up is not used
  for (int row = 0; row < n; ++row)
    for (int column = 0; column < k; ++column) {
      const int word = column % 32, plane = column % 128 / 32;
      char &byte = bytes[row * row_bytes + column / 128 * 64 + word * 2 + plane / 2];
      const int shift = plane % 2 * 4, value = int(values[size_t(row) * k + column]) & 15;
      byte = char((byte & ~(15 << shift)) | value << shift);
    }
  return bytes;
}

namespace {
uint16_t half_bits(double value, Type type) {
  float f = float(value);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (type == Type::bf16) {
    if (std::isnan(f))
      return 0x7fff;
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
  _Float16 h = static_cast<_Float16>(f);
  uint16_t out;
  std::memcpy(&out, &h, 2);
  return out;
}
double from_half(uint16_t bits, Type type) {
  if (type == Type::bf16) {
    uint32_t wide = uint32_t(bits) << 16;
    float f;
    std::memcpy(&f, &wide, 4);
    return f;
  }
  _Float16 h;
  std::memcpy(&h, &bits, 2);
  return double(h);
}
} // namespace

/// What a code of e4m3 stands for: bias 7, no infinities.
static double value_of_e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double size = (code & 0x7f) == 0x7f ? std::numeric_limits<double>::quiet_NaN()
                      : exponent            ? std::ldexp(8 + mantissa, exponent - 10)
                                            : std::ldexp(mantissa, -9);
  return code & 0x80 ? -size : size;
}
/// The nearest code, of two the even one.
static uint8_t code_of_e4m3(double value) {
  static const std::vector<double> sizes = [] { // grow with their codes
    std::vector<double> all;
    for (int code = 0; code <= 0x7e; ++code)
      all.push_back(value_of_e4m3(uint8_t(code)));
    return all;
  }();
  const double size = std::abs(value);
  auto above = std::lower_bound(sizes.begin(), sizes.end() - 1, size);
  int code = int(above - sizes.begin());
  if (code > 0) {
    const double nearer = (size - sizes[code - 1]) - (*above - size);
    if (nearer < 0 || (nearer == 0 && code % 2))
      --code;
  }
  return uint8_t(code | (value < 0 ? 0x80 : 0));
}

double rounded(double value, Type type) {
  if (type == Type::e4m3)
    return value_of_e4m3(code_of_e4m3(value));
  if (type == Type::i8)
    return std::min(127.0, std::max(-128.0, std::nearbyint(value)));
  if (type == Type::i4x2)
    return std::min(7.0, std::max(-8.0, std::nearbyint(value)));
  return type == Type::f32 ? double(float(value)) : from_half(half_bits(value, type), type);
}

void encode(const std::vector<double> &values, Type type, std::vector<char> &bytes) {
  bytes.resize(values.size() * size_of(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == Type::f32) {
      float f = float(values[i]);
      std::memcpy(&bytes[i * 4], &f, 4);
    } else if (type == Type::i8) {
      bytes[i] = char(int8_t(rounded(values[i], type)));
    } else if (type == Type::e4m3) {
      bytes[i] = char(code_of_e4m3(values[i]));
    } else {
      uint16_t h = half_bits(values[i], type);
      std::memcpy(&bytes[i * 2], &h, 2);
    }
  }
}

std::vector<double> decode(const std::vector<char> &bytes, Type type) {
  std::vector<double> values(bytes.size() / size_of(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == Type::f32) {
      float f;
      std::memcpy(&f, &bytes[i * 4], 4);
      values[i] = f;
    } else if (type == Type::i8) {
      values[i] = int8_t(bytes[i]);
    } else if (type == Type::e4m3) {
      values[i] = value_of_e4m3(uint8_t(bytes[i]));
    } else {
      uint16_t h;
      std::memcpy(&h, &bytes[i * 2], 2);
      values[i] = from_half(h, type);
    }
  }
  return values;
}

struct Context::Loaded {
  cuda::Kernel kernel;
  cudaLibrary_t library = nullptr;
  cudaKernel_t function = nullptr;
};

Context::Context(Mode mode, std::string directory, std::string architecture)
    : mode(mode), directory(std::move(directory)), architecture(std::move(architecture)) {}
Context::~Context() = default;

bool Context::prepare(const Description &description) {
  if (!description.error.empty()) {
    require(false, description.error);
    return false;
  }
  current.clear();
  for (const cuda::Kernel &kernel : description.kernels) {
    // Equal sources share a file, whatever the case.
    char file[64];
    std::snprintf(file, sizeof file, "/%016zx.cubin", std::hash<std::string>()(kernel.source));
    std::string path = directory + file;
    if (mode == Mode::compile) {
      struct stat info;
      if (stat(path.c_str(), &info) == 0)
        continue;
      Compiled compiled = compile(kernel, architecture);
      if (!compiled.error.empty()) {
        require(false, kernel.symbol + ": " + compiled.error);
        continue;
      }
      std::ofstream(path, std::ios::binary)
          .write(compiled.cubin.data(), std::streamsize(compiled.cubin.size()));
      std::printf("  %-60s %3d registers, %d bytes spilled, %d stack, %zu bytes of code\n",
                  name.c_str(), compiled.registers, compiled.spill_bytes, compiled.stack_bytes,
                  compiled.cubin.size());
      // Up to 16 bytes are convergence barriers that ptxas keeps on the stack, not data.
      require(compiled.spill_bytes <= 16, kernel.symbol + " spills registers");
      // What ptxas says where registers of a warpgroup's products are used before these end.
      for (const char *words : {"wgmma.mma_async instructions are serialized", "wait is injected"})
        require(compiled.log.find(words) == std::string::npos,
                kernel.symbol + "'s products wait for one another: " + compiled.log);
      continue;
    }
    std::unique_ptr<Loaded> &entry = cache[kernel.source];
    if (!entry) {
      entry = std::make_unique<Loaded>();
      if (cudaLibraryLoadFromFile(&entry->library, path.c_str(), nullptr, nullptr, 0, nullptr,
                                  nullptr, 0) != cudaSuccess) {
        cudaGetLastError();
        require(false, "cannot load " + path);
        entry.reset();
        return false;
      }
      check(cudaLibraryGetKernel(&entry->function, entry->library, kernel.symbol.c_str()),
            "cudaLibraryGetKernel");
      if (kernel.shared_bytes > 48 * 1024)
        check(cudaFuncSetAttribute(reinterpret_cast<const void *>(entry->function),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   kernel.shared_bytes),
              "cudaFuncSetAttribute");
    }
    entry->kernel = kernel;
    current.push_back(entry.get());
  }
  if (mode == Mode::compile)
    return false;
  if (description.workspace_bytes > 0)
    poison("workspace", size_t(description.workspace_bytes));
  temporary_bytes_per_row = size_t(description.temporary_bytes_per_row);
  return true;
}

void Context::raw(const std::string &role, std::vector<char> bytes) {
  buffers[role].host = std::move(bytes);
}
void Context::values(const std::string &role, const std::vector<double> &values, Type type) {
  std::vector<char> bytes;
  encode(values, type, bytes);
  raw(role, std::move(bytes));
}
void Context::integers(const std::string &role, const std::vector<int> &values) {
  const char *from = reinterpret_cast<const char *>(values.data());
  raw(role, std::vector<char>(from, from + values.size() * 4));
}
void Context::poison(const std::string &role, size_t bytes) {
  raw(role, std::vector<char>(bytes, char(0xFF)));
}

void Context::upload() {
  for (auto &entry : buffers) {
    Buffer &buffer = entry.second;
    if (!buffer.device)
      check(cudaMalloc(&buffer.device, std::max<size_t>(buffer.host.size(), 16)), "cudaMalloc");
    check(cudaMemcpy(buffer.device, buffer.host.data(), buffer.host.size(), cudaMemcpyHostToDevice),
          "upload");
  }
}

void Context::enqueue(const std::map<std::string, void *> &pointers, const m1_dims &dims,
                      void *stream) {
  for (Loaded *entry : current) {
    const cuda::Kernel &kernel = entry->kernel;
    std::vector<void *> operands;
    for (const std::string &role : kernel.operands) {
      auto found = pointers.find(role);
      if (found == pointers.end()) {
        std::fprintf(stderr, "%s: no buffer for operand %s\n", kernel.symbol.c_str(), role.c_str());
        std::exit(2);
      }
      operands.push_back(found->second);
    }
    int rows = kernel.domain == Domain::tokens       ? dims.tokens
               : kernel.domain == Domain::sequences  ? dims.sequences
               : kernel.domain == Domain::logit_rows ? dims.logit_rows
                                                     : 1;
    std::vector<void *> arguments;
    for (void *&operand : operands)
      arguments.push_back(&operand);
    std::vector<CUtensorMap> maps(kernel.tensor_maps.size());
    for (size_t i = 0; i < maps.size(); ++i) {
      const cuda::TensorMap &map = kernel.tensor_maps[i];
      maps[i] = tensor_map(map, operands[map.operand], map.rows ? map.rows : rows);
      arguments[map.operand] = &maps[i];
    }
    m1_dims copy = dims;
    arguments.push_back(&copy);
    dim3 grid{unsigned(kernel.grid_x),
              unsigned((rows + kernel.rows_per_group - 1) / kernel.rows_per_group), 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3{unsigned(kernel.threads), 1, 1};
    config.dynamicSmemBytes = size_t(kernel.shared_bytes);
    config.stream = static_cast<cudaStream_t>(stream);
    cudaLaunchAttribute cooperative = {}, early = {};
    // The first launch of a step is never early.
    if (kernel.launch_early && entry != current.front()) {
      early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      early.val.programmaticStreamSerializationAllowed = 1;
      config.attrs = &early;
      config.numAttrs = 1;
    }
    if (kernel.cooperative) {
      int multiprocessors = 0;
      check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0),
            "multiprocessors");
      config.gridDim.x = std::min(config.gridDim.x, unsigned(multiprocessors));
      cooperative.id = cudaLaunchAttributeCooperative;
      cooperative.val.cooperative = 1;
      config.attrs = &cooperative;
      config.numAttrs = 1;
    }
    check(cudaLaunchKernelExC(&config, reinterpret_cast<const void *>(entry->function),
                              arguments.data()),
          kernel.symbol.c_str());
  }
}

void Context::launch(const m1_dims &dims) {
  if (temporary_bytes_per_row > 0) { // exactly what the contract gives, poisoned
    Buffer &temporary = buffers["temporary"];
    size_t bytes = temporary_bytes_per_row * dims.tokens;
    if (!temporary.device)
      check(cudaMalloc(&temporary.device, bytes), "cudaMalloc");
    check(cudaMemset(temporary.device, 0xff, bytes), "cudaMemset");
  }
  std::map<std::string, void *> pointers;
  for (auto &entry : buffers)
    pointers[entry.first] = static_cast<char *>(entry.second.device) + entry.second.shift;
  enqueue(pointers, dims, nullptr);
  check(cudaDeviceSynchronize(), name.c_str());
}

std::vector<char> Context::read_raw(const std::string &role) {
  Buffer &buffer = buffers[role];
  std::vector<char> bytes(buffer.host.size());
  check(cudaMemcpy(bytes.data(), buffer.device, bytes.size(), cudaMemcpyDeviceToHost), "download");
  return bytes;
}
std::vector<double> Context::read(const std::string &role, Type type) {
  return decode(read_raw(role), type);
}
std::vector<int> Context::read_integers(const std::string &role) {
  std::vector<char> bytes = read_raw(role);
  std::vector<int> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void Context::clear() {
  for (auto &entry : buffers)
    if (entry.second.device)
      cudaFree(entry.second.device);
  buffers.clear();
}

double relative_error(const std::vector<double> &actual, const std::vector<double> &expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!(std::abs(actual[i]) < 1e30))
      return std::numeric_limits<double>::infinity();
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

void Context::compare(const std::string &what, const std::vector<double> &actual,
                      const std::vector<double> &expected, double tolerance) {
  if (actual.size() != expected.size())
    return require(false, what + ": wrong size");
  double error = relative_error(actual, expected);
  worst_share = std::max(worst_share, error / tolerance);
  if (!(error <= tolerance)) {
    char text[160];
    size_t wrong = 0, nans = 0, first = expected.size();
    for (size_t i = 0; i < expected.size(); ++i) {
      bool bad = !(std::abs(actual[i] - expected[i]) <= 1e-4 + 0.05 * std::abs(expected[i]));
      if (bad && first == expected.size())
        first = i;
      wrong += bad;
      nans += std::isnan(actual[i]);
    }
    std::snprintf(text, sizeof text,
                  "%s: relative error %.2e over %.2e (%zu of %zu far off, %zu NaN, first at %zu)",
                  what.c_str(), error, tolerance, wrong, expected.size(), nans, first);
    require(false, text);
  }
}

void Context::require(bool condition, const std::string &what) {
  if (!condition) {
    good = false;
    detail += "    " + what + "\n";
  }
}

void Context::begin(const std::string &case_name) {
  name = case_name;
  good = true;
  worst_share = 0;
  detail.clear();
}

void Context::end() {
  (good ? passed : failed)++;
  if (mode == Mode::run)
    std::printf("%s %-52s %3.0f %% of tolerance\n", good ? "ok  " : "FAIL", name.c_str(),
                100 * worst_share);
  else if (!good)
    std::printf("FAIL %s\n", name.c_str());
  std::printf("%s", detail.c_str());
  std::fflush(stdout);
  if (mode != Mode::compile)
    clear();
}

void *Context::allocate(size_t bytes) {
  void *pointer = nullptr;
  check(cudaMalloc(&pointer, bytes + 256), "cudaMalloc");
  allocations.push_back(pointer);
  return pointer;
}

void *Context::allocate_random(size_t bytes, Type type, double low, double high) {
  static Random random(99);
  char *pointer = static_cast<char *>(allocate(bytes));
  std::vector<double> values(std::min<size_t>(bytes / size_of(type) + 8, 1 << 20));
  for (double &v : values)
    v = random.uniform(low, high);
  std::vector<char> block;
  encode(values, type, block);
  size_t filled = std::min(block.size(), bytes);
  check(cudaMemcpy(pointer, block.data(), filled, cudaMemcpyHostToDevice), "fill");
  for (; filled < bytes; filled += std::min(filled, bytes - filled))
    check(cudaMemcpy(pointer + filled, pointer, std::min(filled, bytes - filled),
                     cudaMemcpyDeviceToDevice),
          "fill");
  return pointer;
}

void *Context::allocate_rows(const std::vector<double> &row, int rows, Type type) {
  std::vector<char> bytes;
  encode(row, type, bytes);
  char *pointer = static_cast<char *>(allocate(bytes.size() * size_t(rows)));
  for (int r = 0; r < rows; ++r)
    check(cudaMemcpy(pointer + bytes.size() * size_t(r), bytes.data(), bytes.size(),
                     cudaMemcpyHostToDevice),
          "fill");
  return pointer;
}

void *Context::allocate_integers(const std::vector<int> &values) {
  void *pointer = allocate(values.size() * 4);
  check(cudaMemcpy(pointer, values.data(), values.size() * 4, cudaMemcpyHostToDevice), "upload");
  return pointer;
}

void Context::release() {
  for (void *pointer : allocations)
    cudaFree(pointer);
  allocations.clear();
}

Context::Timing Context::time(const std::vector<std::map<std::string, void *>> &sets,
                              const m1_dims &dims, int replays) {
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  int rounds = std::max<int>(1, 16 / int(sets.size()));
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int r = 0; r < rounds; ++r)
    for (const auto &set : sets)
      enqueue(set, dims, stream);
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<double> times;
  for (int i = 0; i < replays + 2; ++i) {
    check(cudaEventRecord(begin, stream), "event");
    check(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
    check(cudaEventRecord(end, stream), "event");
    check(cudaEventSynchronize(end), name.c_str());
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
    if (i >= 2)
      times.push_back(milliseconds * 1e3 / double(rounds * sets.size()));
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times.front(), times.back()};
}

double Context::copy_speed() {
  static double speed = 0;
  if (speed > 0)
    return speed;
  size_t bytes = size_t(2) << 30;
  void *from, *to;
  check(cudaMalloc(&from, bytes), "cudaMalloc");
  check(cudaMalloc(&to, bytes), "cudaMalloc");
  check(cudaMemset(from, 0x5a, bytes), "cudaMemset");
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<double> times;
  for (int i = 0; i < 9; ++i) {
    cudaEventRecord(begin);
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice), "copy");
    cudaEventRecord(end);
    check(cudaEventSynchronize(end), "copy");
    float milliseconds = 0;
    cudaEventElapsedTime(&milliseconds, begin, end);
    if (i >= 2)
      times.push_back(milliseconds * 1e-3);
  }
  cudaFree(from);
  cudaFree(to);
  std::sort(times.begin(), times.end());
  return speed = 2.0 * double(bytes) / times[times.size() / 2];
}

Batch make_batch(const std::vector<int> &lengths, const std::vector<int> &past) {
  Batch batch;
  batch.sequences = int(lengths.size());
  batch.slot_count = batch.sequences + 3;
  batch.starts.push_back(0);
  for (int s = 0; s < batch.sequences; ++s) {
    for (int t = 0; t < lengths[s]; ++t) {
      batch.positions.push_back(past[s] + t);
      batch.token_sequence.push_back(s);
    }
    batch.tokens += lengths[s];
    batch.starts.push_back(batch.tokens);
    batch.slots.push_back((s * 5 + 2) % batch.slot_count);
    batch.contexts.push_back(past[s] + lengths[s]);
  }
  // Slots must be distinct: fall back to a shift where 5 divides their number.
  if (batch.slot_count % 5 == 0)
    for (int s = 0; s < batch.sequences; ++s)
      batch.slots[s] = (s + 2) % batch.slot_count;
  return batch;
}

void put_batch(Context &context, const Batch &batch) {
  context.integers("sequence_starts", batch.starts);
  context.integers("slots", batch.slots);
  context.integers("positions", batch.positions);
  context.integers("token_sequence", batch.token_sequence);
  context.integers("context_lengths", batch.contexts);
}

std::vector<double> random_values(Random &random, size_t count, double low, double high,
                                  Type type) {
  std::vector<double> values(count);
  for (double &v : values)
    v = rounded(random.uniform(low, high), type);
  return values;
}

std::vector<double> in_rows(const std::vector<double> &values, int rows, int columns, int stride,
                            int offset) {
  std::vector<double> out(size_t(rows) * stride, std::nan(""));
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c)
      out[size_t(r) * stride + offset + c] = values[size_t(r) * columns + c];
  return out;
}

std::vector<double> out_of_rows(const std::vector<double> &from, int rows, int columns,
                                int stride) {
  std::vector<double> out(size_t(rows) * columns);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c)
      out[size_t(r) * columns + c] = from[size_t(r) * stride + c];
  return out;
}

// 2e-3: rounding to bf16 alone costs 1.7e-3 of the norm at most (half an ulp uniformly: 1.1e-3);
// f16 and f32 likewise from their ulps.
double tolerance(Type type, double naive) {
  double rounding = type == Type::f32 ? 1e-6 : type == Type::bf16 ? 2e-3 : 3e-4;
  return rounding + 8 * naive;
}

} // namespace m1k::test
