# Configuration of the lit tests; CMake fills in where things are (lit.site.cfg.py.in).
import os
import lit.formats

config.name = "M1"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "goldens"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.m1_binary_dir, "test")

path = [os.path.join(config.m1_binary_dir, "bin"), config.llvm_tools_dir, config.environment.get("PATH", "")]
config.environment["PATH"] = os.pathsep.join(path)
config.substitutions.append(("%goldens", os.path.join(config.test_source_root, "Integration", "goldens")))
config.substitutions.append(("%source_dir", config.m1_source_dir))
config.substitutions.append(("%binary_dir", config.m1_binary_dir))
config.substitutions.append(("%python", config.python))

if config.m1_have_cuda:
    config.available_features.add("cuda-toolkit")
if os.path.exists("/dev/nvidia0"):
    config.available_features.add("gpu")
