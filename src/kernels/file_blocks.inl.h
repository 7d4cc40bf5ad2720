// One reader a file type: block of 32 -> FileGroup, without rounding anything. A group comes in
// zeroed; fields that the type lacks stay so.
#pragma once

#include <bit>
#include <cstring>

#include "base/error.h"
#include "kernels/file_blocks.h"
#include "tensor/panel.h"

namespace weft::kernels {

inline constexpr int64_t kBlocksPerSuperBlock = tensor::kSuperBlockInputs / tensor::kGroupInputs;

inline uint8_t byte_at(const std::byte* p, int64_t i) { return static_cast<uint8_t>(p[i]); }

inline uint16_t half_at(const std::byte* p, int64_t i) {
  uint16_t bits;
  std::memcpy(&bits, p + i, sizeof(bits));
  return bits;
}

// Inputs 0..15 are the low nibbles of 16 bytes, inputs 16..31 the high ones.
inline void read_nibbles(const std::byte* qs, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = byte_at(qs, i) & 15;
    codes[i + 16] = byte_at(qs, i) >> 4;
  }
}

inline void add_fifth_bits(const std::byte* qh, uint8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, qh, sizeof(bits));
  for (int i = 0; i < 32; ++i) codes[i] |= static_cast<uint8_t>(((bits >> i) & 1u) << 4);
}

// K-quants cut a super-block into runs of 64 inputs (or 128), whose bytes hold one block of 32 in
// their low bits and the next in higher ones: byte i at `shift` is input i of the block.
inline void read_bits(const std::byte* bytes, int shift, int mask, int left, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) {
    codes[i] |= static_cast<uint8_t>(((byte_at(bytes, i) >> shift) & mask) << left);
  }
}

// -------------------------------------------------------------- blocks of 32

inline void read_q4_0(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  read_nibbles(b + 2, group.codes);
}
inline void read_q4_1(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  group.min_f16 = half_at(b, 2);
  read_nibbles(b + 4, group.codes);
}
inline void read_q5_0(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  read_nibbles(b + 6, group.codes);
  add_fifth_bits(b + 2, group.codes);
}
inline void read_q5_1(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  group.min_f16 = half_at(b, 2);
  read_nibbles(b + 8, group.codes);
  add_fifth_bits(b + 4, group.codes);
}
inline void read_q8_0(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  for (int i = 0; i < 32; ++i) group.codes[i] = byte_at(b + 2, i) ^ 0x80;
}

// The sixteen values of IQ4_NL and IQ4_XS, and those of MXFP4 (doubled, so that they are whole).
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr int8_t kMxfp4Values[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

inline void read_values(const std::byte* qs, const int8_t* values, uint8_t* codes) {
  read_nibbles(qs, codes);
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(values[codes[i]] + 128);
}

inline void read_iq4_nl(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  read_values(b + 2, kIq4Values, group.codes);
}
// The scale is half of E8M0's 2^(e - 127), because the values are doubled.
inline void read_mxfp4(const std::byte* b, FileGroup& group) {
  const uint32_t e = byte_at(b, 0);
  group.scale_f32 = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  read_values(b + 1, kMxfp4Values, group.codes);
}

// -------------------------------------------------------------- super-blocks of 256
// `i` is the block of 32 within the super-block.

inline void read_q2_k(const std::byte* b, int i, FileGroup& group) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t scale = byte_at(b, 2 * i + half);
    group.sc[half] = static_cast<int8_t>(scale & 15);
    group.m[half] = scale >> 4;
  }
  read_bits(b + 16 + 32 * (i / 4), 2 * (i % 4), 3, 0, group.codes);
  group.d = half_at(b, 80);
  group.dmin = half_at(b, 82);
}

inline void read_q3_k(const std::byte* b, int i, FileGroup& group) {
  const std::byte* scales = b + 96;
  for (int half = 0; half < 2; ++half) {
    const int j = 2 * i + half;  // of 16: low four bits in 8 bytes, high two bits in 4
    const int low = (byte_at(scales, j % 8) >> (4 * (j / 8))) & 15;
    const int high = (byte_at(scales, 8 + j % 4) >> (2 * (j / 4))) & 3;
    group.sc[half] = static_cast<int8_t>((low | high << 4) - 32);
  }
  read_bits(b + 32 + 32 * (i / 4), 2 * (i % 4), 3, 0, group.codes);
  read_bits(b, i, 1, 2, group.codes);  // a set bit means 4 more, that is: no 4 less
  group.d = half_at(b, 108);
}

// Eight 6-bit scales and minimums in 12 bytes, shared by Q4_K and Q5_K.
inline void read_scale_min(const std::byte* scales, int i, FileGroup& group) {
  int sc, m;
  if (i < 4) {
    sc = byte_at(scales, i) & 63;
    m = byte_at(scales, i + 4) & 63;
  } else {
    sc = (byte_at(scales, i + 4) & 15) | ((byte_at(scales, i - 4) >> 6) << 4);
    m = (byte_at(scales, i + 4) >> 4) | ((byte_at(scales, i) >> 6) << 4);
  }
  group.sc[0] = group.sc[1] = static_cast<int8_t>(sc);
  group.m[0] = group.m[1] = static_cast<uint8_t>(m);
}

