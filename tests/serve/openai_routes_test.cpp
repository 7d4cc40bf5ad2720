#include "serve/openai_routes.h"

#include "serve/openai_fixture.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Finish = engine::FinishReason;

TEST_F(OpenAiRoutes, AChatIsAnsweredInOpenAisShape) {
  json answer = chat(R"(, "model": "tiny", "seed": 5, "max_tokens": 9)");
  EXPECT_GT(answer["created"].get<int64_t>(), 1'600'000'000);
  answer.erase("created");
  EXPECT_THAT(answer["id"].get<std::string>(), testing::MatchesRegex("chatcmpl-r1-[0-9a-f]+"));
  answer.erase("id");
  EXPECT_EQ(answer, json::parse(R"({
    "object": "chat.completion", "model": "tiny",
    "system_fingerprint": "fp_test",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null},
                 "logprobs": null, "finish_reason": "stop", "stop_reason": null}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7,
              "prompt_tokens_details": {"cached_tokens": 2}}})"));
  const fleet::Generate asked = client_->requests().at(0);
  EXPECT_EQ(asked.sampling.seed, 5u);
  EXPECT_EQ(asked.sampling.max_tokens, 9);
  EXPECT_EQ(asked.cache_salt, 77u);
  EXPECT_EQ(admission_.num_answers(), 0);
}

TEST_F(OpenAiRoutes, AnAnswerThatSaysNoLengthEndsWithTheContext) {
  chat("");
  EXPECT_EQ(client_->requests().at(0).sampling.max_tokens, 510);
  EXPECT_TRUE(client_->requests().at(0).sampling.seed.has_value());
  chat("");
  EXPECT_NE(client_->requests()[0].sampling.seed, client_->requests()[1].sampling.seed);
}

TEST_F(OpenAiRoutes, LogprobsOfAChat) {
  const json answer = chat(R"(, "logprobs": true, "top_logprobs": 1)");
  const json& content = answer["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 5u);
  EXPECT_EQ(content[0], json::parse(R"({"token": "H", "logprob": -0.25, "bytes": [72],
      "top_logprobs": [{"token": "H", "logprob": -0.25, "bytes": [72]}]})"));
  EXPECT_EQ(
      chat(R"(, "logprobs": true, "return_tokens_as_token_ids": true)")["choices"][0]["logprobs"]
                                                                       ["content"][0]["token"],
      "token_id:72");
}

TEST_F(OpenAiRoutes, AStreamGivesRolesFirstAndItsUsageLast) {
  const std::vector<json> chunks =
      stream("/v1/chat/completions",
             R"({"messages": [{"role": "user", "content": "hi"}], "stream": true, "n": 2,
          "stream_options": {"include_usage": true}})");
  ASSERT_EQ(chunks.size(), 7u);
  for (const json& chunk : chunks) {
    EXPECT_EQ(chunk["id"], chunks[0]["id"]);
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
  }
  for (size_t i : {0u, 1u}) {
    EXPECT_EQ(chunks[i]["choices"][0]["index"], i);
    EXPECT_EQ(chunks[i]["choices"][0]["delta"],
              json::parse(R"({"role":"assistant","content":""})"));
    EXPECT_TRUE(chunks[i]["usage"].is_null());
  }
  EXPECT_EQ(chunks[2]["choices"][0]["delta"], json::parse(R"({"content": "Hel"})"));
  EXPECT_TRUE(chunks[2]["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(chunks[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(chunks[5]["choices"][0]["index"], 1);
  EXPECT_EQ(chunks[6]["choices"], json::array());
  EXPECT_EQ(chunks[6]["usage"]["completion_tokens"], 10);
  EXPECT_EQ(chunks[6]["usage"]["prompt_tokens"], 2);
}

// Half a character, a special token, a stop string that may come: clients count tokens by chunks.
TEST_F(OpenAiRoutes, ATokenWithoutTextHasAChunk) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event empty;
    on_event(empty);  // no token: no chunk
    empty.token_ids = {195};
    on_event(empty);
    on_event(event_of(request, 0, "x"));
    empty.finish = Finish::kLength;
    empty.ended = true;
    on_event(empty);
  };
  const std::vector<json> texts = stream("/v1/completions", R"({"prompt": "a", "stream": true})");
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_EQ(texts[0]["choices"][0]["text"], "");
  EXPECT_TRUE(texts[0]["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(texts[1]["choices"][0]["text"], "x");
  EXPECT_EQ(texts[2]["choices"][0]["finish_reason"], "length");
  const std::vector<json> chunks =
      stream("/v1/chat/completions",
             R"({"messages": [{"role": "user", "content": "hi"}], "stream": true})");
  ASSERT_EQ(chunks.size(), 4u);
  EXPECT_EQ(chunks[1]["choices"][0]["delta"], json::parse(R"({"content": ""})"));
  EXPECT_EQ(chunks[2]["choices"][0]["delta"], json::parse(R"({"content": "x"})"));
  EXPECT_EQ(chunks[3]["choices"][0]["delta"], json::object());
  EXPECT_EQ(chunks[3]["choices"][0]["finish_reason"], "length");
}

TEST_F(OpenAiRoutes, CompletionsOfSeveralPromptsEchoThem) {
  const json answer =
      ask("/v1/completions",
          R"({"prompt": ["ab", [99]], "echo": true, "logprobs": 1, "max_tokens": 5})");
  EXPECT_EQ(answer["object"], "text_completion");
  ASSERT_EQ(answer["choices"].size(), 2u);
  EXPECT_EQ(answer["choices"][0]["text"], "abHello");
  EXPECT_EQ(answer["choices"][1]["text"], "cHello");
  EXPECT_EQ(answer["choices"][1]["index"], 1);
  EXPECT_EQ(answer["choices"][1]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 10);
}

TEST_F(OpenAiRoutes, APromptIsJudgedWithoutAnAnswer) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event event = event_of(request, 0, "x", Finish::kLength, true);
    event.prompt_logprobs = {{}, {{'z', -0.5f}, {'b', -2.5f}}};
    on_event(event);
  };
  const json answer =
      ask("/v1/completions", R"({"prompt": "ab", "echo": true, "logprobs": 1, "max_tokens": 0})");
  const json& choice = answer["choices"][0];
  EXPECT_EQ(choice["text"], "ab");
  EXPECT_EQ(choice["logprobs"], json::parse(R"({
    "tokens": ["a", "b"], "token_logprobs": [null, -2.5],
    "top_logprobs": [null, {"z": -0.5, "b": -2.5}], "text_offset": [0, 1]})"));
  EXPECT_EQ(answer["usage"]["completion_tokens"], 0);
}

