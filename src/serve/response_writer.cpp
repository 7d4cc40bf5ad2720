#include "serve/response_writer.h"

#include <utility>
#include <vector>

#include "serve/response_items.h"

namespace weft::serve {
namespace {

using engine::FinishReason;
using Kind = text::AnswerPart::Kind;

// How an answer ended.
struct Ending {
  const char* status = "completed";
  Json incomplete_details;

  bool is_whole() const { return incomplete_details.is_null(); }
};

// A stop string within a call ends the answer, and no call: OpenAI has no reason for that, and
// takes an object without one.
Ending ending_of(FinishReason reason, const ResponseItems& items) {
  if (reason != FinishReason::kStop) return {"incomplete", {{"reason", "max_output_tokens"}}};
  if (items.ends_in_broken_call()) return {"incomplete", Json::object()};
  return {};
}

class ResponseWriter final : public AnswerWriter {
 public:
  ResponseWriter(const AnswerHead& head, const AnswerFormat& format,
                 const text::AnswerFormat& parser, ResponseRequest request, KeepResponse keep)
      : head_(head),
        format_(format),
        parser_format_(parser),
        request_(std::move(request)),
        keep_(std::move(keep)),
        parser_(parser),
        items_(head.id, &events_) {}

  std::string whole(std::span<const AnsweredPart> parts) const override {
    const AnsweredPart& part = parts.front();
    const engine::Choice& choice = part.state.choices.front();
    ResponseItems items(head_.id, nullptr);
    text::AnswerParser parser(parser_format_);
    text::AnswerParts all = parser.push(choice.text);
    for (text::AnswerPart& each : parser.finish()) all.push_back(std::move(each));
    bool is_noted = false;
    for (const text::AnswerPart& each : all) {
      if (each.kind == Kind::kContent && !std::exchange(is_noted, true))
        items.note_logprobs(logprobs_of_message(choice, all));
      items.take({each});
    }
    const Ending ending = ending_of(choice.finish.value_or(FinishReason::kLength), items);
    items.finish(ending.is_whole());
    return dump(kept(ended(ending, items, part), items));
  }

  std::string chunks(size_t, const AnsweredPart& part, const fleet::Event& event) override {
    begin();
    if (!event.logprobs.empty())
      items_.note_logprobs(chat_logprobs(format_, event.token_ids, event.logprobs)["content"]);
    items_.take(parser_.push(event.text));
    if (event.finish) {
      items_.take(parser_.finish());
      finish(part, *event.finish);
    }
    return events_.take();
  }

  std::string end() override { return {}; }

  std::string failure(const ErrorObject& error) override {
    begin();  // clients take no other event before these
    const Json told = Json::parse(error_json(error))["error"];
    events_.add("error",
                {{"code", told["code"]}, {"message", told["message"]}, {"param", told["param"]}});
    Json object = this->object("failed", items_);
    if (keep_) object.erase("store");
    object["error"] = {{"code", error.status >= 500 ? "server_error" : "invalid_prompt"},
                       {"message", told["message"]}};
    events_.add("response.failed", {{"response", object}});
    return events_.take();
  }

 private:
  void begin() {
    if (std::exchange(begun_, true)) return;
    Json object = this->object("in_progress", items_);
    if (keep_) object.erase("store");  // known once there is something to store
    events_.add("response.created", {{"response", object}});
    events_.add("response.in_progress", {{"response", object}});
  }

  void finish(const AnsweredPart& part, FinishReason reason) {
    const Ending ending = ending_of(reason, items_);
    items_.finish(ending.is_whole());
    events_.add(ending.is_whole() ? "response.completed" : "response.incomplete",
                {{"response", kept(ended(ending, items_, part), items_)}});
  }

  // As it is told: who reads that it is stored may come back for it.
  Json kept(Json object, const ResponseItems& items) const {
    if (!keep_) return object;
    Json messages = request_.messages;
    messages.push_back(items.message());
    if (!keep_(dump(object), dump(messages))) object["store"] = false;
    return object;
  }

  // Of the tokens that the first message's text lies in; those before it were reasoning or marks.
  Json logprobs_of_message(const engine::Choice& choice, const text::AnswerParts& parts) const {
    if (!format_.body.sampling.logprobs) return Json::array();
    Json all = chat_logprobs(format_, choice.token_ids, choice.logprobs)["content"];
    if (!parser_format_.reasoning && !parser_format_.tools) return all;
    std::string reasoning, message, whole;
    for (const text::AnswerPart& part : parts) {
      if (part.kind == Kind::kCallBegin && !message.empty()) break;
      if (part.kind == Kind::kReasoning) reasoning += part.text;
      if (part.kind == Kind::kContent) message += part.text;
    }
    std::vector<size_t> begins;
    for (const int32_t id : choice.token_ids) {
      begins.push_back(whole.size());
      whole += format_.tokenizer.piece(id, true);
    }
    begins.push_back(whole.size());
    const size_t after = whole.find(reasoning);
    const size_t begin = whole.find(message, after == whole.npos ? 0 : after + reasoning.size());
    Json of_message = Json::array();
    for (size_t i = 0; begin != whole.npos && i < all.size(); ++i)
      if (begins[i + 1] > begin && begins[i] < begin + message.size())
        of_message.push_back(std::move(all[i]));
    return of_message;
  }

  Json ended(const Ending& ending, const ResponseItems& items, const AnsweredPart& part) const {
    Json object = this->object(ending.status, items);
    object["incomplete_details"] = ending.incomplete_details;
    object["usage"] = usage(part, items);
    return object;
  }

  Json object(const char* status, const ResponseItems& items) const {
    Json object = {
        {"id", head_.id},       {"object", "response"},   {"created_at", head_.created},
        {"status", status},     {"error", nullptr},       {"incomplete_details", nullptr},
        {"model", head_.model}, {"output", items.items()}};
    object.update(request_.terms);
    object["temperature"] = format_.body.sampling.temperature;
    object["top_p"] = format_.body.sampling.top_p;
    object["usage"] = nullptr;
    object["system_fingerprint"] = head_.fingerprint;
    return object;
  }

  Json usage(const AnsweredPart& part, const ResponseItems& items) const {
    const auto output = static_cast<int64_t>(part.state.choices.front().token_ids.size());
    const int64_t input = part.state.num_prompt_tokens;
    const int64_t reasoning = count_tokens(format_, items.reasoning());
    return {{"input_tokens", input},
            {"input_tokens_details",
             {{"cached_tokens", part.state.num_cached_tokens}, {"cache_write_tokens", 0}}},
            {"output_tokens", output},
            {"output_tokens_details", {{"reasoning_tokens", std::min(reasoning, output)}}},
            {"total_tokens", input + output}};
  }

  const AnswerHead& head_;
  AnswerFormat format_;
  text::AnswerFormat parser_format_;
  ResponseRequest request_;
  KeepResponse keep_;
  text::AnswerParser parser_;  // of a stream
  ResponseEvents events_;
  ResponseItems items_;
  bool begun_ = false;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_response_writer(const AnswerHead& head,
                                                   const AnswerFormat& format,
                                                   const text::AnswerFormat& parser,
                                                   ResponseRequest request, KeepResponse keep) {
  return std::make_unique<ResponseWriter>(head, format, parser, std::move(request),
                                          std::move(keep));
}

}  // namespace weft::serve
