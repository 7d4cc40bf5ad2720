#include "serve/host_check.h"

#include <algorithm>
#include <cctype>

namespace weft::serve {
namespace {

bool is_ipv4_loopback(std::string_view name) {
  int parts = 0;
  std::string_view rest = name;
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    if (part.empty() || part.size() > 3 ||
        part.find_first_not_of("0123456789") != std::string_view::npos ||
        std::stoi(std::string(part)) > 255)
      return false;
    ++parts;
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  return parts == 4 && name.starts_with("127.");
}

bool is_port(std::string_view text) {
  return text.size() <= 5 && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

std::string host_name(std::string_view field) {
  std::string_view name;
  std::string_view rest;
  if (field.starts_with('[')) {
    const size_t end = field.find(']');
    if (end == std::string_view::npos) return {};
    name = field.substr(1, end - 1);
    rest = field.substr(end + 1);
  } else {
    name = field.substr(0, field.find(':'));
    rest = field.substr(name.size());
  }
  if (!rest.empty() && (rest[0] != ':' || !is_port(rest.substr(1)))) return {};
  if (name.ends_with('.')) name.remove_suffix(1);
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

bool is_loopback_name(std::string_view name) {
  return name == "localhost" || name.ends_with(".localhost") || name == "::1" ||
         is_ipv4_loopback(name);
}

std::string check_host(const HttpRequest& request, const std::vector<std::string>& allowed) {
  const auto is_ours = [&](const std::string& name) {
    return is_loopback_name(name) || std::ranges::any_of(allowed, [&](const std::string& each) {
             return each == "*" || (!name.empty() && host_name(each) == name);
           });
  };
  const std::string_view field = request.header("host");
  // HTTP/1.0 may leave it out, and a browser does not speak it.
  if (!field.empty() && !is_ours(host_name(field)))
    return "the Host of this request is not this machine's (--allowed-hosts adds names)";
  const std::string_view origin = request.header("origin");
  if (origin.empty()) return {};
  const size_t scheme = origin.find("://");
  const bool has_host = scheme != std::string_view::npos;  // "null" has none
  if (!is_ours(has_host ? host_name(origin.substr(scheme + 3)) : std::string()))
    return "requests of other sites are not answered (--allowed-hosts adds names)";
  return {};
}

}  // namespace weft::serve
