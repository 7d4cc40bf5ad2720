#include "serve/access_log.h"

#include <gmock/gmock.h>

#include <chrono>
#include <string>

#include "base/log.h"
#include "text/utf8.h"

namespace weft::serve {
namespace {

using testing::HasSubstr;

std::string logged(const std::string& path) {
  AnsweredRequest answered;
  answered.method = "GET";
  answered.path = path;
  answered.status = 404;
  testing::internal::CaptureStderr();
  start_log("info");
  log_answered(answered);
  EXPECT_TRUE(finish_log(std::chrono::seconds(60)));
  return testing::internal::GetCapturedStderr();
}

// A path is bytes, of which the beginning is shown.
TEST(AccessLog, ItsLinesAreTextWhateverThePath) {
  EXPECT_THAT(logged("/größe"), HasSubstr("request method=GET path=/größe status=404"));
  EXPECT_THAT(logged("/a\xff"), HasSubstr("path=/a\uFFFD status"));
  const std::string long_path = "/" + std::string(198, 'a') + "ß";
  EXPECT_TRUE(text::is_valid_utf8(logged(long_path)));
  EXPECT_THAT(logged(long_path), HasSubstr("aa\uFFFD status"));
}

// Nobody writes fields of his own into the log.
TEST(AccessLog, WhatAClientSaysIsOneValue) {
  EXPECT_THAT(logged("/x status=200 principal=root\""),
              HasSubstr(R"(path="/x status=200 principal=root\"" status=404)"));
  EXPECT_THAT(logged("/x\\"), HasSubstr(R"(path="/x\\" status=404)"));
  EXPECT_THAT(logged("/x=1"), HasSubstr(R"(path="/x=1" status=404)"));
  EXPECT_THAT(logged("/plain"), HasSubstr("path=/plain status=404"));
}

}  // namespace
}  // namespace weft::serve
