#include "serve/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

Route nothing() {
  return [](const std::shared_ptr<Exchange>&) {};
}

Router some_routes() {
  Router router;
  router.add("GET", "/", nothing());
  router.add("GET", "/health", nothing());
  router.add("GET", "/v1/models", nothing());
  router.add("GET", "/v1/models/{id*}", nothing());
  router.add("POST", "/v1/responses", nothing());
  router.add("GET", "/v1/responses/{id}", nothing());
  router.add("DELETE", "/v1/responses/{id}", nothing());
  router.add("POST", "/v1/responses/{id}/cancel", nothing());
  router.add("GET", "/v1/responses/newest", nothing());
  return router;
}

TEST(Router, FindsByMethodAndPath) {
  const Router router = some_routes();
  EXPECT_NE(router.find("GET", "/").route, nullptr);
  EXPECT_NE(router.find("GET", "/health").route, nullptr);
  EXPECT_NE(router.find("POST", "/v1/responses").route, nullptr);
  EXPECT_EQ(router.find("GET", "/v1/models").pattern, "/v1/models");
}

TEST(Router, OtherPathsAreUnknown) {
  const Router router = some_routes();
  for (const char* path : {"", "/healthy", "/health/", "//", "/v1", "/v1/models/", "health",
                           "/v1/responses//cancel", "/v1/responses/a/b"}) {
    EXPECT_THAT(router.find("GET", path).pattern, IsEmpty()) << path;
    EXPECT_EQ(router.find("GET", path).route, nullptr) << path;
  }
}

TEST(Router, TakesPartsOfThePathByName) {
  const Router router = some_routes();
  EXPECT_THAT(router.find("GET", "/v1/responses/r1").path_params, ElementsAre(Pair("id", "r1")));
  EXPECT_THAT(router.find("POST", "/v1/responses/r 1/cancel").path_params,
              ElementsAre(Pair("id", "r 1")));
  EXPECT_THAT(router.find("GET", "/v1/models/user/a model/x").path_params,
              ElementsAre(Pair("id", "user/a model/x")));
}

TEST(Router, WordsWinOverNames) {
  const Router router = some_routes();
  EXPECT_EQ(router.find("GET", "/v1/responses/newest").pattern, "/v1/responses/newest");
  EXPECT_EQ(router.find("GET", "/v1/responses/newer").pattern, "/v1/responses/{id}");
}

TEST(Router, AnotherMethodIsToldWhatThePathKnows) {
  const Router router = some_routes();
  const Router::Found found = router.find("PUT", "/v1/responses/r1");
  EXPECT_EQ(found.route, nullptr);
  EXPECT_EQ(found.pattern, "/v1/responses/{id}");
  EXPECT_EQ(found.allow, "GET, HEAD, DELETE, OPTIONS");
}

TEST(Router, HeadIsAnsweredByGet) {
  const Router router = some_routes();
  EXPECT_NE(router.find("HEAD", "/health").route, nullptr);
  EXPECT_EQ(router.find("HEAD", "/v1/responses").route, nullptr);
}

}  // namespace
}  // namespace weft::serve
