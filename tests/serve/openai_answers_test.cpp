// What answers say in the corners: of calls that a stop string cuts, of text that is not shown, of
// failures in the words of who asked.
#include <mutex>
#include <thread>

#include "serve/openai_fixture.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Finish = engine::FinishReason;

// Over a template, with Hermes' calls.
class ToolRoutes : public OpenAiRoutes {
 protected:
  ToolRoutes() {
    router_ = Router();
    add_openai_routes(&router_, client_, &admission_,
                      {.model_names = {"tiny"},
                       .chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}",
                       .parsers = {.tools = text::ToolFormat::kHermes, .reasoning = {}}});
  }
  static constexpr const char* kTools =
      R"("tools": [{"type": "function", "function": {"name": "now"}}])";
  // The answer is `text`, which ends by itself.
  void say(const std::string& text) {
    client_->answer = [text](const fleet::Generate& request, const fleet::OnEvent& on_event) {
      on_event(event_of(request, 0, text));
      on_event(event_of(request, 0, "", Finish::kStop, true));
    };
  }
  std::string chat_body(const std::string& fields) {
    return std::string(R"({"messages": [{"role": "user", "content": "hi"}], )") + kTools + fields +
           "}";
  }
  std::string response_body(const std::string& fields) {
    return R"({"input": "hi", "tools": [{"type": "function", "name": "now"}])" + fields + "}";
  }
};

const std::string kCall = R"(<tool_call>{"name": "now", "arguments": {}}</tool_call>)";

TEST_F(ToolRoutes, ACallThatAStopCutsIsNoCall) {
  for (const bool is_whole : {true, false}) {
    say(is_whole ? kCall : R"(<tool_call>{"name": "now", "arguments": {"city": "P)");
    const char* const expected = is_whole ? "tool_calls" : "stop";
    EXPECT_EQ(ask("/v1/chat/completions", chat_body(""))["choices"][0]["finish_reason"], expected);
    const std::vector<json> chunks =
        stream("/v1/chat/completions", chat_body(R"(, "stream": true)"));
    EXPECT_EQ(chunks.back()["choices"][0]["finish_reason"], expected);
    const json response = ask("/v1/responses", response_body(""));
    const char* const status = is_whole ? "completed" : "incomplete";
    EXPECT_EQ(response["output"][0]["status"], status);
    EXPECT_EQ(response["status"], status);
    EXPECT_EQ(response["incomplete_details"], is_whole ? json(nullptr) : json::object());
    const auto events = send("POST", "/v1/responses", response_body(R"(, "stream": true)"));
    ASSERT_TRUE(events->wait());
    EXPECT_THAT(events->body, HasSubstr(std::string("event: response.") + status + "\n"));
  }
}

// Its client's library knows two reasons, and sends back what it was given.
TEST_F(ToolRoutes, ACallThatTheLimitCutsSaysSoAndMayBeSentBack) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    on_event(event_of(request, 0, R"(<tool_call>{"name": "now", "arguments": {"city": "P)"));
    on_event(event_of(request, 0, "", Finish::kLength, true));
  };
  const json response = ask("/v1/responses", response_body(""));
  const json expected = {{"reason", "max_output_tokens"}};
  EXPECT_EQ(response["status"], "incomplete");
  EXPECT_EQ(response["incomplete_details"], expected);
  const auto events = send("POST", "/v1/responses", response_body(R"(, "stream": true)"));
  ASSERT_TRUE(events->wait());
  EXPECT_THAT(events->body, HasSubstr(R"("incomplete_details":{"reason":"max_output_tokens"})"));
  const json item = response["output"][0];
  EXPECT_EQ(item["type"], "function_call");
  const json more = {
      {"input",
       {{{"role", "user"}, {"content", "hi"}}, item, {{"role", "user"}, {"content", "go on"}}}}};
  ask("/v1/responses", more.dump());
}

