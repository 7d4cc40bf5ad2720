// What broke in other servers, tried on this one: docs/advisories.md says which advisory each test
// stands for. Each sends what the advisory's reporter sent, in the words of Weft's own fields.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "serve/answering_client.h"
#include "serve/gateway.h"
#include "serve/http_client.h"
#include "serve/openai_routes.h"
#include "serve/page_files.h"
#include "serve/waiting_exchange.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kMessages = R"("messages":[{"role":"user","content":"hi"}])";

// The routes of OpenAI's API over an engine that answers "ok", and keeps what it was asked.
class Advisories : public ::testing::Test {
 protected:
  Advisories() : admission_({.max_answers = 300, .max_tokens = 1'000'000}) {
    client_->answer = [](const fleet::Generate& request, const fleet::OnEvent& on_event) {
      const int64_t n = request.sampling.n;
      for (int64_t i = 0; i < n; ++i)
        on_event(event_of(request, static_cast<size_t>(i), "ok", engine::FinishReason::kStop,
                          i + 1 == n));
    };
    add_openai_routes(&router_, client_, &admission_, {.model_names = {"tiny"}});
  }

  struct Answer {
    int status = 0;
    std::string body;
    std::string param() const {
      const json object = json::parse(body);
      return object["error"]["param"].is_string() ? object["error"]["param"] : json("");
    }
  };
  Answer ask(const std::string& path, const std::string& body, const Principal& principal = {}) {
    HttpRequest request;
    request.method = "POST";
    request.path = path;
    request.body = body;
    request.request_id = "r1";
    request.principal = principal;
    const auto exchange = std::make_shared<WaitingExchange>(std::move(request));
    (*router_.find("POST", path).route)(exchange);
    EXPECT_TRUE(exchange->wait()) << body.substr(0, 200);
    return {exchange->status, exchange->body};
  }
  // A request for text by each of the three routes that generate it, with these fields more.
  std::vector<Answer> ask_everywhere(const std::string& fields) {
    return {ask("/v1/chat/completions", fmt::format("{{{},{}}}", kMessages, fields)),
            ask("/v1/completions", fmt::format(R"({{"prompt":"hi",{}}})", fields)),
            ask("/v1/responses", fmt::format(R"({{"input":"hi",{}}})", fields))};
  }
  void expect_refused_everywhere(const std::string& fields) {
    const size_t num_asked = client_->requests().size();
    for (const Answer& answer : ask_everywhere(fields))
      EXPECT_EQ(answer.status, 400) << fields.substr(0, 200) << answer.body;
    EXPECT_EQ(client_->requests().size(), num_asked) << fields.substr(0, 200);
  }

  // Completions of "a" and "bc" at once, under one name.
  std::vector<std::shared_ptr<WaitingExchange>> ask_two(const std::string& name) {
    std::vector<std::shared_ptr<WaitingExchange>> exchanges;
    for (const char* prompt : {"a", "bc"}) {
      HttpRequest request;
      request.method = "POST";
      request.path = "/v1/completions";
      request.body = fmt::format(R"({{"prompt":"{}"}})", prompt);
      request.request_id = name;
      exchanges.push_back(std::make_shared<WaitingExchange>(request));
    }
    for (const auto& exchange : exchanges)
      (*router_.find("POST", "/v1/completions").route)(exchange);
    return exchanges;
  }

  std::shared_ptr<AnsweringClient> client_ = std::make_shared<AnsweringClient>();
  Admission admission_;
  Router router_;
};

TEST_F(Advisories, BodiesAreJsonAndNoObjects) {
  constexpr char kPickle[] = "\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system";
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/responses",
                           "/v1/embeddings", "/tokenize", "/detokenize"}) {
    const Answer answer = ask(path, {kPickle, sizeof(kPickle) - 1});
    EXPECT_EQ(answer.status, 400) << path;
    EXPECT_EQ(json::parse(answer.body)["error"]["code"], "invalid_json") << path;
  }
}

TEST_F(Advisories, NoTensorComesWithARequest) {
  expect_refused_everywhere(R"("prompt_embeds":"gAJjdG9yY2gKVGVuc29y")");
  expect_refused_everywhere(R"("prompt_embeds":["gAJj"])");
  expect_refused_everywhere(R"("prompt_embeds":{"indices":[[99999]],"values":[1]})");
}

