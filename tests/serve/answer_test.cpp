#include "serve/answer.h"

#include <gtest/gtest.h>

#include "base/clock.h"

namespace weft::serve {
namespace {

// The clock is the test's: what counts is how long after the last word it is asked.
TEST(Answer, TellsItsRouteEachTimeThatNothingWasSaidForLong) {
  constexpr int64_t kLong = 1'000'000'000'000;
  int quiet = 0;
  const auto draining = std::make_shared<const std::atomic<bool>>(false);
  Answer answer({.request_id = "r"}, {}, draining, [] {});
  answer.check_quiet(now_ns() + kLong);  // nobody wants to know
  answer.on_quiet(kLong, [&] { ++quiet; });
  answer.check_quiet(now_ns());
  EXPECT_EQ(quiet, 0);
  const int64_t later = now_ns() + kLong;
  answer.check_quiet(later);
  EXPECT_EQ(quiet, 1);
  answer.check_quiet(later + kLong / 2);
  EXPECT_EQ(quiet, 1);
  answer.check_quiet(later + kLong);
  EXPECT_EQ(quiet, 2);

  answer.begin_stream(200, "text/event-stream", {});
  answer.write("data: 1\n\n");
  answer.check_quiet(now_ns() + 2 * kLong);  // it waits for a client that does not read
  EXPECT_EQ(quiet, 2);
  std::string sent;
  EXPECT_EQ(answer.take(&sent), Answer::Next::kSend);
  EXPECT_EQ(answer.take(&sent), Answer::Next::kWait);
  answer.check_quiet(now_ns() + kLong / 2);
  EXPECT_EQ(quiet, 2);
  answer.check_quiet(now_ns() + 2 * kLong);
  EXPECT_EQ(quiet, 3);
  answer.end_stream();
  EXPECT_EQ(answer.take(&sent), Answer::Next::kSend);
  answer.take(&sent);
  answer.check_quiet(now_ns() + 9 * kLong);
  EXPECT_EQ(quiet, 3);
}

// Whose wait is longest for what was taken in it, whatever the order or size.
TEST(AnswerBacklog, ItsSlowestAreTakenUntilTheRestFits) {
  constexpr int64_t kSecond = 1'000'000'000;
  const auto draining = std::make_shared<const std::atomic<bool>>(false);
  AnswerBacklog backlog;
  std::vector<std::shared_ptr<Answer>> answers;
  const auto wait = [&](int64_t num_bytes, int64_t since_s, int64_t num_taken) {
    answers.push_back(std::make_shared<Answer>(AnswerForm{}, AnswerLimits{}, draining, [] {}));
    backlog.note(answers.back().get(), {num_bytes, since_s * kSecond, num_taken, answers.back()});
  };
  wait(100, 90, 1'000);   // 10 s: fast
  wait(100, 0, 1'000);    // 100 s
  wait(100, 0, 500'000);  // took much more
  wait(100, 99, 1);       // has only begun to wait
  wait(100, 50, 250);     // slower than the second
  EXPECT_EQ(backlog.num_bytes(), 500);
  const int64_t now = 100 * kSecond;
  EXPECT_TRUE(backlog.take_slowest(500, 5 * kSecond, now).empty());
  EXPECT_EQ(backlog.take_slowest(300, 5 * kSecond, now), (std::vector{answers[4], answers[1]}));
  EXPECT_EQ(backlog.num_bytes(), 300);
  backlog.note(answers[4].get(), {});  // its client was dropped
  EXPECT_EQ(backlog.num_bytes(), 300);
  EXPECT_EQ(backlog.take_slowest(0, 5 * kSecond, now), (std::vector{answers[0], answers[2]}));
  EXPECT_EQ(backlog.num_bytes(), 100);
}

TEST(Answer, CountsWhatItHoldsBeyondItsShareUntilItIsTaken) {
  const auto draining = std::make_shared<const std::atomic<bool>>(false);
  const auto backlog = std::make_shared<AnswerBacklog>();
  std::string sent;
  for (const bool leaves : {false, true}) {
    const auto answer = std::make_shared<Answer>(
        AnswerForm{}, AnswerLimits{.slow_bytes = 1000}, draining, [] {}, backlog);
    answer->begin_stream(200, "text/plain", {});
    answer->write("first");
    EXPECT_EQ(backlog->num_bytes(), 0);
    answer->write(std::string(5000, 'x'));
    EXPECT_GE(backlog->num_bytes(), 4000);
    answer->end_stream();
    EXPECT_GE(backlog->num_bytes(), 4000);
    EXPECT_EQ(answer->take(&sent), Answer::Next::kSend);
    EXPECT_GE(backlog->num_bytes(), 4000);  // until all of it is sent
    leaves ? answer->leave() : static_cast<void>(answer->take(&sent));
    EXPECT_EQ(backlog->num_bytes(), 0) << leaves;
  }
  {
    const auto answer = std::make_shared<Answer>(
        AnswerForm{}, AnswerLimits{}, draining, [] {}, backlog);
    answer->respond(200, "text/plain", std::string(100'000, 'x'), {});
    EXPECT_GE(backlog->num_bytes(), 100'000 - 64 * 1024);
  }
  EXPECT_EQ(backlog->num_bytes(), 0);
}

// What an answer takes in memory counts until its client has it.
TEST(Answer, KeepsWhatItIsGivenUntilItWasSentOrItsClientLeft) {
  const auto draining = std::make_shared<const std::atomic<bool>>(false);
  std::string sent;
  for (const bool leaves : {false, true}) {
    Answer answer({.request_id = "r"}, {}, draining, [] {});
    auto kept = std::make_shared<int>(1);
    const std::weak_ptr<int> is_kept = kept;
    answer.keep(std::move(kept));
    answer.respond(200, "text/plain", "hello", {});
    EXPECT_EQ(answer.take(&sent), Answer::Next::kSend);
    EXPECT_FALSE(is_kept.expired());
    leaves ? answer.leave() : static_cast<void>(answer.take(&sent));
    EXPECT_TRUE(is_kept.expired()) << leaves;
    auto late = std::make_shared<int>(2);
    const std::weak_ptr<int> is_late = late;
    answer.keep(std::move(late));
    EXPECT_EQ(is_late.expired(), leaves);
  }
}

}  // namespace
}  // namespace weft::serve
