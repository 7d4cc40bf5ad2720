#include "hub/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include "hub/range_fetch.h"
#include "hub/transfer.h"

namespace weft::hub {
namespace {

constexpr int kMaxHops = 8;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// What a server says of a moment, not of the request.
bool is_passing(int status) { return status == 408 || status == 429 || status >= 500; }

}  // namespace

std::string_view Response::header(std::string_view name) const {
  const auto found = headers.find(std::string(name));
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

struct HttpClient::Implementation {
  const Settings& settings;
  const std::atomic<bool>& stop;
  CURLM* multi = nullptr;
  Transfer single;  // of one request at a time; its connections are kept by `multi`

  Implementation(const Settings& s, const std::atomic<bool>& stop_flag)
      : settings(s), stop(stop_flag), multi(curl_multi_init()), single(s) {
    WEFT_CHECK(multi != nullptr);
    curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 0L);
  }
  ~Implementation() {
    single.leave();
    curl_multi_cleanup(multi);
  }

  // One hop.
  Response once(const std::string& url, bool head, int64_t max_bytes) {
    Response response;
    response.url = url;
    Transfer::Request request;
    request.url = url;
    request.head = head;
    request.on_body = [&](std::span<const char> piece) {
      response.body.append(piece.data(), piece.size());
      return static_cast<int64_t>(response.body.size()) <= max_bytes;
    };
    single.start(multi, request);
    while (!single.is_done()) {
      if (stop.load()) {
        single.leave();
        throw Stopped{};
      }
      drive(multi);
    }
    if (single.was_cut()) {
      throw TransportError{fmt::format("the answer is longer than {} bytes", max_bytes)};
    }
    if (!single.failure().what.empty()) throw single.failure();
    response.status = single.status();
    response.headers = single.headers();
    return response;
  }

  Response patient(const std::string& url, bool head, int64_t max_bytes) {
    for (int failures = 0;; ++failures) {
      const bool last = failures + 1 >= settings.max_failures;
      try {
        Response response = once(url, head, max_bytes);
        if (!is_passing(response.status) || last) return response;
        wait_to_retry(settings, failures, response.header("retry-after"), stop);
      } catch (const TransportError& error) {
        if (last || error.is_certificate) throw;
        wait_to_retry(settings, failures, {}, stop);
      }
    }
  }
};

HttpClient::HttpClient(const Settings& settings, const std::atomic<bool>& stop) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  WEFT_CHECK_EQ(ready, CURLE_OK);
  implementation_ = std::make_unique<Implementation>(settings, stop);
}

HttpClient::~HttpClient() = default;

Response HttpClient::get(const std::string& url, int64_t max_bytes) {
  std::string at = url;
  for (int hop = 0; hop < kMaxHops; ++hop) {
    Response response = implementation_->patient(at, false, max_bytes);
    if (!is_redirect(response.status)) return response;
    at = redirected(at, response.header("location"));
    if (at.empty()) throw TransportError{"the server redirects to where it must not"};
  }
  throw TransportError{"the server redirects in a circle"};
}

HttpClient::Place HttpClient::locate(const std::string& url) {
  const std::string home = origin_of(implementation_->settings.endpoint);
  std::map<std::string, std::string> said;  // by the hub, on the way
  std::string at = url;
  for (int hop = 0; hop < kMaxHops; ++hop) {
    Response response = implementation_->patient(at, true, 0);
    for (const auto& [name, value] : response.headers) {
      if (name.starts_with("x-")) said.emplace(name, value);
    }
    std::string next;
    if (is_redirect(response.status)) {
      next = redirected(at, response.header("location"));
      if (next.empty()) throw TransportError{"the server redirects to where it must not"};
    }
    if (next.empty() || origin_of(next) != home) {
      response.headers.insert(said.begin(), said.end());
      for (const auto& [name, value] : said) response.headers[name] = value;
      return {std::move(response), next.empty() ? at : next};
    }
    at = next;
  }
  throw TransportError{"the server redirects in a circle"};
}

HttpClient::RangeResult HttpClient::get_range(const std::string& location, int64_t begin,
                                              int64_t total_bytes, const Sink& sink) {
  RangeFetch fetch(implementation_->settings, implementation_->stop, implementation_->multi);
  return fetch.run(location, begin, total_bytes, sink);
}

}  // namespace weft::hub
