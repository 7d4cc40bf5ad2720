// An exchange without a socket whose answer can be waited for.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "serve/exchange.h"

namespace weft::serve {

class WaitingExchange : public Exchange {
 public:
  explicit WaitingExchange(HttpRequest request) : request_(std::move(request)) {}

  const HttpRequest& request() const override { return request_; }
  void respond(int code, std::string, std::string text, HttpHeaders extra) override {
    end(code, std::move(text), std::move(extra));
  }
  void begin_stream(int code, std::string type, HttpHeaders) override {
    const std::lock_guard lock(mutex_);
    status = code;
    content_type = std::move(type);
  }
  bool write(std::string chunk) override {
    const std::lock_guard lock(mutex_);
    body += chunk;
    return !refuses_writes;
  }
  void end_stream() override { end(status, "", {}); }
  void on_gone(std::function<void()> gone) override { gone_ = std::move(gone); }
  void on_quiet(int64_t after_ns, std::function<void()> quiet) override {
    const std::lock_guard lock(mutex_);
    quiet_after_ns = after_ns;
    quiet_ = std::move(quiet);
  }

  void on_shutdown(std::function<void()> shutdown) override {
    const std::lock_guard lock(mutex_);
    shutdown_ = std::move(shutdown);
  }

  bool is_gone() const override { return has_left; }
  void keep(std::shared_ptr<void> kept) override {
    const std::lock_guard lock(mutex_);
    kept_ = std::move(kept);
  }

  void leave() {
    gone_();
    keep(nullptr);
  }
  // The server ends; whether anybody wants to know.
  bool shut_down() {
    std::function<void()> shutdown;
    {
      const std::lock_guard lock(mutex_);
      shutdown = std::exchange(shutdown_, nullptr);
    }
    if (shutdown) shutdown();
    return shutdown != nullptr;
  }
  // Nothing was said for long; whether anybody wants to know.
  bool be_quiet() {
    std::function<void()> quiet;
    {
      const std::lock_guard lock(mutex_);
      quiet = quiet_;
    }
    if (quiet) quiet();
    return quiet != nullptr;
  }
  std::string said() {
    const std::lock_guard lock(mutex_);
    return body;
  }
  bool wait(double seconds = 20) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return ended_; });
  }

  int status = 0;
  int64_t quiet_after_ns = 0;
  std::string content_type, body;
  HttpHeaders headers;
  std::atomic<bool> refuses_writes{false}, has_left{false};

 private:
  void end(int code, std::string text, HttpHeaders extra) {
    const std::lock_guard lock(mutex_);
    status = code;
    body += text;
    headers = std::move(extra);
    ended_ = true;
    kept_.reset();
    changed_.notify_all();
  }

  HttpRequest request_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::function<void()> gone_, quiet_, shutdown_;
  std::shared_ptr<void> kept_;
};

}  // namespace weft::serve
