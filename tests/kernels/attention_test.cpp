#include "kernels/attention_cache.h"
#include "kernels/float_types.h"

namespace weft::kernels {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::string describe(const AttentionCase& c) {
  return "head_dim " + std::to_string(c.head_dim) + " block " + std::to_string(c.block_tokens) +
         " heads " + std::to_string(c.num_heads) + " context " + std::to_string(c.context) +
         " chunk " + std::to_string(c.chunk) + " window " + std::to_string(c.window) + " cap " +
         std::to_string(c.softcap) + " " + std::string(name(c.type));
}

void expect_reference(const AttentionCase& c) {
  const AttentionCache cache(c);
  const std::vector<float> expected = attend(cache, reference::attention);
  for (const KernelTable* table : every_table())
    EXPECT_TRUE(same_bits(expected, attend(cache, table->attention)))
        << table->name << ": " << describe(c);
}

TEST(Attention, IsTheReferenceForEveryHeadSize) {
  for (const int64_t head_dim : {16, 40, 64, 80, 96, 128, 256, 512})
    for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kF16, KvType::kQ8})
      expect_reference({.type = type, .head_dim = head_dim, .context = 150, .chunk = 3});
}

TEST(Attention, IsTheReferenceForEveryGroup) {
  for (int64_t num_heads = 1; num_heads <= 13; ++num_heads)
    for (const int64_t chunk : {1, 2, 5})
      for (const KvType type : {KvType::kBF16, KvType::kQ8})
        expect_reference(
            {.type = type, .head_dim = 40, .num_heads = num_heads, .context = 90, .chunk = chunk});
}

TEST(Attention, IsTheReferenceAtEveryLength) {
  for (const int64_t context :
       {1, 2, 3, 15, 16, 17, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1023, 1024, 1025, 1088})
    for (const int64_t chunk : {int64_t{1}, std::min<int64_t>(context, 7)})
      for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kF16, KvType::kQ8})
        expect_reference({.type = type, .head_dim = 16, .context = context, .chunk = chunk});
}

TEST(Attention, IsTheReferenceOverManySpans) {
  expect_reference({.type = KvType::kBF16, .head_dim = 32, .context = 3300, .chunk = 4});
  expect_reference({.type = KvType::kQ8, .head_dim = 32, .context = 3300, .chunk = 4});
  expect_reference({.head_dim = 16, .context = 2100, .chunk = 80});
}

TEST(Attention, IsTheReferenceForEveryWindow) {
  for (const int64_t window : {1, 2, 3, 15, 16, 17, 63, 64, 65, 200, 511, 512, 1024, 5000})
    for (const int64_t chunk : {1, 70})
      for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kQ8})
        expect_reference({.type = type,
                          .head_dim = 16,
                          .num_heads = 2,
                          .context = 1100,
                          .chunk = chunk,
                          .window = window});
}

TEST(Attention, IsTheReferenceWithSoftcap) {
  for (const float softcap : {0.5f, 30.0f, 50.0f})
    for (const KvType type : {KvType::kBF16, KvType::kQ8})
      expect_reference({.type = type, .context = 300, .chunk = 5, .softcap = softcap});
}

// The size of the cache's blocks, the chunk, the heads of a call: none changes a bit.
TEST(Attention, CacheBlocksNeverShow) {
  AttentionCase c{.head_dim = 40, .context = 1200, .chunk = 9};
  for (const auto& [type, window] :
       {std::pair<KvType, int64_t>{KvType::kBF16, 0}, {KvType::kBF16, 100}, {KvType::kQ8, 100}}) {
    c.type = type;
    c.window = window;
    c.block_tokens = 16;
    const std::vector<float> expected = attend(AttentionCache(c), reference::attention);
    for (const int64_t block_tokens : {32, 48, 64, 80, 128, 256}) {
      c.block_tokens = block_tokens;
      const AttentionCache cache(c);
      for (const KernelTable* table : every_table())
        EXPECT_TRUE(same_bits(expected, attend(cache, table->attention)))
            << table->name << ": " << describe(c);
    }
  }
}

