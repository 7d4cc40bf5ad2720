#include "cli/answer_report.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/counted.h"
#include "cli/pipeline_table.h"
#include "cli/quantity.h"
#include "cli/speculation_report.h"
#include "serve/stop_reason.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

Json number(std::optional<double> value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

std::optional<double> rate(double amount, double seconds) {
  if (amount <= 0 || seconds <= 0) return std::nullopt;
  return per_second(amount, seconds);
}

// Whether the times are those of one pool, which no rank has a part of its own in.
bool share_times(const Answer& answer) {
  return answer.engine.pooled() && answer.result.ranks.size() > 1;
}

void add_times(const engine::RankTimes& times, Json* object) {
  (*object)["compute_s"] = number(times.compute_s);
  (*object)["all_reduce_s"] = number(times.all_reduce_s);
  (*object)["wait_s"] = number(times.wait_s);
}

Json pool_json(const Answer& answer) {
  if (!share_times(answer)) return nullptr;
  Json pool = Json::object();
  add_times(answer.result.ranks[0], &pool);
  return pool;
}

using Positions = std::vector<std::vector<engine::TokenLogprob>>;

// The prompt's first token follows nothing: null.
Json logprobs_json(const Positions& positions, const text::Tokenizer& tokenizer) {
  Json list = Json::array();
  for (const auto& position : positions) {
    if (position.empty()) {
      list.push_back(nullptr);
      continue;
    }
    Json pairs = Json::array();
    for (const engine::TokenLogprob& pair : position) {
      pairs.push_back({{"id", pair.id},
                       {"text", tokenizer.piece(pair.id, true)},
                       {"logprob", number(pair.logprob)}});
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
                 {"kv_bytes", share.kv_bytes},
                 {"logits_bytes", share.logits_bytes},
                 {"step_bytes", share.step_bytes}};
    const bool timed = i < answer.result.ranks.size();
    const engine::RankTimes times = timed ? answer.result.ranks[i] : engine::RankTimes{};
    rank["reduce_bytes"] = times.reduce_bytes;
    add_times(times, &rank);
    if (share_times(answer)) {
      for (const char* key : {"compute_s", "all_reduce_s", "wait_s"}) rank[key] = nullptr;
    }
    list.push_back(std::move(rank));
  }
  return list;
}

double total_seconds(const engine::GenerationResult& result) {
  return result.prompt_s + result.generation_s;
}

// A token as one word of a table: control characters and quotes are escaped.
std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string prompt_line(const Answer& answer) {
  std::string tokens = counted(static_cast<int64_t>(answer.request.prompt_ids.size()), "token");
  if (answer.cached_tokens > 0) tokens += fmt::format(" ({} of them cached)", answer.cached_tokens);
  const double seconds = answer.result.prompt_s;
  const std::optional<double> speed = prompt_rate(answer);
  if (!speed) return fmt::format("prompt      {}, stopped after {:.3f} s", tokens, seconds);
  return fmt::format("prompt      {} in {:.3f} s: {:.1f} tokens/s", tokens, seconds, *speed);
}

std::string generation_line(const Answer& answer) {
  const auto generated = static_cast<int64_t>(answer.result.token_ids.size());
  const std::optional<double> speed = generation_rate(answer);
  if (generated == 0) return "generation  no token";
  if (!speed)
    return fmt::format("generation  {}, out of the prompt's last step",
                       counted(generated, "token"));
  return fmt::format(
      "generation  {} after the first in {:.3f} s: {:.1f} tokens/s, {:.2f} GB/s read",
      counted(generated - 1, "token"), answer.result.generation_s, *speed,
      read_rate_gb(answer).value_or(0.0));
}

Json load_json(const engine::WeightLoading& loading) {
  return {{"seconds", loading.seconds},
          {"bytes", loading.source_bytes},
          {"weight_bytes", loading.weight_bytes},
          {"mapped", loading.mapped}};
}

}  // namespace

std::optional<double> prompt_rate(const Answer& answer) {
  if (answer.result.token_ids.empty()) return std::nullopt;  // stopped within the prompt
  const int64_t computed = std::ssize(answer.request.prompt_ids) - answer.cached_tokens;
  return rate(static_cast<double>(computed), answer.result.prompt_s);
}

std::optional<double> generation_rate(const Answer& answer) {
  return rate(static_cast<double>(answer.result.token_ids.size()) - 1, answer.result.generation_s);
}

std::optional<double> read_rate_gb(const Answer& answer) {
  return rate(static_cast<double>(answer.result.weight_bytes_read) / 1e9,
              answer.result.generation_s);
}

std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }

std::string answer_json(const Answer& answer) {
  const auto& [engine, request, result, cached] = answer;
  Json object = {
      {"text", result.text},
      {"token_ids", result.token_ids},
      {"prompt_tokens", request.prompt_ids.size()},
      {"generated_tokens", result.token_ids.size()},
      {"logits_hash", request.hash_logits ? Json(hash_text(result.logits_hash)) : Json(nullptr)},
      {"finish_reason", engine::name(result.finish_reason)},
      {"stop_reason",
       serve::stop_reason_json(result.stop_reason, result.token_ids, request.sampling.stop)},
      {"prompt_tokens_per_s", number(prompt_rate(answer))},
      {"generation_tokens_per_s", number(generation_rate(answer))},
      {"read_gb_per_s", number(read_rate_gb(answer))},
      {"load_s", number(engine.load_seconds())},
      {"load", load_json(engine.weight_loading())},
      {"topology", engine.split().topology},
      {"isa", engine.isa()},
      {"prompt_token_ids", request.prompt_ids},
      {"ranks", ranks_json(answer)},
      {"pool", pool_json(answer)}};
  if (result.speculation.guessed_tokens > 0 || result.speculation.num_draft_steps > 0)
    object["speculation"] = speculation_json(result.speculation, total_seconds(result));
  if (request.sampling.logprobs)
    object["logprobs"] = logprobs_json(result.logprobs, engine.tokenizer());
  if (request.sampling.prompt_logprobs)
    object["prompt_logprobs"] = logprobs_json(result.prompt_logprobs, engine.tokenizer());
  // A token may be half a character, which JSON cannot hold.
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> stats_lines(const Answer& answer) {
  const std::vector<engine::RankTimes>& ranks = answer.result.ranks;
  std::vector<std::string> lines = {prompt_line(answer), generation_line(answer)};
  const std::string guessed =
      speculation_line(answer.result.speculation, total_seconds(answer.result));
  if (!guessed.empty()) lines.push_back("guesses     " + guessed);
  const std::vector<std::string> rows = rank_lines(ranks, answer.engine.pooled());
  lines.insert(lines.end(), rows.begin(), rows.end());
  return lines;
}

std::vector<std::string> detail_lines(const Answer& answer) {
  const auto& [engine, request, result, cached] = answer;
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
  if (request.sampling.prompt_logprobs) {
    append("prompt logprobs:", result.prompt_logprobs, request.prompt_ids);
  }
  if (request.sampling.logprobs) append("logprobs:", result.logprobs, result.token_ids);
  if (request.hash_logits) lines.push_back("logits-hash " + hash_text(result.logits_hash));
  return lines;
}

}  // namespace weft::cli