// A required call has no text that the format could be of, and OpenAI takes both.
TEST_F(ToolRoutes, AFormatBesideARequiredCallIsOfNoText) {
  std::optional<text::GrammarSpec> asked;
  client_->answer = [&](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    asked = request.grammar;
    on_event(event_of(request, 0, kCall));
    on_event(event_of(request, 0, "", Finish::kStop, true));
  };
  const std::string required = R"(, "tool_choice": "required")";
  const json plain = ask("/v1/chat/completions", chat_body(required));
  ASSERT_TRUE(asked);
  const std::string of_call = asked->source;
  const json both = ask("/v1/chat/completions",
                        chat_body(required + R"(, "response_format": {"type": "json_object"})"));
  EXPECT_EQ(asked->source, of_call);
  EXPECT_EQ(both["choices"][0]["message"]["tool_calls"][0]["function"],
            plain["choices"][0]["message"]["tool_calls"][0]["function"]);
  ask("/v1/responses",
      response_body(required + R"(, "text": {"format": {"type": "json_object"}})"));
  EXPECT_EQ(asked->source, of_call);
  const json refused =
      ask("/v1/chat/completions", chat_body(required + R"(, "guided_regex": "a")"), 400)["error"];
  EXPECT_THAT(refused["message"].get<std::string>(), HasSubstr("guided_regex"));
}

// What the engine's arithmetic takes for 0 is no more than that.
TEST_F(OpenAiRoutes, APenaltyThatIsTooSmallIsToldTheLeast) {
  const json error = chat(R"(, "repetition_penalty": 1e-38)", 400)["error"];
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("1.1754944e-38 at least"));
}

TEST_F(ToolRoutes, ToolsCountAmongTheTokensOfAChat) {
  const auto count = [&](const std::string& body) {
    return ask("/tokenize", body)["count"].get<int64_t>();
  };
  const std::string plain = R"({"messages": [{"role": "user", "content": "hi"}]})";
  say("x");
  const json usage = ask("/v1/chat/completions", chat_body(""))["usage"];
  EXPECT_EQ(count(chat_body("")), usage["prompt_tokens"]);
  EXPECT_GT(count(chat_body("")), count(plain) + 20);
  EXPECT_EQ(count(chat_body(R"(, "tool_choice": "none")")), count(plain));
}

