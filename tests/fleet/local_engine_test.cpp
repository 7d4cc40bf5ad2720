// The engine of this process behind EngineClient, over an engine without a model and over small
// random ones.
#include "fleet/local_engine.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <future>
#include <set>

#include "base/clock.h"
#include "engine/fake_engine.h"
#include "engine/tiny_engine.h"
#include "fleet/collected.h"

namespace weft::fleet {
namespace {

using engine::FakeEngine;
using engine::FakeState;
using engine::FinishReason;
using engine::tiny_folder;
using testing::HasSubstr;

Generate ask(const std::string& prompt, int64_t max_tokens = 100) {
  Generate request;
  request.prompt_ids = engine::FakeTokenizer().encode(prompt, false, false);
  request.principal = "somebody";
  request.sampling.max_tokens = max_tokens;
  return request;
}

std::unique_ptr<LocalEngine> start(FakeState& state) {
  return LocalEngine::start({"tiny", "fp_0", {}}, [&state](const engine::EngineOptions& options) {
    state.loaded_with = options;
    return std::make_unique<FakeEngine>(state);
  });
}

// Holds the stepping thread at the beginning of a step.
class Gate {
 public:
  explicit Gate(FakeState& state) {
    state.on_step = [this](int64_t) {
      reached_.store(true);
      reached_.notify_all();
      open_.wait(false);
    };
  }
  void wait_until_reached() { reached_.wait(false); }
  void open() {
    open_.store(true);
    open_.notify_all();
  }

