#include "serve/answer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "serve/stop_reason.h"
#include "text/utf8.h"

namespace weft::serve {
namespace {

using engine::TokenLogprob;

// What OpenAI writes for a token that cannot come; JSON has no infinity.
constexpr double kUnlikely = -9999.0;

double number(float logprob) { return std::isfinite(logprob) ? logprob : kUnlikely; }

// Of the pairs of a position, the one of this token.
const TokenLogprob* pair_of(const TokenPairs& pairs, int32_t id) {
  const auto found = std::find_if(pairs.begin(), pairs.end(),
                                  [id](const TokenLogprob& pair) { return pair.id == id; });
  return found == pairs.end() ? nullptr : &*found;
}

std::string escaped_bytes(const std::string& bytes) {
  std::string text = "bytes:";
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

Json bytes_of(const std::string& text) {
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

// Characters that begin in it: those of a text are the sum over its tokens, whole or not.
int64_t num_characters(const std::string& piece) {
  return std::count_if(piece.begin(), piece.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

Json chat_token(const AnswerFormat& format, int32_t id, float logprob) {
  return {{"token", token_text(format, id)},
          {"logprob", number(logprob)},
          {"bytes", bytes_of(format.tokenizer.piece(id, true))}};
}

// A chat lists those that were asked for; the chosen token stands beside them.
size_t num_best(const AnswerFormat& format, const TokenPairs& pairs) {
  const int32_t asked = format.body.sampling.logprobs.value_or(0);
  return asked == engine::kWholeVocabulary ? pairs.size()
                                           : std::min(pairs.size(), static_cast<size_t>(asked));
}

}  // namespace

std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string token_text(const AnswerFormat& format, int32_t id) {
  if (format.body.return_tokens_as_token_ids) return fmt::format("token_id:{}", id);
  std::string piece = format.tokenizer.piece(id, true);
  return text::is_valid_utf8(piece) ? piece : escaped_bytes(piece);
}

Json chat_logprobs(const AnswerFormat& format, std::span<const int32_t> token_ids,
                   std::span<const TokenPairs> pairs) {
  Json content = Json::array();
  for (size_t i = 0; i < std::min(pairs.size(), token_ids.size()); ++i) {
    const TokenLogprob* chosen = pair_of(pairs[i], token_ids[i]);
    Json position =
        chat_token(format, token_ids[i], chosen == nullptr ? -INFINITY : chosen->logprob);
    position["top_logprobs"] = Json::array();
    for (size_t best = 0; best < num_best(format, pairs[i]); ++best)
      position["top_logprobs"].push_back(
          chat_token(format, pairs[i][best].id, pairs[i][best].logprob));
    content.push_back(std::move(position));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

void CompletionLogprobs::add_prompt(std::span<const int32_t> token_ids,
                                    std::span<const TokenPairs> pairs) {
  add(token_ids, pairs, /*with_special=*/false);
}

void CompletionLogprobs::add_answer(std::span<const int32_t> token_ids,
                                    std::span<const TokenPairs> pairs) {
  add(token_ids, pairs, !format_.body.sampling.skip_special_tokens);
}

void CompletionLogprobs::add(std::span<const int32_t> token_ids, std::span<const TokenPairs> pairs,
                             bool with_special) {
  for (size_t i = 0; i < std::min(pairs.size(), token_ids.size()); ++i)
    rows_.push_back({token_ids[i], &pairs[i], with_special});
}

Json CompletionLogprobs::take() {
  Json texts = Json::array(), logprobs = Json::array(), best = Json::array(),
       offsets = Json::array();
  for (const auto& [id, pairs, with_special] : rows_) {
    const TokenLogprob* chosen = pair_of(*pairs, id);
    texts.push_back(token_text(format_, id));
    logprobs.push_back(chosen == nullptr ? Json(nullptr) : Json(number(chosen->logprob)));
    Json of_position = Json::object();
    for (const TokenLogprob& pair : *pairs)
      of_position[token_text(format_, pair.id)] = number(pair.logprob);
    best.push_back(pairs->empty() ? Json(nullptr) : std::move(of_position));
    offsets.push_back(offset_);
    offset_ += num_characters(format_.tokenizer.piece(id, with_special));
  }
  rows_.clear();
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(best)},
          {"text_offset", std::move(offsets)}};
}

Json prompt_logprobs_json(const AnswerFormat& format, std::span<const TokenPairs> pairs) {
  Json list = Json::array();
  for (const TokenPairs& of_position : pairs) {
    Json position = Json::object();
    for (const TokenLogprob& pair : of_position)
      position[std::to_string(pair.id)] = {
          {"logprob", number(pair.logprob)},
          {"rank", pair.rank > 0 ? Json(pair.rank) : Json(nullptr)},
          {"decoded_token", token_text(format, pair.id)}};
    list.push_back(of_position.empty() ? Json(nullptr) : std::move(position));
  }
  return list;
}

void add_ending(const AnswerFormat& format, const engine::Choice& choice, Json* object) {
  Json& o = *object;
  const bool shows = !format.body.only_echo;  // or the one token is not there, whatever it is
  const std::span<const int32_t> ids = shows ? choice.token_ids : std::span<const int32_t>();
  o["finish_reason"] = nullptr;
  if (choice.finish)
    o["finish_reason"] = engine::name(shows ? *choice.finish : engine::FinishReason::kLength);
  o["stop_reason"] =
      shows ? stop_reason_json(choice.stop_reason, ids, format.body.sampling.stop) : Json(nullptr);
  if (format.body.return_token_ids) o["token_ids"] = ids;
}

Json usage_json(const Usage& usage) {
  Json object = {{"prompt_tokens", usage.prompt_tokens},
                 {"completion_tokens", usage.completion_tokens},
                 {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
                 {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
  if (usage.reasoning_tokens > 0)
    object["completion_tokens_details"] = {
        {"reasoning_tokens", std::min(usage.reasoning_tokens, usage.completion_tokens)}};
  return object;
}

int64_t count_tokens(const AnswerFormat& format, const std::string& text) {
  return static_cast<int64_t>(format.tokenizer.encode(text, false, false).size());
}

void add_usage(const RequestBody& body, const engine::RequestState& state, Usage* usage) {
  usage->prompt_tokens += state.num_prompt_tokens;
  usage->cached_tokens += state.num_cached_tokens;
  if (body.only_echo) return;
  for (const engine::Choice& choice : state.choices)
    usage->completion_tokens += static_cast<int64_t>(choice.token_ids.size());
}

std::string completion_text(const AnswerFormat& format, std::span<const int32_t> prompt_ids,
                            const std::string& text) {
  const std::string answer = format.body.only_echo ? "" : text;
  return format.body.echo ? format.tokenizer.decode(prompt_ids, false) + answer : answer;
}

Json completion_choice(const AnswerFormat& format, std::span<const int32_t> prompt_ids,
                       const engine::RequestState& state, const engine::Choice& choice,
                       size_t index) {
  const RequestBody& body = format.body;
  Json object = {{"index", index}, {"text", completion_text(format, prompt_ids, choice.text)}};
  object["logprobs"] = nullptr;
  if (body.sampling.logprobs) {
    CompletionLogprobs logprobs(format);
    if (body.echo) logprobs.add_prompt(prompt_ids, state.prompt_logprobs);
    if (!body.only_echo) logprobs.add_answer(choice.token_ids, choice.logprobs);
    object["logprobs"] = logprobs.take();
  }
  add_ending(format, choice, &object);
  if (body.return_token_ids) object["prompt_token_ids"] = prompt_ids;
  // echo asks for them too, but shows them in its own way.
  if (body.sampling.prompt_logprobs && !body.echo)
    object["prompt_logprobs"] = prompt_logprobs_json(format, state.prompt_logprobs);
  return object;
}

Json chat_choice(const AnswerFormat& format, const engine::Choice& choice, Json message,
                 size_t index) {
  Json object = {{"index", index}, {"message", std::move(message)}, {"logprobs", nullptr}};
  if (format.body.sampling.logprobs)
    object["logprobs"] = chat_logprobs(format, choice.token_ids, choice.logprobs);
  add_ending(format, choice, &object);
  return object;
}

}  // namespace weft::serve
