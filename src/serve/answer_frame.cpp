#include <nlohmann/json.hpp>

#include "serve/answer_writer.h"

namespace weft::serve {
namespace {

std::string data(const Json& value) { return "data: " + dump(value) + "\n\n"; }

}  // namespace

std::string error_event(const std::string& error_json) { return "data: " + error_json + "\n\n"; }

std::string AnswerWriter::failure(const ErrorObject& error) {
  return error_event(error_json(error));
}

AnswerFrame::AnswerFrame(const AnswerHead& head, const RequestBody& body, const char* object)
    : head_(head), body_(body), object_(object) {}

Json AnswerFrame::object(Json choices) const {
  Json object = {
      {"id", head_.id}, {"object", object_}, {"created", head_.created}, {"model", head_.model}};
  object["system_fingerprint"] = head_.fingerprint;
  object["choices"] = std::move(choices);
  return object;
}

std::string AnswerFrame::chunk(Json choice) const {
  Json choices = Json::array();
  choices.push_back(std::move(choice));
  Json object = this->object(std::move(choices));
  if (body_.include_usage)
    object["usage"] = body_.continuous_usage_stats ? usage_json(usage_) : Json(nullptr);
  return data(object);
}

void AnswerFrame::count(const AnsweredPart& part, const fleet::Event& event) {
  // An answer of several prompts counts each with its first event.
  size_t told = 0;
  for (const engine::Choice& choice : part.state.choices) told += choice.token_ids.size();
  if (told == event.token_ids.size() && !event.token_ids.empty()) {
    usage_.prompt_tokens += part.state.num_prompt_tokens;
    usage_.cached_tokens += part.state.num_cached_tokens;
  }
  if (!body_.only_echo) usage_.completion_tokens += static_cast<int64_t>(event.token_ids.size());
}

std::string AnswerFrame::end() const {
  std::string text;
  if (body_.include_usage) {
    Json object = this->object(Json::array());
    object["usage"] = usage_json(usage_);
    text = data(object);
  }
  return text + "data: [DONE]\n\n";
}

}  // namespace weft::serve