TEST(Attention, ChunksAndHeadSplitsNeverShow) {
  for (const int64_t window : {0, 30}) {
    const AttentionCase c{.type = KvType::kBF16,
                          .head_dim = 16,
                          .num_heads = 5,
                          .context = 1130,
                          .chunk = 150,
                          .window = window};
    const AttentionCache cache(c);
    for (const KernelTable* table : every_table()) {
      const std::vector<float> whole = attend(cache, table->attention);
      for (const int64_t tokens : {1, 7, 64})
        for (const int64_t heads : {1, 2, 3}) {
          std::vector<float> parts;
          const Attention all = cache.op(parts);
          for (int64_t t = 0; t < c.chunk; t += tokens)
            for (int64_t h = 1; h <= c.num_heads; h += heads) {
              Attention part = all;
              part.tokens = Range{t, t + tokens}.intersect(all.tokens);
              part.heads = Range{h, h + heads}.intersect(all.heads);
              table->attention(part);
            }
          EXPECT_TRUE(same_bits(whole, parts)) << table->name << " tokens " << tokens;
        }
    }
  }
}

// The same tokens as several chunks: first_position moves, the tokens' own positions do not.
TEST(Attention, PositionsDecideNotChunks) {
  const AttentionCase c{.head_dim = 16, .context = 200, .chunk = 60};
  const AttentionCache cache(c);
  for (const KernelTable* table : every_table()) {
    const std::vector<float> whole = attend(cache, table->attention);
    std::vector<float> parts;
    const Attention all = cache.op(parts);
    for (int64_t t = 0; t < c.chunk; t += 13) {
      Attention part = all;
      part.q += t * all.q_stride;
      part.out += t * all.out_stride;
      part.first_position += t;
      part.tokens = {0, std::min<int64_t>(13, c.chunk - t)};
      table->attention(part);
    }
    EXPECT_TRUE(same_bits(whole, parts)) << table->name;
  }
}

// Spans computed apart, in any order, and merged: the same bits.
TEST(Attention, SpansApartNeverShow) {
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kQ8})
    for (const int64_t window : {0, 700}) {
      const AttentionCase c{.type = type,
                            .head_dim = 40,
                            .num_heads = 7,
                            .context = 2200,
                            .chunk = 3,
                            .window = window};
      const AttentionCache cache(c);
      const int64_t num_spans = ceil_div(c.context, kAttentionSpan);
      for (const KernelTable* table : every_table()) {
        const std::vector<float> whole = attend(cache, table->attention);
        for (const int64_t step : {1, 2, 3}) {
          std::vector<float> out;
          Attention op = cache.op(out);
          op.partials_stride = num_spans * partial_floats(op.layout);
          std::vector<float> partials(
              static_cast<size_t>(c.num_heads * c.chunk * op.partials_stride), kNaN);
          op.partials = partials.data();
          for (int64_t end = num_spans; end > 0; end -= step) {
            op.spans = {std::max<int64_t>(0, end - step), end};
            table->attention(op);
          }
          table->merge_attention(op);
          EXPECT_TRUE(same_bits(whole, out)) << table->name << " " << step << " spans at a time";
        }
      }
    }
}

TEST(Attention, MaskedPositionsContributeNothing) {
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kF16, KvType::kQ8}) {
    const AttentionCase c{.type = type, .head_dim = 40, .context = 300, .chunk = 100, .window = 20};
    const AttentionCache clean(c);
    AttentionCache dirty(c);
    // Token 50 stands at position 250: it sees neither 230 nor 251.
    for (int64_t d = 0; d < c.head_dim; ++d)
      for (const int64_t position : {0, 100, 230, 251, 299}) {
        dirty.set_value(position, d, d % 2 == 0 ? kNaN : -std::numeric_limits<float>::infinity());
        dirty.set_key(position, d, kNaN);
      }
    for (const KernelTable* table : every_table()) {
      const std::vector<float> expected = attend(clean, table->attention);
      const std::vector<float> actual = attend(dirty, table->attention);
      for (int64_t i = 50 * clean.stride(); i < 51 * clean.stride(); ++i)
        ASSERT_EQ(bits_of(expected[static_cast<size_t>(i)]),
                  bits_of(actual[static_cast<size_t>(i)]))
            << table->name << " column " << i % clean.stride();
      EXPECT_TRUE(same_bits(attend(dirty, reference::attention), actual)) << table->name;
      EXPECT_TRUE(std::isnan(actual[static_cast<size_t>(51 * clean.stride() + c.head_dim)]));
    }
  }
}