TEST_F(OpenAiRoutes, CompletionsStreamTheirOffsets) {
  const std::vector<json> chunks =
      stream("/v1/completions", R"({"prompt": "a", "stream": true, "logprobs": 0})");
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0]["choices"][0]["text"], "Hel");
  EXPECT_EQ(chunks[1]["choices"][0]["logprobs"]["text_offset"], json::parse("[3, 4]"));
  EXPECT_EQ(chunks[1]["choices"][0]["finish_reason"], "stop");
}

TEST_F(OpenAiRoutes, HalfCharactersAreValidJson) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event event = event_of(request, 0, "\xc3\xa9", Finish::kStop, true);
    on_event(event);
  };
  const json answer = ask("/v1/completions", R"({"prompt": "a", "logprobs": 1})");
  EXPECT_EQ(answer["choices"][0]["text"], "\u00e9");
  EXPECT_EQ(answer["choices"][0]["logprobs"]["tokens"],
            json::parse(R"(["bytes:\\xc3", "bytes:\\xa9"])"));
  EXPECT_EQ(answer["choices"][0]["logprobs"]["text_offset"], json::parse("[0, 1]"));
}

TEST_F(OpenAiRoutes, RefusalsAreErrorObjects) {
  const auto error = [&](const std::string& fields, int status = 400) {
    return chat(fields, status)["error"];
  };
  EXPECT_EQ(error(R"(, "model": "other")", 404)["code"], "model_not_found");
  EXPECT_EQ(error(R"(, "model": "other")", 404)["param"], "model");
  EXPECT_EQ(error(R"(, "max_tokens": 600)")["code"], "context_length_exceeded");
  EXPECT_EQ(error(R"(, "stop_token_ids": [257])")["param"], "stop_token_ids");
  EXPECT_EQ(error(R"(, "temperature": 200)")["param"], "temperature");
  const std::string long_text(600, 'a');
  const json too_long =
      ask("/v1/completions", R"({"prompt": ")" + long_text + R"("})", 400)["error"];
  EXPECT_EQ(too_long["code"], "context_length_exceeded");
  EXPECT_EQ(too_long["param"], "prompt");
  EXPECT_EQ(ask("/v1/completions", "{\"prompt\"", 400)["error"]["code"], "invalid_json");
  EXPECT_EQ(ask("/v1/completions", "[]", 400)["error"]["message"],
            "the body is []: an object is expected");
  EXPECT_TRUE(client_->requests().empty());
  EXPECT_EQ(admission_.num_answers(), 0);
  EXPECT_EQ(admission_.num_tokens(), 0);
}

