// Who is dropped because it does not read, and who is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "serve/held_server.h"

namespace weft::serve {
namespace {

using Server = HeldServer;

// A stream to the client, which has not been written to.
std::shared_ptr<Exchange> open_stream(Server& server, RawClient& client) {
  client.send(get("/held"));
  std::shared_ptr<Exchange> exchange = server.wait_for_held();
  exchange->begin_stream(200, "text/plain");
  return exchange;
}

TEST(SlowReader, AClientThatDoesNotReadIsCutAndHoldsLittle) {
  HttpServerOptions options;
  options.answer.slow_ns = 50'000'000;
  Server server(options);
  std::atomic<int> gone{0};
  RawClient client(server.port(), 4096);
  client.send(get("/held"));
  const auto exchange = server.wait_for_held();
  exchange->on_gone([&] { ++gone; });
  exchange->begin_stream(200, "text/plain");
  const std::string piece(8 * 1024, 'x');
  int64_t written = 0;
  while (exchange->write(piece)) {
    written += static_cast<int64_t>(piece.size());
    usleep(1000);
    ASSERT_LT(written, 100'000'000) << "a client that reads nothing was never cut";
  }
  // Beyond our own buffer it is the kernel's, which holds 64 KiB unsent and what the client's has.
  EXPECT_LT(written, 8'000'000);
  EXPECT_TRUE(comes_true([&] { return gone == 1; }));
  EXPECT_TRUE(comes_true([&] { return server.server().num_connections() == 0; }));
  ASSERT_EQ(server.answered().size(), 1u);
  EXPECT_TRUE(server.answered()[0].slow);
}

TEST(SlowReader, AFirstEventMayBeOfAnySize) {
  Server server;
  RawClient client(server.port());
  const auto exchange = open_stream(server, client);
  EXPECT_TRUE(exchange->write(std::string(3 << 20, 'x')));
  exchange->end_stream();
  EXPECT_GT(client.read_until("\r\n0\r\n\r\n").size(), size_t{3} << 20);
}

TEST(SlowReader, ABurstOfEventsIsNoSlowClient) {
  Server server;
  RawClient client(server.port());
  const auto exchange = open_stream(server, client);
  const std::string piece(4 * 1024, 'x');
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(exchange->write(piece)) << i;
  exchange->end_stream();
  EXPECT_GT(client.read_until("0\r\n\r\n").size(), 100 * piece.size());
}

// Events that come faster than any network, to a client that reads all that it can.
TEST(SlowReader, AReaderThatKeepsUpGetsEventsOfAnySize) {
  Server server;
  RawClient client(server.port(), 4096);
  const auto exchange = open_stream(server, client);
  const std::string piece(3 << 20, 'x');
  std::thread reader(
      [&] { EXPECT_GT(client.read_until("\r\n0\r\n\r\n").size(), 8 * piece.size()); });
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(exchange->write(piece)) << i;
  exchange->end_stream();
  reader.join();
}

// Of room the system tells in pieces of tens of KiB, which this client takes seconds for.
TEST(SlowReader, WhoReadsALittleAllTheTimeIsNotDropped) {
  HttpServerOptions options;
  options.answer.slow_ns = 1'500'000'000;
  options.times.linger = 200;  // looks after connections every 50 ms
  Server server(options);
  RawClient client(server.port(), 4096);
  const auto exchange = open_stream(server, client);
  const std::string piece(8 * 1024, 'x');
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(exchange->write(piece)) << i;
  char bytes[512];
  for (int i = 0; i < 80; ++i) {
    ASSERT_GT(recv(client.fd(), bytes, sizeof bytes, 0), 0) << i;
    usleep(50'000);
  }
  EXPECT_TRUE(exchange->write(piece));
  exchange->end_stream();
  EXPECT_GT(client.read_until("0\r\n\r\n").size(), 60 * piece.size());
}

// Their answers have ended, and come in one piece each: nothing else would bound them.
TEST(SlowReader, WhereTooMuchWaitsTheSlowestAreDropped) {
  HttpServerOptions options;
  options.answer.waiting_bytes = 5 << 19;  // two and a half of six
  options.answer.slow_ns = 300'000'000;
  options.times.linger = 200;
  Server server(options);
  const std::string piece(1 << 20, 'x');
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port(), 4096));
    const auto exchange = open_stream(server, *clients.back());
    EXPECT_TRUE(exchange->write(piece));
    exchange->end_stream();
  }
  // The last client reads on, however slowly; the others do not.
  char bytes[64];
  ASSERT_TRUE(comes_true([&] {
    recv(clients.back()->fd(), bytes, sizeof bytes, MSG_DONTWAIT);
    return server.server().num_connections() <= 2;
  }));
  EXPECT_EQ(server.server().num_connections(), 2);
  EXPECT_EQ(server.answered().size(), 4u);
  for (const AnsweredRequest& answered : server.answered()) EXPECT_TRUE(answered.slow);
  const std::string rest = clients.back()->read_until("0\r\n\r\n");
  EXPECT_THAT(rest, testing::EndsWith("0\r\n\r\n"));
}

// Bursts take room for as long as they wait, and no longer.
TEST(SlowReader, WhatWasTakenWaitsForNobody) {
  HttpServerOptions options;
  options.answer.waiting_bytes = 1 << 19;
  const std::string piece(1 << 20, 'x');
  options.answer.slow_ns = 100'000'000;
  options.times.linger = 200;
  Server server(options);
  for (int i = 0; i < 6; ++i) {
    RawClient client(server.port());
    const auto exchange = open_stream(server, client);
    EXPECT_TRUE(exchange->write(piece));
    EXPECT_GT(client.read_until("x\r\n").size(), piece.size());
    usleep(150'000);
    EXPECT_TRUE(exchange->write("last")) << i;
    exchange->end_stream();
    EXPECT_FALSE(client.read_until("0\r\n\r\n").empty());
  }
}

}  // namespace
}  // namespace weft::serve
