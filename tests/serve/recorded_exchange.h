// An exchange without a socket, which remembers what it was answered.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "serve/exchange.h"

namespace weft::serve {

class RecordedExchange : public Exchange {
 public:
  explicit RecordedExchange(HttpRequest request) : request_(std::move(request)) {}

  const HttpRequest& request() const override { return request_; }
  void respond(int code, std::string type, std::string text, HttpHeaders extra) override {
    ++num_answers;
    status = code;
    content_type = std::move(type);
    body = std::move(text);
    headers = std::move(extra);
  }
  void begin_stream(int, std::string, HttpHeaders) override {}
  bool write(std::string) override { return false; }
  void end_stream() override {}
  void on_gone(std::function<void()>) override {}

  // Empty where there is none.
  std::string header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return value;
    return {};
  }

  int num_answers = 0, status = 0;
  std::string content_type, body;
  HttpHeaders headers;

 private:
  HttpRequest request_;
};

}  // namespace weft::serve
