// What one request may take of places, tokens and memory, and that it is told which field asks for
// too much.
#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "serve/chat_tools.h"
#include "serve/embedding_body.h"
#include "serve/grammar_fields.h"
#include "serve/openai_fixture.h"
#include "serve/openapi_document.h"
#include "serve/request_body.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Finish = engine::FinishReason;

std::string repeated(const std::string& entry, int count) {
  std::string list = entry;
  for (int i = 1; i < count; ++i) list += "," + entry;
  return "[" + list + "]";
}

// Clients are generated from the document.
TEST(OpenApiDocument, HasTheBoundsThatHold) {
  const json schemas = json::parse(openapi_document())["components"]["schemas"];
  const auto most = [&](const std::string& name, const char* path) {
    return schemas.at(name).at(json::json_pointer(path)).get<int64_t>();
  };
  const BodyLimits body;
  EXPECT_EQ(most("EmbeddingRequest", "/properties/input/oneOf/2/maxItems"), kMostInputs);
  EXPECT_EQ(most("CompletionRequest", "/properties/prompt/oneOf/2/maxItems"), body.prompts);
  EXPECT_EQ(most("ChatRequest", "/properties/messages/maxItems"), body.messages);
  EXPECT_EQ(most("TokenizeRequest", "/oneOf/1/properties/messages/maxItems"), body.messages);
  EXPECT_EQ(most("ResponseRequest", "/properties/input/oneOf/1/maxItems"), body.messages);
  const auto tools = static_cast<int64_t>(ToolLimits().tools);
  EXPECT_EQ(most("ChatRequest", "/properties/tools/oneOf/1/maxItems"), tools);
  EXPECT_EQ(most("TokenizeRequest", "/oneOf/1/properties/tools/oneOf/1/maxItems"), tools);
  for (const char* name : {"ChatRequest", "CompletionRequest"}) {
    EXPECT_EQ(most(name, "/properties/n/maximum"), body.choices);
    EXPECT_EQ(most(name, "/properties/best_of/maximum"), body.choices);
    EXPECT_EQ(most(name, "/properties/stop/oneOf/2/maxItems"), body.stops);
    EXPECT_EQ(most(name, "/properties/bad_words/oneOf/1/maxItems"), body.bad_words);
    EXPECT_EQ(most(name, "/properties/prompt_logprobs/maximum"), body.logprobs);
    EXPECT_EQ(most(name, "/properties/guided_choice/oneOf/1/maxItems"),
              static_cast<int64_t>(kMostChoices));
    EXPECT_EQ(
        most(name, "/properties/structured_outputs/oneOf/1/properties/choice/oneOf/1/maxItems"),
        static_cast<int64_t>(kMostChoices));
  }
  EXPECT_EQ(most("ChatRequest", "/properties/top_logprobs/maximum"), body.logprobs);
  EXPECT_EQ(most("CompletionRequest", "/properties/logprobs/maximum"), body.logprobs);
}

TEST_F(OpenAiRoutes, ListsLongerThanAllPlacesAreServed) {
  const json embeddings = ask("/v1/embeddings", R"({"input": )" + repeated("\"ab\"", 2048) + "}");
  EXPECT_EQ(embeddings["data"].size(), 2048u);
  EXPECT_EQ(embeddings["data"][2047]["index"], 2047);
  EXPECT_EQ(embeddings["usage"]["total_tokens"], 4096);
  const json answers =
      ask("/v1/completions", R"({"n": 2, "prompt": )" + repeated("\"ab\"", 1024) + "}");
  EXPECT_EQ(answers["choices"].size(), 2048u);
  EXPECT_EQ(answers["choices"][2047]["index"], 2047);
  EXPECT_EQ(client_->requests().size(), 1024u);
  EXPECT_EQ(admission_.num_answers(), 0);
  EXPECT_EQ(admission_.num_tokens(), 0);
}