TEST_F(Advisories, NoCacheOfOthersIsNamedByARequest) {
  expect_refused_everywhere(R"("kv_transfer_params":{"remote_host":"10.0.0.1","block_ids":[0]})");
}

TEST_F(Advisories, NoTemplateComesWithARequest) {
  expect_refused_everywhere(R"("chat_template":"{{ 1 }}")");
  for (const char* variables :
       {R"({"chat_template":"{{ 1 }}"})", R"({"messages":[]})", R"({"tools":[]})",
        R"({"bos_token":"x"})", R"({"add_generation_prompt":false})", R"({"a":{"b":1}})",
        R"({"a":[1]})", R"({"a.b":1})", R"({"":1})"}) {
    const Answer answer =
        ask("/v1/chat/completions",
            fmt::format("{{{},\"chat_template_kwargs\":{}}}", kMessages, variables));
    EXPECT_EQ(answer.status, 400) << variables;
  }
}

TEST_F(Advisories, ChoicesAreBounded) {
  for (const char* n : {"129", "16384", "2147483648", "9223372036854775807", "1e300", "-1", "0"}) {
    for (const char* field : {"n", "best_of"}) {
      if (field[0] == 'b' && n == std::string("0")) continue;  // n of them
      const std::string fields = fmt::format("\"{}\":{}", field, n);
      EXPECT_EQ(ask("/v1/chat/completions", fmt::format("{{{},{}}}", kMessages, fields)).status,
                400)
          << fields;
      EXPECT_EQ(ask("/v1/completions", fmt::format(R"({{"prompt":"a",{}}})", fields)).status, 400)
          << fields;
    }
  }
  EXPECT_TRUE(client_->requests().empty());
}

