#include "cli/list_values.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/option_values.h"

namespace weft::cli {

std::vector<std::string> split_list(std::string_view list) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    words.emplace_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::vector<int64_t> parse_counts(std::string_view option, std::string_view list, int64_t low,
                                  int64_t high) {
  std::vector<int64_t> counts;
  for (const std::string& word : split_list(list)) {
    const auto count = parse_whole_number(word);
    if (!count || *count < low || *count > high)
      throw Error(
          ErrorKind::kUsage, fmt::format("{} holds '{}'", option, word),
          fmt::format("whole numbers from {} to {}, separated by commas, are expected", low, high));
    counts.push_back(*count);
  }
  return counts;
}

}  // namespace weft::cli
