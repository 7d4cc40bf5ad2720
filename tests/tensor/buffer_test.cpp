#include "tensor/buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"

namespace weft::tensor {
namespace {

uintptr_t address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

bool all_zero(const Buffer& buffer) {
  return std::all_of(buffer.data(), buffer.data() + buffer.size(),
                     [](std::byte b) { return b == std::byte{0}; });
}

TEST(Buffer, IsZeroAndAlignedOnBothSidesOfTheMappingLimit) {
  const int64_t limit = int64_t{2} << 20;
  for (const int64_t size : {int64_t{1}, int64_t{63}, int64_t{4097}, limit - 1, limit, limit + 1}) {
    Buffer buffer(size, "a test");
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(address(buffer.data()) % 64, 0u) << size;
    EXPECT_TRUE(all_zero(buffer)) << size;
    buffer.data()[size - 1] = std::byte{7};
  }
}

TEST(Buffer, LargeOnesBeginOnAHugePage) {
  const Buffer buffer(5 << 20, "a test");
  EXPECT_EQ(address(buffer.data()) % (2 << 20), 0u);
}

TEST(Buffer, UntouchedPagesCostNothing) {
  const Buffer buffer(int64_t{1} << 30, "a test");
  EXPECT_EQ(buffer.as<int64_t>()[0], 0);
  EXPECT_EQ(buffer.as<int64_t>()[(int64_t{1} << 27) - 1], 0);
}

TEST(Buffer, OfNothingHoldsNothing) {
  const Buffer none;
  const Buffer empty(0, "a test");
  EXPECT_EQ(none.data(), nullptr);
  EXPECT_EQ(empty.data(), nullptr);
  EXPECT_EQ(empty.size(), 0);
}

TEST(Buffer, MovesItsMemory) {
  for (const int64_t size : {int64_t{100}, int64_t{4} << 20}) {
    Buffer first(size, "a test");
    first.data()[99] = std::byte{5};
    const std::byte* memory = first.data();
    Buffer second(std::move(first));
    EXPECT_EQ(second.data(), memory);
    Buffer third(64, "a test");
    third = std::move(second);
    EXPECT_EQ(third.data(), memory);
    EXPECT_EQ(third.size(), size);
    EXPECT_EQ(third.data()[99], std::byte{5});
  }
}

TEST(Buffer, NamesItsPurposeWhereTheSystemHasNoSuchMemory) {
  for (const int64_t size : {int64_t{1} << 60, std::numeric_limits<int64_t>::max()}) {
    try {
      const Buffer buffer(size, "the key-value cache");
      FAIL() << "allocated " << size;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kMemory);
      EXPECT_THAT(error.summary(), testing::HasSubstr("the key-value cache"));
      EXPECT_THAT(error.summary(), testing::HasSubstr(std::to_string(size)));
    }
  }
}

TEST(BufferDeathTest, ANegativeSizeIsABug) { EXPECT_DEATH(Buffer(-1, "a test"), "-1"); }

TEST(Arena, HandsOutAlignedPiecesFrontToBack) {
  Arena arena(256);
  auto* a = arena.take<float>(3);
  auto* b = arena.take<int8_t>(65);
  auto* c = arena.take<int64_t>(8);
  EXPECT_EQ(address(a) % 64, 0u);
  EXPECT_EQ(address(b) - address(a), 64u);
  EXPECT_EQ(address(c) - address(b), 128u);
  EXPECT_EQ(arena.high_water_bytes(), 256);
}

TEST(Arena, RewindsToTheSameMemoryAndRemembersItsHighWater) {
  Arena arena(1024);
  auto* first = arena.take<float>(100);
  arena.take<float>(10);
  arena.rewind();
  EXPECT_EQ(arena.take<float>(1), first);
  EXPECT_EQ(arena.high_water_bytes(), 448 + 64);
}

TEST(Arena, TheLastPieceMayEndShortOfTheAlignment) {
  Arena arena(100);
  arena.take<std::byte>(64);
  EXPECT_NE(arena.take<std::byte>(36), nullptr);
  EXPECT_EQ(arena.high_water_bytes(), 100);
}

TEST(ArenaDeathTest, OverflowIsABug) {
  Arena arena(128);
  arena.take<std::byte>(65);
  EXPECT_DEATH(arena.take<std::byte>(1), "1 against 0");
  EXPECT_DEATH(Arena().take<float>(1), "4 against 0");
}

}  // namespace
}  // namespace weft::tensor
