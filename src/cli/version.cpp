#include "cli/version.h"

#include <fmt/format.h>

#include "commit.h"  // WEFT_COMMIT, written by every build; WEFT_VERSION is CMake's (CMakeLists.txt)

namespace weft::cli {

std::string_view version() { return WEFT_VERSION; }

std::string_view commit() { return WEFT_COMMIT; }

std::string version_text(std::string_view isa) {
#if defined(__clang__)
  const std::string compiler = "clang " __clang_version__;
#else
  const std::string compiler = "gcc " __VERSION__;
#endif
  return fmt::format("weft {} ({})\ncompiler  {}\nkernels   {}\n", version(), WEFT_COMMIT, compiler,
                     isa);
}

}  // namespace weft::cli
