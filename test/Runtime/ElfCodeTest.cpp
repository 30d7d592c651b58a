// Code of a stranger's artifact: nothing of it runs before a kernel is called, and what is damaged
// or wants more than a kernel needs is refused.
#include "ToyModel.h"
#include "cpu/elf_code.h"
#include "m1k_abi.h"
#include "toy_shape.h"
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <functional>
#include <gtest/gtest.h>
#include <link.h>
#include <random>

using namespace m1rt;

namespace {

Status load(const std::vector<uint8_t> &image, ElfCode *out) {
  return ElfCode::load({image.data(), image.size()}, out);
}

/// Calls change(segment) for each program header of an object that holds together.
void changeSegments(std::vector<uint8_t> &image, const std::function<void(Elf64_Phdr &)> &change) {
  Elf64_Ehdr header;
  std::memcpy(&header, image.data(), sizeof header);
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    uint8_t *at = image.data() + header.e_phoff + i * sizeof segment;
    std::memcpy(&segment, at, sizeof segment);
    change(segment);
    std::memcpy(at, &segment, sizeof segment);
  }
}

Elf64_Phdr dynamicSegment(std::vector<uint8_t> &image) {
  Elf64_Phdr dynamic = {};
  changeSegments(image, [&](Elf64_Phdr &segment) {
    if (segment.p_type == PT_DYNAMIC)
      dynamic = segment;
  });
  return dynamic;
}

/// Changes the first entry of the dynamic section with this tag.
void changeEntry(std::vector<uint8_t> &image, int64_t tag,
                 const std::function<void(Elf64_Dyn &)> &change) {
  const Elf64_Phdr segment = dynamicSegment(image);
  for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= segment.p_filesz; at += sizeof(Elf64_Dyn)) {
    Elf64_Dyn entry;
    std::memcpy(&entry, image.data() + segment.p_offset + at, sizeof entry);
    if (entry.d_tag != tag)
      continue;
    change(entry);
    std::memcpy(image.data() + segment.p_offset + at, &entry, sizeof entry);
    return;
  }
  ADD_FAILURE() << "no entry " << tag;
}

// The functions are found and compute; what is none is not found.
TEST(ElfCode, LoadsFunctions) {
  const std::vector<uint8_t> image = toy::readFile(TOY_KERNELS);
  ElfCode code;
  Status status = load(image, &code);
  ASSERT_TRUE(status.ok()) << status.message();
  ElfCode moved = std::move(code);
  EXPECT_EQ(moved.find("no_such_kernel"), nullptr);
  EXPECT_EQ(moved.find(""), nullptr);
  auto kernel = reinterpret_cast<void (*)(void *const *, const m1_dims *, int, int)>(
      moved.find("toy_argmax"));
  ASSERT_NE(kernel, nullptr);
  std::vector<float> logits(TOY_VOCABULARY, 1.0f);
  logits[41] = 3;
  int32_t token = -7;
  void *operands[] = {logits.data(), &token};
  m1_dims dims = {1, 1, 1, 1};
  kernel(operands, &dims, 0, 0);
  EXPECT_EQ(token, 41);
}

// Everything by which an object would run code of its own, or reach out of itself.
TEST(ElfCode, RefusesMoreThanKernels) {
  const std::vector<uint8_t> image = toy::readFile(TOY_KERNELS);
  struct Case {
    int64_t tag;
    const char *message;
  };
  for (const Case &test : {Case{DT_INIT, "runs by itself"}, Case{DT_FINI, "runs by itself"},
                           Case{DT_INIT_ARRAY, "runs by itself"},
                           Case{DT_NEEDED, "needs another library"}, Case{DT_TEXTREL, "kind 0x16"},
                           Case{DT_RPATH, "kind 0xf"}, Case{0x6ffffff0, "kind 0x6ffffff0"}}) {
    std::vector<uint8_t> changed = image;
    changeEntry(changed, DT_SYMENT, [&](Elf64_Dyn &entry) { entry.d_tag = test.tag; });
    ElfCode code;
    Status status = load(changed, &code);
    EXPECT_EQ(status.code(), StatusCode::corrupt);
    EXPECT_NE(status.message().find(test.message), std::string::npos) << status.message();
  }
  auto refusal = [&](const std::function<void(Elf64_Phdr &)> &change) {
    std::vector<uint8_t> changed = image;
    changeSegments(changed, change);
    ElfCode code;
    return load(changed, &code).message();
  };
  EXPECT_NE(refusal([](Elf64_Phdr &s) {
              if (s.p_type == PT_LOAD && (s.p_flags & PF_X))
                s.p_flags |= PF_W;
            }).find("writable code"),
            std::string::npos);
  EXPECT_NE(refusal([](Elf64_Phdr &s) {
              if (s.p_type == PT_GNU_STACK)
                s.p_flags |= PF_X;
            }).find("executable stack"),
            std::string::npos);
  EXPECT_NE(refusal([](Elf64_Phdr &s) {
              if (s.p_type == PT_NOTE)
                s.p_type = PT_TLS;
            }).find("segment of type 0x7"),
            std::string::npos);
  EXPECT_NE(refusal([](Elf64_Phdr &s) { s.p_memsz = ~0ull; }).find("out of range"),
            std::string::npos);
  // A library of the system is no kernel code.
  ElfCode code;
  void *system = dlopen("libm.so.6", RTLD_NOW);
  link_map *map = nullptr;
  ASSERT_TRUE(system && dlinfo(system, RTLD_DI_LINKMAP, &map) == 0);
  EXPECT_FALSE(load(toy::readFile(map->l_name), &code).ok());
  dlclose(system);
  EXPECT_FALSE(load(toy::readFile("/proc/self/exe"), &code).ok());
}

