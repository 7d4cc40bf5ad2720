#include "cli/server_partner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "base/clock.h"
#include "base/counted.h"
#include "base/did_you_mean.h"
#include "base/error.h"
#include "cli/foreground.h"
#include "cli/http_streams.h"
#include "cli/interrupt.h"
#include "cli/prompt.h"
#include "cli/server_refusal.h"
#include "cli/server_stream.h"
#include "cli/shown_text.h"

namespace weft::cli {
namespace {

using Json = nlohmann::json;

constexpr auto kLookTimeout = std::chrono::seconds(30);
constexpr auto kAnswerTimeout = std::chrono::hours(1);
constexpr size_t kMaxRefusal = 65'536;
constexpr auto kPatience = std::chrono::milliseconds(100);  // until Ctrl-C is noticed

// Options of `weft run` that say something of a prompt, an answer or how it is shown: with a server
// all others are its own affair.
constexpr auto kOfAnswers = std::to_array<std::string_view>({"url",
                                                             "ca-file",
                                                             "model",
                                                             "api-key",
                                                             "prompt",
                                                             "system",
                                                             "max-tokens",
                                                             "min-tokens",
                                                             "temperature",
                                                             "top-k",
                                                             "top-p",
                                                             "min-p",
                                                             "typical-p",
                                                             "repetition-penalty",
                                                             "presence-penalty",
                                                             "frequency-penalty",
                                                             "seed",
                                                             "stop",
                                                             "stop-token-ids",
                                                             "ignore-eos",
                                                             "json-schema",
                                                             "regex",
                                                             "choice",
                                                             "grammar",
                                                             "json",
                                                             "stats",
                                                             "quiet",
                                                             "config",
                                                             "help"});

// Those that mean nothing without one.
constexpr std::array<std::string_view, 3> kOfFiles = {"file", "out", "overwrite"};
constexpr std::array<std::string_view, 3> kOfServer = {"url", "ca-file", "api-key"};

// http://host:port/v1 out of what was typed: a scheme and /v1 where they are missing.
std::string base_url(std::string_view typed) {
  std::string url(typed);
  if (url.find("://") == std::string::npos) url = "http://" + url;
  const size_t host = url.find("://") + 3;
  const bool is_http = url.starts_with("http://") || url.starts_with("https://");
  if (!is_http || url.size() == host || url.find_first_of(" \t?#") != std::string::npos)
    throw Error(ErrorKind::kUsage, fmt::format("--url: '{}' is no address of a server", typed), "",
                "give http://HOST:PORT or http://HOST:PORT/v1");
  if (url.substr(host, url.find('/', host) - host).find('@') != std::string::npos)
    throw Error(ErrorKind::kUsage, "--url holds a name before an @",
                "it would be shown wherever the address is", "give the key with --api-key");
  while (url.ends_with('/')) url.pop_back();
  for (const std::string_view route : {"/chat/completions", "/completions", "/models"})
    if (url.ends_with(route)) url.resize(url.size() - route.size());
  return url.find('/', host) == std::string::npos ? url + "/v1" : url;
}

constexpr Mends kMends = {.key = "give it with --api-key, WEFT_API_KEY or OPENAI_API_KEY",
                          .busy = "ask again later",
                          .length = "shorten the prompt, or ask for fewer tokens (max_tokens)",
                          .silence = "start one (weft serve MODEL), or see to --url"};

class ServerPartner : public ChatPartner {
 public:
  ServerPartner(std::string base, std::string model, std::string api_key, std::string ca_file,
                const Environment& environment, int terminal)
      : base_(std::move(base)),
        model_(std::move(model)),
        api_key_(std::move(api_key)),
        ca_file_(std::move(ca_file)),
        environment_(environment),
        terminal_(terminal) {}

  std::string model() const override { return model_; }
  std::string unset() const override { return "the server's"; }
  bool is_remote() const override { return true; }
  std::string greeting() const override {
    return fmt::format("{} at {}", in_one_line(model_), base_);
  }
  void check(const ChatParameters& parameters) override { parameters.read(); }

