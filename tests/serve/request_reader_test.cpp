#include "serve/request_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using State = RequestReader::State;

// A request given in pieces of so many bytes, as a connection does.
struct Reading {
  explicit Reading(std::string text, size_t piece = SIZE_MAX, RequestLimits limits = {})
      : reader(limits) {
    std::string buffer;
    while (true) {
      const size_t taken = reader.feed(buffer);
      buffer.erase(0, taken);
      if (reader.state() == State::kHeaderDone) reader.proceed(limits.body_bytes);
      if (reader.state() == State::kDone || reader.state() == State::kFailed) break;
      if (taken > 0) continue;
      if (text.empty()) break;
      buffer += text.substr(0, piece);
      text.erase(0, std::min(piece, text.size()));
    }
    rest = buffer + text;
  }
  int status() const { return reader.state() == State::kFailed ? reader.failure().status : 0; }

  RequestReader reader;
  std::string rest;
};

constexpr const char* kHost = "Host: localhost\r\n";

TEST(RequestReader, ReadsARequestInPiecesOfAnySize) {
  const std::string text =
      "POST /v1/a%20b?x=1&y=%20 HTTP/1.1\r\nHost: localhost:1\r\nX-Thing:  two words \r\n"
      "Content-Length: 5\r\n\r\nhelloGET";
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, SIZE_MAX}) {
    Reading read(text, piece);
    ASSERT_EQ(read.reader.state(), State::kDone) << piece << read.reader.failure().message;
    const HttpRequest& request = read.reader.request();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/v1/a b");
    EXPECT_EQ(request.query, "x=1&y=%20");
    EXPECT_EQ(request.header("x-thing"), "two words");
    EXPECT_EQ(request.body, "hello");
    EXPECT_EQ(read.rest, "GET");
    EXPECT_TRUE(read.reader.keep_alive());
  }
}

TEST(RequestReader, ReadsChunks) {
  const std::string text = std::string("POST / HTTP/1.1\r\n") + kHost +
                           "Transfer-Encoding: chunked\r\n\r\n"
                           "3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nHost: other\r\n\r\nrest";
  for (const size_t piece : {size_t{1}, size_t{3}, SIZE_MAX}) {
    Reading read(text, piece);
    ASSERT_EQ(read.reader.state(), State::kDone) << piece << read.reader.failure().message;
    EXPECT_EQ(read.reader.request().body, "abc0123456789");
    EXPECT_EQ(read.reader.request().header("host"), "localhost");  // no trailer takes its place
    EXPECT_EQ(read.rest, "rest");
  }
}

