#include "base/cache_folder.h"

#include <string_view>

namespace weft {

std::filesystem::path cache_folder(const Environment& environment) {
  const auto folder = [&](std::string_view name) {
    const auto found = environment.find(name);
    const std::filesystem::path path = found == environment.end() ? "" : found->second;
    return path.is_absolute() ? path : std::filesystem::path();  // a relative one is to be ignored
  };
  if (const auto xdg = folder("XDG_CACHE_HOME"); !xdg.empty()) return xdg / "weft";
  const auto home = folder("HOME");
  return home.empty() ? home : home / ".cache" / "weft";
}

}  // namespace weft
