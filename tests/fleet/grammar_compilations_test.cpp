#include "fleet/grammar_compilations.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <future>
#include <map>

#include "base/error.h"

namespace weft::fleet {
namespace {

using testing::HasSubstr;

// Refuses each grammar by its name, the first when it is let go on.
class Refusing final : public text::GrammarCompiler {
 public:
  Refusing(std::promise<void>& is_busy, std::shared_future<void> go_on)
      : is_busy_(is_busy), go_on_(std::move(go_on)) {}

  std::shared_ptr<const text::Grammar> compile(const text::GrammarSpec& spec,
                                               const text::GrammarLimits&) override {
    if (!std::exchange(is_first_, false)) throw Error(ErrorKind::kUsage, spec.source);
    is_busy_.set_value();
    go_on_.wait_for(std::chrono::seconds(20));
    throw Error(ErrorKind::kUsage, spec.source);
  }

 private:
  std::promise<void>& is_busy_;
  std::shared_future<void> go_on_;
  bool is_first_ = true;
};

class Queue : public testing::Test {
 protected:
  // The first is being compiled from here on, and the others wait.
  void SetUp() override {
    compilations_.submit(0, named("first"));
    is_busy_.get_future().wait();
  }
  static text::GrammarSpec named(const std::string& source) {
    return {text::GrammarSpec::Kind::kRegex, source};
  }
  // What was told, once `number` was.
  std::map<uint64_t, std::string> told_with(uint64_t number) {
    go_on_.set_value();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return told_.contains(number); });
    return told_;
  }

  std::promise<void> is_busy_, go_on_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, std::string> told_;
  GrammarCompilations compilations_{
      [this] { return std::make_unique<Refusing>(is_busy_, go_on_.get_future().share()); },
      [this](uint64_t number, const std::shared_ptr<const text::Grammar>&,
             const std::optional<Error>& error) {
        {
          const std::lock_guard lock(mutex_);
          told_[number] = error->summary();
        }
        changed_.notify_all();
      }};
};

TEST_F(Queue, WhatWasCancelledIsNotCompiled) {
  compilations_.submit(1, named("second"));
  compilations_.submit(2, named("third"));
  compilations_.cancel(1);
  compilations_.cancel(77);
  const std::map<uint64_t, std::string> told = told_with(2);
  EXPECT_THAT(told, testing::ElementsAre(testing::Pair(0, "first"), testing::Pair(2, "third")));
}

TEST_F(Queue, HoldsSoManyAndNoMore) {
  for (uint64_t i = 1; i <= GrammarCompilations::kMostWaiting; ++i)
    compilations_.submit(i, named("a"));
  try {
    compilations_.submit(1000, named("a"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBusy);
    EXPECT_THAT(error.summary(), HasSubstr("too many grammars"));
    EXPECT_THAT(error.why(), HasSubstr("256"));
  }
  compilations_.cancel(1);
  compilations_.submit(1001, named("last"));
  EXPECT_EQ(told_with(1001).at(1001), "last");
}

TEST_F(Queue, HoldsSoManyBytesAndNoMore) {
  const std::string large(GrammarCompilations::kMostWaitingBytes / 2, 'a');
  compilations_.submit(1, named(large));
  compilations_.submit(2, named(large));
  try {
    compilations_.submit(3, named("a"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBusy);
  }
  compilations_.cancel(2);
  compilations_.submit(4, named("a"));
  EXPECT_EQ(told_with(4).at(4), "a");
}

// A grammar that says that it takes so many bytes.
class Heavy final : public text::Grammar {
 public:
  std::unique_ptr<text::GrammarMatcher> matcher() const override { return nullptr; }
  int64_t bytes() const override { return GrammarCompilations::kKeptBytes / 4; }
};
class HeavyCompiler final : public text::GrammarCompiler {
 public:
  std::shared_ptr<const text::Grammar> compile(const text::GrammarSpec&,
                                               const text::GrammarLimits&) override {
    return std::make_shared<const Heavy>();
  }
};

// Elsewhere a schema with every request filled the memory: compiled grammars are kept up to a
// number of bytes, and the one that was asked for longest ago goes first (docs/advisories.md).
TEST(Advisories, CompiledGrammarsAreForgotten) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::weak_ptr<const text::Grammar>> grammars;
  GrammarCompilations compilations(
      [] { return std::make_unique<HeavyCompiler>(); },
      [&](uint64_t, const std::shared_ptr<const text::Grammar>& grammar, std::optional<Error>) {
        const std::lock_guard lock(mutex);
        grammars.push_back(grammar);
        changed.notify_all();
      });
  for (uint64_t i = 0; i < 50; ++i)
    compilations.submit(i, {text::GrammarSpec::Kind::kRegex, fmt::format("a{{{}}}", i)});
  std::unique_lock lock(mutex);
  ASSERT_TRUE(
      changed.wait_for(lock, std::chrono::seconds(20), [&] { return grammars.size() == 50; }));
  const auto num_kept =
      std::ranges::count_if(grammars, [](const auto& grammar) { return !grammar.expired(); });
  EXPECT_GE(num_kept, 1);
  EXPECT_LE(num_kept, 5);  // four, and perhaps the one in hand
}

}  // namespace
}  // namespace weft::fleet
