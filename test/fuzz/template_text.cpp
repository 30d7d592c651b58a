// Any text as a chat template.
#include "template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz::render(std::string(fuzz::text(data, size)));
  return 0;
}
