#include "cache/group_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace weft::cache {
namespace {

using ::testing::ElementsAre;

TEST(GroupLayout, WithoutWindowsThereIsOneGroup) {
  const GroupLayout layout = group_layers(std::vector<int64_t>{0, 0, 0}, 1000);
  EXPECT_THAT(layout.windows, ElementsAre(0));
  EXPECT_THAT(layout.group_of_layer, ElementsAre(0, 0, 0));
  EXPECT_EQ(GroupLayout{}.group_of(7), 0);
}

TEST(GroupLayout, EqualWindowsMakeOneGroup) {
  const GroupLayout layout = group_layers(std::vector<int64_t>{512, 0, 512, 64, 0}, 1000);
  EXPECT_THAT(layout.windows, ElementsAre(0, 512, 64));
  EXPECT_THAT(layout.group_of_layer, ElementsAre(1, 0, 1, 2, 0));
}

TEST(GroupLayout, AWindowThatNoContextPassesIsNone) {
  const std::vector<int64_t> windows{512, 0};
  EXPECT_THAT(group_layers(windows, 513).windows, ElementsAre(0, 512));
  const GroupLayout layout = group_layers(windows, 512);
  EXPECT_THAT(layout.windows, ElementsAre(0));
  EXPECT_THAT(layout.group_of_layer, ElementsAre(0, 0));
}

TEST(GroupLayout, WhereAllLayersSlideTheFirstGroupHasNone) {
  const GroupLayout layout = group_layers(std::vector<int64_t>{16, 16}, 1000);
  EXPECT_THAT(layout.windows, ElementsAre(0, 16));
  EXPECT_THAT(layout.group_of_layer, ElementsAre(1, 1));
}

TEST(GroupLayout, TooManyWindowsJoinALargerOne) {
  const GroupLayout layout = group_layers(std::vector<int64_t>{5, 10, 20, 40, 0}, 1000);
  EXPECT_THAT(layout.windows, ElementsAre(0, 40, 20, 10));
  EXPECT_THAT(layout.group_of_layer, ElementsAre(3, 3, 2, 1, 0));
}

// Counted one by one, at every place where a run can begin.
TEST(GroupLayout, MostBlocksAreThoseOfTheWorstPlace) {
  for (const int64_t size : {16, 32}) {
    for (const int64_t window : {1, 2, 16, 17, 40}) {
      for (const int64_t count : {1, 2, 16, 33}) {
        int64_t most = 0;
        for (int64_t first = 0; first < 4 * size; ++first) {
          const int64_t begin = first_seen(window, first) / size;
          most = std::max(most, (first + count - 1) / size - begin + 1);
        }
        EXPECT_EQ(most_blocks(window, count, 100 * size, size), most)
            << "window " << window << ", " << count << " tokens in blocks of " << size;
      }
    }
  }
  EXPECT_EQ(most_blocks(1000, 1, 40, 16), 3);  // no more than the sequence has
  EXPECT_EQ(most_blocks(0, 1, 40, 16), 3);
}

}  // namespace
}  // namespace weft::cache