 private:
  std::atomic<bool> reached_{false}, open_{false};
};

bool wait_for(const LocalEngine& client, const std::function<bool(const Status&)>& holds) {
  const int64_t deadline = now_ns() + 60'000'000'000;
  while (!holds(client.status())) {
    if (now_ns() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

TEST(LocalEngine, TellsEachTokenOnceInOrderAndNothingAfterTheEnd) {
  FakeState state;
  state.reply = [](const engine::Request& request, int choice) {
    return "answer " + std::to_string(request.prompt_ids.size()) + "." + std::to_string(choice);
  };
  const auto client = start(state);
  std::vector<Collected> answers(20);
  std::set<uint64_t> numbers;
  for (size_t i = 0; i < answers.size(); ++i) {
    Generate request = ask(std::string(i + 1, 'x'));
    request.sampling.n = 2;
    request.sampling.logprobs = 1;
    request.sampling.prompt_logprobs = 0;
    numbers.insert(client->generate(std::move(request), answers[i].on_event()));
  }
  EXPECT_EQ(numbers.size(), answers.size());
  for (size_t i = 0; i < answers.size(); ++i) {
    ASSERT_TRUE(answers[i].wait_until_ended());
    const std::vector<Event> events = answers[i].events();
    for (const size_t choice : {0u, 1u}) {
      const std::string expected = "answer " + std::to_string(i + 1) + "." + std::to_string(choice);
      EXPECT_EQ(answers[i].text(choice), expected);
      EXPECT_EQ(answers[i].token_ids(choice).size(), expected.size());
    }
    for (size_t e = 0; e < events.size(); ++e) {
      EXPECT_EQ(events[e].ended, e + 1 == events.size());
      EXPECT_EQ(events[e].token_ids.size(), 1u);
      EXPECT_EQ(events[e].logprobs.size(), 1u);
      EXPECT_EQ(events[e].prompt_logprobs.size(), e == 0 ? i + 1 : 0);
      EXPECT_EQ(events[e].num_prompt_tokens, static_cast<int64_t>(i + 1));
      EXPECT_GT(events[e].arrived_ns, 0);
    }
    EXPECT_EQ(events.back().finish, FinishReason::kStop);
  }
}

TEST(LocalEngine, WakesAtOnce) {
  FakeState state;
  const auto client = start(state);
  const int64_t begin = now_ns();
  for (int i = 0; i < 30; ++i) {
    Collected answer;
    client->generate(ask("again"), answer.on_event());
    ASSERT_TRUE(answer.wait_until_ended());
  }
  EXPECT_LT(seconds_between(begin, now_ns()), 15);  // 30 were it to wake by itself
}

TEST(LocalEngine, ARequestThatFailsEndsAlone) {
  FakeState state;
  state.fails_in_a_step = "bad";
  const auto client = start(state);
  Collected good, bad;
  client->generate(ask("bad"), bad.on_event());
  client->generate(ask("good"), good.on_event());
  ASSERT_TRUE(bad.wait_until_ended());
  ASSERT_TRUE(good.wait_until_ended());
  EXPECT_EQ(bad.events().back().finish, FinishReason::kError);
  ASSERT_TRUE(bad.events().back().error);
  EXPECT_THAT(bad.events().back().error->summary(), HasSubstr("layer 3"));
  EXPECT_EQ(good.text(), "Tokyo.");
  EXPECT_TRUE(client->status().alive);
}

TEST(LocalEngine, RefusesWhatCanNeverBeServed) {
  FakeState state;
  state.max_model_len = 20;
  const auto client = start(state);
  EXPECT_THROW(client->generate(ask(std::string(21, 'x')), [](const Event&) {}), Error);
  EXPECT_THROW(client->generate(ask(""), [](const Event&) {}), Error);
  Generate request = ask("x");
  request.sampling.n = -1;
  EXPECT_THROW(client->generate(std::move(request), [](const Event&) {}), Error);
}

TEST(LocalEngine, ACancelledRequestSaysSoOnceAndTheOthersGoOn) {
  FakeState state;
  state.answer = std::string(50, 'a');
  state.max_running = 8;
  std::atomic<int64_t> allowed{3};
  state.on_step = [&](int64_t step) {
    for (int64_t until = allowed.load(); step >= until; until = allowed.load()) allowed.wait(until);
  };
  const auto client = start(state);
  Collected first, second;
  Generate request = ask("first");
  request.sampling.n = 2;
  const uint64_t number = client->generate(std::move(request), first.on_event());
  client->generate(ask("second"), second.on_event());
  ASSERT_TRUE(first.wait_for([](const auto& events) { return events.size() >= 2; }));
  client->cancel(number);
  client->cancel(number);
  client->cancel(12345);  // of nobody
  allowed = 1000;
  allowed.notify_all();
  ASSERT_TRUE(first.wait_until_ended());
  ASSERT_TRUE(second.wait_until_ended());
  const std::vector<Event> events = first.events();
  EXPECT_EQ(events.back().finish, FinishReason::kCancelled);
  EXPECT_EQ(events[events.size() - 2].finish, FinishReason::kCancelled);
  EXPECT_FALSE(events[events.size() - 2].ended);
  EXPECT_LT(first.text().size(), 50u);
  EXPECT_EQ(second.text(), state.answer);
  ASSERT_EQ(state.cancelled.size(), 1u);
}

bool is_paused_when_done(LocalEngine& client) {
  std::promise<bool> told;
  client.when_done([&](const Status& status) { told.set_value(status.paused); });
  return told.get_future().get();
}

TEST(LocalEngine, APauseLosesNothing) {
  FakeState state;
  const auto client = start(state);
  client->pause();
  Collected answer;
  client->generate(ask("wait"), answer.on_event());
  ASSERT_TRUE(
      wait_for(*client, [](const Status& s) { return s.paused && s.requests.size() == 1; }));
  EXPECT_EQ(answer.num_events(), 0u);
  // A client that leaves meanwhile is let go.
  Collected gone;
  client->cancel(client->generate(ask("gone"), gone.on_event()));
  ASSERT_TRUE(gone.wait_until_ended());
  EXPECT_EQ(gone.events().back().finish, FinishReason::kCancelled);
  for (const bool paused : {false, true, false, true, false}) {
    paused ? client->pause() : client->resume();
    EXPECT_EQ(is_paused_when_done(*client), paused);
    EXPECT_EQ(client->status().paused, paused);
  }
  ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_EQ(answer.text(), "Tokyo.");
  EXPECT_TRUE(wait_for(*client, [](const Status& s) { return !s.paused && s.requests.empty(); }));
}

TEST(LocalEngine, ALostRankEndsAllThatRunsAndAllThatComes) {
  FakeState state;
  Gate gate(state);
  const auto wait_at_gate = state.on_step;
  state.on_step = [&](int64_t step) {
    wait_at_gate(step);
    if (step == 2) throw Error(ErrorKind::kCommunication, "rank 1 is silent");
  };
  const auto client = start(state);
  Collected running, late;
  client->generate(ask("running"), running.on_event());
  gate.wait_until_reached();
  EXPECT_NE(client->status().in_step_since_ns, 0);
  client->generate(ask("late"), late.on_event());
  gate.open();
  for (const Collected* answer : {&running, &late}) {
    ASSERT_TRUE(answer->wait_until_ended());
    EXPECT_EQ(answer->events().back().finish, FinishReason::kError);
    EXPECT_THAT(answer->events().back().error->summary(), HasSubstr("rank 1"));
  }
  const Status status = client->status();
  EXPECT_FALSE(status.alive);
  EXPECT_EQ(status.in_step_since_ns, 0);
  ASSERT_TRUE(status.failure);
  EXPECT_THAT(status.failure->summary(), HasSubstr("rank 1"));
  try {
    client->generate(ask("after"), [](const Event&) {});
    FAIL() << "took a request without an engine";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCommunication);
    EXPECT_THAT(error.why(), HasSubstr("rank 1"));
  }
}

TEST(LocalEngine, ItsEndTellsWhatIsLeft) {
  FakeState state;
  state.max_running = 1;
  Gate gate(state);
  Collected running, waiting, late;
  {
    const auto client = start(state);
    client->generate(ask("running"), running.on_event());
    client->generate(ask("waiting"), waiting.on_event());
    gate.wait_until_reached();
    client->generate(ask("late"), late.on_event());
    gate.open();
  }
  for (const Collected* answer : {&running, &waiting, &late}) {
    const std::vector<Event> events = answer->events();
    ASSERT_FALSE(events.empty());
    EXPECT_TRUE(events.back().ended);
  }
  EXPECT_EQ(late.events().back().finish, FinishReason::kCancelled);
}

TEST(LocalEngine, WhatThrowsOutOfAnEventIsNobodyElsesTrouble) {
  FakeState state;
  const auto client = start(state);
  Collected other;
  client->generate(ask("throws"), [](const Event&) { throw std::runtime_error("no"); });
  client->generate(ask("other"), other.on_event());
  ASSERT_TRUE(other.wait_until_ended());
  EXPECT_EQ(other.text(), "Tokyo.");
  EXPECT_TRUE(client->status().alive);
}

TEST(LocalEngine, MayBeAskedOutOfAnEvent) {
  FakeState state;
  const auto client = start(state);
  Collected second;
  client->generate(ask("first"), [&](const Event& event) {
    if (event.ended) client->generate(ask("second"), second.on_event());
  });
  ASSERT_TRUE(second.wait_until_ended());
  EXPECT_EQ(second.text(), "Tokyo.");
}

TEST(LocalEngine, ListsTheOldestThatItHoldsWithoutAWordOfThem) {
  FakeState state;
  const auto client = start(state);
  client->pause();
  std::vector<Collected> answers(300);
  std::vector<uint64_t> numbers;
  for (size_t i = 0; i < answers.size(); ++i) {
    Generate request = ask("secret");
    request.priority = static_cast<int32_t>(i);
    numbers.push_back(client->generate(std::move(request), answers[i].on_event()));
  }
  ASSERT_TRUE(
      wait_for(*client, [](const Status& s) { return s.requests.size() == Status::kMostListed; }));
  const std::vector<HeldRequest> rows = client->status().requests;
  for (const size_t i : {size_t{0}, Status::kMostListed - 1}) {
    EXPECT_EQ(rows[i].number, numbers[i]);
    EXPECT_EQ(rows[i].principal, "somebody");
    EXPECT_EQ(rows[i].priority, static_cast<int32_t>(i));
    EXPECT_EQ(rows[i].num_prompt_tokens, 6);
    EXPECT_FALSE(rows[i].running);
  }
  client->resume();
  for (Collected& answer : answers) ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_TRUE(wait_for(*client, [](const Status& s) { return s.requests.empty(); }));
}

TEST(LocalEngine, ALoadThatFailsIsTheCallersToHandle) {
  EXPECT_THROW(
      LocalEngine::start({},
                         [](const engine::EngineOptions&) -> std::unique_ptr<engine::Engine> {
                           throw Error(ErrorKind::kModel, "no model");
                         }),
      Error);
}

TEST(LocalEngine, DescribesTheModelAndKeepsATrace) {
  FakeState state;
  const auto client = start(state);
  EXPECT_EQ(client->card().name, "tiny");
  EXPECT_EQ(client->card().fingerprint, "fp_0");
  EXPECT_EQ(client->card().limits.max_model_len, state.max_model_len);
  EXPECT_EQ(client->card().limits.vocab_size, state.model.vocab_size);
  EXPECT_EQ(client->card().num_blocks, 617);
  EXPECT_EQ(client->card().isa, "portable");
  EXPECT_GT(state.loaded_with.num_kept_events, 0);
  EXPECT_GT(state.loaded_with.num_kept_steps, 0);
  client->reset_prefix_cache();
  Collected answer;
  client->generate(ask("x"), answer.on_event());
  ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_EQ(state.num_cache_resets, 1);
}

// What a client told of its cache, awaited.
std::shared_ptr<const PrefixSnapshot> prefixes_of(LocalEngine& client) {
  const auto told = std::make_shared<std::promise<std::shared_ptr<const PrefixSnapshot>>>();
  client.prefixes([told](std::shared_ptr<const PrefixSnapshot> tree) { told->set_value(tree); });
  auto tree = told->get_future();
  if (tree.wait_for(std::chrono::seconds(60)) != std::future_status::ready)
    throw std::runtime_error("no prefix tree came");
  return tree.get();
}

TEST(LocalEngine, LooksAtItsPrefixesOnlyWhenAskedAndNotTooOften) {
  FakeState state;
  state.outline.enabled = true;
  cache::PrefixRun run;
  run.num_blocks = 3;
  run.salt = 7;
  state.outline.runs = {run};
  run.salt = 8;
  state.outline.runs.push_back(run);
  state.outline.shares = {{7, {1, 3, 48, 0}}};
  const auto client = start(state);
  Collected answer;
  Generate request = ask("x");
  request.cache_salt = 7;
  client->generate(std::move(request), answer.on_event());
  ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_EQ(state.num_outlines, 0);
  const auto tree = prefixes_of(*client);
  ASSERT_NE(tree, nullptr);
  EXPECT_GT(tree->made_ns, 0);
  EXPECT_THAT(tree->run_principals, testing::ElementsAre("somebody", ""));
  EXPECT_THAT(tree->share_principals, testing::ElementsAre("somebody"));
  // Asked again at once, it is the same one; a while later another.
  std::shared_ptr<const PrefixSnapshot> again = prefixes_of(*client);
  EXPECT_TRUE(again == tree || again->made_ns - tree->made_ns >= PrefixWatch::kYoungNs);
  const int64_t deadline = now_ns() + 60'000'000'000;
  while ((again = prefixes_of(*client)) == tree && now_ns() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_GE(again->made_ns - tree->made_ns, PrefixWatch::kYoungNs);
}

TEST(LocalEngine, ThatIsLostTellsNoTree) {
  FakeState state;
  Gate gate(state);
  const auto wait = state.on_step;
  state.on_step = [wait](int64_t step) {
    wait(step);
    throw Error(ErrorKind::kCommunication, "rank 1 is silent");
  };
  const auto client = start(state);
  Collected answer;
  client->generate(ask("x"), answer.on_event());
  gate.wait_until_reached();
  const auto told = std::make_shared<std::promise<std::shared_ptr<const PrefixSnapshot>>>();
  client->prefixes([told](std::shared_ptr<const PrefixSnapshot> tree) { told->set_value(tree); });
  gate.open();
  EXPECT_EQ(told->get_future().get(), nullptr);
  ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_THROW(client->prefixes([](const auto&) {}), Error);
  EXPECT_EQ(state.num_outlines, 0);
}

// ---- over a model

class OverAModel : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_TINY_MODELS();
    LocalEngineOptions options{"tiny", "fp_0",
                               engine::tiny_options(engine::tiny_path("llama.F32"))};
    options.engine.topology.tensor_parallel_size = 2;
    client_ = LocalEngine::start(
        std::move(options), [](const engine::EngineOptions& o) { return engine::Engine::load(o); });
  }
  static Generate ask(int32_t first, int64_t max_tokens) {
    Generate request;
    request.prompt_ids = engine::some_ids(40, first);
    request.sampling = engine::greedy({1}, max_tokens).sampling;
    return request;
  }
  int64_t num_held_blocks() const {
    const engine::EngineStats stats = client_->status().stats;
    return stats.num_blocks - stats.num_free_blocks - stats.num_idle_blocks;
  }

  std::unique_ptr<LocalEngine> client_;
};

TEST_F(OverAModel, SaysWhatTheEngineSays) {
  auto engine = engine::Engine::load(engine::tiny_options(engine::tiny_path("llama.F32")));
  for (const int32_t first : {5, 9}) {
    const engine::GenerationResult expected =
        engine->generate(engine::greedy(engine::some_ids(40, first), 20));
    Collected answer;
    client_->generate(ask(first, 20), answer.on_event());
    ASSERT_TRUE(answer.wait_until_ended());
    EXPECT_EQ(answer.token_ids(), expected.token_ids);
    EXPECT_EQ(answer.text(), expected.text);
    EXPECT_EQ(answer.events().back().finish, FinishReason::kLength);
    EXPECT_GT(answer.events().back().first_token_ns, answer.events().back().scheduled_ns);
  }
  EXPECT_GT(client_->status().last_step_ns, 0);
  constexpr int64_t kMinute = 60'000'000'000;
  EXPECT_TRUE(client_->trace(0).steps.empty());
  EXPECT_FALSE(client_->trace(kMinute).steps.empty());
  EXPECT_FALSE(client_->trace(kMinute).workers.at(0).activity.events.empty());
}

TEST_F(OverAModel, GivesVectorsBesideAnswers) {
  Collected answer;
  client_->generate(ask(3, 40), answer.on_event());
  const auto vector_of = [this](Embed::Pooling pooling, bool normalize) {
    std::promise<Embedding> promise;
    Embed request;
    request.prompt_ids = engine::some_ids(60);
    request.pooling = pooling;
    request.normalize = normalize;
    client_->embed(std::move(request), [&](Embedding e) { promise.set_value(std::move(e)); });
    return promise.get_future().get();
  };
  const Embedding raw = vector_of(Embed::Pooling::kMean, false);
  const Embedding unit = vector_of(Embed::Pooling::kMean, true);
  EXPECT_FALSE(raw.error);
  EXPECT_EQ(raw.num_prompt_tokens, 60);
  ASSERT_EQ(static_cast<int64_t>(raw.values.size()), client_->card().report.hidden_size);
  double length = 0, product = 0, raw_length = 0;
  for (size_t i = 0; i < raw.values.size(); ++i) {
    length += double(unit.values[i]) * unit.values[i];
    raw_length += double(raw.values[i]) * raw.values[i];
    product += double(raw.values[i]) * unit.values[i];
  }
  EXPECT_NEAR(length, 1, 1e-6);
  EXPECT_NEAR(product, std::sqrt(raw_length), 1e-4);
  EXPECT_NE(vector_of(Embed::Pooling::kLast, false).values, raw.values);
  Embed empty;
  EXPECT_THROW(client_->embed(empty, [](const Embedding&) {}), Error);
  ASSERT_TRUE(answer.wait_until_ended());
}

TEST_F(OverAModel, ACancelledVectorSaysSo) {
  client_->pause();
  std::promise<Embedding> promise;
  Embed request;
  request.prompt_ids = engine::some_ids(60);
  client_->cancel(client_->embed(request, [&](Embedding e) { promise.set_value(std::move(e)); }));
  EXPECT_TRUE(promise.get_future().get().error);
  client_->resume();
}

TEST_F(OverAModel, GrammarsAreCompiledMeanwhile) {
  using Kind = text::GrammarSpec::Kind;
  Generate request = ask(5, 40);
  request.grammar = {Kind::kChoice, R"(["yes", "yesterday"])"};
  Collected first, second, broken, cancelled, plain;
  client_->generate(request, first.on_event());
  client_->generate(request, second.on_event());
  request.grammar->source = "[";
  client_->generate(request, broken.on_event());
  request.grammar = {Kind::kRegex, "[a-z]{100}"};
  client_->cancel(client_->generate(request, cancelled.on_event()));
  client_->generate(ask(5, 4), plain.on_event());
  for (const Collected* answer : {&first, &second, &broken, &cancelled, &plain})
    ASSERT_TRUE(answer->wait_until_ended());
  EXPECT_TRUE(first.text() == "yes" || first.text() == "yesterday") << first.text();
  EXPECT_EQ(second.text(), first.text());
  EXPECT_EQ(first.events().back().finish, FinishReason::kStop);
  const Event failed = broken.events().back();
  EXPECT_EQ(failed.finish, FinishReason::kError);
  ASSERT_TRUE(failed.error.has_value());
  EXPECT_EQ(failed.error->kind(), ErrorKind::kUsage);
  EXPECT_THAT(failed.error->summary(), HasSubstr("JSON array"));
  EXPECT_EQ(cancelled.events().back().finish, FinishReason::kCancelled);
  EXPECT_EQ(plain.token_ids().size(), 4u);
}

TEST_F(OverAModel, CancelledRequestsHoldNoBlocks) {
  std::vector<Collected> answers(100);  // more than end before this thread has looked
  std::vector<uint64_t> numbers;
  for (size_t i = 0; i < answers.size(); ++i)
    numbers.push_back(client_->generate(ask(static_cast<int32_t>(i), 150), answers[i].on_event()));
  ASSERT_TRUE(answers[0].wait_for([](const auto& events) { return events.size() >= 3; }));
  EXPECT_TRUE(wait_for(*client_, [this](const Status&) { return num_held_blocks() > 0; }));
  for (const uint64_t number : numbers) client_->cancel(number);
  for (const Collected& answer : answers) ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_TRUE(wait_for(*client_, [this](const Status& s) {
    return s.stats.num_running == 0 && num_held_blocks() == 0;
  }));
  client_->reset_prefix_cache();
  EXPECT_TRUE(wait_for(
      *client_, [](const Status& s) { return s.stats.num_free_blocks == s.stats.num_blocks; }));
}

// Two answers with one beginning: who began what, and what is held while they run.
TEST_F(OverAModel, TellsTheTreeOfItsPrefixes) {
  EXPECT_TRUE(prefixes_of(*client_)->outline.runs.empty());
  std::vector<Collected> answers(2);
  for (const int i : {0, 1}) {
    Generate request = ask(3, 150);
    request.prompt_ids.resize(32);
    request.prompt_ids.push_back(i);
    request.principal = "ann";
    request.cache_salt = 5;
    client_->generate(std::move(request), answers[static_cast<size_t>(i)].on_event());
  }
  const auto wait_for_tree = [this](auto holds) {
    const int64_t deadline = now_ns() + 60'000'000'000;
    auto tree = prefixes_of(*client_);
    while (!holds(tree->outline) && now_ns() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      tree = prefixes_of(*client_);
    }
    return tree;
  };
  for (const Collected& answer : answers) ASSERT_TRUE(answer.wait_until_ended());
  const auto tree = wait_for_tree([](const cache::PrefixOutline& outline) {
    return outline.runs.size() == 3 && outline.runs[0].num_sequences == 0;
  });
  const cache::PrefixOutline& outline = tree->outline;
  ASSERT_EQ(outline.runs.size(), 3u);
  EXPECT_EQ(outline.runs[0].num_tokens, 32);
  EXPECT_EQ(outline.runs[1].parent, 0);
  EXPECT_EQ(outline.runs[2].parent, 0);
  EXPECT_THAT(tree->run_principals, testing::Each("ann"));
  EXPECT_THAT(tree->share_principals, testing::ElementsAre("ann"));
  const engine::EngineStats stats = client_->status().stats;
  EXPECT_EQ(outline.num_published, stats.num_idle_blocks);
  EXPECT_EQ(outline.runs[0].whole.num_blocks, outline.num_published);
  EXPECT_EQ(outline.num_unpublished, 0);
  for (const cache::PrefixRun& run : outline.runs) {
    EXPECT_FALSE(run.is_new);
    EXPECT_GT(run.idle_since, 0);
    EXPECT_LE(run.idle_since, tree->made_ns);
  }
  client_->reset_prefix_cache();
  EXPECT_EQ(wait_for_tree([](const auto& told) {
              return told.num_published == 0;
            })->outline.num_published,
            0);
}

// A sequence that runs holds what it has published.
TEST_F(OverAModel, TellsWhoseBlocksAreHeld) {
  Collected answer;
  client_->generate(ask(3, 150), answer.on_event());
  ASSERT_TRUE(answer.wait_for([](const auto& events) { return events.size() >= 20; }));
  client_->pause();
  const auto tree = prefixes_of(*client_);
  client_->resume();
  const cache::PrefixOutline& outline = tree->outline;
  ASSERT_FALSE(outline.runs.empty());
  EXPECT_LE(outline.num_unpublished, 1);  // the last block, which is not full
  for (const cache::PrefixRun& run : outline.runs) {
    EXPECT_EQ(run.num_sequences, 1);
    EXPECT_EQ(run.idle_since, 0);
  }
  EXPECT_LE(outline.runs.size(), 2u);
  ASSERT_TRUE(answer.wait_until_ended());
}

}  // namespace
}  // namespace weft::fleet
