#include "serve/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(Admission, ListsLeaveRoomForOthers) {
  const Admission admission({.max_answers = 320});
  EXPECT_EQ(admission.prompts_at_once(7, 1, 64), 7);
  EXPECT_EQ(admission.prompts_at_once(1024, 1, 64), 80);
  EXPECT_EQ(admission.prompts_at_once(1024, 128, 64), 1);
  EXPECT_EQ(admission.prompts_at_once(1024, 400, 64), 1);   // and is refused, by n
  EXPECT_EQ(admission.prompts_at_once(1024, 1, 300), 300);  // as many as run
  EXPECT_EQ(Admission({.max_answers = 4}).prompts_at_once(9, 1, 8), 4);
  EXPECT_EQ(Admission({}).prompts_at_once(2048, 1, 64), 2048);
  EXPECT_EQ(most_together({3, 9, 1, 7}, 2), 16);
  EXPECT_EQ(most_together({3, 9}, 5), 12);
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
