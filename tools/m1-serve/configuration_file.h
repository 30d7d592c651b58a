/// --config FILE: options in the lines of a file.
#pragma once
#include <CLI/CLI.hpp>

namespace m1serve {

/// Adds --config FILE to `app`: lines `option = value`, or the name of a flag alone; what the
/// command line says counts before it. Called before the options are added that the file may name.
void addConfigurationFile(CLI::App &app);

} // namespace m1serve
