#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace weft {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string logged_at(std::string_view level) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  start_log(level);
  log_debug("a {}", "detail");
  log_info("{} tokens", 12);
  log_warn("slow");
  log_error("rank {} fell", 3);
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
  log_info("a \xff\n b");
  return testing::internal::GetCapturedStderr();
}

TEST(Log, TellsEventsByFieldsAsTextOrAsJson) {
  EXPECT_THAT(event_logged(LogForm::kText), HasSubstr(R"(request path="/a\"b" status=200 ms=1.5)"
                                                      "\n"));
  const std::string json = event_logged(LogForm::kJson);
  EXPECT_THAT(
      json,
      HasSubstr(R"("level":"info","message":"request","path":"/a\"b","status":200,"ms":1.5})"));
  EXPECT_THAT(json, HasSubstr(R"("message":"a \u00ff\u000a b"})"));
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

}  // namespace
}  // namespace weft