// Prompts times n counts at the door, before one of them is encoded.
TEST_F(Advisories, ListsOfPromptsAreCharged) {
  std::string prompts = "\"a\"";
  for (int i = 1; i < 1025; ++i) prompts += ",\"a\"";
  EXPECT_EQ(ask("/v1/completions", fmt::format(R"({{"prompt":[{}]}})", prompts)).param(), "prompt");
  EXPECT_EQ(ask("/v1/completions", R"({"prompt":["a","a","a"],"n":129})").param(), "n");
  EXPECT_TRUE(client_->requests().empty());
  // What may be asked for waits in its own request: of 300 places it takes a quarter,
  // or those of one prompt.
  client_->answer = nullptr;
  const auto exchange = std::make_shared<WaitingExchange>([] {
    HttpRequest request;
    request.body = R"({"prompt":["a","a","a"],"n":101})";
    return request;
  }());
  (*router_.find("POST", "/v1/completions").route)(exchange);
  for (int i = 0; i < 20'000 && client_->requests().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(admission_.num_answers(), 101);
  exchange->leave();
  for (int i = 0; i < 20'000 && admission_.num_answers() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(client_->requests().size(), 1u);
}

TEST_F(Advisories, WhatIsDerenderedIsBounded) {
  std::string ids = "0";
  ids.reserve(3 << 20);
  for (int i = 0; i < 1 << 20; ++i) ids += ",0";
  EXPECT_EQ(ask("/detokenize", fmt::format(R"({{"tokens":[{}]}})", ids)).param(), "tokens");
  // More text than any context holds is not encoded.
  const std::string text(size_t{512} * 513, 'a');
  EXPECT_EQ(ask("/tokenize", fmt::format(R"({{"prompt":"{}"}})", text)).param(), "prompt");
}

TEST_F(Advisories, MinTokensIsHeldToTheContextWhereNoMaximumIsGiven) {
  // Chats and responses are bounded by the context alone; completions have 16 tokens.
  for (const char* least : {"511", "100000"}) {
    for (const char* most : {"", R"(,"max_tokens":null)"}) {
      const std::vector<Answer> answers =
          ask_everywhere(fmt::format("\"min_tokens\":{}{}", least, most));
      EXPECT_EQ(answers[0].status, 200) << answers[0].body;
      EXPECT_EQ(answers[1].status, 400) << answers[1].body;
      EXPECT_EQ(answers[1].param(), "min_tokens");
      EXPECT_EQ(answers[2].status, 200) << answers[2].body;
    }
  }
  const std::vector<fleet::Generate> asked = client_->requests();
  ASSERT_EQ(asked.size(), 8u);
  for (const fleet::Generate& each : asked) {
    EXPECT_GT(each.sampling.max_tokens, 400);  // of 512, without the prompt
    EXPECT_LT(each.sampling.max_tokens, 512);
    EXPECT_EQ(each.sampling.min_tokens, each.sampling.max_tokens);
  }
  // More than any model's context is refused at the door.
  for (const char* least : {"1000000000", "9223372036854775807"}) {
    expect_refused_everywhere(fmt::format("\"min_tokens\":{}", least));
    expect_refused_everywhere(fmt::format(R"("min_tokens":{},"max_tokens":null)", least));
  }
  expect_refused_everywhere(R"("min_tokens":-1)");
}

// llama.cpp's n_discard: every whole number of a body.
TEST_F(Advisories, NumbersBelowTheirRangeAreRefused) {
  for (const char* field : {"n", "best_of", "max_tokens", "min_tokens", "truncate_prompt_tokens",
                            "logprobs", "top_logprobs", "prompt_logprobs"}) {
    for (const char* number : {"-2", "-2147483649", "-9223372036854775808", "-1e18"}) {
      const Answer answer =
          ask("/v1/completions", fmt::format(R"({{"prompt":"a","{}":{}}})", field, number));
      EXPECT_EQ(answer.status, 400) << field << number << answer.body;
      EXPECT_EQ(answer.param(), field);
    }
  }
  EXPECT_EQ(ask("/v1/completions", R"({"prompt":"a","top_k":-2})").param(), "top_k");
  EXPECT_EQ(ask("/v1/embeddings", R"({"input":"a","dimensions":-1})").param(), "dimensions");
  EXPECT_TRUE(client_->requests().empty());
}

// An id that is none writes into the logits, the counts or the mask of another request.
TEST_F(Advisories, IdsOutsideTheVocabularyAreRefused) {
  for (const char* id : {"257", "-1", "2147483647", "4294967296"}) {
    expect_refused_everywhere(fmt::format(R"("logit_bias":{{"{}":1}})", id));
    expect_refused_everywhere(fmt::format(R"("stop_token_ids":[1,{}])", id));
    expect_refused_everywhere(fmt::format(R"("allowed_token_ids":[{}])", id));
    expect_refused_everywhere(fmt::format(R"("bad_words":[[{}]])", id));  // words, never ids
    expect_refused_everywhere(fmt::format(R"("logprob_token_ids":[{}])", id));
    EXPECT_EQ(ask("/v1/completions", fmt::format(R"({{"prompt":[1,{}]}})", id)).status, 400);
    EXPECT_EQ(ask("/v1/embeddings", fmt::format(R"({{"input":[1,{}]}})", id)).status, 400);
    EXPECT_EQ(ask("/detokenize", fmt::format(R"({{"tokens":[1,{}]}})", id)).status, 400);
  }
  EXPECT_TRUE(client_->requests().empty());
  EXPECT_TRUE(client_->embeds().empty());
  for (const Answer& answer : ask_everywhere(R"("bad_words":["a","bc"])"))
    EXPECT_EQ(answer.status, 200) << answer.body;
  for (const fleet::Generate& asked : client_->requests())
    for (const std::vector<int32_t>& word : asked.sampling.bad_words)
      for (const int32_t id : word) EXPECT_TRUE(id >= 0 && id < 257);
}

// A socket that listens on loopback, and knows whether anybody came.
class Listening {
 public:
  Listening() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 8), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    place_ = fmt::format("127.0.0.1:{}", ntohs(address.sin_port));
  }
  ~Listening() { close(fd_); }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

  const std::string& place() const { return place_; }
  bool was_visited() const {
    pollfd ready{fd_, POLLIN, 0};
    return poll(&ready, 1, 50) > 0;
  }

 private:
  int fd_;
  std::string place_;
};

