// Writes the toy model's artifact:
// toy-artifact OUT.m1a [foreign-cpu | newer | external WEIGHTS | elsewhere WEIGHTS]
#include "ToyModel.h"
#include <cstring>

int main(int argc, char **argv) {
  if (argc < 2)
    return 2;
  const std::string kind = argc > 2 ? argv[2] : "";
  toy::ArtifactOptions options;
  if (kind == "foreign-cpu")
    options.change = [](toy::schema::ModuleT &module) {
      module.targets[0]->cpu = "sapphirerapids";
      module.targets[0]->cpu_features = {"no_such_feature"};
    };
  if (kind == "external" || kind == "elsewhere") {
    options.weights = toy::Weights::external;
    options.externalPath = argv[3];
  }
  if (kind == "elsewhere") // by its whole path
    options.change = [&](toy::schema::ModuleT &module) {
      module.external_files[0]->name = options.externalPath;
    };
  std::vector<uint8_t> bytes = toy::artifact(options);
  if (kind == "newer") {
    reinterpret_cast<m1_artifact_header *>(bytes.data())->version = 7;
    toy::fixDigest(bytes);
  }
  toy::writeFile(argv[1], bytes);
  return 0;
}
