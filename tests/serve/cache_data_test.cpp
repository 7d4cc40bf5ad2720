#include "serve/cache_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "serve/scripted_client.h"
#include "serve/waiting_exchange.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kSalt = 0x1234567890abcdef;

// A beginning of ann's with a branch, one of bob's, one whose owner was forgotten.
fleet::PrefixSnapshot a_tree() {
  fleet::PrefixSnapshot tree;
  tree.made_ns = 8'000'000;
  cache::PrefixOutline& outline = tree.outline;
  outline.enabled = true;
  outline.num_published = 33;
  outline.num_unpublished = 2;
  outline.num_blocks_not_seen = 3;
  outline.not_told = {2, 4, 60, 1};
  outline.runs.resize(4);
  outline.runs[0] = {.block = 5,
                     .salt = kSalt,
                     .num_blocks = 10,
                     .num_tokens = 160,
                     .num_sequences = 2,
                     .not_told = {1, 3, 40, 0}};
  outline.runs[1] = {.block = 20,
                     .parent = 0,
                     .salt = kSalt,
                     .num_blocks = 6,
                     .num_tokens = 90,
                     .num_sequences = 1,
                     .is_new = true};
  outline.runs[2] = {.block = 9, .num_blocks = 5, .num_tokens = 80, .idle_since = 6'000'000};
  outline.runs[3] = {.block = 3, .num_blocks = 2, .num_tokens = 32, .idle_since = 5'000'000};
  tree.run_principals = {"ann", "ann", "bob", ""};
  outline.shares = {{kSalt, {3, 19, 290, 16}}, {2, {1, 5, 80, 0}}, {3, {1, 2, 32, 0}}};
  tree.share_principals = {"ann", "bob", ""};
  outline.other_shares = {2, 4, 60, 1};
  return tree;
}

json told(std::string_view viewer) {
  return json::parse(cache_json(a_tree(), 16, viewer, 9'000'000));
}

TEST(CacheData, TellsRunsInNumbers) {
  const json cache = told("ann");
  EXPECT_EQ(cache["now_us"], 9000);
  EXPECT_EQ(cache["made_us"], 8000);
  EXPECT_EQ(cache["enabled"], true);
  EXPECT_EQ(cache["block_size"], 16);
  EXPECT_EQ(cache["unpublished"], 2);
  const json& runs = cache["runs"];
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_EQ(runs[0], json::parse(R"({"block": 5, "parent": -1, "blocks": 10, "tokens": 160,
      "sequences": 2, "new": false, "idle_since_us": 0, "mine": true,
      "more": {"runs": 1, "blocks": 3, "tokens": 40, "used": 0}})"));
  EXPECT_EQ(runs[1]["parent"], 0);
  EXPECT_EQ(runs[1]["new"], true);
  EXPECT_EQ(runs[2]["idle_since_us"], 6000);
}

TEST(CacheData, AllBlocksAreTold) {
  const json cache = told("ann");
  int64_t of_runs = cache["more"]["blocks"].get<int64_t>() + cache["not_seen"].get<int64_t>();
  for (const json& run : cache["runs"])
    of_runs += run["blocks"].get<int64_t>() + run["more"]["blocks"].get<int64_t>();
  EXPECT_EQ(of_runs, cache["published"]);
  int64_t of_owners = cache["not_seen"].get<int64_t>();
  for (const char* owner : {"mine", "others", "unknown"})
    of_owners += cache["owners"][owner]["blocks"].get<int64_t>();
  EXPECT_EQ(of_owners, cache["published"]);
}

