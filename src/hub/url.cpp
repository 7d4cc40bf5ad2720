#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "hub/http.h"

namespace weft::hub {
namespace {

struct Url {
  CURLU* handle = curl_url();
  Url() = default;
  ~Url() { curl_url_cleanup(handle); }
  Url(const Url&) = delete;
  Url& operator=(const Url&) = delete;

  bool set(const std::string& text) {
    return curl_url_set(handle, CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  }
  std::string get(CURLUPart part, unsigned flags = 0) const {
    char* text = nullptr;
    if (curl_url_get(handle, part, &text, flags) != CURLUE_OK) return {};
    std::string result(text);
    curl_free(text);
    return result;
  }
};

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

}  // namespace

std::string escaped_path(std::string_view path) {
  std::string result;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        std::isalnum(byte) != 0 || c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
    result += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return result;
}

std::string origin_of(const std::string& text) {
  Url url;
  if (!url.set(text)) return {};
  const std::string scheme = lower(url.get(CURLUPART_SCHEME));
  if (scheme != "http" && scheme != "https") return {};
  return fmt::format("{}://{}:{}", scheme, lower(url.get(CURLUPART_HOST)),
                     url.get(CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

bool may_send_token(const std::string& text, const std::string& endpoint) {
  const std::string origin = origin_of(text);
  if (origin.empty() || origin != origin_of(endpoint)) return false;
  Url url;
  return origin.starts_with("https:") ||
         (url.set(text) && is_loopback(lower(url.get(CURLUPART_HOST))));
}

std::string redirected(const std::string& from, std::string_view location) {
  Url url;
  if (location.empty() || !url.set(from)) return {};
  // A location without a scheme is relative to where it was said.
  if (!url.set(std::string(location))) return {};
  std::string to = url.get(CURLUPART_URL);
  const std::string origin = origin_of(to);
  const bool weaker = origin_of(from).starts_with("https:") && !origin.starts_with("https:");
  return origin.empty() || weaker ? std::string() : to;
}

}  // namespace weft::hub
