// Who is dropped because it does not read, and who is not.
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

// Readers that stay just fast enough are bounded together, whatever each of them is sent.
TEST(SlowReader, BurstsOfAllClientsAreBounded) {
  HttpServerOptions options;
  options.answer.burst_bytes = 4 << 20;
  Server server(options);
  const std::string piece(1 << 20, 'x');
  std::vector<std::unique_ptr<RawClient>> clients;
  std::vector<std::shared_ptr<Exchange>> exchanges;
  int num_kept = 0;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port(), 4096));
    clients.back()->send(get("/held"));
    exchanges.push_back(server.wait_for_held());
    exchanges.back()->begin_stream(200, "text/plain");
    EXPECT_TRUE(exchanges.back()->write("first"));
    EXPECT_TRUE(exchanges.back()->write(piece.substr(1024))) << i;  // its own share
    if (exchanges.back()->write(piece)) ++num_kept;
  }
  EXPECT_GE(num_kept, 3);
  EXPECT_LE(num_kept, 5);
  clients.clear();
  EXPECT_TRUE(comes_true([&] { return server.server().num_connections() == 0; }));
  RawClient later(server.port(), 4096);
  later.send(get("/held"));
  const auto exchange = server.wait_for_held();
  exchange->begin_stream(200, "text/plain");
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(exchange->write(piece)) << i;  // the share is free again
  exchange->end_stream();
  EXPECT_GT(later.read_until("0\r\n\r\n").size(), 4 * piece.size());
}

}  // namespace
}  // namespace weft::serve
