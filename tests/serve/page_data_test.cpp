#include "serve/page_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "serve/recorded_exchange.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

fleet::ModelCard a_card() {
  fleet::ModelCard card;
  card.name = "smollm2";
  card.fingerprint = "fp_1";
  card.report.path = "/secret/folder/model.gguf";
  card.report.architecture = "llama";
  card.split.topology = "pp 2";
  card.split.draft_model = "/secret/folder/draft.gguf";
  card.split.draft_ranks.resize(1);
  for (int rank = 0; rank < 2; ++rank) {
    engine::RankShare share;
    share.rank = share.stage = rank;
    share.layers = {15 * rank, 15 * rank + 15};
    share.weight_bytes = 1000;
    card.split.ranks.push_back(share);
  }
  card.block_size = 16;
  return card;
}

fleet::Status a_status() {
  fleet::Status status;
  status.stats.num_blocks = 100;
  status.stats.num_free_blocks = 60;
  status.stats.num_idle_blocks = 30;
  status.stats.num_waiting = status.stats.num_running = 1;
  status.requests = {{.number = 3,
                      .principal = "alice",
                      .running = true,
                      .num_prompt_tokens = 12,
                      .arrived_ns = 5'000'000},
                     {.number = 4, .principal = "bob", .arrived_ns = 6'000'000}};
  engine::StageTime stage;
  stage.ranks = {0, 2};
  stage.busy_s = 0.6;
  stage.collectives_s = 0.1;
  stage.nothing_s = 0.3;
  stage.window_s = 1.0;
  status.pipeline.stages = {stage};
  return status;
}

json state_of(const fleet::Status& status, std::string_view viewer = "alice") {
  return json::parse(state_json(a_card(), status, viewer, 9'000'000));
}

TEST(PageState, TellsSplitTimesAndCache) {
  const json state = state_of(a_status());
  EXPECT_EQ(state["now_us"], 9000);
  EXPECT_EQ(state["model"]["name"], "smollm2");
  EXPECT_EQ(state["split"]["ranks"][1]["layers"], json({15, 30}));
  EXPECT_EQ(state["cache"]["used"], 10);
  EXPECT_EQ(state["cache"]["cached"], 30);
  EXPECT_EQ(state["cache"]["free"], 60);
  EXPECT_EQ(state["cache"]["window"], nullptr);
  EXPECT_NEAR(state["pipeline"]["stages"][0]["bubble"], 0.3, 1e-9);
  EXPECT_EQ(state["engine"]["failure"], nullptr);
}

TEST(PageState, ListsRequestsAndNamesTheViewersAlone) {
  const std::string text = state_json(a_card(), a_status(), "alice", 9'000'000);
  const json requests = json::parse(text)["queue"]["requests"];
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0]["mine"], true);
  EXPECT_EQ(requests[0]["principal"], "alice");
  EXPECT_EQ(requests[0]["arrived_us"], 5000);
  EXPECT_EQ(requests[1]["mine"], false);
  EXPECT_EQ(requests[1]["principal"], nullptr);
  EXPECT_THAT(text, Not(HasSubstr("bob")));
}

TEST(PageState, TellsNoPaths) {
  EXPECT_THAT(state_json(a_card(), a_status(), "alice", 0), Not(HasSubstr("secret")));
}

TEST(PageState, SaysWhyTheEngineStopped) {
  fleet::Status status = a_status();
  status.alive = false;
  status.failure = Error(ErrorKind::kCommunication, "rank 1 was lost", "it did not answer in 60 s",
                         "start the server again");
  const json engine = state_of(status)["engine"];
  EXPECT_EQ(engine["alive"], false);
  EXPECT_EQ(engine["failure"]["what"], "rank 1 was lost");
  EXPECT_EQ(engine["failure"]["mend"], "start the server again");
}

TEST(PageState, NamesThatAreNoUtf8AreStillJson) {
  fleet::ModelCard card = a_card();
  card.name = "a\xff";
  EXPECT_EQ(json::parse(state_json(card, {}, "", 0))["model"]["name"], "a\ufffd");
}

TEST(PageRoutes, SayThatTheModelIsBeingLoaded) {
  const auto exchange = std::make_shared<RecordedExchange>(HttpRequest{});
  state_route([] { return nullptr; })(exchange);
  EXPECT_EQ(exchange->status, 503);
  EXPECT_THAT(json::parse(exchange->body)["error"]["message"], HasSubstr("loaded"));
}

}  // namespace
}  // namespace weft::serve
