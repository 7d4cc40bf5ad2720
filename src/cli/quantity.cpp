#include "cli/quantity.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

namespace weft::cli {
namespace {

std::string scaled(int64_t amount, const std::array<std::string_view, 5>& units) {
  double value = static_cast<double>(amount);
  size_t unit = 0;
  // 999.95 would be printed as 1000.0.
  while (std::abs(value) >= 999.95 && unit + 1 < units.size()) {
    value /= 1000.0;
    ++unit;
  }
  if (unit == 0) return fmt::format("{}{}", amount, units[0]);
  const int decimals = std::abs(value) < 9.995 ? 2 : 1;
  return fmt::format("{:.{}f}{}", value, decimals, units[unit]);
}

}  // namespace

std::string bytes_text(int64_t bytes) { return scaled(bytes, {" B", " kB", " MB", " GB", " TB"}); }

std::string count_text(int64_t count) { return scaled(count, {"", " k", " M", " B", " T"}); }

double per_second(double amount, double seconds) {
  return seconds > 0 && std::isfinite(amount / seconds) ? amount / seconds : 0.0;
}

}  // namespace weft::cli
