// Options whose value is a list: "1,2,4".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft::cli {

std::vector<std::string> split_list(std::string_view list);
// Whole numbers of low .. high. Throws Error(kUsage) naming the option.
std::vector<int64_t> parse_counts(std::string_view option, std::string_view list, int64_t low,
                                  int64_t high);

}  // namespace weft::cli
