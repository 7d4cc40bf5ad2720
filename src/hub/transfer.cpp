#include "hub/transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <thread>

namespace weft::hub {
namespace {

constexpr int kDriveMs = 100;
constexpr long kConnectTimeoutS = 15;
constexpr std::chrono::milliseconds kLongestPause{60'000};
constexpr size_t kMaxHeaders = 200;

bool is_about_certificates(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
         code == CURLE_SSL_ISSUER_ERROR;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.remove_suffix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
    text.remove_prefix(1);
  return text;
}

}  // namespace

Transfer::Transfer(const Settings& settings) : settings_(settings), easy_(curl_easy_init()) {
  WEFT_CHECK(easy_ != nullptr);
}

Transfer::~Transfer() {
  leave();
  curl_easy_cleanup(easy_);
  curl_slist_free_all(lines_);
}

void Transfer::start(CURLM* multi, Request request) {
  leave();
  request_ = std::move(request);
  status_ = 0;
  headers_.clear();
  thrown_ = nullptr;
  cut_ = false;
  code_ = CURLE_OK;
  error_text_[0] = '\0';
  curl_easy_reset(easy_);
  curl_slist_free_all(lines_);
  // A compressed body would be neither the file's size nor its hash.
  lines_ = curl_slist_append(nullptr, "Accept-Encoding: identity");
  if (!settings_.token.empty() && may_send_token(request_.url, settings_.endpoint)) {
    lines_ = curl_slist_append(lines_, ("Authorization: Bearer " + settings_.token).c_str());
  }
  const auto set = [&](CURLoption option, auto value) {
    WEFT_CHECK_EQ(curl_easy_setopt(easy_, option, value), CURLE_OK);
  };
  set(CURLOPT_URL, request_.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTPHEADER, lines_);
  set(CURLOPT_USERAGENT, "weft/0.1");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOBODY, request_.head ? 1L : 0L);
  if (!request_.range.empty()) set(CURLOPT_RANGE, request_.range.c_str());
  if (!settings_.ca_file.empty()) set(CURLOPT_CAINFO, settings_.ca_file.c_str());
  set(CURLOPT_CONNECTTIMEOUT, kConnectTimeoutS);
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(settings_.stall_limit.count()));
  // One connection a transfer: streams of one HTTP/2 connection would share its window.
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_ERRORBUFFER, error_text_);
  set(CURLOPT_HEADERFUNCTION, &Transfer::take_header);
  set(CURLOPT_HEADERDATA, this);
  set(CURLOPT_WRITEFUNCTION, &Transfer::take_body);
  set(CURLOPT_WRITEDATA, this);
  set(CURLOPT_PRIVATE, this);
  WEFT_CHECK_EQ(curl_multi_add_handle(multi, easy_), CURLM_OK);
  multi_ = multi;
}

void Transfer::leave() {
  if (multi_ == nullptr) return;
  curl_multi_remove_handle(multi_, easy_);
  multi_ = nullptr;
}

std::string_view Transfer::header(const std::string& name) const {
  const auto found = headers_.find(name);
  return found == headers_.end() ? std::string_view() : std::string_view(found->second);
}

void Transfer::end(CURLcode code) {
  code_ = code;
  leave();
}

TransportError Transfer::failure() const {
  if (thrown_) std::rethrow_exception(thrown_);
  if (code_ == CURLE_OK || cut_) return {};
  const std::string said = error_text_[0] != '\0' ? error_text_ : curl_easy_strerror(code_);
  return {said, is_about_certificates(code_)};
}

size_t Transfer::take_header(char* data, size_t size, size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/")) {  // of a final answer, after "100 Continue" and the like
    transfer.headers_.clear();
    long status = 0;
    curl_easy_getinfo(transfer.easy_, CURLINFO_RESPONSE_CODE, &status);
    transfer.status_ = static_cast<int>(status);
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  if (transfer.headers_.size() >= kMaxHeaders) return 0;
  std::string name(line.substr(0, colon));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  transfer.headers_[name] = trimmed(line.substr(colon + 1));
  return line.size();
}

size_t Transfer::take_body(char* data, size_t size, size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  const size_t bytes = size * count;
  try {
    if (transfer.request_.on_body({data, bytes})) return bytes;
    transfer.cut_ = true;
  } catch (...) {  // libcurl's frames know no exceptions
    transfer.thrown_ = std::current_exception();
  }
  return bytes == 0 ? 1 : 0;
}

void drive(CURLM* multi) {
  int num_running = 0;
  WEFT_CHECK_EQ(curl_multi_perform(multi, &num_running), CURLM_OK);
  int left = 0;
  bool ended = false;
  while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    char* self = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &self);
    reinterpret_cast<Transfer*>(self)->end(message->data.result);
    ended = true;
  }
  if (!ended) curl_multi_poll(multi, nullptr, 0, kDriveMs, nullptr);
}

std::chrono::milliseconds retry_pause(const Settings& settings, int failures,
                                      std::string_view retry_after) {
  int seconds = 0;
  const auto [end, error] =
      std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), seconds);
  if (error == std::errc() && seconds > 0)
    return std::min(kLongestPause, std::chrono::milliseconds(1000) * std::min(seconds, 60));
  return std::min(kLongestPause, settings.retry_delay * (1 << std::clamp(failures, 0, 10)));
}

void wait_to_retry(const Settings& settings, int failures, std::string_view retry_after,
                   const std::atomic<bool>& stop) {
  auto left = retry_pause(settings, failures, retry_after);
  while (left.count() > 0) {
    if (stop.load()) throw Stopped{};
    const auto nap = std::min(left, std::chrono::milliseconds(100));
    std::this_thread::sleep_for(nap);
    left -= nap;
  }
}

}  // namespace weft::hub
