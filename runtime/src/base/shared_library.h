// Libraries that may not be there, sought in several places.
#ifndef M1RT_BASE_SHARED_LIBRARY_H
#define M1RT_BASE_SHARED_LIBRARY_H

#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <string>

namespace m1rt {

/// Null where it cannot be loaded: `tried`, a list with commas, then gets the path, and the reason
/// unless it is that there is no such file.
inline void *openSharedLibrary(const std::string &path, std::string *tried) {
  if (void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL))
    return library;
  const char *said = dlerror();
  std::string reason = said ? said : "no reason given";
  *tried += (tried->empty() ? "" : ", ") + path;
  const std::string begin = path + ": ";
  if (reason.compare(0, begin.size(), begin) == 0)
    reason.erase(0, begin.size());
  if (reason != std::string("cannot open shared object file: ") + std::strerror(ENOENT))
    *tried += " (" + reason + ")";
  return nullptr;
}

} // namespace m1rt

#endif // M1RT_BASE_SHARED_LIBRARY_H