// Also a grammar of its own: what stands around it knows nothing of its rules.
TEST_F(OpenAiRoutes, AGrammarHoldsFromTheEndOfTheReasoningOn) {
  Router router;
  add_openai_routes(&router, client_, &admission_,
                    {.chat_template = "{{ messages[0].content }}",
                     .parsers = {.tools = {}, .reasoning = text::ReasoningFormat::kQwen3}});
  const auto spec_of = [&](const std::string& body) {
    HttpRequest request;
    request.method = "POST";
    request.path = "/v1/chat/completions";
    request.body = body;
    const auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    (*router.find("POST", "/v1/chat/completions").route)(exchange);
    EXPECT_TRUE(exchange->wait());
    EXPECT_EQ(exchange->status, 200) << exchange->body;
    return client_->requests().back().grammar.value_or(text::GrammarSpec{});
  };
  const auto asked = [&](const std::string& content) {
    return spec_of(R"({"messages": [{"role": "user", "content": ")" + content +
                   R"("}], "guided_grammar": "root ::= \"a\""})");
  };
  EXPECT_EQ(asked("hi").source, "root ::= \"a\"");
  EXPECT_THAT(asked("hi").frame, HasSubstr("thought BREAKS)? @answer"));
  EXPECT_THAT(asked("hi <think>").frame, HasSubstr("start: thought BREAKS @answer"));
}

TEST_F(OpenAiRoutes, TokensOfReasoningAreCountedApart) {
  Router router;
  add_openai_routes(&router, client_, &admission_,
                    {.chat_template = "{{ messages[0].content }}",
                     .parsers = {.tools = {}, .reasoning = text::ReasoningFormat::kQwen3}});
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    on_event(event_of(request, 0, "<think>why"));
    on_event(event_of(request, 0, "?</think>so", Finish::kStop, true));
  };
  const auto answered = [&](const std::string& fields) {
    HttpRequest request;
    request.body = R"({"messages": [{"role": "user", "content": "hi"}])" + fields + "}";
    const auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    (*router.find("POST", "/v1/chat/completions").route)(exchange);
    EXPECT_TRUE(exchange->wait());
    return exchange->body;
  };
  const json usage =
      chunks_of(answered(R"(, "stream": true, "stream_options": {"include_usage": true})"))
          .back()["usage"];
  EXPECT_EQ(usage["completion_tokens_details"]["reasoning_tokens"], 4);
  EXPECT_EQ(usage["completion_tokens"], 21);
  EXPECT_EQ(json::parse(answered(""))["usage"], usage);
}

TEST_F(OpenAiRoutes, ABodyMayNameItsRequest) {
  EXPECT_THAT(chat(R"(, "request_id": "mine-1")")["id"], StartsWith("chatcmpl-mine-1-"));
  EXPECT_THAT(chat(R"(, "request_id": "not \"fit\"")")["id"], StartsWith("chatcmpl-r1-"));
  EXPECT_EQ(chat(R"(, "request_id": 5)", 400)["error"]["param"], "request_id");
}

TEST_F(OpenAiRoutes, BodiesThatAreSaidToBeNoJsonAreRefused) {
  const auto status_of = [&](const std::string& path, const std::string& type) {
    HttpRequest request;
    request.method = "POST";
    request.path = path;
    request.headers = {{"content-type", type}};
    request.body = R"({"prompt": "a", "input": "a", "tokens": [97],
                       "messages": [{"role": "user", "content": "hi"}]})";
    const auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    (*router_.find("POST", path).route)(exchange);
    EXPECT_TRUE(exchange->wait());
    return exchange->status;
  };
  for (const char* type : {"", "application/json", "Application/JSON; charset=utf-8", "text/plain",
                           "application/problem+json", "application/x-www-form-urlencoded"})
    EXPECT_EQ(status_of("/v1/completions", type), 200) << type;
  for (const char* path : {"/v1/completions", "/v1/embeddings", "/v1/responses", "/detokenize",
                           "/tokenize", "/v1/chat/completions"})
    for (const char* type : {"multipart/form-data; boundary=json", "application/xml", "image/png"})
      EXPECT_EQ(status_of(path, type), 415) << path << " " << type;
  EXPECT_EQ(admission_.num_answers(), 0);
}

