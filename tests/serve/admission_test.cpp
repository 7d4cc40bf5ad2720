#include "serve/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace weft::serve {
namespace {

using ::testing::HasSubstr;

TEST(Admission, CountsAnswersUntilTheirTicketsEnd) {
  Admission admission({.max_answers = 3});
  Admission::Refusal refusal;
  auto two = admission.enter(2, &refusal);
  ASSERT_TRUE(two);
  EXPECT_FALSE(admission.enter(2, &refusal));
  EXPECT_EQ(refusal.error.status, 429);
  EXPECT_EQ(refusal.error.code, "queue_full");
  ASSERT_EQ(refusal.headers.size(), 2U);
  EXPECT_EQ(refusal.headers[0].first, "Retry-After");
  EXPECT_GE(std::stoi(refusal.headers[0].second), 1);
  EXPECT_TRUE(admission.enter(1, &refusal));  // and gone again
  two.reset();
  EXPECT_EQ(admission.num_answers(), 0);
  EXPECT_TRUE(admission.enter(3, &refusal));
  EXPECT_EQ(admission.num_refused(), 1);
}

TEST(Admission, CountsTokensOnceTheyAreKnown) {
  Admission admission({.max_tokens = 100});
  Admission::Refusal refusal;
  auto one = admission.enter(1, &refusal), other = admission.enter(1, &refusal);
  ASSERT_TRUE(one && other);
  EXPECT_TRUE(one->charge(60, &refusal));
  EXPECT_FALSE(other->charge(41, &refusal));
  EXPECT_EQ(refusal.error.status, 429);
  EXPECT_THAT(refusal.error.message, HasSubstr("60 of 100 tokens"));
  EXPECT_TRUE(other->charge(40, &refusal));
  EXPECT_EQ(admission.num_tokens(), 100);
  one.reset();
  EXPECT_EQ(admission.num_tokens(), 40);
}

TEST(Admission, WhatNeverFitsIsNoMatterOfWaiting) {
  Admission admission({.max_answers = 3, .max_tokens = 100});
  Admission::Refusal refusal;
  EXPECT_FALSE(admission.enter(4, &refusal));
  EXPECT_EQ(refusal.error.status, 400);
  EXPECT_EQ(refusal.error.param, "n");
  EXPECT_TRUE(refusal.headers.empty());
  auto ticket = admission.enter(1, &refusal);
  EXPECT_FALSE(ticket->charge(INT64_MAX, &refusal));
  EXPECT_EQ(refusal.error.status, 400);
  EXPECT_EQ(refusal.error.param, "max_tokens");
  EXPECT_FALSE(ticket->charge(INT64_MAX, &refusal, "input"));
  EXPECT_EQ(refusal.error.param, "input");
}

// A list that entered with one place, and whatever it gets beside it.
struct GrowingList {
  GrowingList(Admission& admission, int64_t num_choices, int64_t width)
      : first(admission.enter(num_choices, &refusal)),
        list(admission.begin_list(num_choices, width)) {}
  size_t grow(int64_t num_tokens = 0) {
    while (std::optional<Admission::Ticket> place = list.more(num_tokens))
      more.push_back(std::move(*place));
    return 1 + more.size();
  }

