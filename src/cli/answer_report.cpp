#include "cli/answer_report.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/quantity.h"
#include "cli/text_table.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

using Positions = std::vector<std::vector<engine::TokenLogprob>>;

// The prompt's first token follows nothing: null.
Json logprobs_json(const Positions& positions) {
  Json list = Json::array();
  for (const auto& position : positions) {
    if (position.empty()) {
      list.push_back(nullptr);
      continue;
    }
    Json pairs = Json::array();
    for (const engine::TokenLogprob& pair : position) {
      pairs.push_back({{"id", pair.id}, {"logprob", number(pair.logprob)}});
    }
    list.push_back(std::move(pairs));
  }
  return list;
}

Json ranks_json(const Answer& answer) {
  Json list = Json::array();
  const auto& shares = answer.engine.split().ranks;
  for (size_t i = 0; i < shares.size(); ++i) {
    const engine::RankShare& share = shares[i];
    Json rank = {{"rank", share.rank},
                 {"stage", share.stage},
                 {"layers", {share.layers.begin, share.layers.end}},
                 {"heads", share.heads},
                 {"kv_heads", share.kv_heads},
                 {"ffn", share.ffn},
                 {"vocab_rows", share.vocab_rows},
                 {"weight_bytes", share.weight_bytes},
                 {"kv_bytes", share.kv_bytes}};
    const bool timed = i < answer.result.ranks.size();
    const engine::RankTimes times = timed ? answer.result.ranks[i] : engine::RankTimes{};
    rank["reduce_bytes"] = times.reduce_bytes;
    rank["compute_s"] = number(times.compute_s);
    rank["all_reduce_s"] = number(times.all_reduce_s);
    rank["wait_s"] = number(times.wait_s);
    list.push_back(std::move(rank));
  }
  return list;
}

// A token as one word of a table: control characters and quotes are escaped.
std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

double prompt_rate(const Answer& answer) {
  return per_second(static_cast<double>(answer.request.prompt_ids.size()), answer.result.prompt_s);
}

double generation_rate(const Answer& answer) {
  const size_t generated = answer.result.token_ids.size();
  return generated < 2 ? 0.0
                       : per_second(static_cast<double>(generated - 1), answer.result.generation_s);
}

double read_rate_gb(const Answer& answer) {
  return per_second(static_cast<double>(answer.result.weight_bytes_read) / 1e9,
                    answer.result.generation_s);
}

std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }

std::string answer_json(const Answer& answer) {
  const auto& [engine, request, result] = answer;
  Json object = {
      {"text", result.text},
      {"token_ids", result.token_ids},
      {"prompt_tokens", request.prompt_ids.size()},
      {"generated_tokens", result.token_ids.size()},
      {"logits_hash", request.hash_logits ? Json(hash_text(result.logits_hash)) : Json(nullptr)},
      {"finish_reason", engine::name(result.finish_reason)},
      {"prompt_tokens_per_s", number(prompt_rate(answer))},
      {"generation_tokens_per_s", number(generation_rate(answer))},
      {"read_gb_per_s", number(read_rate_gb(answer))},
      {"load_s", number(engine.load_seconds())},
      {"topology", engine.split().topology},
      {"isa", engine.isa()},
      {"prompt_token_ids", request.prompt_ids},
      {"ranks", ranks_json(answer)}};
  if (request.num_logprobs >= 0) object["logprobs"] = logprobs_json(result.logprobs);
  if (request.num_prompt_logprobs >= 0) {
    object["prompt_logprobs"] = logprobs_json(result.prompt_logprobs);
  }
  // Text of a model may hold half characters in no case, but a bug must not end in an exception.
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> stats_lines(const Answer& answer) {
  const engine::GenerationResult& result = answer.result;
  std::vector<std::string> lines = {
      fmt::format("prompt      {} tokens in {:.3f} s: {:.1f} tokens/s",
                  answer.request.prompt_ids.size(), result.prompt_s, prompt_rate(answer)),
      fmt::format("generation  {} tokens in {:.3f} s: {:.1f} tokens/s, {:.2f} GB/s read",
                  result.token_ids.size(), result.generation_s, generation_rate(answer),
                  read_rate_gb(answer))};
  TextTable table({"rank", "compute s", "all-reduce s", "waiting s", "reduced"});
  for (size_t i = 0; i < result.ranks.size(); ++i) {
    const engine::RankTimes& times = result.ranks[i];
    table.add_row({fmt::format("{}", i), fmt::format("{:.3f}", times.compute_s),
                   fmt::format("{:.3f}", times.all_reduce_s), fmt::format("{:.3f}", times.wait_s),
                   bytes_text(times.reduce_bytes)});
  }
  const std::vector<std::string> rows = table.lines();
  lines.insert(lines.end(), rows.begin(), rows.end());
  return lines;
}

std::vector<std::string> detail_lines(const Answer& answer) {
  const auto& [engine, request, result] = answer;
  std::vector<std::string> lines;
  const auto append = [&](std::string_view title, const Positions& positions,
                          const std::vector<int32_t>& chosen) {
    lines.emplace_back(title);
    for (size_t i = 0; i < positions.size() && i < chosen.size(); ++i) {
      std::string line =
          fmt::format("{:5}  {}", i, quoted(engine.tokenizer().piece(chosen[i], true)));
      for (const engine::TokenLogprob& pair : positions[i]) {
        line += fmt::format("{}{}:{:.4f}", &pair == positions[i].data() ? "  " : " ",
                            quoted(engine.tokenizer().piece(pair.id, true)), pair.logprob);
      }
      lines.push_back(std::move(line));
    }
  };
  if (request.num_prompt_logprobs >= 0) {
    append("prompt logprobs:", result.prompt_logprobs, request.prompt_ids);
  }
  if (request.num_logprobs >= 0) append("logprobs:", result.logprobs, result.token_ids);
  if (request.hash_logits) lines.push_back("logits-hash " + hash_text(result.logits_hash));
  return lines;
}

}  // namespace weft::cli
