// Which table a processor gets, and the body for processors without a fitting BF16 instruction.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "kernels/linear_case.h"
#include "kernels/table_parts.h"

namespace weft::kernels {
namespace {

class AskedIsa {
 public:
  explicit AskedIsa(const char* name) { setenv("WEFT_ISA", name, 1); }
  ~AskedIsa() { unsetenv("WEFT_ISA"); }
  AskedIsa(const AskedIsa&) = delete;
  AskedIsa& operator=(const AskedIsa&) = delete;
};

TEST(Table, IsTheBestThatTheProcessorRuns) {
  unsetenv("WEFT_ISA");
  const auto tables = every_table();
  EXPECT_EQ(tables.back(), &choose_table());
  EXPECT_EQ("portable", tables.front()->name);
}

TEST(Table, FollowsTheNameThatIsAsked) {
  for (const KernelTable* table : every_table()) {
    const AskedIsa asked(std::string(table->name).c_str());
    EXPECT_EQ(table, &choose_table());
  }
}

TEST(Table, RefusesAnUnknownName) {
  const AskedIsa asked("avx1024");
  try {
    choose_table();
    FAIL() << "no table has this name";
  } catch (const Error& error) {
    EXPECT_EQ(ErrorKind::kUsage, error.kind());
    EXPECT_NE(std::string::npos, error.summary().find("avx1024"));
    EXPECT_NE(std::string::npos, error.mend().find("portable"));
  }
}

TEST(Table, HasEveryKernel) {
  for (const KernelTable* table : every_table()) {
    // All that follows the name is function pointers.
    const auto* begin = reinterpret_cast<void* const*>(&table->prepare);
    const auto* end = reinterpret_cast<void* const*>(table + 1);
    for (const auto* entry = begin; entry != end; ++entry) {
      EXPECT_NE(nullptr, *entry) << table->name << ", entry " << entry - begin;
    }
  }
}

// Processors with VNNI but without BF16 instructions, or with ones that round otherwise.
TEST(Table, EmulatesTheBf16DotProductToTheBit) {
  if (table_for(Isa::kAvx512) == nullptr) GTEST_SKIP() << "no AVX-512 here";
  prepare_this_thread();
  KernelTable emulated{};
  avx512::fill_linear(emulated, false);
  Random random(1);
  const int64_t num_rows = 40, num_cols = 768, num_tokens = 13;
  const auto rows = random_rows(DType::kBF16, num_rows, num_cols, random);
  const PackedMatrix matrix(DType::kBF16, rows, num_rows, num_cols, InputMap::whole(num_cols));
  const LaidOut x(matrix.layout, random.numbers(num_tokens * num_cols), num_tokens,
                  reference::prepare);
  const Matmul op{&matrix.layout, matrix.panels.data(), x.input};
  std::vector<float> want(static_cast<size_t>(num_tokens * 48)), found = want;
  reference::matmul(op, {0, 3}, {0, num_tokens}, nullptr, want.data(), 48);
  emulated.matmul(op, {0, 3}, {0, num_tokens}, nullptr, found.data(), 48);
  EXPECT_TRUE(same_bits(want, found));
}

}  // namespace
}  // namespace weft::kernels
