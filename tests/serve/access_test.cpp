#include "serve/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "base/error.h"
#include "serve/host_check.h"

namespace weft::serve {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

HttpRequest asking(const std::string& method, const std::string& path, HttpHeaders headers = {}) {
  HttpRequest request;
  request.method = method;
  request.path = path;
  request.headers = std::move(headers);
  return request;
}

HttpRequest with_key(const std::string& key) {
  return asking("POST", "/v1/completions", {{"authorization", "Bearer " + key}});
}

TEST(Access, WithoutKeysEverybodyIsAnonymous) {
  Access access({});
  const Access::Verdict verdict = access.check(asking("POST", "/v1/completions"), 1);
  EXPECT_EQ(verdict.status, 200);
  EXPECT_EQ(verdict.principal.name, "anonymous");
  EXPECT_EQ(verdict.principal.cache_salt, 0U);
}

TEST(Access, WithKeysAllButAFewPathsNeedOne) {
  Access access(rules_of_keys({"secret"}));
  for (const char* path : {"/health", "/live", "/ready", "/ping", "/", "/assets/page.js"})
    EXPECT_EQ(access.check(asking("GET", path), 1).status, 200) << path;
  // Of what is open elsewhere: /metrics, /version, /tokenize, /invocations, and whatever has no
  // route at all.
  for (const char* path :
       {"/v1/models", "/metrics", "/version", "/load", "/tokenize", "/invocations", "/healthy",
        "/health/", "/live/x", "/assets", "/assetsx", "/favicon.x/y", "//", "*", "/v1/chat"}) {
    EXPECT_EQ(access.check(asking("GET", path), 1).status, 401) << path;
    EXPECT_EQ(access.check(asking("POST", path), 1).status, 401) << path;
  }
  EXPECT_EQ(access.check(asking("POST", "/health"), 1).status, 401);
  EXPECT_EQ(access.check(asking("OPTIONS", "/v1/models"), 1).status, 401);
}

TEST(Access, TakesAKeyFromEitherHeader) {
  for (const char* unfit : {"", " ", " a", "a ", "a\tb", "\xc3\xa4"})
    EXPECT_THROW(rules_of_keys({unfit}), Error) << unfit;
  EXPECT_NO_THROW(rules_of_keys({"a b"}));
  Access access(rules_of_keys({"one", "two"}));
  EXPECT_EQ(access.check(with_key("two"), 1).principal.name, "key-2");
  EXPECT_EQ(access.check(asking("GET", "/v1/models", {{"x-api-key", "one"}}), 1).principal.name,
            "key-1");
  EXPECT_EQ(
      access.check(asking("GET", "/v1/models", {{"authorization", "bearer   one"}}), 1).status,
      200);
  for (const char* wrong : {"", "on", "one ", "onee", "One", "three"})
    EXPECT_EQ(access.check(with_key(wrong), 1).status, 401) << wrong;
  EXPECT_EQ(access.check(asking("GET", "/v1/models", {{"authorization", "Basic one"}}), 1).status,
            401);
}

TEST(Access, SumsAreEqualInEveryByteOrNotAtAll) {
  const KeyHash hash = hash_key("secret");
  EXPECT_TRUE(equal_in_constant_time(hash, hash_key("secret")));
  for (size_t i = 0; i < hash.size(); ++i) {
    KeyHash other = hash;
    other[i] ^= std::byte{0x80};
    EXPECT_FALSE(equal_in_constant_time(hash, other)) << i;
  }
}

TEST(Access, PrincipalsHaveSaltsOfTheirOwn) {
  Access access(rules_of_keys({"one", "two"}));
  const uint64_t one = access.check(with_key("one"), 1).principal.cache_salt;
  const uint64_t two = access.check(with_key("two"), 1).principal.cache_salt;
  EXPECT_NE(one, 0U);
  EXPECT_NE(one, two);
  // The same after a restart, and nothing that a caller says changes it.
  Access again(rules_of_keys({"one"}));
  HttpRequest request = with_key("one");
  request.headers.emplace_back("x-cache-salt", "7");
  EXPECT_EQ(again.check(request, 1).principal.cache_salt, one);
}

TEST(Access, ARateIsThePrincipalsWhicheverKeyItUses) {
  Access access({{"ann", hash_key("old"), 60, 0},
                 {"ann", hash_key("new"), 60, 0},
                 {"bob", hash_key("bob"), 0, -5}});
  constexpr int64_t kSecond = 1'000'000'000;
  for (int i = 0; i < 60; ++i)
    EXPECT_EQ(access.check(with_key(i % 2 == 0 ? "old" : "new"), kSecond).status, 200) << i;
  const Access::Verdict refused = access.check(with_key("new"), kSecond);
  EXPECT_EQ(refused.status, 429);
  EXPECT_NEAR(refused.retry_after_s, 1.0, 1e-6);
  EXPECT_EQ(access.check(with_key("bob"), kSecond).status, 200);
  EXPECT_EQ(access.check(with_key("bob"), kSecond).principal.priority, -5);
  EXPECT_EQ(access.check(with_key("old"), 2 * kSecond).status, 200);
  EXPECT_EQ(access.check(with_key("old"), 2 * kSecond).status, 429);
  // What asks for no work is not counted.
  EXPECT_EQ(access.check(asking("GET", "/metrics", {{"x-api-key", "new"}}), 2 * kSecond).status,
            200);
  for (const char* path : {"/tokenize", "/detokenize"})
    EXPECT_EQ(access.check(asking("POST", path, {{"x-api-key", "new"}}), 2 * kSecond).status, 200);
}

TEST(Access, OperatorsHaveKeysOfTheirOwnWhereAnyKeyIsOne) {
  const KeyRule user{"ann", hash_key("user")};
  KeyRule admin{"ann", hash_key("admin")};
  EXPECT_EQ(Access({user, admin}).check(with_key("user"), 1, /*admin=*/true).status, 200);
  admin.is_admin = true;
  Access access({user, admin});
  EXPECT_EQ(access.check(with_key("user"), 1, /*admin=*/true).status, 403);
  EXPECT_EQ(access.check(with_key("admin"), 1, /*admin=*/true).status, 200);
  EXPECT_EQ(access.check(with_key("neither"), 1, /*admin=*/true).status, 401);
  for (const char* key : {"user", "admin"})  // whose requests are like all others'
    EXPECT_EQ(access.check(with_key(key), 1).principal.name, "ann");
}

class KeyFile : public ::testing::Test {
 protected:
  std::vector<KeyRule> read(const std::string& text) {
    std::ofstream(path_) << text;
    return read_key_file(path_);
  }
  void TearDown() override { std::remove(path_.c_str()); }

