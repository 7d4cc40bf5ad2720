#include "base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <thread>
#include <vector>

namespace weft {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

class ProgressTest : public testing::Test {
 protected:
  Progress::Options options(int64_t total, bool is_terminal,
                            Progress::Unit unit = Progress::Unit::kBytes) {
    return {.label = "loading",
            .total = total,
            .unit = unit,
            .is_terminal = is_terminal,
            .clock_ns = [this] { return now_ms_.load() * 1'000'000; }};
  }
  // What stands on the terminal's last line.
  std::string last_line() const {
    const std::string text = out_.str();
    const size_t wipe = text.rfind("\r\x1b[K");
    return wipe == text.npos ? text : text.substr(wipe + 4);
  }

  std::atomic<int64_t> now_ms_ = 1000;
  std::ostringstream out_;
};

TEST_F(ProgressTest, SaysWhatElseThereIsAfterTheRate) {
  for (const bool is_terminal : {true, false}) {
    Progress::Options with_remark = options(10, is_terminal, Progress::Unit::kItems);
    with_remark.remark = [] { return "7.0 tokens/s"; };
    Progress progress(out_, with_remark);
    now_ms_ += 6000;
    progress.add(5);
    EXPECT_THAT(last_line(), HasSubstr(is_terminal ? "0.8/s  7.0 tokens/s  6 s left"
                                                   : "0.8/s, 7.0 tokens/s, 6 s left"));
  }
}

TEST_F(ProgressTest, DrawsABarWithRateAndTimeLeft) {
  Progress progress(out_, options(4'000'000'000, true));
  now_ms_ += 500;
  progress.add(1'000'000'000);
  EXPECT_EQ(last_line(),
            "loading  [=====>              ]  25 %  1.00 of 4.00 GB  2.00 GB/s  2 s left");
  now_ms_ += 1500;
  progress.add(3'000'000'000);
  EXPECT_EQ(last_line(), "loading  [====================]  100 %  4.00 of 4.00 GB  2.00 GB/s");
  progress.finish();
  EXPECT_EQ(last_line(), "loading: 4.00 GB in 2.00 s, 2.00 GB/s\n");
}

TEST_F(ProgressTest, RedrawsAtMostTenTimesASecond) {
  Progress progress(out_, options(100'000, true));
  for (int ms = 0; ms < 1000; ++ms) {
    ++now_ms_;
    progress.add(100);
  }
  const std::string text = out_.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 10);
}

TEST_F(ProgressTest, AddsALineNowAndThenWhereThereIsNoTerminal) {
  Progress progress(out_, options(20'000'000, false));
  for (int second = 0; second < 12; ++second) {
    now_ms_ += 1000;
    progress.add(1'000'000);
  }
  EXPECT_EQ(out_.str(),
            "loading: 25 %, 5.0 of 20.0 MB, 0.00 GB/s, 15 s left\n"
            "loading: 50 %, 10.0 of 20.0 MB, 0.00 GB/s, 10 s left\n");
  progress.finish();
  progress.finish();
  EXPECT_THAT(out_.str(), EndsWith("10 s left\nloading: 12.0 MB in 12.00 s, 0.00 GB/s\n"));
}

TEST_F(ProgressTest, ShortWorkLeavesOneLine) {
  Progress progress(out_, options(2'000, false));
  progress.add(2'000);
  now_ms_ += 10;
  progress.finish();
  EXPECT_EQ(out_.str(), "loading: 2.0 kB in 0.01 s, 0.00 GB/s\n");
}

TEST_F(ProgressTest, CountsItems) {
  Progress progress(out_, options(300, true, Progress::Unit::kItems));
  now_ms_ += 31'000;
  progress.add(40);
  EXPECT_THAT(last_line(), EndsWith("  40 of 300  1.3/s  3:22 min left"));
}

TEST_F(ProgressTest, TellsNoTimeLeftBeforeThereIsEnoughToTellItFrom) {
  for (const bool is_terminal : {true, false}) {
    Progress progress(out_, options(300, is_terminal, Progress::Unit::kItems));
    now_ms_ += 6000;  // the first of many at a time: 1:40 h, if one believed it
    progress.add(1);
    EXPECT_THAT(last_line(), testing::Not(HasSubstr("left")));
    now_ms_ += 6000;
    progress.add(29);
    EXPECT_THAT(last_line(), HasSubstr("1:48 min left"));
  }
  Progress slow(out_, options(1000, true, Progress::Unit::kItems));
  now_ms_ += 30'000;
  slow.add(2);  // a tenth may be far off
  EXPECT_THAT(last_line(), HasSubstr("4:09 h left"));
}

TEST_F(ProgressTest, AnUnknownTotalShowsWhatIsKnown) {
  Progress progress(out_, options(0, true));
  now_ms_ += 1000;
  progress.add(500'000'000);
  EXPECT_EQ(last_line(), "loading  500.0 MB  0.50 GB/s");
}

TEST_F(ProgressTest, MoreThanTheTotalIsNoMoreThanAll) {
  Progress progress(out_, options(100, true));
  now_ms_ += 1000;
  progress.add(250);
  EXPECT_THAT(last_line(), HasSubstr("[====================]  100 %"));
}

TEST_F(ProgressTest, UnfinishedWorkWipesItsBar) {
  {
    Progress progress(out_, options(100, true));
    now_ms_ += 1000;
    progress.add(50);
  }
  EXPECT_EQ(last_line(), "");
}

TEST_F(ProgressTest, CountsWhatManyThreadsAdd) {
  Progress progress(out_, options(4 * 10'000, true, Progress::Unit::kItems));
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        if (i % 100 == 0) ++now_ms_;
        progress.add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  progress.finish();
  EXPECT_THAT(last_line(), HasSubstr("loading: 40000 in 0.40 s"));
}

}  // namespace
}  // namespace weft
