#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/option_values.h"
#include "serve/access.h"

namespace weft::serve {
namespace {

constexpr double kMostRequestsPerMinute = 1e9;
constexpr int64_t kMostPriority = 1'000'000;
constexpr size_t kMostNameBytes = 64;

// What is wrong with a line; nothing of a key is ever shown.
class Place {
 public:
  Place(const std::string& path, int line) : path_(path), line_(line) {}
  [[noreturn]] void refuse(std::string_view why) const {
    throw Error(ErrorKind::kUsage, fmt::format("--api-key-file {}, line {}: {}", path_, line_, why),
                "", "a line is NAME KEY [REQUESTS-PER-MINUTE [PRIORITY]] [admin]");
  }

 private:
  const std::string& path_;
  int line_;
};

KeyHash parse_sum(std::string_view digits, const Place& place) {
  KeyHash hash{};
  if (digits.size() != 64 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
    place.refuse("sha256: wants 64 hexadecimal digits");
  for (size_t i = 0; i < hash.size(); ++i)
    hash[i] = static_cast<std::byte>(std::stoi(std::string(digits.substr(2 * i, 2)), nullptr, 16));
  return hash;
}

// Names stand in logs and metrics.
void check_name(std::string_view name, const Place& place) {
  if (name.size() > kMostNameBytes) place.refuse("the name is too long");
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && std::strchr("-_.@", c) == nullptr)
      place.refuse("a name has letters, digits and - _ . @");
}

// As a field of a header, around which readers take spaces away.
bool can_be_sent(std::string_view key) {
  return std::ranges::all_of(key, [](char c) { return c >= 0x20 && c < 0x7f; }) &&
         !key.starts_with(' ') && !key.ends_with(' ');
}

KeyRule parse_line(std::vector<std::string> words, const Place& place) {
  KeyRule rule;
  rule.is_admin = words.size() > 2 && words.back() == "admin";
  if (rule.is_admin) words.pop_back();
  if (words.size() < 2 || words.size() > 4)
    place.refuse("2 to 4 words were expected, and \"admin\" behind them");
  rule.name = words[0];
  check_name(rule.name, place);
  constexpr std::string_view kSum = "sha256:";
  rule.hash = words[1].starts_with(kSum)
                  ? parse_sum(std::string_view(words[1]).substr(kSum.size()), place)
                  : hash_key(words[1]);
  if (words.size() > 2) {
    const auto rate = parse_number(words[2]);
    if (!rate || *rate < 0 || *rate > kMostRequestsPerMinute)
      place.refuse("requests per minute is no number of at least 0");
    rule.requests_per_minute = *rate;
  }
  if (words.size() > 3) {
    const auto priority = parse_whole_number(words[3]);
    if (!priority || *priority < -kMostPriority || *priority > kMostPriority)
      place.refuse("the priority is no whole number");
    rule.priority = static_cast<int32_t>(*priority);
  }
  return rule;
}

// A key may hold "#": a comment begins with the line, or behind a blank.
std::string without_comment(const std::string& line) {
  size_t at = line.find('#');
  while (at != std::string::npos && at > 0 && line[at - 1] != ' ' && line[at - 1] != '\t')
    at = line.find('#', at + 1);
  return line.substr(0, at);
}

}  // namespace

std::vector<KeyRule> read_key_file(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    throw Error(ErrorKind::kUsage, fmt::format("--api-key-file {} cannot be read", path),
                std::strerror(errno));
  std::vector<KeyRule> rules;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::istringstream words(without_comment(line));
    std::vector<std::string> parts;
    for (std::string word; words >> word;) parts.push_back(word);
    if (!parts.empty()) rules.push_back(parse_line(std::move(parts), Place(path, number)));
  }
  // A file of keys without one is a mistake, and must not open the server.
  if (rules.empty())
    throw Error(ErrorKind::kUsage, fmt::format("--api-key-file {} holds no key", path));
  return rules;
}

std::vector<KeyRule> rules_of_keys(const std::vector<std::string>& keys) {
  std::vector<KeyRule> rules;
  for (const std::string& key : keys) {
    if (key.empty()) throw Error(ErrorKind::kUsage, "--api-key is empty");
    if (!can_be_sent(key))
      throw Error(ErrorKind::kUsage, "--api-key cannot be sent by a client", "",
                  "a key has printable ASCII characters, and no space at either end");
    KeyRule rule;
    rule.name = fmt::format("key-{}", rules.size() + 1);
    rule.hash = hash_key(key);
    rules.push_back(rule);
  }
  return rules;
}

}  // namespace weft::serve
