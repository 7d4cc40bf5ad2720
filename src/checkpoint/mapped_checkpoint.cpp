#include "checkpoint/mapped_checkpoint.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "base/error.h"
#include "checkpoint/refuse.h"

namespace weft::checkpoint {
namespace {

// tokenizer.json, the longest, takes some tens of megabytes.
constexpr int64_t kMaxSideFileBytes = int64_t{1} << 28;

// The five digits of a part's name as a number; -1 where they are not five digits.
int64_t five_digits(std::string_view text) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool all_digits = error == std::errc() && end == text.data() + text.size() && value >= 0;
  return text.size() == 5 && all_digits ? value : -1;
}

}  // namespace

int64_t MappedCheckpoint::file_bytes() const {
  int64_t sum = 0;
  for (const MappedFile& file : parts_.files) sum += file.size();
  return sum;
}

const Value* MappedCheckpoint::find_value(std::string_view key) const {
  const auto found = parts_.values.find(key);
  return found == parts_.values.end() ? nullptr : &found->second;
}

std::vector<std::string> MappedCheckpoint::keys() const {
  std::vector<std::string> keys;
  keys.reserve(parts_.values.size());
  for (const auto& [key, value] : parts_.values) keys.push_back(key);
  return keys;
}

std::optional<std::string> MappedCheckpoint::side_file(std::string_view name) const {
  WEFT_CHECK(name.find('/') == std::string_view::npos, "side file {}", name);
  const std::filesystem::path path = parts_.side_folder / name;
  if (parts_.side_folder.empty() || !is_there(path)) return std::nullopt;
  const MappedFile file(path);
  if (file.size() > kMaxSideFileBytes) {
    refuse(path.string(),
           fmt::format("is {} bytes long, more than {}", file.size(), kMaxSideFileBytes));
  }
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

bool is_there(const std::filesystem::path& path) {
  std::error_code error;  // a folder that may not be searched holds nothing for us
  return std::filesystem::exists(path, error);
}

std::optional<PartName> parse_part_name(std::string_view file_name, std::string_view extension) {
  constexpr std::string_view kPattern = "-00001-of-00005";
  if (!file_name.ends_with(extension)) return std::nullopt;
  file_name.remove_suffix(extension.size());
  if (file_name.size() < kPattern.size()) return std::nullopt;
  const std::string_view part = file_name.substr(file_name.size() - kPattern.size());
  const int64_t number = five_digits(part.substr(1, 5)), count = five_digits(part.substr(10, 5));
  const bool well_formed =
      part[0] == '-' && part.substr(6, 4) == "-of-" && number >= 1 && count >= 1 && number <= count;
  if (!well_formed) return std::nullopt;
  return PartName{std::string(file_name.substr(0, file_name.size() - kPattern.size())), number,
                  count};
}

}  // namespace weft::checkpoint