TEST(CacheData, NamesTheViewerAlone) {
  const json cache = told("ann");
  EXPECT_EQ(cache["owners"]["principal"], "ann");
  EXPECT_EQ(cache["owners"]["mine"]["blocks"], 19);
  EXPECT_EQ(cache["owners"]["mine"]["used"], 16);
  EXPECT_EQ(cache["owners"]["others"]["blocks"], 5);
  EXPECT_EQ(cache["owners"]["unknown"]["blocks"], 6);
  EXPECT_EQ(cache["runs"][2]["mine"], false);
  EXPECT_EQ(cache["runs"][3]["mine"], false);
  EXPECT_EQ(told("bob")["runs"][2]["mine"], true);
  EXPECT_EQ(told("carl")["owners"]["others"]["blocks"], 24);
  // Whoever has no name owns nothing that nobody is known to own.
  EXPECT_EQ(told("")["owners"]["mine"]["blocks"], 0);
  EXPECT_EQ(told("")["runs"][3]["mine"], false);
  const std::string text = cache_json(a_tree(), 16, "bob", 0);
  EXPECT_THAT(text, Not(HasSubstr("ann")));
  EXPECT_THAT(text, Not(HasSubstr(std::to_string(kSalt))));  // made of a key
}

TEST(CacheRoute, AnswersWithTheTree) {
  const auto client = std::make_shared<ScriptedClient>();
  client->prefixes_ = std::make_shared<const fleet::PrefixSnapshot>(a_tree());
  HttpRequest request;
  request.principal.name = "bob";
  const auto exchange = std::make_shared<WaitingExchange>(std::move(request));
  const auto pool = std::make_shared<TaskPool>(1, 4);
  cache_route([client] { return client; }, pool)(exchange);
  ASSERT_TRUE(exchange->wait());
  EXPECT_EQ(exchange->status, 200);
  EXPECT_EQ(exchange->headers, HttpHeaders({{"Cache-Control", "no-store"}}));
  const json cache = json::parse(exchange->body);
  EXPECT_EQ(cache["published"], 33);
  EXPECT_EQ(cache["block_size"], 16);
  EXPECT_EQ(cache["owners"]["principal"], "bob");
}

// Whoever tells it may be the thread that steps.
TEST(CacheRoute, TheThreadThatTellsItWritesNoJson) {
  struct Exchanged : WaitingExchange {
    using WaitingExchange::WaitingExchange;
    void respond(int code, std::string type, std::string text, HttpHeaders extra) override {
      by = std::this_thread::get_id();
      WaitingExchange::respond(code, std::move(type), std::move(text), std::move(extra));
    }
    std::thread::id by;
  };
  const auto client = std::make_shared<ScriptedClient>();
  client->prefixes_ = std::make_shared<const fleet::PrefixSnapshot>(a_tree());
  const auto exchange = std::make_shared<Exchanged>(HttpRequest{});
  const auto pool = std::make_shared<TaskPool>(1, 4);
  cache_route([client] { return client; }, pool)(exchange);
  ASSERT_TRUE(exchange->wait());
  EXPECT_EQ(exchange->status, 200);
  EXPECT_NE(exchange->by, std::this_thread::get_id());
}

TEST(CacheRoute, WhoFindsTheThreadBusyIsToldSo) {
  const auto client = std::make_shared<ScriptedClient>();
  client->prefixes_ = std::make_shared<const fleet::PrefixSnapshot>(a_tree());
  const auto exchange = std::make_shared<WaitingExchange>(HttpRequest{});
  const auto full = std::make_shared<TaskPool>(/*num_threads=*/1, /*most_waiting=*/0);
  cache_route([client] { return client; }, full)(exchange);
  ASSERT_TRUE(exchange->wait());
  EXPECT_EQ(exchange->status, 503);
  EXPECT_THAT(exchange->body, HasSubstr("else is being told"));
}

TEST(CacheRoute, SaysThatThereIsNoEngine) {
  class Lost : public ScriptedClient {
    void prefixes(fleet::OnPrefixes) override {
      throw Error(ErrorKind::kCommunication, "the engine is lost");
    }
  };
  const auto ended = std::make_shared<ScriptedClient>();
  const auto lost = std::make_shared<Lost>();
  for (const EngineOf& engine :
       {EngineOf([] { return nullptr; }), EngineOf([ended] { return ended; }),
        EngineOf([lost] { return lost; })}) {
    const auto exchange = std::make_shared<WaitingExchange>(HttpRequest{});
    const auto pool = std::make_shared<TaskPool>(1, 4);
    cache_route(engine, pool)(exchange);
    ASSERT_TRUE(exchange->wait());
    EXPECT_EQ(exchange->status, 503);
  }
}

}  // namespace
}  // namespace weft::serve
