// Every rung of the ladder (bench/kernels/ladder.h) computes the product: with the reference's bits
// where it keeps the arithmetic, close to them where it does not.
#include "ladder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/linear_case.h"

namespace weft::kernels {
namespace {

TEST(Ladder, EveryRungIsTheProduct) {
  prepare_this_thread();
  if (ladder::rungs().empty()) GTEST_SKIP() << "the rungs need AVX-512 with VNNI";
  constexpr int64_t kRows = 96, kInputs = 512, kUntouched = 32;
  Random random(1);
  const auto rows = random_rows(DType::kQ4_0, kRows, kInputs, random);
  const PackedMatrix matrix(DType::kQ4_0, rows, kRows, kInputs, InputMap::whole(kInputs));
  for (const int64_t num_tokens : {1, 5, 16, 601}) {  // the last needs several blocks
    auto x = random.numbers(num_tokens * kInputs);
    for (float& value : x) value = std::fmax(-2.0f, std::fmin(2.0f, value));  // no outliers
    const LaidOut laid_out(matrix.layout, x, num_tokens, reference::prepare);
    ladder::Product product{&matrix.layout, rows.data(), matrix.panels.data(), laid_out.input};
    product.out_stride = kRows;
    std::vector<float> expected;
    for (const ladder::Rung& rung : ladder::rungs()) {
      SCOPED_TRACE(testing::Message() << rung.name << ", " << num_tokens << " tokens");
      std::vector<float> out(static_cast<size_t>(num_tokens * kRows), -7.0f);
      product.out = out.data();
      rung.run(product, {2, kRows / 16});
      if (expected.empty()) expected = out;  // the reference comes first
      EXPECT_EQ(out[kUntouched - 1], -7.0f);
      if (rung.has_reference_bits) {
        EXPECT_TRUE(same_bits(expected, out));
        continue;
      }
      for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(expected[i], out[i], 1e-3f) << i;
    }
  }
}

}  // namespace
}  // namespace weft::kernels
