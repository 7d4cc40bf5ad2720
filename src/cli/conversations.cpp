#include "cli/conversations.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/random.h"

namespace weft::cli {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kOrderStream = (uint64_t{1} << 40) + (1 << 21);
// Counted at a time: a server that counts is asked for some side by side.
constexpr size_t kBatch = 64;

const std::string* value_of(const Json& turn) {
  if (!turn.is_object()) return nullptr;
  const auto value = turn.find("value");
  return value != turn.end() && value->is_string() ? value->get_ptr<const std::string*>() : nullptr;
}

std::optional<Exchanged> exchanged_of(const Json& entry) {
  const auto turns = entry.find("conversations");
  if (turns == entry.end() || !turns->is_array() || turns->size() < 2) return std::nullopt;
  const std::string* question = value_of((*turns)[0]);
  const std::string* answer = value_of((*turns)[1]);
  if (question == nullptr || answer == nullptr) return std::nullopt;
  return Exchanged{*question, *answer};
}

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw Error(ErrorKind::kUsage, fmt::format("--dataset-path {} is no ShareGPT file", path), why,
              R"(it is a list of {"conversations": [{"value": "..."}, {"value": "..."}]})");
}

std::vector<size_t> shuffled(size_t count, uint64_t seed) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = count; i > 1; --i)
    std::swap(order[i - 1], order[uniform_bits(seed, kOrderStream, i) % i]);
  return order;
}

}  // namespace

std::vector<Exchanged> read_conversations(const std::string& path) {
  std::ifstream file(path);
  if (!file) refuse(path, "it cannot be read");
  std::vector<Exchanged> known;
  const auto keep = [&known](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth != 1 || event != Json::parse_event_t::object_end) return true;
    if (std::optional<Exchanged> exchanged = exchanged_of(parsed))
      known.push_back(std::move(*exchanged));
    return false;  // the rest of the entry is not kept
  };
  try {
    if (!Json::parse(file, keep).is_array()) refuse(path, "it holds no list");
  } catch (const Json::exception& error) {
    refuse(path, error.what());
  }
  if (known.empty()) refuse(path, "no conversation of it has two turns");
  return known;
}

std::vector<LoadPrompt> choose_conversations(const std::vector<Exchanged>& known, size_t count,
                                             int64_t output_len, uint64_t seed,
                                             const CountTokens& count_tokens,
                                             const ConversationLimits& limits) {
  std::vector<LoadPrompt> prompts;
  const std::vector<size_t> order = shuffled(known.size(), seed);
  for (size_t at = 0; at < order.size() && prompts.size() < count; at += kBatch) {
    const size_t end = std::min(order.size(), at + kBatch);
    std::vector<std::string> texts;
    for (size_t i = at; i < end; ++i) {
      texts.push_back(known[order[i]].question);
      texts.push_back(known[order[i]].answer);
    }
    const std::vector<int64_t> lengths = count_tokens(texts);
    for (size_t i = at; i < end && prompts.size() < count; ++i) {
      const int64_t input = lengths[2 * (i - at)], recorded = lengths[2 * (i - at) + 1];
      const int64_t output = output_len > 0 ? output_len : recorded;
      const bool is_short =
          input < limits.min_tokens || (output_len == 0 && output < limits.min_tokens);
      const bool is_long =
          input > limits.max_prompt_tokens || input + output > limits.max_total_tokens;
      if (is_short || is_long) continue;
      prompts.push_back({known[order[i]].question, {}, output, input});
    }
  }
  if (prompts.empty())
    throw Error(ErrorKind::kUsage, "no conversation of the dataset is of a length to be asked",
                fmt::format("questions of {} to {} tokens are, of at most {} with their answers",
                            limits.min_tokens, limits.max_prompt_tokens, limits.max_total_tokens));
  const size_t num_chosen = prompts.size();
  prompts.reserve(count);
  for (size_t i = 0; prompts.size() < count; ++i) prompts.push_back(prompts[i % num_chosen]);
  return prompts;
}

}  // namespace weft::cli
