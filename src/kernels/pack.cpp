// From the rows of a file to panels, and to plain FP32.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kernels/file_blocks.inl.h"
#include "kernels/float_types.h"
#include "kernels/kernels.h"
#include "kernels/panel_codes.h"
#include "tensor/panel_format.h"

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

struct Source {
  DType file_type;
  const std::byte* rows;
  int64_t row_stride_bytes;
  int64_t num_cols;

  const std::byte* row(int64_t r) const { return rows + r * row_stride_bytes; }
};

// One row's part of one group of a quantised type, before the codes.
template <DType kType>
void put_scales(const PanelLayout& layout, const FileGroup& group, int64_t lane, std::byte* at) {
  constexpr PanelFormat kFormat = tensor::panel_format_of(kType);
  std::byte* mins = at + layout.min_offset();
  if constexpr (kFormat.scales == Scales::kF16) {
    put(at, lane, group.scale_f16);
    if constexpr (kFormat.has_min) put(mins, lane, group.min_f16);
  }
  if constexpr (kFormat.scales == Scales::kF32) put(at, lane, group.scale_f32);
  if constexpr (kFormat.scales == Scales::kTwoLevel) {
    for (int half = 0; half < kGroupInputs / kFormat.scale_inputs; ++half) {
      put(at, half * kPanelRows + lane, group.sc[half]);
      if constexpr (kFormat.has_min) put(mins, half * kPanelRows + lane, group.m[half]);
    }
  }
}

// Four words of four rows each become four words of the panel, whose lanes are rows.
using Words = uint32_t __attribute__((vector_size(16)));

Words load_words(const std::byte* p) {
  Words words;
  std::memcpy(&words, p, sizeof(words));
  return words;
}

