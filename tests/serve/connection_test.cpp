// A connection whose client reads nothing more: what is under way to it has a deadline.
#include "serve/connection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace weft::serve {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// Reads and writes end when a test says so.
class HeldTransport final : public Transport {
 public:
  void handshake(OnDone on_done) override { handshake_ = std::move(on_done); }
  void read_some(boost::asio::mutable_buffer into, OnDone on_done) override {
    into_ = into;
    read_ = std::move(on_done);
  }
  void write_some(boost::asio::const_buffer from, OnDone on_done) override {
    from_ = from;
    write_ = std::move(on_done);
  }
  bool peer_has_ended() override { return false; }
  int64_t num_unsent() override { return unsent; }
  void end_writing() override {}
  void close(bool) override { is_closed = true; }

  void connect() { std::exchange(handshake_, nullptr)({}, 0); }
  void receive(std::string_view bytes) {
    ASSERT_TRUE(read_ != nullptr && bytes.size() <= into_.size());
    std::memcpy(into_.data(), bytes.data(), bytes.size());
    std::exchange(read_, nullptr)({}, bytes.size());
  }
  bool is_writing() const { return write_ != nullptr; }
  // Takes all that is under way.
  std::string take() {
    std::string bytes(static_cast<const char*>(from_.data()), from_.size());
    std::exchange(write_, nullptr)({}, bytes.size());
    return bytes;
  }
  // Ends what waits, as a closed socket does.
  void abandon() {
    for (OnDone* done : {&handshake_, &read_, &write_})
      if (*done) std::exchange(*done, nullptr)(boost::asio::error::operation_aborted, 0);
  }

  bool is_closed = false;
  int64_t unsent = 0;

 private:
  boost::asio::mutable_buffer into_;
  boost::asio::const_buffer from_;
  OnDone handshake_, read_, write_;
};

class HeldConnection {
 public:
  explicit HeldConnection(int64_t write_ms = 5'000) {
    router_.add("POST", "/echo", [](const std::shared_ptr<Exchange>& exchange) {
      exchange->respond(200, "text/plain", exchange->request().body);
    });
    router_.add("GET", "/stream", [this](std::shared_ptr<Exchange> exchange) {
      stream = std::move(exchange);
      stream->begin_stream(200, "text/plain");
      stream->write("first");
      for (int i = 0; i < 25; ++i) stream->write(std::string(8 * 1024, 'x'));
    });
    site_.http.router = &router_;
    state_->options.times = {.body = 1'000, .write = write_ms};
    state_->on_answered = [this](const AnsweredRequest& request) { answered.push_back(request); };
    ++state_->num_connections;
    connection_ = std::make_shared<Connection>(transport, site_, *state_, *thread_);
    thread_->connections.insert(connection_);
    connection_->start();
    transport->connect();
  }
  ~HeldConnection() {
    stream.reset();
    connection_->close(true);
    transport->abandon();
    run();
  }

  void run() {
    thread_->io.restart();
    thread_->io.poll();
  }
  // As the server's sweep does.
  void check_after(int64_t ns) { connection_->check_deadline(now_ns() + ns); }
  bool is_closed() const { return transport->is_closed && state_->num_connections == 0; }

  const std::shared_ptr<HeldTransport> transport = std::make_shared<HeldTransport>();
  std::vector<AnsweredRequest> answered;
  std::shared_ptr<Exchange> stream;

 private:
  Router router_;
  Site site_;
  std::shared_ptr<ServerState> state_ = std::make_shared<ServerState>();
  std::shared_ptr<ServerThread> thread_ = std::make_shared<ServerThread>();
  std::shared_ptr<Connection> connection_;
};

const std::string kAsksFirst =
    "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";

// The body's time is over, and its refusal waits behind what nobody takes.
TEST(Connection, ABodyThatWasAskedForInVainDoesNotHoldItForGood) {
  HeldConnection held;
  held.transport->receive(kAsksFirst);
  ASSERT_TRUE(held.transport->is_writing());
  held.check_after(2 * kSecond);
  held.run();
  EXPECT_FALSE(held.is_closed());
  held.check_after(6 * kSecond);
  EXPECT_TRUE(held.is_closed());
}

// A write ends where the system has room for tens of KiB, which may take a slow client long.
TEST(Connection, WhoTakesALittleOfWhatTheSystemHoldsIsNotStuck) {
  HeldConnection held;
  held.transport->receive("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
  held.run();
  ASSERT_TRUE(held.transport->is_writing());
  for (int seconds = 1; seconds <= 20; ++seconds) {
    held.transport->unsent = 100'000 - seconds * 1'000;
    held.check_after(seconds * kSecond);
    held.run();
    ASSERT_FALSE(held.is_closed()) << seconds;
  }
  held.check_after(24 * kSecond);
  held.run();
  EXPECT_FALSE(held.is_closed());
  held.check_after(26 * kSecond);
  held.run();
  EXPECT_TRUE(held.is_closed());
  ASSERT_EQ(held.answered.size(), 1u);
  EXPECT_TRUE(held.answered[0].slow);
}

// Nobody writes to it any more.
TEST(Connection, AFinishedAnswerThatNobodyTakesIsNotHeld) {
  HeldConnection held(/*write_ms=*/600'000);
  held.transport->receive("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
  held.stream->end_stream();
  held.run();
  held.check_after(4 * kSecond);
  held.run();
  EXPECT_FALSE(held.is_closed());
  held.check_after(6 * kSecond);
  held.run();
  EXPECT_TRUE(held.is_closed());
  ASSERT_EQ(held.answered.size(), 1u);
  EXPECT_TRUE(held.answered[0].slow);
}

// The body came unasked, and the answer waits behind the question.
TEST(Connection, AnAnswerBehindWhatNobodyTakesDoesNotHoldItForGood) {
  HeldConnection held;
  held.transport->receive(kAsksFirst);
  held.transport->receive("abc");
  held.run();
  held.check_after(2 * kSecond);
  EXPECT_FALSE(held.is_closed());
  held.check_after(6 * kSecond);
  EXPECT_TRUE(held.is_closed());
}

TEST(Connection, WhoTakesTheQuestionLateGetsTheAnswer) {
  HeldConnection held;
  held.transport->receive(kAsksFirst);
  held.transport->receive("abc");
  held.run();
  EXPECT_EQ(held.transport->take(), "HTTP/1.1 100 Continue\r\n\r\n");
  held.run();
  ASSERT_TRUE(held.transport->is_writing());
  held.check_after(4 * kSecond);
  EXPECT_FALSE(held.is_closed());
  EXPECT_TRUE(held.transport->take().ends_with("\r\n\r\nabc"));
  held.check_after(6 * kSecond);  // nothing is under way any more
  EXPECT_FALSE(held.is_closed());
  ASSERT_EQ(held.answered.size(), 1u);
  EXPECT_EQ(held.answered[0].pattern, "/echo");
}

// Metrics count by route: what was refused before its path was known has none.
TEST(Connection, WhatIsRefusedUnreadIsOfNoRoute) {
  HeldConnection held;
  held.transport->receive("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na");
  held.run();
  held.transport->take();
  held.transport->receive("POST /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
  held.run();
  ASSERT_TRUE(held.transport->is_writing());
  EXPECT_TRUE(held.transport->take().starts_with("HTTP/1.1 400 "));
  ASSERT_EQ(held.answered.size(), 2u);
  EXPECT_EQ(held.answered[0].pattern, "/echo");
  EXPECT_EQ(held.answered[1].status, 400);
  EXPECT_EQ(held.answered[1].pattern, "");
}

}  // namespace
}  // namespace weft::serve
