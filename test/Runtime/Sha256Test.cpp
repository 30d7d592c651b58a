#include "base/sha256.h"
#include <gtest/gtest.h>

using namespace m1rt;

namespace {

std::string digestOf(const std::string &text, size_t piece = SIZE_MAX) {
  Sha256 sha;
  for (size_t i = 0; i < text.size(); i += std::min(piece, text.size() - i))
    sha.update(text.data() + i, std::min(piece, text.size() - i));
  return digestText(sha.finish().data());
}

// The examples of FIPS 180-4 and NIST's long message, and a length at which the padding needs a
// block of its own.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(digestOf(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digestOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digestOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digestOf(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// How the text is cut into updates does not matter.
TEST(Sha256, PiecesDoNotMatter) {
  std::string text;
  for (int i = 0; i < 1000; ++i)
    text += char(i * 7);
  for (size_t piece : {1u, 3u, 63u, 64u, 65u, 200u})
    EXPECT_EQ(digestOf(text, piece), digestOf(text));
}

} // namespace
