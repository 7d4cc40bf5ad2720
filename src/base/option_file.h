// The config file as a flat list of entries; which of them mean something is for options.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace weft {

struct OptionFileEntry {
  std::string table;  // empty at the top of the file
  std::string key;
  std::vector<std::string> values;  // one, or an array's elements, as text
  bool is_array = false;
  int line = 0;
};

// Throws Error(kUsage) with the line for a file that is not TOML, or that holds anything but keys
// and one level of tables with texts, numbers, booleans and arrays of these.
std::vector<OptionFileEntry> read_option_file(const std::filesystem::path& path);

}  // namespace weft
