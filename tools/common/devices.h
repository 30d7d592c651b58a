// Which devices --device names: one, or several that share the work.
#ifndef M1_TOOLS_COMMON_DEVICES_H
#define M1_TOOLS_COMMON_DEVICES_H

#include "device.h"
#include <string>
#include <vector>

namespace m1tool {

/// "cpu", "cuda", "cuda:2", "cuda:all", "cuda:0,1": the names for createDevice(). Each item of a
/// list is a device, or a number, which goes on with what comes before it. A device that is named
/// twice does work twice as wide; that is of use in tests.
inline m1rt::Status listDevices(const std::string &text, std::vector<std::string> *out) {
  auto bad = [&] {
    return m1rt::error(m1rt::StatusCode::invalidArgument,
                       "--device %s: expected cpu, cuda, cuda:N, cuda:N,M,… or cuda:all",
                       text.c_str());
  };
  if (text == "cuda:all") {
    uint32_t count = 0;
    M1_TRY(m1rt::countCudaDevices(&count));
    if (count == 0)
      return m1rt::error(m1rt::StatusCode::notFound, "--device cuda:all: there is no GPU");
    for (uint32_t i = 0; i < count; ++i)
      out->push_back("cuda:" + std::to_string(i));
    return {};
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string item = text.substr(begin, end - begin);
    if (item.find_first_not_of("0123456789") == std::string::npos) {
      if (item.empty() || out->empty() || out->back().rfind("cuda:", 0) != 0)
        return bad();
      item = "cuda:" + item;
    }
    out->push_back(item);
    begin = end + 1;
  }
  return {};
}

} // namespace m1tool

#endif
