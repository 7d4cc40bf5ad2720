#include "cli/serving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_engine.h"
#include "cli/machine_report.h"
#include "cli/serving_figures.h"
#include "cli/workload.h"

namespace weft::cli {
namespace {

using ::testing::ElementsAre;

class ServingTest : public testing::Test {
 protected:
  // Requests of one prompt token whose answers have these lengths.
  ServingRun run(const std::vector<int64_t>& lengths, ServingOptions options) {
    std::vector<engine::Request> requests;
    for (const int64_t length : lengths) requests.push_back(bench_request({'x', 'y'}, length, 0));
    return serve(engine_, requests, options);
  }
  std::vector<int64_t> submitted_lengths() const {
    std::vector<int64_t> lengths;
    for (const engine::Request& request : state_.submitted)
      lengths.push_back(request.sampling.max_tokens);
    return lengths;
  }
  static std::vector<size_t> tokens_of(const ServingRun& run) {
    std::vector<size_t> counts;
    for (const Served& served : run.requests) counts.push_back(served.tokens_s.size());
    return counts;
  }

  FakeState state_;
  FakeEngine engine_{state_};
};

TEST_F(ServingTest, ContinuousBatchingAsksForAllAtOnce) {
  int64_t ended = 0;
  const ServingRun found =
      run({3, 1, 5, 2, 4, 2}, {.on_step = [&](int64_t count) { ended += count; }});
  EXPECT_EQ(state_.most_open, 6u);
  EXPECT_THAT(tokens_of(found), ElementsAre(3, 1, 5, 2, 4, 2));
  EXPECT_EQ(ended, 6);
  EXPECT_EQ(state_.stats.num_steps, 5);  // of four places each: 17 tokens
  for (const Served& served : found.requests) {
    EXPECT_EQ(served.prompt_tokens, 2);
    EXPECT_EQ(served.arrived_s, 0.0);
    EXPECT_TRUE(std::is_sorted(served.tokens_s.begin(), served.tokens_s.end()));
    EXPECT_LE(served.tokens_s.back(), served.ended_s);
    EXPECT_LE(served.ended_s, found.seconds);
  }
}

TEST_F(ServingTest, StaticBatchesAreComputedToTheirLongestAndCountTheirOwn) {
  const ServingRun found =
      run({3, 1, 5, 2, 4, 2}, {.batching = Batching::kStatic, .batch_size = 3});
  EXPECT_THAT(submitted_lengths(), ElementsAre(5, 5, 5, 4, 4, 4));
  EXPECT_EQ(state_.most_open, 3u);
  EXPECT_EQ(state_.stats.num_steps, 5 + 4);
  EXPECT_EQ(state_.stats.generated_tokens, 3 * 5 + 3 * 4);
  EXPECT_THAT(tokens_of(found), ElementsAre(3, 1, 5, 2, 4, 2));
  EXPECT_EQ(count_tokens(found.requests).output, 17);
}

TEST_F(ServingTest, StaticBatchesThatDropLetNobodyIn) {
  const ServingRun found =
      run({3, 1, 5, 2, 4, 2}, {.batching = Batching::kStaticDrop, .batch_size = 3});
  EXPECT_THAT(submitted_lengths(), ElementsAre(3, 1, 5, 2, 4, 2));
  EXPECT_EQ(state_.stats.num_steps, 5 + 4);
  EXPECT_EQ(state_.stats.generated_tokens, 17);
  EXPECT_THAT(tokens_of(found), ElementsAre(3, 1, 5, 2, 4, 2));
}

TEST_F(ServingTest, ConcurrencyIsALimit) {
  const ServingRun found = run({3, 3, 3}, {.max_concurrency = 1});
  EXPECT_EQ(state_.most_open, 1u);
  EXPECT_GE(found.requests[1].arrived_s, found.requests[0].ended_s);
}

TEST_F(ServingTest, AFailedRequestIsAnError) {
  state_.fails_in_a_step = "y";
  EXPECT_THROW(run({1, 2}, {}), Error);
}

TEST(ServingFigures, PercentilesAreNumpys) {
  EXPECT_EQ(percentile({}, 50), 0.0);
  EXPECT_EQ(percentile({7}, 99), 7.0);
  EXPECT_DOUBLE_EQ(percentile({4, 1, 3, 2}, 50), 2.5);
  EXPECT_DOUBLE_EQ(percentile({1, 2, 3, 4}, 90), 3.7);
  EXPECT_DOUBLE_EQ(percentile({1, 2, 3, 4}, 100), 4.0);
}

TEST(ServingFigures, DelaysAreCountedFromTheArrival) {
  Delays delays;
  delays.add({{.arrived_s = 1.0, .tokens_s = {1.5, 1.6, 1.9}, .ended_s = 2.0},
              {.arrived_s = 0.0, .tokens_s = {0.25}, .ended_s = 0.25}});
  EXPECT_THAT(delays.ttft_ms, ElementsAre(500.0, 250.0));
  ASSERT_EQ(delays.itl_ms.size(), 2u);
  EXPECT_NEAR(delays.itl_ms[1], 300.0, 1e-9);
  ASSERT_EQ(delays.tpot_ms.size(), 1u);
  EXPECT_NEAR(delays.tpot_ms[0], 200.0, 1e-9);
  EXPECT_THAT(delays.e2el_ms, ElementsAre(1000.0, 250.0));
  OrderedJson object;
  add_delays(delays, &object);
  EXPECT_EQ(object["mean_ttft_ms"], 375.0);
  EXPECT_EQ(object["median_ttft_ms"], 375.0);
  EXPECT_EQ(object["std_ttft_ms"], 125.0);
  EXPECT_TRUE(object.contains("p99_itl_ms"));
  EXPECT_TRUE(object.contains("mean_tpot_ms"));
}

TEST(ServingFigures, ThroughputHasTheNamesOfVllm) {
  const ServingRun run{{{.tokens_s = {1, 2}, .prompt_tokens = 10, .cached_tokens = 4},
                        {.tokens_s = {1}, .prompt_tokens = 5}},
                       2.0};
  const OrderedJson object = throughput_json(run);
  EXPECT_EQ(object["elapsed_time"], 2.0);
  EXPECT_EQ(object["num_requests"], 2);
  EXPECT_EQ(object["total_num_tokens"], 18);
  EXPECT_EQ(object["requests_per_second"], 1.0);
  EXPECT_EQ(object["tokens_per_second"], 9.0);
  EXPECT_EQ(object["output_tokens_per_second"], 1.5);
  EXPECT_EQ(object["cached_input_tokens"], 4);
}

TEST(MachineReport, CountsWhatIsMultiplied) {
  engine::ModelReport model;
  model.num_parameters = 1'000'000;
  model.vocab_size = 1000;
  model.hidden_size = 100;
  model.tied_embeddings = true;
  EXPECT_EQ(products_of(model).layer_parameters, 900'000);
  EXPECT_EQ(products_of(model).head_parameters, 100'000);
  model.tied_embeddings = false;
  EXPECT_EQ(products_of(model).layer_parameters, 800'000);
  EXPECT_DOUBLE_EQ(products_of(model).giga_operations(10, 2), 2e-9 * (8e6 + 2e5));
}

TEST(MachineReport, ThePeakIsThatOfMostWeights) {
  engine::ModelReport model;
  const Bounds bounds{10, 400, 200, 100};
  model.types = {{"F32", 10, 1000}, {"Q4_K", 5, 90'000}, {"BF16", 5, 50'000}};
  EXPECT_EQ(peak_of(model, bounds).name, "int8");
  EXPECT_EQ(peak_of(model, bounds).gops, 400);
  model.types[2].num_bytes = 100'000;
  EXPECT_EQ(peak_of(model, bounds).name, "bf16");
  EXPECT_EQ(peak_of(model, bounds).gops, 200);
}

}  // namespace
}  // namespace weft::cli