TEST_F(OpenAiRoutes, AFailureBeforeTheFirstChunkHasAStatus) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event event = event_of(request, 0, "", Finish::kError, true);
    event.error = Error(ErrorKind::kUsage, "response_format: the schema is no schema");
    on_event(event);
  };
  const json answer = chat(R"(, "stream": true)", 400);
  EXPECT_THAT(answer["error"]["message"].get<std::string>(), HasSubstr("no schema"));
}

TEST_F(OpenAiRoutes, WhatIsBusySaysThatLaterMayDo) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event event = event_of(request, 0, "", Finish::kError, true);
    event.error = Error(ErrorKind::kBusy, "too many grammars wait, try again later");
    on_event(event);
  };
  const json answer = chat("", 503);
  EXPECT_EQ(answer["error"]["code"], "overloaded");
  EXPECT_THAT(answer["error"]["message"].get<std::string>(), HasSubstr("try again later"));
}

TEST_F(OpenAiRoutes, AFailureWithinAStreamIsItsLastEvent) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    on_event(event_of(request, 0, "Hel"));
    fleet::Event event = event_of(request, 0, "", Finish::kError, true);
    event.error = Error(ErrorKind::kCommunication, "rank 1 of /dev/shm/x was lost");
    on_event(event);
  };
  const std::vector<json> chunks =
      stream("/v1/chat/completions",
             R"({"messages": [{"role": "user", "content": "x"}], "stream": true})");
  EXPECT_EQ(chunks.back()["error"]["code"], "engine_unavailable");
  EXPECT_THAT(chunks.back().dump(), testing::Not(HasSubstr("/dev")));
}

