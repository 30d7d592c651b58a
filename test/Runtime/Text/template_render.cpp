// Renders chat templates for template_check.py: one {"template", "variables", "now"} a line in, one
// {"text"} or {"error"} a line out.
#include "template/chat_template.h"

#include <nlohmann/json.hpp>

#include <iostream>

using m1rt::jinja::Value;
using Json = nlohmann::ordered_json;

static Value convert(const Json &j) {
  switch (j.type()) {
  case Json::value_t::null:
    return nullptr;
  case Json::value_t::boolean:
    return j.get<bool>();
  case Json::value_t::number_integer:
  case Json::value_t::number_unsigned:
    return j.get<int64_t>();
  case Json::value_t::number_float:
    return j.get<double>();
  case Json::value_t::string:
    return j.get<std::string>();
  case Json::value_t::array: {
    m1rt::jinja::List items;
    for (const Json &item : j)
      items.push_back(convert(item));
    return items;
  }
  default: {
    m1rt::jinja::Dict d;
    for (const auto &item : j.items())
      d.set(item.key(), convert(item.value()));
    return d;
  }
  }
}

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    Json json = Json::parse(line);
    std::string text, error;
    auto chat = m1rt::ChatTemplate::parse(json["template"].get<std::string>(), error);
    if (chat &&
        chat->render(convert(json["variables"]), json["now"].get<std::time_t>(), text, error))
      std::cout << Json{{"text", text}}.dump() << "\n";
    else
      std::cout << Json{{"error", error}}.dump() << "\n";
  }
}
