#include "serve/timeline_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "serve/recorded_exchange.h"
#include "serve/recorded_trace.h"
#include "serve/scripted_client.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr int64_t kSecond = 1'000'000'000;

fleet::ModelCard two_stages() {
  fleet::ModelCard card;
  for (int rank = 0; rank < 2; ++rank) {
    engine::RankShare share;
    share.rank = share.stage = rank;
    share.layers = {15 * rank, 15 * rank + 15};
    card.split.ranks.push_back(share);
  }
  return card;
}

// Asked for when the trace ends.
json told(const engine::PipelineTrace& trace, const TimelineQuery& query = {}) {
  const int64_t end_ns = trace.workers[0].activity.end_ns;
  const Timeline timeline = timeline_of(trace, end_ns);
  const TimelineSummary summary = summarize(timeline.trace, timeline.segments, query.window_ns);
  return json::parse(timeline_json(two_stages(), timeline, summary, query, end_ns));
}

TEST(PageTimeline, TellsSegmentsStepsAndTheBubble) {
  const json timeline = told(one_at_a_time(10, 4'000'000));
  ASSERT_EQ(timeline["workers"].size(), 2u);
  EXPECT_EQ(timeline["workers"][1]["layers"], json({15, 30}));
  EXPECT_EQ(timeline["workers"][0]["segments"][0], json({1'000'000, 4'000, "work", 0, 0}));
  EXPECT_EQ(timeline["workers"][0]["segments"][1][2], "idle");
  EXPECT_EQ(timeline["workers"][0]["segments"][1][3], -1);
  ASSERT_EQ(timeline["steps"].size(), 10u);
  EXPECT_EQ(timeline["steps"][3][0], 3);
  EXPECT_NEAR(timeline["summary"]["rows"][1]["measured"], 0.5, 0.03);
  EXPECT_NEAR(timeline["summary"]["rows"][1]["predicted"], 0.5, 0.03);
}

TEST(PageTimeline, TellsOnlyWhatIsNew) {
  const engine::PipelineTrace trace = one_at_a_time(10, 4'000'000);
  const json timeline = told(trace, {trace.steps[8].submitted_ns + 1'000'000});
  // The segment under way at that moment is told again, from its beginning.
  EXPECT_EQ(timeline["workers"][0]["segments"][0][3], 8);
  EXPECT_EQ(timeline["workers"][0]["segments"][0][0], trace.steps[8].submitted_ns / 1000);
  EXPECT_EQ(timeline["steps"].size(), 1u);
  EXPECT_NEAR(timeline["summary"]["rows"][0]["measured"], 0.5, 0.03);
}

TEST(PageTimeline, ALongTraceIsCutAtItsOldEnd) {
  const json timeline = told(one_at_a_time(30'000, 4'000'000));
  const json& segments = timeline["workers"][1]["segments"];
  EXPECT_EQ(segments.size(), 10'000u);
  EXPECT_EQ(segments.back()[2], "rest");
  EXPECT_EQ(segments[segments.size() - 2][3], 29'999);
}

// Of a trace of 20 seconds.
TEST(PageTimeline, StepsGoBackAsFarAsTheWindowAndTenSecondsAtLeast) {
  const engine::PipelineTrace trace = one_at_a_time(2'000, 5'000'000);
  EXPECT_NEAR(told(trace)["steps"].size(), 1'000, 2);
  EXPECT_NEAR(told(trace, {0, 1 * kSecond})["steps"].size(), 1'000, 2);
  EXPECT_NEAR(told(trace, {0, 15 * kSecond})["steps"].size(), 1'500, 2);
  EXPECT_EQ(told(trace, {0, 60 * kSecond})["steps"].size(), 2'000u);
  EXPECT_EQ(told(trace, {0, 60 * kSecond})["begin_us"], trace.begin_ns / 1000);
  EXPECT_NEAR(told(trace, {0, 1 * kSecond})["summary"]["steps"], 100, 3);
}

TEST(TimelineQuery, ReadsItsFieldsAndRefusesWhatIsNoNumber) {
  const TimelineQuery query = parse_timeline_query("since_us=12&window_s=5&other=x");
  EXPECT_EQ(query.since_ns, 12'000);
  EXPECT_EQ(query.window_ns, 5'000'000'000);
  EXPECT_EQ(parse_timeline_query("").since_ns, 0);
  for (const char* wrong :
       {"since_us=", "since_us=-1", "since_us=1x", "since_us=9223372036854775807", "window_s=61",
        "window_s", "since_us=99999999999999999999"})
    EXPECT_THROW(parse_timeline_query(wrong), Error) << wrong;
}

// Counts looks at the engine, each of which takes a while.
struct TracedClient : ScriptedClient {
  TracedClient() {
    card_ = two_stages();
    trace_ = one_at_a_time(10, 4'000'000);
  }
  engine::PipelineTrace trace(int64_t window_ns) const override {
    ++num_traces;
    std::this_thread::sleep_for(std::chrono::milliseconds(takes_ms));
    return ScriptedClient::trace(window_ns);
  }
  int takes_ms = 0;
  mutable std::atomic<int> num_traces{0};
};

TEST(TimelineWatch, WhoeverAsksWithinAMomentGetsTheSameOne) {
  TracedClient client;
  client.takes_ms = 50;  // so that it stays young for ten times as long
  TimelineWatch watch;
  const int64_t begin_ns = now_ns();
  const std::string first = watch.json(client, {});
  watch.json(client, {1'000'000'000});
  const json short_window = json::parse(watch.json(client, {0, 0}));
  const json again = json::parse(watch.json(client, {}));
  if (now_ns() - begin_ns < TimelineWatch::kShare * 50'000'000) {
    EXPECT_EQ(client.num_traces, 1);
  }
  EXPECT_EQ(client.traced_ns_, 10 * kSecond);
  // Each has the summary of his own window.
  EXPECT_EQ(short_window["summary"]["steps"], 0);
  EXPECT_EQ(again["summary"], json::parse(first)["summary"]);
  EXPECT_GT(again["summary"]["steps"], 0);
}

// The other way round would be a new one for everybody who asks for another window.
TEST(TimelineWatch, OneOfALongerWindowServesShorterOnes) {
  TracedClient client;
  client.takes_ms = 50;
  TimelineWatch watch;
  watch.json(client, {});
  watch.json(client, {0, 60 * kSecond});
  EXPECT_EQ(client.traced_ns_, 60 * kSecond);
  const int64_t begin_ns = now_ns();
  watch.json(client, {});
  watch.json(client, {0, 30 * kSecond});
  if (now_ns() - begin_ns < TimelineWatch::kShare * 40'000'000) {
    EXPECT_EQ(client.num_traces, 2);
  }
}

TEST(TimelineWatch, AnOldOneIsMadeAnew) {
  TracedClient client;
  TimelineWatch watch;
  watch.json(client, {});
  const int64_t end_ns = now_ns() + 20 * kSecond;
  while (client.num_traces == 1 && now_ns() < end_ns) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    watch.json(client, {});
  }
  EXPECT_EQ(client.num_traces, 2);
}

std::shared_ptr<RecordedExchange> ask(const Route& route, const std::string& query) {
  HttpRequest request;
  request.query = query;
  const auto exchange = std::make_shared<RecordedExchange>(std::move(request));
  route(exchange);
  return exchange;
}

TEST(TimelineRoute, AllWhoAskShareOne) {
  const auto client = std::make_shared<TracedClient>();
  client->takes_ms = 200;  // so that it is young for two seconds
  const Route route = timeline_route([client] { return client; });
  const int64_t begin_ns = now_ns();
  for (int i = 0; i < 5; ++i) {
    const auto exchange = ask(route, "since_us=1");
    EXPECT_EQ(exchange->status, 200);
    EXPECT_EQ(exchange->header("Cache-Control"), "no-store");
    EXPECT_EQ(json::parse(exchange->body)["workers"].size(), 2u);
  }
  if (now_ns() - begin_ns < 2 * kSecond) {
    EXPECT_EQ(client->num_traces, 1);
  }
}

TEST(TimelineRoute, SaysWhyThereIsNone) {
  const auto loading = ask(timeline_route([] { return nullptr; }), "");
  EXPECT_EQ(loading->status, 503);
  EXPECT_THAT(loading->body, HasSubstr("loaded"));
  const auto client = std::make_shared<TracedClient>();
  const auto wrong = ask(timeline_route([client] { return client; }), "window_s=61");
  EXPECT_EQ(wrong->status, 400);
  EXPECT_THAT(wrong->body, HasSubstr("window_s must be"));
  EXPECT_EQ(client->num_traces, 0);
}

}  // namespace
}  // namespace weft::serve
