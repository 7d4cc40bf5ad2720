// What Prometheus reads, with an engine without a model behind it.
#include "serve/metrics.h"

#include <gmock/gmock.h>

#include <fstream>
#include <future>
#include <regex>
#include <set>
#include <sstream>

#include "engine/fake_engine.h"
#include "fleet/collected.h"
#include "fleet/local_engine.h"
#include "serve/metered_client.h"

namespace weft::serve {
namespace {

using testing::HasSubstr;
using testing::Not;

class MetricsTest : public testing::Test {
 protected:
  void SetUp() override {
    state_.stats.num_blocks = 100;
    state_.stats.num_free_blocks = 50;
    state_.stats.num_idle_blocks = 25;
    state_.stats.num_preemptions = 3;
    state_.stats.prompt_tokens = 9;
    state_.stats.looked_up_prompt_tokens = 7;
    state_.stats.cached_prompt_tokens = 5;
    state_.stats.steps_by_tokens = {4, 0, 1};
    state_.stats.step_tokens = 8;
    state_.report.stages.resize(1);
    state_.report.stages[0].window_s = state_.report.window_s = 2;
    state_.report.stages[0].busy_s = 1;
    engine_ = fleet::LocalEngine::start({"tiny", "fp_0", {}}, [this](const engine::EngineOptions&) {
      return std::make_unique<engine::FakeEngine>(state_);
    });
    client_ = std::make_unique<MeteredClient>(engine_, metrics_);
  }
  fleet::Generate ask(const std::string& prompt) const {
    fleet::Generate request;
    request.prompt_ids = engine::FakeTokenizer().encode(prompt, false, false);
    request.sampling.max_tokens = 100;
    return request;
  }
  std::string text() const { return metrics_->text(engine_->card(), engine_->status()); }

