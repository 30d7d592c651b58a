#include "trust.h"

#include "artifact/approval.h"
#include "base/mapped_file.h"
#include "base/open_file.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <unistd.h>

using namespace m1rt;

namespace m1tool {

namespace {

struct Release {
  void operator()(EVP_PKEY *key) const { EVP_PKEY_free(key); }
  void operator()(EVP_PKEY_CTX *context) const { EVP_PKEY_CTX_free(context); }
  void operator()(EVP_MD_CTX *context) const { EVP_MD_CTX_free(context); }
  void operator()(BIO *file) const { BIO_free(file); }
};
using Key = std::unique_ptr<EVP_PKEY, Release>;
using File = std::unique_ptr<BIO, Release>;
using Signature = std::array<uint8_t, 64>;

std::vector<uint8_t> messageOf(const Digest &digest) {
  static const char purpose[] = "m1 artifact\n";
  std::vector<uint8_t> message(purpose, purpose + sizeof purpose - 1);
  message.insert(message.end(), digest.begin(), digest.end());
  return message;
}

Status readKey(const std::string &path, bool isPrivate, Key *out) {
  std::string text;
  M1_TRY(readInput(path, size_t(1) << 20, &text)); // many times a key
  File file(BIO_new_mem_buf(text.data(), int(text.size())));
  if (!file)
    return error(StatusCode::outOfMemory, "%s: out of memory", path.c_str());
  // No callback: a key with a password is an error, not a question.
  auto noPassword = [](char *, int, int, void *) { return -1; };
  out->reset(isPrivate ? PEM_read_bio_PrivateKey(file.get(), nullptr, noPassword, nullptr)
                       : PEM_read_bio_PUBKEY(file.get(), nullptr, noPassword, nullptr));
  if (!*out || EVP_PKEY_get_base_id(out->get()) != EVP_PKEY_ED25519)
    return error(StatusCode::invalidArgument, "%s: expected %s Ed25519 key in PEM form",
                 path.c_str(), isPrivate ? "a private" : "a public");
  return {};
}

Status readSignature(const std::string &path, Signature *out) {
  // Beside the artifact, and perhaps from where that came.
  MappedFile file;
  M1_TRY(MappedFile::open(path, &file).prefixed("no signature"));
  char text[256];
  size_t size = size_t(std::min<uint64_t>(sizeof text, file.bytes().size));
  M1_TRY(file.read(0, text, size));
  while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
    --size;
  Digest halves[2];
  if (size != 128 || !parseDigest(std::string(text, 64), &halves[0]) ||
      !parseDigest(std::string(text + 64, 64), &halves[1]))
    return error(StatusCode::corrupt, "%s: expected 128 hexadecimal digits", path.c_str());
  std::memcpy(out->data(), halves, out->size());
  return {};
}

bool verifies(EVP_PKEY *key, const Signature &signature, const Digest &digest) {
  std::unique_ptr<EVP_MD_CTX, Release> context(EVP_MD_CTX_new());
  const std::vector<uint8_t> message = messageOf(digest);
  return context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key) == 1 &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(),
                          message.size()) == 1;
}

/// Writes a PEM file that did not exist.
template <typename Write> Status writeNew(const std::string &path, mode_t mode, Write write) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  std::FILE *stream = descriptor < 0 ? nullptr : fdopen(descriptor, "w");
  if (!stream)
    return error(StatusCode::ioError, "%s: cannot create: %s", path.c_str(), std::strerror(errno));
  const bool written = write(stream) == 1 && std::fflush(stream) == 0 && fsync(descriptor) == 0;
  const int problem = errno;
  if (std::fclose(stream) == 0 && written)
    return {};
  unlink(path.c_str());
  return error(StatusCode::ioError, "%s: cannot write: %s", path.c_str(), std::strerror(problem));
}

} // namespace

std::string signaturePath(const std::string &artifact) { return artifact + ".sig"; }

void addTrustFlags(CLI::App &app, TrustFlags *flags) {
  app.add_option("--allow-external", flags->allowExternal,
                 "Directory that weights outside the artifact may lie in, besides its own")
      ->group("Trust")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("DIR")
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--require-digest", flags->requireDigest,
                 "Run no other artifact than this one (m1-dump --digest)")
      ->group("Trust")
      ->type_name("HEX");
  app.add_option("--trust", flags->trust,
                 "Run only what the owner of this public key has signed (m1-sign); of several, one "
                 "of them")
      ->group("Trust")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("KEY.pem")
      ->expected(1)
      ->allow_extra_args(false);
}

Status applyTrustFlags(const TrustFlags &flags, const std::string &artifact, ModelOptions *out) {
  out->allowExternal = flags.allowExternal;
  std::function<Status(const Digest &)> digestCheck;
  if (!flags.requireDigest.empty()) {
    Digest wanted;
    if (!parseDigest(flags.requireDigest, &wanted))
      return error(StatusCode::invalidArgument,
                   "--require-digest: expected 64 hexadecimal digits, got \"%s\"",
                   flags.requireDigest.c_str());
    digestCheck = requireDigest(wanted);
  }
  auto keys = std::make_shared<std::vector<Key>>();
  Signature signature;
  for (const std::string &path : flags.trust) {
    keys->emplace_back();
    M1_TRY(readKey(path, /*isPrivate=*/false, &keys->back()));
  }
  if (!keys->empty())
    M1_TRY(readSignature(signaturePath(artifact), &signature));
  if (!digestCheck && keys->empty())
    return {};
  out->approve = [=](const Digest &digest) -> Status {
    if (digestCheck)
      M1_TRY(digestCheck(digest));
    for (const Key &key : *keys)
      if (verifies(key.get(), signature, digest))
        return {};
    return keys->empty() ? Status()
                         : error(StatusCode::corrupt,
                                 "its signature is none of a trusted key, or of another artifact");
  };
  return {};
}

Status signDigest(const std::string &privateKeyPath, const Digest &digest,
                  std::string *outSignature) {
  Key key;
  M1_TRY(readKey(privateKeyPath, /*isPrivate=*/true, &key));
  std::unique_ptr<EVP_MD_CTX, Release> context(EVP_MD_CTX_new());
  const std::vector<uint8_t> message = messageOf(digest);
  Signature signature;
  size_t size = signature.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) != 1 ||
      size != signature.size())
    return error(StatusCode::deviceError, "%s: cannot sign with it", privateKeyPath.c_str());
  *outSignature = digestText(signature.data()) + digestText(signature.data() + 32);
  return {};
}

Status createKeys(const std::string &privateKeyPath, const std::string &publicKeyPath) {
  std::unique_ptr<EVP_PKEY_CTX, Release> context(EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, nullptr));
  EVP_PKEY *made = nullptr;
  if (!context || EVP_PKEY_keygen_init(context.get()) != 1 ||
      EVP_PKEY_keygen(context.get(), &made) != 1)
    return error(StatusCode::deviceError, "cannot make a key");
  Key key(made);
  M1_TRY(writeNew(privateKeyPath, 0600, [&](std::FILE *file) {
    return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  }));
  Status status = writeNew(publicKeyPath, 0666,
                           [&](std::FILE *file) { return PEM_write_PUBKEY(file, key.get()); });
  if (!status.ok())
    unlink(privateKeyPath.c_str()); // half a pair is of no use
  return status;
}

} // namespace m1tool
