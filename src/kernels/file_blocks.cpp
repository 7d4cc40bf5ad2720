#include "kernels/file_blocks.h"

#include <bit>
#include <cstring>

#include "base/error.h"
#include "tensor/panel.h"

namespace weft::kernels {
namespace {

using tensor::DType;

constexpr int64_t kBlocksPerSuperBlock = tensor::kSuperBlockInputs / tensor::kGroupInputs;

uint8_t byte_at(const std::byte* p, int64_t i) { return static_cast<uint8_t>(p[i]); }

uint16_t half_at(const std::byte* p, int64_t i) {
  uint16_t bits;
  std::memcpy(&bits, p + i, sizeof(bits));
  return bits;
}

// Inputs 0..15 are the low nibbles of 16 bytes, inputs 16..31 the high ones.
void read_nibbles(const std::byte* qs, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = byte_at(qs, i) & 15;
    codes[i + 16] = byte_at(qs, i) >> 4;
  }
}

void add_fifth_bits(const std::byte* qh, uint8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, qh, sizeof(bits));
  for (int i = 0; i < 32; ++i) codes[i] |= static_cast<uint8_t>(((bits >> i) & 1u) << 4);
}

// K-quants cut a super-block into runs of 64 inputs (or 128), whose bytes hold one block of 32 in
// their low bits and the next in higher ones: byte i at `shift` is input i of the block.
void read_bits(const std::byte* bytes, int shift, int mask, int left, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) {
    codes[i] |= static_cast<uint8_t>(((byte_at(bytes, i) >> shift) & mask) << left);
  }
}

// -------------------------------------------------------------- blocks of 32

void read_q4_0(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  read_nibbles(b + 2, group.codes);
}
void read_q4_1(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  group.min_f16 = half_at(b, 2);
  read_nibbles(b + 4, group.codes);
}
void read_q5_0(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  read_nibbles(b + 6, group.codes);
  add_fifth_bits(b + 2, group.codes);
}
void read_q5_1(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  group.min_f16 = half_at(b, 2);
  read_nibbles(b + 8, group.codes);
  add_fifth_bits(b + 4, group.codes);
}
void read_q8_0(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  for (int i = 0; i < 32; ++i) group.codes[i] = byte_at(b + 2, i) ^ 0x80;
}

// The sixteen values of IQ4_NL and IQ4_XS, and those of MXFP4 (doubled, so that they are whole).
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
constexpr int8_t kMxfp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void read_values(const std::byte* qs, const int8_t* values, uint8_t* codes) {
  read_nibbles(qs, codes);
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(values[codes[i]] + 128);
}

void read_iq4_nl(const std::byte* b, FileGroup& group) {
  group.scale_f16 = half_at(b, 0);
  read_values(b + 2, kIq4Values, group.codes);
}
// The scale is half of E8M0's 2^(e - 127), because the values are doubled.
void read_mxfp4(const std::byte* b, FileGroup& group) {
  const uint32_t e = byte_at(b, 0);
  group.scale_f32 = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  read_values(b + 1, kMxfp4Values, group.codes);
}

// -------------------------------------------------------------- super-blocks of 256
// `i` is the block of 32 within the super-block.

void read_q2_k(const std::byte* b, int i, FileGroup& group) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t scale = byte_at(b, 2 * i + half);
    group.sc[half] = static_cast<int8_t>(scale & 15);
    group.m[half] = scale >> 4;
  }
  read_bits(b + 16 + 32 * (i / 4), 2 * (i % 4), 3, 0, group.codes);
  group.d = half_at(b, 80);
  group.dmin = half_at(b, 82);
}

void read_q3_k(const std::byte* b, int i, FileGroup& group) {
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
void read_scale_min(const std::byte* scales, int i, FileGroup& group) {
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

void read_q4_k(const std::byte* b, int i, FileGroup& group) {
  group.d = half_at(b, 0);
  group.dmin = half_at(b, 2);
  read_scale_min(b + 4, i, group);
  read_bits(b + 16 + 32 * (i / 2), 4 * (i % 2), 15, 0, group.codes);
}

void read_q5_k(const std::byte* b, int i, FileGroup& group) {
  group.d = half_at(b, 0);
  group.dmin = half_at(b, 2);
  read_scale_min(b + 4, i, group);
  read_bits(b + 48 + 32 * (i / 2), 4 * (i % 2), 15, 0, group.codes);
  read_bits(b + 16, i, 1, 4, group.codes);
}

void read_q6_k(const std::byte* b, int i, FileGroup& group) {
  const int run = i / 4, part = i % 4;  // a run of 128 inputs: parts 0, 1 low nibbles, 2, 3 high
  read_bits(b + 64 * run + 32 * (part % 2), 4 * (part / 2), 15, 0, group.codes);
  read_bits(b + 128 + 32 * run, 2 * part, 3, 4, group.codes);
  for (int half = 0; half < 2; ++half) {
    group.sc[half] = static_cast<int8_t>(byte_at(b, 192 + 2 * i + half));
  }
  group.d = half_at(b, 208);
}

void read_iq4_xs(const std::byte* b, int i, FileGroup& group) {
  group.d = half_at(b, 0);
  const int low = (byte_at(b, 4 + i / 2) >> (4 * (i % 2))) & 15;
  const int high = (half_at(b, 2) >> (2 * i)) & 3;
  group.sc[0] = group.sc[1] = static_cast<int8_t>((low | high << 4) - 32);
  read_values(b + 8 + 16 * i, kIq4Values, group.codes);
}

}  // namespace

FileGroup read_group(DType file_type, const std::byte* row, int64_t block) {
  const tensor::DTypeInfo& type = tensor::info(file_type);
  FileGroup group{};
  if (type.block_elements == tensor::kGroupInputs) {
    const std::byte* b = row + block * type.block_bytes;
    switch (file_type) {
      case DType::kQ4_0:
        read_q4_0(b, group);
        return group;
      case DType::kQ4_1:
        read_q4_1(b, group);
        return group;
      case DType::kQ5_0:
        read_q5_0(b, group);
        return group;
      case DType::kQ5_1:
        read_q5_1(b, group);
        return group;
      case DType::kQ8_0:
        read_q8_0(b, group);
        return group;
      case DType::kIQ4_NL:
        read_iq4_nl(b, group);
        return group;
      case DType::kMXFP4:
        read_mxfp4(b, group);
        return group;
      default:
        break;
    }
  } else if (type.block_elements == tensor::kSuperBlockInputs) {
    const std::byte* b = row + block / kBlocksPerSuperBlock * type.block_bytes;
    const int i = static_cast<int>(block % kBlocksPerSuperBlock);
    switch (file_type) {
      case DType::kQ2_K:
        read_q2_k(b, i, group);
        return group;
      case DType::kQ3_K:
        read_q3_k(b, i, group);
        return group;
      case DType::kQ4_K:
        read_q4_k(b, i, group);
        return group;
      case DType::kQ5_K:
        read_q5_k(b, i, group);
        return group;
      case DType::kQ6_K:
        read_q6_k(b, i, group);
        return group;
      case DType::kIQ4_XS:
        read_iq4_xs(b, i, group);
        return group;
      default:
        break;
    }
  }
  WEFT_CHECK(false, "{} has no groups", type.name);
}

}  // namespace weft::kernels
