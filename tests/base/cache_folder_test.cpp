#include "base/cache_folder.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(CacheFolder, IsTheUsersOwnByXdg) {
  EXPECT_EQ(cache_folder({{"XDG_CACHE_HOME", "/c"}, {"HOME", "/h"}}), "/c/weft");
  EXPECT_EQ(cache_folder({{"XDG_CACHE_HOME", "relative"}, {"HOME", "/h"}}), "/h/.cache/weft");
  EXPECT_EQ(cache_folder({{"HOME", "/h"}}), "/h/.cache/weft");
  EXPECT_EQ(cache_folder({{"XDG_CACHE_HOME", ""}, {"HOME", "relative"}}), "");
  EXPECT_EQ(cache_folder({}), "");
}

}  // namespace
}  // namespace weft