TEST_F(OpenAiRoutes, AStreamThatWaitsSaysThatItIsAlive) {
  std::function<void()> go_on;
  client_->answer = [&](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    go_on = [request, on_event] { on_event(event_of(request, 0, "Hello", Finish::kStop, true)); };
  };
  const auto exchange = send("POST", "/v1/completions", R"({"prompt": "a", "stream": true})");
  const auto until = [](const std::function<bool()>& holds) {
    for (int i = 0; i < 20'000; ++i) {
      if (holds()) return true;  // asked once: being quiet twice is said twice
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  };
  ASSERT_TRUE(until([&] { return !client_->requests().empty(); }));
  ASSERT_TRUE(until([&] { return exchange->be_quiet(); }));
  EXPECT_EQ(exchange->quiet_after_ns, 15'000'000'000);
  ASSERT_TRUE(until([&] { return exchange->said() == ": keep-alive\n\n"; }));
  EXPECT_EQ(exchange->status, 200);
  go_on();
  ASSERT_TRUE(exchange->wait());
  EXPECT_THAT(exchange->body, StartsWith(": keep-alive\n\ndata: {"));
  EXPECT_THAT(exchange->body, testing::EndsWith("data: [DONE]\n\n"));
  exchange->be_quiet();  // too late to be of interest
  EXPECT_THAT(exchange->body, testing::EndsWith("data: [DONE]\n\n"));
}

TEST_F(OpenAiRoutes, AFailureAfterAKeepAliveIsAnEvent) {
  std::function<void()> go_on;
  client_->answer = [&](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    go_on = [request, on_event] {
      fleet::Event event = event_of(request, 0, "", Finish::kError, true);
      event.error = Error(ErrorKind::kCommunication, "a rank was lost");
      on_event(event);
    };
  };
  const auto exchange = send("POST", "/v1/completions", R"({"prompt": "a", "stream": true})");
  for (int i = 0; i < 20'000 && exchange->said().empty(); ++i) {
    exchange->be_quiet();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  go_on();
  ASSERT_TRUE(exchange->wait());
  EXPECT_EQ(exchange->status, 200);
  EXPECT_THAT(exchange->body, HasSubstr("data: {\"error\""));
}

TEST_F(OpenAiRoutes, OnlyStreamsSayThatTheyAreAlive) {
  client_->answer = nullptr;
  const auto exchange = send("POST", "/v1/completions", R"({"prompt": "a"})");
  for (int i = 0; i < 20'000 && client_->requests().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_FALSE(exchange->be_quiet());
}

TEST_F(OpenAiRoutes, WhoLeavesIsCancelled) {
  client_->answer = nullptr;
  const auto exchange =
      send("POST", "/v1/completions", R"({"prompt": ["a", "b"], "max_tokens": 5})");
  for (int i = 0; i < 20'000 && client_->requests().size() < 2; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(client_->requests().size(), 2u);
  EXPECT_EQ(admission_.num_tokens(), 12);
  exchange->leave();
  EXPECT_THAT(client_->cancelled(), testing::UnorderedElementsAre(1, 2));
}

TEST_F(OpenAiRoutes, WhoDoesNotReadIsCancelled) {
  std::vector<fleet::OnEvent> callbacks;
  client_->answer = [&](const fleet::Generate&, const fleet::OnEvent& on_event) {
    callbacks.push_back(on_event);
  };
  HttpRequest request;
  request.method = "POST";
  request.path = "/v1/completions";
  request.body = R"({"prompt": "a", "stream": true})";
  auto exchange = std::make_shared<WaitingExchange>(request);
  exchange->refuses_writes = true;
  (*router_.find("POST", request.path).route)(exchange);
  for (int i = 0; i < 20'000 && client_->requests().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  callbacks.at(0)(event_of(client_->requests().at(0), 0, "Hel"));
  for (int i = 0; i < 20'000 && client_->cancelled().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_THAT(client_->cancelled(), ElementsAre(1));
}

TEST_F(OpenAiRoutes, ModelsAreListedAndShown) {
  const auto list = send("GET", "/v1/models", "");
  EXPECT_EQ(json::parse(list->body)["data"][1]["id"], "org/tiny");
  const auto one = send("GET", "/v1/models/org/tiny", "");
  EXPECT_EQ(json::parse(one->body)["max_model_len"], 512);
  const auto none = send("GET", "/v1/models/other", "");
  EXPECT_EQ(none->status, 404);
  EXPECT_EQ(json::parse(none->body)["error"]["code"], "model_not_found");
}

TEST_F(OpenAiRoutes, TextBecomesTokensAndBack) {
  EXPECT_EQ(ask("/tokenize", R"({"prompt": "ab", "return_token_strs": true})"),
            json::parse(R"({"count": 2, "max_model_len": 512, "tokens": [97, 98],
                            "token_strs": ["a", "b"]})"));
  EXPECT_EQ(ask("/tokenize", R"({"messages": [{"role": "user", "content": "a"}]})")["count"], 1);
  EXPECT_EQ(ask("/detokenize", R"({"tokens": [97, 98, 256]})"),
            json::parse(R"({"prompt": "ab<|end|>"})"));
  EXPECT_EQ(ask("/detokenize", R"({"tokens": [257]})", 400)["error"]["param"], "tokens");
  EXPECT_EQ(ask("/tokenize", R"({})", 400)["error"]["code"], "missing_required_parameter");
}

TEST_F(OpenAiRoutes, TheTokenizerNamesItsEndingToken) {
  const auto eos = [&] {
    const auto exchange = send("GET", "/tokenizer_info", "");
    EXPECT_EQ(exchange->status, 200);
    return json::parse(exchange->body)["eos_token"];
  };
  EXPECT_TRUE(eos().is_null());
  client_->card_.report.eos_id = 256;
  EXPECT_EQ(eos(), "<|end|>");
}

TEST_F(OpenAiRoutes, EmbeddingsInBothEncodings) {
  const json plain = ask("/v1/embeddings", R"({"input": ["abc", [1]], "model": "tiny"})");
  EXPECT_EQ(plain["data"][0]["embedding"], json::parse("[3.0, 0.5, 0.0, -2.0]"));
  EXPECT_EQ(plain["data"][1]["index"], 1);
  EXPECT_EQ(plain["usage"]["total_tokens"], 4);
  const json base64 = ask("/v1/embeddings", R"({"input": "a", "encoding_format": "base64"})");
  EXPECT_EQ(base64["data"][0]["embedding"], "AACAPwAAAD8AAAAAAAAAwA==");
  const json cut =
      ask("/v1/embeddings", R"({"input": "abc", "dimensions": 1})")["data"][0]["embedding"];
  EXPECT_EQ(cut, json::parse("[1.0]"));
  EXPECT_EQ(ask("/v1/embeddings", R"({"input": "a", "dimensions": 5})", 400)["error"]["param"],
            "dimensions");
  EXPECT_EQ(ask("/v1/embeddings", R"({"input": ""})", 400)["error"]["param"], "input");
}

// A key's cached prefixes are its own, here too.
TEST_F(OpenAiRoutes, EmbeddingsAreTheirKeys) {
  for (const uint64_t salt : {7u, 8u}) {
    HttpRequest request;
    request.method = "POST";
    request.path = "/v1/embeddings";
    request.body = R"({"input": "abc"})";
    request.principal = {.name = salt == 7 ? "ann" : "bob", .cache_salt = salt, .priority = 3};
    const auto exchange = std::make_shared<WaitingExchange>(request);
    (*router_.find("POST", request.path).route)(exchange);
    ASSERT_TRUE(exchange->wait());
  }
  const std::vector<fleet::Embed> asked = client_->embeds();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[0].cache_salt, 7u);
  EXPECT_EQ(asked[0].principal, "ann");
  EXPECT_EQ(asked[0].priority, 3);
  EXPECT_EQ(asked[1].cache_salt, 8u);
  EXPECT_EQ(asked[1].principal, "bob");
}

TEST_F(OpenAiRoutes, EmbeddingsThatCannotAllBeAskedForAreCancelled) {
  client_->embed_waits = true;
  client_->embed_fails_at = 3;
  ask("/v1/embeddings", R"({"input": ["a", "b", "c", "d"]})", 503);
  EXPECT_EQ(client_->embeds().size(), 3u);
  EXPECT_THAT(client_->cancelled(), ElementsAre(1, 2));
}

TEST_F(OpenAiRoutes, NothingIsDoneForAClientThatHasGone) {
  HttpRequest request;
  request.method = "POST";
  request.path = "/v1/completions";
  request.body = R"({"prompt": "a"})";
  const auto exchange = std::make_shared<WaitingExchange>(request);
  exchange->has_left = true;
  (*router_.find("POST", request.path).route)(exchange);
  for (int i = 0; i < 20'000 && admission_.num_answers() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(admission_.num_answers(), 0);
  EXPECT_TRUE(client_->requests().empty());
}

// What a stream tells of the prompt comes with its first chunk, even where a first event has
// nothing to show.
TEST_F(OpenAiRoutes, PromptLogprobsOutliveATextThatIsHeldBack) {
  client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    fleet::Event first;
    first.prompt_logprobs = {{}, {{'z', -0.5f, 1}, {'b', -2.5f, 17}}};
    on_event(first);
    on_event(event_of(request, 0, "x", Finish::kStop, true));
  };
  const std::vector<json> chunks =
      stream("/v1/completions", R"({"prompt": "ab", "stream": true, "prompt_logprobs": 0})");
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0]["choices"][0]["prompt_logprobs"], json::parse(R"([null, {
    "122": {"logprob": -0.5, "rank": 1, "decoded_token": "z"},
    "98": {"logprob": -2.5, "rank": 17, "decoded_token": "b"}}])"));
}

class FullServer : public OpenAiRoutes {
 protected:
  FullServer() : OpenAiRoutes(AdmissionLimits{.max_answers = 2, .max_tokens = 100}) {}
};

TEST_F(FullServer, WhoFindsNoPlaceIsToldBeforeTheBodyIsRead) {
  client_->answer = nullptr;
  const auto first = send("POST", "/v1/completions", R"({"prompt": "a", "n": 2, "max_tokens": 5})");
  for (int i = 0; i < 20'000 && client_->requests().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto second = send("POST", "/v1/completions", "no JSON at all");
  EXPECT_EQ(second->status, 429);
  first->leave();
  for (int i = 0; i < 20'000 && admission_.num_answers() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(admission_.num_answers(), 0);
}

TEST_F(FullServer, TokensAreChargedBeforeAnythingRuns) {
  EXPECT_EQ(ask("/v1/completions", R"({"prompt": "a", "max_tokens": 200})", 400)["error"]["code"],
            "request_too_large");
  EXPECT_EQ(
      ask("/v1/completions", R"({"prompt": "a", "n": 3, "max_tokens": 2})", 400)["error"]["param"],
      "n");
  EXPECT_TRUE(client_->requests().empty());
}

}  // namespace
}  // namespace weft::serve
