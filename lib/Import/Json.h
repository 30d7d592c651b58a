// JSON of checkpoints, which may be damaged, through the runtime's reader.
#ifndef M1C_LIB_IMPORT_JSON_H
#define M1C_LIB_IMPORT_JSON_H

#include "base/json.h"

#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

#include <vector>

namespace m1c {

/// Builds LLVM's values; of a key that an object holds twice the last value counts.
class JsonBuilder : public m1rt::JsonSink {
public:
  llvm::json::Value result = nullptr;

  void null() override { add(nullptr); }
  void boolean(bool value) override { add(value); }
  void integer(int64_t value) override { add(value); }
  void largeInteger(uint64_t value) override { add(value); }
  void real(double value) override { add(value); }
  void string(std::string &value) override { add(std::move(value)); }
  void beginObject() override { open.push_back(&add(llvm::json::Object())); }
  void key(std::string &name) override { member = &(*open.back()->getAsObject())[name]; }
  void endObject() override { open.pop_back(); }
  void beginArray() override { open.push_back(&add(llvm::json::Array())); }
  void endArray() override { open.pop_back(); }

private:
  llvm::json::Value &add(llvm::json::Value value) {
    if (!open.empty())
      if (llvm::json::Array *array = open.back()->getAsArray()) {
        array->push_back(std::move(value));
        return array->back();
      }
    llvm::json::Value &place = open.empty() ? result : *member;
    place = std::move(value);
    return place;
  }

  std::vector<llvm::json::Value *> open;
  llvm::json::Value *member = nullptr;
};

inline llvm::Expected<llvm::json::Value> parseJson(llvm::StringRef text) {
  JsonBuilder builder;
  std::string error;
  if (!m1rt::parseJson({text.data(), text.size()}, builder, error))
    return llvm::createStringError(error);
  return std::move(builder.result);
}

} // namespace m1c

#endif