TEST(Attention, BlocksBehindTheWindowAreNotTouched) {
  const AttentionCase c{.head_dim = 16, .context = 1200, .chunk = 40, .window = 100};
  const AttentionCache whole(c);
  AttentionCache dropped(c);
  dropped.drop_blocks_before(c.context - c.chunk - c.window + 1);
  for (const KernelTable* table : every_table())
    EXPECT_TRUE(same_bits(attend(whole, table->attention), attend(dropped, table->attention)))
        << table->name;
}

TEST(Attention, NanOfAVisiblePositionShows) {
  const AttentionCase c{.context = 130, .chunk = 1};
  for (const bool in_key : {true, false}) {
    AttentionCache cache(c);
    if (in_key) {
      cache.set_key(64, 3, kNaN);
    } else {
      for (int64_t d = 0; d < c.head_dim; ++d) cache.set_value(64, d, kNaN);
    }
    for (const KernelTable* table : every_table()) {
      const std::vector<float> out = attend(cache, table->attention);
      for (int64_t i = c.head_dim; i < 2 * c.head_dim; ++i)
        EXPECT_TRUE(std::isnan(out[static_cast<size_t>(i)])) << table->name;
    }
  }
}

// Scores so far apart that weights vanish, and a maximum that rises in every block.
TEST(Attention, IsTheReferenceForExtremeScores) {
  AttentionCache cache({.head_dim = 16, .context = 1500, .chunk = 2});
  for (int64_t p = 0; p < 1500; p += 50)
    for (int64_t d = 0; d < 16; ++d) cache.set_key(p, d, static_cast<float>(p) * (d % 2 ? 1 : -1));
  const std::vector<float> expected = attend(cache, reference::attention);
  for (const float x : expected) EXPECT_FALSE(std::isnan(x));
  for (const KernelTable* table : every_table())
    EXPECT_TRUE(same_bits(expected, attend(cache, table->attention))) << table->name;
}

// softmax(scale * q k) v in double precision.
std::vector<double> oracle(const AttentionCase& c, const AttentionCache& cache, int64_t token,
                           int64_t head) {
  const int64_t own = c.context - c.chunk + token;
  const int64_t begin = c.window > 0 ? std::max<int64_t>(0, own - c.window + 1) : 0;
  std::vector<double> sums(static_cast<size_t>(c.head_dim));
  double total = 0;
  for (int64_t p = begin; p <= own; ++p) {
    double score = 0;
    for (int64_t d = 0; d < c.head_dim; ++d)
      score += static_cast<double>(cache.query(token, head, d)) * cache.key(p, d);
    score /= std::sqrt(static_cast<double>(c.head_dim));
    if (c.softcap > 0) score = c.softcap * std::tanh(score / static_cast<double>(c.softcap));
    const double weight = std::exp(score);
    total += weight;
    for (int64_t d = 0; d < c.head_dim; ++d)
      sums[static_cast<size_t>(d)] += weight * cache.value(p, d);
  }
  for (double& x : sums) x /= total;
  return sums;
}

// Of the largest output.
double worst_error(const AttentionCase& c, const AttentionCache& cache, const KernelTable& table) {
  const std::vector<float> out = attend(cache, table.attention);
  double worst = 0, largest = 0;
  for (int64_t token = 0; token < c.chunk; ++token)
    for (int64_t head = 0; head < c.num_heads; ++head) {
      const std::vector<double> expected = oracle(c, cache, token, head);
      const int64_t first = token * cache.stride() + (head + 1) * c.head_dim;
      for (int64_t d = 0; d < c.head_dim; ++d) {
        const double x = expected[static_cast<size_t>(d)];
        worst = std::max(worst, std::fabs(out[static_cast<size_t>(first + d)] - x));
        largest = std::max(largest, std::fabs(x));
      }
    }
  return worst / largest;
}

