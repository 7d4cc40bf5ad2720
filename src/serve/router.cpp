#include "serve/router.h"

#include <algorithm>

#include "base/error.h"

namespace weft::serve {
namespace {

using Params = std::vector<std::pair<std::string, std::string>>;

// How much a part of a pattern says; the more the better.
enum Weight : int { kRest = 0, kPart = 1, kWord = 2 };

Weight weight_of(std::string_view part) {
  if (!part.starts_with('{')) return kWord;
  return part.ends_with("*}") ? kRest : kPart;
}

std::string_view name_of(std::string_view part) {
  return part.substr(1, part.size() - (weight_of(part) == kRest ? 3 : 2));
}

// The text before the next slash, which is taken off with it. False where nothing is left.
bool next_part(std::string_view* text, std::string_view* part) {
  if (text->data() == nullptr) return false;
  const size_t slash = text->find('/');
  *part = text->substr(0, slash);
  *text = slash == std::string_view::npos ? std::string_view() : text->substr(slash + 1);
  return true;
}

// Whether the pattern fits, and how much each of its parts says.
std::optional<std::vector<int>> match(std::string_view pattern, std::string_view path,
                                      Params* params) {
  std::vector<int> weights;
  std::string_view wanted, part;
  while (next_part(&pattern, &wanted)) {
    const Weight weight = weight_of(wanted);
    weights.push_back(weight);
    if (weight == kRest) {
      if (path.empty()) return std::nullopt;
      params->emplace_back(name_of(wanted), path);
      return weights;
    }
    if (!next_part(&path, &part)) return std::nullopt;
    if (weight == kWord && part != wanted) return std::nullopt;
    if (weight == kPart && part.empty()) return std::nullopt;
    if (weight == kPart) params->emplace_back(name_of(wanted), part);
  }
  return path.data() == nullptr ? std::optional(weights) : std::nullopt;
}

void add_method(std::string_view method, std::string* list) {
  if (!list->empty()) *list += ", ";
  *list += method;
}

}  // namespace

void Router::add(std::string method, std::string pattern, Route route) {
  WEFT_CHECK(pattern.starts_with('/'), "{}", pattern);
  for (const Entry& entry : entries_)
    WEFT_CHECK(entry.method != method || entry.pattern != pattern, "two routes for {} {}", method,
               pattern);
  entries_.push_back({std::move(method), std::move(pattern), std::move(route)});
}

Router::Found Router::find(std::string_view method, std::string_view path) const {
  Found found;
  std::vector<int> best;
  const std::string_view asked = method == "HEAD" ? "GET" : method;
  for (const Entry& entry : entries_) {
    Params params;
    const std::optional<std::vector<int>> weights = match(entry.pattern, path, &params);
    if (!weights || *weights < best) continue;
    if (*weights > best) {
      best = *weights;
      found = Found{nullptr, entry.pattern, {}, {}};
    }
    add_method(entry.method, &found.allow);
    if (entry.method == "GET") add_method("HEAD", &found.allow);
    if (entry.method != asked) continue;
    found.route = &entry.route;
    found.path_params = std::move(params);
  }
  if (!found.pattern.empty()) add_method("OPTIONS", &found.allow);
  return found;
}

}  // namespace weft::serve
