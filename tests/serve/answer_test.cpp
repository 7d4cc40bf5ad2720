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