TEST(Attention, IsTheSoftmaxWithinItsTypesRounding) {
  constexpr std::pair<KvType, double> kBounds[] = {
      {KvType::kF32, 1e-5}, {KvType::kF16, 2e-3}, {KvType::kBF16, 2e-2}, {KvType::kQ8, 3e-2}};
  for (AttentionCase c :
       {AttentionCase{.context = 4100, .chunk = 2}, AttentionCase{.head_dim = 128, .context = 700},
        AttentionCase{.context = 2000, .chunk = 3, .window = 600},
        AttentionCase{.head_dim = 80, .context = 500, .softcap = 20}})
    for (const auto& [type, bound] : kBounds) {
      c.type = type;
      const AttentionCache cache(c);
      for (const KernelTable* table : every_table())
        EXPECT_LT(worst_error(c, cache, *table), bound) << table->name << ": " << describe(c);
    }
}

// Columns of other heads keep what they had.
TEST(Attention, WritesItsOwnColumnsAlone) {
  const AttentionCase c{.head_dim = 40, .context = 20, .chunk = 4};
  const AttentionCache cache(c);
  for (const KernelTable* table : every_table()) {
    const std::vector<float> out = attend(cache, table->attention);
    for (int64_t token = 0; token < c.chunk; ++token)
      for (int64_t d = 0; d < c.head_dim; ++d) {
        const int64_t row = token * cache.stride();
        EXPECT_EQ(out[static_cast<size_t>(row + d)], 7.0f);
        EXPECT_EQ(out[static_cast<size_t>(row + cache.stride() - 1 - d)], 7.0f);
        EXPECT_NE(out[static_cast<size_t>(row + c.head_dim + d)], 7.0f);
      }
  }
}

TEST(Attention, OfNothingIsNothing) {
  const AttentionCache cache({.context = 20, .chunk = 4});
  for (const KernelTable* table : every_table()) {
    std::vector<float> out;
    Attention op = cache.op(out);
    op.heads = {1, 1};
    table->attention(op);
    op = cache.op(out);
    op.tokens = {2, 2};
    table->attention(op);
    EXPECT_EQ(out, std::vector<float>(out.size(), 7.0f));
  }
}

TEST(WriteKv, IsTheReference) {
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kF16, KvType::kQ8})
    for (const int64_t head_dim : {2, 16, 40, 64, 80, 128})
      for (const int64_t block_tokens : {16, 48}) {
        const KvLayout layout{type, head_dim, block_tokens};
        std::vector<float> k = Random(1).numbers(head_dim), v = Random(2).numbers(head_dim);
        const float special[] = {kNaN, 3.4e38f, 1e-40f, -0.0f, 0x1.01p0f, 0x1.03p0f, 0x1.010002p0f};
        // Beside a NaN no code is left to compare.
        for (size_t i = 0; i < std::size(special) && i < k.size() && type != KvType::kQ8; ++i)
          k[i] = v[i] = special[i];
        std::vector<std::byte> expected(static_cast<size_t>(layout.head_bytes()) + 64);
        std::fill(expected.begin(), expected.end(), std::byte{0xa5});
        const std::vector<std::byte> start = expected;
        KvWrite op{k.data(), v.data(), layout, expected.data(), 11};
        prepare_this_thread();
        reference::write_kv(op);
        for (const KernelTable* table : every_table()) {
          std::vector<std::byte> actual = start;
          op.head = actual.data();
          table->write_kv(op);
          EXPECT_EQ(std::memcmp(expected.data(), actual.data(), actual.size()), 0)
              << table->name << " head_dim " << head_dim;
        }
      }
}

