#include "configuration_file.h"
#include "input.h"
#include <algorithm>
#include <cstring>
#include <memory>
#include <sstream>
#include <utility>

namespace m1serve {
namespace {

/// A file of lines option = value, or the name of a flag alone. Errors name file and line, and an
/// option may come again further down: CLI11's own reader says neither, and forgets the second.
class ConfigurationFile : public CLI::ConfigBase {
public:
  explicit ConfigurationFile(const CLI::App &app) : app(app) {}

  /// For transform(), which may come several times: reads the file, so that CLI11 does not wait for
  /// a pipe, nor read it twice. What that opens instead holds nothing. Names of files need not be
  /// UTF-8; options that take text check it.
  std::string read(std::string &name) {
    if (name != empty) {
      if (m1rt::Status status = m1tool::readFile(name, &text); !status.ok())
        return status.message();
      path = std::exchange(name, empty);
    }
    return "";
  }

  std::vector<CLI::ConfigItem> from_config(std::istream &) const override {
    std::istringstream lines(text);
    std::vector<CLI::ConfigItem> items;
    std::string line;
    for (size_t number = 1; std::getline(lines, line); ++number) {
      if (number == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) // byte order mark
        line.erase(0, 3);
      line = trimmed(line);
      if (!line.empty() && line[0] != '#' && line[0] != ';')
        read(line, path + ":" + std::to_string(number), &items);
    }
    return items;
  }

private:
  static std::string trimmed(const std::string &text) {
    constexpr char blanks[] = " \t\r";
    const size_t begin = text.find_first_not_of(blanks);
    return begin == std::string::npos
               ? ""
               : text.substr(begin, text.find_last_not_of(blanks) + 1 - begin);
  }

  /// Up to a # at the beginning or behind a blank, and outside of the quotes around a value.
  static std::string withoutComment(const std::string &value) {
    const bool quoted = !value.empty() && std::strchr("\"'`", value[0]);
    const size_t end = quoted ? value.find(value[0], 1) : std::string::npos;
    for (size_t at = value.find('#', end == std::string::npos ? 0 : end); at != std::string::npos;
         at = value.find('#', at + 1))
      if (at == 0 || std::strchr(" \t", value[at - 1]))
        return trimmed(value.substr(0, at));
    return value;
  }

  void read(const std::string &line, const std::string &place,
            std::vector<CLI::ConfigItem> *items) const {
    auto fail = [&](const std::string &what) {
      throw CLI::ConfigError("--config: " + place + ": " + what, CLI::ExitCodes::ConfigError);
    };
    const size_t equal = line.find('=');
    const std::string name = trimmed(line.substr(0, equal));
    const CLI::Option *option = app.get_option_no_throw("--" + name);
    if (!option)
      option = app.get_option_no_throw(name);
    if (name.empty() || (equal == std::string::npos && !option))
      fail("expected option = value, got " + line);
    if (!option || !option->get_configurable())
      fail("no option of a file is called " + name);
    if (equal == std::string::npos && option->get_items_expected_max() > 0)
      fail("expected " + name + " = " + option->get_type_name());
    std::string value = equal == std::string::npos ? "true" : trimmed(line.substr(equal + 1));
    value = withoutComment(value);
    CLI::detail::remove_quotes(value);
    const std::string own = option->get_single_name(); // "--port" is "port"
    auto item = std::find_if(items->begin(), items->end(),
                             [&](const CLI::ConfigItem &other) { return other.name == own; });
    if (item == items->end()) {
      items->emplace_back();
      item = items->end() - 1;
      item->name = own;
    }
    if (option->get_items_expected_max() == 0)
      item->inputs.clear(); // of a flag the last counts
    item->inputs.push_back(value);
  }

  static constexpr const char *empty = "/dev/null";

  const CLI::App &app;
  std::string path, text;
};

} // namespace

void addConfigurationFile(CLI::App &app) {
  const auto file = std::make_shared<ConfigurationFile>(app);
  app.set_config("--config", "", "Read options from a file of lines option = value")
      ->type_name("FILE")
      ->transform(CLI::Validator([=](std::string &path) { return file->read(path); }, ""));
  app.config_formatter(file);
}

} // namespace m1serve
