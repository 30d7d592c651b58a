// Signs artifacts, so that others can run those of one maker only.
#include "command_line.h"
#include "tool.h"
#include "trust.h"

using namespace m1rt;
using namespace m1tool;

namespace {

Status sign(const std::string &keyPath, const std::string &artifactPath, const std::string &out) {
  ArtifactOptions options;
  options.allowExternal = {"/"}; // who signs an artifact vouches for the weights it names
  std::unique_ptr<Artifact> artifact;
  M1_TRY(Artifact::open(artifactPath, options, &artifact));
  Digest digest;
  M1_TRY(artifact->digest(0, {}, &digest));
  std::string signature;
  M1_TRY(signDigest(keyPath, digest, &signature));
  OutputFile file;
  M1_TRY(file.open(out));
  signature += '\n';
  M1_TRY(file.write(signature.data(), signature.size()));
  M1_TRY(file.commit());
  std::printf("%s: signed %s\n", out.c_str(), digestText(digest.data()).c_str());
  return {};
}

} // namespace

int main(int argc, char **argv) {
  prepareProcess();
  std::string newKey, key, artifact, out;
  CLI::App app{"Signs a compiled model (.m1a): OUT.m1a.sig is for m1-run --trust.", "m1-sign"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-sign ") + M1_VERSION);
  app.footer("Example: a pair of keys, a signature, and a run of nothing but what is signed\n"
             "  m1-sign --new-key me.pem          # and me.pem.pub, which others get\n"
             "  m1-sign --key me.pem model.m1a\n"
             "  m1-run model.m1a --trust me.pem.pub --prompt \"What is 17 * 23?\"");
  app.add_option("artifact", artifact, "The compiled model")->type_name("OUT.m1a");
  auto *wanted =
      app.add_option("--key", key, "Private key, Ed25519 in PEM form")->type_name("KEY.pem");
  app.add_option("--new-key", newKey, "Make a private key, and its public key KEY.pem.pub")
      ->type_name("KEY.pem")
      ->excludes(wanted);
  app.add_option("-o,--output", out, "The signature, if not OUT.m1a.sig")->type_name("FILE");
  int exitCode = 0;
  if (!parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;
  if (newKey.empty() == (key.empty() || artifact.empty()) || (!newKey.empty() && !artifact.empty()))
    return usageError("m1-sign", "give --key KEY.pem and OUT.m1a, or --new-key KEY.pem alone");
  if (!newKey.empty() && !out.empty())
    return usageError("m1-sign", "--output is for a signature: not with --new-key");
  const bool beside = newKey.empty() && out.empty();
  if (beside)
    out = signaturePath(artifact);
  if (std::string mistake = overwrites("--output", out, {artifact, key}); !mistake.empty())
    return usageError("m1-sign", mistake);
  Status status = beside ? checkOwnFile(out) : Status();
  if (status.ok())
    status = newKey.empty() ? sign(key, artifact, out) : createKeys(newKey, newKey + ".pub");
  if (status.ok() && std::fflush(stdout) != 0)
    return fail("m1-sign", outputError());
  return status.ok() ? 0 : fail("m1-sign", status);
}
