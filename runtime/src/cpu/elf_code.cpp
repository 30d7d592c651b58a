#include "cpu/elf_code.h"
#include "base/shortened.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace m1rt {

namespace {

constexpr uint64_t largestObject = uint64_t(1) << 30;
constexpr unsigned mostSegments = 64;

__attribute__((format(printf, 1, 2))) Status refused(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char text[256];
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return error(StatusCode::corrupt, "the code cannot be loaded: %s", text);
}

/// Functions that an object may call.
uint64_t imported(const char *name) {
  struct Import {
    const char *name;
    void *address;
  };
  static const Import imports[] = {
      {"memcpy", reinterpret_cast<void *>(&std::memcpy)},
      {"memmove", reinterpret_cast<void *>(&std::memmove)},
      {"memset", reinterpret_cast<void *>(&std::memset)},
      {"memcmp", reinterpret_cast<void *>(&std::memcmp)},
      {"bcmp", reinterpret_cast<void *>(&std::memcmp)}, // whose result says more than bcmp's
  };
  for (const Import &import : imports)
    if (std::strcmp(name, import.name) == 0)
      return reinterpret_cast<uint64_t>(import.address);
  return 0;
}

bool within(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

} // namespace

/// One load. Everything is checked against the object's own span; nothing that the object says is
/// used unchecked.
class ElfLoader {
public:
  ElfLoader(Bytes image, ElfCode *out) : image(image), code(*out) {}

