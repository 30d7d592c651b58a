// A small language model for tests of the runtime: embedding, a recurrent state, a paged cache,
// logits. Its artifact is written here, with kernels compiled from toy_kernels.c, and a reference
// computes it sequence by sequence with the same order of operations.
#ifndef M1_TEST_TOYMODEL_H
#define M1_TEST_TOYMODEL_H

#include "artifact_header.h"
#include "module_generated.h"
#include "toy_shape.h"
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace toy {

namespace schema = ::m1::schema;

enum class Weights { embedded, dummy, external };

constexpr unsigned ownSeed = 7;

struct ArtifactOptions {
  Weights weights = Weights::embedded;
  std::string externalPath; // where external weights are written; named by its last component
  std::function<void(schema::ModuleT &)> change; // last changes to the module
  bool withPages = true;                         // false: no cache, as in a model without attention
  unsigned seed = ownSeed;                       // of the weights' values
};

/// The bytes of an artifact file.
std::vector<uint8_t> artifact(const ArtifactOptions &options = {});
/// Makes the digest right again after changes.
void fixDigest(std::vector<uint8_t> &bytes);

std::vector<uint8_t> readFile(const std::string &path);
void writeFile(const std::string &path, const std::vector<uint8_t> &bytes);
/// A fresh path in the test's directory for temporary files; removed when the process ends.
std::string temporaryPath(const std::string &name);

/// A checkpoint that the artifact says it was made of: `embed` is the table, `head.first` and
/// `head.second` are the rows of the output before and from this one on. [V, D] of the first weight
/// (0) or the second, drawn with a seed.
constexpr int headRows = 50;
std::vector<float> values(unsigned weight, unsigned seed);

/// Values of the embedded weights, drawn with ownSeed.
const std::vector<float> &table();  // [V, D]
const std::vector<float> &output(); // [V, D]

/// Logits after the last of `tokens`.
std::vector<float> referenceLogits(const std::vector<int32_t> &tokens, bool withPages = true);
int32_t argmax(const std::vector<float> &logits);

} // namespace toy

#endif
