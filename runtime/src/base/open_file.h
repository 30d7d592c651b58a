// Opens files that others name, and that may be pipes.
#ifndef M1RT_BASE_OPEN_FILE_H
#define M1RT_BASE_OPEN_FILE_H

#include <string>

namespace m1rt {

/// As open(2), with O_CLOEXEC; -1 with what is wrong in `problem`. A named pipe that nobody has
/// opened at its other end is waited for a few seconds only: open() would wait without end.
int openFile(const std::string &path, int flags, std::string *problem);

} // namespace m1rt

#endif
