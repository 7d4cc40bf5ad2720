#include "comm/sum_coder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace weft::comm {
namespace {

static_assert(std::endian::native == std::endian::little);

// Sums that share a scale: their largest decides how finely the others are told.
constexpr int64_t kGroup = 32;
constexpr int64_t kCountBytes = sizeof(int64_t);
constexpr float kLargestCode = 127.0f;
// From here on no conversion to int64 is defined. A sum stays below 2^62 (tensor/panel.h), and what
// it is rounded up to below 2^62 * (1 + 2^-6).
constexpr float kNoSum = 0x1p63f;

constexpr int64_t bytes_of_group(SumWire wire, int64_t count) {
  switch (wire) {
    case SumWire::kF32:
      return 4 * count;
    case SumWire::kBF16:
      return 2 * count;
    case SumWire::kQ8:
      return 2 + count;
    case SumWire::kInt64:
      break;
  }
  return 8 * count;
}

// To nearest, ties to even. Of finite numbers far from the largest.
uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
// Of a number that is not negative: the next one that is not smaller.
uint16_t to_bf16_above(float x) {
  return static_cast<uint16_t>((std::bit_cast<uint32_t>(x) + 0xffff) >> 16);
}
float from_bf16(uint16_t code) { return std::bit_cast<float>(uint32_t{code} << 16); }

template <typename T>
void put(std::byte* out, int64_t index, T value) {
  std::memcpy(out + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}
template <typename T>
T get(const std::byte* in, int64_t index) {
  T value;
  std::memcpy(&value, in + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

void encode_q8(const float* sums, int64_t count, std::byte* out) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(sums[i]));
  const uint16_t code = to_bf16_above(largest / kLargestCode);
  const float scale = from_bf16(code);
  put(out, 0, code);
  for (int64_t i = 0; i < count; ++i) {
    const float multiple = scale == 0 ? 0.0f : std::nearbyint(sums[i] / scale);
    put(out + 2, i, static_cast<int8_t>(std::clamp(multiple, -kLargestCode, kLargestCode)));
  }
}

void encode(SumWire wire, const int64_t* sums, int64_t count, std::byte* out) {
  float rounded[kGroup];
  for (int64_t i = 0; i < count; ++i) rounded[i] = static_cast<float>(sums[i]);
  if (wire == SumWire::kF32) std::memcpy(out, rounded, static_cast<size_t>(count) * sizeof(float));
  if (wire == SumWire::kBF16)
    for (int64_t i = 0; i < count; ++i) put(out, i, to_bf16(rounded[i]));
  if (wire == SumWire::kQ8) encode_q8(rounded, count, out);
}

// What is between two integers goes to the nearest, ties to even.
bool decode(SumWire wire, const std::byte* in, int64_t count, int64_t* sums) {
  const float scale = wire == SumWire::kQ8 ? from_bf16(get<uint16_t>(in, 0)) : 0.0f;
  bool are_sums = true;
  for (int64_t i = 0; i < count; ++i) {
    const float value = wire == SumWire::kF32    ? get<float>(in, i)
                        : wire == SumWire::kBF16 ? from_bf16(get<uint16_t>(in, i))
                                                 : scale * get<int8_t>(in + 2, i);
    const bool is_sum = std::fabs(value) < kNoSum;  // not so for NaN
    are_sums &= is_sum;
    sums[i] = is_sum ? static_cast<int64_t>(std::nearbyint(value)) : 0;
  }
  return are_sums;
}

}  // namespace

const char* name(SumWire wire) {
  switch (wire) {
    case SumWire::kInt64:
      return "int64";
    case SumWire::kF32:
      return "f32";
    case SumWire::kBF16:
      return "bf16";
    case SumWire::kQ8:
      return "q8";
  }
  return "?";
}

SumCoder::SumCoder(const SumRows& rows, SumWire wire) : rows_(rows), wire_(wire) {
  WEFT_CHECK(wire != SumWire::kInt64, "sums that are not rounded need no coder");
  WEFT_CHECK(rows.num_sums <= rows.count_index && rows.count_index < rows.row_length &&
                 static_cast<int64_t>(rows.data.size()) % rows.row_length == 0,
             "{} sums and a count at {} in rows of {}", rows.num_sums, rows.count_index,
             rows.row_length);
  row_bytes_ = kCountBytes + rows.num_sums / kGroup * bytes_of_group(wire, kGroup);
  if (const int64_t rest = rows.num_sums % kGroup; rest > 0)
    row_bytes_ += bytes_of_group(wire, rest);
}

void SumCoder::write(Range rows, std::byte* out) const {
  for (int64_t index = rows.begin; index < rows.end; ++index) {
    int64_t* sums = row(index);
    put(out, 0, sums[rows_.count_index]);
    out += kCountBytes;
    for (int64_t i = 0; i < rows_.num_sums; i += kGroup) {
      const int64_t count = std::min(kGroup, rows_.num_sums - i);
      encode(wire_, sums + i, count, out);
      const bool are_sums = decode(wire_, out, count, sums + i);
      WEFT_CHECK(are_sums, "a sum of this process left its range");
      out += bytes_of_group(wire_, count);
    }
  }
}

void SumCoder::round(Range rows) const {
  std::byte code[kGroup * sizeof(float)];
  for (int64_t index = rows.begin; index < rows.end; ++index) {
    for (int64_t i = 0; i < rows_.num_sums; i += kGroup) {
      const int64_t count = std::min(kGroup, rows_.num_sums - i);
      encode(wire_, row(index) + i, count, code);
      const bool are_sums = decode(wire_, code, count, row(index) + i);
      WEFT_CHECK(are_sums, "a sum of this process left its range");
    }
  }
}

bool SumCoder::add(Range rows, const std::byte* in) const {
  bool are_sums = true;
  int64_t part[kGroup];
  // Unsigned, so that wrapping around is defined; the bits are the same.
  const auto add_to = [](int64_t& sum, int64_t more) {
    sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(more));
  };
  for (int64_t index = rows.begin; index < rows.end; ++index) {
    int64_t* sums = row(index);
    add_to(sums[rows_.count_index], get<int64_t>(in, 0));
    in += kCountBytes;
    for (int64_t i = 0; i < rows_.num_sums; i += kGroup) {
      const int64_t count = std::min(kGroup, rows_.num_sums - i);
      are_sums &= decode(wire_, in, count, part);
      for (int64_t j = 0; j < count; ++j) add_to(sums[i + j], part[j]);
      in += bytes_of_group(wire_, count);
    }
  }
  return are_sums;
}

}  // namespace weft::comm
