#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "hub/http.h"
#include "hub/hub.h"

namespace weft::hub {
namespace {

TEST(Settings, FollowTheVariablesOfHuggingfaceHub) {
  EXPECT_EQ(read_settings({{"HOME", "/h"}}).cache, "/h/.cache/huggingface/hub");
  EXPECT_EQ(read_settings({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}).cache, "/x/huggingface/hub");
  EXPECT_EQ(read_settings({{"HOME", "/h"}, {"HF_HOME", "~/f"}}).cache, "/h/f/hub");
  EXPECT_EQ(read_settings({{"HF_HOME", "/f"}, {"HF_HUB_CACHE", "/c"}}).cache, "/c");
  EXPECT_FALSE(read_settings({{"HOME", "/h"}, {"HF_HUB_OFFLINE", "0"}}).offline);
  EXPECT_TRUE(read_settings({{"HOME", "/h"}, {"HF_HUB_OFFLINE", "yes"}}).offline);
  EXPECT_EQ(read_settings({{"HOME", "/h"}, {"HF_ENDPOINT", "http://m:8/"}}).endpoint, "http://m:8");
  EXPECT_EQ(read_settings({{"HOME", "/h"}, {"HF_TOKEN", " hf_x\n"}}).token, "hf_x");
  EXPECT_THROW(read_settings({}), Error);
  EXPECT_THROW(read_settings({{"HOME", "/h"}, {"HF_ENDPOINT", "ftp://x"}}), Error);
  EXPECT_THROW(read_settings({{"HOME", "/h"}, {"HF_TOKEN", "a\r\nHost: b"}}), Error);
}

TEST(Settings, TakeTheTokenFromItsFile) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "weft_hub_token";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "token") << "hf_file\n";
  const std::string home = folder.string();
  EXPECT_EQ(read_settings({{"HF_HOME", home}}).token, "hf_file");
  EXPECT_EQ(read_settings({{"HF_HOME", home}, {"HF_TOKEN", "hf_x"}}).token, "hf_x");
  EXPECT_EQ(read_settings({{"HF_HOME", home}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}}).token, "");
  EXPECT_EQ(read_settings({{"HF_HOME", "/f"}, {"HF_TOKEN_PATH", home + "/token"}}).token,
            "hf_file");
  std::filesystem::remove_all(folder);
}

TEST(Addresses, TheTokenGoesToTheEndpointsOriginAlone) {
  const std::string hub = "https://huggingface.co";
  EXPECT_TRUE(may_send_token("https://huggingface.co/u/m", hub));
  EXPECT_TRUE(may_send_token("https://HuggingFace.co:443/u/m", hub));
  for (const char* other : {"http://huggingface.co/u/m", "https://huggingface.co:444/",
                            "https://cdn.huggingface.co/", "https://huggingface.co.evil.org/",
                            "https://huggingface.co@evil.org/", "file:///etc/passwd"})
    EXPECT_FALSE(may_send_token(other, hub)) << other;
  EXPECT_FALSE(may_send_token("http://mirror/u/m", "http://mirror"));
  EXPECT_TRUE(may_send_token("http://127.0.0.1:8/u/m", "http://127.0.0.1:8"));
}

TEST(Addresses, RedirectsStayOnTheWebAndEncrypted) {
  EXPECT_EQ(redirected("https://a/x/y", "/z?q=1"), "https://a/z?q=1");
  EXPECT_EQ(redirected("http://a/x", "https://b/z"), "https://b/z");
  EXPECT_EQ(redirected("https://a/x", "http://b/z"), "");
  EXPECT_EQ(redirected("http://a/x", "file:///etc/passwd"), "");
  EXPECT_EQ(redirected("http://a/x", "ftp://b/z"), "");
  EXPECT_EQ(redirected("http://a/x", ""), "");
}

TEST(Addresses, PathsAreEscaped) {
  EXPECT_EQ(escaped_path("a b/c#d?e%.gguf"), "a%20b/c%23d%3Fe%25.gguf");
}

}  // namespace
}  // namespace weft::hub
