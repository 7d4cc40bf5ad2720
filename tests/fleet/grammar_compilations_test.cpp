#include "fleet/grammar_compilations.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"

namespace weft::fleet {
namespace {

using testing::HasSubstr;

// Where grammars that are named slow wait until they are let go on.
class Gate {
 public:
  void enter(const std::string& name) {
    std::unique_lock lock(mutex_);
    ++num_entered_;
    changed_.notify_all();
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return is_open_for(name); });
  }
  // Empty: for all.
  void open(const std::string& name = "") {
    const std::lock_guard lock(mutex_);
    open_.insert(name);
    changed_.notify_all();
  }
  bool wait_for_entered(int number) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return num_entered_ == number; });
  }

 private:
  bool is_open_for(const std::string& name) const {
    return open_.contains("") || open_.contains(name);
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> open_;
  int num_entered_ = 0;
};

// Refuses each grammar by its name.
class Refusing final : public text::GrammarCompiler {
 public:
  explicit Refusing(Gate& gate) : gate_(gate) {}
  std::shared_ptr<const text::Grammar> compile(const text::GrammarSpec& spec,
                                               const text::GrammarLimits&) override {
    if (spec.source.starts_with("slow")) gate_.enter(spec.source);
    throw Error(ErrorKind::kUsage, spec.source);
  }

 private:
  Gate& gate_;
};

class Queue : public testing::Test {
 protected:
  explicit Queue(std::chrono::milliseconds longest_wait = std::chrono::seconds(20))
      : compilations_([this] { return std::make_unique<Refusing>(gate_); },
                      [this](uint64_t number, const std::shared_ptr<const text::Grammar>&,
                             const std::optional<Error>& error) {
                        const std::lock_guard lock(mutex_);
                        told_[number] = error->summary();
                        changed_.notify_all();
                      },
                      longest_wait) {}
  ~Queue() override { gate_.open(); }

  // Both threads are busy from here on, one for each owner, and others wait.
  void fill() {
    compilations_.submit(kFirst, named("slow 1"), "ann");
    compilations_.submit(kSecond, named("slow 2"), "bob");
    ASSERT_TRUE(gate_.wait_for_entered(2));
  }
  static text::GrammarSpec named(const std::string& source) {
    return {text::GrammarSpec::Kind::kRegex, source};
  }
  // What was told, once `number` was.
  std::map<uint64_t, std::string> told_with(uint64_t number) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return told_.contains(number); });
    return told_;
  }

  static constexpr uint64_t kFirst = 5001, kSecond = 5002;
  Gate gate_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, std::string> told_;
  GrammarCompilations compilations_;
};

TEST_F(Queue, WhatWasCancelledIsNotCompiled) {
  fill();
  compilations_.submit(1, named("cancelled"));
  compilations_.submit(2, named("third"));
  compilations_.cancel(1);
  compilations_.cancel(77);
  gate_.open();
  told_with(2);
  told_with(kFirst);
  EXPECT_THAT(told_with(kSecond),
              testing::ElementsAre(testing::Pair(2, "third"), testing::Pair(kFirst, "slow 1"),
                                   testing::Pair(kSecond, "slow 2")));
}

TEST_F(Queue, OneThatTakesLongIsNotWaitedFor) {
  compilations_.submit(kFirst, named("slow"));
  ASSERT_TRUE(gate_.wait_for_entered(1));
  compilations_.submit(1, named("short"));
  EXPECT_THAT(told_with(1), testing::ElementsAre(testing::Pair(1, "short")));
}

// Whoever sends many that take long keeps the others from one thread alone.
TEST_F(Queue, AnOwnerHasBothThreadsOnlyWhereNobodyElseWaits) {
  fill();
  compilations_.submit(1, named("slow of ann"), "ann");
  compilations_.submit(2, named("short of eve"), "eve");
  gate_.open("slow 2");
  EXPECT_EQ(told_with(2).count(2), 1u);
  EXPECT_TRUE(gate_.wait_for_entered(3));  // and then ann has it
}

class ImpatientQueue : public Queue {
 protected:
  ImpatientQueue() : Queue(std::chrono::seconds(1)) {}
};

TEST_F(ImpatientQueue, WhoeverWaitedTooLongIsToldToComeAgain) {
  fill();
  compilations_.submit(1, named("late"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  gate_.open("slow 1");
  EXPECT_THAT(told_with(1).at(1), HasSubstr("try again later"));
}

TEST_F(Queue, HoldsSoManyAndNoMore) {
  fill();
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
  gate_.open();
  EXPECT_EQ(told_with(1001).at(1001), "last");
}

TEST_F(Queue, HoldsSoManyBytesAndNoMore) {
  fill();
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
  gate_.open();
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
