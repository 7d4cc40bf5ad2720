// /v1/responses from a body to an engine and back, with an engine whose answers are scripted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "serve/answering_client.h"
#include "serve/openai_routes.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class KeptExchange final : public Exchange {
 public:
  explicit KeptExchange(HttpRequest request) : request_(std::move(request)) {}
  const HttpRequest& request() const override { return request_; }
  void respond(int code, std::string, std::string text, HttpHeaders) override {
    status = code;
    body = std::move(text);
    end_stream();
  }
  void begin_stream(int code, std::string, HttpHeaders) override { status = code; }
  bool write(std::string chunk) override {
    body += chunk;
    return true;
  }
  void end_stream() override {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  void on_gone(std::function<void()>) override {}
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return ended_; });
  }
  int status = 0;
  std::string body;

 private:
  HttpRequest request_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

class ResponseRoutes : public testing::Test {
 protected:
  ResponseRoutes() : admission_({}) {
    client_->answer = [this](const fleet::Generate&, const fleet::OnEvent& on_event) {
      for (const char* piece : {"Hel", "lo"}) {
        fleet::Event event;
        event.text = piece;
        event.token_ids = {1, 2};
        if (std::string(piece) == "lo") {
          event.finish = finish_;
          event.ended = true;
        }
        on_event(event);
      }
    };
    OpenAiOptions options;
    options.model_names = {"tiny"};
    options.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    add_openai_routes(&router_, client_, &admission_, options);
  }

  std::string ask(const std::string& method, const std::string& path, const std::string& body,
                  int status = 200, const std::string& owner = "alice") {
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.principal.name = owner;
    const auto exchange = std::make_shared<KeptExchange>(std::move(request));
    const Router::Found found = router_.find(method, path);
    if (found.route == nullptr) return "no route";
    (*found.route)(exchange);
    EXPECT_TRUE(exchange->wait());
    EXPECT_EQ(exchange->status, status) << exchange->body;
    return exchange->body;
  }

  engine::FinishReason finish_ = engine::FinishReason::kStop;
  std::shared_ptr<AnsweringClient> client_ = std::make_shared<AnsweringClient>();
  Admission admission_;
  Router router_;
};

TEST_F(ResponseRoutes, AreMadeKeptAndGoneOnFrom) {
  const json made = json::parse(ask("POST", "/v1/responses", R"({"model":"tiny","input":"hi"})"));
  EXPECT_EQ(made["object"], "response");
  EXPECT_EQ(made["status"], "completed");
  EXPECT_EQ(made["output"][0]["content"][0]["text"], "Hello");
  EXPECT_EQ(made["usage"]["output_tokens"], 4);
  const std::string id = made["id"];
  EXPECT_EQ(json::parse(ask("GET", "/v1/responses/" + id, "")), made);
  EXPECT_THAT(ask("GET", "/v1/responses/" + id + "/input_items", ""), HasSubstr("\"hi\""));
  EXPECT_THAT(ask("GET", "/v1/responses/" + id, "", 404, "bob"), HasSubstr("response_not_found"));
  ask("POST", "/v1/responses", R"({"input":"more","previous_response_id":")" + id + "\"}");
  ask("POST", "/v1/responses", R"({"input":"x","previous_response_id":")" + id + "\"}", 404, "bob");
  EXPECT_THAT(ask("DELETE", "/v1/responses/" + id, ""), HasSubstr("\"deleted\":true"));
  ask("GET", "/v1/responses/" + id, "", 404);
}

TEST_F(ResponseRoutes, AreNotKeptWhereNobodyWantsThem) {
  const json made = json::parse(ask("POST", "/v1/responses", R"({"input":"hi","store":false})"));
  ask("GET", "/v1/responses/" + made["id"].get<std::string>(), "", 404);
}

TEST_F(ResponseRoutes, WhatIsTooLargeToBeKeptSaysSo) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    on_event(event_of(request, 0, std::string(9 << 20, 'x'), engine::FinishReason::kStop, true));
  };
  const json made = json::parse(ask("POST", "/v1/responses", R"({"input":"hi"})"));
  EXPECT_EQ(made["store"], false);
  ask("GET", "/v1/responses/" + made["id"].get<std::string>(), "", 404);
  const std::string text = ask("POST", "/v1/responses", R"({"input":"hi","stream":true})");
  const auto begun = text.find("event: response.created\ndata: ");
  ASSERT_NE(begun, std::string::npos);
  const std::string created = text.substr(text.find('{', begun), text.find("\n\n", begun));
  EXPECT_FALSE(json::parse(created.substr(0, created.find('\n')))["response"].contains("store"));
  const size_t last = text.find("event: response.completed\ndata: ");
  ASSERT_NE(last, std::string::npos);
  EXPECT_EQ(json::parse(text.substr(text.find('{', last)))["response"]["store"], false);
}

