// Which artifacts a program runs: those of a digest, those that somebody signed.
#ifndef M1_TOOLS_TRUST_TRUST_H
#define M1_TOOLS_TRUST_TRUST_H

#include "model/model.h"
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace m1tool {

struct TrustFlags {
  std::vector<std::string> allowExternal, trust;
  std::string requireDigest;
};
/// --allow-external, --require-digest and --trust.
void addTrustFlags(CLI::App &app, TrustFlags *flags);
/// Refuses flags that are malformed, and keys and signatures that cannot be read.
m1rt::Status applyTrustFlags(const TrustFlags &flags, const std::string &artifact,
                             m1rt::ModelOptions *out);

/// Signatures are detached: ARTIFACT.sig holds one line of 128 hexadecimal digits, the Ed25519
/// signature of "m1 artifact\n" and the 32 bytes of Artifact::digest(). Keys are PEM files, as
/// `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.
std::string signaturePath(const std::string &artifact);
m1rt::Status signDigest(const std::string &privateKeyPath, const m1rt::Digest &digest,
                        std::string *outSignature);
/// Writes a new private key, readable by its owner alone, and its public key. Never over an
/// existing file.
m1rt::Status createKeys(const std::string &privateKeyPath, const std::string &publicKeyPath);

} // namespace m1tool

#endif
