#include "serve/saved_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "serve/bounded_json.h"
#include "serve/sse_reader.h"

namespace weft::serve {
namespace {

using json = nlohmann::ordered_json;

[[noreturn]] void refuse_answer(const std::string& what) {
  throw Error(ErrorKind::kUsage, what, "",
              "save the whole body of the server's answer, as it came");
}

const json* member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

std::string text_in(const json& object, const char* key) {
  const json* value = member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

// Texts and lists go on; of lists that lie in an object (logprobs) each does.
void append(const json& piece, json* to) {
  if (to->is_null()) {
    *to = piece;
  } else if (to->is_string() && piece.is_string()) {
    to->get_ref<std::string&>() += piece.get_ref<const std::string&>();
  } else if (to->is_array() && piece.is_array()) {
    to->insert(to->end(), piece.begin(), piece.end());
  } else if (to->is_object() && piece.is_object()) {
    for (const auto& [key, value] : piece.items())
      if (!value.is_null()) append(value, &(*to)[key]);
  } else {
    refuse_answer("a piece of the stream does not go on where the one before it ends");
  }
}

// Pieces of calls have an index each; ids and names come once.
void append_calls(const json& pieces, json* calls) {
  if (!pieces.is_array()) refuse_answer("a piece of the stream has tool_calls that are no list");
  if (calls->is_null()) *calls = json::array();
  for (const json& piece : pieces) {
    const json* index = member(piece, "index");
    const bool is_next = index != nullptr && index->is_number_unsigned() && *index <= calls->size();
    if (!is_next) refuse_answer("a piece of the stream has a call out of turn");
    if (*index == calls->size()) calls->push_back(json::object());
    if (const json* function = member(piece, "function"))
      append(*function, &(*calls)[index->get<size_t>()]["function"]);
  }
}

void append_delta(const json& delta, json* message) {
  if (!delta.is_object()) refuse_answer("a piece of the stream has a delta that is no object");
  for (const auto& [key, value] : delta.items()) {
    if (value.is_null()) continue;
    if (key == "role")
      (*message)[key] = value;
    else
      key == "tool_calls" ? append_calls(value, &(*message)[key]) : append(value, &(*message)[key]);
  }
}

void append_choice(const json& piece, json* choice) {
  for (const auto& [key, value] : piece.items()) {
    if (value.is_null()) continue;
    if (key == "delta")
      append_delta(value, &(*choice)["message"]);
    else if (key == "text" || key == "token_ids" || key == "logprobs")
      append(value, &(*choice)[key]);
    else
      (*choice)[key] = value;
  }
}

// Of an item of a response's output.
std::string text_of_item(const json& item) {
  std::string text;
  const json* content = member(item, "content");
  if (content == nullptr || !content->is_array()) return text;
  for (const json& part : *content) text += text_in(part, "text");
  return text;
}

// One stream's events, put together as they come.
class StreamJoiner {
 public:
  void take(std::string_view data) {
    if (data == "[DONE]") {
      has_ended_ = true;
      return;
    }
    const json event = parse_saved(data);
    if (!event.is_object()) refuse_answer("an event of the stream is no object");
    const std::string type = text_in(event, "type");
    if (const json* error = member(event, "error"); error != nullptr || type == "error")
      refuse_answer(fmt::format("the stream ended with an error: {}",
                                (error != nullptr ? *error : event).dump().substr(0, 200)));
    type.starts_with("response.") ? take_event(type, event) : take_chunk(event);
  }

  json finish() {
    if (!has_ended_)
      refuse_answer("the stream has no end ([DONE], response.completed): it was cut");
    if (is_response_) return finish_response();
    joined_["choices"] = json::array();
    for (auto& [index, choice] : choices_) joined_["choices"].push_back(std::move(choice));
    return std::move(joined_);
  }

 private:
  void take_event(const std::string& type, const json& event) {
    is_response_ = true;
    if (type.ends_with(".delta")) pieces_ += text_in(event, "delta");
    const bool ends = type == "response.completed" || type == "response.incomplete";
    const json* response = member(event, "response");
    if (type == "response.failed") refuse_answer("the response failed");
    if (!ends || response == nullptr) return;
    joined_ = *response;
    has_ended_ = true;
  }

  json finish_response() {
    std::string told;
    if (const json* output = member(joined_, "output"); output != nullptr && output->is_array())
      for (const json& item : *output) told += text_of_item(item) + text_in(item, "arguments");
    if (told != pieces_) refuse_answer("the pieces of the stream are not what its last event says");
    return std::move(joined_);
  }

  void take_chunk(const json& chunk) {
    const json* choices = member(chunk, "choices");
    if (choices == nullptr || !choices->is_array())
      refuse_answer("an event of the stream has no choices");
    for (const auto& [key, value] : chunk.items())
      if (key != "choices" && !value.is_null()) joined_[key] = value;
    for (const json& piece : *choices) {
      const json* index = member(piece, "index");
      if (index == nullptr || !index->is_number_unsigned())
        refuse_answer("a choice of the stream has no index");
      append_choice(piece, &choices_[index->get<uint64_t>()]);
    }
  }

  json joined_ = json::object();
  std::map<uint64_t, json> choices_;
  std::string pieces_;  // of a response's texts and arguments, in order
  bool is_response_ = false, has_ended_ = false;
};

// Without what is left out, and without what is null or an empty list: libraries add such of what
// they know and a server did not say.
json members_but(const json& object, std::initializer_list<std::string_view> left_out) {
  if (!object.is_object()) return object;
  json kept = json::object();
  for (const auto& [key, value] : object.items()) {
    const bool says_nothing = value.is_null() || (value.is_array() && value.empty());
    if (!says_nothing && std::ranges::find(left_out, key) == left_out.end()) kept[key] = value;
  }
  return kept;
}

// All of an item of a response's output but ids, which are drawn anew, and logprobs, which are
// compared by themselves.
json words_of_item(const json& item) {
  json words = members_but(item, {"id", "call_id"});
  for (const char* list : {"content", "summary"}) {
    const json* parts = member(words, list);
    if (parts == nullptr || !parts->is_array()) continue;
    for (json& part : words[list]) part = members_but(part, {"logprobs"});
  }
  return words;
}

// In a chat's words; what a chat has no word for stays as it was told.
std::string finish_of_response(const json& answer) {
  if (text_in(answer, "status") == "completed") return "stop";
  const json* details = member(answer, "incomplete_details");
  const std::string reason = details == nullptr ? "" : text_in(*details, "reason");
  if (reason == "max_output_tokens") return "length";
  return reason.empty() ? "incomplete" : reason;
}

// Of a response's output: what a chat's message has, and the items one by one.
json choice_of_output(const json& output) {
  std::string content, reasoning;
  json calls = json::array(), logprobs = json::array(), items = json::array();
  for (const json& item : output) {
    const std::string type = text_in(item, "type");
    items.push_back(words_of_item(item));
    if (type == "function_call")
      calls.push_back(
          {{"function",
            {{"name", text_in(item, "name")}, {"arguments", text_in(item, "arguments")}}}});
    (type == "reasoning" ? reasoning : content) += text_of_item(item);
    const json* parts = member(item, "content");
    for (const json& part : parts != nullptr && parts->is_array() ? *parts : json::array())
      if (const json* some = member(part, "logprobs"); some != nullptr && some->is_array())
        logprobs.insert(logprobs.end(), some->begin(), some->end());
  }
  json choice = {{"message", {{"content", content}, {"reasoning_content", reasoning}}},
                 {"items", std::move(items)}};
  if (!calls.empty()) choice["message"]["tool_calls"] = std::move(calls);
  if (!logprobs.empty()) choice["logprobs"] = std::move(logprobs);
  return choice;
}

// Stops where a text is nested too deeply, or is none.
class Depth : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }
  bool is_beyond() const { return depth_ > kMostDepth; }