// A schema that is none made 500 of it.
TEST_F(ToolRoutes, SchemasOfToolsAreChecked) {
  for (const char* parameters : {R"({"properties": [1]})", R"({"properties": 5})",
                                 R"({"required": "a"})", R"({"required": [1]})"}) {
    const json error =
        ask("/v1/chat/completions",
            std::string(R"({"messages": [{"role": "user", "content": "hi"}], "tool_choice":
        "required", "tools": [{"type": "function", "function": {"name": "f", "parameters": )") +
                parameters + "}}]}",
            400)["error"];
    EXPECT_EQ(error["param"], "tools") << parameters;
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("tools[0].function.parameters."));
  }
}

// openai of PyPI raises where anything comes before response.created.
TEST_F(OpenAiRoutes, AResponseThatFailsBeforeItsFirstTokenWasCreated) {
  std::mutex mutex;
  fleet::OnEvent tell;
  client_->answer = [&](const fleet::Generate&, const fleet::OnEvent& on_event) {
    const std::lock_guard lock(mutex);
    tell = on_event;
  };
  const auto exchange = send("POST", "/v1/responses", R"({"input": "a", "stream": true})");
  for (int i = 0; i < 20'000 && exchange->said().empty(); ++i) {
    exchange->be_quiet();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  fleet::Event event;
  event.error = Error(ErrorKind::kCommunication, "a rank was lost");
  event.ended = true;
  {
    const std::lock_guard lock(mutex);
    tell(event);
  }
  ASSERT_TRUE(exchange->wait());
  size_t at = 0;
  for (const char* type :
       {"response.created", "response.in_progress", "error", "response.failed"}) {
    const size_t next = exchange->body.find(std::string("event: ") + type + "\n", at);
    ASSERT_NE(next, std::string::npos) << type << " in " << exchange->body;
    at = next;
  }
  EXPECT_THAT(exchange->body, HasSubstr(R"("type":"response.created","sequence_number":0)"));
}

TEST_F(OpenAiRoutes, OffsetsCountTheTextThatIsShown) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event event = event_of(request, 0, "x", Finish::kStop, true);
    event.token_ids.push_back(256);  // <|end|>
    event.logprobs.push_back({{256, -0.5f}});
    event.token_ids.push_back('y');
    event.logprobs.push_back({{'y', -0.5f}});
    event.prompt_logprobs = {{}, {{'a', -1.f}}, {{'b', -1.f}}};
    on_event(event);
  };
  const auto offsets = [&](const std::string& fields) {
    return ask("/v1/completions", R"({"prompt": [256, 97, 98], "echo": true, "logprobs": 1)" +
                                      fields + "}")["choices"][0]["logprobs"]["text_offset"];
  };
  EXPECT_EQ(offsets(""), json::parse("[0, 0, 1, 2, 3, 3]"));
  EXPECT_EQ(offsets(R"(, "skip_special_tokens": false)"), json::parse("[0, 0, 1, 2, 3, 10]"));
}

TEST_F(OpenAiRoutes, OfATokenThatIsNotShownNothingIs) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event event = event_of(request, 0, "x", Finish::kStop, true);
    event.stop_reason = "x";
    on_event(event);
  };
  const std::string body =
      R"({"prompt": "ab", "echo": true, "max_tokens": 0, "return_token_ids": true)";
  for (const json& answer : {ask("/v1/completions", body + "}"),
                             stream("/v1/completions", body + R"(, "stream": true})").at(0)}) {
    const json& choice = answer["choices"][0];
    EXPECT_EQ(choice["text"], "ab");
    EXPECT_EQ(choice["token_ids"], json::array());
    EXPECT_EQ(choice["finish_reason"], "length");
    EXPECT_TRUE(choice["stop_reason"].is_null());
  }
}

TEST_F(OpenAiRoutes, RefusalsNameTheFieldsThatWereSent) {
  const auto refused = [&](const std::string& path, const std::string& fields) {
    const json error = ask(path, "{" + fields + "}", 400)["error"];
    const std::string param = error["param"].is_null() ? "null" : error["param"];
    const std::string message = error["message"];
    EXPECT_TRUE(message.find("max_tokens") == message.npos || param == "max_tokens") << message;
    return param;
  };
  const std::string chat = "/v1/chat/completions", responses = "/v1/responses";
  const std::string messages = R"("messages": [{"role": "user", "content": "a"}], )";
  EXPECT_EQ(refused(chat, messages + R"("max_tokens": 900)"), "max_tokens");
  EXPECT_EQ(refused(chat, messages + R"("max_completion_tokens": 900)"), "max_completion_tokens");
  EXPECT_EQ(refused(chat, messages + R"("max_completion_tokens": 400, "n": 128, "logprobs": true,
                                        "top_logprobs": 20)"),
            "top_logprobs");
  EXPECT_EQ(refused(responses, R"("input": "a", "max_output_tokens": 900)"), "max_output_tokens");
  EXPECT_EQ(refused(responses, R"("input": ")" + std::string(600, 'a') + "\""), "input");
  EXPECT_EQ(refused(responses, R"("input": [{"role": "", "content": "a"}])"), "input");
  const auto format = [&](const std::string& rest) {
    return refused(responses,
                   R"("input": "a", "text": {"format": {"type": "json_schema", )" + rest + "}}");
  };
  EXPECT_EQ(format(R"("name": "a b", "schema": {})"), "text.format.name");
  EXPECT_EQ(format(R"("name": "a", "schema": 5)"), "text.format.schema");
}

