// What becomes of a request beside its answer: its id, and its end when the server ends.
#include "serve/generation.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
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
  wait_until([&] { return !client_->cancelled().empty(); });  // after the client was told
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
  EXPECT_TRUE(std::ranges::any_of(waiting->headers,
                                  [](const auto& pair) { return pair.first == "Retry-After"; }));
}

// All but the last message was lost, and a required call was not required.
TEST_F(GenerationTest, WithoutATemplateAQuestionIsAllThereIs) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    on_event(event_of(request, 0, "Hel", engine::FinishReason::kStop, true));
  };
  const std::string user = R"({"role": "user", "content": "hi"})";
  const std::string tools =
      R"("tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": )";
  const auto refused = [&](const std::string& path, const std::string& fields) {
    const auto exchange = send(path, "{" + fields + "}");
    EXPECT_TRUE(exchange->wait());
    json error = json::parse(exchange->body).value("error", json::object());
    if (error.is_null()) error = json::object();  // of a response
    EXPECT_EQ(exchange->status, error.empty() ? 200 : 400) << exchange->body;
    if (!error.empty()) {
      EXPECT_THAT(error["message"].get<std::string>(), testing::HasSubstr("--chat-template"));
    }
    return error.value("param", "");
  };
  const std::string chat = "/v1/chat/completions";
  const auto messages = [&](const std::string& list) { return R"("messages": [)" + list + "]"; };
  EXPECT_EQ(refused(chat, messages(user)), "");
  EXPECT_EQ(refused(chat, messages(user + "," + user)), "messages");
  EXPECT_EQ(refused(chat, messages(R"({"role": "system", "content": "be"},)" + user)), "messages");
  EXPECT_EQ(refused(chat, messages(user) + R"(, "continue_final_message": true)"),
            "continue_final_message");
  for (const char* choice : {"\"required\"", "\"auto\""})
    EXPECT_EQ(refused(chat, messages(user) + "," + tools + choice), "tools");
  EXPECT_EQ(refused(chat, messages(user) + "," + tools + "\"none\""), "");
  EXPECT_EQ(refused("/tokenize", messages(user + "," + user)), "messages");
  EXPECT_EQ(refused("/v1/responses", R"("input": "hi")"), "");
  EXPECT_EQ(refused("/v1/responses", R"("input": "hi", "instructions": "be")"), "input");
}

// Keeps whom it would tell, as an engine does.
class HeldEmbeddings : public AnsweringClient {
 public:
  HeldEmbeddings() { embed_waits = true; }
  uint64_t embed(fleet::Embed request, fleet::OnEmbedding on_embedding) override {
    held.push_back(on_embedding);
    return AnsweringClient::embed(std::move(request), std::move(on_embedding));
  }
  std::vector<fleet::OnEmbedding> held;
};

TEST(Generation, EmbeddingsThatTheServersEndCutsAreToldSo) {
  const auto client = std::make_shared<HeldEmbeddings>();
  Admission admission({});
  Router router;
  add_openai_routes(&router, client, &admission, {.model_names = {"tiny"}});
  HttpRequest request;
  request.body = R"({"input": ["a", "b"]})";
  const auto waiting = std::make_shared<WaitingExchange>(std::move(request));
  (*router.find("POST", "/v1/embeddings").route)(waiting);
  for (int i = 0; i < 20'000 && client->embeds().size() < 2; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_TRUE(waiting->shut_down());
  ASSERT_TRUE(waiting->wait());
  EXPECT_EQ(waiting->status, 503);
  EXPECT_EQ(json::parse(waiting->body)["error"]["code"], "shutting_down");
  for (int i = 0; i < 20'000 && client->cancelled().size() < 2; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(client->cancelled().size(), 2u);
  client->held.clear();
}

// Texts that begin with "long" take until they are released.
class SlowTokenizer : public ByteTokenizer {
 public:
  ~SlowTokenizer() override { release(); }
  std::vector<int32_t> encode(std::string_view text, bool begins, bool special) const override {
    if (text.starts_with("long")) {
      std::unique_lock lock(mutex_);
      ++num_begun_;
      changed_.notify_all();
      changed_.wait_for(lock, std::chrono::minutes(5), [this] { return released_; });
    }
    return ByteTokenizer::encode(text, begins, special);
  }
  bool wait_for(int num_begun) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1),
                             [&] { return num_begun_ >= num_begun; });
  }
  void release() {
    const std::lock_guard lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable int num_begun_ = 0;
  bool released_ = false;
};