TEST_F(OpenAiRoutes, AListTakesAQuarterOfThePlacesAtATime) {
  std::mutex mutex;
  std::vector<std::function<void()>> answers;
  client_->answer = [&](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    const std::lock_guard lock(mutex);
    answers.push_back([=] { on_event(event_of(request, 0, "x", Finish::kStop, true)); });
  };
  const auto asked_for = [&](size_t count) {
    for (int i = 0;; ++i) {
      {
        const std::lock_guard lock(mutex);
        if (answers.size() >= count || i == 20'000) return answers.size();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  const auto exchange =
      send("POST", "/v1/completions", R"({"prompt": )" + repeated("\"ab\"", 53) + "}");
  EXPECT_EQ(asked_for(50), 50u);  // of 200 places
  EXPECT_EQ(admission_.num_answers(), 50);
  EXPECT_EQ(admission_.num_tokens(), 50 * (2 + 16));
  for (size_t i = 0; i < 53; ++i) {
    const auto answer = [&] {
      const std::lock_guard lock(mutex);
      return answers.at(i);
    }();
    answer();
    const size_t asked = std::min<size_t>(51 + i, 53);
    EXPECT_EQ(asked_for(asked), asked);
  }
  ASSERT_TRUE(exchange->wait());
  EXPECT_EQ(json::parse(exchange->body)["choices"].size(), 53u);
}

// What four lists ask for together is what one may: others come in meanwhile.
TEST_F(OpenAiRoutes, ChatsComeInBesideLongLists) {
  std::mutex mutex;
  std::vector<std::function<void()>> waiting;
  client_->embed_waits = true;
  client_->answer = [&](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    const auto answer = [=] { on_event(event_of(request, 0, "x", Finish::kStop, true)); };
    if (request.prompt_ids[0] == 'h') return answer();  // a chat
    const std::lock_guard lock(mutex);
    waiting.push_back(answer);
  };
  const std::string list = repeated("\"ab\"", 1000);
  std::vector<std::shared_ptr<WaitingExchange>> exchanges;
  for (const char* path :
       {"/v1/completions", "/v1/embeddings", "/v1/completions", "/v1/embeddings"})
    exchanges.push_back(
        send("POST", path, R"({"input": )" + list + R"(, "prompt": )" + list + "}"));
  for (int i = 0; i < 20'000 && admission_.num_answers() < 50; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (int i = 0; i < 50; ++i) chat("");
  EXPECT_LE(admission_.num_answers(), 60);
  for (const auto& exchange : exchanges) exchange->leave();
}

TEST_F(OpenAiRoutes, LogprobsAreChargedBeforeAnythingRuns) {
  const auto most = [&](int n) {
    return fmt::format(R"(, "n": {}, "max_tokens": 400, "logprobs": true, "top_logprobs": 20)", n);
  };
  chat(most(59));
  const json error = chat(most(64), 400)["error"];
  EXPECT_EQ(error["param"], "top_logprobs");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("537600 logprobs in all; at most"));
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("max_tokens 372 would do"));
  EXPECT_EQ(chat(R"(, "n": 64, "logprobs": true, "top_logprobs": 20)", 400)["error"]["param"],
            "top_logprobs");
  const std::string prompts = R"("prompt": )" + repeated("\"" + std::string(400, 'a') + "\"", 64);
  const auto of_prompts = [&](const std::string& fields) {
    return ask("/v1/completions", "{" + prompts + fields + "}", 400)["error"]["param"];
  };
  EXPECT_EQ(of_prompts(R"(, "max_tokens": 1, "prompt_logprobs": 20)"), "prompt_logprobs");
  EXPECT_EQ(of_prompts(R"(, "max_tokens": 1, "echo": true, "logprobs": 20)"), "logprobs");
  EXPECT_EQ(client_->requests().size(), 1u);
}

// Of whole answers; a stream's count a quarter.
TEST_F(OpenAiRoutes, LogprobsOfManyRequestsAreBounded) {
  client_->answer = nullptr;  // they wait
  std::vector<std::shared_ptr<WaitingExchange>> exchanges;
  const auto send_one = [&](const std::string& fields) {
    const size_t count = client_->requests().size();
    exchanges.push_back(send("POST", "/v1/chat/completions",
                             R"({"messages": [{"role": "user", "content": "hi"}],
                                 "logprobs": true, "top_logprobs": 20)" +
                                 fields + "}"));
    for (int i = 0; i < 20'000 && client_->requests().size() == count; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  for (int i = 0; i < 4; ++i) send_one(R"(, "n": 40, "max_tokens": 500)");
  EXPECT_EQ(admission_.num_logprobs(), 4 * 40 * 500 * 21);
  send_one(R"(, "max_tokens": 400, "stream": true)");
  EXPECT_EQ(admission_.num_logprobs(), 4 * 40 * 500 * 21 + 400 * 21 / 4);
  const json error =
      chat(R"(, "n": 38, "max_tokens": 500, "logprobs": true, "top_logprobs": 20)", 429)["error"];
  EXPECT_EQ(error["code"], "queue_full");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("logprobs are promised"));
  for (const auto& exchange : exchanges) exchange->leave();
  EXPECT_EQ(admission_.num_logprobs(), 0);
}

// Who says no length does not mean the whole of a long context.
TEST_F(OpenAiRoutes, AnOpenAnswerEndsWhereItsLogprobsDo) {
  client_->card_.limits.max_model_len = client_->card_.limits.context_length = 100'000;
  chat(R"(, "logprobs": true, "top_logprobs": 20)");
  EXPECT_EQ(client_->requests().front().sampling.max_tokens, 500'000 / 21);
}

// Each is encoded twice, before anything runs.
TEST_F(OpenAiRoutes, BadWordsAreBoundedByTheirBytes) {
  const auto words = [](size_t count, size_t bytes) {
    return R"(, "bad_words": )" +
           repeated("\"" + std::string(bytes, 'a') + "\"", static_cast<int>(count));
  };
  const json error = chat(words(1000, 15'000), 400)["error"];
  EXPECT_EQ(error["param"], "bad_words");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("15000000 bytes in all, above 65536"));
  chat(words(1024, 64));
  EXPECT_EQ(chat(words(1, 65'537), 400)["error"]["param"], "bad_words");
}

TEST_F(OpenAiRoutes, IdsOutsideTheVocabularyBlameTheirField) {
  EXPECT_EQ(ask("/v1/completions", R"({"prompt": [1, 257]})", 400)["error"]["param"], "prompt");
  EXPECT_EQ(ask("/v1/embeddings", R"({"input": [1, 257]})", 400)["error"]["param"], "input");
}

TEST_F(OpenAiRoutes, APromptIsCutToWhatTheContextHolds) {
  const std::string prompt = R"({"prompt": ")" + std::string(599, 'a') + R"(b", )";
  ask("/v1/completions", prompt + R"("truncate_prompt_tokens": -1, "max_tokens": 5})");
  ASSERT_EQ(client_->requests().size(), 1u);
  EXPECT_EQ(client_->requests()[0].prompt_ids.size(), 507u);
  EXPECT_EQ(client_->requests()[0].prompt_ids.back(), 'b');
  EXPECT_EQ(client_->requests()[0].sampling.max_tokens, 5);
}

TEST_F(OpenAiRoutes, CompressedBodiesAreRefused) {
  for (const auto& [coding, status] :
       {std::pair{"gzip", 415}, {"GZIP", 415}, {"br", 415}, {"identity", 200}}) {
    HttpRequest request;
    request.body = R"({"prompt": "a"})";
    request.headers = {{"content-encoding", coding}};
    const auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    (*router_.find("POST", "/v1/completions").route)(exchange);
    ASSERT_TRUE(exchange->wait());
    EXPECT_EQ(exchange->status, status) << coding;
    const bool says = !exchange->headers.empty() &&
                      exchange->headers.back() ==
                          std::pair<std::string, std::string>("Accept-Encoding", "identity");
    EXPECT_EQ(says, status == 415);
  }
}

}  // namespace
}  // namespace weft::serve
