#include "serve/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "serve/http_client.h"
#include "serve/openapi_document.h"
#include "serve/page_files.h"
#include "serve/scripted_client.h"
#include "text/matcher_memory.h"

namespace weft::serve {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

GatewayOptions quiet_options() {
  GatewayOptions options;
  options.logs_requests = false;
  options.version = "1.2.3";
  options.admin = ListenAt{};
  return options;
}

class Served {
 public:
  explicit Served(GatewayOptions options = quiet_options()) : gateway(std::move(options)) {
    gateway.start(engine);
  }
  std::string ask(const std::string& request, int port = 0) {
    RawClient client(port == 0 ? gateway.port() : port);
    client.send(request);
    return client.read_answer();
  }
  std::string admin(const std::string& request) { return ask(request, gateway.admin_port()); }

  std::shared_ptr<ScriptedClient> engine = std::make_shared<ScriptedClient>();
  Gateway gateway;
};

TEST(Gateway, WithKeysNothingAnswersWithoutOneButProbesAndThePage) {
  GatewayOptions options = quiet_options();
  options.keys = rules_of_keys({"secret"});
  Served served(options);
  ASSERT_GE(served.gateway.router().entries().size(), 8U);
  for (const Router::Entry& entry : served.gateway.router().entries()) {
    const bool is_page = find_page_file(entry.pattern) != nullptr;
    const bool is_probe = entry.pattern == "/health" || entry.pattern == "/live" ||
                          entry.pattern == "/ready" || entry.pattern == "/ping";
    EXPECT_THAT(
        served.ask(entry.method + " " + entry.pattern + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        StartsWith(is_page || is_probe ? "HTTP/1.1 200" : "HTTP/1.1 401"))
        << entry.method << " " << entry.pattern;
  }
  for (const Router::Entry& entry : served.gateway.admin_router().entries())
    EXPECT_THAT(
        served.admin(entry.method + " " + entry.pattern + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        StartsWith("HTTP/1.1 401"))
        << entry.pattern;
  EXPECT_THAT(served.ask(get("/version", "X-Api-Key: secret\r\n")), HasSubstr("1.2.3"));
}

TEST(Gateway, WhereAnOperatorHasAKeyNoOtherOpensTheAdminListener) {
  GatewayOptions options = quiet_options();
  options.keys = rules_of_keys({"user", "operator"});
  const std::string user = "X-Api-Key: user\r\n", admin = "X-Api-Key: operator\r\n";
  EXPECT_THAT(Served(options).admin(get("/status", user)), StartsWith("HTTP/1.1 200"));
  options.keys[1].is_admin = true;
  Served served(options);
  EXPECT_THAT(served.admin(get("/status", user)), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(served.admin(get("/status", admin)), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(served.ask(get("/version", user)), StartsWith("HTTP/1.1 200"));
}

// Both as lists of parts; {name} stands for one, {name*} for all that are left.
bool is_documented_as(std::string_view pattern, std::string_view documented) {
  if (pattern == documented) return true;
  const size_t brace = documented.find('{');
  return brace != documented.npos && pattern.size() > brace && documented.ends_with('}') &&
         pattern.substr(0, brace) == documented.substr(0, brace) &&
         pattern.find('/', brace) == pattern.npos;
}

TEST(Gateway, ServesWhatTheDocumentSaysAndNothingElse) {
  const Served served;
  const auto document = nlohmann::json::parse(openapi_document());
  const auto entries = served.gateway.router().entries();
  const auto is_of = [](const Router::Entry& entry, const std::string& path, std::string method) {
    for (char& c : method) c = static_cast<char>(std::toupper(c));
    return entry.method == method && is_documented_as(entry.pattern, path);
  };
  std::vector<std::pair<std::string, std::string>> documented;  // path, method
  for (const auto& [path, operations] : document["paths"].items())
    for (const auto& [method, operation] : operations.items())
      documented.emplace_back(path, method);
  for (const auto& [path, method] : documented)
    EXPECT_TRUE(std::ranges::any_of(
        entries, [&](const Router::Entry& entry) { return is_of(entry, path, method); }))
        << path << " is documented, and not served: " << method;
  for (const Router::Entry& entry : entries)
    EXPECT_TRUE(std::ranges::any_of(
        documented, [&](const auto& one) { return is_of(entry, one.first, one.second); }))
        << entry.pattern << " is served, and not documented: " << entry.method;
}

TEST(Gateway, WhatOperatorsDoIsNotDoneAtTheDoorOfUsers) {
  Served served;
  for (const Router::Entry& entry : served.gateway.admin_router().entries())
    EXPECT_THAT(
        served.ask(entry.method + " " + entry.pattern + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        StartsWith("HTTP/1.1 404"))
        << entry.pattern;
}

TEST(Gateway, ReadySaysWhetherRequestsAreAnswered) {
  Served served;
  EXPECT_THAT(served.ask(get("/ready")), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(served.admin(post("/pause", "")), HasSubstr(R"("paused":true)"));
  EXPECT_THAT(served.ask(get("/ready")), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(served.admin(post("/resume", "")), HasSubstr(R"("paused":false)"));
  EXPECT_THAT(served.ask(get("/ready")), StartsWith("HTTP/1.1 200"));
  served.engine->set([](fleet::Status& status) { status.alive = false; });
  EXPECT_THAT(served.ask(get("/ready")), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(served.ask(get("/health")), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(served.ask(get("/live")), StartsWith("HTTP/1.1 200"));
}

TEST(Gateway, OperatorsResetTheCacheAndTakeATrace) {
  Served served;
  EXPECT_THAT(served.admin(post("/reset_prefix_cache", "")), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(served.engine->num_resets, 1);
  served.engine->card_.split.ranks.resize(1);
  engine::WorkerTrace worker{0, {0, 1}, {}};
  constexpr int64_t kSecond = 1'000'000'000;
  worker.activity.events = {{0, Activity::kCompute, 7}, {100 * kSecond, Activity::kNothing, 7}};
  worker.activity.end_ns = 101 * kSecond;
  served.engine->trace_.workers = {worker};
  const auto events = [&](const std::string& path) {
    const std::string answer = served.admin(get(path));
    const auto trace = nlohmann::json::parse(answer.substr(answer.find("\r\n\r\n")));
    int count = 0;
    for (const auto& event : trace["traceEvents"])
      if (event["ph"] == "X") ++count;
    return count;
  };
  EXPECT_EQ(events("/trace?seconds=60"), 2);
  EXPECT_EQ(served.engine->traced_ns_, 60 * kSecond);
  served.ask(get("/weft/timeline?window_s=1"));
  EXPECT_EQ(served.engine->traced_ns_, 10 * kSecond);
  served.ask(get("/weft/timeline?window_s=30"));
  EXPECT_EQ(served.engine->traced_ns_, 30 * kSecond);
  EXPECT_EQ(events("/trace?seconds=0.5"), 1);
  for (const char* wrong : {"/trace?seconds=-1", "/trace?seconds=x", "/trace?minutes=1"})
    EXPECT_THAT(served.admin(get(wrong)), StartsWith("HTTP/1.1 400")) << wrong;
}

TEST(Gateway, DrainsWhenAnOperatorAsksForIt) {
  Served served;
  EXPECT_FALSE(served.gateway.is_asked_to_drain());
  EXPECT_THAT(served.admin(post("/drain", "")), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(served.gateway.is_asked_to_drain());
  EXPECT_EQ(served.gateway.drain(1).num_cut, 0);
  EXPECT_THAT(served.ask(get("/ready")), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(served.ask(get("/live")), StartsWith("HTTP/1.1 200"));
  for (const char* path : {"/version", "/metrics", "/load"})
    EXPECT_THAT(served.ask(get(path)), StartsWith("HTTP/1.1 200")) << path;
  const std::string refused = served.ask(post("/v1/completions", "{}"));
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(refused, HasSubstr("Retry-After: "));
  Admission& admission = const_cast<Admission&>(served.gateway.admission());
  Admission::Refusal refusal;
  EXPECT_FALSE(admission.enter(1, &refusal));
}

// An engine that never says what it keeps.
struct SilentClient : ScriptedClient {
  void prefixes(fleet::OnPrefixes on_prefixes) override {
    const std::lock_guard lock(mutex);
    held.push_back(std::move(on_prefixes));
  }
  std::mutex mutex;
  std::vector<fleet::OnPrefixes> held;
};

// Who waited at a paused engine waited until the drain gave up, and got an error.
TEST(Gateway, DrainingEndsAPause) {
  Served served;
  served.engine->pause();
  const auto is_paused = [&] {
    bool paused = false;
    served.engine->when_done([&](const fleet::Status& status) { paused = status.paused; });
    return paused;
  };
  EXPECT_TRUE(is_paused());
  served.gateway.drain(1);
  EXPECT_FALSE(is_paused());
}

TEST(Gateway, CountsWhoGotNoWholeAnswerWhileItDrained) {
  Gateway gateway(quiet_options());
  gateway.start(std::make_shared<SilentClient>());
  RawClient leaves(gateway.port()), stays(gateway.port());
  leaves.send(get("/weft/cache"));
  stays.send(get("/weft/cache"));
  ASSERT_TRUE(comes_true([&] { return gateway.num_working() == 2; }));
  Drained drained;
  std::thread drains([&] { drained = gateway.drain(1); });
  EXPECT_TRUE(comes_true([&] {
    RawClient probe(gateway.port());
    probe.send(get("/ready"));
    return probe.read_answer().starts_with("HTTP/1.1 503");
  }));
  leaves.close();
  drains.join();
  EXPECT_EQ(drained.num_left, 1);
  EXPECT_EQ(drained.num_cut, 1);
  EXPECT_EQ(drained.num_slow, 0);
}

TEST(Gateway, LetsInWhatRunsAndWhatMayQueue) {
  GatewayOptions options = quiet_options();
  options.queue.num_requests = 6;
  EXPECT_EQ(Served(options).gateway.admission().limits().max_answers, 4 + 6);
  EXPECT_EQ(Served(options).gateway.admission().limits().max_tokens, 10 * 512);
  options.queue.num_tokens = 100;
  EXPECT_EQ(Served(options).gateway.admission().limits().max_tokens, 64 * 16 + 100);
}

TEST(Gateway, ListensAtAUnixSocketThatItsOwnerAloneReaches) {
  const std::string path = ::testing::TempDir() + "weft_gateway_" + std::to_string(getpid());
  GatewayOptions options = quiet_options();
  options.at.unix_path = path;
  {
    Served served(options);
    EXPECT_TRUE(served.gateway.is_local());
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::string request = get("/live");
    ASSERT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char answer[64];
    ASSERT_GT(read(fd, answer, sizeof answer), 12);
    EXPECT_THAT(std::string(answer, 12), "HTTP/1.1 200");
    close(fd);
  }
  EXPECT_NE(access(path.c_str(), F_OK), 0) << "the socket's file stayed";
}

TEST(Gateway, LeavesTheSocketOfAServerThatLivesAlone) {
  const std::string path = ::testing::TempDir() + "weft_living_" + std::to_string(getpid());
  GatewayOptions options = quiet_options();
  options.admin.reset();
  options.at.unix_path = path;
  {
    Served first(options);
    try {
      Gateway second(options);
      ADD_FAILURE() << "took the socket of a server that runs";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
    // Another's, made after the first was moved away, is not the first's to delete.
    ASSERT_EQ(rename(path.c_str(), (path + ".moved").c_str()), 0);
    std::ofstream(path) << "another's";
  }
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  unlink(path.c_str());
  // What nobody listens at was left behind.
  ASSERT_EQ(rename((path + ".moved").c_str(), path.c_str()), 0);
  EXPECT_NO_THROW(Served again(options));
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST(Gateway, WhereItCannotListenItNamesTheOptionThatSaysWhere) {
  const auto refusal = [](ListenAt at) {
    GatewayOptions options = quiet_options();
    options.at = std::move(at);
    try {
      Gateway gateway(options);
    } catch (const Error& error) {
      return std::string(error.what()) + error.mend();
    }
    return std::string();
  };
  const std::string socket = refusal({.unix_path = "/nowhere/socket", .option = "--uds"});
  EXPECT_THAT(socket, HasSubstr("--uds wants a path in a folder that is there"));
  EXPECT_THAT(socket, Not(HasSubstr("--port")));
  const Served other;
  EXPECT_THAT(refusal({.port = other.gateway.port(), .option = "--admin-port"}),
              HasSubstr("choose another --admin-port"));
}

TEST(LimitsTable, HasTheNumbersThatHold) {
  HttpServerOptions http;
  http.request.body_bytes = 3 << 20;
  std::map<std::string, Limit> table;
  for (const Limit& limit : limits_table(http, {})) {
    EXPECT_FALSE(limit.value.empty()) << limit.name;
    EXPECT_TRUE(table.emplace(limit.name, limit).second) << limit.name;
  }
  EXPECT_EQ(table.at("body").value, "3 MiB");
  EXPECT_EQ(table.at("body").status, 413);
  EXPECT_EQ(table.at("grammar places").value, std::to_string(text::kMatcherBytes >> 20) + " MiB");
  EXPECT_EQ(table.at("grammar places").status, 503);
  EXPECT_EQ(table.at("logprobs in hand").value, std::to_string(AdmissionLimits().max_logprobs));
  EXPECT_EQ(table.at("template time").value, "5 s");
  EXPECT_EQ(table.at("template memory").value, "32 MiB");
  EXPECT_EQ(table.at("template source").status, kNoStart);
  for (const auto& [name, value] : std::map<std::string, std::string>{{"tools", "512"},
                                                                      {"tool bytes", "256 KiB"},
                                                                      {"ids", "1048576"},
                                                                      {"waiting bodies", "512"},
                                                                      {"waiting grammars", "256"},
                                                                      {"grammar wait", "10 s"},
                                                                      {"tags", "128"},
                                                                      {"stored bytes", "64 MiB"}})
    EXPECT_EQ(table[name].value, value) << name;
}

}  // namespace
}  // namespace weft::serve
