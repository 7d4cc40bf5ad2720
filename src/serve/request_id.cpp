#include "serve/request_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

namespace weft::serve {

std::string request_id(std::string_view wanted) {
  constexpr size_t kMostBytes = 128;
  const bool is_fit =
      !wanted.empty() && wanted.size() <= kMostBytes && std::ranges::all_of(wanted, [](char c) {
        return c > 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '\'';
      });
  if (is_fit) return std::string(wanted);
  thread_local std::mt19937_64 random{[] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }()};
  return fmt::format("{:016x}{:016x}", random(), random());
}

}  // namespace weft::serve
