// The one way in which programs write files: under a temporary name beside the target, renamed when
// everything is on the disk. Whatever fails or kills the program, the target is the old file or the
// new one.
//
// Temporaries are removed when an OutputFile is destroyed, at exit() and by the signals that end a
// program, as far as it does not handle these itself; SIGKILL alone leaves them (NAME.XXXXXX.tmp).
// SIGXFSZ is ignored from the first file on, so that a file size limit is a message.
#ifndef M1RT_BASE_OUTPUT_FILE_H
#define M1RT_BASE_OUTPUT_FILE_H

#include "status.h"
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace m1rt {

class OutputFile {
public:
  OutputFile() = default;
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;
  OutputFile(OutputFile &&other) noexcept { *this = std::move(other); }
  OutputFile &operator=(OutputFile &&other) noexcept;
  /// Removes the temporary of a file that was not committed.
  ~OutputFile() { discard(); }

  /// Creates the temporary, with the permissions that the umask leaves. A target that is a link
  /// stays one: the file that it leads to is replaced, or made. What exists and is no regular file
  /// (a pipe, a device) is written as it is; "-" is standard output.
  Status open(const std::string &target);
  /// Collected in a buffer; an error may come with a later call.
  Status write(const void *data, size_t size);
  Status write(std::string_view text) { return write(text.data(), text.size()); }
  /// Bytes written.
  uint64_t size() const { return written; }

  /// Everything to the disk, still under the temporary name.
  Status finish();
  /// finish(), then the rename, then the directory to the disk. `target` gives the file another
  /// name in the directory that it was opened for.
  Status commit(const std::string &target = {});
  void discard();

private:
  Status flush();
  Status failure(const char *what, int code) const;

  std::string path, temporary; // temporary is empty when the file is written in place
  std::vector<char> buffer;
  int descriptor = -1, entry = -1; // entry: in the table of temporaries
  bool finished = false;
  uint64_t written = 0;
};

/// Removes what is not committed, before an end that runs no destructors. A signal handler may call
/// it.
void removeTemporaries();

/// For names that a program chooses itself: an error when what exists there is no regular file.
Status checkOwnFile(const std::string &target);

/// A whole file at once.
Status writeFile(const std::string &target, std::string_view content);

/// A directory among the system's temporary ones, removed with everything in it like a temporary.
class TemporaryDirectory {
public:
  TemporaryDirectory() = default;
  TemporaryDirectory(const TemporaryDirectory &) = delete;
  TemporaryDirectory &operator=(const TemporaryDirectory &) = delete;
  ~TemporaryDirectory();

  /// Its name begins with `prefix`.
  Status open(const std::string &prefix);
  std::string operator/(const std::string &name) const { return path + "/" + name; }

private:
  std::string path;
  int entry = -1; // in the table of temporaries
};

/// A directory that takes the place of another as a whole: what is in it appears in one step.
class OutputDirectory {
public:
  OutputDirectory() = default;
  OutputDirectory(const OutputDirectory &) = delete;
  OutputDirectory &operator=(const OutputDirectory &) = delete;
  ~OutputDirectory() { discard(); }

  /// Makes a temporary directory beside `target`, which may exist.
  Status open(const std::string &target);
  /// Where to write the new files (with OutputFile, or any other way).
  std::string operator/(const std::string &name) const { return temporary + "/" + name; }
  /// Hard links to everything in the old directory for which `keep` holds, links and
  /// sub-directories included.
  template <typename Keep> Status keepOld(Keep keep) {
    std::vector<std::string> names;
    M1_TRY(listOld(&names));
    for (const std::string &name : names)
      if (keep(name))
        M1_TRY(linkOld(name));
    return Status();
  }
  /// Puts the new directory in the place of the old one, which is removed. Needs a file system that
  /// can exchange two names (renameat2) where an old one is not empty.
  Status commit();
  void discard();

private:
  Status listOld(std::vector<std::string> *out) const;
  Status linkOld(const std::string &name);

  std::string path, temporary;
  int entry = -1; // in the table of temporaries
  bool exists = false;
};

} // namespace m1rt

#endif