  Status run() {
    M1_TRY(readHeaders());
    M1_TRY(place());
    M1_TRY(readDynamic());
    M1_TRY(relocate(relocations, relocationBytes));
    M1_TRY(relocate(jumps, jumpBytes));
    M1_TRY(collectFunctions());
    return protect();
  }

private:
  Status readHeaders() {
    Elf64_Ehdr header;
    if (image.size < sizeof header || std::memcmp(image.data, ELFMAG, SELFMAG) != 0)
      return refused("it is not an ELF file");
    std::memcpy(&header, image.data, sizeof header);
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_X86_64 || header.e_type != ET_DYN)
      return refused("it is no shared object for x86-64");
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
        header.e_phnum > mostSegments ||
        !within(header.e_phoff, uint64_t(header.e_phnum) * sizeof(Elf64_Phdr), image.size))
      return refused("its program headers are out of range");
    for (unsigned i = 0; i < header.e_phnum; ++i) {
      Elf64_Phdr segment;
      std::memcpy(&segment, image.data + header.e_phoff + i * sizeof segment, sizeof segment);
      switch (segment.p_type) {
      case PT_LOAD:
        M1_TRY(addSegment(segment));
        break;
      case PT_DYNAMIC:
        dynamic = segment;
        break;
      case PT_GNU_RELRO:
        readOnly = segment;
        break;
      case PT_GNU_STACK:
        if (segment.p_flags & PF_X)
          return refused("it asks for an executable stack");
        break;
      case PT_NULL:
      case PT_NOTE:
      case PT_PHDR:
      case PT_GNU_EH_FRAME:
      case PT_GNU_PROPERTY:
        break;
      default: // thread-local data, an interpreter, and what nobody needs
        return refused("it has a segment of type %#x", segment.p_type);
      }
    }
    if (segments.empty() || dynamic.p_type != PT_DYNAMIC)
      return refused("it has no code, or no dynamic section");
    return Status();
  }

  Status addSegment(const Elf64_Phdr &segment) {
    const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
    if (segment.p_filesz > segment.p_memsz || segment.p_memsz > largestObject ||
        segment.p_vaddr > largestObject || !within(segment.p_offset, segment.p_filesz, image.size))
      return refused("segment %zu is out of range", segments.size());
    if ((segment.p_flags & PF_W) && (segment.p_flags & PF_X))
      return refused("segment %zu is writable code", segments.size());
    if (!segments.empty()) {
      const Elf64_Phdr &last = segments.back();
      if (segment.p_vaddr / page * page < last.p_vaddr + last.p_memsz)
        return refused("segment %zu overlaps the one before", segments.size());
    }
    segments.push_back(segment);
    return Status();
  }

  Status place() {
    const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
    const Elf64_Phdr &last = segments.back();
    const uint64_t end = (last.p_vaddr + last.p_memsz + page - 1) / page * page;
    void *memory = mmap(nullptr, end, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
      return error(StatusCode::outOfMemory, "no memory for %s of code: %s", bytesText(end).c_str(),
                   std::strerror(errno));
    code.memory = static_cast<uint8_t *>(memory);
    code.size = size_t(end);
    for (const Elf64_Phdr &segment : segments)
      std::memcpy(code.memory + segment.p_vaddr, image.data + segment.p_offset, segment.p_filesz);
    return Status();
  }

  /// The bytes of a range of the loaded object, or null.
  uint8_t *range(uint64_t address, uint64_t size) const {
    return within(address, size, code.size) ? code.memory + address : nullptr;
  }

  Status readDynamic() {
    const uint8_t *entries = range(dynamic.p_vaddr, dynamic.p_memsz);
    if (!entries)
      return refused("its dynamic section is out of range");
    uint64_t symbolTable = 0, stringTable = 0, hash = 0, gnuHash = 0, relocationTable = 0,
             jumpTable = 0;
    for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic.p_memsz; at += sizeof(Elf64_Dyn)) {
      Elf64_Dyn entry;
      std::memcpy(&entry, entries + at, sizeof entry);
      const uint64_t value = entry.d_un.d_val;
      switch (entry.d_tag) {
      case DT_NULL:
        at = dynamic.p_memsz;
        break;
      case DT_SYMTAB:
        symbolTable = value;
        break;
      case DT_STRTAB:
        stringTable = value;
        break;
      case DT_STRSZ:
        stringBytes = value;
        break;
      case DT_HASH:
        hash = value;
        break;
      case DT_GNU_HASH:
        gnuHash = value;
        break;
      case DT_RELA:
        relocationTable = value;
        break;
      case DT_RELASZ:
        relocationBytes = value;
        break;
      case DT_JMPREL:
        jumpTable = value;
        break;
      case DT_PLTRELSZ:
        jumpBytes = value;
        break;
      case DT_SYMENT:
        if (value != sizeof(Elf64_Sym))
          return refused("its symbols have %llu bytes", (unsigned long long)value);
        break;
      case DT_RELAENT:
        if (value != sizeof(Elf64_Rela))
          return refused("its relocations have %llu bytes", (unsigned long long)value);
        break;
      case DT_PLTREL:
        if (value != DT_RELA)
          return refused("its relocations are of an unknown kind");
        break;
      case DT_SONAME:
      case DT_PLTGOT:
      case DT_RELACOUNT:
      case DT_BIND_NOW:
        break;
      case DT_FLAGS:
        if (value & ~uint64_t(DF_BIND_NOW | DF_SYMBOLIC))
          return refused("it has the flags %#llx", (unsigned long long)value);
        break;
      case DT_FLAGS_1:
        if (value & ~uint64_t(DF_1_NOW))
          return refused("it has the flags 1 %#llx", (unsigned long long)value);
        break;
      case DT_NEEDED:
        return refused("it needs another library");
      case DT_INIT:
      case DT_FINI:
      case DT_INIT_ARRAY:
      case DT_FINI_ARRAY:
      case DT_PREINIT_ARRAY:
        return refused("it has code that runs by itself");
      default:
        return refused("its dynamic section has an entry of kind %#llx",
                       (unsigned long long)entry.d_tag);
      }
    }
    strings = reinterpret_cast<const char *>(range(stringTable, stringBytes));
    // In memory that stays readable and that no relocation changes.
    if (!strings || stringBytes == 0 || strings[stringBytes - 1] != '\0' ||
        !inSegment(stringTable, stringBytes, PF_R) || inSegment(stringTable, 1, PF_W))
      return refused("its names are out of range");
    relocations = range(relocationTable, relocationBytes);
    jumps = range(jumpTable, jumpBytes);
    if (!relocations || !jumps || relocationBytes % sizeof(Elf64_Rela) ||
        jumpBytes % sizeof(Elf64_Rela))
      return refused("its relocations are out of range");
    M1_TRY(hash ? countSymbols(hash) : countGnuSymbols(gnuHash));
    symbols = range(symbolTable, symbolCount * sizeof(Elf64_Sym));
    return symbols ? Status() : refused("its symbols are out of range");
  }

  uint32_t word(const uint8_t *at) const {
    uint32_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }

  Status countSymbols(uint64_t table) {
    const uint8_t *header = range(table, 8);
    if (!header)
      return refused("its hash table is out of range");
    symbolCount = word(header + 4);
    return Status();
  }

  /// The last symbol is the end of the last chain.
  Status countGnuSymbols(uint64_t table) {
    const uint8_t *header = range(table, 16);
    if (!header)
      return refused("its hash table is out of range");
    const uint64_t buckets = word(header), first = word(header + 4), filters = word(header + 8);
    const uint64_t bucketsAt = table + 16 + filters * 8, chains = bucketsAt + buckets * 4;
    uint64_t last = 0;
    for (uint64_t i = 0; i < buckets; ++i) {
      const uint8_t *bucket = range(bucketsAt + i * 4, 4);
      if (!bucket)
        return refused("its hash table is out of range");
      last = std::max<uint64_t>(last, word(bucket));
    }
    if (last < first) { // no symbol is in a chain
      symbolCount = first;
      return Status();
    }
    for (;; ++last) {
      const uint8_t *link = range(chains + (last - first) * 4, 4);
      if (!link)
        return refused("its hash table is out of range");
      if (word(link) & 1)
        break;
    }
    symbolCount = last + 1;
    return Status();
  }

  Status symbol(uint64_t index, Elf64_Sym *out, const char **outName) const {
    if (index >= symbolCount)
      return refused("symbol %llu is out of range", (unsigned long long)index);
    std::memcpy(out, symbols + index * sizeof *out, sizeof *out);
    if (out->st_name >= stringBytes)
      return refused("the name of symbol %llu is out of range", (unsigned long long)index);
    *outName = strings + out->st_name;
    return Status();
  }

  bool inSegment(uint64_t address, uint64_t size, uint32_t flags) const {
    return std::any_of(segments.begin(), segments.end(), [&](const Elf64_Phdr &segment) {
      return (segment.p_flags & flags) == flags && address >= segment.p_vaddr &&
             within(address - segment.p_vaddr, size, segment.p_memsz);
    });
  }

  Status relocate(const uint8_t *table, uint64_t bytes) {
    const uint64_t base = reinterpret_cast<uint64_t>(code.memory);
    for (uint64_t at = 0; at < bytes; at += sizeof(Elf64_Rela)) {
      Elf64_Rela entry;
      std::memcpy(&entry, table + at, sizeof entry);
      const uint64_t type = ELF64_R_TYPE(entry.r_info);
      if (type == R_X86_64_NONE)
        continue;
      // Not code, and not the tables that are being read.
      if (!inSegment(entry.r_offset, 8, PF_W))
        return refused("a relocation changes what is not data");
      uint64_t value = 0; // within the object, or an import
      bool isImport = false;
      if (type == R_X86_64_RELATIVE) {
        value = uint64_t(entry.r_addend);
      } else if (type == R_X86_64_64 || type == R_X86_64_GLOB_DAT || type == R_X86_64_JUMP_SLOT) {
        Elf64_Sym wanted;
        const char *name = nullptr;
        M1_TRY(symbol(ELF64_R_SYM(entry.r_info), &wanted, &name));
        isImport = wanted.st_shndx == SHN_UNDEF;
        value = isImport ? imported(name) : wanted.st_value + uint64_t(entry.r_addend);
        if (isImport && (value == 0 || entry.r_addend != 0))
          return refused("it calls \"%s\", which it does not hold", shortened(name).c_str());
        const unsigned kind = ELF64_ST_TYPE(wanted.st_info);
        if (kind == STT_TLS || kind == STT_GNU_IFUNC)
          return refused("the symbol \"%s\" is of kind %u", shortened(name).c_str(), kind);
      } else {
        return refused("a relocation is of type %llu", (unsigned long long)type);
      }
      if (!isImport) {
        if (value > code.size)
          return refused("a relocation leads out of it");
        value += base;
      }
      std::memcpy(code.memory + entry.r_offset, &value, sizeof value);
    }
    return Status();
  }

  Status collectFunctions() {
    for (uint64_t i = 1; i < symbolCount; ++i) {
      Elf64_Sym found;
      const char *name = nullptr;
      M1_TRY(symbol(i, &found, &name));
      if (found.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(found.st_info) == STT_FUNC &&
          inSegment(found.st_value, 1, PF_X))
        code.functions.push_back({name, found.st_value});
    }
    std::sort(code.functions.begin(), code.functions.end(),
              [](const ElfCode::Function &a, const ElfCode::Function &b) {
                return std::strcmp(a.name, b.name) < 0;
              });
    return Status();
  }

  /// Rights last: until here everything was data.
  Status protect() {
    const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
    auto set = [&](uint64_t begin, uint64_t end, int rights) {
      begin = begin / page * page;
      end = std::min<uint64_t>((end + page - 1) / page * page, code.size);
      return mprotect(code.memory + begin, end - begin, rights) == 0
                 ? Status()
                 : error(StatusCode::ioError, "mprotect of code: %s", std::strerror(errno));
    };
    M1_TRY(set(0, code.size, PROT_NONE));
    for (const Elf64_Phdr &segment : segments) {
      const int rights = (segment.p_flags & PF_R ? PROT_READ : 0) |
                         (segment.p_flags & PF_W ? PROT_WRITE : 0) |
                         (segment.p_flags & PF_X ? PROT_EXEC : 0);
      if (segment.p_memsz)
        M1_TRY(set(segment.p_vaddr, segment.p_vaddr + segment.p_memsz, rights));
    }
    // Whole pages only; the rest stays writable, as with the system's loader.
    if (readOnly.p_type == PT_GNU_RELRO && within(readOnly.p_vaddr, readOnly.p_memsz, code.size)) {
      const uint64_t begin = readOnly.p_vaddr / page * page,
                     end = (readOnly.p_vaddr + readOnly.p_memsz) / page * page;
      if (end > begin)
        M1_TRY(set(begin, end, PROT_READ));
    }
    return Status();
  }

  const Bytes image;
  ElfCode &code;
  std::vector<Elf64_Phdr> segments;
  Elf64_Phdr dynamic = {}, readOnly = {};
  const char *strings = nullptr;
  const uint8_t *symbols = nullptr, *relocations = nullptr, *jumps = nullptr;
  uint64_t stringBytes = 0, symbolCount = 0, relocationBytes = 0, jumpBytes = 0;
};

ElfCode &ElfCode::operator=(ElfCode &&other) noexcept {
  std::swap(memory, other.memory);
  std::swap(size, other.size);
  std::swap(functions, other.functions);
  return *this;
}

ElfCode::~ElfCode() {
  if (memory)
    munmap(memory, size);
}

Status ElfCode::load(Bytes image, ElfCode *out) {
  ElfCode code;
  M1_TRY(ElfLoader(image, &code).run());
  *out = std::move(code);
  return Status();
}

void *ElfCode::find(const char *symbol) const {
  auto place = std::lower_bound(functions.begin(), functions.end(), symbol,
                                [](const Function &function, const char *wanted) {
                                  return std::strcmp(function.name, wanted) < 0;
                                });
  return place != functions.end() && std::strcmp(place->name, symbol) == 0 ? memory + place->address
                                                                           : nullptr;
}

} // namespace m1rt
