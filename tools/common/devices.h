// The devices that run a model: one, or several that share the work.
#ifndef M1_TOOLS_COMMON_DEVICES_H
#define M1_TOOLS_COMMON_DEVICES_H

#include "command_line.h"
#include "device.h"
#include "model/model.h"
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace m1tool {

struct DeviceFlags {
  std::string device = "cpu", tuning;
  uint32_t threads = 0;
};

/// For CLI11's check(): the items of a list by their form; "cuda:all" is one.
inline std::string readDeviceList(const std::string &text, std::vector<std::string> *out) {
  if (text == "cuda:all") {
    out->push_back(text);
    return "";
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string item = text.substr(begin, end - begin);
    const bool number = !item.empty() && item.find_first_not_of("0123456789") == std::string::npos;
    if (number && !out->empty() && out->back().rfind("cuda:", 0) == 0)
      item = "cuda:" + item;
    if (!isDevice(item).empty())
      return "expected cpu, cuda, cuda:N, cuda:N,M,… or cuda:all, got " + text;
    out->push_back(item);
    begin = end + 1;
  }
  return "";
}

inline std::string isDeviceList(const std::string &text) {
  std::vector<std::string> items;
  return readDeviceList(text, &items);
}

/// "cpu", "cuda", "cuda:2", "cuda:all", "cuda:0,1": the names for createDevice(). Each item of a
/// list is a device, or a number, which goes on with what comes before it. A device that is named
/// twice does work twice as wide; that is of use in tests.
inline m1rt::Status listDevices(const std::string &text, std::vector<std::string> *out) {
  if (std::string problem = readDeviceList(text, out); !problem.empty())
    return m1rt::error(m1rt::StatusCode::invalidArgument, "--device: %s", problem.c_str());
  if (text != "cuda:all")
    return {};
  out->clear();
  uint32_t count = 0;
  M1_TRY(m1rt::countCudaDevices(&count));
  if (count == 0)
    return m1rt::error(m1rt::StatusCode::notFound, "--device cuda:all: there is no GPU");
  for (uint32_t i = 0; i < count; ++i)
    out->push_back("cuda:" + std::to_string(i));
  return {};
}

/// --device, --tuning and --threads.
inline void addDeviceFlags(CLI::App &app, DeviceFlags *flags) {
  app.add_option("--device", flags->device,
                 "cpu, cuda, cuda:N; several that share the work: cuda:0,1 or cuda:all")
      ->capture_default_str()
      ->check(isDeviceList);
  app.add_option("--tuning", flags->tuning,
                 "CUDA: the table of products that m1-bench --tune wrote")
      ->type_name("FILE");
  app.add_option("--threads", flags->threads, "CPU threads; 0: one a physical core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
}

/// The artifact on each of the devices that the flags name. Of these a tuning table is for the
/// GPUs, if there are any.
inline m1rt::Status loadModels(const std::string &artifact, const DeviceFlags &flags,
                               m1rt::ModelOptions options,
                               std::vector<std::unique_ptr<m1rt::Model>> *out) {
  std::vector<std::string> devices;
  M1_TRY(listDevices(flags.device, &devices));
  const bool gpus = std::any_of(devices.begin(), devices.end(),
                                [](const std::string &device) { return device != "cpu"; });
  options.deviceOptions.threads = flags.threads;
  for (const std::string &device : devices) {
    options.device = device;
    options.deviceOptions.tuning = gpus && device == "cpu" ? std::string() : flags.tuning;
    out->emplace_back();
    m1rt::Status status = m1rt::Model::load(artifact, options, &out->back());
    if (!status.ok())
      return devices.size() == 1 ? std::move(status) : std::move(status).prefixed(device);
  }
  return {};
}

inline std::vector<m1rt::Model *>
pointersTo(const std::vector<std::unique_ptr<m1rt::Model>> &models) {
  std::vector<m1rt::Model *> out;
  for (const auto &model : models)
    out.push_back(model.get());
  return out;
}

} // namespace m1tool

#endif