  Admission::Refusal refusal;
  std::optional<Admission::Ticket> first;
  Admission::List list;
  std::vector<Admission::Ticket> more;
};

TEST(Admission, AListTakesWhatRunsOrAQuarterOfAllPlaces) {
  const auto prompts_at_once = [](int64_t most, int64_t num_choices, int64_t width) {
    Admission admission({.max_answers = most});
    return GrowingList(admission, num_choices, width).grow();
  };
  EXPECT_EQ(prompts_at_once(320, 1, 64), 80);
  EXPECT_EQ(prompts_at_once(320, 3, 64), 26);
  EXPECT_EQ(prompts_at_once(320, 128, 64), 1);
  EXPECT_EQ(prompts_at_once(320, 1, 200), 200);  // as many as run
  EXPECT_EQ(prompts_at_once(320, 1, 300), 240);  // but never the last quarter
  EXPECT_EQ(prompts_at_once(4, 1, 8), 3);
  EXPECT_EQ(prompts_at_once(1, 1, 8), 1);
}

TEST(Admission, ListsShareAndLeaveRoomForOthers) {
  Admission admission({.max_answers = 320});
  Admission::Refusal refusal;
  GrowingList one(admission, 1, 64);
  EXPECT_EQ(one.grow(), 80);
  GrowingList two(admission, 1, 64);
  EXPECT_EQ(two.grow(), 1);  // until the first gives some up
  one.more.erase(one.more.begin(), one.more.begin() + 10);
  EXPECT_EQ(one.grow(), 70);  // it has more than its share, and gets none again
  EXPECT_EQ(two.grow(), 10);
  one.more.clear();
  EXPECT_EQ(two.grow(), 40);
  EXPECT_EQ(one.grow(), 40);
  std::vector<std::unique_ptr<GrowingList>> many;
  for (int i = 0; i < 100; ++i) {
    many.push_back(std::make_unique<GrowingList>(admission, 1, 64));
    EXPECT_EQ(many.back()->grow(), 1);
  }
  EXPECT_EQ(admission.num_answers(), 180);
  auto others = admission.enter(140, &refusal);
  EXPECT_TRUE(others);
  one.more.clear();
  two.more.clear();
  many.clear();
  EXPECT_EQ(admission.num_answers(), 142);
  EXPECT_EQ(one.grow(), 40);
  EXPECT_EQ(two.grow(), 40);
  EXPECT_TRUE(admission.enter(98, &refusal));
}

TEST(Admission, AListLeavesAQuarterOfTheTokens) {
  Admission admission({.max_tokens = 1000});
  Admission::Refusal refusal;
  GrowingList list(admission, 1, 64);
  ASSERT_TRUE(list.first->charge(100, &refusal));
  EXPECT_EQ(list.grow(100), 7);
  EXPECT_EQ(admission.num_tokens(), 700);
  list.more.clear();
  EXPECT_EQ(admission.num_tokens(), 100);
}

TEST(Admission, LogprobsOfAllAnswersAreBounded) {
  Admission admission({.max_logprobs = 1000});
  Admission::Refusal refusal;
  auto one = admission.hold_logprobs(600, &refusal);
  ASSERT_TRUE(one);
  EXPECT_FALSE(admission.hold_logprobs(401, &refusal));
  EXPECT_EQ(refusal.error.status, 429);
  EXPECT_EQ(refusal.headers.at(0).first, "Retry-After");
  EXPECT_THAT(refusal.error.message, HasSubstr("600 of 1000 logprobs"));
  EXPECT_TRUE(admission.hold_logprobs(400, &refusal));
  one.reset();
  EXPECT_EQ(admission.num_logprobs(), 0);
  EXPECT_TRUE(admission.hold_logprobs(5000, &refusal));  // alone: it could never be let in else
}

TEST(Admission, NobodyComesInOnceItIsClosed) {
  Admission admission({});
  Admission::Refusal refusal;
  auto in = admission.enter(1, &refusal);
  admission.close();
  EXPECT_FALSE(admission.enter(1, &refusal));
  EXPECT_EQ(refusal.error.status, 503);
  EXPECT_FALSE(refusal.headers.empty());
  EXPECT_TRUE(in->charge(10, &refusal));  // who is in stays in
}

TEST(Admission, ATicketMayOutliveTheDoor) {
  Admission::Refusal refusal;
  std::optional<Admission::Ticket> ticket;
  {
    Admission admission({});
    ticket = admission.enter(1, &refusal);
  }
  EXPECT_TRUE(ticket->charge(1, &refusal));
}

TEST(Admission, HoldsItsLimitAmongThreads) {
  Admission admission({.max_answers = 5});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      Admission::Refusal refusal;
      for (int turn = 0; turn < 2'000; ++turn) {
        const auto ticket = admission.enter(2, &refusal);
        EXPECT_LE(admission.num_answers(), 5);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admission.num_answers(), 0);
}

}  // namespace
}  // namespace weft::serve