  // A server without a list of its models is believed to serve the one that was named.
  void look_for_model() {
    HttpStreams streams(environment_, kLookTimeout, ca_file_);
    const HttpAnswer answer = ask(&streams, {base_ + "/models", "", api_key_});
    std::vector<std::string> served = models_of(answer.body);
    const bool has_list = answer.end.status == 200 && !served.empty();
    if (answer.end.status != 200 && answer.end.status != 404 && answer.end.status != 405)
      refuse_answer(base_, failed_answer(answer.end, answer.body), !api_key_.empty(), kMends);
    if (!has_list && model_.empty())
      throw Error(ErrorKind::kUsage, fmt::format("{}/models names no model", base_),
                  answer.end.status == 200 ? "" : error_text(answer.end.status, answer.body),
                  "name one with --model, or see to --url");
    if (model_.empty()) model_ = served.front();
    if (!has_list || std::ranges::find(served, model_) != served.end()) return;
    for (std::string& name : served) name = in_one_line(name);
    throw Error(ErrorKind::kUsage, fmt::format("{} does not serve '{}'", base_, model_),
                fmt::format("it serves {}", fmt::join(served, ", ")),
                fmt::format("name one of them with --model{}", did_you_mean(model_, served)));
  }

  ChatReply answer(std::vector<text::Message>* messages, const ChatParameters& parameters,
                   Console& console) override {
    if (streams_ == nullptr)
      streams_ = std::make_unique<HttpStreams>(environment_, kAnswerTimeout, ca_file_);
    const size_t num_before = messages->size();
    int64_t begin_ns = now_ns(), first_ns = 0;
    const auto tell_forgotten = [&] {
      if (messages->size() < num_before) console.err << kForgotten << std::endl;
    };
    const auto show = [&](const std::string& piece, std::ostream& to, bool is_terminal) {
      if (first_ns == 0) {
        tell_forgotten();
        first_ns = now_ns();
      }
      to << (is_terminal ? without_controls(piece) : piece) << std::flush;
    };
    ServerStream stream(
        {.on_text = [&](const auto& piece) { show(piece, console.out, console.out_is_terminal); },
         .on_reasoning =
             [&](const auto& piece) { show(piece, console.err, console.err_is_terminal); }});
    std::atomic<bool> stop{false};
    const OwnForeground foreground(terminal_);
    const InterruptAction interrupt(
        [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); }, &stop);
    // A server says that its context is full, and not by how much: one pair after the other.
    for (;;) {
      const auto refusal = receive(body_of(*messages, parameters), stream, stop);
      if (!refusal) break;
      if (!refusal->is_too_long() || forget_oldest_pair(messages) == 0)
        refuse_answer(base_, *refusal, !api_key_.empty(), kMends);
      begin_ns = now_ns();
    }
    if (first_ns == 0) tell_forgotten();
    return {stream.text(),
            stop.load() && !stream.is_whole() ? std::string(kCancelled) : stream.finish_reason(),
            {},
            stats_of(stream, begin_ns, first_ns),
            stream.prompt_tokens(),
            stream.output_tokens()};
  }

 private:
  static std::vector<std::string> models_of(const std::string& body) {
    std::vector<std::string> names;
    const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
    const auto data = json.is_object() ? json.find("data") : json.end();
    if (!json.is_object() || data == json.end() || !data->is_array()) return names;
    for (const Json& model : *data)
      if (model.is_object() && model.contains("id") && model["id"].is_string())
        names.push_back(model["id"]);
    return names;
  }

