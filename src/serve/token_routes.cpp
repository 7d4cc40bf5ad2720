// POST /tokenize and /detokenize, GET /tokenizer_info, in vLLM's shapes.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "serve/answer_json.h"
#include "serve/chat_tools.h"
#include "serve/openai_service.h"
#include "serve/prompt_fields.h"
#include "serve/request_error.h"

namespace weft::serve {
namespace {

std::vector<int32_t> ids_of_body(const Fields& fields, const std::string& body_text,
                                 const OpenAiService& service) {
  const PromptSource source = service.prompt_source();
  RequestBody body;
  body.is_chat = fields.has("messages");
  if (body.is_chat) {
    if (fields.has("prompt")) fields.fail("prompt", "messages and prompt are both given");
    read_messages(fields, service.options().limits, &body);
    service.show_tools(read_tools(body_text), &body);
    return prompt_ids_of(body, source).front();
  }
  const std::optional<std::string> prompt = fields.text("prompt");
  if (!prompt) fields.refuse("prompt", "a text is expected");
  const bool add_special = fields.flag("add_special_tokens").value_or(true);
  return encode_prompt(*prompt, add_special, source, "prompt");
}

Json token_texts(const std::vector<int32_t>& ids, const text::Tokenizer& tokenizer) {
  const RequestBody plain;
  const AnswerFormat format{tokenizer, plain};
  Json texts = Json::array();
  for (const int32_t id : ids) texts.push_back(token_text(format, id));
  return texts;
}

void tokenize(const OpenAiService& service, Exchange& exchange) {
  const nlohmann::json json = parse_json(exchange.request().body, "the body");
  const Fields fields(json, "");
  service.check_model(fields.text("model").value_or(""));
  const bool wants_texts = fields.flag("return_token_strs").value_or(false);
  const std::vector<int32_t> ids = ids_of_body(fields, exchange.request().body, service);
  Json answer = {{"count", ids.size()},
                 {"max_model_len", service.engine().card().limits.max_model_len},
                 {"tokens", ids}};
  answer["token_strs"] =
      wants_texts ? token_texts(ids, service.engine().tokenizer()) : Json(nullptr);
  exchange.respond(200, "application/json", dump(answer));
}

void detokenize(const OpenAiService& service, Exchange& exchange) {
  const nlohmann::json json = parse_json(exchange.request().body, "the body");
  const Fields fields(json, "");
  service.check_model(fields.text("model").value_or(""));
  const std::optional<std::vector<int32_t>> ids = fields.ids("tokens");
  if (!ids) fields.refuse("tokens", "a list of token ids is expected");
  if (ids->size() > kMostDetokenizedIds)
    fields.fail("tokens", fmt::format("{} ids are given, above {}", ids->size(), kMostDetokenizedIds));
  const int64_t vocab_size = service.engine().card().limits.vocab_size;
  for (const int32_t id : *ids)
    if (id >= vocab_size)
      fields.fail("tokens",
                  fmt::format("token id {} is outside the vocabulary of {}", id, vocab_size));
  const std::string text = service.engine().tokenizer().decode(*ids, true);
  exchange.respond(200, "application/json", dump({{"prompt", text}}));
}

void tokenizer_info(const OpenAiService& service, Exchange& exchange) {
  const text::Tokenizer& tokenizer = service.engine().tokenizer();
  const std::vector<int32_t> first = tokenizer.encode("", true, false);
  Json bos = nullptr;
  if (!first.empty()) bos = tokenizer.piece(first.front(), true);
  const int32_t eos_id = service.engine().card().report.eos_id;
  exchange.respond(
      200, "application/json",
      dump({{"tokenizer_class", tokenizer.description()},
            {"vocab_size", service.engine().card().limits.vocab_size},
            {"model_max_length", service.engine().card().limits.max_model_len},
            {"bos_token", bos},
            // lm-eval takes a server's tokenizer only where this key is there.
            {"eos_token", eos_id < 0 ? Json(nullptr) : Json(tokenizer.piece(eos_id, true))},
            {"pad_token", nullptr}}));
}

}  // namespace

void add_token_routes(Router* router, const ServiceRef& owner) {
  router->add("POST", "/tokenize",
              pooled(owner, [](const auto& service, const auto& exchange, auto) {
                tokenize(*service, *exchange);
              }));
  router->add("POST", "/detokenize",
              pooled(owner, [](const auto& service, const auto& exchange, auto) {
                detokenize(*service, *exchange);
              }));
  router->add("GET", "/tokenizer_info", [owner](const std::shared_ptr<Exchange>& exchange) {
    tokenizer_info(*owner->service, *exchange);
  });
}

}  // namespace weft::serve
