// The arrangement of weights within a group of a panel: 32 inputs of 16 rows.
//
//   step    = 4 consecutive inputs of 16 rows: byte 4 * row + (input % 4) of 64 bytes, the operand
//             of one 4-way dot product over 16 lanes; a group has 8 steps
//   U8      8 vectors of 64 bytes, one a step
//   U4      4 vectors: the low nibbles of vector v are step v, the high ones step v + 4, so that
//             the halves of 16 inputs are the low and the high nibbles
//   U5      as U4, then 1 vector: bit s of a byte is the fifth bit of step s
//   U6      as U4, then 2 vectors: bits 2v, 2v + 1 of a byte of the first are the top bits of step
//             v, of the second those of step v + 4
//   BF16    16 vectors of 16 rows x 2 consecutive inputs, the earlier input in the low half of a
//             row's 32 bits: the operand of the processors' BF16 dot product
//   F16     32 vectors of 16 rows, one an input
//   F32     the same
//
// Before the codes: scales [halves, 16 rows], then minimums [halves, 16 rows]; halves is 2 where
// 16 inputs share a scale, otherwise 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/panel.h"

namespace weft::kernels {

using tensor::Codes;
using tensor::kGroupInputs;
using tensor::kPanelRows;
using tensor::Scales;

inline constexpr int64_t kStepInputs = 4;
inline constexpr int64_t kVectorBytes = 64;

// The unsigned code of one weight (U4 to U8).
uint8_t code_at(Codes codes, const uint8_t* group_codes, int64_t row, int64_t slot);
// Puts codes [32] of one row into a group. Four codes, those of one step, are one word: a row is
// moved in eight words at most, and all rows together write every byte of the group.
template <Codes kCodes>
inline void put_codes(int64_t row, const uint8_t* slots, std::byte* group_codes) {
  constexpr int kSteps = 8;
  uint32_t step[kSteps];
  std::memcpy(step, slots, sizeof(step));
  const auto put = [&](int64_t vector, uint32_t word) {
    std::memcpy(group_codes + vector * kVectorBytes + row * kStepInputs, &word, sizeof(word));
  };
  if constexpr (kCodes == Codes::kU8) {
    for (int s = 0; s < kSteps; ++s) put(s, step[s]);
    return;
  }
  for (int v = 0; v < 4; ++v) put(v, (step[v] & 0x0f0f0f0fu) | (step[v + 4] & 0x0f0f0f0fu) << 4);
  if constexpr (kCodes == Codes::kU5) {
    uint32_t top = 0;
    for (int s = 0; s < kSteps; ++s) top |= (step[s] >> 4 & 0x01010101u) << s;
    put(4, top);
  }
  if constexpr (kCodes == Codes::kU6) {
    for (int half = 0; half < 2; ++half) {
      uint32_t top = 0;
      for (int s = 0; s < 4; ++s) top |= (step[4 * half + s] >> 4 & 0x03030303u) << (2 * s);
      put(4 + half, top);
    }
  }
}
// The byte at which the weight of a row and slot begins (F32, F16, BF16).
int64_t float_offset(Codes codes, int64_t row, int64_t slot);

}  // namespace weft::kernels