// What does not hold together is refused by name: headers, tables, symbols and relocations.
TEST(ElfCode, NamesWhatIsOutOfRange) {
  const std::vector<uint8_t> image = toy::readFile(TOY_KERNELS);
  auto refusal = [&](const std::function<void(std::vector<uint8_t> &)> &change) {
    std::vector<uint8_t> changed = image;
    change(changed);
    ElfCode code;
    Status status = load(changed, &code);
    EXPECT_EQ(status.code(), StatusCode::corrupt);
    return status.message();
  };
  auto header = [&](const std::function<void(Elf64_Ehdr &)> &change) {
    return refusal([&](std::vector<uint8_t> &bytes) {
      Elf64_Ehdr header;
      std::memcpy(&header, bytes.data(), sizeof header);
      change(header);
      std::memcpy(bytes.data(), &header, sizeof header);
    });
  };
  const std::string cannot = "the code cannot be loaded: ";
  EXPECT_EQ(refusal([](std::vector<uint8_t> &bytes) { bytes.resize(20); }),
            cannot + "it is not an ELF file");
  EXPECT_EQ(header([](Elf64_Ehdr &h) { h.e_ident[1] = 'e'; }), cannot + "it is not an ELF file");
  EXPECT_EQ(header([](Elf64_Ehdr &h) { h.e_machine = EM_AARCH64; }),
            cannot + "it is no shared object for x86-64");
  EXPECT_EQ(header([](Elf64_Ehdr &h) { h.e_phoff = ~0ull - 8; }),
            cannot + "its program headers are out of range");

  // An entry of the dynamic section: that of the tag changed, or one more where it ends.
  auto entries = [&](std::vector<std::pair<int64_t, uint64_t>> values) {
    return refusal([&](std::vector<uint8_t> &bytes) {
      for (auto [tag, value] : values)
        changeEntry(bytes, tag < 0 ? -tag : DT_NULL, [tag = tag, value = value](Elf64_Dyn &entry) {
          entry.d_tag = tag < 0 ? -tag : tag;
          entry.d_un.d_val = value;
        });
    });
  };
  const uint64_t far = uint64_t(1) << 40;
  EXPECT_EQ(entries({{-DT_SYMENT, 25}}), cannot + "its symbols have 25 bytes");
  EXPECT_EQ(entries({{DT_RELAENT, 23}}), cannot + "its relocations have 23 bytes");
  EXPECT_EQ(entries({{DT_PLTREL, DT_REL}}), cannot + "its relocations are of an unknown kind");
  EXPECT_EQ(entries({{DT_FLAGS, DF_TEXTREL}}), cannot + "it has the flags 0x4");
  EXPECT_EQ(entries({{DT_FLAGS_1, DF_1_NODELETE}}), cannot + "it has the flags 1 0x8");
  EXPECT_EQ(entries({{-DT_STRTAB, far}}), cannot + "its names are out of range");
  EXPECT_EQ(entries({{-DT_STRSZ, 0}}), cannot + "its names are out of range");
  EXPECT_EQ(entries({{-DT_SYMTAB, far}}), cannot + "its symbols are out of range");
  EXPECT_EQ(entries({{-DT_GNU_HASH, far}}), cannot + "its hash table is out of range");
  EXPECT_EQ(entries({{DT_HASH, far}}), cannot + "its hash table is out of range");
  EXPECT_EQ(entries({{DT_RELA, far}, {DT_RELASZ, 24}}),
            cannot + "its relocations are out of range");
  EXPECT_EQ(entries({{DT_RELASZ, 12}}), cannot + "its relocations are out of range");

  // A relocation, in the unused end of the dynamic section, of that section's first word.
  auto relocation = [&](uint64_t type, uint64_t symbol, uint64_t addend, bool ofCode = false) {
    return refusal([&](std::vector<uint8_t> &bytes) {
      const Elf64_Phdr segment = dynamicSegment(bytes);
      Elf64_Rela entry = {ofCode ? sizeof(Elf64_Ehdr) : segment.p_vaddr, ELF64_R_INFO(symbol, type),
                          int64_t(addend)};
      const uint64_t at = segment.p_filesz - sizeof entry;
      std::memcpy(bytes.data() + segment.p_offset + at, &entry, sizeof entry);
      for (auto [tag, value] :
           {std::pair<int64_t, uint64_t>{DT_RELA, segment.p_vaddr + at}, {DT_RELASZ, sizeof entry}})
        changeEntry(bytes, DT_NULL, [tag = tag, value = value](Elf64_Dyn &entry) {
          entry.d_tag = tag;
          entry.d_un.d_val = value;
        });
    });
  };
  EXPECT_EQ(relocation(R_X86_64_RELATIVE, 0, 0, true),
            cannot + "a relocation changes what is not data");
  EXPECT_EQ(relocation(R_X86_64_RELATIVE, 0, far), cannot + "a relocation leads out of it");
  EXPECT_EQ(relocation(R_X86_64_TPOFF64, 0, 0), cannot + "a relocation is of type 18");
  EXPECT_EQ(relocation(R_X86_64_64, 0, 0), cannot + "it calls \"\", which it does not hold");
  EXPECT_EQ(relocation(R_X86_64_64, 99, 0), cannot + "symbol 99 is out of range");

  // A name that has no end within a message is cut between characters.
  std::string name = "a";
  for (int i = 0; i < 43; ++i)
    name += "é";
  const std::string text = refusal([&](std::vector<uint8_t> &bytes) {
    changeEntry(bytes, DT_STRTAB, [&](const Elf64_Dyn &entry) { // in the file's first segment
      std::memcpy(bytes.data() + entry.d_un.d_val, name.c_str(), name.size() + 1);
    });
    const Elf64_Phdr segment = dynamicSegment(bytes);
    const Elf64_Rela entry = {segment.p_vaddr, ELF64_R_INFO(0, R_X86_64_64), 0};
    const uint64_t at = segment.p_filesz - sizeof entry;
    std::memcpy(bytes.data() + segment.p_offset + at, &entry, sizeof entry);
    for (auto [tag, value] : {std::pair<int64_t, uint64_t>{-DT_STRSZ, name.size() + 1},
                              {DT_RELA, segment.p_vaddr + at},
                              {DT_RELASZ, sizeof entry}})
      changeEntry(bytes, tag < 0 ? -tag : DT_NULL, [tag = tag, value = value](Elf64_Dyn &entry) {
        entry.d_tag = tag < 0 ? -tag : tag;
        entry.d_un.d_val = value;
      });
  });
  EXPECT_EQ(text, cannot + "it calls \"" + name.substr(0, 79) + "…\", which it does not hold");
}

// Damage anywhere, cuts at any place: an error or an object that loads, and never a crash.
TEST(ElfCode, SurvivesDamage) {
  const std::vector<uint8_t> image = toy::readFile(TOY_KERNELS);
  std::mt19937 random(3);
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<uint8_t> bytes = image;
    for (unsigned i = 0; i < 1 + random() % 4; ++i) {
      // Headers and tables are at both ends of so small an object.
      size_t at = random() % 3 == 0 ? random() % 1024 : random() % bytes.size();
      bytes[at] = random() % 2 ? uint8_t(random()) : uint8_t(bytes[at] ^ 1u << random() % 8);
    }
    if (round % 16 == 0)
      bytes.resize(random() % bytes.size());
    ElfCode code;
    refused += !load(bytes, &code).ok();
    code.find("toy_argmax");
  }
  EXPECT_GT(refused, 500);
}

} // namespace
