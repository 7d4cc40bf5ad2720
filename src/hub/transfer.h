// One HTTP exchange on a libcurl handle that is used again and again, driven by a multi handle.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <exception>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "hub/http.h"

namespace weft::hub {

class Transfer {
 public:
  struct Request {
    std::string url;
    bool head = false;
    std::string range;  // "0-99"; empty: all
    // Of the body, after status() and headers() are known. false: enough, it is broken off.
    // What it throws is kept and thrown by failure().
    std::function<bool(std::span<const char> piece)> on_body;
  };

  explicit Transfer(const Settings& settings);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  void start(CURLM* multi, Request request);
  bool is_running() const { return multi_ != nullptr; }
  // Whether what was started has ended; libcurl said so through `drive`.
  bool is_done() const { return !is_running(); }
  // Breaks it off where it runs.
  void leave();

  int status() const { return status_; }
  const std::map<std::string, std::string>& headers() const { return headers_; }
  std::string_view header(const std::string& name) const;
  // Of an ended one: empty `what` where the answer came in whole, or was broken off by on_body
  // (was_cut). Throws what on_body threw.
  TransportError failure() const;
  bool was_cut() const { return cut_; }

 private:
  friend void drive(CURLM* multi);
  static size_t take_header(char* data, size_t size, size_t count, void* self);
  static size_t take_body(char* data, size_t size, size_t count, void* self);
  void end(CURLcode code);

  const Settings& settings_;
  CURL* easy_;
  CURLM* multi_ = nullptr;
  curl_slist* lines_ = nullptr;  // of the request's head
  Request request_;
  int status_ = 0;
  std::map<std::string, std::string> headers_;
  std::exception_ptr thrown_;
  bool cut_ = false;
  CURLcode code_ = CURLE_OK;
  char error_text_[CURL_ERROR_SIZE] = {};
};

// Lets all transfers of `multi` go on for a moment: at most 100 ms.
void drive(CURLM* multi);

// Sleeps before try number failures + 2, longer each time, or as long as Retry-After says (at most
// a minute). Throws Stopped.
void wait_to_retry(const Settings& settings, int failures, std::string_view retry_after,
                   const std::atomic<bool>& stop);
std::chrono::milliseconds retry_pause(const Settings& settings, int failures,
                                      std::string_view retry_after);

}  // namespace weft::hub