 private:
  // A body in the object of its file, and in an answer what repeats a part of a body.
  static constexpr int kMostDepth = 2 * kMaxJsonDepth;
  bool open() { return ++depth_ <= kMostDepth; }
  bool close() {
    --depth_;
    return true;
  }

  int depth_ = 0;
};

}  // namespace

json parse_saved(std::string_view text) {
  Depth depth;
  nlohmann::json::sax_parse(text, &depth);
  if (depth.is_beyond())
    throw Error(ErrorKind::kUsage, "the saved JSON is nested more deeply than any answer is", "",
                "save the request and the answer as they were sent");
  return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

bool is_event_stream(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return false;
  text.remove_prefix(begin);
  return std::ranges::any_of(std::vector<std::string_view>{"data:", "event:", "id:", ": "},
                             [&](std::string_view field) { return text.starts_with(field); });
}

json join_stream(std::string_view events) {
  SseReader reader;
  StreamJoiner joiner;
  const auto take = [&](std::string_view data) { joiner.take(data); };
  const size_t begin = std::min(events.find_first_not_of(" \t\r\n"), events.size());
  reader.feed(events.substr(begin), take);
  reader.feed(std::string_view("\n\n"), take);  // who saves a text may drop the lines at its end
  return joiner.finish();
}

json as_choices(json answer) {
  if (text_in(answer, "object") != "response") return answer;
  const std::string status = text_in(answer, "status");
  const json* output = member(answer, "output");
  if ((status != "completed" && status != "incomplete") || output == nullptr || !output->is_array())
    refuse_answer(fmt::format("the response has not ended: its status is \"{}\"", status));
  json choice = choice_of_output(*output);
  choice["finish_reason"] = finish_of_response(answer);
  json whole = {{"choices", json::array({std::move(choice)})}};
  if (const json* print = member(answer, "system_fingerprint"))
    whole["system_fingerprint"] = *print;
  const json* usage = member(answer, "usage");
  if (usage == nullptr) return whole;
  for (const auto& [name, of_chat] : {std::pair("input_tokens", "prompt_tokens"),
                                      {"output_tokens", "completion_tokens"},
                                      {"total_tokens", "total_tokens"}})
    if (const json* count = member(*usage, name)) whole["usage"][of_chat] = *count;
  return whole;
}

}  // namespace weft::serve
