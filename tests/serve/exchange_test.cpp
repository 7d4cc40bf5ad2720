#include "serve/exchange.h"

#include <gtest/gtest.h>

namespace weft::serve {
namespace {

TEST(HttpRequest, FindsAHeaderByItsNameInLowerCase) {
  HttpRequest request;
  request.headers = {{"host", "localhost"}, {"accept", "*/*"}};
  EXPECT_EQ(request.header("accept"), "*/*");
  EXPECT_EQ(request.header("authorization"), "");
}

}  // namespace
}  // namespace weft::serve
