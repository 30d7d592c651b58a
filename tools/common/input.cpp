#include "input.h"
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>

using namespace m1rt;

namespace m1tool {

std::string inputName(const std::string &path) { return path == "-" ? "standard input" : path; }

Status readFile(const std::string &path, std::string *out) {
  auto close = [](std::FILE *file) { return file == stdin ? 0 : std::fclose(file); };
  std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(
      path == "-" ? stdin : std::fopen(path.c_str(), "rb"), close);
  out->clear();
  char part[1 << 16];
  size_t size = 0;
  while (file && (size = std::fread(part, 1, sizeof part, file.get())) > 0) {
    out->append(part, size);
    if (out->size() > mostInput) // such as of a device that never ends
      return error(StatusCode::invalidArgument, "%s: expected %zu MiB at most",
                   inputName(path).c_str(), mostInput >> 20);
  }
  if (!file || std::ferror(file.get())) // also of a directory, which opens
    return error(StatusCode::notFound, "%s: cannot read: %s", inputName(path).c_str(),
                 std::strerror(errno));
  return {};
}

Status readTokenIds(const std::string &path, int64_t vocabulary, std::vector<int32_t> *out) {
  std::string content;
  M1_TRY(readFile(path, &content));
  const std::string name = inputName(path);
  std::istringstream words(content);
  std::string word;
  while (words >> word) {
    char *end = nullptr;
    errno = 0;
    long value = std::strtol(word.c_str(), &end, 10);
    if (end != word.c_str() + word.size() || errno != 0)
      return error(StatusCode::invalidArgument, "%s: token %zu: \"%.40s\" is not a token id",
                   name.c_str(), out->size(), word.c_str());
    if (value < 0 || value >= vocabulary)
      return error(StatusCode::invalidArgument,
                   "%s: token %zu is %ld, the vocabulary has ids 0 to %lld", name.c_str(),
                   out->size(), value, static_cast<long long>(vocabulary - 1));
    out->push_back(int32_t(value));
  }
  if (out->empty())
    return error(StatusCode::invalidArgument, "%s: holds no token ids", name.c_str());
  return {};
}

std::string unescaped(const std::string &text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] == '\\' && (next == 'n' || next == '\\')) {
      out += next == 'n' ? '\n' : '\\';
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

} // namespace m1tool
