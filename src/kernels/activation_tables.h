// Activations that travel between ranks: pure data movement, no arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/range.h"
#include "kernels/kernels.h"

namespace weft::kernels {

// One part of activations (codes, scales, sums, ...) as a table with a row a token.
struct ActivationTable {
  std::byte* rows = nullptr;  // [num_tokens, row_bytes]
  int64_t row_bytes = 0;
};
inline constexpr int kMaxActivationTables = 9;
// All parts, in one order for all activations of one shape. Returns their number.
int activation_tables(const Activations& activations,
                      ActivationTable (&tables)[kMaxActivationTables]);

// Copies some tokens between activations of one shape. Of second terms, those of outliers alone.
void copy_tokens(const Activations& from, const Activations& to, Range tokens);

}  // namespace weft::kernels
