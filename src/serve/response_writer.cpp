#include "serve/response_writer.h"

#include <utility>

#include "serve/response_items.h"

namespace weft::serve {
namespace {

using engine::FinishReason;

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
    items.take(parser.push(choice.text));
    items.take(parser.finish());
    const bool complete = choice.finish == FinishReason::kStop;
    items.finish(complete);
    const Json object = this->object(complete ? "completed" : "incomplete", items, &part);
    keep(object, items);
    return dump(object);
  }

  std::string chunks(size_t, const AnsweredPart& part, const fleet::Event& event) override {
    if (!std::exchange(begun_, true)) {
      const Json object = this->object("in_progress", items_, nullptr);
      events_.add("response.created", {{"response", object}});
      events_.add("response.in_progress", {{"response", object}});
    }
    items_.take(parser_.push(event.text));
    if (event.finish) {
      items_.take(parser_.finish());
      finish(part, event.finish == FinishReason::kStop);
    }
    return events_.take();
  }

  std::string end() override { return {}; }

  std::string failure(const ErrorObject& error) override {
    const Json told = Json::parse(error_json(error))["error"];
    events_.add("error",
                {{"code", told["code"]}, {"message", told["message"]}, {"param", told["param"]}});
    Json object = this->object("failed", items_, nullptr);
    object["error"] = {{"code", error.status >= 500 ? "server_error" : "invalid_prompt"},
                       {"message", told["message"]}};
    events_.add("response.failed", {{"response", object}});
    return events_.take();
  }

 private:
  void finish(const AnsweredPart& part, bool complete) {
    items_.finish(complete);
    const Json object = this->object(complete ? "completed" : "incomplete", items_, &part);
    events_.add(complete ? "response.completed" : "response.incomplete", {{"response", object}});
    keep(object, items_);
  }

  void keep(const Json& object, const ResponseItems& items) const {
    if (!keep_) return;
    Json messages = request_.messages;
    messages.push_back(items.message());
    keep_(dump(object), dump(messages));
  }

  // part: of a response that has ended; null before.
  Json object(const char* status, const ResponseItems& items, const AnsweredPart* part) const {
    const bool cut = std::string_view(status) == "incomplete";
    Json object = {
        {"id", head_.id},       {"object", "response"},   {"created_at", head_.created},
        {"status", status},     {"error", nullptr},       {"incomplete_details", nullptr},
        {"model", head_.model}, {"output", items.items()}};
    if (cut) object["incomplete_details"] = {{"reason", "max_output_tokens"}};
    object.update(request_.terms);
    object["temperature"] = format_.body.sampling.temperature;
    object["top_p"] = format_.body.sampling.top_p;
    object["usage"] = part == nullptr ? Json() : usage(*part, items);
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