class SlowlyReading : public AnsweringClient {
 public:
  const text::Tokenizer& tokenizer() const override { return slow; }
  SlowTokenizer slow;
};

// Both threads that read are busy while it lives.
class BusyReaders : public testing::Test {
 protected:
  BusyReaders() : admission_({}) {
    client_->card_.limits.max_model_len = client_->card_.limits.context_length = 40'000;
    client_->answer = [this](const fleet::Generate& request, const fleet::OnEvent& on_event) {
      on_event(event_of(request, 0, "begun"));
      const std::lock_guard lock(mutex_);
      say_ = [request, on_event](std::string text, bool ends) {
        std::optional<engine::FinishReason> finish;
        if (ends) finish = engine::FinishReason::kStop;
        on_event(event_of(request, 0, std::move(text), finish, ends));
      };
    };
    OpenAiOptions options{.model_names = {"tiny"}};
    options.num_threads = 2;
    add_openai_routes(&router_, client_, &admission_, options);
  }
  ~BusyReaders() override { client_->slow.release(); }

  std::shared_ptr<WaitingExchange> send(const std::string& path, const std::string& body) {
    HttpRequest request;
    request.method = "POST";
    request.body = body;
    auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    (*router_.find("POST", path).route)(exchange);
    return exchange;
  }
  // Begins an answer, which the engine goes on with as the test says.
  std::shared_ptr<WaitingExchange> begin(const std::string& body) {
    auto exchange = send("/v1/completions", body);
    for (int i = 0; i < 20'000 && !is_begun(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(is_begun());
    return exchange;
  }
  void say(std::string text, bool ends) {
    const std::lock_guard lock(mutex_);
    say_(std::move(text), ends);
  }
  bool is_begun() {
    const std::lock_guard lock(mutex_);
    return say_ != nullptr;
  }
  void make_busy() {
    for (int i = 0; i < 2; ++i) texts_.push_back(send("/tokenize", R"({"prompt": "long"})"));
    ASSERT_TRUE(client_->slow.wait_for(2));
  }
  void release() {
    client_->slow.release();
    for (const auto& text : texts_) EXPECT_TRUE(text->wait());
  }

  std::shared_ptr<SlowlyReading> client_ = std::make_shared<SlowlyReading>();
  Admission admission_;
  Router router_;
  std::mutex mutex_;
  std::function<void(std::string text, bool ends)> say_;
  std::vector<std::shared_ptr<WaitingExchange>> texts_;
};

bool says(WaitingExchange& stream, const char* text) {
  for (int i = 0; i < 20'000 && stream.said().find(text) == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return stream.said().find(text) != std::string::npos;
}

// Two texts of megabytes, which take seconds to encode, stopped all streams for as long.
TEST_F(BusyReaders, StreamsGoOnWhileLongTextsAreEncoded) {
  const auto stream = begin(R"({"prompt": "a", "stream": true})");
  make_busy();
  say("goes on", false);
  EXPECT_TRUE(says(*stream, "goes on"));
  ASSERT_TRUE(stream->be_quiet());
  EXPECT_TRUE(says(*stream, "keep-alive"));
  say("ends", true);
  EXPECT_TRUE(stream->wait());
  release();
}

TEST_F(BusyReaders, AnswersAreToldOfTheServersEnd) {
  const auto answer = begin(R"({"prompt": "a"})");
  make_busy();
  ASSERT_TRUE(answer->shut_down());
  EXPECT_TRUE(answer->wait());
  EXPECT_EQ(answer->status, 503);
  release();
}

// The JSON of half a million logprobs takes a second or two, in which a stream waits for nothing.
TEST_F(BusyReaders, WriteAnswersThatAreLong) {
  const auto answer = begin(R"({"prompt": "a", "max_tokens": 30000})");
  make_busy();
  say(std::string(20'000, 'x'), true);
  EXPECT_FALSE(answer->wait(1));
  release();
  ASSERT_TRUE(answer->wait());
  EXPECT_EQ(json::parse(answer->body)["choices"][0]["text"].get<std::string>().size(), 20'005u);
}

}  // namespace
}  // namespace weft::serve
