// The 16-bit elements of the cache, two types of their own so that overloads tell them apart.
#pragma once

#include <cstdint>

namespace weft::kernels {

struct CachedBf16 {
  uint16_t bits;
};
struct CachedF16 {
  uint16_t bits;
};

}  // namespace weft::kernels
