// Files of checkpoints, which others may have made, and may change meanwhile.
#ifndef M1C_INPUTFILE_H
#define M1C_INPUTFILE_H

#include "status.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Support/LLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include <memory>
#include <string>

namespace m1c {

class CheckpointData;

/// Whether something has this name, were it a link that leads nowhere: such a file is damaged, not
/// left out.
bool isNamed(const llvm::Twine &path);

/// The first bytes of a regular file; empty when there is none. Never waits for a pipe.
std::string readBeginning(const llvm::Twine &path, size_t size);

/// The file, mapped (m1rt::MappedFile). Reports an error that names it and fails when it is
/// missing, empty, or no regular file.
mlir::FailureOr<std::unique_ptr<llvm::MemoryBuffer>>
mapFile(llvm::StringRef path, llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

/// An error that names the file when one of a checkpoint is not what it was when it was opened:
/// what was made of it is good for nothing.
m1rt::Status checkUnchanged(const CheckpointData &data);

} // namespace m1c

#endif
