// Linears for tests: random rows of a file type, packed panels, activations laid out.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "kernels/every_table.h"
#include "kernels/kernels.h"
#include "kernels/reference_linear.h"
#include "tensor/buffer.h"
#include "tensor/dtype.h"

namespace weft::kernels {

using tensor::DType;
using tensor::InputMap;

inline std::vector<DType> every_dtype() {
  std::vector<DType> all;
  for (int i = 0; i < tensor::kNumDTypes; ++i) all.push_back(static_cast<DType>(i));
  return all;
}

// Byte offsets of the f16 fields of a block, which random bytes would make NaN.
inline std::vector<int64_t> half_fields(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    case DType::kMXFP4:
      return {};
    default:
      return {0};
  }
}

// f16 bits of a number between 2^-9 and 2^-2, of either sign.
inline uint16_t random_half(Random& random) {
  const int64_t exponent = 6 + random.below(7);
  return static_cast<uint16_t>(random.below(2) << 15 | exponent << 10 | random.below(1024));
}

// [num_rows, num_cols] of a file.
inline std::vector<std::byte> random_rows(DType dtype, int64_t num_rows, int64_t num_cols,
                                          Random& random) {
  const tensor::DTypeInfo& type = tensor::info(dtype);
  std::vector<std::byte> rows(static_cast<size_t>(num_rows * tensor::row_bytes(dtype, num_cols)));
  const auto size = static_cast<int64_t>(rows.size());
  if (dtype == DType::kF32 || dtype == DType::kBF16) {
    for (int64_t i = 0; i < size / type.block_bytes; ++i) {
      const float x = random.number(0.1f);
      const auto* bytes = reinterpret_cast<const std::byte*>(&x);
      std::memcpy(rows.data() + i * type.block_bytes, bytes + 4 - type.block_bytes,
                  static_cast<size_t>(type.block_bytes));
    }
    return rows;
  }
  for (std::byte& byte : rows) byte = static_cast<std::byte>(random.below(256));
  for (int64_t block = 0; block < size / type.block_bytes; ++block) {
    std::byte* at = rows.data() + block * type.block_bytes;
    if (dtype == DType::kMXFP4) at[0] = static_cast<std::byte>(118 + random.below(8));
    for (const int64_t field : half_fields(dtype)) {
      const uint16_t half = random_half(random);
      std::memcpy(at + field, &half, sizeof(half));
    }
  }
  return rows;
}

// The ways in which a linear may take its inputs.
inline std::vector<std::pair<std::string, InputMap>> input_maps(DType dtype, int64_t num_cols) {
  const auto units = [](int64_t size, int64_t first, int64_t count) {
    std::vector<Range> all;
    for (int64_t i = first; i < first + count; ++i) all.push_back({i * size, (i + 1) * size});
    return InputMap::of_units(all);
  };
  std::vector<std::pair<std::string, InputMap>> maps;
  maps.emplace_back("whole", InputMap::whole(num_cols));
  maps.emplace_back("64", units(64, 0, num_cols / 64));
  maps.emplace_back("128", units(128, 1, num_cols / 128 - 1));
  maps.emplace_back("256", units(256, 0, num_cols / 256));
  maps.emplace_back("40", units(40, 3, 11));
  maps.emplace_back("80", units(80, 1, 7));
  if (tensor::info(dtype).block_elements == 1) maps.emplace_back("tail", InputMap::whole(201));
  return maps;
}

// One matrix in panels.
struct PackedMatrix {
  PanelLayout layout;
  tensor::Buffer panels;

  PackedMatrix(DType dtype, const std::vector<std::byte>& rows, int64_t num_rows, int64_t num_cols,
               const InputMap& inputs)
      : layout(tensor::panel_format(dtype), num_rows, inputs),
        panels(layout.num_bytes(), "test panels") {
    pack_panels(layout, dtype, rows.data(), tensor::row_bytes(dtype, num_cols), num_cols,
                {0, layout.num_panels()}, panels.data());
  }
};

// Makes outliers (kernels.h) of some groups: one that most tokens share, one of the token's own.
inline std::vector<float> with_outliers(std::vector<float> x, int64_t num_inputs) {
  const auto size = static_cast<size_t>(num_inputs);
  for (size_t token = 0; token < x.size() / size; ++token) {
    if (token % 4 != 3) x[token * size + size / 3] = 40.0f + static_cast<float>(token);
    x[token * size + token * 37 % size] = -55.0f;
  }
  return x;
}

// Tokens laid out for a layout. x: [num_tokens, inputs().size()].
struct LaidOut {
  tensor::Buffer memory;
  Activations input;

  template <typename Prepare>
  LaidOut(const PanelLayout& layout, const std::vector<float>& x, int64_t num_tokens,
          Prepare prepare) {
    const ActivationType type = activation_type(layout.format);
    memory = tensor::Buffer(activation_bytes(type, num_tokens, layout.inputs), "test activations");
    // What no kernel may use, the second terms of groups that are no outliers, is not zero.
    std::memset(memory.data(), 0x5a, static_cast<size_t>(memory.size()));
    input = place_activations(type, num_tokens, layout.inputs, memory.data());
    for (int64_t token = 0; token < num_tokens; ++token) {
      prepare(layout.inputs, x.data() + token * layout.inputs.inputs().size(), input, token,
              Range{0, layout.inputs.num_groups()});
    }
  }
};

}  // namespace weft::kernels
