#include "tensor/panel.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "tensor/panel_format.h"

namespace weft::tensor {
namespace {

constexpr int64_t kBlocksPerSuperBlock = kSuperBlockInputs / kGroupInputs;
constexpr int64_t kPanelAlignment = 64;  // bytes: one cache line

bool is_contiguous(const std::vector<InputGroup>& groups, Range inputs) {
  for (size_t g = 0; g < groups.size(); ++g) {
    const InputGroup& group = groups[g];
    const int64_t first_input = kGroupInputs * group.block - inputs.begin;
    if (group.slots.begin != 0 || first_input != kGroupInputs * static_cast<int64_t>(g)) {
      return false;
    }
    if (group.slots.end != kGroupInputs && g + 1 < groups.size()) return false;
  }
  return true;
}

// Bytes of one scale (or minimum) of one row.
int64_t scale_bytes(Scales scales) {
  switch (scales) {
    case Scales::kNone:
      return 0;
    case Scales::kF16:
      return 2;
    case Scales::kF32:
      return 4;
    case Scales::kTwoLevel:
      return 1;
  }
  WEFT_CHECK(false, "scales {}", static_cast<int>(scales));
}

void check_format(const PanelFormat& format) {
  WEFT_CHECK(format.scale_inputs == kGroupInputs ||
                 (format.scale_inputs == 16 && format.scales == Scales::kTwoLevel),
             "one scale for {} inputs", format.scale_inputs);
  WEFT_CHECK(!format.has_min || format.quantized());
}

}  // namespace

PanelFormat panel_format(DType dtype) { return panel_format_of(dtype); }

InputMap InputMap::whole(int64_t num_inputs) {
  InputMap map = of_units({Range{0, num_inputs}});
  map.is_whole_ = true;
  return map;
}

InputMap InputMap::of_units(const std::vector<Range>& units) {
  InputMap map;
  if (units.empty()) return map;
  map.inputs_ = {units.front().begin, units.back().end};
  int64_t next_input = map.inputs_.begin;
  WEFT_CHECK_LE(0, next_input);
  for (const Range& unit : units) {
    WEFT_CHECK_EQ(unit.begin, next_input);
    WEFT_CHECK_LT(unit.begin, unit.end);
    next_input = unit.end;
    map.append_unit(unit);
  }
  map.contiguous_ = is_contiguous(map.groups_, map.inputs_);
  return map;
}

void InputMap::append_unit(Range unit) {
  const Range blocks = {unit.begin / kGroupInputs, ceil_div(unit.end, kGroupInputs)};
  WEFT_CHECK_LE(num_groups() + blocks.size(), int64_t{std::numeric_limits<int32_t>::max()});
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    if (block == blocks.begin || block % kBlocksPerSuperBlock == 0) {
      segments_.push_back({static_cast<int32_t>(groups_.size()), 0, false});
    }
    const int64_t first_input = kGroupInputs * block;
    const Range own = unit.intersect({first_input, first_input + kGroupInputs});
    groups_.push_back({block, {own.begin - first_input, own.end - first_input}});
    ++segments_.back().num_groups;
  }
  segments_.back().ends_unit = true;
  unit_ends_.push_back(static_cast<int32_t>(groups_.size()));
}

PanelLayout::PanelLayout(PanelFormat panel_format, int64_t rows, InputMap input_map)
    : format(panel_format), num_rows(rows), inputs(std::move(input_map)) {
  WEFT_CHECK_LE(0, num_rows);
  check_format(format);
  const int64_t scales_per_row = kGroupInputs / format.scale_inputs;
  scale_bytes_ = kPanelRows * scales_per_row * scale_bytes(format.scales);
  min_bytes_ = format.has_min ? scale_bytes_ : 0;
  group_bytes_ = scale_bytes_ + min_bytes_ + code_bytes(format.codes);
  if (format.scales == Scales::kTwoLevel) header_bytes_ = kPanelRows * (format.has_min ? 4 : 2);
  panel_bytes_ = round_up(static_cast<int64_t>(inputs.segments().size()) * header_bytes_ +
                              inputs.num_groups() * group_bytes_,
                          kPanelAlignment);
}

int64_t code_bytes(Codes codes) {
  constexpr int64_t kCodes = kGroupInputs * kPanelRows;
  switch (codes) {
    case Codes::kF32:
      return 4 * kCodes;
    case Codes::kF16:
    case Codes::kBF16:
      return 2 * kCodes;
    case Codes::kU4:
      return kCodes / 2;
    case Codes::kU5:
      return kCodes / 2 + kCodes / 8;
    case Codes::kU6:
      return kCodes / 2 + kCodes / 4;
    case Codes::kU8:
      return kCodes;
  }
  WEFT_CHECK(false, "codes {}", static_cast<int>(codes));
}

}  // namespace weft::tensor
