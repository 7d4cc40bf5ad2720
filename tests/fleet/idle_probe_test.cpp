// What an engine does that is left alone (LocalEngineOptions::probe_ns).
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "engine/fake_engine.h"
#include "fleet/collected.h"
#include "fleet/local_engine.h"

namespace weft::fleet {
namespace {

class IdleProbe : public ::testing::Test {
 protected:
  IdleProbe() {
    state_.on_step = [this](int64_t) { ++num_steps_; };
    client_ = LocalEngine::start({"tiny", "fp_0", {}, /*probe_ns=*/2'000'000},
                                 [this](const engine::EngineOptions&) {
                                   return std::make_unique<engine::FakeEngine>(state_);
                                 });
  }
  bool comes_true(const std::function<bool(const Status&)>& holds) const {
    for (int i = 0; i < 10'000; ++i) {
      if (holds(client_->status())) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }
  bool takes_three_steps() {
    const int before = num_steps_;
    return comes_true([&](const Status&) { return num_steps_ >= before + 3; });
  }

  engine::FakeState state_;
  std::atomic<int> num_steps_{0};
  std::unique_ptr<LocalEngine> client_;
};

TEST_F(IdleProbe, TakesAStepNowAndThenThatNobodyIsToldOf) {
  EXPECT_TRUE(takes_three_steps());
  const Status status = client_->status();
  EXPECT_GT(status.last_step_ns, status.started_ns);
  EXPECT_EQ(status.stats.prompt_tokens, 0);
  EXPECT_EQ(status.stats.looked_up_prompt_tokens, 0);
  EXPECT_EQ(status.stats.generated_tokens, 0);
  EXPECT_TRUE(status.requests.empty());
}

TEST_F(IdleProbe, CountsWhatUsersAskForBesideIt) {
  EXPECT_TRUE(takes_three_steps());
  Collected answer;
  Generate request;
  request.prompt_ids = {'a', 'b', 'c'};
  client_->generate(std::move(request), answer.on_event());
  ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_EQ(answer.text(), "Tokyo.");
  EXPECT_TRUE(takes_three_steps());
  EXPECT_TRUE(comes_true([](const Status& status) {
    return status.stats.prompt_tokens == 3 && status.stats.looked_up_prompt_tokens == 3 &&
           status.stats.generated_tokens == 6;
  }));
}

TEST_F(IdleProbe, RestsWhilePaused) {
  client_->pause();
  EXPECT_TRUE(comes_true([](const Status& status) { return status.paused; }));
  const int before = num_steps_;
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(num_steps_, before);
  client_->resume();
  EXPECT_TRUE(takes_three_steps());
}

}  // namespace
}  // namespace weft::fleet