TEST(WriteKv, RoundsToNearestEven) {
  const float k[] = {0x1.01p0f, 0x1.03p0f, 0x1.010002p0f, -0x1.01p0f, 3.4e38f, kNaN};
  const float expected[] = {0x1.00p0f, 0x1.04p0f, 0x1.02p0f, -0x1.00p0f, HUGE_VALF, kNaN};
  const KvLayout layout{KvType::kBF16, 6, 16};
  for (const KernelTable* table : every_table()) {
    std::vector<uint16_t> block(static_cast<size_t>(layout.head_bytes() / 2));
    table->write_kv({k, k, layout, reinterpret_cast<std::byte*>(block.data()), 5});
    // Keys of a pair of d side by side, values of the pair of positions 4 and 5.
    for (size_t d = 0; d < 6; ++d)
      for (const size_t at : {d / 2 * 32 + 5 * 2 + d % 2, 6 * 16 + 2 * 32 + 2 * d + 1})
        EXPECT_EQ(bits_of(std::bit_cast<float>(static_cast<uint32_t>(block[at]) << 16)),
                  bits_of(expected[d]))
            << table->name;
  }
}

// A key or a value of 4, as codes of token 17 in blocks of 32, and their scale.
TEST(WriteKv, KeepsCodesWithAScaleAToken) {
  struct Case {
    float x[4];
    int8_t codes[4];
    float scale;
  };
  const Case cases[] = {
      {{254.0f, -254.0f, 1.0f, 3.0f}, {127, -127, 0, 2}, 2.0f},  // ties go to even
      {{-0.5f, 0.25f, 0.0f, 0.1f}, {-127, 64, 0, 25}, 0.5f / 127.0f},
      {{0x1p-101f, 0.0f, -0x1p-110f, 0.0f}, {0, 0, 0, 0}, 0.0f},  // too small to be divided by
      {{0.0f, 0.0f, 0.0f, 0.0f}, {0, 0, 0, 0}, 0.0f},
      {{1.0f, kNaN, 2.0f, 3.0f}, {0, 0, 0, 0}, kNaN},
      {{1.0f, 2.0f, 3.0f, -HUGE_VALF}, {0, 0, 0, 0}, kNaN},
      {{3.4e38f, 1.0f, 0.0f, -1.69e38f}, {127, 0, 0, -63}, 3.4e38f / 127.0f}};
  const KvLayout layout{KvType::kQ8, 4, 32};
  ASSERT_EQ(layout.head_bytes(), (4 + 16 + 8) * 32);
  const float other[] = {1.0f, 2.0f, 3.0f, 4.0f};
  prepare_this_thread();
  for (const KernelTable* table : every_table())
    for (const Case& c : cases)
      for (const bool in_key : {true, false}) {
        std::vector<std::byte> block(static_cast<size_t>(layout.head_bytes()), std::byte{0x55});
        table->write_kv({in_key ? c.x : other, in_key ? other : c.x, layout, block.data(), 17});
        for (size_t d = 0; d < 4; ++d) {
          const size_t key = d / 2 * 64 + 32 + d % 2 * 16 + 1, value = 4 * 32 + 8 * 32 + 16 + d;
          EXPECT_EQ(static_cast<int8_t>(block[in_key ? key : value]), c.codes[d])
              << table->name << " " << c.x[d];
        }
        float scale;
        std::memcpy(&scale, &block[20 * 32 + 4 * (in_key ? 17 : 17 + 32)], sizeof(scale));
        EXPECT_EQ(bits_of(scale), bits_of(c.scale)) << table->name << " " << c.x[0];
      }
}

TEST(WriteKv, RoundsToF16AsTheProcessorDoes) {
  const float x[] = {0x1.001p0f, 0x1.003p0f, 65504.0f,   65520.0f,
                     -1e6f,      0x1p-24f,   0x1.8p-24f, -0x1p-26f};
  const float expected[] = {0x1.000p0f, 0x1.004p0f, 65504.0f, HUGE_VALF,
                            -HUGE_VALF, 0x1p-24f,   0x1p-23f, -0.0f};
  const KvLayout layout{KvType::kF16, 8, 16};
  for (const KernelTable* table : every_table()) {
    std::vector<uint16_t> block(static_cast<size_t>(layout.head_bytes() / 2));
    table->write_kv({x, x, layout, reinterpret_cast<std::byte*>(block.data()), 5});
    for (size_t d = 0; d < 8; ++d)
      EXPECT_EQ(bits_of(float_from_f16(block[d * 16 + 5])), bits_of(expected[d]))
          << table->name << " " << x[d];
  }
}

}  // namespace
}  // namespace weft::kernels
