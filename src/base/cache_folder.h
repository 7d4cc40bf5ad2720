// Where this user's files lie that could be had again: fetched models, digests of files. The XDG
// base directory specification.
#pragma once

#include <filesystem>

#include "base/options.h"

namespace weft {

// $XDG_CACHE_HOME/weft, otherwise ~/.cache/weft; empty where neither is an absolute path.
std::filesystem::path cache_folder(const Environment& environment);

}  // namespace weft
