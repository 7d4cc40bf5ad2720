// How the weights of a linear lie in memory, and in which order its sums are taken.
//
// A *panel* is 16 rows of the weight matrix, interleaved so that lanes are rows: one activation
// is broadcast to all of them and no horizontal sum exists. A panel is one contiguous stream:
//
//   panel   = segment, segment, ...
//   segment = [header: d f16 x 16 rows, dmin f16 x 16 rows]      (two-level scales only)
//             group, group, ...
//   group   = [scales x 16 rows][mins x 16 rows][codes of 32 inputs x 16 rows]
//
// A *group* is a block of 32 inputs aligned to 32 in the whole input dimension. A *unit* is a
// range of inputs that is summed in FP32 in order, group by group, slot by slot; units are added
// exactly, as integers (DESIGN.md 1.2). A column-parallel linear has one unit: its whole input.
// A row-parallel one has a unit a query head or a slice of the FFN. A unit owns every group that
// it touches: where a unit begins or ends inside a block of 32 (head sizes 40 and 80), both
// neighbours hold that block, with the same codes and scales, and each puts zeros into the
// activation slots that are not its own. So every unit's sum is a function of the model alone, no
// block of a file forbids a cut, and nothing is requantised.
//
// Alignment: a panel takes a multiple of 64 bytes (zeros after its last group, at most 48), so
// panels begin on cache lines where their buffer does. Inside, parts follow each other without
// gaps: headers, groups and codes begin at multiples of 32 bytes for every file type but IQ4_XS,
// whose groups of 528 bytes begin at multiples of 16. Codes are not aligned to 64.
//
// All instruction sets share this layout (AVX2 takes a panel as two halves of 8 rows), so packed
// files serve any machine. Rejected: 8-row panels for AVX2 (two layouts to test, no measured gain).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/range.h"
#include "tensor/dtype.h"

namespace weft::tensor {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kGroupInputs = 32;
inline constexpr int64_t kSuperBlockInputs = 256;

// Raised with every change of what lies where in a panel: packed files of another version are
// refused.
inline constexpr uint32_t kPanelLayoutVersion = 1;

enum class Codes : uint8_t { kF32, kF16, kBF16, kU4, kU5, kU6, kU8 };  // kU*: unsigned code - zero
enum class Scales : uint8_t {
  kNone,      // F32, F16, BF16
  kF16,       // weight = scale * (code - zero) [+ min], scale and min f16 per 32 inputs
  kF32,       // the same with f32 scales (MXFP4, whose powers of two exceed f16)
  kTwoLevel,  // weight = (d * sc) * (code - zero) [- (dmin * m)]; d, dmin f16 per segment,
              // sc s8 and m u8 per 32 or 16 inputs; d * sc and dmin * m are exact in FP32
};

// The compute format of one linear: what the kernels know. Follows from the file's type alone.
struct PanelFormat {
  Codes codes = Codes::kF32;
  Scales scales = Scales::kNone;
  bool has_min = false;
  int zero = 0;           // subtracted from a code: Q4_0 8, Q5_0 16, Q8_0 128, Q6_K 32, Q3_K 4
  int scale_inputs = 32;  // inputs that share a scale: 32, or 16 (Q2_K, Q3_K, Q6_K)

  bool quantized() const { return scales != Scales::kNone; }
  friend bool operator==(const PanelFormat&, const PanelFormat&) = default;
};

// The compute format of a file type. IQ4_NL, IQ4_XS and MXFP4 widen to 8-bit codes (their tables
// of 16 values are integers), Q2_K and Q3_K to 4-bit codes.
PanelFormat panel_format(DType dtype);

// One group of a unit: which 32-block of the input it is and which of its slots are the unit's.
struct InputGroup {
  int64_t block = 0;  // inputs [32 * block, 32 * block + 32) of the whole dimension
  Range slots;        // [begin, end) within 0..32 that belong to the unit
};

struct Segment {
  int32_t first_group = 0;
  int32_t num_groups = 0;
  bool ends_unit = false;
};

// The order in which a linear consumes its inputs. Immutable.
class InputMap {
 public:
  // A column-parallel linear: one unit, the whole input of at least one element.
  static InputMap whole(int64_t num_inputs);
  // A rank's share of a row-parallel linear: units [units[i].begin, units[i].end) of the whole
  // input dimension, none empty, each beginning where the one before it ends. The list itself may
  // be empty (an idle rank).
  static InputMap of_units(const std::vector<Range>& units);

  const std::vector<InputGroup>& groups() const { return groups_; }
  const std::vector<Segment>& segments() const { return segments_; }
  int64_t num_groups() const { return static_cast<int64_t>(groups_.size()); }
  int64_t num_units() const { return static_cast<int64_t>(unit_ends_.size()); }
  // The groups of some neighbouring units.
  Range groups_of(Range units) const { return {first_group(units.begin), first_group(units.end)}; }
  // The inputs of the rank, in the whole dimension; its activation vector begins at inputs().begin.
  Range inputs() const { return inputs_; }
  // A column-parallel linear's: every rank sees the same whole vector.
  bool is_whole() const { return is_whole_; }
  // True where slot s of group g is local input 32 g + s (the last group may be shorter).
  bool contiguous() const { return contiguous_; }

 private:
  void append_unit(Range unit);
  int64_t first_group(int64_t unit) const {
    return unit == 0 ? 0 : unit_ends_[static_cast<size_t>(unit - 1)];
  }

  std::vector<InputGroup> groups_;
  std::vector<Segment> segments_;  // a segment never crosses a unit or a super-block of 256
  std::vector<int32_t> unit_ends_;  // past each unit's last group
  Range inputs_;
  bool contiguous_ = true;
  bool is_whole_ = false;
};

// Sizes and offsets of one linear's panels. Immutable; the single source of a rank's weight bytes,
// used by the loader, by `inspect` and by the planner.
struct PanelLayout {
  PanelFormat format;
  int64_t num_rows = 0;
  InputMap inputs;

  PanelLayout() = default;
  PanelLayout(PanelFormat format, int64_t num_rows, InputMap inputs);

  int64_t num_panels() const { return ceil_div(num_rows, kPanelRows); }
  // Within a group: scales at 0, minimums at min_offset(), codes at code_offset().
  int64_t min_offset() const { return scale_bytes_; }
  int64_t code_offset() const { return scale_bytes_ + min_bytes_; }
  int64_t group_bytes() const { return group_bytes_; }
  int64_t header_bytes() const { return header_bytes_; }  // of one segment; 0 without two levels
  int64_t panel_bytes() const { return panel_bytes_; }    // the stride from panel to panel
  int64_t num_bytes() const { return num_panels() * panel_bytes_; }

 private:
  int64_t scale_bytes_ = 0, min_bytes_ = 0;
  int64_t group_bytes_ = 0, header_bytes_ = 0, panel_bytes_ = 0;
};

// Bytes of the codes of one group: 32 inputs x 16 rows.
int64_t code_bytes(Codes codes);

}  // namespace weft::tensor