inline void read_q4_k(const std::byte* b, int i, FileGroup& group) {
  group.d = half_at(b, 0);
  group.dmin = half_at(b, 2);
  read_scale_min(b + 4, i, group);
  read_bits(b + 16 + 32 * (i / 2), 4 * (i % 2), 15, 0, group.codes);
}

inline void read_q5_k(const std::byte* b, int i, FileGroup& group) {
  group.d = half_at(b, 0);
  group.dmin = half_at(b, 2);
  read_scale_min(b + 4, i, group);
  read_bits(b + 48 + 32 * (i / 2), 4 * (i % 2), 15, 0, group.codes);
  read_bits(b + 16, i, 1, 4, group.codes);
}

inline void read_q6_k(const std::byte* b, int i, FileGroup& group) {
  const int run = i / 4, part = i % 4;  // a run of 128 inputs: parts 0, 1 low nibbles, 2, 3 high
  read_bits(b + 64 * run + 32 * (part % 2), 4 * (part / 2), 15, 0, group.codes);
  read_bits(b + 128 + 32 * run, 2 * part, 3, 4, group.codes);
  for (int half = 0; half < 2; ++half) {
    group.sc[half] = static_cast<int8_t>(byte_at(b, 192 + 2 * i + half));
  }
  group.d = half_at(b, 208);
}

inline void read_iq4_xs(const std::byte* b, int i, FileGroup& group) {
  group.d = half_at(b, 0);
  const int low = (byte_at(b, 4 + i / 2) >> (4 * (i % 2))) & 15;
  const int high = (half_at(b, 2) >> (2 * i)) & 3;
  group.sc[0] = group.sc[1] = static_cast<int8_t>((low | high << 4) - 32);
  read_values(b + 8 + 16 * i, kIq4Values, group.codes);
}

// -------------------------------------------------------------- by type

// The group of block `block` (of 32) of a row, whose bytes in the file begin at b: those of the
// whole super-block where the type has one.
template <tensor::DType kType>
inline void read_group_as(const std::byte* b, [[maybe_unused]] int64_t block, FileGroup& group) {
  using enum tensor::DType;
  [[maybe_unused]] const int i = static_cast<int>(block % kBlocksPerSuperBlock);
  if constexpr (kType == kQ4_0) read_q4_0(b, group);
  if constexpr (kType == kQ4_1) read_q4_1(b, group);
  if constexpr (kType == kQ5_0) read_q5_0(b, group);
  if constexpr (kType == kQ5_1) read_q5_1(b, group);
  if constexpr (kType == kQ8_0) read_q8_0(b, group);
  if constexpr (kType == kIQ4_NL) read_iq4_nl(b, group);
  if constexpr (kType == kMXFP4) read_mxfp4(b, group);
  if constexpr (kType == kQ2_K) read_q2_k(b, i, group);
  if constexpr (kType == kQ3_K) read_q3_k(b, i, group);
  if constexpr (kType == kQ4_K) read_q4_k(b, i, group);
  if constexpr (kType == kQ5_K) read_q5_k(b, i, group);
  if constexpr (kType == kQ6_K) read_q6_k(b, i, group);
  if constexpr (kType == kIQ4_XS) read_iq4_xs(b, i, group);
}

// Calls use.operator()<T>() with the quantised type T that `type` is.
template <typename Use>
void with_quantized_type(tensor::DType type, Use use) {
  using enum tensor::DType;
  switch (type) {
    case kQ4_0:
      return use.template operator()<kQ4_0>();
    case kQ4_1:
      return use.template operator()<kQ4_1>();
    case kQ5_0:
      return use.template operator()<kQ5_0>();
    case kQ5_1:
      return use.template operator()<kQ5_1>();
    case kQ8_0:
      return use.template operator()<kQ8_0>();
    case kQ2_K:
      return use.template operator()<kQ2_K>();
    case kQ3_K:
      return use.template operator()<kQ3_K>();
    case kQ4_K:
      return use.template operator()<kQ4_K>();
    case kQ5_K:
      return use.template operator()<kQ5_K>();
    case kQ6_K:
      return use.template operator()<kQ6_K>();
    case kIQ4_NL:
      return use.template operator()<kIQ4_NL>();
    case kIQ4_XS:
      return use.template operator()<kIQ4_XS>();
    case kMXFP4:
      return use.template operator()<kMXFP4>();
    case kF32:
    case kF16:
    case kBF16:
      break;
  }
  WEFT_CHECK(false, "{} has no groups", tensor::name(type));
}

}  // namespace weft::kernels
