// What this build is: version, commit, compiler.
#pragma once

#include <string>
#include <string_view>

namespace weft::cli {

std::string_view version();
// `git describe` where the build was configured in a checkout, otherwise "no git".
std::string_view commit();
// The lines of `weft --version`. isa: the kernel table of this machine.
std::string version_text(std::string_view isa);

}  // namespace weft::cli