TEST_F(Advisories, NothingOfARequestIsFetched) {
  const Listening elsewhere;
  const std::string url = fmt::format("http://{}/a.png", elsewhere.place());
  for (const std::string& part :
       {fmt::format(R"({{"type":"image_url","image_url":{{"url":"{}"}}}})", url),
        fmt::format(R"({{"type":"video_url","video_url":{{"url":"{}"}}}})", url),
        fmt::format(R"({{"type":"audio_url","audio_url":{{"url":"{}"}}}})", url),
        fmt::format(R"({{"type":"input_image","image_url":"{}"}})", url),
        fmt::format(R"({{"type":"input_file","file_url":"{}"}})", url),
        std::string(R"({"type":"image_url","image_url":{"url":"file:///etc/passwd"}})"),
        std::string(R"({"type":"image_url","image_url":{"url":"data:image/png;base64,iVBOR"}})")}) {
    const Answer chat =
        ask("/v1/chat/completions",
            fmt::format(
                R"({{"messages":[{{"role":"user","content":[{{"type":"text","text":"a"}},{}]}}]}})",
                part));
    const Answer response = ask(
        "/v1/responses",
        fmt::format(
            R"({{"input":[{{"role":"user","content":[{{"type":"input_text","text":"a"}},{}]}}]}})",
            part));
    EXPECT_EQ(chat.status, 400) << part;
    EXPECT_EQ(response.status, 400) << part;
    EXPECT_THAT(chat.body + response.body, Not(HasSubstr("0x")));
  }
  EXPECT_EQ(ask("/v1/embeddings", fmt::format(R"({{"input":[{{"image":"{}"}}]}})", url)).status,
            400);
  EXPECT_FALSE(elsewhere.was_visited());
}

// A name that a client gives its request is no address.
TEST_F(Advisories, RequestIdsLeadNowhere) {
  const Listening elsewhere;
  const auto exchanges =
      ask_two(fmt::format("___prefill_addr_{0}___decode_addr_{0}_0", elsewhere.place()));
  for (const auto& exchange : exchanges) {
    EXPECT_TRUE(exchange->wait());
    EXPECT_EQ(exchange->status, 200) << exchange->body;
  }
  EXPECT_FALSE(elsewhere.was_visited());
}

// And not what its request is known by: of two under one name each has its own answer.
TEST_F(Advisories, RequestsOfOneNameKeepTheirOwnAnswers) {
  std::mutex mutex;
  std::vector<std::pair<fleet::Generate, fleet::OnEvent>> asked;
  client_->answer = [&](const fleet::Generate& request, const fleet::OnEvent& on_event) {
    const std::lock_guard lock(mutex);
    asked.emplace_back(request, on_event);
    if (asked.size() < 2) return;  // both are under way when one is answered
    for (const auto& [each, answer] : asked)
      answer(event_of(each, 0, client_->tokenizer().decode(each.prompt_ids, false),
                      engine::FinishReason::kStop, true));
  };
  const auto exchanges = ask_two("same");
  for (const auto& exchange : exchanges) ASSERT_TRUE(exchange->wait());
  EXPECT_EQ(json::parse(exchanges[0]->body)["choices"][0]["text"], "a");
  EXPECT_EQ(json::parse(exchanges[1]->body)["choices"][0]["text"], "bc");
}

// And one that is left ends alone.
TEST_F(Advisories, RequestsOfOneNameEndAlone) {
  client_->answer = nullptr;  // none comes
  const auto exchanges = ask_two("same");
  const auto wait_for = [](const auto& holds) {
    for (int i = 0; i < 2000 && !holds(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  };
  wait_for([&] { return client_->requests().size() == 2; });
  const std::vector<fleet::Generate> requests = client_->requests();
  ASSERT_EQ(requests.size(), 2u);
  const uint64_t longer = requests[0].prompt_ids.size() == 2 ? 1 : 2;
  exchanges[1]->leave();
  wait_for([&] { return !client_->cancelled().empty(); });
  EXPECT_EQ(client_->cancelled(), std::vector<uint64_t>{longer});
  exchanges[0]->leave();
}

TEST_F(Advisories, ASaltThatACallerChoosesOpensNoOthersCache) {
  const Principal ann{.name = "ann", .cache_salt = 7}, bob{.name = "bob", .cache_salt = 8};
  const std::string plain = R"({"prompt":"a"})", salted = R"({"prompt":"a","cache_salt":"7"})";
  ask("/v1/completions", plain, ann);
  ask("/v1/completions", salted, ann);
  ask("/v1/completions", salted, bob);
  ask("/v1/completions", plain, bob);
  std::vector<uint64_t> salts;
  for (const fleet::Generate& asked : client_->requests()) salts.push_back(asked.cache_salt);
  ASSERT_EQ(salts.size(), 4u);
  EXPECT_EQ(salts[0], 7u);
  EXPECT_EQ(salts[3], 8u);
  std::sort(salts.begin(), salts.end());
  EXPECT_EQ(std::unique(salts.begin(), salts.end()), salts.end());
}

// Parsing, dropping and writing again must not recurse over what a client nests.
TEST_F(Advisories, NestedJsonIsRefusedAtItsLimit) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/responses",
                           "/v1/embeddings", "/tokenize", "/detokenize"}) {
    for (const size_t depth : {100u, 30'000u, 1'000'000u}) {
      EXPECT_EQ(ask(path, nested(depth)).status, 400) << path;
      EXPECT_EQ(ask(path, std::string(depth, '[')).status, 400) << path;
      EXPECT_EQ(ask(path, fmt::format(R"({{"a":{}}})", nested(depth))).status, 400) << path;
    }
  }
  std::string objects;
  for (int i = 0; i < 30'000; ++i) objects += "{\"a\":";
  EXPECT_EQ(ask("/v1/completions", objects).status, 400);
  // Within texts that hold JSON, too.
  const std::string arguments = nested(30'000);
  EXPECT_EQ(ask("/v1/chat/completions",
                fmt::format(R"({{"messages":[{{"role":"user","content":"a"}},{{"role":"assistant",
              "tool_calls":[{{"type":"function","function":{{"name":"f","arguments":"{}"}}}}]}}]}})",
                            arguments))
                .status,
            400);
  EXPECT_EQ(ask("/v1/completions", R"({"prompt":"a","guided_json":")" + arguments + R"("})").status,
            400);
}

