#include "serve/page_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/recorded_exchange.h"

namespace weft::serve {
namespace {

using testing::HasSubstr;
using testing::Not;

std::shared_ptr<RecordedExchange> get(std::string path, HttpHeaders headers = {}) {
  HttpRequest request;
  request.method = "GET";
  request.path = std::move(path);
  request.headers = std::move(headers);
  auto exchange = std::make_shared<RecordedExchange>(std::move(request));
  respond_page_file(exchange);
  EXPECT_EQ(exchange->num_answers, 1);
  return exchange;
}

// The first file below /assets/ that is worth compressing.
const PageFile& an_asset() {
  for (const PageFile& file : page_files())
    if (file.path.starts_with("/assets/") && !file.gzip.empty()) return file;
  ADD_FAILURE() << "the page has no compressed asset";
  return page_files().front();
}

TEST(PageFiles, TheFirstPageIsThere) {
  const auto page = get("/");
  EXPECT_EQ(page->status, 200);
  EXPECT_EQ(page->content_type, "text/html; charset=utf-8");
  EXPECT_THAT(page->body, HasSubstr("<!doctype html>"));
  EXPECT_EQ(page->header("Cache-Control"), "no-cache");
}

TEST(PageFiles, EveryFileIsFoundAndRefersToOthersThatAreThere) {
  ASSERT_FALSE(page_files().empty());
  for (const PageFile& file : page_files()) {
    EXPECT_EQ(find_page_file(file.path), &file);
    EXPECT_FALSE(file.bytes.empty()) << file.path;
    EXPECT_LT(file.gzip.size(), file.bytes.size()) << file.path;
  }
  const std::string_view html = find_page_file("/")->bytes;
  size_t num_found = 0;
  for (size_t at = html.find("/assets/"); at != html.npos; at = html.find("/assets/", at + 1)) {
    const std::string_view path = html.substr(at, html.find('"', at) - at);
    EXPECT_NE(find_page_file(path), nullptr) << path;
    ++num_found;
  }
  EXPECT_GE(num_found, 2u);  // a script and a style sheet
}

TEST(PageFiles, ThePolicyAllowsNoInlineScriptNoEvalAndNoOtherHost) {
  for (const PageFile& file : page_files()) {
    const auto answer = get(std::string(file.path));
    const std::string policy = answer->header("Content-Security-Policy");
    EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
    EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'"));
    EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
    EXPECT_THAT(policy, Not(HasSubstr("http")));
    EXPECT_EQ(answer->header("Referrer-Policy"), "no-referrer");
  }
  for (const PageFile& file : page_files()) {
    if (file.content_type.starts_with("text/html")) {
      EXPECT_THAT(std::string(file.bytes), Not(HasSubstr("<style")));
      EXPECT_THAT(std::string(file.bytes), Not(HasSubstr(" style=")));
      EXPECT_THAT(std::string(file.bytes), Not(HasSubstr("<script>")));
    }
  }
}

TEST(PageFiles, WhatIsNamedByItsContentIsKeptForEver) {
  EXPECT_THAT(get(std::string(an_asset().path))->header("Cache-Control"), HasSubstr("immutable"));
}

TEST(PageFiles, SendsWhatTheClientAccepts) {
  const PageFile& file = an_asset();
  const std::string path(file.path);
  const auto plain = get(path);
  EXPECT_EQ(plain->body, file.bytes);
  EXPECT_EQ(plain->header("Content-Encoding"), "");
  for (const char* accepted : {"gzip", "br, gzip;q=0.8", "deflate , gzip"}) {
    const auto packed = get(path, {{"accept-encoding", accepted}});
    EXPECT_EQ(packed->header("Content-Encoding"), "gzip") << accepted;
    EXPECT_EQ(packed->body, file.gzip) << accepted;
    EXPECT_EQ(packed->body.substr(0, 2), "\x1f\x8b");
    EXPECT_EQ(packed->header("Vary"), "Accept-Encoding");
  }
  for (const char* refused : {"gzip;q=0", "br", "", "notgzip", "gzip; q=0.0"})
    EXPECT_EQ(get(path, {{"accept-encoding", refused}})->body, file.bytes) << refused;
}

TEST(PageFiles, SaysWhenTheClientHasItAlready) {
  const std::string etag = get("/")->header("ETag");
  ASSERT_GT(etag.size(), 10u);
  for (const std::string& known : {etag, "W/" + etag, "\"other\", " + etag, std::string("*")}) {
    const auto answer = get("/", {{"if-none-match", known}});
    EXPECT_EQ(answer->status, 304) << known;
    EXPECT_EQ(answer->body, "");
    EXPECT_EQ(answer->header("ETag"), etag);
  }
  EXPECT_EQ(get("/", {{"if-none-match", "\"other\""}})->status, 200);
}

TEST(PageFiles, WhatIsNotThereIsNotFound) {
  for (const char* path :
       {"/assets/none.js", "/index.html/", "/assets/../../etc/passwd", "", "/assets/"})
    EXPECT_EQ(get(path)->status, 404) << path;
}

}  // namespace
}  // namespace weft::serve