  engine::FakeState state_;
  std::shared_ptr<Metrics> metrics_ = std::make_shared<Metrics>("a \"model\"");
  std::shared_ptr<fleet::LocalEngine> engine_;
  std::unique_ptr<MeteredClient> client_;
};

constexpr const char* kLabels = "{model_name=\"a \\\"model\\\"\",engine=\"0\"";

std::string line(const std::string& name, const std::string& more, const std::string& value) {
  return "\n" + name + kLabels + more + "} " + value + "\n";
}

TEST_F(MetricsTest, TellsWhatTheEngineDoesUnderBothNames) {
  const std::string all = text();
  for (const std::string prefix : {"weft_", "vllm:"}) {
    EXPECT_THAT(all, HasSubstr(line(prefix + "num_requests_waiting", "", "0")));
    EXPECT_THAT(all, HasSubstr(line(prefix + "kv_cache_usage_perc", "", "0.25")));
    EXPECT_THAT(all, HasSubstr(line(prefix + "num_preemptions_total", "", "3")));
    EXPECT_THAT(all, HasSubstr(line(prefix + "prompt_tokens_total", "", "9")));
    EXPECT_THAT(all, HasSubstr(line(prefix + "prefix_cache_queries_total", "", "7")));
    EXPECT_THAT(all, HasSubstr(line(prefix + "prefix_cache_hits_total", "", "5")));
    EXPECT_THAT(all, HasSubstr("# TYPE " + prefix + "iteration_tokens_total histogram\n"));
    EXPECT_THAT(all, HasSubstr(line(prefix + "iteration_tokens_total_bucket", ",le=\"1\"", "4")));
    EXPECT_THAT(all, HasSubstr(line(prefix + "iteration_tokens_total_bucket", ",le=\"4\"", "5")));
    EXPECT_THAT(all, HasSubstr(line(prefix + "iteration_tokens_total_sum", "", "8")));
  }
  EXPECT_THAT(all, HasSubstr("num_gpu_blocks=\"617\""));
  EXPECT_THAT(all, HasSubstr(line("weft_engine_alive", "", "1")));
  EXPECT_THAT(all, HasSubstr(line("weft_stage_time_ratio", ",stage=\"0\",part=\"busy\"", "0.5")));
}

TEST_F(MetricsTest, MeasuresRequestsAsTheirEventsPass) {
  fleet::Collected answer, cancelled;
  fleet::Generate request = ask("prompt");
  request.sampling.n = 2;
  client_->generate(std::move(request), answer.on_event());
  ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_EQ(answer.text(1), "Tokyo.");  // passed on as they are
  client_->pause();
  client_->cancel(client_->generate(ask("never"), cancelled.on_event()));
  ASSERT_TRUE(cancelled.wait_until_ended());
  const std::string all = text();
  EXPECT_THAT(all, HasSubstr(line("vllm:time_to_first_token_seconds_count", "", "1")));
  EXPECT_THAT(all, HasSubstr(line("vllm:inter_token_latency_seconds_count", "", "10")));
  EXPECT_THAT(all, HasSubstr(line("vllm:e2e_request_latency_seconds_count", "", "2")));
  EXPECT_THAT(all, HasSubstr(line("vllm:request_decode_time_seconds_count", "", "1")));
  EXPECT_THAT(all, HasSubstr(line("vllm:request_prompt_tokens_sum", "", "11")));
  EXPECT_THAT(all, HasSubstr(line("vllm:request_generation_tokens_sum", "", "12")));
  EXPECT_THAT(all, HasSubstr(line("vllm:request_max_num_generation_tokens_sum", "", "6")));
  EXPECT_THAT(all, HasSubstr(line("vllm:request_success_total", ",finished_reason=\"stop\"", "2")));
  EXPECT_THAT(all,
              HasSubstr(line("vllm:request_success_total", ",finished_reason=\"abort\"", "1")));
}

TEST_F(MetricsTest, CountsHttpByRouteNotByWhatClientsMakeUp) {
  AnsweredRequest answered;
  answered.method = "POST";
  answered.path = "/v1/completions";
  answered.pattern = "/v1/completions";
  answered.status = 200;
  metrics_->count_answered(answered);
  metrics_->count_answered(answered);
  answered.method = "BREW";
  answered.path = "/secret";
  answered.pattern = {};
  answered.status = 404;
  metrics_->count_answered(answered);
  const std::string all = text();
  EXPECT_THAT(all, HasSubstr("\nhttp_requests_total{handler=\"/v1/completions\",method=\"POST\","
                             "status=\"200\"} 2\n"));
  EXPECT_THAT(all, HasSubstr("\nweft_http_requests_total{handler=\"none\",method=\"other\","
                             "status=\"404\"} 1\n"));
  EXPECT_THAT(all, Not(HasSubstr("secret")));
}

// Every figure that the dashboard draws is one that the server gives.
TEST_F(MetricsTest, TheDashboardAsksForWhatThereIs) {
  std::ifstream file(WEFT_SOURCE_DIR "/docs/grafana/weft.json");
  std::stringstream dashboard;
  dashboard << file.rdbuf();
  const std::string asked = dashboard.str(), given = text();
  const std::regex name("weft_[a-z0-9_]+");
  std::set<std::string> names;
  for (std::sregex_iterator it(asked.begin(), asked.end(), name), end; it != end; ++it)
    names.insert(it->str());
  EXPECT_GT(names.size(), 15u);
  for (const std::string& metric : names) {
    if (metric == "weft_http_requests_total") continue;  // there once something was answered
    EXPECT_THAT(given, HasSubstr("\n" + metric + "{"));
  }
}

TEST(Histogram, CountsWhatIsAtMostABound) {
  static constexpr double kBounds[] = {1, 2, 5};
  Histogram histogram(kBounds);
  for (const double value : {0.5, 1.0, 1.5, 5.0, 7.0}) histogram.observe(value);
  const Histogram::Snapshot snapshot = histogram.snapshot();
  EXPECT_EQ(snapshot.counts, (std::vector<uint64_t>{2, 1, 1, 1}));
  EXPECT_DOUBLE_EQ(snapshot.sum, 15);
}

}  // namespace
}  // namespace weft::serve