[[gnu::always_inline]] inline void transpose(Words (&rows)[4]) {
  const Words low01 = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
  const Words low23 = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
  const Words high01 = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
  const Words high23 = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  rows[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
  rows[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  rows[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
  rows[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

// Some rows of a source: `at` is in the first, where the group's words begin.
struct Rows {
  const std::byte* at;
  int64_t stride_bytes;
  int64_t count;  // at most kPanelRows

  const std::byte* row(int64_t r) const { return at + r * stride_bytes; }
};

// Moves kWords words of 4 bytes of each row into a group: word w of lane l goes to byte
// 64 w + 4 l. Each is xor-ed with `flip`.
template <int64_t kWords>
[[gnu::always_inline]] inline void move_words(const Rows& rows, uint32_t flip, std::byte* codes) {
  int64_t lane = 0;
  for (; lane + 4 <= rows.count; lane += 4) {
    for (int64_t w = 0; w < kWords; w += 4) {
      Words words[4];
      for (int64_t r = 0; r < 4; ++r) words[r] = load_words(rows.row(lane + r) + 4 * w);
      transpose(words);
      for (int64_t k = 0; k < 4; ++k) {
        words[k] ^= flip;
        std::memcpy(codes + (w + k) * kVectorBytes + 4 * lane, &words[k], sizeof(Words));
      }
    }
  }
  for (; lane < rows.count; ++lane) {
    for (int64_t w = 0; w < kWords; ++w) {
      uint32_t word;
      std::memcpy(&word, rows.row(lane) + 4 * w, sizeof(word));
      put(codes + w * kVectorBytes, lane, word ^ flip);
    }
  }
}

// The same place of the next panel's rows: they lie so far apart that the processor does not see
// 16 streams in them by itself. (Repacking Q4_0 and Q8_0 took twice the time without.)
[[gnu::always_inline]] inline void fetch_next_panel(const Rows& rows) {
  for (int64_t r = 0; r < rows.count; ++r) __builtin_prefetch(rows.row(r + kPanelRows));
}

// Types whose blocks hold scale, minimum and codes as a panel does, word by word: nibbles of inputs
// i and i + 16 in one byte, or whole bytes (signed in the file, unsigned in the panel).
template <DType kType>
inline constexpr bool kMovesWords =
    kType == DType::kQ4_0 || kType == DType::kQ4_1 || kType == DType::kQ8_0;

template <DType kType>
[[gnu::always_inline]] inline void move_group(const PanelLayout& layout, Rows rows, std::byte* at) {
  constexpr PanelFormat kFormat = tensor::panel_format_of(kType);
  const auto move_halves = [&](std::byte* halves) {
    for (int64_t lane = 0; lane < rows.count; ++lane)
      std::memcpy(halves + 2 * lane, rows.row(lane), 2);
    rows.at += 2;
  };
  move_halves(at);
  if constexpr (kFormat.has_min) move_halves(at + layout.min_offset());
  if constexpr (kFormat.codes == Codes::kU4) {
    move_words<4>(rows, 0, at + layout.code_offset());
  } else {
    move_words<8>(rows, 0x80808080u, at + layout.code_offset());
  }
}

// The other quantised types are taken apart. `header` is null but for a segment's first group.
template <DType kType>
void convert_group(const PanelLayout& layout, const Rows& rows, int64_t block, std::byte* at,
                   std::byte* header) {
  constexpr PanelFormat kFormat = tensor::panel_format_of(kType);
  for (int64_t lane = 0; lane < rows.count; ++lane) {
    FileGroup group{};
    read_group_as<kType>(rows.row(lane), block, group);
    put_scales<kType>(layout, group, lane, at);
    put_codes<kFormat.codes>(lane, group.codes, at + layout.code_offset());
    if (kFormat.scales == Scales::kTwoLevel && header != nullptr) {
      put(header, lane, group.d);
      if (kFormat.has_min) put(header, kPanelRows + lane, group.dmin);
    }
  }
}

// One group of all rows of a panel.
template <DType kType>
[[gnu::always_inline]] inline void pack_group(const PanelLayout& layout, const Rows& rows,
                                              int64_t block, std::byte* at, std::byte* header) {
  fetch_next_panel(rows);
  if constexpr (kMovesWords<kType>) {
    move_group<kType>(layout, rows, at);
  } else {
    convert_group<kType>(layout, rows, block, at, header);
  }
}

// A group of all rows is written before the next one: 16 streams are read, one is written, and no
// byte of the panel is touched twice.
template <DType kType>
void pack_quantized_panel(const PanelLayout& layout, const Source& source, Range rows,
                          std::byte* panel) {
  const tensor::DTypeInfo& type = tensor::info(kType);
  std::byte* at = panel;
  for (const Segment& segment : layout.inputs.segments()) {
    std::byte* header = at;
    at += layout.header_bytes();
    for (int32_t i = 0; i < segment.num_groups; ++i, at += layout.group_bytes()) {
      const int64_t block =
          layout.inputs.groups()[static_cast<size_t>(segment.first_group + i)].block;
      const int64_t offset = block * kGroupInputs / type.block_elements * type.block_bytes;
      Rows group{source.row(rows.begin) + offset, source.row_stride_bytes, rows.size()};
      std::byte* first = i == 0 ? header : nullptr;
      if (group.count == kPanelRows) {  // a constant for the loops inside
        group.count = kPanelRows;
        pack_group<kType>(layout, group, block, at, first);
      } else {
        pack_group<kType>(layout, group, block, at, first);
      }
    }
  }
}

// One group of a plain type (panel_codes.h): words of an F32 each or of two BF16; F16 by itself.
void move_floats(Codes type, const Rows& rows, std::byte* group) {
  if (type == Codes::kF32) return move_words<kGroupInputs>(rows, 0, group);
  if (type == Codes::kBF16) return move_words<kGroupInputs / 2>(rows, 0, group);
  for (int64_t lane = 0; lane < rows.count; ++lane) {
    for (int64_t slot = 0; slot < kGroupInputs; ++slot)
      std::memcpy(group + (slot * kPanelRows + lane) * 2, rows.row(lane) + slot * 2, 2);
  }
}

void pack_plain_panel(const PanelLayout& layout, const Source& source, Range rows,
                      std::byte* panel) {
  const Codes type = layout.format.codes;
  const int64_t size = type == Codes::kF32 ? 4 : 2;
  std::byte* at = panel;
  for (const InputGroup& input : layout.inputs.groups()) {
    const int64_t first = input.block * kGroupInputs;
    const Rows group{source.row(rows.begin) + first * size, source.row_stride_bytes, rows.size()};
    if (first + kGroupInputs <= source.num_cols) {
      fetch_next_panel(group);
      move_floats(type, group, at);
    } else {  // the rows end inside the group
      constexpr int64_t kRowBytes = kGroupInputs * 4;
      std::byte whole[kPanelRows * kRowBytes] = {};
      for (int64_t r = 0; r < rows.size(); ++r)
        std::memcpy(whole + r * kRowBytes, group.row(r),
                    static_cast<size_t>((source.num_cols - first) * size));
      move_floats(type, {whole, kRowBytes, rows.size()}, at);
    }
    at += layout.group_bytes();
  }
}

// Bytes of a panel that none of 16 rows writes: zeros up to its alignment.
int64_t padding_bytes(const PanelLayout& layout) {
  return layout.panel_bytes() -
         static_cast<int64_t>(layout.inputs.segments().size()) * layout.header_bytes() -
         layout.inputs.num_groups() * layout.group_bytes();
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
  const int64_t padding = padding_bytes(layout);
  for (int64_t p = panels.begin; p < panels.end; ++p) {
    std::byte* panel = out + p * layout.panel_bytes();
    const Range own = Range{0, layout.num_rows}.intersect({p * kPanelRows, (p + 1) * kPanelRows});
    const int64_t zeros = own.size() < kPanelRows ? layout.panel_bytes() : padding;
    std::memset(panel + layout.panel_bytes() - zeros, 0, static_cast<size_t>(zeros));
    if (layout.format.quantized()) {
      with_quantized_type(file_type, [&]<DType kType>() {
        pack_quantized_panel<kType>(layout, source, own, panel);
      });
    } else {
      pack_plain_panel(layout, source, own, panel);
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
