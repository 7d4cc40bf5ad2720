// The table of a rank's panel file: what was written is read again, and a file that lies is
// refused in words that name the matrix and both numbers.
#include "checkpoint/panel_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/model_files.h"
#include "tensor/panel.h"

namespace weft::checkpoint {
namespace {

using testing::HasSubstr;

PanelEntry entry(const std::string& tensor, int64_t num_bytes) {
  PanelEntry e;
  e.tensor = tensor;
  e.dtype = tensor::DType::kQ4_K;
  e.rows = {32, 64};
  e.inputs = {256, 768};
  e.num_units = 2;
  e.bytes = {0, num_bytes};
  e.sha256 = std::string(64, 'a');
  return e;
}

std::vector<PanelEntry> two_entries() {
  std::vector<PanelEntry> entries = {entry("first", 5000), entry("second", 64)};
  place_entries(entries);
  return entries;
}

std::string file_of(const std::vector<PanelEntry>& entries) {
  std::string file = panel_table_bytes(entries);
  if (!entries.empty())
    file.resize(static_cast<size_t>(round_up(entries.back().bytes.end, kPanelFileAlignment)));
  return file;
}

std::string refused(const std::string& file) {
  return refusal([&] { parse_panel_table(as_bytes(file), "rank-0000.panels"); });
}

// The file of two entries with the bytes at `offset` replaced.
template <typename T>
std::string patched(size_t offset, T value) {
  std::string file = file_of(two_entries());
  std::memcpy(file.data() + offset, &value, sizeof(value));
  return file;
}

// Where the numbers of the first entry begin: after magic, versions, count, name and type.
constexpr size_t kVersion = 8, kLayout = 12, kCount = 16, kName = 24, kType = 24 + 8 + 5;
constexpr size_t kRows = kType + 4, kInputs = kRows + 16, kUnits = kInputs + 16;
constexpr size_t kOffset = kUnits + 8, kBytes = kOffset + 8, kSum = kBytes + 8;

TEST(PanelTable, IsReadAsItWasWritten) {
  const std::vector<PanelEntry> entries = two_entries();
  const std::string file = file_of(entries);
  const PanelTable table = parse_panel_table(as_bytes(file), "f");
  ASSERT_EQ(table.entries.size(), 2u);
  EXPECT_EQ(table.table_bytes, panel_table_size(entries));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(table.entries[i].same_part(entries[i]));
    EXPECT_EQ(table.entries[i].bytes, entries[i].bytes);
    EXPECT_EQ(table.entries[i].sha256, entries[i].sha256);
    EXPECT_EQ(table.entries[i].bytes.begin % kPanelFileAlignment, 0);
  }
  EXPECT_EQ(table.entries[0].bytes, (Range{4096, 9096}));
  EXPECT_EQ(table.entries[1].bytes.begin, 12288);
}

TEST(PanelTable, OfAnIdleRankIsEmpty) {
  EXPECT_TRUE(parse_panel_table(as_bytes(file_of({})), "f").entries.empty());
}

TEST(PanelTable, PartsDifferInEveryNumber) {
  const PanelEntry base = entry("a", 64);
  const auto differs = [&](const auto& change) {
    PanelEntry other = base;
    change(other);
    return !base.same_part(other);
  };
  EXPECT_TRUE(differs([](PanelEntry& e) { e.tensor = "b"; }));
  EXPECT_TRUE(differs([](PanelEntry& e) { e.dtype = tensor::DType::kQ4_0; }));
  EXPECT_TRUE(differs([](PanelEntry& e) { e.rows.end++; }));
  EXPECT_TRUE(differs([](PanelEntry& e) { e.inputs.begin++; }));
  EXPECT_TRUE(differs([](PanelEntry& e) { e.num_units++; }));
  EXPECT_TRUE(differs([](PanelEntry& e) { e.bytes.end++; }));
  EXPECT_FALSE(differs([](PanelEntry& e) { e.bytes = {4096, 4096 + 64}; }));
}

TEST(PanelTable, OtherFilesAndVersionsAreRefused) {
  EXPECT_THAT(refused(""), HasSubstr("damaged"));
  EXPECT_THAT(refused(patched<char>(0, 'X')), HasSubstr("WEFTPANL"));
  EXPECT_THAT(refused(patched<uint32_t>(kVersion, 9)),
              HasSubstr("is version 9 of the packed format; this program reads 1"));
  EXPECT_THAT(refused(patched<uint32_t>(kLayout, tensor::kPanelLayoutVersion + 1)),
              testing::AllOf(HasSubstr("of the panel layout"), HasSubstr("weft pack MODEL")));
}

TEST(PanelTable, LiesAreRefused) {
  EXPECT_THAT(refused(patched<uint64_t>(kCount, 1'000'000)), HasSubstr("counts 1000000"));
  EXPECT_THAT(refused(patched<uint64_t>(kName, 0)), HasSubstr("name of 0 bytes"));
  EXPECT_THAT(refused(patched<uint64_t>(kName, ~uint64_t{0})), HasSubstr("are left"));
  EXPECT_THAT(refused(patched<uint32_t>(kType, 99)), HasSubstr("the type 99"));
  EXPECT_THAT(refused(patched<int64_t>(kRows, -1)), HasSubstr("rows -1 to 64"));
  EXPECT_THAT(refused(patched<int64_t>(kRows + 8, 32)), HasSubstr("rows 32 to 32"));
  EXPECT_THAT(refused(patched<int64_t>(kInputs + 8, int64_t{1} << 41)), HasSubstr("inputs"));
  EXPECT_THAT(refused(patched<int64_t>(kUnits, 0)), HasSubstr("0 units of 512"));
  EXPECT_THAT(refused(patched<int64_t>(kUnits, 513)), HasSubstr("513 units of 512"));
  EXPECT_THAT(refused(patched<int64_t>(kOffset, 4160)), HasSubstr("at byte 4160, not at 4096"));
  EXPECT_THAT(refused(patched<int64_t>(kOffset, -4096)), HasSubstr("at byte -4096"));
  EXPECT_THAT(refused(patched<int64_t>(kBytes, int64_t{1} << 62)), HasSubstr("'first' take"));
  EXPECT_THAT(refused(patched<int64_t>(kBytes, 0)), HasSubstr("take 0 bytes"));
  EXPECT_THAT(refused(patched<int64_t>(kBytes, 9000)), HasSubstr("'second' begin at byte 12288"));
  EXPECT_THAT(refused(patched<char>(kSum + 8, 'G')), HasSubstr("SHA-256"));
}

TEST(PanelTable, FilesOfAnotherLengthAreRefused) {
  std::string file = file_of(two_entries());
  EXPECT_THAT(refused(file + std::string(4096, '\0')), HasSubstr("its table describes 16384"));
  file.resize(file.size() - 4096);
  EXPECT_THAT(refused(file),
              HasSubstr("'second' take 64 bytes from byte 12288 of a file of 12288"));
}

TEST(PanelTable, AMatrixStandsThereOnce) {
  std::vector<PanelEntry> entries = {entry("same", 64), entry("same", 64)};
  place_entries(entries);
  EXPECT_THAT(refused(file_of(entries)), HasSubstr("'same' are there twice"));
}

}  // namespace
}  // namespace weft::checkpoint
