// The arithmetic as numbers: hashes of what the kernels give for fixed inputs, on every table and
// with every compiler. Whoever changes one of these changes every model's logits: resumed streams
// and journals of older builds no longer continue, so the numerics id must change with it.
#include "kernels/double_math.h"
#include "kernels/every_table.h"

namespace weft::kernels {
namespace {

// Numbers in [-spread, spread) that no standard library has a say in.
std::vector<float> fixed_numbers(int64_t count, float spread, uint64_t seed) {
  std::vector<float> all(static_cast<size_t>(count));
  for (float& x : all) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    x = (static_cast<float>(seed >> 40) * 0x1p-23f - 1.0f) * spread;
  }
  return all;
}

uint64_t hash(const std::vector<float>& numbers) {
  return table_for(Isa::kPortable)
      ->hash_logits(numbers.data(), static_cast<int64_t>(numbers.size()), 0, 0);
}

uint64_t hash_of_gates(const KernelTable& table) {
  std::vector<float> silu = fixed_numbers(5000, 20.0f, 1), gelu = fixed_numbers(5000, 6.0f, 2);
  const std::vector<float> up = fixed_numbers(5000, 1.0f, 3);
  table.silu_mul(silu.data(), up.data(), 5000);
  table.gelu_tanh_mul(gelu.data(), up.data(), 5000);
  table.softcap(gelu.data(), 2.0f, 5000);
  return hash(silu) + 3 * hash(gelu);
}

uint64_t hash_of_norm(const KernelTable& table) {
  const std::vector<float> x = fixed_numbers(1000, 4.0f, 4), weight = fixed_numbers(1000, 1.0f, 5);
  std::vector<float> out(1000);
  table.rms_norm(x.data(), weight.data(), 1e-5f, out.data(), 1000);
  return hash(out);
}

uint64_t hash_of_rope(const KernelTable& table) {
  std::vector<double> inv_freq;
  for (int64_t i = 0; i < 20; ++i) inv_freq.push_back(rope_inv_freq(10000.0, i, 40));
  std::vector<float> angles(3000 * 2 * 20), x = fixed_numbers(3000 * 40, 1.0f, 6);
  rope_table(inv_freq, 1.0, 3000, angles.data());
  const RopeTable turns{angles.data(), 20};
  for (int64_t p = 0; p < 3000; ++p)
    table.rope(&x[static_cast<size_t>(40 * p)], 1, 40, turns.cos_of(p), turns.sin_of(p), 20,
               p % 2 == 0 ? RopeLayout::kHalves : RopeLayout::kInterleaved);
  return hash(x);
}

// 1,500 positions of one KV head of 40, four tokens of three query heads.
uint64_t hash_of_attention(const KernelTable& table, KvType type) {
  constexpr int64_t kHeadDim = 40, kContext = 1500, kHeads = 3, kChunk = 4;
  const KvLayout layout{type, kHeadDim, 32};
  std::vector<std::byte> cache(static_cast<size_t>(layout.head_bytes() * 47));
  std::vector<int32_t> blocks(47);
  for (size_t i = 0; i < 47; ++i) blocks[i] = static_cast<int32_t>(46 - i);
  const std::vector<float> k = fixed_numbers(kContext * kHeadDim, 2.0f, 7);
  const std::vector<float> v = fixed_numbers(kContext * kHeadDim, 1.0f, 8);
  for (int64_t p = 0; p < kContext; ++p)
    table.write_kv(
        {&k[static_cast<size_t>(p * kHeadDim)], &v[static_cast<size_t>(p * kHeadDim)], layout,
         cache.data() + blocks[static_cast<size_t>(p / 32)] * layout.head_bytes(), p % 32});
  const std::vector<float> q = fixed_numbers(kChunk * kHeads * kHeadDim, 4.0f, 9);
  std::vector<float> out(q.size());
  Attention op;
  op.q = q.data();
  op.out = out.data();
  op.q_stride = op.out_stride = kHeads * kHeadDim;
  op.tokens = {0, kChunk};
  op.heads = {0, kHeads};
  op.first_position = kContext - kChunk;
  op.scale = 0.158f;
  op.layout = layout;
  op.cache = cache.data();
  op.block_stride = layout.head_bytes();
  op.block_table = blocks.data();
  table.attention(op);
  uint64_t sum = hash(out);
  op.softcap = 5.0f;
  op.window = 700;
  table.attention(op);
  return sum + 3 * hash(out);
}

TEST(Arithmetic, KeepsItsNumbers) {
  for (const KernelTable* table : every_table()) {
    EXPECT_EQ(hash_of_gates(*table), 687123993598620041u) << table->name;
    EXPECT_EQ(hash_of_norm(*table), 11647672025041568070u) << table->name;
    EXPECT_EQ(hash_of_rope(*table), 1208765093197414190u) << table->name;
    EXPECT_EQ(hash_of_attention(*table, KvType::kBF16), 8014746420417408669u) << table->name;
    EXPECT_EQ(hash_of_attention(*table, KvType::kQ8), 8005579774288001123u) << table->name;
    const std::vector<float> logits = fixed_numbers(5000, 12.0f, 10);
    EXPECT_EQ(table->exp_sum(logits.data(), 5000, 12.0f, 0.7f), 335497320175718) << table->name;
  }
}

TEST(Arithmetic, KeepsItsDoubles) {
  prepare_this_thread();
  uint64_t sum = 0;
  for (int i = -2000; i < 2000; ++i) {
    const double x = i * 0.37;
    for (const double y : {exp_double(x * 0.9), log_double(x * x + 0.1), sincos_double(x * 1e4).sin,
                           sincos_double(x).cos})
      sum = sum * 0x9e3779b97f4a7c15u + std::bit_cast<uint64_t>(y);
  }
  EXPECT_EQ(sum, 15807128637842754959u);
}

}  // namespace
}  // namespace weft::kernels
