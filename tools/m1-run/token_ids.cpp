#include "token_ids.h"
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>

using namespace m1rt;

namespace m1tool {

Status readFile(const std::string &path, std::string *out) {
  std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(std::fopen(path.c_str(), "rb"),
                                                        std::fclose);
  out->clear();
  char part[1 << 16];
  size_t size = 0;
  while (file && (size = std::fread(part, 1, sizeof part, file.get())) > 0)
    out->append(part, size);
  if (!file || std::ferror(file.get())) // also of a directory, which opens
    return error(StatusCode::notFound, "%s: cannot read: %s", path.c_str(), std::strerror(errno));
  return {};
}

Status readTokenIds(const std::string &path, int64_t vocabulary, std::vector<int32_t> *out) {
  std::string content;
  M1_TRY(readFile(path, &content));
  std::istringstream words(content);
  std::string word;
  while (words >> word) {
    char *end = nullptr;
    errno = 0;
    long value = std::strtol(word.c_str(), &end, 10);
    if (end != word.c_str() + word.size() || errno != 0)
      return error(StatusCode::invalidArgument, "%s: token %zu: \"%.40s\" is not a token id",
                   path.c_str(), out->size(), word.c_str());
    if (value < 0 || value >= vocabulary)
      return error(StatusCode::invalidArgument,
                   "%s: token %zu is %ld, the vocabulary has ids 0 to %lld", path.c_str(),
                   out->size(), value, static_cast<long long>(vocabulary - 1));
    out->push_back(int32_t(value));
  }
  if (out->empty())
    return error(StatusCode::invalidArgument, "%s: holds no token ids", path.c_str());
  return {};
}

} // namespace m1tool
