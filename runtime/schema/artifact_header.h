// The first 64 bytes of an artifact (.m1a). Plain C; all fields little-endian.
#ifndef M1_SCHEMA_ARTIFACT_HEADER_H
#define M1_SCHEMA_ARTIFACT_HEADER_H

#include <stdint.h>

#define M1_ARTIFACT_MAGIC "M1ARTIFA" // 8 bytes, no terminator

// The newest. A file is of the least version whose programs run it rightly: of 2 where a kernel's
// blocks wait for one another or it takes tensor maps, or a product has scales of its rows, which
// programs of version 1 pass over.
#define M1_ARTIFACT_VERSION 2u

#define M1_CUDA_OPERANDS 32u          // that a CUDA launch passes at most
#define M1_ARTIFACT_PAGE 4096u        // alignment of code, tokenizer and the first weight
#define M1_ARTIFACT_WEIGHT_ALIGN 256u // alignment of each weight

// File layout, in this order: this header; the FlatBuffers module (module.fbs); code and tokenizer
// segments, page-aligned; the text of the m1 module; padding to a page; embedded weights; the
// checks of the weights (weight_check.h). The digest covers the pages before the weights: it is
// checked before anything else is believed.
typedef struct m1_artifact_header {
  char magic[8];
  uint32_t version;
  uint32_t
      // pages of M1_ARTIFACT_PAGE bytes that the digest covers, from the file's first byte
      digested_pages;
  uint64_t module_offset; // of the FlatBuffers module; multiple of 64
  uint64_t module_size;   // bytes
  uint8_t digest[32];     // SHA-256 of the covered pages with these 32 bytes zero
} m1_artifact_header;

#ifdef __cplusplus
static_assert(sizeof(m1_artifact_header) == 64, "the header is part of the file format");
#endif

#endif
