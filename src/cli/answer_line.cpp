#include "cli/answer_line.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/answer_report.h"
#include "cli/stop_reason.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;
using engine::TokenLogprob;

// What OpenAI writes for a token that cannot come; JSON has no infinity.
constexpr double kUnlikely = -9999.0;

double number(float logprob) { return std::isfinite(logprob) ? logprob : kUnlikely; }

// Of the pairs of a position, the one of this token.
const TokenLogprob* pair_of(const std::vector<TokenLogprob>& pairs, int32_t id) {
  const auto found = std::find_if(pairs.begin(), pairs.end(),
                                  [id](const TokenLogprob& pair) { return pair.id == id; });
  return found == pairs.end() ? nullptr : &*found;
}

Json bytes_of(const std::string& text) {
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

class Writer {
 public:
  Writer(const AnswerContext& context, const RequestLine& line) : context_(context), line_(line) {}

  Json choice(const AnsweredPrompt& prompt, const engine::Choice& choice, size_t index) const {
    Json object = {{"index", index}};
    if (line_.is_chat) {
      object["message"] = {{"role", "assistant"}, {"content", choice.text}};
      object["logprobs"] = chat_logprobs(choice);
    } else {
      object["text"] = shown_text(prompt, choice);
      object["logprobs"] = completion_logprobs(prompt, choice);
    }
    object["finish_reason"] = engine::name(*choice.finish);
    object["stop_reason"] =
        stop_reason_json(choice.stop_reason, choice.token_ids, line_.sampling.stop);
    if (line_.return_token_ids) object["token_ids"] = choice.token_ids;
    if (line_.return_token_ids) object["prompt_token_ids"] = prompt.prompt_ids;
    if (line_.hash_logits) object["logits_hash"] = hash_text(choice.logits_hash);
    if (!line_.is_chat && asks_prompt_logprobs())
      object["prompt_logprobs"] = prompt_logprobs(prompt.state);
    return object;
  }

  // [null, {"id": {"logprob": ..., "decoded_token": ...}, ...}, ...], as vLLM has them.
  Json prompt_logprobs(const engine::RequestState& state) const {
    Json list = Json::array();
    for (const auto& pairs : state.prompt_logprobs) {
      Json position = Json::object();
      for (const TokenLogprob& pair : pairs)
        position[std::to_string(pair.id)] = {{"logprob", number(pair.logprob)},
                                             {"decoded_token", piece(pair.id)}};
      list.push_back(pairs.empty() ? Json(nullptr) : std::move(position));
    }
    return list;
  }
  // echo asks for them too, but shows them in its own way.
  bool asks_prompt_logprobs() const { return line_.sampling.prompt_logprobs && !line_.echo; }

 private:
  std::string piece(int32_t id) const { return context_.tokenizer.piece(id, true); }

  std::string shown_text(const AnsweredPrompt& prompt, const engine::Choice& choice) const {
    const std::string answer = line_.only_echo ? "" : choice.text;
    return line_.echo ? context_.tokenizer.decode(prompt.prompt_ids, false) + answer : answer;
  }

  Json chat_logprobs(const engine::Choice& choice) const {
    if (!line_.sampling.logprobs) return nullptr;
    Json content = Json::array();
    for (size_t i = 0; i < choice.logprobs.size(); ++i) {
      const std::vector<TokenLogprob>& pairs = choice.logprobs[i];
      const int32_t id = choice.token_ids[i];
      const TokenLogprob* chosen = pair_of(pairs, id);
      Json position = token_json(id, chosen == nullptr ? -INFINITY : chosen->logprob);
      position["top_logprobs"] = Json::array();
      for (size_t best = 0; best < num_best(pairs); ++best)
        position["top_logprobs"].push_back(token_json(pairs[best].id, pairs[best].logprob));
      content.push_back(std::move(position));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }

  // A chat lists those that were asked for; the chosen token stands beside them.
  size_t num_best(const std::vector<TokenLogprob>& pairs) const {
    const int32_t asked = *line_.sampling.logprobs;
    return asked == engine::kWholeVocabulary ? pairs.size()
                                             : std::min(pairs.size(), static_cast<size_t>(asked));
  }

  Json token_json(int32_t id, float logprob) const {
    const std::string text = piece(id);
    return {{"token", text}, {"logprob", number(logprob)}, {"bytes", bytes_of(text)}};
  }

  Json completion_logprobs(const AnsweredPrompt& prompt, const engine::Choice& choice) const {
    if (!line_.sampling.logprobs) return nullptr;
    Tokens tokens;
    if (line_.echo) {
      for (size_t i = 0; i < prompt.prompt_ids.size(); ++i)
        add_token(prompt.prompt_ids[i], prompt.state.prompt_logprobs.at(i), &tokens);
    }
    for (size_t i = 0; i < choice.logprobs.size() && !line_.only_echo; ++i)
      add_token(choice.token_ids[i], choice.logprobs[i], &tokens);
    return {{"tokens", std::move(tokens.texts)},
            {"token_logprobs", std::move(tokens.logprobs)},
            {"top_logprobs", std::move(tokens.best)},
            {"text_offset", std::move(tokens.offsets)}};
  }

  struct Tokens {
    Json texts = Json::array(), logprobs = Json::array(), best = Json::array(),
         offsets = Json::array();
    size_t offset = 0;
  };

  // The first token of a prompt follows nothing: null.
  void add_token(int32_t id, const std::vector<TokenLogprob>& pairs, Tokens* tokens) const {
    const std::string text = piece(id);
    const TokenLogprob* chosen = pair_of(pairs, id);
    Json best = Json::object();
    for (const TokenLogprob& pair : pairs) best[piece(pair.id)] = number(pair.logprob);
    tokens->texts.push_back(text);
    tokens->logprobs.push_back(chosen == nullptr ? Json(nullptr) : Json(number(chosen->logprob)));
    tokens->best.push_back(pairs.empty() ? Json(nullptr) : std::move(best));
    tokens->offsets.push_back(tokens->offset);
    tokens->offset += text.size();
  }

  const AnswerContext& context_;
  const RequestLine& line_;
};

Json usage_of(const RequestLine& line, std::span<const AnsweredPrompt> prompts) {
  int64_t prompt_tokens = 0, cached = 0, generated = 0;
  for (const AnsweredPrompt& prompt : prompts) {
    prompt_tokens += prompt.state.num_prompt_tokens;
    cached += prompt.state.num_cached_tokens;
    for (const engine::Choice& choice : prompt.state.choices)
      if (!line.only_echo) generated += static_cast<int64_t>(choice.token_ids.size());
  }
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", generated},
          {"total_tokens", prompt_tokens + generated},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Text of a model may hold half characters (a token's own text does), and JSON may not.
std::string line_of(const RequestLine& line, int status, Json body, Json error) {
  const Json object = {
      {"id", line.request_id},
      {"custom_id", line.custom_id},
      {"response",
       {{"status_code", status}, {"request_id", line.request_id}, {"body", std::move(body)}}},
      {"error", std::move(error)}};
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string answer_line(const AnswerContext& context, const RequestLine& line,
                        std::span<const AnsweredPrompt> prompts) {
  const Writer writer(context, line);
  Json choices = Json::array();
  for (const AnsweredPrompt& prompt : prompts) {
    for (const engine::Choice& choice : prompt.state.choices)
      choices.push_back(writer.choice(prompt, choice, choices.size()));
  }
  Json body = {{"id", line.request_id},
               {"object", line.is_chat ? "chat.completion" : "text_completion"},
               {"created", unix_time()},
               {"model", context.model},
               {"choices", std::move(choices)},
               {"usage", usage_of(line, prompts)}};
  if (line.is_chat && writer.asks_prompt_logprobs())
    body["prompt_logprobs"] = writer.prompt_logprobs(prompts.front().state);
  return line_of(line, 200, std::move(body), nullptr);
}

std::string failed_line(const AnswerContext& context, const RequestLine& line, const Error& error) {
  const bool mendable = error.kind() == ErrorKind::kUsage;
  const int status = mendable ? 400 : 500;
  const char* const type = mendable ? "BadRequestError" : "InternalServerError";
  Json inner = {{"message", error.what()}, {"type", type}, {"param", nullptr}, {"code", status}};
  return line_of(
      line, status, {{"model", context.model}, {"error", std::move(inner)}},
      {{"code", mendable ? "invalid_request" : "server_error"}, {"message", error.what()}});
}

}  // namespace weft::cli
