#include "serve/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "serve/held_server.h"

namespace weft::serve {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Server = HeldServer;

TEST(HttpServer, AnswersRequestsOfOneConnectionInTurn) {
  Server server;
  RawClient client(server.port());
  client.send(post("/echo", "one"));
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\none"));
  client.send(get("/items/a%20b"));
  const std::string answer = client.read_answer();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\na b"));
  EXPECT_THAT(answer, Not(HasSubstr("Connection: close")));
}

TEST(HttpServer, AnswersPipelinedRequestsInTheirOrder) {
  Server server;
  RawClient client(server.port());
  client.send(get("/held") + post("/echo", "two") + get("/items/three"));
  const auto first = server.wait_for_held();
  usleep(20'000);  // the others must not overtake it
  first->respond(200, "text/plain", "one");
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\none"));
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\ntwo"));
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nthree"));
}

TEST(HttpServer, StreamsInChunks) {
  Server server;
  RawClient client(server.port());
  client.send(get("/held"));
  const auto exchange = server.wait_for_held();
  exchange->begin_stream(200, "text/event-stream", {{"Cache-Control", "no-cache"}});
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_THAT(head, HasSubstr("Cache-Control: no-cache\r\n"));
  EXPECT_TRUE(exchange->write("hello"));
  EXPECT_EQ(client.read_until("hello\r\n"), "5\r\nhello\r\n");
  EXPECT_TRUE(exchange->write(""));  // is no end
  EXPECT_TRUE(exchange->write(std::string(20, 'x')));
  exchange->end_stream();
  EXPECT_EQ(client.read_until("0\r\n\r\n"), "14\r\n" + std::string(20, 'x') + "\r\n0\r\n\r\n");
  client.send(post("/echo", "again"));
  EXPECT_THAT(client.read_answer(), HasSubstr("again"));
}

TEST(HttpServer, HttpOneZeroGetsNoChunks) {
  Server server;
  RawClient client(server.port());
  client.send("GET /held HTTP/1.0\r\n\r\n");
  const auto exchange = server.wait_for_held();
  exchange->begin_stream(200, "text/plain");
  EXPECT_TRUE(exchange->write("hello"));
  exchange->end_stream();
  const std::string answer = client.read_all();
  EXPECT_THAT(answer, HasSubstr("Connection: close"));
  EXPECT_THAT(answer, Not(HasSubstr("chunked")));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nhello"));
}

TEST(HttpServer, HeadOptionsAndUnknownsAreAnsweredAsTheyShould) {
  Server server;
  RawClient client(server.port());
  client.send("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + get("/nowhere"));
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Content-Length: 4\r\n"));
  const std::string unknown = client.read_answer();
  EXPECT_THAT(unknown, StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(unknown, HasSubstr(R"("code":"not_found")"));
  EXPECT_THAT(unknown, HasSubstr(R"("param":null)"));
  client.send("DELETE /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string refused = client.read_answer();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"));
  EXPECT_THAT(refused, HasSubstr("Allow: POST, OPTIONS\r\n"));
  client.send("OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string options = client.read_until("\r\n\r\n");
  EXPECT_THAT(options, StartsWith("HTTP/1.1 204 No Content\r\n"));
  EXPECT_THAT(options, Not(HasSubstr("Access-Control")));
}

TEST(HttpServer, EveryAnswerNamesItsRequest) {
  Server server;
  RawClient client(server.port());
  client.send(get("/health", "X-Request-Id: mine-1\r\n"));
  EXPECT_THAT(client.read_answer(), HasSubstr("X-Request-Id: mine-1\r\n"));
  client.send(get("/nowhere", "X-Request-Id: mine-2\r\n"));
  EXPECT_THAT(client.read_answer(), HasSubstr("X-Request-Id: mine-2\r\n"));
  client.send(get("/health", "X-Request-Id: \"><script>\r\n"));
  const std::string drawn = client.read_answer();
  EXPECT_THAT(drawn, Not(HasSubstr("script")));
  EXPECT_THAT(drawn, HasSubstr("X-Request-Id: "));
  client.send(post("/echo", "", "X-Request-Id: mine-3\r\nContent-Length: 0\r\n"));
  EXPECT_THAT(client.read_answer(), HasSubstr("X-Request-Id: mine-3\r\n"));
  ASSERT_TRUE(comes_true([&] { return server.answered().size() == 4; }));
  EXPECT_EQ(server.answered()[0].request_id, "mine-1");
  EXPECT_EQ(server.answered()[1].status, 404);
}

TEST(HttpServer, AnExchangeThatIsDroppedOrThrowsIsAnsweredWith500) {
  Server server;
  for (const char* path : {"/dropped", "/thrown"}) {
    RawClient client(server.port());
    client.send(get(path));
    const std::string answer = client.read_answer();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 500 Internal Server Error\r\n")) << path;
    EXPECT_THAT(answer, Not(HasSubstr("0x7fff")));
    client.send(get("/health"));
    EXPECT_THAT(client.read_answer(), HasSubstr("well"));
  }
}

TEST(HttpServer, AStreamThatIsDroppedIsCutAndDoesNotLookWhole) {
  Server server;
  RawClient client(server.port());
  client.send(get("/held"));
  {
    const auto exchange = server.wait_for_held();
    exchange->begin_stream(200, "text/plain");
    EXPECT_TRUE(exchange->write("hello"));
    client.read_until("hello\r\n");
  }
  EXPECT_THAT(client.read_all(), Not(HasSubstr("0\r\n\r\n")));
}

TEST(HttpServer, WhatIsTooLargeIsRefusedBeforeItIsRead) {
  Server server;
  RawClient body(server.port());
  body.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777217\r\n\r\n");
  EXPECT_THAT(body.read_answer(), StartsWith("HTTP/1.1 413 Content Too Large\r\n"));
  EXPECT_TRUE(body.ended());
  RawClient header(server.port());
  header.send("GET / HTTP/1.1\r\nX: " + std::string(33'000, 'x'));
  const std::string answer = header.read_answer();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
  EXPECT_THAT(answer, HasSubstr("{\"error\":{"));
  // Who needs no key sends no bodies.
  RawClient open(server.port());
  open.send("GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n");
  EXPECT_THAT(open.read_answer(), StartsWith("HTTP/1.1 413"));
}

TEST(HttpServer, AClientThatStillSendsGetsItsRefusal) {
  Server server;
  RawClient client(server.port());
  client.send("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n");
  client.send(std::string(4'000'000, 'x'));
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 404"));
}

TEST(HttpServer, AsksForABodyThatWaitsToBeAskedFor) {
  Server server({}, rules_of_keys({"secret"}));
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n";
  RawClient client(server.port());
  client.send(head + "X-Api-Key: secret\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("abc");
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nabc"));
  RawClient stranger(server.port());
  stranger.send(head + "\r\n");
  EXPECT_THAT(stranger.read_answer(), StartsWith("HTTP/1.1 401 Unauthorized\r\n"));
}

TEST(HttpServer, MalformedRequestsAreAnsweredAndTheirConnectionEnds) {
  Server server;
  for (const char* text :
       {"nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"}) {
    RawClient client(server.port());
    client.send(text + get("/health"));
    EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 400 Bad Request\r\n")) << text;
    EXPECT_TRUE(client.ended()) << text;  // what follows is not taken for a request
  }
}

// --- keys

TEST(HttpServer, NoRouteIsReachedWithoutAKeyButTheOpenOnes) {
  Server server({}, rules_of_keys({"secret"}));
  for (const Router::Entry& entry : server.router().entries()) {
    RawClient client(server.port());
    client.send(entry.method + " " + entry.pattern + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const std::string answer = client.read_answer();
    EXPECT_THAT(answer, StartsWith(Access::is_open(entry.method, entry.pattern) ? "HTTP/1.1 200"
                                                                                : "HTTP/1.1 401"))
        << entry.pattern;
  }
  RawClient client(server.port());
  client.send(get("/nowhere"));
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 401"));
  client.send(post("/echo", "hi", "Authorization: Bearer secret\r\n"));
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nhi"));
}

TEST(HttpServer, ARateIsAnsweredWithWhenToComeAgain) {
  Server server({}, {{"ann", hash_key("secret"), 1, 0}});
  RawClient client(server.port());
  const std::string request = post("/echo", "", "X-Api-Key: secret\r\n");
  client.send(request);
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200"));
  client.send(request);
  const std::string refused = client.read_answer();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 429 Too Many Requests\r\n"));
  EXPECT_THAT(refused, HasSubstr("Retry-After: "));
  EXPECT_THAT(refused, HasSubstr("retry-after-ms: "));
}

TEST(HttpServer, OnLoopbackAnotherHostIsRefused) {
  Server server;
  RawClient client(server.port());
  client.send("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 403 Forbidden\r\n"));
  client.send(get("/health", "Origin: https://evil.example\r\n"));
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 403 Forbidden\r\n"));
}

// --- clients that leave, are slow, or many

TEST(HttpServer, ARouteHearsThatItsClientHasGone) {
  Server server;
  std::atomic<int> gone{0};
  {
    RawClient client(server.port());
    client.send(get("/held"));
    const auto exchange = server.wait_for_held();
    exchange->on_gone([&] { ++gone; });
    exchange->begin_stream(200, "text/plain");
    EXPECT_TRUE(exchange->write("x"));
    client.read_until("x\r\n");
    client.close();
    EXPECT_TRUE(comes_true([&] { return gone == 1; }));
    EXPECT_FALSE(exchange->write("y"));
    exchange->on_gone([&] { ++gone; });  // one who asks late is told at once
    EXPECT_EQ(gone, 2);
    exchange->end_stream();
  }
  ASSERT_TRUE(comes_true([&] { return !server.answered().empty(); }));
  EXPECT_TRUE(server.answered()[0].cut);
  EXPECT_EQ(server.server().num_working(), 0);
}

// What it has sent ahead is not read to its end.
TEST(HttpServer, ARouteHearsThatAClientHasGoneWhoSentMuchAhead) {
  HttpServerOptions options;
  options.times.linger = 100;  // how often connections are looked at follows the shortest time
  Server server(options);
  std::atomic<bool> gone{false};
  RawClient client(server.port());
  client.send(get("/held") + std::string(2 * options.pipelined_bytes, 'x'));
  const auto exchange = server.wait_for_held();
  exchange->on_gone([&] { gone = true; });
  usleep(50'000);  // for all of that to have come
  EXPECT_FALSE(gone);
  shutdown(client.fd(), SHUT_WR);
  EXPECT_TRUE(comes_true([&] { return gone.load(); }));
}

TEST(HttpServer, AnAnswerThatEndedHasNoOneToTell) {
  Server server;
  std::atomic<int> gone{0};
  RawClient client(server.port());
  client.send(get("/held"));
  const auto exchange = server.wait_for_held();
  exchange->on_gone([&] { ++gone; });
  exchange->respond(200, "text/plain", "done");
  EXPECT_THAT(client.read_answer(), HasSubstr("done"));
  client.close();
  EXPECT_TRUE(comes_true([&] { return server.server().num_connections() == 0; }));
  EXPECT_EQ(gone, 0);
}

TEST(HttpServer, SlowRequestsRunOutOfTime) {
  HttpServerOptions options;
  options.times.header = options.times.body = 200;
  options.times.idle = 1000;
  Server server(options);
  RawClient idle(server.port()), header(server.port()), body(server.port());
  header.send("GET / HT");
  body.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_THAT(header.read_answer(), StartsWith("HTTP/1.1 408 Request Timeout\r\n"));
  EXPECT_THAT(body.read_answer(), StartsWith("HTTP/1.1 408 Request Timeout\r\n"));
  EXPECT_TRUE(idle.ended());
  // Drop by drop it takes no longer.
  RawClient dripping(server.port());
  const int64_t begin = now_ns();
  dripping.send("GET / HTTP/1.1\r\n");
  while (dripping.send("X: y\r\n") && seconds_between(begin, now_ns()) < 10) {
    if (dripping.receive(5)) break;
  }
  EXPECT_LT(seconds_between(begin, now_ns()), 10);
}

TEST(HttpServer, ALongAnswerHasAllTheTimeThatItNeeds) {
  HttpServerOptions options;
  options.times.header = options.times.body = options.times.idle = options.times.write = 200;
  Server server(options);
  RawClient client(server.port());
  client.send(get("/held"));
  const auto exchange = server.wait_for_held();
  usleep(500'000);
  exchange->respond(200, "text/plain", "late");
  EXPECT_THAT(client.read_answer(), HasSubstr("late"));
}

TEST(HttpServer, ThousandsOfIdleConnectionsHoldLittle) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const size_t count = std::min<size_t>(5'000, (limit.rlim_cur - 100) / 2);
  HttpServerOptions options;
  options.num_threads = 2;
  Server server(options);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (size_t i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port()));
    if (i % 50 != 0) continue;  // some have had an answer
    clients.back()->send(get("/health"));
    ASSERT_THAT(clients.back()->read_answer(), HasSubstr("well"));
  }
  EXPECT_TRUE(
      comes_true([&] { return server.server().num_connections() == static_cast<int64_t>(count); }));
  RawClient another(server.port());
  another.send(get("/health"));
  EXPECT_THAT(another.read_answer(), HasSubstr("well"));
}

TEST(HttpServer, BeyondItsConnectionsItTakesNone) {
  HttpServerOptions options;
  options.max_connections = 2;
  Server server(options);
  RawClient one(server.port());
  one.send(get("/health"));
  one.read_answer();
  RawClient two(server.port());
  two.send(get("/health"));
  two.read_answer();
  RawClient three(server.port());
  EXPECT_TRUE(three.ended());
  one.close();
  EXPECT_TRUE(comes_true([&] { return server.server().num_connections() == 1; }));
  RawClient four(server.port());
  four.send(get("/health"));
  EXPECT_THAT(four.read_answer(), HasSubstr("well"));
}

TEST(HttpServer, BodiesOfAllClientsAreBounded) {
  HttpServerOptions options;
  options.max_body_bytes = 1000;
  Server server(options);
  RawClient one(server.port()), two(server.port());
  one.send(post("/held", std::string(800, 'x')));
  const auto exchange = server.wait_for_held();
  two.send(post("/echo", std::string(800, 'x')));
  EXPECT_THAT(two.read_answer(), StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  // A client that goes leaves its body in the hands of the route.
  one.close();
  ASSERT_TRUE(comes_true([&] { return exchange->is_gone(); }));
  RawClient three(server.port());
  three.send(post("/echo", std::string(800, 'x')));
  EXPECT_THAT(three.read_answer(), StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  exchange->release_body();
  EXPECT_TRUE(exchange->request().body.empty());
  RawClient four(server.port());
  four.send(post("/echo", std::string(800, 'x')));
  EXPECT_THAT(four.read_answer(), StartsWith("HTTP/1.1 200"));
}

TEST(HttpServer, HoldsUnderClientsThatComeAndGo) {
  HttpServerOptions options;
  options.num_threads = 2;
  Server server(options);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        RawClient client(server.port());
        const std::string text = post("/echo", "hello") + get("/held");
        client.send(text.substr(0, static_cast<size_t>(i * 7 + t) % text.size() + 1));
        if (i % 3 == 0) client.receive(5);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  while (server.held() != nullptr) server.wait_for_held();  // dropped
  EXPECT_TRUE(comes_true([&] { return server.server().num_connections() == 0; }));
  EXPECT_EQ(server.server().num_working(), 0);
}

// --- the end

TEST(HttpServer, DrainsWhatRunsAndRefusesWhatIsNew) {
  Server server;
  RawClient running(server.port()), waiting(server.port());
  running.send(get("/held"));
  const auto exchange = server.wait_for_held();
  exchange->begin_stream(200, "text/plain");
  server.server().drain();
  waiting.send(post("/echo", ""));
  const std::string refused = waiting.read_answer();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(refused, HasSubstr("Retry-After: "));
  RawClient probe(server.port());
  probe.send(get("/health"));
  EXPECT_THAT(probe.read_answer(), StartsWith("HTTP/1.1 200"));
  RawClient looking(server.port());
  looking.send(get("/items/5"));
  EXPECT_THAT(looking.read_answer(), StartsWith("HTTP/1.1 200"));
  EXPECT_FALSE(server.server().wait_until_idle(0.05));
  EXPECT_TRUE(exchange->write("still here"));
  exchange->end_stream();
  EXPECT_TRUE(server.server().wait_until_idle(10));
  EXPECT_THAT(running.read_until("0\r\n\r\n"), HasSubstr("still here"));
}

TEST(HttpServer, AfterADrainWhatStillRunsIsCut) {
  Server server;
  std::atomic<int> gone{0};
  RawClient client(server.port());
  client.send(get("/held"));
  const auto exchange = server.wait_for_held();
  exchange->on_gone([&] { ++gone; });
  server.server().drain();
  EXPECT_EQ(server.server().cut(), 1);
  EXPECT_EQ(gone, 1);
  EXPECT_TRUE(server.server().wait_until_idle(10));
  exchange->respond(200, "text/plain", "nobody hears it");
}

TEST(HttpServer, BeforeACutRoutesMaySayWhy) {
  Server server;
  RawClient client(server.port()), silent(server.port());
  client.send(get("/held"));
  const auto exchange = server.wait_for_held();
  exchange->begin_stream(200, "text/event-stream");
  exchange->write("data: 1\n\n");
  exchange->on_shutdown([raw = exchange.get()] {
    raw->write("data: {\"error\": 1}\n\n");
    raw->end_stream();
  });
  silent.send(get("/held"));
  const auto other = server.wait_for_held();
  server.server().drain();
  EXPECT_EQ(server.server().shut_down(), 2);
  EXPECT_THAT(client.read_until("0\r\n\r\n"), HasSubstr("data: {\"error\": 1}\n\n"));
  EXPECT_EQ(server.server().cut(), 1);
  EXPECT_TRUE(server.server().wait_until_idle(10));
  EXPECT_TRUE(comes_true([&] { return server.answered().size() == 2; }));
  EXPECT_FALSE(server.answered()[0].cut);
  EXPECT_TRUE(server.answered()[1].cut);
  EXPECT_FALSE(server.answered()[1].slow);
}

TEST(HttpServer, AnExchangeMayOutliveTheServer) {
  std::shared_ptr<Exchange> exchange;
  std::unique_ptr<RawClient> client;
  {
    Server server;
    client = std::make_unique<RawClient>(server.port());
    client->send(get("/held"));
    exchange = server.wait_for_held();
  }
  exchange->respond(200, "text/plain", "too late");
}

TEST(HttpServer, SaysWhatKeepsItFromListening) {
  Server server;
  Router router;
  HttpServer other({});
  try {
    other.listen({.port = server.port()}, {&router, nullptr, {}});
    FAIL() << "two servers at one port";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCommunication);
    EXPECT_THAT(error.what(), HasSubstr("--port"));
  }
  EXPECT_THROW(other.listen({.host = "no.such.host.invalid"}, {&router, nullptr, {}}), Error);
  EXPECT_THROW(other.listen({.tls_certificate_file = "/nonexistent"}, {&router, nullptr, {}}),
               Error);
}

}  // namespace
}  // namespace weft::serve
