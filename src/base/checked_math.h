// Integer arithmetic that knows when it does not fit: for every size that comes from a file or a
// request.
//
//   const auto num_bytes = checked_mul(num_rows, row_bytes);
//   if (!num_bytes) throw Error(...);                        // the caller knows what to name
#pragma once

#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

// nullopt where the exact result does not fit T. Both sides are of one type: nothing is converted
// on the way (use checked_cast first).
template <std::integral T>
constexpr std::optional<T> checked_add(T a, std::type_identity_t<T> b) {
  T result{};
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

template <std::integral T>
constexpr std::optional<T> checked_sub(T a, std::type_identity_t<T> b) {
  T result{};
  if (__builtin_sub_overflow(a, b, &result)) return std::nullopt;
  return result;
}

template <std::integral T>
constexpr std::optional<T> checked_mul(T a, std::type_identity_t<T> b) {
  T result{};
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// nullopt where `value` is no value of To.
template <std::integral To, std::integral From>
constexpr std::optional<To> checked_cast(From value) {
  if (!std::in_range<To>(value)) return std::nullopt;
  return static_cast<To>(value);
}

}  // namespace weft
