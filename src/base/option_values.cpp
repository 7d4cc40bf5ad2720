#include "base/option_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

namespace weft {
namespace {

template <typename T>
std::optional<T> from_chars_exactly(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// 1 where the text ends in a digit, 0 for an unknown letter.
int64_t suffix_factor(char last) {
  const int64_t k = 1000, b = 1024;
  switch (last) {
    case 'k':
      return k;
    case 'm':
      return k * k;
    case 'g':
      return k * k * k;
    case 't':
      return k * k * k * k;
    case 'K':
      return b;
    case 'M':
      return b * b;
    case 'G':
      return b * b * b;
    case 'T':
      return b * b * b * b;
    default:
      return std::isdigit(static_cast<unsigned char>(last)) ? 1 : 0;
  }
}

// As it may be typed: 1024T says more than its sixteen digits.
std::string bound_text(int64_t bound) {
  constexpr int64_t kTera = int64_t{1} << 40;
  return bound >= kTera && bound % kTera == 0 ? fmt::format("{}T", bound / kTera)
                                              : fmt::format("{}", bound);
}

}  // namespace

std::string option_key(std::string_view name) {
  name.remove_prefix(std::min(name.find_first_not_of('-'), name.size()));
  std::string key(name);
  std::replace(key.begin(), key.end(), '_', '-');
  return key;
}

std::string option_variable(std::string_view name) {
  std::string variable = "WEFT_" + option_key(name);
  for (char& c : variable) {
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return variable;
}

std::optional<int64_t> parse_whole_number(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const int64_t factor = suffix_factor(text.back());
  if (factor == 0) return std::nullopt;
  if (factor != 1) text.remove_suffix(1);
  const auto value = from_chars_exactly<int64_t>(text);
  int64_t product = 0;
  if (!value || __builtin_mul_overflow(*value, factor, &product)) return std::nullopt;
  return product;
}

std::optional<uint64_t> parse_unsigned(std::string_view text) {
  return from_chars_exactly<uint64_t>(text);
}

std::optional<double> parse_number(std::string_view text) {
  const auto value = from_chars_exactly<double>(text);
  if (!value || !std::isfinite(*value)) return std::nullopt;
  return value;
}

std::optional<bool> parse_truth(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "true" || lower == "yes" || lower == "on" || lower == "1") return true;
  if (lower == "false" || lower == "no" || lower == "off" || lower == "0") return false;
  return std::nullopt;
}

std::string describe_range(int64_t min, int64_t max, int64_t type_min, int64_t type_max) {
  std::string text = "a whole number";
  if (min != type_min && max != type_max) {
    text += fmt::format(" from {} to {}", bound_text(min), bound_text(max));
  } else if (min != type_min) {
    text += fmt::format(" of at least {}", bound_text(min));
  } else if (max != type_max) {
    text += fmt::format(" of at most {}", bound_text(max));
  }
  constexpr int64_t kMany = 1'000'000;
  return max >= kMany ? text + " (4k is 4000, 4K is 4096)" : text;
}

std::string describe_range(float min, float max) {
  using Limits = std::numeric_limits<float>;
  const bool is_above_zero = min == Limits::min(), has_most = max != Limits::max();
  if (!is_above_zero) return fmt::format("a number from {} to {}", min, max);
  return has_most ? fmt::format("a number above 0, at most {}", max) : "a number above 0";
}

}  // namespace weft
