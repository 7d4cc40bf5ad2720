#include "base/option_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <fstream>
#include <optional>
#include <sstream>

#include "base/error.h"

namespace weft {
namespace {

std::optional<std::string> scalar_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  return std::nullopt;
}

OptionFileEntry read_entry(const std::filesystem::path& path, const std::string& table,
                           std::string_view key, const toml::node& node) {
  OptionFileEntry entry;
  entry.table = table;
  entry.key = std::string(key);
  entry.line = static_cast<int>(node.source().begin.line);
  const auto refuse = [&] {
    throw Error(ErrorKind::kUsage,
                fmt::format("{}, line {}: the value of '{}' is not one that an option takes",
                            path.string(), entry.line, entry.key),
                "a text, a number, true, false or an array of these is expected");
  };
  const toml::array* array = node.as_array();
  entry.is_array = array != nullptr;
  if (array == nullptr) {
    const auto text = scalar_text(node);
    if (!text) refuse();
    entry.values.push_back(*text);
    return entry;
  }
  for (const toml::node& element : *array) {
    const auto text = scalar_text(element);
    if (!text) refuse();
    entry.values.push_back(*text);
  }
  return entry;
}

toml::table parse_file(const std::filesystem::path& path) {
  const auto refuse = [&](const char* why) {
    throw Error(ErrorKind::kUsage, fmt::format("cannot read the config file {}", path.string()),
                why, "give an existing file with --config (or WEFT_CONFIG)");
  };
  // A folder opens like a file and reads as an empty one.
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) refuse("it is a folder");
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse("it does not exist or may not be read");
  std::stringstream text;
  // An empty file: the stream would call it a failure to have copied nothing.
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (file.bad() || !text) refuse("reading it failed");
  try {
    return toml::parse(text.str(), path.string());
  } catch (const toml::parse_error& error) {
    throw Error(
        ErrorKind::kUsage,
        fmt::format("{}, line {}: not valid TOML", path.string(), error.source().begin.line),
        error.description());
  }
}

}  // namespace

std::vector<OptionFileEntry> read_option_file(const std::filesystem::path& path) {
  const toml::table root = parse_file(path);
  std::vector<OptionFileEntry> entries;
  for (const auto& [key, node] : root) {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      entries.push_back(read_entry(path, "", key.str(), node));
      continue;
    }
    for (const auto& [inner_key, inner] : *table) {
      entries.push_back(read_entry(path, std::string(key.str()), inner_key.str(), inner));
    }
  }
  return entries;
}

}  // namespace weft
