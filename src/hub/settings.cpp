#include <algorithm>
#include <cctype>
#include <fstream>

#include "base/error.h"
#include "hub/hub.h"

namespace weft::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxToken = 4096;

// The first of these variables that is set and not empty.
std::string first_of(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto found = environment.find(name);
    if (found != environment.end() && !found->second.empty()) return found->second;
  }
  return {};
}

bool is_true(std::string value) {
  for (char& c : value) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path absolute_folder(const std::string& value, const std::string& home) {
  if (value.starts_with("~/") && !home.empty()) return fs::path(home) / value.substr(2);
  return fs::absolute(value).lexically_normal();
}

fs::path home_of_hub(const Environment& environment) {
  const std::string home = first_of(environment, {"HOME"});
  if (const std::string own = first_of(environment, {"HF_HOME"}); !own.empty())
    return absolute_folder(own, home);
  if (const fs::path xdg = first_of(environment, {"XDG_CACHE_HOME"}); xdg.is_absolute())
    return xdg / "huggingface";
  if (!home.empty()) return fs::path(home) / ".cache" / "huggingface";
  return {};
}

std::string trimmed(std::string text) {
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  while (!text.empty() && space(text.back())) text.pop_back();
  while (!text.empty() && space(text.front())) text.erase(text.begin());
  return text;
}

std::string read_token(const Environment& environment, const fs::path& hub_home) {
  std::string token = trimmed(first_of(environment, {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}));
  const bool wanted = !is_true(first_of(environment, {"HF_HUB_DISABLE_IMPLICIT_TOKEN"}));
  if (token.empty() && wanted) {
    const std::string named = first_of(environment, {"HF_TOKEN_PATH"});
    const fs::path path = named.empty() ? hub_home / "token"
                                        : absolute_folder(named, first_of(environment, {"HOME"}));
    std::ifstream file(path, std::ios::binary);
    std::string text(kMaxToken + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    token = trimmed(std::move(text));
  }
  // It becomes a line of the request's head.
  const bool printable =
      std::ranges::all_of(token, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!printable || token.size() > kMaxToken) {
    throw Error(ErrorKind::kUsage, "the hub's token is malformed",
                "it holds spaces, control characters or more than 4096 of them",
                "set HF_TOKEN to the token alone (hf_...)");
  }
  return token;
}

std::string read_endpoint(const Environment& environment) {
  std::string endpoint = first_of(environment, {"HF_ENDPOINT"});
  if (endpoint.empty()) return Settings{}.endpoint;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const bool http = endpoint.starts_with("http://") || endpoint.starts_with("https://");
  const bool clean = std::ranges::all_of(endpoint, [](unsigned char c) {
    return c > 0x20 && c < 0x7f && c != '?' && c != '#' && c != '@';
  });
  if (!http || !clean) {
    throw Error(ErrorKind::kUsage, "HF_ENDPOINT is no address of a hub", endpoint,
                "set it to something like https://huggingface.co");
  }
  return endpoint;
}

}  // namespace

Settings read_settings(const Environment& environment) {
  Settings settings;
  settings.endpoint = read_endpoint(environment);
  settings.offline = is_true(first_of(environment, {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
  settings.ca_file =
      first_of(environment, {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"});
  const fs::path hub_home = home_of_hub(environment);
  const std::string named = first_of(environment, {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  if (!named.empty()) {
    settings.cache = absolute_folder(named, first_of(environment, {"HOME"}));
  } else if (!hub_home.empty()) {
    settings.cache = hub_home / "hub";
  } else {
    throw Error(ErrorKind::kUsage, "there is no folder for models of a hub",
                "neither HF_HOME, XDG_CACHE_HOME nor HOME is set", "set HF_HOME to a folder");
  }
  settings.token = read_token(environment, hub_home);
  return settings;
}

}  // namespace weft::hub
