#include "m1c/InputFile.h"

#include "base/mapped_file.h"
#include "m1c/Checkpoint.h"

#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace m1c;

using EmitError = llvm::function_ref<InFlightDiagnostic()>;

namespace {

/// The one kind of buffer whose file stays mapped.
class InputFile final : public llvm::MemoryBuffer {
public:
  explicit InputFile(m1rt::MappedFile opened) : file(std::move(opened)) {
    const char *begin = reinterpret_cast<const char *>(file.bytes().data);
    init(begin, begin + file.bytes().size, /*RequiresNullTerminator=*/false);
  }

  StringRef getBufferIdentifier() const override { return file.path(); }
  BufferKind getBufferKind() const override { return MemoryBuffer_MMap; }
  m1rt::Status unchanged() const { return file.unchanged(); }

private:
  m1rt::MappedFile file;
};

} // namespace

bool m1c::isNamed(const llvm::Twine &path) {
  llvm::sys::fs::file_status status;
  return !llvm::sys::fs::status(path, status, /*follow=*/false);
}

std::string m1c::readBeginning(const llvm::Twine &path, size_t size) {
  if (!llvm::sys::fs::is_regular_file(path))
    return {};
  auto opened = llvm::MemoryBuffer::getFileSlice(path, size, 0);
  return opened ? (*opened)->getBuffer().str() : std::string();
}

FailureOr<std::unique_ptr<llvm::MemoryBuffer>> m1c::mapFile(StringRef path, EmitError emitError) {
  m1rt::MappedFile file;
  if (m1rt::Status status = m1rt::MappedFile::open(path.str(), &file); !status.ok()) {
    emitError() << status.message();
    return failure();
  }
  return std::unique_ptr<llvm::MemoryBuffer>(std::make_unique<InputFile>(std::move(file)));
}

m1rt::Status m1c::checkUnchanged(const CheckpointData &data) {
  for (const CheckpointData::File &file : data.getFiles())
    if (file.buffer->getBufferKind() == llvm::MemoryBuffer::MemoryBuffer_MMap)
      M1_TRY(static_cast<const InputFile &>(*file.buffer).unchanged());
  return m1rt::Status();
}
