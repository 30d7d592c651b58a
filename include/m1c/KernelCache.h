// Compiled kernels kept between compilations, in a directory, by a digest of all that they follow
// from: source or IR, options, chip, the toolkit and the compiler itself.
#ifndef M1C_KERNELCACHE_H
#define M1C_KERNELCACHE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace m1c {

/// Safe to use from several threads, and by several processes at once: entries are written whole or
/// not at all, and never change. A damaged one counts as absent.
class KernelCache {
public:
  /// A cache that holds nothing.
  KernelCache() = default;
  /// Makes the directory if need be; the error names it. `warn` gets what keeps an entry from being
  /// written, once.
  static llvm::Expected<KernelCache> open(llvm::StringRef directory,
                                          std::function<void(llvm::StringRef)> warn);

  explicit operator bool() const { return !directory.empty(); }
  /// The digest of what an entry follows from, in order; a part never runs into the next.
  static std::string key(llvm::ArrayRef<llvm::StringRef> parts);
  /// Identifies this build of the compiler, for keys.
  static std::string compilerIdentity();

  /// What `store` was given for the key: `count` pieces.
  std::optional<std::vector<std::string>> find(llvm::StringRef key, size_t count) const;
  void store(llvm::StringRef key, llvm::ArrayRef<llvm::StringRef> pieces) const;

private:
  std::string pathOf(llvm::StringRef key) const;

  std::string directory; // empty: off
  std::function<void(llvm::StringRef)> warn;
};

} // namespace m1c

#endif
