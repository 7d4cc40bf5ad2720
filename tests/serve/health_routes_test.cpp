#include "serve/health_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "serve/recorded_exchange.h"

namespace weft::serve {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kNow = 10'000 * kSecond;
constexpr int64_t kLimit = 30 * kSecond;

bool is_ready(const fleet::Status& status, bool draining = false) {
  return judge_health(status, draining, kNow, kLimit).ready;
}

TEST(Health, AnIdleEngineIsReadyHoweverLongAgoItsLastStepWas) {
  fleet::Status status;
  status.started_ns = kSecond;
  EXPECT_TRUE(is_ready(status));
  status.last_step_ns = 5 * kSecond;
  EXPECT_TRUE(is_ready(status));
}

TEST(Health, AnIdleEngineThatProbesOwesAStep) {
  fleet::Status status;
  status.started_ns = kSecond;
  status.probe_ns = kLimit / 3;
  EXPECT_FALSE(is_ready(status));
  status.last_step_ns = kNow - kLimit + 1;
  EXPECT_TRUE(is_ready(status));
}

TEST(Health, ALostOrPausedEngineAndADrainingServerAreNot) {
  fleet::Status lost, paused;
  lost.alive = false;
  paused.paused = true;
  EXPECT_FALSE(is_ready(lost));
  EXPECT_FALSE(is_ready(paused));
  EXPECT_FALSE(is_ready({}, true));
}

TEST(Health, AStepThatDoesNotEndIsNot) {
  fleet::Status status;
  status.in_step_since_ns = kNow - kLimit + 1;
  EXPECT_TRUE(is_ready(status));
  status.in_step_since_ns = kNow - kLimit - 1;
  EXPECT_FALSE(is_ready(status));
}

TEST(Health, WorkWithoutStepsIsNot) {
  fleet::Status status;
  status.started_ns = kSecond;
  status.last_step_ns = kNow - kLimit - 1;
  status.stats.num_waiting = 1;
  status.requests.resize(1);
  status.requests[0].arrived_ns = kNow - kSecond;  // and before it there was none
  EXPECT_TRUE(is_ready(status));
  status.requests[0].arrived_ns = kNow - kLimit - 1;
  EXPECT_FALSE(is_ready(status));
  status.last_step_ns = kNow - kSecond;
  EXPECT_TRUE(is_ready(status));
}

class HealthRoutes : public ::testing::Test {
 protected:
  HealthRoutes() {
    add_health_routes(&router_, {[this] { return status_; }, [this] { return draining_; },
                                 &admission_, "1.2.3", kLimit});
  }
  std::shared_ptr<RecordedExchange> get(const std::string& path) {
    HttpRequest request;
    request.method = "GET";
    request.path = path;
    auto exchange = std::make_shared<RecordedExchange>(request);
    (*router_.find("GET", path).route)(exchange);
    return exchange;
  }

  Router router_;
  fleet::Status status_;
  bool draining_ = false;
  Admission admission_{{}};
};

TEST_F(HealthRoutes, WhileTheServerDrainsItIsLiveAndNotReady) {
  for (const char* path : {"/live", "/ready", "/health", "/ping"})
    EXPECT_EQ(get(path)->status, 200) << path;
  draining_ = true;
  EXPECT_EQ(get("/live")->status, 200);
  for (const char* path : {"/ready", "/health", "/ping"}) EXPECT_EQ(get(path)->status, 503) << path;
}

TEST_F(HealthRoutes, TellVersionAndLoad) {
  EXPECT_EQ(get("/version")->body, R"({"version":"1.2.3"})");
  status_.stats.num_running = 3;
  status_.stats.num_waiting = 2;
  Admission::Refusal refusal;
  const auto ticket = admission_.enter(7, &refusal);
  const auto load = nlohmann::json::parse(get("/load")->body);
  EXPECT_EQ(load["running"], 3);
  EXPECT_EQ(load["waiting"], 2);
  EXPECT_EQ(load["server_load"], 7);
}

}  // namespace
}  // namespace weft::serve
