// Reads what ptxas recorded about kernels: .nv.info entries of the cubin.
#include "CubinResources.h"
#include "llvm/Object/ELF.h"
#include "llvm/Support/Endian.h"
#include <map>

using namespace llvm;

namespace m1test {

namespace {

// .nv.info: records {format, attribute, u16 size or value, payload}. Formats 1 to 3 carry their
// value in the header, 4 a payload.
constexpr uint8_t formatSized = 4;
constexpr uint8_t attributeFrameSize = 0x11, attributeRegisterCount = 0x2f;

template <typename Visit> void visitInfo(ArrayRef<uint8_t> bytes, Visit visit) {
  while (bytes.size() >= 4) {
    uint8_t format = bytes[0], attribute = bytes[1];
    size_t size = format == formatSized ? support::endian::read16le(bytes.data() + 2) : 0;
    if (bytes.size() < 4 + size)
      return;
    visit(attribute, bytes.slice(4, size));
    bytes = bytes.drop_front(4 + size);
  }
}

} // namespace

Expected<std::vector<KernelResources>> readResources(StringRef cubin) {
  auto file = object::ELF64LEFile::create(cubin);
  if (!file)
    return file.takeError();
  auto sections = file->sections();
  if (!sections)
    return sections.takeError();
  std::map<uint32_t, KernelResources> byIndex;
  const object::ELF64LEFile::Elf_Shdr *symbolTable = nullptr;
  for (const auto &section : *sections) {
    if (section.sh_type == ELF::SHT_SYMTAB)
      symbolTable = &section;
    Expected<StringRef> name = file->getSectionName(section);
    if (!name)
      return name.takeError();
    if (*name != ".nv.info")
      continue;
    Expected<ArrayRef<uint8_t>> contents = file->getSectionContents(section);
    if (!contents)
      return contents.takeError();
    visitInfo(*contents, [&](uint8_t attribute, ArrayRef<uint8_t> payload) {
      if (payload.size() < 8)
        return;
      uint32_t symbol = support::endian::read32le(payload.data()),
               value = support::endian::read32le(payload.data() + 4);
      if (attribute == attributeRegisterCount)
        byIndex[symbol].registers = value;
      if (attribute == attributeFrameSize)
        byIndex[symbol].localBytes = value;
    });
  }
  std::vector<KernelResources> result;
  if (!symbolTable)
    return createStringError(inconvertibleErrorCode(), "the cubin has no symbol table");
  Expected<StringRef> names = file->getStringTableForSymtab(*symbolTable);
  if (!names)
    return names.takeError();
  for (auto &[index, resources] : byIndex) {
    auto symbol = file->getSymbol(symbolTable, index);
    if (!symbol)
      return symbol.takeError();
    Expected<StringRef> name = (*symbol)->getName(*names);
    if (!name)
      return name.takeError();
    resources.symbol = name->str();
    if (resources.registers)
      result.push_back(resources);
  }
  return result;
}

} // namespace m1test
