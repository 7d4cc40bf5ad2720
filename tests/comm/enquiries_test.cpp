// What the first process of a job asks the others, over links in memory: clocks that are ahead,
// reports, and who does not answer.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "comm/job_world.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

std::vector<std::byte> some_bytes(size_t count, int seed) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i)
    bytes[i] = static_cast<std::byte>(i * 7 + static_cast<size_t>(seed));
  return bytes;
}

// Says what it was asked, and by which process.
Reporter echo(int process) {
  return [process](const ReportQuestion& question, std::vector<std::byte>& answer) {
    answer = some_bytes(static_cast<size_t>(question.about[0]),
                        process + static_cast<int>(question.kind));
  };
}

TEST(Enquiries, ClocksAreReadAtTheStart) {
  Jobs jobs(3, {.clock_ahead = std::chrono::hours(5)});
  for (int process = 1; process < 3; ++process) {
    const PeerClock clock = jobs[0].clock(process);
    ASSERT_EQ(clock.readings().size(), 1u);
    const ClockReading reading = clock.readings().front();
    const int64_t ahead = process * std::chrono::nanoseconds(std::chrono::hours(5)).count();
    EXPECT_EQ(jobs[process].clock_ahead_ns(), ahead);
    EXPECT_GT(reading.error_ns, 0);
    EXPECT_LT(reading.error_ns, 200'000'000) << "the shortest of several trips";
    EXPECT_LE(std::abs(reading.ahead_ns - ahead), reading.error_ns);
    const int64_t now = now_ns();
    EXPECT_LE(std::abs(clock.ours(now + ahead) - now), reading.error_ns);
  }
  jobs.leave();
}

TEST(Enquiries, ClocksAreReadAgainWhereTheLastTimeWasLongAgo) {
  Jobs jobs(2);
  jobs[0].read_clocks();
  EXPECT_EQ(jobs[0].clock(1).readings().size(), 1u);
  std::this_thread::sleep_for(milliseconds(1050));
  jobs[0].read_clocks();
  EXPECT_EQ(jobs[0].clock(1).readings().size(), 2u);
  EXPECT_EQ(jobs[0].clock(1).readings().back().ahead_ns, 0) << "of one clock";
  jobs.leave();
}

TEST(Enquiries, ReportsComeFromWhoIsAsked) {
  Jobs jobs(3);
  for (int process = 1; process < 3; ++process) jobs[process].set_reporter(echo(process));
  for (const int64_t size : {0, 1, 4000, static_cast<int>(kMostReportBytes)})
    for (int process = 1; process < 3; ++process) {
      const auto answer = jobs[0].ask(process, {3, {size, 0, 0}});
      ASSERT_TRUE(answer);
      EXPECT_EQ(*answer, some_bytes(static_cast<size_t>(size), process + 3));
    }
  jobs[1].set_reporter(nullptr);
  EXPECT_EQ(jobs[0].ask(1, {3, {100, 0, 0}})->size(), 0u);
  jobs.leave();
}

TEST(Enquiries, AnAnswerMayBeTakenLater) {
  Jobs jobs(2);
  jobs[1].set_reporter(echo(1));
  EXPECT_FALSE(jobs[0].answer_so_far(1));
  jobs[0].ask_later(1, {5, {100, 0, 0}});
  std::optional<std::vector<std::byte>> answer;
  const int64_t begin = now_ns();
  while (!answer && seconds_between(begin, now_ns()) < 30) answer = jobs[0].answer_so_far(1);
  ASSERT_TRUE(answer);
  EXPECT_EQ(*answer, some_bytes(100, 6));
  EXPECT_FALSE(jobs[0].answer_so_far(1)) << "once";
  jobs.leave();
}

// A rank of it computes, and looks at nothing for as long; another one sends and receives.
TEST(Enquiries, AreAnsweredWhateverTheRanksDo) {
  JobWorld world({1, 1}, {});
  world.job(1).set_reporter(echo(1));
  std::atomic<bool> stops{false};
  std::thread talking([&] {
    run_members_to_end(world.members(), [&](Communicator& member) {
      std::vector<int64_t> sum(100);
      while (true) {
        sum.assign(100, stops.load() ? 1 : 0);
        member.all_reduce(sum, "sums");
        if (sum[0] == 2) return;
      }
    });
  });
  for (int i = 0; i < 20; ++i) {
    const auto answer = world.job(0).ask(1, {3, {i * 100, 0, 0}});
    ASSERT_TRUE(answer);
    EXPECT_EQ(*answer, some_bytes(static_cast<size_t>(i) * 100, 4));
  }
  stops = true;
  talking.join();
}

// The second one's answer comes when the first one was given up.
TEST(Enquiries, WhoDoesNotAnswerInTimeIsAskedAgainLater) {
  Jobs jobs(2, {.silence = std::chrono::seconds(30)});
  std::atomic<bool> blocks{true};
  jobs[1].set_reporter([&](const ReportQuestion& question, std::vector<std::byte>& answer) {
    while (blocks.load()) std::this_thread::sleep_for(milliseconds(1));
    answer = some_bytes(static_cast<size_t>(question.about[0]), 0);
  });
  EXPECT_FALSE(jobs[0].ask(1, {3, {100, 0, 0}}));
  blocks = false;
  const auto answer = jobs[0].ask(1, {3, {200, 0, 0}});
  ASSERT_TRUE(answer);
  EXPECT_EQ(*answer, some_bytes(200, 0));
  jobs.leave();
}

TEST(Enquiries, WhoIsLostIsNotWaitedFor) {
  Jobs jobs(2, {.silence = std::chrono::seconds(30)});
  jobs[1].set_reporter(echo(1));
  jobs.board().cut(1);
  const int64_t begin = now_ns();
  EXPECT_FALSE(jobs[0].ask(1, {3, {100, 0, 0}}));
  jobs[0].abort("it is over");
  EXPECT_FALSE(jobs[0].ask(1, {3, {100, 0, 0}}));
  EXPECT_LT(seconds_between(begin, now_ns()), 20.0);
}

// What no version of this program says: nothing is taken from there any more.
TEST(Enquiries, AnAnswerThatIsNoneIsNotTaken) {
  const auto board = std::make_shared<Switchboard>(2);
  std::unique_ptr<Job> job;
  std::thread first([&] { job = make_job(std::make_unique<MemoryLink>(board, 0), kSelf, {}); });
  std::unique_ptr<Job> other = make_job(std::make_unique<MemoryLink>(board, 1), kSelf, {});
  first.join();
  // Beside its true answer; the tag is that of reports.
  MemoryLink forger(board, 1);
  std::vector<std::byte> forged(kMostReportBytes + 16, std::byte{0x55});
  Transfer sent;
  forger.send(sent, 0, tag::of(tag::kNotice, 0, 3), forged, Until::kCopied);
  EXPECT_FALSE(job->ask(1, {3, {100, 0, 0}}));
  EXPECT_FALSE(job->ask(1, {3, {100, 0, 0}})) << "nor asked again";
  std::thread leaving([&] { other->leave(); });
  job->leave();
  leaving.join();
}

}  // namespace
}  // namespace weft::comm