// --- what reaches a socket

GatewayOptions quiet_options() {
  GatewayOptions options;
  options.logs_requests = false;
  options.admin = ListenAt{};
  return options;
}

std::string ask(int port, const std::string& request) {
  RawClient client(port);
  client.send(request);
  return client.read_answer();
}

// Addresses that this process listens at.
std::vector<sockaddr_in> listening() {
  std::vector<sockaddr_in> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) continue;
    sockaddr_in address{};
    size = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    if (address.sin_family == AF_INET || address.sin_family == AF_INET6) found.push_back(address);
  }
  return found;
}

TEST(AdvisoriesOfServers, NothingListensButWhatWasAskedForAndThatOnLoopback) {
  const size_t before = listening().size();
  Gateway gateway(quiet_options());
  gateway.start(std::make_shared<AnsweringClient>());
  const std::vector<sockaddr_in> now = listening();
  EXPECT_EQ(now.size(), before + 2);
  for (const sockaddr_in& address : now) {
    EXPECT_EQ(address.sin_family, AF_INET);
    EXPECT_EQ(address.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
  }
}

// What others left open beside a key, or let anybody change.
TEST(AdvisoriesOfServers, NoRouteReachesIntoTheEngine) {
  GatewayOptions options = quiet_options();
  options.keys = rules_of_keys({"secret"});
  Gateway gateway(options);
  gateway.start(std::make_shared<AnsweringClient>());
  for (const char* path : {"/invocations",
                           "/pooling",
                           "/score",
                           "/v1/score",
                           "/v1/rerank",
                           "/rerank",
                           "/generate",
                           "/update_weights",
                           "/update_weights_from_tensor",
                           "/update_weights_from_disk",
                           "/load_lora_adapter",
                           "/v1/load_lora_adapter",
                           "/collective_rpc",
                           "/sleep",
                           "/pause",
                           "/reset_prefix_cache",
                           "/route",
                           "/upload",
                           "/v1/files",
                           "/start_profile",
                           "/kv/transfer",
                           "/server_info",
                           "/flush_cache",
                           "/set_internal_state",
                           "/api/create",
                           "/api/pull"}) {
    for (const char* method : {"GET", "PUT", "POST", "DELETE"}) {
      const std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n", method, path);
      EXPECT_THAT(ask(gateway.port(), head + "\r\n"), StartsWith("HTTP/1.1 401")) << head;
      EXPECT_THAT(ask(gateway.port(), head + "X-Api-Key: secret\r\n\r\n"),
                  StartsWith("HTTP/1.1 404"))
          << head;
    }
  }
}

TEST(AdvisoriesOfServers, NoPathLeavesThePage) {
  GatewayOptions options = quiet_options();
  options.keys = rules_of_keys({"secret"});
  Gateway gateway(options);
  gateway.start(std::make_shared<AnsweringClient>());
  for (const char* path :
       {"/assets/../../../../etc/passwd", "/assets/..%2f..%2f..%2fetc/passwd",
        "/assets/%2e%2e/%2e%2e/etc/passwd", "/assets//etc/passwd", "/assets/../metrics",
        "/assets/..%2fv1/models", "/favicon.ico/../../etc/passwd", "/assets/....//etc/passwd",
        "/assets/..\\..\\etc\\passwd", "/assets/", "/assets/%252e%252e/etc/passwd"}) {
    const std::string answer = ask(gateway.port(), get(path));
    EXPECT_THAT(answer, AnyOf(StartsWith("HTTP/1.1 404"), StartsWith("HTTP/1.1 401"))) << path;
    EXPECT_THAT(answer, Not(HasSubstr("root:"))) << path;
    EXPECT_THAT(answer, Not(HasSubstr("tiny"))) << path;
  }
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// A body in chunks of one byte each: nothing is put aside for a chunk, and time grows with bytes.
TEST(AdvisoriesOfServers, BodiesOfTinyChunksTakeLinearTime) {
  const auto seconds_for = [](size_t num_chunks) {
    std::string text = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (size_t i = 0; i < num_chunks; ++i) text += "1\r\nx\r\n";
    text += "0\r\n\r\n";
    const double begin = cpu_seconds();
    RequestReader reader({});
    std::string_view rest = text;
    while (reader.state() != RequestReader::State::kDone) {
      rest.remove_prefix(reader.feed(rest.substr(0, 64 * 1024)));
      if (reader.state() == RequestReader::State::kHeaderDone) reader.proceed(16 << 20);
      if (reader.state() == RequestReader::State::kFailed) break;
    }
    EXPECT_EQ(reader.request().body.size(), num_chunks);
    return cpu_seconds() - begin;
  };
  double once = 1e9, four_times = 1e9;
  for (int i = 0; i < 3; ++i) {  // in turn, so that a slow moment of the machine is in both
    once = std::min(once, seconds_for(50'000));
    four_times = std::min(four_times, seconds_for(200'000));
  }
  EXPECT_LT(four_times, 8 * once + 5e-3);  // quadratic: 16 times
}

// A step that throws takes its own exchange with it, and tells nothing of where it was.
TEST_F(Advisories, FailuresTellNoPlacesOfTheProcess) {
  for (const ErrorKind kind : {ErrorKind::kInternal, ErrorKind::kCommunication}) {
    client_->answer = [kind](const fleet::Generate& request, const fleet::OnEvent& on_event) {
      fleet::Event event = event_of(request, 0, "", engine::FinishReason::kError, true);
      event.error =
          Error(kind, "segment /dev/shm/weft_region_5 at 0x7f33c0de0000 of /home/a/m.gguf");
      on_event(event);
    };
    for (const char* fields : {R"("seed":1)", R"("stream":true)"}) {
      for (const Answer& answer : ask_everywhere(fields)) {
        EXPECT_GE(answer.status, 500) << answer.body;
        for (const char* inside : {"/dev", "weft_region", "0x7f", "/home", "gguf"})
          EXPECT_THAT(answer.body, Not(HasSubstr(inside)));
      }
    }
  }
}

}  // namespace
}  // namespace weft::serve
