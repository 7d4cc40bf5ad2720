// Names and values of options as text. Nothing is returned where the text is not wholly such a
// value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weft {

// What an option of that name is called elsewhere: "tensor-parallel-size" in the config file
// (dashes and underscores are one), "WEFT_TENSOR_PARALLEL_SIZE" in the environment.
std::string option_key(std::string_view name);
std::string option_variable(std::string_view name);

// Decimal, with an optional k, m, g, t (powers of 1000) or K, M, G, T (powers of 1024) at the end.
std::optional<int64_t> parse_whole_number(std::string_view text);
std::optional<uint64_t> parse_unsigned(std::string_view text);
// Finite only.
std::optional<double> parse_number(std::string_view text);
// true/false, yes/no, on/off, 1/0, in any case.
std::optional<bool> parse_truth(std::string_view text);

// "a whole number from 1 to 64", "a whole number of at least 1"; a bound at the type's own limit is
// left out. Where large numbers are allowed, with what their letters mean.
std::string describe_range(int64_t min, int64_t max, int64_t type_min, int64_t type_max);
// "a number from 0 to 1", "a number above 0, at most 1": the least normal number stands for the
// latter, and the largest for no bound.
std::string describe_range(float min, float max);

}  // namespace weft