  std::string path_ = ::testing::TempDir() + "weft_keys_" + std::to_string(getpid());
};

TEST_F(KeyFile, HasAKeyALine) {
  const auto rules = read(
      "# people\nann  secret 30 -1\n\nbob sha256:"
      "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b  # of \"secret\"\n");
  ASSERT_EQ(rules.size(), 2U);
  EXPECT_EQ(rules[0].name, "ann");
  EXPECT_EQ(rules[0].requests_per_minute, 30);
  EXPECT_EQ(rules[0].priority, -1);
  EXPECT_EQ(rules[0].hash, hash_key("secret"));
  EXPECT_EQ(rules[1].hash, rules[0].hash);
  EXPECT_EQ(rules[1].requests_per_minute, 0);
  EXPECT_FALSE(rules[0].is_admin || rules[1].is_admin);
}

TEST_F(KeyFile, TellsWhoIsAnOperator) {
  const auto rules = read("a admin\nb key admin\nc key 30 admin\nd key 30 -1 admin\n");
  ASSERT_EQ(rules.size(), 4U);
  EXPECT_FALSE(rules[0].is_admin);  // its key is that word
  EXPECT_EQ(rules[0].hash, hash_key("admin"));
  EXPECT_TRUE(rules[1].is_admin && rules[2].is_admin && rules[3].is_admin);
  EXPECT_EQ(rules[2].requests_per_minute, 30);
  EXPECT_EQ(rules[3].priority, -1);
}

// The rest of such a key was dropped without a word, and with it the rate behind it.
TEST_F(KeyFile, AKeyMayHoldWhatBeginsComments) {
  const auto rules = read("ann S3cret#Xy9# 2 5 # comment\nbob a#\t#7\n \t# x\n#y z\n");
  ASSERT_EQ(rules.size(), 2U);
  EXPECT_EQ(rules[0].hash, hash_key("S3cret#Xy9#"));
  EXPECT_EQ(rules[0].requests_per_minute, 2);
  EXPECT_EQ(rules[0].priority, 5);
  EXPECT_EQ(rules[1].hash, hash_key("a#"));
}

TEST_F(KeyFile, RefusesInWordsThatHoldNoKey) {
  for (const char* text : {"ann\n", "ann s3cret -1\n", "ann s3cret 1 x\n", "ann s3cret 1 2 3\n",
                           "ann s3cret admin 1\n", "a\"n s3cret\n", "ann sha256:s3cret\n", "\n#\n",
                           "ann s3cret nan\n"}) {
    try {
      read(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_THAT(error.what(), Not(HasSubstr("s3cret"))) << text;
    }
  }
  EXPECT_THROW(read_key_file("/nonexistent/keys"), Error);
}

TEST(HostCheck, TakesNamesOfThisMachineOnly) {
  const auto check = [](const char* host, std::vector<std::string> allowed = {}) {
    return check_host(asking("GET", "/", {{"host", host}}), allowed);
  };
  for (const char* host : {"localhost", "LOCALHOST:8000", "127.0.0.1", "127.1.2.3:80", "[::1]:8000",
                           "a.localhost", "localhost."})
    EXPECT_THAT(check(host), IsEmpty()) << host;
  for (const char* host :
       {"example.com", "localhost.example.com", "127.0.0.1.example.com", "0.0.0.0", "10.0.0.1",
        "[::2]", "[::1", "localhost:80:80", "127.0.0.256", "128.0.0.1", "127.0.0.1@evil"})
    EXPECT_THAT(check(host), Not(IsEmpty())) << host;
  EXPECT_THAT(check("llm.example.com:443", {"llm.example.com"}), IsEmpty());
  EXPECT_THAT(check("other.example.com", {"llm.example.com"}), Not(IsEmpty()));
}

TEST(HostCheck, AnswersNoPagesOfOtherSites) {
  const auto check = [](const char* origin, std::vector<std::string> allowed = {}) {
    return check_host(asking("POST", "/", {{"host", "localhost:8000"}, {"origin", origin}}),
                      allowed);
  };
  EXPECT_THAT(check("http://localhost:8000"), IsEmpty());
  EXPECT_THAT(check("http://127.0.0.1:3000"), IsEmpty());
  for (const char* origin : {"https://evil.example", "null", "https://a:b:c"}) {
    EXPECT_THAT(check(origin), HasSubstr("--allowed-hosts"));
    EXPECT_THAT(check(origin, {"llm.example.com", "a:b:c"}), Not(IsEmpty())) << origin;
    EXPECT_THAT(check(origin, {"*"}), IsEmpty()) << origin;
  }
  // A page behind a proxy that has a name of its own.
  EXPECT_THAT(check("https://llm.example.com", {"llm.example.com"}), IsEmpty());
}

}  // namespace
}  // namespace weft::serve
