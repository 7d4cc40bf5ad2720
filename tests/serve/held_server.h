// A server whose routes do what a test wants to see: they answer, fail, or hold their exchange.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "serve/http_client.h"

namespace weft::serve {

class HeldServer {
 public:
  explicit HeldServer(HttpServerOptions options = {}, std::vector<KeyRule> keys = {})
      : access_(keys), server_(std::move(options), [this](const AnsweredRequest& request) {
          const std::lock_guard lock(mutex_);
          answered_.push_back(request);
        }) {
    add_routes();
    port_ = server_.listen({}, {&router_, &access_, {}});
    server_.start();
  }
  ~HeldServer() {
    server_.stop();
    const std::lock_guard lock(mutex_);
    held_.clear();
  }

  int port() const { return port_; }
  HttpServer& server() { return server_; }
  Router& router() { return router_; }
  std::shared_ptr<Exchange> held() {
    const std::lock_guard lock(mutex_);
    return held_.empty() ? nullptr : held_.back();
  }
  std::shared_ptr<Exchange> wait_for_held() {
    EXPECT_TRUE(comes_true([&] { return held() != nullptr; }));
    const std::lock_guard lock(mutex_);
    auto exchange = held_.back();
    held_.pop_back();
    return exchange;
  }
  std::vector<AnsweredRequest> answered() {
    const std::lock_guard lock(mutex_);
    return answered_;
  }

 private:
  void add_routes() {
    router_.add("GET", "/health", [](const std::shared_ptr<Exchange>& exchange) {
      exchange->respond(200, "text/plain", "well");
    });
    router_.add("POST", "/echo", [](const std::shared_ptr<Exchange>& exchange) {
      exchange->respond(200, "text/plain", exchange->request().body);
    });
    router_.add("GET", "/items/{id}", [](const std::shared_ptr<Exchange>& exchange) {
      exchange->respond(200, "text/plain", std::string(exchange->request().path_param("id")));
    });
    router_.add("GET", "/dropped", [](const std::shared_ptr<Exchange>&) {});
    router_.add("GET", "/thrown", [](const std::shared_ptr<Exchange>&) {
      throw std::runtime_error("a secret at 0x7fff1234");
    });
    const Route hold = [this](std::shared_ptr<Exchange> exchange) {
      const std::lock_guard lock(mutex_);
      held_.push_back(std::move(exchange));
    };
    router_.add("GET", "/held", hold);
    router_.add("POST", "/held", hold);
  }

  Router router_;
  Access access_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Exchange>> held_;
  std::vector<AnsweredRequest> answered_;
  HttpServer server_;
  int port_ = 0;
};

}  // namespace weft::serve
