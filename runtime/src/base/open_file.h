// Opens files that others name, and that may be pipes.
#ifndef M1RT_BASE_OPEN_FILE_H
#define M1RT_BASE_OPEN_FILE_H

#include "status.h"
#include <cstddef>
#include <string>

namespace m1rt {

/// As open(2), with O_CLOEXEC; -1 with what is wrong in `problem`. A named pipe that nobody has
/// opened at its other end is waited for a few seconds only: open() would wait without end.
int openFile(const std::string &path, int flags, std::string *problem);

/// The name of a path that is read, in messages: "standard input" for "-".
std::string inputName(const std::string &path);
/// Opens a file, or standard input for "-", to be read; an error that names it, also for devices,
/// which may have no end, other than a terminal and the one that is empty.
Status openInput(const std::string &path, int *descriptor);
/// All of it, `most` bytes (whole MiB) or an error.
Status readInput(const std::string &path, size_t most, std::string *out);

} // namespace m1rt

#endif
