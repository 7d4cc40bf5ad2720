#include "tensor/panel.h"

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

namespace weft::tensor {
namespace {

// Groups as (block, first slot, end slot) and segments as (first group, groups, ends a unit), so
// that a test reads as the table that one would draw by hand.
using GroupRow = std::tuple<int64_t, int64_t, int64_t>;
using SegmentRow = std::tuple<int, int, bool>;

std::vector<GroupRow> groups_of(const InputMap& map) {
  std::vector<GroupRow> rows;
  for (const InputGroup& g : map.groups()) rows.emplace_back(g.block, g.slots.begin, g.slots.end);
  return rows;
}

std::vector<SegmentRow> segments_of(const InputMap& map) {
  std::vector<SegmentRow> rows;
  for (const Segment& s : map.segments()) {
    rows.emplace_back(s.first_group, s.num_groups, s.ends_unit);
  }
  return rows;
}

std::vector<Range> heads(int64_t head_dim, Range range) {
  std::vector<Range> units;
  for (int64_t h = range.begin; h < range.end; ++h) {
    units.push_back({h * head_dim, (h + 1) * head_dim});
  }
  return units;
}

TEST(InputMap, AWholeInputIsOneUnitCutAtSuperBlocks) {
  const InputMap map = InputMap::whole(576);  // 18 blocks: 8 + 8 + 2
  EXPECT_EQ(map.num_units(), 1);
  EXPECT_EQ(map.num_groups(), 18);
  EXPECT_EQ(map.inputs(), (Range{0, 576}));
  EXPECT_TRUE(map.contiguous());
  EXPECT_EQ(segments_of(map),
            (std::vector<SegmentRow>{{0, 8, false}, {8, 8, false}, {16, 2, true}}));
}

TEST(InputMap, AWholeInputMayEndInsideABlock) {
  const InputMap map = InputMap::whole(72);
  EXPECT_EQ(groups_of(map), (std::vector<GroupRow>{{0, 0, 32}, {1, 0, 32}, {2, 0, 8}}));
  EXPECT_EQ(segments_of(map), (std::vector<SegmentRow>{{0, 3, true}}));
  EXPECT_TRUE(map.contiguous());
}

TEST(InputMap, HeadsOf64CutTheSuperBlockBetweenTwoUnits) {
  const InputMap map = InputMap::of_units(heads(64, {3, 6}));  // inputs 192 .. 384
  EXPECT_EQ(map.num_units(), 3);
  EXPECT_EQ(map.inputs(), (Range{192, 384}));
  EXPECT_EQ(groups_of(map),
            (std::vector<GroupRow>{
                {6, 0, 32}, {7, 0, 32}, {8, 0, 32}, {9, 0, 32}, {10, 0, 32}, {11, 0, 32}}));
  EXPECT_EQ(segments_of(map), (std::vector<SegmentRow>{{0, 2, true}, {2, 2, true}, {4, 2, true}}));
  EXPECT_TRUE(map.contiguous());
}

TEST(InputMap, HeadsOf40ShareTheBlocksThatTheyCut) {
  // Units 0..40, 40..80, 80..120 over blocks 0 | 32 | 64 | 96.
  const InputMap map = InputMap::of_units(heads(40, {0, 3}));
  EXPECT_EQ(groups_of(map),
            (std::vector<GroupRow>{
                {0, 0, 32}, {1, 0, 8}, {1, 8, 32}, {2, 0, 16}, {2, 16, 32}, {3, 0, 24}}));
  EXPECT_EQ(segments_of(map), (std::vector<SegmentRow>{{0, 2, true}, {2, 2, true}, {4, 2, true}}));
  EXPECT_FALSE(map.contiguous());
}

TEST(InputMap, AHeadInsideOneBlockIsOnePartialGroup) {
  const InputMap map = InputMap::of_units({{8, 24}});
  EXPECT_EQ(groups_of(map), (std::vector<GroupRow>{{0, 8, 24}}));
  EXPECT_EQ(segments_of(map), (std::vector<SegmentRow>{{0, 1, true}}));
  EXPECT_FALSE(map.contiguous());
}

TEST(InputMap, AHeadOf80ThatCrossesASuperBlockHasTwoSegments) {
  // Head 3 is 240..320: block 7 from slot 16, then blocks 8 and 9 of the next super-block.
  const InputMap map = InputMap::of_units(heads(80, {3, 4}));
  EXPECT_EQ(map.inputs(), (Range{240, 320}));
  EXPECT_EQ(groups_of(map), (std::vector<GroupRow>{{7, 16, 32}, {8, 0, 32}, {9, 0, 32}}));
  EXPECT_EQ(segments_of(map), (std::vector<SegmentRow>{{0, 1, false}, {1, 2, true}}));
  EXPECT_FALSE(map.contiguous());
}

TEST(InputMap, TheGroupsOfAUnitDoNotDependOnItsNeighbours) {
  const InputMap all = InputMap::of_units(heads(40, {0, 13}));
  size_t next = 0;
  for (int64_t h = 0; h < 13; ++h) {
    for (const GroupRow& row : groups_of(InputMap::of_units(heads(40, {h, h + 1})))) {
      ASSERT_LT(next, groups_of(all).size());
      EXPECT_EQ(groups_of(all)[next++], row) << "head " << h;
    }
  }
  EXPECT_EQ(next, groups_of(all).size());
}

TEST(InputMap, EverySlotOfEveryInputIsHeldOnce) {
  for (const int64_t head_dim : {16, 40, 64, 80, 96, 100, 256, 300}) {
    std::vector<int> held(static_cast<size_t>(head_dim * 7), 0);
    const InputMap map = InputMap::of_units(heads(head_dim, {0, 7}));
    for (const InputGroup& g : map.groups()) {
      for (int64_t s = g.slots.begin; s < g.slots.end; ++s) {
        ++held[static_cast<size_t>(kGroupInputs * g.block + s)];
      }
    }
    EXPECT_EQ(held, std::vector<int>(held.size(), 1)) << head_dim;
  }
}

TEST(InputMap, ATailInTheMiddleIsNotContiguous) {
  EXPECT_FALSE(InputMap::of_units({{0, 40}, {40, 64}}).contiguous());
  EXPECT_TRUE(InputMap::of_units({{32, 64}, {64, 100}}).contiguous());
  EXPECT_FALSE(InputMap::of_units({{16, 32}, {32, 64}}).contiguous());
}

TEST(InputMap, AnIdleRankHasNone) {
  const InputMap map = InputMap::of_units({});
  EXPECT_EQ(map.num_groups(), 0);
  EXPECT_EQ(map.num_units(), 0);
  EXPECT_TRUE(map.inputs().empty());
  EXPECT_EQ(PanelLayout(panel_format(DType::kQ4_K), 64, map).num_bytes(), 0);
}

TEST(InputMapDeathTest, UnitsThatDoNotFollowEachOtherAreABug) {
  EXPECT_DEATH(InputMap::of_units({{0, 64}, {128, 192}}), "128 against 64");
  EXPECT_DEATH(InputMap::of_units({{0, 64}, {64, 64}}), "64 against 64");
  EXPECT_DEATH(InputMap::whole(0), "0 against 0");
}

// What a group of each file type takes, by hand: scales, minimums, codes of 32 x 16.
struct FormatCase {
  DType dtype;
  int64_t header, scales, mins, codes;
};

TEST(PanelLayout, BytesOfAGroup) {
  const FormatCase cases[] = {
      {DType::kF32, 0, 0, 0, 2048},     {DType::kF16, 0, 0, 0, 1024},
      {DType::kBF16, 0, 0, 0, 1024},    {DType::kQ4_0, 0, 32, 0, 256},
      {DType::kQ4_1, 0, 32, 32, 256},   {DType::kQ5_0, 0, 32, 0, 320},
      {DType::kQ5_1, 0, 32, 32, 320},   {DType::kQ8_0, 0, 32, 0, 512},
      {DType::kQ2_K, 64, 32, 32, 256},  {DType::kQ3_K, 32, 32, 0, 256},
      {DType::kQ4_K, 64, 16, 16, 256},  {DType::kQ5_K, 64, 16, 16, 320},
      {DType::kQ6_K, 32, 32, 0, 384},   {DType::kIQ4_NL, 0, 32, 0, 512},
      {DType::kIQ4_XS, 32, 16, 0, 512}, {DType::kMXFP4, 0, 64, 0, 512},
  };
  ASSERT_EQ(std::size(cases), static_cast<size_t>(kNumDTypes));
  for (const FormatCase& c : cases) {
    SCOPED_TRACE(name(c.dtype));
    const PanelLayout layout(panel_format(c.dtype), 16, InputMap::whole(32));
    EXPECT_EQ(layout.header_bytes(), c.header);
    EXPECT_EQ(layout.min_offset(), c.scales);
    EXPECT_EQ(layout.code_offset(), c.scales + c.mins);
    EXPECT_EQ(layout.group_bytes(), c.scales + c.mins + c.codes);
    EXPECT_EQ(layout.header_bytes() % 16 + layout.group_bytes() % 16, 0);
    EXPECT_EQ(layout.panel_bytes(), round_up(c.header + layout.group_bytes(), 64));
  }
}

TEST(PanelLayout, APanelIsItsSegmentsRoundedToACacheLine) {
  // 576 inputs: 3 segments, 18 groups. 3 * 64 + 18 * 288 = 5376 = 84 * 64.
  const PanelLayout whole(panel_format(DType::kQ4_K), 1536, InputMap::whole(576));
  EXPECT_EQ(whole.panel_bytes(), 5376);
  EXPECT_EQ(whole.num_panels(), 96);
  EXPECT_EQ(whole.num_bytes(), 96 * 5376);
  // One group of Q4_0 is 288 bytes; the panel takes 320.
  EXPECT_EQ(PanelLayout(panel_format(DType::kQ4_0), 16, InputMap::whole(32)).panel_bytes(), 320);
}

TEST(PanelLayout, SharedBlocksAreHeldByBothUnits) {
  // Three heads of 40: six groups in three segments, though the 120 inputs touch four blocks.
  const InputMap map = InputMap::of_units(heads(40, {0, 3}));
  const PanelLayout layout(panel_format(DType::kQ6_K), 100, map);
  EXPECT_EQ(layout.panel_bytes(), 2624);  // 3 * 32 + 6 * 416 = 2592, to 41 lines of 64
  EXPECT_EQ(layout.num_panels(), 7);      // 100 rows, the last panel with 4 of 16
}

TEST(PanelLayout, PackedBytesStayWithin3PercentOfTheFile) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (dtype == DType::kIQ4_NL || dtype == DType::kIQ4_XS || dtype == DType::kMXFP4 ||
        dtype == DType::kQ2_K || dtype == DType::kQ3_K) {
      continue;  // widened on purpose
    }
    const PanelLayout layout(panel_format(dtype), 1024, InputMap::whole(2048));
    const int64_t file_bytes = 1024 * row_bytes(dtype, 2048);
    EXPECT_GE(layout.num_bytes(), file_bytes) << name(dtype);
    EXPECT_LE(static_cast<double>(layout.num_bytes()), 1.03 * static_cast<double>(file_bytes))
        << name(dtype);
  }
}

