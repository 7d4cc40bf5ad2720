#include "hub/model_name.h"

#include <gtest/gtest.h>

namespace weft::hub {
namespace {

TEST(ModelName, SplitsRepositoryRevisionAndQuant) {
  const auto plain = parse_model_name("Qwen/Qwen2.5-0.5B-Instruct");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->repo, "Qwen/Qwen2.5-0.5B-Instruct");
  EXPECT_EQ(plain->revision, "main");
  EXPECT_EQ(plain->quant, "");
  const auto all = parse_model_name("u/m@refs/pr/3:Q4_K_M");
  ASSERT_TRUE(all);
  EXPECT_EQ(all->repo, "u/m");
  EXPECT_EQ(all->revision, "refs/pr/3");
  EXPECT_EQ(all->quant, "Q4_K_M");
  EXPECT_EQ(all->text(), "u/m@refs/pr/3:Q4_K_M");
}

TEST(ModelName, RefusesWhatIsNone) {
  for (const char* typed :
       {"",         "smollm2", "/abs/path", "./here", "../up",    "a/b/c",  "a/",
        "/b",       "a/..",    "a/b:",      "a/b@",   "a/b@../x", "a/b@/x", "a/b@x/",
        "a/b:../x", "a b/c",   "a/b:/x",    ".a/b",   "a--b/c",   "a/b..c"}) {
    EXPECT_FALSE(parse_model_name(typed)) << typed;
  }
}

TEST(FileNames, ThatLeaveTheFolderAreNotSafe) {
  for (const char* name : {"config.json", "a/b.gguf", "a b.gguf", "..a", "a..b"})
    EXPECT_TRUE(is_safe_file_name(name)) << name;
  for (const char* name :
       {"", "/a", "../a", "a/../b", "a//b", "a/", ".", "a/.", "a\\b", "a\nb", "C:a"})
    EXPECT_FALSE(is_safe_file_name(name)) << name;
  EXPECT_FALSE(is_safe_file_name(std::string("a\0b", 3)));
  EXPECT_FALSE(is_safe_file_name(std::string(256, 'a')));
}

TEST(ETags, BecomeFileNames) {
  EXPECT_TRUE(is_safe_etag("0a1b2c"));
  for (const char* etag : {"", "..", "../x", "a/b", ".hidden", "x.incomplete", "a\"b"})
    EXPECT_FALSE(is_safe_etag(etag)) << etag;
}

}  // namespace
}  // namespace weft::hub
