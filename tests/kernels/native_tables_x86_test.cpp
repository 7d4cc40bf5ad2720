// The body for processors without a fitting BF16 instruction.
#include <gtest/gtest.h>

#include "kernels/linear_case.h"
#include "kernels/table_parts.h"

namespace weft::kernels {
namespace {

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
