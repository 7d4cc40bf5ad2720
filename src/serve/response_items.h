// The output of a response, item by item as an answer's parts arrive: reasoning, messages and
// calls, and for a stream the events that tell of them, in OpenAI's order:
//
//   output_item.added, content_part.added, output_text.delta..., output_text.done,
//   content_part.done, output_item.done
//
// and function_call_arguments.delta, .done for a call. Not thread-safe: one response's.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "text/answer_part.h"

namespace weft::serve {

// Server-sent events with a number each, counted from 0.
class ResponseEvents {
 public:
  // Adds an event; fields: all but type and sequence_number.
  void add(const char* type, const nlohmann::ordered_json& fields);
  // What was added since it was asked last.
  std::string take();

 private:
  std::string text_;
  int64_t next_ = 0;
};

class ResponseItems {
 public:
  // id: of the response; those of its items derive from it. events: may be null; borrowed.
  ResponseItems(std::string id, ResponseEvents* events) : id_(std::move(id)), events_(events) {}

  // Of the tokens whose text comes next, as of a chat's logprobs: they stand in the message that
  // they are of. Those of reasoning and calls are not told.
  void note_logprobs(nlohmann::ordered_json logprobs);
  void take(const text::AnswerParts& parts);
  // The answer is over. complete: it ended by itself. An answer of nothing is an empty message.
  void finish(bool complete);

  // Whether its last item is a call that was begun and not completed: by a stop string, say.
  bool ends_in_broken_call() const { return broken_call_ == items_.size() && !items_.empty(); }

  const nlohmann::ordered_json& items() const { return items_; }
  const std::string& reasoning() const { return reasoning_; }
  // The answer as a message of a chat, for the conversation that goes on.
  nlohmann::ordered_json message() const;

 private:
  enum class Open { kNone, kReasoning, kMessage, kCall };
  void add_text(Open kind, const std::string& text);
  void begin(Open kind, const std::string& tool_name);
  void end(bool complete);
  void tell(const char* type, nlohmann::ordered_json fields, bool part);
  std::string item_id(const char* prefix) const;

  std::string id_;
  ResponseEvents* events_;
  nlohmann::ordered_json items_ = nlohmann::ordered_json::array();
  Open open_ = Open::kNone;                                            // the last of items_
  std::string text_;                                                   // of the open item
  nlohmann::ordered_json logprobs_ = nlohmann::ordered_json::array();  // of the open message
  nlohmann::ordered_json noted_ = nlohmann::ordered_json::array();     // of text to come
  std::string reasoning_;
  size_t broken_call_ = 0;  // items with the last one
};

}  // namespace weft::serve
