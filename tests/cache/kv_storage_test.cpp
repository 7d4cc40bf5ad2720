#include "cache/kv_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "base/error.h"

namespace weft::cache {
namespace {

using kernels::KvLayout;
using kernels::KvType;

constexpr KvLayout kDefaultModel{.type = KvType::kBF16, .head_dim = 64, .block_tokens = 16};

TEST(KvStorage, BytesOfTheDefaultModel) {
  // 30 layers of 2 KV heads of 64 in BF16: (64 + 64) * 2 bytes a token, head and layer.
  const std::vector<int64_t> heads(30, 2);
  EXPECT_EQ(kv_bytes_per_token(heads, kDefaultModel), 30 * 2 * 256);
  EXPECT_EQ(kv_bytes_per_block(heads, kDefaultModel), 30 * 2 * 256 * 16);
  const KvStorage storage(heads, kDefaultModel, 10);
  EXPECT_EQ(storage.bytes(), 10 * kv_bytes_per_block(heads, kDefaultModel));
}

TEST(KvStorage, LayersMayHoldDifferentNumbersOfHeads) {
  const std::vector<int64_t> heads = {2, 0, 1};
  KvStorage storage(heads, {.type = KvType::kF32, .head_dim = 40, .block_tokens = 32}, 3);
  const int64_t head_bytes = (40 + 48) * 32 * 4;
  EXPECT_EQ(storage.num_layers(), 3);
  EXPECT_EQ(storage.block_stride(0), 3 * head_bytes);
  EXPECT_EQ(storage.layer(1), nullptr);
  EXPECT_EQ(storage.head(0, 2, 1), storage.layer(0) + 2 * 3 * head_bytes + head_bytes);
  EXPECT_EQ(storage.layer(2), storage.layer(0) + 2 * head_bytes);
}

TEST(KvStorage, AnIdleShardTakesNoMemory) {
  KvStorage storage(std::vector<int64_t>(4, 0), kDefaultModel, 1000);
  EXPECT_EQ(storage.bytes(), 0);
  EXPECT_EQ(storage.layer(3), nullptr);
}

// Every head of every block has its own bytes, inside the storage, zero at first.
TEST(KvStorage, HeadsNeverOverlap) {
  std::mt19937_64 random(13);
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> heads(1 + random() % 5);
    for (int64_t& n : heads) n = static_cast<int64_t>(random() % 4);
    const KvLayout layout{.type = random() % 2 == 0 ? KvType::kF32 : KvType::kBF16,
                          .head_dim = 2 + 2 * static_cast<int64_t>(random() % 40),
                          .block_tokens = 16 * (1 + static_cast<int64_t>(random() % 2))};
    const auto num_blocks = static_cast<int64_t>(random() % 5);
    KvStorage storage(heads, layout, num_blocks);
    ASSERT_GE(storage.bytes(), num_blocks * kv_bytes_per_block(heads, layout));
    std::vector<std::byte*> places;
    for (int64_t layer = 0; layer < storage.num_layers(); ++layer) {
      ASSERT_EQ(reinterpret_cast<uintptr_t>(storage.layer(layer)) % 64, 0u);
      for (int64_t block = 0; block < num_blocks; ++block)
        for (int64_t head = 0; head < storage.num_kv_heads(layer); ++head)
          places.push_back(storage.head(layer, block, head));
    }
    // Each head is filled with its own number; a clash or an overrun shows (the latter under
    // AddressSanitizer).
    const auto size = static_cast<size_t>(layout.head_bytes());
    for (size_t i = 0; i < places.size(); ++i) {
      ASSERT_EQ(places[i][0], std::byte{0});
      ASSERT_EQ(places[i][size - 1], std::byte{0});
      std::memset(places[i], static_cast<int>(i % 255 + 1), size);
    }
    for (size_t i = 0; i < places.size(); ++i) {
      const std::byte expected{static_cast<unsigned char>(i % 255 + 1)};
      for (size_t b = 0; b < size; ++b) ASSERT_EQ(places[i][b], expected);
    }
  }
}

// Every byte of every block is its own; a copy changes those of one block to those of another.
TEST(KvStorage, CopiesABlockOfEveryLayerAndHead) {
  for (const KvType type : {KvType::kF32, KvType::kBF16}) {
    const KvLayout layout{.type = type, .head_dim = 40, .block_tokens = 16};
    KvStorage storage(std::vector<int64_t>{2, 0, 1, 3}, layout, 4);
    std::mt19937_64 random(14);
    const auto size = static_cast<size_t>(layout.head_bytes());
    std::vector<std::vector<std::byte>> expected;  // of layer, block, head
    std::vector<std::byte*> places;
    for (int64_t layer = 0; layer < storage.num_layers(); ++layer)
      for (int64_t block = 0; block < 4; ++block)
        for (int64_t head = 0; head < storage.num_kv_heads(layer); ++head) {
          std::vector<std::byte> bytes(size);
          for (std::byte& b : bytes) b = static_cast<std::byte>(random());
          places.push_back(storage.head(layer, block, head));
          std::memcpy(places.back(), bytes.data(), size);
          // Block 3 gets what block 1 of the same layer and head holds.
          const size_t back = static_cast<size_t>(2 * storage.num_kv_heads(layer));
          if (block == 3) bytes = expected[expected.size() - back];
          expected.push_back(std::move(bytes));
        }
    storage.copy_block(1, 3);
    for (size_t i = 0; i < places.size(); ++i)
      ASSERT_EQ(std::memcmp(places[i], expected[i].data(), size), 0) << i;
  }
}

TEST(KvStorage, GroupsHaveBlocksOfTheirOwn) {
  const KvLayout layout{.type = KvType::kF32, .head_dim = 32, .block_tokens = 16};
  const std::vector<int64_t> heads{1, 2, 3, 1}, blocks{5, 3};
  const std::vector<int32_t> groups{1, 0, 1, 1};
  KvStorage storage(heads, groups, layout, blocks);
  const int64_t head_bytes = layout.head_bytes();
  EXPECT_EQ(storage.bytes(), (5 * 2 + 3 * 5) * head_bytes);
  EXPECT_EQ(storage.block_stride(1), 2 * head_bytes);
  EXPECT_EQ(storage.block_stride(2), 5 * head_bytes);
  EXPECT_EQ(storage.num_blocks(), 5);
  EXPECT_EQ(storage.num_blocks(1), 3);
  EXPECT_EQ(storage.group_of(1), 0);
  EXPECT_EQ(storage.group_of(3), 1);
  // Each head of each block once: none reaches into another.
  std::set<std::byte*> places;
  for (int64_t layer = 0; layer < 4; ++layer)
    for (int64_t block = 0; block < storage.num_blocks(storage.group_of(layer)); ++block)
      for (int64_t head = 0; head < heads[static_cast<size_t>(layer)]; ++head) {
        std::byte* place = storage.head(layer, block, head);
        EXPECT_TRUE(places.insert(place).second);
        std::memset(place, static_cast<int>(layer * 16 + block), static_cast<size_t>(head_bytes));
      }
  storage.copy_block(2, 0, 1);
  EXPECT_EQ(*storage.head(0, 0, 0), std::byte{2});
  EXPECT_EQ(*storage.head(3, 0, 0), std::byte{3 * 16 + 2});
  EXPECT_EQ(*storage.head(1, 0, 1), std::byte{16});  // of the other group
  for (std::byte* place : places) EXPECT_EQ(place[0], place[head_bytes - 1]);
}

TEST(KvStorage, AGroupWithoutLayersTakesNoMemory) {
  const KvLayout layout{.type = KvType::kF32, .head_dim = 32, .block_tokens = 16};
  const std::vector<int64_t> blocks{1'000'000'000, 2};
  KvStorage storage(std::vector<int64_t>{1}, std::vector<int32_t>{1}, layout, blocks);
  EXPECT_EQ(storage.bytes(), 2 * layout.head_bytes());
  storage.copy_block(3, 4);  // nothing to copy
}

TEST(KvStorage, MoreThanAnyMemoryIsAnError) {
  const std::vector<int64_t> heads(8, 4);
  for (const int64_t num_blocks : {INT64_MAX, INT64_MAX / (16 * 1024), int64_t{1} << 46}) {
    try {
      KvStorage(heads, kDefaultModel, num_blocks);
      FAIL() << num_blocks << " blocks";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kMemory);
    }
  }
}

TEST(KvStorageDeathTest, PlacesOutsideAreABug) {
  KvStorage storage(std::vector<int64_t>{2, 1}, kDefaultModel, 3);
  EXPECT_DEATH(storage.layer(2), "layer 2 of 2");
  EXPECT_DEATH(storage.head(0, 3, 0), "block 3 of 3");
  EXPECT_DEATH(storage.head(1, 0, 1), "KV head 1 of 1");
  EXPECT_DEATH(storage.copy_block(0, 3), "block 0 to 3 of 3");
  EXPECT_DEATH(storage.copy_block(1, 1), "block 1 to 1 of 3");
}

}  // namespace
}  // namespace weft::cache
