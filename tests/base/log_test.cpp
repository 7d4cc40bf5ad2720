#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/line_writer.h"

namespace weft {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr std::chrono::milliseconds kPatience{60'000};

std::string logged_at(std::string_view level) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  start_log(level);
  log_debug("a {}", "detail");
  log_info("{} tokens", 12);
  log_warn("slow");
  log_error("rank {} fell", 3);
  EXPECT_TRUE(finish_log(kPatience));
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  return testing::internal::GetCapturedStderr();
}

TEST(Log, ShowsItsLevelAndAboveOnStandardError) {
  EXPECT_THAT(logged_at("debug"), AllOf(HasSubstr("a detail"), HasSubstr("rank 3 fell")));
  EXPECT_THAT(logged_at("info"), AllOf(HasSubstr("12 tokens"), Not(HasSubstr("a detail"))));
  EXPECT_THAT(logged_at("error"), AllOf(HasSubstr("rank 3 fell"), Not(HasSubstr("slow"))));
  EXPECT_EQ(logged_at("off"), "");
}

std::string event_logged(LogForm form) {
  testing::internal::CaptureStderr();
  start_log("info", form);
  log_event("request", {{"path", "/a\"b"}, {"status", int64_t{200}}, {"ms", 1.5}});
  log_event("slow", {{"ms", 123456.78}});
  log_info("a \xff\n b");
  EXPECT_TRUE(finish_log(kPatience));
  return testing::internal::GetCapturedStderr();
}

TEST(Log, TellsEventsByFieldsAsTextOrAsJson) {
  EXPECT_THAT(event_logged(LogForm::kText), HasSubstr(R"(request path="/a\"b" status=200 ms=1.5)"
                                                      "\n"));
  EXPECT_THAT(event_logged(LogForm::kText), HasSubstr("slow ms=123457\n"));
  const std::string json = event_logged(LogForm::kJson);
  EXPECT_THAT(
      json,
      HasSubstr(R"("level":"info","message":"request","path":"/a\"b","status":200,"ms":1.5})"));
  EXPECT_THAT(json, HasSubstr(R"("message":"a \u00ff\u000a b"})"));
  EXPECT_THAT(json, HasSubstr(R"("ms":123457})"));
  EXPECT_EQ(json.substr(0, 9), R"({"time":")");
  start_log("info");
}

TEST(Log, NamesTheLevelsWhereOneIsUnknown) {
  try {
    start_log("loud");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("'loud'"), HasSubstr("debug, info, warn")));
  }
}

// A pipe as standard error, which nobody reads until text_of is asked.
class UnreadPipe {
 public:
  UnreadPipe() : before_(dup(STDERR_FILENO)) {
    EXPECT_EQ(pipe(ends_), 0);
    dup2(ends_[1], STDERR_FILENO);
  }
  ~UnreadPipe() {
    dup2(before_, STDERR_FILENO);
    for (const int end : {before_, ends_[0], ends_[1]}) close(end);
  }
  // What comes up to and with `last`.
  std::string text_until(std::string_view last) {
    std::string text;
    char buffer[4096];
    while (text.find(last) == std::string::npos) {
      const ssize_t count = read(ends_[0], buffer, sizeof(buffer));
      if (count <= 0) break;
      text.append(buffer, static_cast<size_t>(count));
    }
    return text;
  }

 private:
  int ends_[2]{};
  const int before_;
};

TEST(Log, NobodyWaitsForWhoReadsIt) {
  UnreadPipe standard_error;
  start_log("info", LogForm::kJson);
  // A pipe holds 64 KiB and the log 1 MiB; these are 4.
  const std::string text(1000, 'x');
  for (int i = 0; i < 4096; ++i) log_info("{} {}", i, text);
  EXPECT_FALSE(finish_log(std::chrono::milliseconds(1)));
  std::thread later([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // what waited is being read
    while (!finish_log(std::chrono::milliseconds(10))) {
    }
    log_info("the last");
    EXPECT_TRUE(finish_log(kPatience));
  });
  const std::string logged = standard_error.text_until("the last");
  later.join();
  EXPECT_THAT(logged, AllOf(HasSubstr("\"0 x"), HasSubstr("lines of the log were dropped"),
                            Not(HasSubstr("\"4095 x"))));
  start_log("info");
}

TEST(Log, WhoReadItMayLeave) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  LineWriter writer(ends[1], 1000);
  close(ends[0]);
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(writer.put("a line\n"));
    EXPECT_TRUE(writer.wait_until_written(kPatience));
  }
  close(ends[1]);
  signal(SIGPIPE, SIG_DFL);
}

TEST(Log, ALineIsWholeOrNotThere) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    LineWriter writer(ends[1], 8);
    EXPECT_FALSE(writer.put("too long\n"));
    EXPECT_TRUE(writer.put("fits\n"));
    EXPECT_TRUE(writer.wait_until_written(kPatience));
  }
  char buffer[64];
  EXPECT_EQ(read(ends[0], buffer, sizeof(buffer)), 5);
  for (const int end : ends) close(end);
}

}  // namespace
}  // namespace weft
