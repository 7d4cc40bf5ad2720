#include "cli/http_streams.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/shown_text.h"

namespace weft::cli {

struct HttpStreams::Call {
  CURL* easy = curl_easy_init();
  curl_slist* lines = nullptr;
  HttpCall call;
  OnBytes on_bytes;
  OnEnd on_end;
  char error_text[CURL_ERROR_SIZE] = {};

  Call() { WEFT_CHECK(easy != nullptr); }
  ~Call() {
    curl_easy_cleanup(easy);
    curl_slist_free_all(lines);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  int status() const {
    long code = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    return static_cast<int>(code);
  }
  static size_t take(char* data, size_t size, size_t count, void* self) {
    auto& call = *static_cast<Call*>(self);
    call.on_bytes(call.status(), {data, size * count});
    return size * count;
  }
};

struct HttpStreams::Implementation {
  CURLM* multi = curl_multi_init();
  std::string ca_file;
  long timeout_s = 0;
  std::vector<std::unique_ptr<Call>> running, idle;
};

HttpStreams::HttpStreams(const Environment& environment, std::chrono::seconds timeout,
                         const std::string& ca_file) {
  if (!ca_file.empty() && access(ca_file.c_str(), R_OK) != 0)
    throw Error(ErrorKind::kUsage, fmt::format("--ca-file {} cannot be read", ca_file),
                std::strerror(errno));
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  WEFT_CHECK_EQ(ready, CURLE_OK);
  implementation_ = std::make_unique<Implementation>();
  implementation_->timeout_s = static_cast<long>(timeout.count());
  implementation_->ca_file = ca_file;
  for (const char* name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    const auto found = environment.find(name);
    if (found != environment.end() && !found->second.empty() && implementation_->ca_file.empty())
      implementation_->ca_file = found->second;
  }
}

HttpStreams::~HttpStreams() {
  abandon();
  curl_multi_cleanup(implementation_->multi);
}

void HttpStreams::abandon() {
  for (const auto& call : implementation_->running)
    curl_multi_remove_handle(implementation_->multi, call->easy);
  implementation_->running.clear();
}

void HttpStreams::start(HttpCall what, OnBytes on_bytes, OnEnd on_end) {
  Implementation& all = *implementation_;
  if (all.idle.empty()) all.idle.push_back(std::make_unique<Call>());
  std::unique_ptr<Call> call = std::move(all.idle.back());
  all.idle.pop_back();
  call->call = std::move(what);
  call->on_bytes = std::move(on_bytes);
  call->on_end = std::move(on_end);
  call->error_text[0] = '\0';
  curl_easy_reset(call->easy);
  curl_slist_free_all(call->lines);
  call->lines = curl_slist_append(nullptr, "Content-Type: application/json");
  // curl would wait a second for "100 Continue" before a long body.
  call->lines = curl_slist_append(call->lines, "Expect:");
  if (!call->call.api_key.empty())
    call->lines =
        curl_slist_append(call->lines, ("Authorization: Bearer " + call->call.api_key).c_str());
  for (const std::string& header : call->call.headers)
    call->lines = curl_slist_append(call->lines, header.c_str());
  const auto set = [&](CURLoption option, auto value) {
    WEFT_CHECK_EQ(curl_easy_setopt(call->easy, option, value), CURLE_OK);
  };
  set(CURLOPT_URL, call->call.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTPHEADER, call->lines);
  if (!call->call.body.empty()) {
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call->call.body.size()));
    set(CURLOPT_POSTFIELDS, call->call.body.c_str());
  }
  if (!all.ca_file.empty()) set(CURLOPT_CAINFO, all.ca_file.c_str());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_TCP_NODELAY, 1L);
  set(CURLOPT_CONNECTTIMEOUT, 15L);
  set(CURLOPT_TIMEOUT, all.timeout_s);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_ERRORBUFFER, call->error_text);
  set(CURLOPT_WRITEFUNCTION, &Call::take);
  set(CURLOPT_WRITEDATA, call.get());
  set(CURLOPT_PRIVATE, call.get());
  WEFT_CHECK_EQ(curl_multi_add_handle(all.multi, call->easy), CURLM_OK);
  all.running.push_back(std::move(call));
}

void HttpStreams::drive(std::chrono::milliseconds patience) {
  Implementation& all = *implementation_;
  int num_running = 0;
  WEFT_CHECK_EQ(curl_multi_perform(all.multi, &num_running), CURLM_OK);
  bool ended = false;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(all.multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    char* self = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &self);
    const auto place = std::ranges::find_if(
        all.running, [&](const auto& call) { return call.get() == reinterpret_cast<Call*>(self); });
    std::unique_ptr<Call> call = std::move(*place);
    std::swap(*place, all.running.back());
    all.running.pop_back();
    HttpEnd end{call->status(), "", false};
    end.untrusted = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    if (code != CURLE_OK)
      end.failure = call->error_text[0] != '\0' ? call->error_text : curl_easy_strerror(code);
    curl_multi_remove_handle(all.multi, call->easy);
    const OnEnd on_end = std::move(call->on_end);
    all.idle.push_back(std::move(call));
    on_end(end);
    ended = true;
  }
  if (!ended) curl_multi_poll(all.multi, nullptr, 0, static_cast<int>(patience.count()), nullptr);
}

HttpAnswer ask(HttpStreams* streams, HttpCall call, const std::atomic<bool>* stop) {
  HttpAnswer answer;
  bool ended = false;
  streams->start(
      std::move(call),
      [&](int, std::span<const char> bytes) { answer.body.append(bytes.data(), bytes.size()); },
      [&](const HttpEnd& end) {
        answer.end = end;
        ended = true;
      });
  while (!ended && (stop == nullptr || !stop->load()))
    streams->drive(std::chrono::milliseconds(100));
  if (!ended) {
    streams->abandon();
    answer.end.failure = "stopped";
  }
  return answer;
}

std::string error_text(int status, const std::string& body) {
  constexpr size_t kLongest = 200;
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
  std::string text = body;
  if (json.is_object()) {
    const nlohmann::json error = json.value("error", json);
    if (error.is_string()) text = error.get<std::string>();
    if (error.is_object() && error.contains("message") && error["message"].is_string())
      text = error["message"].get<std::string>();
  }
  // First cut, for it may be megabytes; then again, for what replaces a control is longer.
  text = shortened(in_one_line(shortened(text, kLongest)), kLongest);
  return text.empty() ? fmt::format("HTTP {}", status) : fmt::format("HTTP {}: {}", status, text);
}

std::string error_code(const std::string& body) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
  const nlohmann::json::json_pointer place("/error/code");
  if (!json.is_object() || !json.contains(place) || !json[place].is_string()) return {};
  return json[place].get<std::string>();
}

}  // namespace weft::cli
