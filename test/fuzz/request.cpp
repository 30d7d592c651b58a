// The body of a request to m1-serve, after one byte that says which kind: refused with a message of
// valid UTF-8, or within the limits. A schema in it becomes a grammar or a message.
#include "api_request.h"
#include "fuzz.h"
#include "grammar/json_schema.h"
#include "json_mutator.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  return fuzz::mutateJson(data, size, largest, seed, 1);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  const bool chat = data[0] % 2;
  const std::string body(fuzz::text(data + 1, size - 1));
  const m1serve::RequestLimits limits;
  m1serve::ApiRequest request;
  if (std::optional<m1serve::ApiError> error =
          m1serve::readRequest(body, chat, 100, limits, &request)) {
    FUZZ_CHECK(error->status >= 400 && !error->message.empty());
    (void)error->json().dump(-1, ' ', false, m1serve::Json::error_handler_t::strict);
    return 0;
  }
  FUZZ_CHECK(request.samples >= 1 && request.samples <= limits.samples);
  FUZZ_CHECK(request.stop.size() <= limits.stops);
  for (const auto &prompt : request.prompts)
    if (const auto *tokens = std::get_if<std::vector<int32_t>>(&prompt))
      for (int32_t token : *tokens)
        FUZZ_CHECK(token >= 0 && token < 100);
  if (request.format.kind == m1serve::ResponseFormat::Kind::jsonSchema) {
    m1rt::Grammar grammar;
    (void)m1rt::grammarOfSchema(request.format.schema, &grammar);
  }
  return 0;
}
