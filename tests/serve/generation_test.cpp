// What becomes of a request beside its answer: its id, and its end when the server ends.
#include "serve/generation.h"

#include <gmock/gmock.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "serve/answering_client.h"
#include "serve/openai_routes.h"
#include "serve/waiting_exchange.h"

namespace weft::serve {
namespace {

using nlohmann::json;

class GenerationTest : public testing::Test {
 protected:
  GenerationTest() : admission_({}) {
    add_openai_routes(&router_, client_, &admission_, {.model_names = {"tiny"}});
  }
  std::shared_ptr<WaitingExchange> send(const std::string& path, const std::string& body) {
    HttpRequest request;
    request.body = body;
    request.request_id = "r1";
    auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    (*router_.find("POST", path).route)(exchange);
    return exchange;
  }
  std::string id_of_answer(const std::string& path, const std::string& body) {
    const auto exchange = send(path, body);
    EXPECT_TRUE(exchange->wait());
    return json::parse(exchange->body)["id"];
  }
  template <typename Holds>
  static void wait_until(Holds holds) {
    for (int i = 0; i < 20'000 && !holds(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  std::shared_ptr<AnsweringClient> client_ = std::make_shared<AnsweringClient>();
  Admission admission_;
  Router router_;
};

// A client may send several requests under one X-Request-Id; ids of calls follow from these.
TEST_F(GenerationTest, AnswersToOneRequestIdHaveIdsOfTheirOwn) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    on_event(event_of(request, 0, "Hel", engine::FinishReason::kStop, true));
  };
  for (const auto& [path, body] :
       {std::pair("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "x"}]})"),
        std::pair("/v1/completions", R"({"prompt": "a"})")})
    EXPECT_NE(id_of_answer(path, body), id_of_answer(path, body)) << path;
}

// A drain that ran out of time, or an engine that stands still when the server ends.
TEST_F(GenerationTest, AStreamThatTheServersEndCutsSaysSo) {
  fleet::OnEvent goes_on;  // as an engine keeps it
  client_->answer = [&](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    goes_on = on_event;
    on_event(event_of(request, 0, "Hel"));
  };
  const auto begun = send("/v1/completions", R"({"prompt": "a", "stream": true})");
  wait_until([&] { return !begun->said().empty(); });
  ASSERT_TRUE(begun->shut_down());
  ASSERT_TRUE(begun->wait());
  const size_t last = begun->body.rfind("data: ");
  const json error = json::parse(begun->body.substr(last + 6))["error"];
  EXPECT_EQ(error["code"], "shutting_down");
  EXPECT_EQ(error["type"], "service_unavailable_error");
  EXPECT_THAT(client_->cancelled(), testing::ElementsAre(1));
}

TEST_F(GenerationTest, AnAnswerThatHasNotBegunHasAStatusWhenTheServerEnds) {
  client_->answer = nullptr;
  const auto waiting = send("/v1/completions", R"({"prompt": "a"})");
  wait_until([&] { return !client_->requests().empty(); });
  ASSERT_TRUE(waiting->shut_down());
  ASSERT_TRUE(waiting->wait());
  EXPECT_EQ(waiting->status, 503);
  EXPECT_EQ(json::parse(waiting->body)["error"]["code"], "shutting_down");
}

}  // namespace
}  // namespace weft::serve
