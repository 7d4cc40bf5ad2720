#include "cli/answer_line.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/answer_report.h"
#include "serve/answer_json.h"

namespace weft::cli {
namespace {

using serve::Json;

Json choice_json(const serve::AnswerFormat& format, const AnsweredPrompt& prompt,
                 const engine::Choice& choice, size_t index) {
  const serve::RequestBody& body = format.body;
  Json object;
  if (body.is_chat) {
    object = serve::chat_choice(format, choice, {{"role", "assistant"}, {"content", choice.text}},
                                index);
    if (body.return_token_ids) object["prompt_token_ids"] = prompt.prompt_ids;
  } else {
    object = serve::completion_choice(format, prompt.prompt_ids, prompt.state, choice, index);
  }
  if (body.hash_logits) object["logits_hash"] = hash_text(choice.logits_hash);
  return object;
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
  return serve::dump(object);
}

}  // namespace

std::string answer_line(const AnswerContext& context, const RequestLine& line,
                        std::span<const AnsweredPrompt> prompts) {
  const serve::AnswerFormat format{context.tokenizer, line};
  Json choices = Json::array();
  serve::Usage usage;
  for (const AnsweredPrompt& prompt : prompts) {
    serve::add_usage(line, prompt.state, &usage);
    for (const engine::Choice& choice : prompt.state.choices)
      choices.push_back(choice_json(format, prompt, choice, choices.size()));
  }
  Json body = {{"id", line.request_id},
               {"object", line.is_chat ? "chat.completion" : "text_completion"},
               {"created", unix_time()},
               {"model", context.model},
               {"system_fingerprint", context.fingerprint},
               {"choices", std::move(choices)},
               {"usage", serve::usage_json(usage)}};
  if (line.is_chat && line.sampling.prompt_logprobs)
    body["prompt_logprobs"] =
        serve::prompt_logprobs_json(format, prompts.front().state.prompt_logprobs);
  return line_of(line, 200, std::move(body), nullptr);
}

std::string failed_line(const AnswerContext& context, const RequestLine& line, const Error& error) {
  const bool mendable = error.kind() == ErrorKind::kUsage;
  const int status = mendable ? 400 : 500;
  const char* const type = mendable ? "BadRequestError" : "InternalServerError";
  Json inner = {{"message", error.what()}, {"type", type}, {"param", nullptr}, {"code", status}};
  return line_of(
      line, status,
      {{"model", context.model},
       {"system_fingerprint", context.fingerprint},
       {"error", std::move(inner)}},
      {{"code", mendable ? "invalid_request" : "server_error"}, {"message", error.what()}});
}

}  // namespace weft::cli
