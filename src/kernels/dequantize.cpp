// One row of packed panels as FP32.
#include <cmath>
#include <cstring>

#include "kernels/float_types.h"
#include "kernels/panel_codes.h"
#include "kernels/table_parts.h"

namespace weft::kernels {
namespace {

using tensor::InputGroup;
using tensor::PanelFormat;
using tensor::Segment;

template <typename T>
T read(const std::byte* base, int64_t index) {
  T value;
  std::memcpy(&value, base + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Scales and minimums of one row's half group.
struct Affine {
  float scale, min;
};

Affine read_affine(const PanelFormat& format, const std::byte* header, const std::byte* group,
                   int64_t mins_offset, int64_t row, int64_t half) {
  const std::byte* mins = group + mins_offset;
  switch (format.scales) {
    case Scales::kF16:
      return {float_from_f16(read<uint16_t>(group, row)),
              format.has_min ? float_from_f16(read<uint16_t>(mins, row)) : 0.0f};
    case Scales::kF32:
      return {read<float>(group, row), 0.0f};
    default:
      break;
  }
  const int64_t at = half * kPanelRows + row;
  const float d = float_from_f16(read<uint16_t>(header, row));
  Affine affine{d * static_cast<float>(read<int8_t>(group, at)), 0.0f};
  if (format.has_min) {
    const float dmin = float_from_f16(read<uint16_t>(header, kPanelRows + row));
    affine.min = -(dmin * static_cast<float>(read<uint8_t>(mins, at)));
  }
  return affine;
}

void read_quantized_slots(const PanelLayout& layout, const std::byte* header,
                          const std::byte* group, int64_t row, Range slots, float* out) {
  const PanelFormat& format = layout.format;
  const int64_t codes_offset = layout.group_bytes() - tensor::code_bytes(format.codes);
  const auto* codes = reinterpret_cast<const uint8_t*>(group + codes_offset);
  for (int64_t half = 0; half < 2; ++half) {
    const Range own = slots.intersect({16 * half, 16 * half + 16});
    if (own.empty()) continue;
    const Affine affine = read_affine(format, header, group, codes_offset / 2, row,
                                      format.scale_inputs == 16 ? half : 0);
    for (int64_t slot = own.begin; slot < own.end; ++slot) {
      const float code = static_cast<float>(code_at(format.codes, codes, row, slot) - format.zero);
      *out++ = format.has_min ? std::fma(affine.scale, code, affine.min) : affine.scale * code;
    }
  }
}

void read_plain_slots(const PanelLayout& layout, const std::byte* group, int64_t row, Range slots,
                      float* out) {
  const Codes type = layout.format.codes;
  for (int64_t slot = slots.begin; slot < slots.end; ++slot) {
    const std::byte* weight = group + float_offset(type, row, slot);
    *out++ = type == Codes::kF32   ? read<float>(weight, 0)
             : type == Codes::kF16 ? float_from_f16(read<uint16_t>(weight, 0))
                                   : float_from_bf16(read<uint16_t>(weight, 0));
  }
}

}  // namespace

void dequantize_row(const PanelLayout& layout, const std::byte* panels, int64_t row, float* out) {
  const std::byte* at = panels + row / kPanelRows * layout.panel_bytes();
  const int64_t lane = row % kPanelRows;
  for (const Segment& segment : layout.inputs.segments()) {
    const std::byte* header = at;
    at += layout.header_bytes();
    for (int32_t i = 0; i < segment.num_groups; ++i, at += layout.group_bytes()) {
      const InputGroup& input =
          layout.inputs.groups()[static_cast<size_t>(segment.first_group + i)];
      if (layout.format.quantized()) {
        read_quantized_slots(layout, header, at, lane, input.slots, out);
      } else {
        read_plain_slots(layout, at, lane, input.slots, out);
      }
      out += input.slots.size();
    }
  }
}

}  // namespace weft::kernels