TEST_F(ResponseRoutes, TellsLogprobsThatAreIncluded) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event event = event_of(request, 0, "Hi", engine::FinishReason::kStop, true);
    event.token_ids = {1, 2};
    if (request.sampling.logprobs) event.logprobs = {{{1, -0.5F}, {3, -2.0F}}, {{2, -0.25F}}};
    on_event(event);
  };
  const std::string asked =
      R"({"input":"hi","top_logprobs":2,"include":["message.output_text.logprobs"])";
  const json made = json::parse(ask("POST", "/v1/responses", asked + "}"));
  const json logprobs = made["output"][0]["content"][0]["logprobs"];
  ASSERT_EQ(logprobs.size(), 2u);
  EXPECT_EQ(logprobs[0]["logprob"], -0.5);
  EXPECT_EQ(logprobs[0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(made["top_logprobs"], 2);
  const std::string text = ask("POST", "/v1/responses", asked + R"(,"stream":true})");
  const size_t delta = text.find("event: response.output_text.delta\ndata: ");
  ASSERT_NE(delta, std::string::npos);
  EXPECT_EQ(json::parse(text.substr(text.find('{', delta),
                                    text.find("\n\n", delta) - text.find('{', delta)))["logprobs"],
            logprobs);
  const json alone =
      json::parse(ask("POST", "/v1/responses", R"({"input":"hi","top_logprobs":2})"));
  EXPECT_TRUE(alone["output"][0]["content"][0]["logprobs"].empty());
}

TEST_F(ResponseRoutes, Stream) {
  const std::string text = ask("POST", "/v1/responses", R"({"input":"hi","stream":true})");
  size_t at = 0;
  for (const char* type :
       {"response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added", "response.output_text.delta", "response.output_text.done",
        "response.content_part.done", "response.output_item.done", "response.completed"}) {
    const size_t next = text.find(std::string("event: ") + type + "\n", at);
    ASSERT_NE(next, std::string::npos) << type << " in " << text;
    at = next;
  }
  EXPECT_EQ(text.find("[DONE]"), std::string::npos);
}

TEST_F(ResponseRoutes, WhatMeetsTheLimitIsIncomplete) {
  finish_ = engine::FinishReason::kLength;
  const json made =
      json::parse(ask("POST", "/v1/responses", R"({"input":"hi","max_output_tokens":4})"));
  EXPECT_EQ(made["status"], "incomplete");
  EXPECT_EQ(made["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(client_->requests().back().sampling.max_tokens, 4);
  EXPECT_THAT(ask("POST", "/v1/responses", R"({"input":"hi","stream":true})"),
              HasSubstr("event: response.incomplete\n"));
}

TEST_F(ResponseRoutes, AFailureWithinAStreamIsAnEvent) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    on_event(event_of(request, 0, "Hel"));
    fleet::Event event;
    event.error = Error(ErrorKind::kCommunication, "rank 1 was lost");
    event.ended = true;
    on_event(event);
  };
  const std::string text = ask("POST", "/v1/responses", R"({"input":"hi","stream":true})");
  const size_t at = text.find("event: error\n");
  ASSERT_NE(at, std::string::npos) << text;
  const size_t last = text.find("event: response.failed\ndata: ", at);
  ASSERT_NE(last, std::string::npos) << text;
  const json failed = json::parse(text.substr(text.find('{', last)));
  EXPECT_EQ(failed["response"]["status"], "failed");
  EXPECT_EQ(failed["response"]["error"]["code"], "server_error");
  EXPECT_EQ(text.find("event: response.completed"), std::string::npos);
}

TEST_F(ResponseRoutes, RefusalsAreErrorObjects) {
  EXPECT_THAT(ask("POST", "/v1/responses", R"({"model":"tiny"})", 400),
              HasSubstr("\"param\":\"input\""));
  EXPECT_THAT(ask("POST", "/v1/responses", R"({"model":"other","input":"x"})", 404),
              HasSubstr("model_not_found"));
  ask("POST", "/v1/responses", "{", 400);
}

}  // namespace
}  // namespace weft::serve
