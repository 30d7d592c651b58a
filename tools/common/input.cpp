#include "input.h"
#include "base/foreign_file.h"
#include "base/open_file.h"
#include "base/shortened.h"
#include "tokenizer/unicode.h"
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <unistd.h>

using namespace m1rt;

namespace m1tool {

Status readFile(const std::string &path, std::string *out) {
  return readInput(path, mostInput, out);
}

Status readText(const std::string &path, std::string *out) {
  M1_TRY(readFile(path, out));
  const std::string name = inputName(path);
  if (const std::string foreign = describeForeignFile(*out); !foreign.empty())
    return error(StatusCode::invalidArgument, "%s: %s", name.c_str(), foreign.c_str());
  const size_t invalid = findInvalidUtf8(*out);
  if (invalid == std::string::npos)
    return {};
  return error(StatusCode::invalidArgument, "%s:%zu: not valid UTF-8 at byte %zu of the file",
               name.c_str(), size_t(1 + std::count(out->begin(), out->begin() + invalid, '\n')),
               invalid);
}

LineReader::~LineReader() {
  if (descriptor > STDIN_FILENO)
    ::close(descriptor);
}

Status LineReader::open(const std::string &path) {
  name = inputName(path);
  return openInput(path, &descriptor);
}

bool LineReader::next(std::string *line) {
  line->clear();
  while (true) {
    const size_t end = buffer.find('\n', begin);
    line->append(buffer, begin, end == std::string::npos ? end : end - begin);
    begin = end == std::string::npos ? buffer.size() : end + 1;
    if (end != std::string::npos)
      return true;
    if (line->size() > mostInput) { // such as of a pipe that never ends
      problem = error(StatusCode::invalidArgument, "%s: expected lines of %zu MiB at most",
                      name.c_str(), mostInput >> 20);
      return false;
    }
    buffer.resize(1 << 16);
    ssize_t size = 0;
    do
      size = ::read(descriptor, buffer.data(), buffer.size());
    while (size < 0 && errno == EINTR);
    if (size < 0)
      problem =
          error(StatusCode::notFound, "%s: cannot read: %s", name.c_str(), std::strerror(errno));
    buffer.resize(size_t(std::max<ssize_t>(size, 0)));
    begin = 0;
    if (size <= 0)
      return size == 0 && !line->empty();
  }
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
      return error(StatusCode::invalidArgument, "%s: token %zu: \"%s\" is not a token id",
                   name.c_str(), out->size(), shortened(word, 40).c_str());
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
