// What LocalEngine counts as waiting: every request for an answer that no step works on yet,
// wherever it stands, and nothing else that it is told.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "engine/fake_engine.h"
#include "fleet/collected.h"
#include "fleet/local_engine.h"

namespace weft::fleet {
namespace {

using engine::FakeEngine;
using engine::FakeState;

Generate ask(const std::string& prompt) {
  Generate request;
  request.prompt_ids = engine::FakeTokenizer().encode(prompt, false, false);
  request.sampling.max_tokens = 2;
  return request;
}

bool comes_to_wait(const LocalEngine& client, int64_t count) {
  for (int i = 0; i < 20'000 && client.status().stats.num_waiting != count; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return client.status().stats.num_waiting == count;
}

// Who compiles grammars looks at its tokenizer, and waits there to be let on.
class HeldCompiler final : public FakeEngine {
 public:
  HeldCompiler(FakeState& state, std::shared_future<void> go_on)
      : FakeEngine(state), go_on_(std::move(go_on)) {}
  const text::Tokenizer& tokenizer() const override {
    go_on_.wait_for(std::chrono::minutes(5));
    return FakeEngine::tokenizer();
  }

 private:
  std::shared_future<void> go_on_;
};

TEST(WaitingCount, IsOfWhatWaitsForItsGrammarToo) {
  FakeState state;
  std::promise<void> go_on;
  const std::shared_future<void> is_let_on = go_on.get_future().share();
  const auto client = LocalEngine::start({"tiny", "fp_0", {}}, [&](const engine::EngineOptions&) {
    return std::make_unique<HeldCompiler>(state, is_let_on);
  });
  Generate request = ask("a");
  request.grammar = {text::GrammarSpec::Kind::kRegex, "[ab]*"};
  std::vector<Collected> answers(3);
  for (Collected& answer : answers) client->generate(request, answer.on_event());
  for (int i = 0; i < 20'000 && client->status().requests.size() < 3; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const Status status = client->status();
  EXPECT_EQ(status.requests.size(), 3u);  // so all were taken out of the mailbox
  EXPECT_EQ(status.stats.num_waiting, 3);
  go_on.set_value();
  for (const Collected& answer : answers) EXPECT_TRUE(answer.wait_until_ended());
  EXPECT_TRUE(comes_to_wait(*client, 0));
}

TEST(WaitingCount, IsOfNothingElseThatIsPosted) {
  FakeState state;
  std::promise<void> reached, go_on;
  const std::shared_future<void> is_let_on = go_on.get_future().share();
  state.on_step = [&](int64_t step) {
    if (step == 0) reached.set_value();
    is_let_on.wait_for(std::chrono::minutes(5));
  };
  const auto client = LocalEngine::start({"tiny", "fp_0", {}}, [&](const engine::EngineOptions&) {
    return std::make_unique<FakeEngine>(state);
  });
  std::vector<Collected> answers(3);
  client->generate(ask("a"), answers[0].on_event());
  ASSERT_EQ(reached.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
  client->generate(ask("b"), answers[1].on_event());
  client->generate(ask("c"), answers[2].on_event());
  client->cancel(1);
  client->reset_prefix_cache();
  client->resume();
  EXPECT_EQ(client->status().stats.num_waiting, 2);
  go_on.set_value();
  for (const Collected& answer : answers) EXPECT_TRUE(answer.wait_until_ended());
}

}  // namespace
}  // namespace weft::fleet
