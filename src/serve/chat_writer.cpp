// /v1/chat/completions: https://platform.openai.com/docs/api-reference/chat, with vLLM's extras.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "serve/answer_writer.h"

namespace weft::serve {
namespace {

using text::AnswerPart;
using Kind = text::AnswerPart::Kind;

// As OpenAI's: unlike any other of any answer.
std::string call_id(const AnswerHead& head, size_t choice, size_t call) {
  return "call_" +
         digest_of({head.id, std::to_string(choice), std::to_string(call)}).hex.substr(0, 24);
}

Json function_call(const std::string& id, const std::string& name, const std::string& arguments) {
  return {
      {"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}};
}

struct Message {
  std::string reasoning, content;
  std::vector<text::ToolCall> calls;
};

// Of a whole answer. Calls that are not complete are content.
Message message_of(const text::AnswerFormat& format, const std::string& text) {
  Message message;
  if (format.reasoning) {
    text::ReasoningSplitter splitter(*format.reasoning, format.reasoning_opened);
    text::AnswerParts parts;
    splitter.push(text, parts);
    splitter.finish(parts);
    for (const AnswerPart& part : parts)
      (part.kind == Kind::kReasoning ? message.reasoning : message.content) += part.text;
  } else {
    message.content = text;
  }
  if (!format.tools) return message;
  text::ToolAnswer answer =
      text::parse_tool_calls(*format.tools, message.content, format.tool_names);
  message.content = std::move(answer.content);
  message.calls = std::move(answer.calls);
  return message;
}

class ChatWriter : public AnswerWriter {
 public:
  ChatWriter(const AnswerHead& head, const AnswerFormat& format, const text::AnswerFormat& parser)
      : head_(head),
        format_(format),
        parser_(parser),
        frame_(head, format.body,
               format.body.streams ? "chat.completion.chunk" : "chat.completion") {
    if (!format.body.streams) return;
    for (int64_t i = 0; i < format.body.sampling.n; ++i) parsers_.emplace_back(parser);
    reasoning_.resize(parsers_.size());
  }

  std::string whole(std::span<const AnsweredPart> parts) const override {
    const AnsweredPart& part = parts.front();
    Json choices = Json::array();
    Usage usage;
    for (size_t i = 0; i < part.state.choices.size(); ++i) {
      const engine::Choice& choice = part.state.choices[i];
      const Message message = message_of(parser_, choice.text);
      usage.reasoning_tokens += count_tokens(format_, message.reasoning);
      choices.push_back(chat_choice(format_, choice, message_json(message, i), i));
      if (!message.calls.empty() && choice.finish == engine::FinishReason::kStop)
        choices.back()["finish_reason"] = "tool_calls";
    }
    add_usage(format_.body, part.state, &usage);
    Json object = frame_.object(std::move(choices));
    object["usage"] = usage_json(usage);
    add_prompt(part, &object);
    return dump(object);
  }

  std::string chunks(size_t, const AnsweredPart& part, const fleet::Event& event) override {
    frame_.count(part, event);
    std::string out = begun_ ? "" : roles(part);
    begun_ = true;
    text::AnswerParser& parser = parsers_.at(event.choice);
    std::vector<Json> deltas = deltas_of(parser.push(event.text), event.choice);
    if (event.finish)
      for (Json& delta : deltas_of(parser.finish(), event.choice))
        deltas.push_back(std::move(delta));
    if (deltas.empty() && (event.finish || tells_tokens(event)))
      deltas.push_back(empty_delta(event));
    for (size_t i = 0; i < deltas.size(); ++i)
      out += frame_.chunk(
          choice_of(event, std::move(deltas[i]), i == 0, i + 1 == deltas.size(), parser));
    return out;
  }

  std::string end() override {
    if (format_.body.include_usage)
      for (const std::string& text : reasoning_)
        frame_.count_reasoning(count_tokens(format_, text));
    return frame_.end();
  }

 private:
  Json message_json(const Message& message, size_t choice) const {
    Json object = {{"role", "assistant"}, {"content", message.content}, {"refusal", nullptr}};
    if (!message.reasoning.empty()) {
      object["reasoning"] = message.reasoning;
      object["reasoning_content"] = message.reasoning;
    }
    if (message.calls.empty()) return object;
    if (message.content.empty()) object["content"] = nullptr;
    object["tool_calls"] = Json::array();
    for (size_t i = 0; i < message.calls.size(); ++i)
      object["tool_calls"].push_back(function_call(call_id(head_, choice, i), message.calls[i].name,
                                                   message.calls[i].arguments));
    return object;
  }

  void add_prompt(const AnsweredPart& part, Json* object) const {
    if (format_.body.sampling.prompt_logprobs)
      (*object)["prompt_logprobs"] = prompt_logprobs_json(format_, part.state.prompt_logprobs);
    if (format_.body.return_token_ids) (*object)["prompt_token_ids"] = part.prompt_ids;
  }

  std::string roles(const AnsweredPart& part) const {
    std::string out;
    for (size_t i = 0; i < parsers_.size(); ++i) {
      Json choice = {{"index", i},
                     {"delta", {{"role", "assistant"}, {"content", ""}}},
                     {"logprobs", nullptr},
                     {"finish_reason", nullptr}};
      if (i == 0) add_prompt(part, &choice);
      out += frame_.chunk(std::move(choice));
    }
    return out;
  }

  std::vector<Json> deltas_of(const text::AnswerParts& parts, size_t choice) {
    std::vector<Json> deltas;
    for (const AnswerPart& part : parts) {
      switch (part.kind) {
        case Kind::kReasoning:
          reasoning_[choice] += part.text;
          deltas.push_back({{"reasoning", part.text}, {"reasoning_content", part.text}});
          break;
        case Kind::kContent:
          deltas.push_back({{"content", part.text}});
          break;
        case Kind::kCallBegin: {
          Json call = {{"index", part.call}};
          call.update(function_call(call_id(head_, choice, part.call), part.text, ""));
          deltas.push_back({{"tool_calls", Json::array({std::move(call)})}});
          break;
        }
        case Kind::kCallArguments:
          deltas.push_back(
              {{"tool_calls",
                Json::array({{{"index", part.call}, {"function", {{"arguments", part.text}}}}})}});
          break;
        case Kind::kCallEnd:
          break;
      }
    }
    return deltas;
  }

  // A token whose text is not there yet has a chunk all the same, as vLLM's: clients count and time
  // tokens by chunks. Text that the parser holds back comes with a later one.
  bool tells_tokens(const fleet::Event& event) const {
    if (!event.logprobs.empty()) return true;
    return !event.token_ids.empty() && (event.text.empty() || format_.body.return_token_ids);
  }
  // Within reasoning or a call there is no content, not even an empty one.
  Json empty_delta(const fleet::Event& event) const {
    const bool is_content = !event.finish && !parser_.reasoning && !parser_.tools;
    return is_content ? Json{{"content", ""}} : Json::object();
  }

  // The first chunk of an event has its tokens, the last one its end.
  Json choice_of(const fleet::Event& event, Json delta, bool first, bool last,
                 const text::AnswerParser& parser) const {
    Json choice = {{"index", event.choice}, {"delta", std::move(delta)}, {"logprobs", nullptr}};
    if (first && !event.logprobs.empty())
      choice["logprobs"] = chat_logprobs(format_, event.token_ids, event.logprobs);
    engine::Choice ending;
    if (last) {
      ending.finish = event.finish;
      ending.stop_reason = event.stop_reason;
    }
    if (first || last) ending.token_ids = event.token_ids;
    add_ending(format_, ending, &choice);
    if (!first) choice.erase("token_ids");
    if (last && event.finish == engine::FinishReason::kStop && parser.num_calls() > 0)
      choice["finish_reason"] = "tool_calls";
    return choice;
  }

  const AnswerHead& head_;
  AnswerFormat format_;
  const text::AnswerFormat& parser_;
  AnswerFrame frame_;
  std::vector<text::AnswerParser> parsers_;  // [n], of a stream
  std::vector<std::string> reasoning_;       // [n], so far
  bool begun_ = false;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_chat_writer(const AnswerHead& head, const AnswerFormat& format,
                                               const text::AnswerFormat& parser) {
  return std::make_unique<ChatWriter>(head, format, parser);
}

}  // namespace weft::serve
