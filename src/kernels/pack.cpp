// From the rows of a file to panels, and to plain FP32.
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kernels/file_blocks.h"
#include "kernels/float_types.h"
#include "kernels/kernels.h"
#include "kernels/panel_codes.h"

namespace weft::kernels {
namespace {

using tensor::DType;
using tensor::InputGroup;
using tensor::PanelFormat;
using tensor::Segment;

template <typename T>
void put(std::byte* base, int64_t index, T value) {
  std::memcpy(base + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

// The scales and minimums of one row, before the codes.
void put_scales(const PanelFormat& format, const FileGroup& group, int64_t row, std::byte* scales,
                std::byte* mins) {
  const int halves = static_cast<int>(kGroupInputs) / format.scale_inputs;
  switch (format.scales) {
    case Scales::kF16:
      put(scales, row, group.scale_f16);
      if (format.has_min) put(mins, row, group.min_f16);
      return;
    case Scales::kF32:
      put(scales, row, group.scale_f32);
      return;
    case Scales::kTwoLevel:
      for (int half = 0; half < halves; ++half) {
        put(scales, half * kPanelRows + row, group.sc[half]);
        if (format.has_min) put(mins, half * kPanelRows + row, group.m[half]);
      }
      return;
    case Scales::kNone:
      break;
  }
  WEFT_CHECK(false, "a format without scales");
}

// One group of a plain type: the inputs that the row has.
void put_floats(const PanelLayout& layout, const std::byte* row_data, int64_t num_cols,
                int64_t block, int64_t row, std::byte* codes) {
  const Codes type = layout.format.codes;
  const int64_t size = type == Codes::kF32 ? 4 : 2;
  const int64_t first = block * kGroupInputs;
  for (int64_t slot = 0; slot < kGroupInputs && first + slot < num_cols; ++slot) {
    std::memcpy(codes + float_offset(type, row, slot), row_data + (first + slot) * size,
                static_cast<size_t>(size));
  }
}

struct Source {
  DType file_type;
  const std::byte* rows;
  int64_t row_stride_bytes;
  int64_t num_cols;
};

void pack_quantized_row(const PanelLayout& layout, const Source& source, int64_t row,
                        std::byte* panel) {
  const PanelFormat& format = layout.format;
  const std::byte* row_data = source.rows + row * source.row_stride_bytes;
  const int64_t lane = row % kPanelRows;
  std::byte* at = panel;
  for (const Segment& segment : layout.inputs.segments()) {
    std::byte* header = at;
    at += layout.header_bytes();
    for (int32_t i = 0; i < segment.num_groups; ++i, at += layout.group_bytes()) {
      const InputGroup& input =
          layout.inputs.groups()[static_cast<size_t>(segment.first_group + i)];
      const FileGroup group = read_group(source.file_type, row_data, input.block);
      std::byte* codes = at + layout.group_bytes() - tensor::code_bytes(format.codes);
      put_scales(format, group, lane, at, at + (codes - at) / 2);
      put_codes(format.codes, lane, group.codes, reinterpret_cast<uint8_t*>(codes));
      if (format.scales == Scales::kTwoLevel && i == 0) {
        put(header, lane, group.d);
        if (format.has_min) put(header, kPanelRows + lane, group.dmin);
      }
    }
  }
}

void pack_plain_row(const PanelLayout& layout, const Source& source, int64_t row,
                    std::byte* panel) {
  const std::byte* row_data = source.rows + row * source.row_stride_bytes;
  int64_t group = 0;
  for (const InputGroup& input : layout.inputs.groups()) {
    put_floats(layout, row_data, source.num_cols, input.block, row % kPanelRows,
               panel + group++ * layout.group_bytes());
  }
}

// scale * (code - zero) + min: at most one rounding, since all that comes before it is exact.
void decode_group(const PanelFormat& format, const FileGroup& group, float* out) {
  for (int i = 0; i < kGroupInputs; ++i) {
    const int half = i / 16;
    const float code = static_cast<float>(group.codes[i] - format.zero);
    float scale = group.scale_f32, min = 0;
    if (format.scales == Scales::kF16) {
      scale = float_from_f16(group.scale_f16);
      min = float_from_f16(group.min_f16);
    } else if (format.scales == Scales::kTwoLevel) {
      scale = float_from_f16(group.d) * static_cast<float>(group.sc[half]);
      min = -(float_from_f16(group.dmin) * static_cast<float>(group.m[half]));
    }
    out[i] = format.has_min ? std::fma(scale, code, min) : scale * code;
  }
}

}  // namespace

void pack_panels(const PanelLayout& layout, DType file_type, const std::byte* rows,
                 int64_t row_stride_bytes, int64_t num_cols, Range panels, std::byte* out) {
  WEFT_CHECK(tensor::panel_format(file_type) == layout.format, "{} against the layout's format",
             tensor::name(file_type));
  WEFT_CHECK_LE(layout.inputs.inputs().end, num_cols);
  const Source source{file_type, rows, row_stride_bytes, num_cols};
  for (int64_t p = panels.begin; p < panels.end; ++p) {
    std::byte* panel = out + p * layout.panel_bytes();
    std::memset(panel, 0, static_cast<size_t>(layout.panel_bytes()));
    const Range own = Range{0, layout.num_rows}.intersect({p * kPanelRows, (p + 1) * kPanelRows});
    for (int64_t row = own.begin; row < own.end; ++row) {
      if (layout.format.quantized()) {
        pack_quantized_row(layout, source, row, panel);
      } else {
        pack_plain_row(layout, source, row, panel);
      }
    }
  }
}

void decode_row(DType file_type, const std::byte* row, int64_t num_cols, float* out) {
  const PanelFormat format = tensor::panel_format(file_type);
  if (format.quantized()) {
    WEFT_CHECK_EQ(num_cols % tensor::info(file_type).block_elements, 0);
    for (int64_t block = 0; block < num_cols / kGroupInputs; ++block) {
      decode_group(format, read_group(file_type, row, block), out + block * kGroupInputs);
    }
    return;
  }
  for (int64_t i = 0; i < num_cols; ++i) {
    if (format.codes == Codes::kF32) {
      std::memcpy(out + i, row + 4 * i, 4);
      continue;
    }
    uint16_t half;
    std::memcpy(&half, row + 2 * i, 2);
    out[i] = format.codes == Codes::kF16 ? float_from_f16(half) : float_from_bf16(half);
  }
}

}  // namespace weft::kernels