TEST(PanelFormat, FollowsFromTheFileType) {
  const auto format = [](Codes codes, Scales scales, bool has_min, int zero, int scale_inputs) {
    return PanelFormat{codes, scales, has_min, zero, scale_inputs};
  };
  using enum Codes;
  EXPECT_EQ(panel_format(DType::kQ4_0), format(kU4, Scales::kF16, false, 8, 32));
  EXPECT_EQ(panel_format(DType::kQ4_1), format(kU4, Scales::kF16, true, 0, 32));
  EXPECT_EQ(panel_format(DType::kQ5_0), format(kU5, Scales::kF16, false, 16, 32));
  EXPECT_EQ(panel_format(DType::kQ5_1), format(kU5, Scales::kF16, true, 0, 32));
  EXPECT_EQ(panel_format(DType::kQ8_0), format(kU8, Scales::kF16, false, 128, 32));
  EXPECT_EQ(panel_format(DType::kQ2_K), format(kU4, Scales::kTwoLevel, true, 0, 16));
  EXPECT_EQ(panel_format(DType::kQ3_K), format(kU4, Scales::kTwoLevel, false, 4, 16));
  EXPECT_EQ(panel_format(DType::kQ4_K), format(kU4, Scales::kTwoLevel, true, 0, 32));
  EXPECT_EQ(panel_format(DType::kQ5_K), format(kU5, Scales::kTwoLevel, true, 0, 32));
  EXPECT_EQ(panel_format(DType::kQ6_K), format(kU6, Scales::kTwoLevel, false, 32, 16));
  EXPECT_EQ(panel_format(DType::kIQ4_NL), format(kU8, Scales::kF16, false, 128, 32));
  EXPECT_EQ(panel_format(DType::kIQ4_XS), format(kU8, Scales::kTwoLevel, false, 128, 32));
  EXPECT_EQ(panel_format(DType::kMXFP4), format(kU8, Scales::kF32, false, 128, 32));
  EXPECT_FALSE(panel_format(DType::kF32).quantized());
  EXPECT_FALSE(panel_format(DType::kF16).quantized());
  EXPECT_FALSE(panel_format(DType::kBF16).quantized());
}

}  // namespace
}  // namespace weft::tensor
