// An object file to a shared object, by lld as a library. lld reads and writes files, so both pass
// through a temporary directory.
#include "base/output_file.h"
#include "lld/Common/Driver.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <unistd.h>

LLD_HAS_DRIVER(elf)

namespace m1c {

/// lld maps its output, where a disk that is full is a signal instead of an error: so that there is
/// room for `bytes` is tried before.
static llvm::Error checkRoom(const std::string &file, size_t bytes) {
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const int problem = descriptor < 0 ? errno : ::posix_fallocate(descriptor, 0, off_t(bytes));
  if (descriptor >= 0)
    ::close(descriptor);
  ::unlink(file.c_str());
  return problem ? llvm::createStringError("cannot write " + file + ": " + std::strerror(problem))
                 : llvm::Error::success();
}

llvm::Expected<std::string> linkSharedObject(llvm::StringRef object,
                                             llvm::ArrayRef<std::string> exported) {
  m1rt::TemporaryDirectory directory;
  if (m1rt::Status status = directory.open("m1-link"); !status.ok())
    return llvm::createStringError(status.message());
  std::string input = directory / "kernels.o", script = directory / "exports.map",
              output = directory / "kernels.so";
  auto write = [](const std::string &file, llvm::StringRef bytes) -> llvm::Error {
    std::error_code error;
    llvm::raw_fd_ostream stream(file, error);
    if (!error) {
      stream << bytes;
      stream.close();
      error = stream.error();
      stream.clear_error();
    }
    return error ? llvm::createStringError("cannot write " + file + ": " + error.message())
                 : llvm::Error::success();
  };
  std::string map = "{ global:";
  for (const std::string &symbol : exported)
    map += " \"" + symbol + "\";";
  map += " local: *; };\n";
  if (auto error = write(input, object))
    return std::move(error);
  if (auto error = write(script, map))
    return std::move(error);
  // What is linked drops tables of the object, and adds padding between its segments.
  if (auto error = checkRoom(output, object.size() + map.size() + (64 << 10)))
    return std::move(error);

  std::string versionScript = "--version-script=" + script, messages;
  // No build id and no dates: the same kernels give the same bytes.
  const char *arguments[] = {"ld.lld",
                             "-shared",
                             "--hash-style=gnu",
                             "-soname",
                             "m1_kernels.so",
                             "--build-id=none",
                             "--threads=1", // one small file; and the system may give no thread
                             "-z",
                             "separate-loadable-segments",
                             versionScript.c_str(),
                             "--strip-all",
                             "-o",
                             output.c_str(),
                             input.c_str()};
  llvm::raw_string_ostream stream(messages);
  const lld::DriverDef drivers[] = {{lld::Gnu, &lld::elf::link}};
  lld::Result result = lld::lldMain(arguments, stream, stream, drivers);
  if (result.retCode != 0)
    return llvm::createStringError("linking CPU kernels failed: " +
                                   llvm::StringRef(messages).rtrim().str());
  auto linked = llvm::MemoryBuffer::getFile(output);
  if (!linked)
    return llvm::createStringError("cannot read " + output + ": " + linked.getError().message());
  return (*linked)->getBuffer().str();
}

} // namespace m1c
