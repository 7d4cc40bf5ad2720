#include "serve/response_items.h"

#include <fmt/format.h>

#include <utility>

#include "base/digest.h"
#include "serve/answer_json.h"

namespace weft::serve {
namespace {

using Kind = text::AnswerPart::Kind;

Json part_of(bool reasoning, const std::string& text, Json logprobs = Json::array()) {
  if (reasoning) return {{"type", "reasoning_text"}, {"text", text}};
  return {{"type", "output_text"},
          {"text", text},
          {"annotations", Json::array()},
          {"logprobs", std::move(logprobs)}};
}

void append(Json more, Json* list) {
  for (Json& each : more) list->push_back(std::move(each));
}

}  // namespace

void ResponseEvents::add(const char* type, const Json& fields) {
  Json event = {{"type", type}, {"sequence_number", next_++}};
  event.update(fields);
  text_ += fmt::format("event: {}\ndata: {}\n\n", type, dump(event));
}

std::string ResponseEvents::take() { return std::exchange(text_, {}); }

std::string ResponseItems::item_id(const char* prefix) const {
  return prefix + digest_of({id_, prefix, std::to_string(items_.size())}).hex.substr(0, 32);
}

void ResponseItems::note_logprobs(Json logprobs) { append(std::move(logprobs), &noted_); }

void ResponseItems::take(const text::AnswerParts& parts) {
  for (const text::AnswerPart& part : parts) {
    switch (part.kind) {
      case Kind::kReasoning:
        reasoning_ += part.text;
        add_text(Open::kReasoning, part.text);
        break;
      case Kind::kContent:
        add_text(Open::kMessage, part.text);
        break;
      case Kind::kCallBegin:
        begin(Open::kCall, part.text);
        break;
      case Kind::kCallArguments:
        add_text(Open::kCall, part.text);
        break;
      case Kind::kCallEnd:
        end(part.complete);
        if (!part.complete) broken_call_ = items_.size();
    }
  }
}

void ResponseItems::finish(bool complete) {
  if (items_.empty()) begin(Open::kMessage, {});
  append(std::exchange(noted_, Json::array()), &logprobs_);  // of tokens without a text
  end(complete);
}

void ResponseItems::add_text(Open kind, const std::string& text) {
  if (open_ != kind) begin(kind, {});
  text_ += text;
  const char* type = kind == Open::kReasoning ? "response.reasoning_text.delta"
                     : kind == Open::kMessage ? "response.output_text.delta"
                                              : "response.function_call_arguments.delta";
  Json fields = {{"delta", text}};
  Json noted = std::exchange(noted_, Json::array());
  if (kind == Open::kMessage) {
    fields["logprobs"] = noted;
    append(std::move(noted), &logprobs_);
  }
  tell(type, std::move(fields), kind != Open::kCall);
}

void ResponseItems::begin(Open kind, const std::string& tool_name) {
  end(true);
  open_ = kind;
  logprobs_ = Json::array();
  Json item;
  if (kind == Open::kReasoning) {
    item = {{"id", item_id("rs_")},
            {"type", "reasoning"},
            {"summary", Json::array()},
            {"content", Json::array()}};
  } else if (kind == Open::kMessage) {
    item = {{"id", item_id("msg_")},
            {"type", "message"},
            {"role", "assistant"},
            {"content", Json::array()}};
  } else {
    item = {{"id", item_id("fc_")},
            {"type", "function_call"},
            {"call_id", item_id("call_").substr(0, 29)},
            {"name", tool_name},
            {"arguments", ""}};
  }
  item["status"] = "in_progress";
  items_.push_back(std::move(item));
  tell("response.output_item.added", {{"item", items_.back()}}, false);
  if (kind != Open::kCall)
    tell("response.content_part.added", {{"part", part_of(kind == Open::kReasoning, "")}}, true);
}

void ResponseItems::end(bool complete) {
  const Open kind = std::exchange(open_, Open::kNone);
  if (kind == Open::kNone) return;
  const std::string text = std::exchange(text_, {});
  Json& item = items_.back();
  if (kind == Open::kCall) {
    item["arguments"] = text;
    tell("response.function_call_arguments.done", {{"arguments", text}, {"name", item["name"]}},
         false);
  } else {
    const bool reasoning = kind == Open::kReasoning;
    const Json part = part_of(reasoning, text, logprobs_);
    item["content"].push_back(part);
    Json done = {{"text", text}};
    if (!reasoning) done["logprobs"] = logprobs_;
    tell(reasoning ? "response.reasoning_text.done" : "response.output_text.done", std::move(done),
         true);
    tell("response.content_part.done", {{"part", part}}, true);
  }
  item["status"] = complete ? "completed" : "incomplete";
  tell("response.output_item.done", {{"item", item}}, false);
}

// part: the event is about the item's only part.
void ResponseItems::tell(const char* type, Json fields, bool part) {
  if (events_ == nullptr) return;
  Json event = {{"output_index", items_.size() - 1}};
  if (!fields.contains("item")) event["item_id"] = items_.back()["id"];
  if (part) event["content_index"] = 0;
  event.update(fields);
  events_->add(type, event);
}

Json ResponseItems::message() const {
  Json message = {{"role", "assistant"}, {"content", ""}};
  std::string content;
  for (const Json& item : items_) {
    if (item["type"] == "message" && !item["content"].empty())
      content += item["content"][0]["text"].get<std::string>();
    if (item["type"] == "function_call" && item["status"] == "completed")
      message["tool_calls"].push_back(
          {{"id", item["call_id"]},
           {"type", "function"},
           {"function", {{"name", item["name"]}, {"arguments", item["arguments"]}}}});
  }
  message["content"] = content;
  return message;
}

}  // namespace weft::serve
