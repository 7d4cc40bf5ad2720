#include "serve/aside.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <stdexcept>
#include <thread>

#include "serve/recorded_exchange.h"

namespace weft::serve {
namespace {

TEST(Aside, ARouteRunsElsewhere) {
  std::promise<std::thread::id> ran;
  TaskPool pool(1, 4);
  const Route route = aside(&pool, [&](const std::shared_ptr<Exchange>& exchange) {
    exchange->respond(200, "text/plain", "done");
    ran.set_value(std::this_thread::get_id());
  });
  const auto exchange = std::make_shared<RecordedExchange>(HttpRequest{});
  route(exchange);
  EXPECT_NE(ran.get_future().get(), std::this_thread::get_id());
  EXPECT_EQ(exchange->status, 200);
}

TEST(Aside, TooManyAreRefused) {
  std::promise<void> begun, may_end;
  const std::shared_future<void> ends = may_end.get_future().share();
  TaskPool pool(1, 1);
  const Route blocking = aside(&pool, [&](const std::shared_ptr<Exchange>&) {
    begun.set_value();
    ends.wait();
  });
  const Route quick = aside(&pool, [](const std::shared_ptr<Exchange>&) {});
  blocking(std::make_shared<RecordedExchange>(HttpRequest{}));
  begun.get_future().wait();
  const auto waiting = std::make_shared<RecordedExchange>(HttpRequest{});
  const auto refused = std::make_shared<RecordedExchange>(HttpRequest{});
  quick(waiting);
  quick(refused);
  EXPECT_NE(waiting->status, 503);
  EXPECT_EQ(refused->status, 503);
  may_end.set_value();
}

TEST(Aside, WhatARouteThrowsEndsItAlone) {
  std::promise<void> ran;
  TaskPool pool(1, 4);
  aside(&pool, [](const std::shared_ptr<Exchange>&) { throw std::runtime_error("no"); })(
      std::make_shared<RecordedExchange>(HttpRequest{}));
  aside(&pool, [&](const std::shared_ptr<Exchange>&) { ran.set_value(); })(
      std::make_shared<RecordedExchange>(HttpRequest{}));
  ran.get_future().wait();
}

}  // namespace
}  // namespace weft::serve
