// The routes of OpenAI's API over an engine client whose answers a test writes.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/answering_client.h"
#include "serve/openai_routes.h"
#include "serve/waiting_exchange.h"

namespace weft::serve {

class OpenAiRoutes : public ::testing::Test {
 protected:
  OpenAiRoutes() : OpenAiRoutes(AdmissionLimits{.max_answers = 200, .max_tokens = 100'000}) {}
  explicit OpenAiRoutes(AdmissionLimits limits) : admission_(limits) {
    client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
      for (int64_t i = 0; i < request.sampling.n; ++i) {
        on_event(event_of(request, static_cast<size_t>(i), "Hel"));
        on_event(event_of(request, static_cast<size_t>(i), "lo", engine::FinishReason::kStop,
                          i + 1 == request.sampling.n));
      }
    };
    add_openai_routes(&router_, client_, &admission_, {.model_names = {"tiny", "org/tiny"}});
  }

  std::shared_ptr<WaitingExchange> send(const std::string& method, const std::string& path,
                                        const std::string& body) {
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.request_id = "r1";
    request.principal.cache_salt = 77;
    auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    const Router::Found found = router_.find(method, path);
    EXPECT_NE(found.route, nullptr) << path;
    if (found.route != nullptr) (*found.route)(exchange);
    return exchange;
  }
  nlohmann::json ask(const std::string& path, const std::string& body, int status = 200) {
    const auto exchange = send("POST", path, body);
    EXPECT_TRUE(exchange->wait());
    EXPECT_EQ(exchange->status, status) << exchange->body;
    return nlohmann::json::parse(exchange->body);
  }
  nlohmann::json chat(const std::string& fields, int status = 200) {
    return ask("/v1/chat/completions",
               R"({"messages": [{"role": "user", "content": "hi"}])" + fields + "}", status);
  }
  // The chunks of a stream; "[DONE]" is checked and left out.
  std::vector<nlohmann::json> stream(const std::string& path, const std::string& body) {
    const auto exchange = send("POST", path, body);
    EXPECT_TRUE(exchange->wait());
    EXPECT_EQ(exchange->status, 200);
    EXPECT_THAT(exchange->content_type, testing::StartsWith("text/event-stream"));
    return chunks_of(exchange->body);
  }
  static std::vector<nlohmann::json> chunks_of(const std::string& body) {
    std::vector<nlohmann::json> chunks;
    bool done = false;
    for (size_t at = 0; at < body.size();) {
      const size_t end = body.find("\n\n", at);
      const std::string line = body.substr(at, end - at);
      EXPECT_THAT(line, testing::StartsWith("data: "));
      EXPECT_FALSE(done) << "after the end: " << line;
      done = line == "data: [DONE]";
      if (!done) chunks.push_back(nlohmann::json::parse(line.substr(6)));
      at = end + 2;
    }
    EXPECT_TRUE(done || (!chunks.empty() && chunks.back().contains("error")));
    return chunks;
  }

  std::shared_ptr<AnsweringClient> client_ = std::make_shared<AnsweringClient>();
  Admission admission_;
  Router router_;
};

}  // namespace weft::serve