  std::string body_of(const std::vector<text::Message>& messages,
                      const ChatParameters& parameters) const {
    nlohmann::ordered_json body = {{"model", model_}};
    body["messages"] = nlohmann::ordered_json::array();
    for (const text::Message& message : messages)
      body["messages"].push_back({{"role", message.role}, {"content", message.content}});
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    for (const ChatParameters::Parameter& parameter : parameters.all())
      body[parameter.name] = nlohmann::ordered_json::parse(parameter.json);
    return body.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  // Nothing where there is an answer, or the beginning of one that `stop` ended: the connection is
  // closed then, which ends it at the server. Otherwise why there is none.
  std::optional<FailedAnswer> receive(std::string body, ServerStream& stream,
                                      const std::atomic<bool>& stop) {
    std::string refusal;
    std::optional<HttpEnd> end;
    streams_->start(
        {base_ + "/chat/completions", std::move(body), api_key_},
        [&](int status, std::span<const char> bytes) {
          if (status == 200) return stream.take(bytes);
          refusal.append(bytes.data(), std::min(bytes.size(), kMaxRefusal - refusal.size()));
        },
        [&](const HttpEnd& http) { end = http; });
    while (!end && !stop.load()) streams_->drive(kPatience);
    if (!end) {
      streams_->abandon();
      return std::nullopt;
    }
    if (end->status != 200) return failed_answer(*end, refusal);
    require_whole(*end, stream);
    return std::nullopt;
  }

  void require_whole(const HttpEnd& end, ServerStream& stream) const {
    if (end.failure.empty()) stream.end();
    if (!stream.error().empty())
      throw Error(ErrorKind::kCommunication, fmt::format("{} failed", base_), stream.error());
    if (!end.failure.empty() || !stream.is_whole())
      throw Error(ErrorKind::kCommunication, "the answer broke off",
                  end.failure.empty() ? "the stream ended before it" : end.failure, "ask again");
  }

  static std::vector<std::string> stats_of(const ServerStream& stream, int64_t begin_ns,
                                           int64_t first_ns) {
    if (first_ns == 0) return {"nothing came"};
    const double first_s = seconds_between(begin_ns, first_ns);
    const double rest_s = seconds_between(first_ns, now_ns());
    const bool is_counted = stream.output_tokens() >= 0;
    const int64_t count = is_counted ? stream.output_tokens() : stream.num_pieces();
    const std::string prompt =
        stream.prompt_tokens() < 0
            ? ""
            : fmt::format("{}{}, ", counted(stream.prompt_tokens(), "token"),
                          stream.cached_tokens() > 0
                              ? fmt::format(" ({} of them cached)", stream.cached_tokens())
                              : "");
    std::string rate;
    if (count > 1 && rest_s > 0)
      rate = fmt::format(": {:.1f} {}/s", static_cast<double>(count - 1) / rest_s,
                         is_counted ? "tokens" : "pieces");
    return {fmt::format("prompt      {}the first piece after {:.3f} s", prompt, first_s),
            fmt::format("generation  {}, {:.3f} s after the first{}",
                        counted(count, is_counted ? "token" : "piece"), rest_s, rate)};
  }

  std::string base_, model_, api_key_, ca_file_;
  const Environment& environment_;
  int terminal_;
  std::unique_ptr<HttpStreams> streams_;  // keeps its connection from one answer to the next
};

}  // namespace

void ServerAddress::declare(OptionSet* options) {
  options->group("Server");
  options->add("--url", &url_,
               {.unit = "URL",
                .help = "of a running server of OpenAI's API, which answers in place of a model "
                        "here: http://HOST:PORT or http://HOST:PORT/v1. MODEL is what it calls "
                        "its model then, its first one where none is named",
                .may_be_empty = false});
  options->add("--api-key", &api_key_,
               {.unit = "KEY", .help = "sent with each request", .unset = "OPENAI_API_KEY"});
  options->add("--ca-file", &ca_file_,
               {.unit = "FILE",
                .help = kCaFileHelp,
                .unset = "SSL_CERT_FILE, otherwise the system's",
                .may_be_empty = false});
  options->stands_alone("--url");
}

void ServerAddress::check(const OptionSet& options) const {
  for (const std::string& key : options.keys()) {
    const std::string flag = "--" + key;
    const bool given = options.origin(flag) == Origin::kFlag;
    const std::string_view own = options.own_name(flag).substr(2);
    if (!url_ && given && std::ranges::find(kOfServer, own) != kOfServer.end())
      throw Error(ErrorKind::kUsage, fmt::format("{} needs --url", flag),
                  "it concerns the way to a server, and a model of this machine is no server", "");
    if (!url_ || !given || std::ranges::find(kOfAnswers, own) != kOfAnswers.end()) continue;
    if (std::ranges::find(kOfFiles, own) != kOfFiles.end())
      throw Error(ErrorKind::kUsage, fmt::format("{} and --url are both given", flag),
                  "a file of prompts is answered by a model of this machine, not by a server",
                  "leave out --url, or ask the server line by line with -p");
    throw Error(ErrorKind::kUsage, fmt::format("{} and --url are both given", flag),
                "how a server runs its model is settled there", fmt::format("leave out {}", flag));
  }
}

std::string reply_json(const ChatReply& reply, const std::string& model) {
  const auto count = [](int64_t n) {
    return n < 0 ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(n);
  };
  const nlohmann::ordered_json object = {{"text", reply.text},
                                         {"prompt_tokens", count(reply.prompt_tokens)},
                                         {"generated_tokens", count(reply.generated_tokens)},
                                         {"finish_reason", reply.finish_reason},
                                         {"model", model}};
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::unique_ptr<ChatPartner> connect(const ServerAddress& address, const std::string& model,
                                     const Environment& environment, int terminal) {
  const auto variable = environment.find("OPENAI_API_KEY");
  const std::string key = address.api_key_                ? *address.api_key_
                          : variable != environment.end() ? variable->second
                                                          : "";
  auto partner = std::make_unique<ServerPartner>(base_url(*address.url_), model, key,
                                                 address.ca_file_, environment, terminal);
  partner->look_for_model();
  return partner;
}

}  // namespace weft::cli
