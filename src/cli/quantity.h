// Quantities as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace weft::cli {

std::string bytes_text(int64_t bytes);             // "98.4 MB": powers of 1000, three digits
std::string count_text(int64_t count);             // "134.5 M"
double per_second(double amount, double seconds);  // 0 where no time passed

}  // namespace weft::cli
