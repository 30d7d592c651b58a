#include "input.h"
#include "base/foreign_file.h"
#include "base/open_file.h"
#include "tokenizer/unicode.h"
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

using namespace m1rt;

namespace m1tool {

std::string inputName(const std::string &path) { return path == "-" ? "standard input" : path; }

static Status unreadable(const std::string &path, const std::string &problem) {
  return error(StatusCode::notFound, "%s: cannot read: %s", inputName(path).c_str(),
               problem.c_str());
}

/// Not a device, which may have no end, other than a terminal and the one that is empty.
static Status checkInput(int descriptor, const std::string &path) {
  struct stat info = {};
  const bool endless = ::fstat(descriptor, &info) == 0 &&
                       (S_ISBLK(info.st_mode) || (S_ISCHR(info.st_mode) && !::isatty(descriptor) &&
                                                  info.st_rdev != makedev(1, 3))); // /dev/null
  return endless ? error(StatusCode::invalidArgument, "%s: is a device, expected a file",
                         inputName(path).c_str())
                 : Status();
}

Status readFile(const std::string &path, std::string *out) {
  struct Input {
    int descriptor = STDIN_FILENO;
    ~Input() {
      if (descriptor > STDIN_FILENO)
        ::close(descriptor);
    }
  } input;
  std::string problem;
  if (path != "-")
    input.descriptor = openFile(path, O_RDONLY, &problem);
  if (input.descriptor < 0)
    return unreadable(path, problem);
  M1_TRY(checkInput(input.descriptor, path));
  out->clear();
  std::vector<char> part(1 << 16);
  ssize_t size = 0;
  while ((size = ::read(input.descriptor, part.data(), part.size())) != 0) {
    if (size < 0 && errno == EINTR)
      continue;
    if (size < 0) // also of a directory, which opens
      return unreadable(path, std::strerror(errno));
    out->append(part.data(), size_t(size));
    if (out->size() > mostInput) // such as of a pipe that never ends
      return error(StatusCode::invalidArgument, "%s: expected %zu MiB at most",
                   inputName(path).c_str(), mostInput >> 20);
  }
  return {};
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
  std::string reason;
  descriptor = path == "-" ? STDIN_FILENO : openFile(path, O_RDONLY, &reason);
  return descriptor < 0 ? unreadable(path, reason) : checkInput(descriptor, path);
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
      problem = unreadable(name, std::strerror(errno));
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