TEST(RequestReader, KeepsAliveAsTheClientSays) {
  EXPECT_FALSE(
      Reading("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").reader.keep_alive());
  EXPECT_FALSE(Reading("GET / HTTP/1.0\r\n\r\n").reader.keep_alive());
  EXPECT_TRUE(Reading("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reader.keep_alive());
}

TEST(RequestReader, TakesTheTargetOfAProxy) {
  EXPECT_EQ(Reading("GET http://localhost/a?b HTTP/1.1\r\nHost: a\r\n\r\n").reader.request().path,
            "/a");
  EXPECT_EQ(Reading("GET http://localhost HTTP/1.1\r\nHost: a\r\n\r\n").reader.request().path, "/");
  // The host that it names is the one that counts, and is checked.
  for (const char* text : {"GET http://evil.com/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
                           "GET http://evil.com?/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
                           "GET HTTP://evil.com/live HTTP/1.0\r\n\r\n"})
    EXPECT_EQ(Reading(text).reader.request().header("host"), "evil.com") << text;
  for (const char* text : {"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET http://a@b/a HTTP/1.1\r\nHost: a\r\n\r\n"})
    EXPECT_EQ(Reading(text).reader.failure().status, 400) << text;
  EXPECT_EQ(Reading("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").reader.request().path, "*");
}

struct Refused {
  const char* name;
  std::string text;
  int status;
};

std::string request(const std::string& fields, const std::string& body = "") {
  return std::string("POST / HTTP/1.1\r\n") + kHost + fields + "\r\n" + body;
}

TEST(RequestReader, RefusesWhatCouldBeReadInTwoWays) {
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const Refused cases[] = {
      {"two lengths", request("Content-Length: 1\r\nContent-Length: 2\r\n"), 400},
      {"the same length twice", request("Content-Length: 1\r\nContent-Length: 1\r\n"), 400},
      {"an empty coding beside a length",
       request("Content-Length: 1\r\nTransfer-Encoding: \r\n", "a"), 400},
      {"an empty coding before a length",
       request("Transfer-Encoding:\r\nContent-Length: 1\r\n", "a"), 501},
      {"two codings", request(chunked + "Transfer-Encoding:\r\n", "0\r\n\r\n"), 400},
      {"a list of lengths", request("Content-Length: 1, 1\r\n"), 400},
      {"a negative length", request("Content-Length: -1\r\n"), 400},
      {"a length with a sign", request("Content-Length: +1\r\n"), 400},
      {"a length that wraps", request("Content-Length: 18446744073709551617\r\n"), 400},
      {"a hexadecimal length", request("Content-Length: 0x10\r\n"), 400},
      {"no length", request("Content-Length:\r\n"), 400},
      {"length and chunks", request("Content-Length: 3\r\n" + chunked, "0\r\n\r\n"), 400},
      {"chunks and length", request(chunked + "Content-Length: 3\r\n", "0\r\n\r\n"), 400},
      {"chunks twice", request(chunked + chunked), 400},
      {"another coding", request("Transfer-Encoding: gzip, chunked\r\n"), 501},
      {"a hidden coding", request("Transfer-Encoding: chunked, identity\r\n"), 501},
      {"a misspelt coding", request("Transfer-Encoding: xchunked\r\n"), 501},
      {"chunks in HTTP/1.0", "POST / HTTP/1.0\r\n" + chunked + "\r\n0\r\n\r\n", 400},
      {"a space before the colon", request("Content-Length : 3\r\n"), 400},
      {"a negative chunk", request(chunked, "-1\r\nabc\r\n"), 400},
      {"a chunk of no number", request(chunked, "xyz\r\nabc\r\n"), 400},
      {"a chunk that wraps", request(chunked, "10000000000000003\r\nabc\r\n"), 400},
      {"a chunk of more than it says", request(chunked, "2\r\nabc\r\n0\r\n\r\n"), 400},
      {"a quote in a chunk's header", request(chunked, "3;a=\"b\"\r\nabc\r\n0\r\n\r\n"), 400},
      {"a quote over two lines", request(chunked, "3;a=\"\r\nb\"\r\nabc\r\n0\r\n\r\n"), 400},
      {"a quote without an end", request(chunked, "3;a=\"\r\nabc\r\n0\r\n\r\n"), 400},
      {"two hosts", request("Host: other\r\n"), 400},
      {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"a bare line feed", "GET / HTTP/1.1\nHost: a\n\n\r\n\r\n", 505},
      {"a zero byte", std::string("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 29), 400},
      {"a zero byte in a field", request(std::string("X: a\0b\r\n", 8)), 400},
      {"an escaped zero byte", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"an escape that is none", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a path that is none", "GET health HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"TLS", "\x16\x03\x01\x02", 400},
      {"an expectation", request("Expect: a-miracle\r\n"), 417},
  };
  for (const Refused& each : cases)
    for (const size_t piece : {size_t{1}, SIZE_MAX})
      EXPECT_EQ(Reading(each.text, piece).status(), each.status) << each.name << " by " << piece;
}

TEST(RequestReader, HoldsItsLimitsHoweverTheBytesCome) {
  RequestLimits limits;
  limits.header_bytes = 1000;
  limits.num_headers = 5;
  limits.target_bytes = 100;
  limits.body_bytes = 100;
  const std::string long_field = "X: " + std::string(1000, 'x') + "\r\n";
  std::string many_fields, many_long_fields;
  for (int i = 0; i < 6; ++i) many_fields += "X: y\r\n";
  for (int i = 0; i < 12; ++i) many_long_fields += "X: " + std::string(90, 'x') + "\r\n";
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  std::string small_chunks;
  for (int i = 0; i < 101; ++i) small_chunks += "1\r\nx\r\n";
  const Refused cases[] = {
      {"a long field", request(long_field), 431},
      {"long fields", request(many_long_fields), 431},
      {"a header without an end", "GET / HTTP/1.1\r\n" + long_field, 431},
      {"many fields", request(many_fields), 431},
      {"a long target", "GET /" + std::string(100, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
      {"a long body", request("Content-Length: 101\r\n"), 413},
      {"a long chunk", request(chunked, "65\r\nx"), 413},
      {"many chunks", request(chunked, small_chunks + "0\r\n\r\n"), 413},
      {"a chunk's header without an end", request(chunked, "1;" + std::string(10'000, 'x')), 400},
      {"trailers without an end", request(chunked, "0\r\n" + std::string(10'000, 'x')), 400},
  };
  for (const Refused& each : cases)
    for (const size_t piece : {size_t{1}, size_t{100}, SIZE_MAX})
      EXPECT_EQ(Reading(each.text, piece, limits).status(), each.status)
          << each.name << " by " << piece;
  EXPECT_EQ(
      Reading(request("Content-Length: 100\r\n", std::string(100, 'x')), 7, limits).reader.state(),
      State::kDone);
}

TEST(RequestReader, KnowsWhatWasAskedEvenWhereItRefuses) {
  Reading read("POST /x HTTP/1.1\r\nX-Request-Id: r1\r\nHost: a\r\nContent-Length: -1\r\n\r\n");
  ASSERT_EQ(read.status(), 400);
  EXPECT_EQ(read.reader.request().header("x-request-id"), "r1");
  EXPECT_EQ(read.reader.request().path, "/x");
}

TEST(DecodePath, UndoesEscapes) {
  EXPECT_EQ(decode_path("/a%2Fb%C3%A4"), "/a/b\xc3\xa4");
  EXPECT_FALSE(decode_path("/%"));
  EXPECT_FALSE(decode_path("/%1"));
  EXPECT_FALSE(decode_path("/%0a"));
}

}  // namespace
}  // namespace weft::serve
