// A rank that stands still for good: the load or the answer ends with its deadline, and the
// engine's end waits no longer than a moment for it.
#include <gmock/gmock.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "base/clock.h"
#include "base/error.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

using testing::HasSubstr;

// A deadline that a live rank of a busy machine keeps; and what a test may take where nothing
// waits for the silent rank, of which it would wait for ever.
constexpr int64_t kDeadlineMs = 2000;
constexpr double kPromptSeconds = 30;

std::atomic<bool> g_stands_still{false};  // of the signal handler

// The rank's thread, which outlives the test that finds it: so none of this is the test's own.
std::atomic<pthread_t> g_rank{};
std::atomic<pid_t> g_rank_id{0};

void stand_still(int) {
  while (g_stands_still.load()) poll(nullptr, 0, 5);
}

// Rank 1 of two that have a thread each, as a test finds it: the thread that loads and is not the
// test's own.
class LostRank : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_TINY_MODELS();
    options_ = tiny_options(tiny_path("llama.F32"));
    options_.topology.tensor_parallel_size = 2;
    options_.placement = Placement::kDedicated;
    options_.deadline_ms = kDeadlineMs;
    g_stands_still = true;
    g_rank_id = 0;
  }

  // Lets the silent rank go on, and waits for the end of its thread: nothing of the test's own may
  // be used by it afterwards, and its memory is freed.
  void TearDown() override {
    g_stands_still = false;
    if (g_rank_id == 0) return;
    const auto task = std::filesystem::path("/proc/self/task") / std::to_string(g_rank_id);
    const int64_t begin = now_ns();
    while (std::filesystem::exists(task) && seconds_between(begin, now_ns()) < kPromptSeconds)
      poll(nullptr, 0, 5);
    EXPECT_FALSE(std::filesystem::exists(task)) << "the rank's thread did not end";
  }

  // Whether the caller is; then it is known to the others.
  static bool is_rank_one() {
    static const pid_t main_thread = getpid();
    if (gettid() == main_thread) return false;
    g_rank = pthread_self();
    g_rank_id = gettid();
    return true;
  }

  EngineOptions options_;
};

TEST_F(LostRank, EndsTheLoad) {
  const int64_t begin = now_ns();
  try {
    Engine::load(options_, [](int64_t, int64_t) {
      if (is_rank_one()) stand_still(0);
    });
    FAIL() << "loaded without rank 1";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCommunication);
    EXPECT_THAT(error.summary(), HasSubstr("rank 1 did not arrive at 'start of all ranks'"));
  }
  EXPECT_LT(seconds_between(begin, now_ns()), kPromptSeconds);
}

TEST_F(LostRank, EndsTheAnswerAndTheEngine) {
  struct sigaction handler {
  }, before{};
  handler.sa_handler = stand_still;
  sigemptyset(&handler.sa_mask);
  sigaction(SIGUSR1, &handler, &before);
  int64_t begin = 0;
  {
    const auto engine = Engine::load(options_, [](int64_t, int64_t) { is_rank_one(); });
    ASSERT_NE(g_rank_id.load(), 0);
    begin = now_ns();
    const OnText stop_rank = [](const std::string&) {
      pthread_kill(g_rank, SIGUSR1);
      return true;
    };
    try {
      engine->generate(greedy(some_ids(9), 100), stop_rank);
      ADD_FAILURE() << "answered without rank 1";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCommunication);
    }
  }
  EXPECT_LT(seconds_between(begin, now_ns()), kPromptSeconds);
  g_stands_still = false;
  sigaction(SIGUSR1, &before, nullptr);
}

}  // namespace
}  // namespace weft::engine
