#include "cli/token_counts.h"

#include <nlohmann/json.hpp>

namespace weft::cli {
namespace {

using Json = nlohmann::json;

constexpr int64_t kBytesPerToken = 4;
constexpr size_t kSideBySide = 8;

int64_t estimate(const std::string& text) {
  return (static_cast<int64_t>(text.size()) + kBytesPerToken - 1) / kBytesPerToken;
}

// -1 where the answer has none.
int64_t count_in(const HttpEnd& end, const std::string& body) {
  if (end.status != 200 || !end.failure.empty()) return -1;
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object()) return -1;
  const auto count = json.find("count");
  return count != json.end() && count->is_number_unsigned() ? count->get<int64_t>() : -1;
}

}  // namespace

std::vector<int64_t> ServerTokenCounts::operator()(const std::vector<std::string>& texts) {
  std::vector<int64_t> counts(texts.size(), -1);
  std::vector<std::string> bodies(texts.size());
  size_t num_ended = 0;
  for (size_t next = 0; num_ended < texts.size() && !estimated_ && !stop_.load();) {
    for (; next < texts.size() && next < num_ended + kSideBySide; ++next) {
      const Json body = {{"model", model_}, {"prompt", texts[next]}};
      const size_t i = next;
      streams_.start(
          {base_ + "/tokenize", body.dump(-1, ' ', false, Json::error_handler_t::replace),
           api_key_},
          [&bodies, i](int, std::span<const char> bytes) {
            bodies[i].append(bytes.data(), bytes.size());
          },
          [&, i](const HttpEnd& end) {
            counts[i] = count_in(end, bodies[i]);
            estimated_ = estimated_ || counts[i] < 0;
            ++num_ended;
          });
    }
    streams_.drive(std::chrono::milliseconds(100));
  }
  streams_.abandon();  // what is under way holds on to what is here
  for (size_t i = 0; i < texts.size(); ++i)
    if (counts[i] < 0) counts[i] = estimate(texts[i]);
  return counts;
}

}  // namespace weft::cli