// An engine compiles a grammar when the body is long forgotten.
TEST_F(OpenAiRoutes, AGrammarThatDoesNotCompileIsItsFieldsFault) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event event = event_of(request, 0, "", Finish::kError, true);
    event.error = Error(ErrorKind::kUsage, "the expression does not compile");
    on_event(event);
  };
  const auto param = [&](const std::string& path, const std::string& fields) {
    return ask(path, "{" + fields + "}", 400)["error"]["param"];
  };
  const std::string prompt = R"("prompt": "a", )", schema = R"({"type": "object"})";
  EXPECT_EQ(param("/v1/completions", prompt + R"("guided_regex": "a")"), "guided_regex");
  EXPECT_EQ(param("/v1/completions", prompt + R"("structured_outputs": {"regex": "a"})"),
            "structured_outputs");
  EXPECT_EQ(param("/v1/completions", prompt + R"("response_format": {"type": "json_object"})"),
            "response_format");
  EXPECT_EQ(param("/v1/responses",
                  R"("input": "a", "text": {"format": {"type": "json_schema", "name": "n",
                     "schema": )" +
                      schema + "}}"),
            "text.format");
  EXPECT_TRUE(param("/v1/completions", R"("prompt": "a")").is_null());
}

TEST_F(OpenAiRoutes, EmbeddingsAreCutWhereTheyAreAskedToBe) {
  const auto tokens = [&](const std::string& truncation) {
    return ask("/v1/embeddings", R"({"input": ["abc", ")" + std::string(600, 'a') +
                                     R"("], "truncate_prompt_tokens": )" + truncation +
                                     "}")["usage"]["prompt_tokens"];
  };
  EXPECT_EQ(tokens("2"), 4);
  EXPECT_EQ(client_->embeds().at(0).prompt_ids, (std::vector<int32_t>{'b', 'c'}));
  EXPECT_EQ(tokens("-1"), 3 + 512);
  for (const char* wrong : {"0", "-2", "\"a\""})
    EXPECT_EQ(ask("/v1/embeddings",
                  std::string(R"({"input": "a", "truncate_prompt_tokens": )") + wrong + "}",
                  400)["error"]["param"],
              "truncate_prompt_tokens");
  EXPECT_EQ(ask("/v1/embeddings", R"({"input": "a", "priority": 0.5})", 400)["error"]["param"],
            "priority");
}

// -1000 went before everybody, whatever the key had.
TEST_F(OpenAiRoutes, AKeysPriorityIsABoundary) {
  const auto given = [&](uint64_t salt, const std::string& path, const std::string& body) {
    HttpRequest request;
    request.method = "POST";
    request.body = body;
    request.principal = {.name = "ann", .cache_salt = salt, .priority = salt == 0 ? 0 : 10};
    const auto exchange = std::make_shared<WaitingExchange>(request);
    (*router_.find("POST", path).route)(exchange);
    EXPECT_TRUE(exchange->wait());
    EXPECT_EQ(exchange->status, 200) << exchange->body;
    return path == "/v1/embeddings" ? client_->embeds().back().priority
                                    : client_->requests().back().priority;
  };
  for (const auto& [path, field] : {std::pair("/v1/completions", R"({"prompt": "a")"),
                                    std::pair("/v1/embeddings", R"({"input": "a")")}) {
    const auto asked = [&](uint64_t salt, const std::string& priority) {
      return given(salt, path, field + (R"(, "priority": )" + priority) + "}");
    };
    EXPECT_EQ(asked(7, "-1000"), 10);
    EXPECT_EQ(asked(7, "5"), 15);
    EXPECT_EQ(asked(7, "2147483647"), INT32_MAX);
    EXPECT_EQ(asked(0, "-1000"), -1000) << "without keys everybody is one";
  }
}

}  // namespace
}  // namespace weft::serve
