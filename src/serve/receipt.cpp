#include "serve/receipt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/sampling.h"
#include "serve/saved_answer.h"

namespace weft::serve {
namespace {

// The order of keys is a part of a request: a schema's properties come in it.
using json = nlohmann::ordered_json;

constexpr size_t kMostReceiptBytes = 64 << 20;
constexpr const char* kResponsesPath = "/v1/responses";

// A choice and which one it is.
using Numbered = std::pair<uint64_t, json>;

[[noreturn]] void refuse(const std::string& what, const std::string& mend = {}) {
  throw Error(ErrorKind::kUsage, what, "", mend);
}

// The two bodies, however they lie in the file; a stream's events as one text.
std::vector<json> parse_all(std::string_view text) {
  std::vector<json> values;
  if (json whole = parse_saved(text); !whole.is_discarded()) {
    values.push_back(std::move(whole));
    return values;
  }
  // Objects one after the other: each ends where its brackets do.
  int depth = 0;
  bool in_string = false, is_escaped = false;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      in_string = is_escaped || c != '"';
      is_escaped = !is_escaped && c == '\\';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (depth++ == 0) begin = i;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      values.push_back(parse_saved(text.substr(begin, i + 1 - begin)));
      if (values.size() > 1 || !is_event_stream(text.substr(i + 1))) continue;
      values.emplace_back(text.substr(i + 1));
      return values;
    }
  }
  return values;
}

const json* find(const json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

std::string word(const json& object, const char* key) {
  const json* value = find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

// As the routes understand it; the defaults of theirs sample at temperature 1.
bool can_be_repeated(const json& request) {
  const json* temperature = find(request, "temperature");
  const bool is_greedy =
      temperature != nullptr && temperature->is_number() && temperature->get<double>() == 0;
  const json* seed = find(request, "seed");  // -1 stands for one that the server draws
  return is_greedy || (seed != nullptr && seed->is_number_integer() && *seed != -1);
}

void check_token_ids(const json& choice) {
  const json* ids = find(choice, "token_ids");
  if (ids == nullptr) return;
  if (!ids->is_array() || !std::ranges::all_of(*ids, &json::is_number_integer))
    refuse(fmt::format("the response's token_ids are no list of numbers: {}",
                       ids->dump().substr(0, 40)),
           "save the whole body of the server's answer, as it came");
}

// Which of the choices it is; of itself the one at whose place it stands.
uint64_t index_of(const json& choice, size_t place) {
  const json* index = find(choice, "index");
  if (index == nullptr) return place;
  if (!index->is_number_unsigned())
    refuse(fmt::format("a choice's index is no whole number: {}", index->dump().substr(0, 40)),
           "save the whole body of the server's answer, as it came");
  return index->get<uint64_t>();
}

// By their numbers, wherever they stand.
std::vector<Numbered> choices_of(const json& response) {
  const json* choices = response.is_object() ? find(response, "choices") : nullptr;
  if (choices == nullptr || !choices->is_array() || choices->empty())
    refuse("the response has no choices", "save the whole body of the server's answer");
  std::vector<Numbered> all;
  for (const json& choice : *choices) {
    if (!choice.is_object())
      refuse("the response's choices are no objects", "save the whole body of the server's answer");
    check_token_ids(choice);
    all.emplace_back(index_of(choice, all.size()), choice);
  }
  std::ranges::stable_sort(all, {}, &Numbered::first);
  return all;
}

// Where the tokens or bytes of two lists part; the length of the shorter one: one goes on.
template <typename List>
size_t first_difference(const List& a, const List& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

// "token 2 is 4 and was 3"; empty where they are equal.
std::string difference_of_tokens(const json& ids, const json& ids_again) {
  const size_t at = first_difference(ids, ids_again);
  if (at == std::max(ids.size(), ids_again.size())) return {};
  return fmt::format("token {} is {} and was {}", at,
                     at < ids_again.size() ? ids_again[at].dump() : "missing",
                     at < ids.size() ? ids[at].dump() : "missing");
}

// What people read of a message, beside its calls. The server tells reasoning under both names, and
// the last two never: who finds them in a response finds words that no model said.
constexpr std::array<const char*, 5> kTexts = {"reasoning_content", "reasoning", "content",
                                               "refusal", "function_call"};
// What has a rule of its own, in a message and in a choice.
constexpr std::array<std::string_view, 7> kOfMessage = {
    "role", "reasoning_content", "reasoning", "content", "refusal", "function_call", "tool_calls"};
constexpr std::array<std::string_view, 10> kOfChoice = {
    "index",         "message",     "text",     "items",           "token_ids",
    "finish_reason", "stop_reason", "logprobs", "prompt_logprobs", "prompt_token_ids"};
// What a choice may have beside its tokens, texts and end.
constexpr std::array<const char*, 4> kFurther = {"stop_reason", "logprobs", "prompt_logprobs",
                                                 "prompt_token_ids"};
// Of these, what a chat has beside its choices.
constexpr std::array<const char*, 2> kOfPrompt = {"prompt_logprobs", "prompt_token_ids"};
constexpr std::array<const char*, 3> kUsage = {"prompt_tokens", "completion_tokens",
                                               "total_tokens"};

// Whatever the order of keys: who saves a response may sort them. What was not saved is no
// difference.
bool is_equal(const json* saved, const json* again) {
  if (saved == nullptr) return true;
  return again != nullptr && nlohmann::json(*saved) == nlohmann::json(*again);
}

json value_or(const json& object, const char* key, json otherwise) {
  const json* value = find(object, key);
  return value == nullptr ? std::move(otherwise) : *value;
}

// A text that is null or not there is an empty one.
std::string difference_of_texts(const json& saved, const json& again, const char* key) {
  const json text = value_or(saved, key, ""), text_again = value_or(again, key, "");
  if (text == text_again) return {};
  if (!text.is_string() || !text_again.is_string()) return fmt::format("{} differs", key);
  return fmt::format("{} differs from byte {} on", key,
                     first_difference(text.get_ref<const std::string&>(),
                                      text_again.get_ref<const std::string&>()));
}

// Ids of calls are drawn anew.
std::string difference_of_calls(const json& saved, const json& again) {
  const json calls = value_or(saved, "tool_calls", json::array());
  const json calls_again = value_or(again, "tool_calls", json::array());
  if (!calls.is_array()) return "tool_calls are no list";
  if (calls.size() != calls_again.size())
    return fmt::format("there are {} calls and were {}", calls_again.size(), calls.size());
  for (size_t i = 0; i < calls.size(); ++i) {
    const json function = value_or(calls[i], "function", {});
    const json function_again = value_or(calls_again[i], "function", {});
    for (const char* key : {"name", "arguments"}) {
      const std::string difference = difference_of_texts(function, function_again, key);
      if (!difference.empty()) return fmt::format("call {}: {}", i, difference);
    }
  }
  return {};
}

// Of what has no rule: words that no model said. Libraries add null and empty lists of what they
// know and a server did not say.
template <size_t N>
std::string difference_of_others(const json& saved, const json& again,
                                 const std::array<std::string_view, N>& with_rules) {
  if (!saved.is_object()) return {};
  for (const auto& [key, value] : saved.items()) {
    const bool says_nothing = value.is_null() || (value.is_array() && value.empty());
    if (says_nothing || std::ranges::find(with_rules, key) != with_rules.end()) continue;
    if (!is_equal(&value, find(again, key.c_str())))
      return fmt::format("{} differs", key.substr(0, 40));
  }
  return {};
}

// One by one: what stands in another place is another answer, although all of it together reads the
// same.
std::string difference_of_words(const json& saved, const json& again) {
  const std::string difference = difference_of_texts(saved, again, "text");
  if (!difference.empty()) return difference;
  const json message = value_or(saved, "message", json::object());
  const json message_again = value_or(again, "message", json::object());
  const bool has_reasoning =
      find(message, "reasoning") != nullptr || find(message, "reasoning_content") != nullptr;
  for (const char* key : kTexts) {
    const bool is_reasoning = std::string_view(key).starts_with("reasoning");
    // One of its names may have been left out; where both were, it is gone.
    if (is_reasoning && has_reasoning && find(message, key) == nullptr) continue;
    const std::string of_text = difference_of_texts(message, message_again, key);
    if (!of_text.empty()) return of_text;
  }
  const std::string of_calls = difference_of_calls(message, message_again);
  if (!of_calls.empty()) return of_calls;
  if (!is_equal(find(message, "role"), find(message_again, "role"))) return "role differs";
  const std::string of_others = difference_of_others(message, message_again, kOfMessage);
  if (!of_others.empty()) return of_others;
  if (!is_equal(find(saved, "items"), find(again, "items"))) return "items of the output differ";
  return {};
}

int64_t num_words_bytes(const json& choice) {
  size_t sum = word(choice, "text").size();
  const json message = value_or(choice, "message", json::object());
  sum += std::max(word(message, "reasoning").size(), word(message, "reasoning_content").size());
  sum += word(message, "content").size();
  for (const json& call : value_or(message, "tool_calls", json::array())) {
    const json function = value_or(call, "function", {});
    sum += word(function, "name").size() + word(function, "arguments").size();
  }
  return static_cast<int64_t>(sum);
}

// Tokens first: where they differ, the rest follows. Equal tokens say nothing of a text or an end
// that was written over.
std::string difference_of_choices(const json& saved, const json& again, Verdict* verdict) {
  const json* ids = find(saved, "token_ids");
  const json* ids_again = find(again, "token_ids");
  verdict->num_compared +=
      verdict->by_tokens ? static_cast<int64_t>(ids->size()) : num_words_bytes(saved);
  std::string difference;
  if (ids != nullptr)
    difference =
        ids_again == nullptr ? "token_ids are missing" : difference_of_tokens(*ids, *ids_again);
  if (difference.empty()) difference = difference_of_words(saved, again);
  const std::string finish = word(saved, "finish_reason"), now = word(again, "finish_reason");
  if (difference.empty() && finish != now)
    difference = fmt::format("finish_reason is \"{}\" and was \"{}\"", now, finish);
  for (const char* key : kFurther)
    if (difference.empty() && !is_equal(find(saved, key), find(again, key)))
      difference = fmt::format("{} differ", key);
  return difference.empty() ? difference_of_others(saved, again, kOfChoice) : difference;
}

void compare_choice(const Numbered& saved, const Numbered& again, Verdict* verdict) {
  const std::string difference = saved.first == again.first
                                     ? difference_of_choices(saved.second, again.second, verdict)
                                     : fmt::format("its index is {}", again.first);
  if (!difference.empty())
    verdict->differences.push_back(fmt::format("choice {}: {}", saved.first, difference));
}

void compare_prompt(const json& saved, const json& again, Verdict* verdict) {
  for (const char* key : kOfPrompt)
    if (!is_equal(find(saved, key), find(again, key)))
      verdict->differences.push_back(fmt::format("{} differ", key));
}

// Without cached_tokens: they follow from what the server did before.
void compare_usage(const json& saved, const json& again, Verdict* verdict) {
  const json* was = find(saved, "usage");
  const json* is = find(again, "usage");
  if (was == nullptr) return;
  for (const char* key : kUsage) {
    const json* number = find(*was, key);
    const json* now = is == nullptr ? nullptr : find(*is, key);
    if (!is_equal(number, now))
      verdict->differences.push_back(fmt::format("usage: {} is {} and was {}", key,
                                                 now == nullptr ? "missing" : now->dump(),
                                                 number->dump().substr(0, 40)));
  }
}

void say_what_is_compared(const json& saved, const std::vector<Numbered>& choices, bool is_response,
                          Verdict* verdict) {
  const auto say = [&](const char* what, bool is_there) {
    (is_there ? verdict->compared : verdict->missing).emplace_back(what);
  };
  const auto in_all = [&](const char* key) {
    return std::ranges::all_of(
        choices, [&](const Numbered& choice) { return find(choice.second, key) != nullptr; });
  };
  say("token_ids", verdict->by_tokens);
  verdict->compared.emplace_back("text");
  say("finish_reason", in_all("finish_reason"));
  say("usage", find(saved, "usage") != nullptr);
  if (in_all("stop_reason")) say("stop_reason", true);
  say("logprobs", in_all("logprobs"));
  // A chat has them once: beside its choices, or where it is a stream with the first of them.
  for (const char* key : kOfPrompt)
    say(key, find(saved, key) != nullptr || find(choices.front().second, key) != nullptr);
  verdict->left_out = {"model", "ids", "times", "cached tokens"};
  if (is_response) verdict->left_out.emplace_back("what repeats the request");
}

// Of the choices that ended for their length, where the request bounds none.
std::optional<int64_t> length_of_context(const json& request, const json& response) {
  for (const char* key : {"max_tokens", "max_completion_tokens", "max_output_tokens"})
    if (find(request, key) != nullptr) return std::nullopt;
  const std::vector<Numbered> choices = choices_of(response);
  std::optional<int64_t> length;
  for (const auto& [_, choice] : choices) {
    if (word(choice, "finish_reason") != "length") continue;
    const json* ids = find(choice, "token_ids");
    const json* usage = choices.size() == 1 ? find(response, "usage") : nullptr;
    const json* count = usage == nullptr ? nullptr : find(*usage, "completion_tokens");
    std::optional<int64_t> now;
    if (ids != nullptr)
      now = static_cast<int64_t>(ids->size());
    else if (count != nullptr && count->is_number_unsigned())
      now = count->get<int64_t>();
    if (!now || *now < 1 || (length && *length != *now)) return std::nullopt;
    length = now;
  }
  // Of itself a completion is as long as that.
  const bool is_default =
      request.contains("prompt") && length && *length >= engine::SamplingParams().max_tokens;
  return is_default ? std::nullopt : length;
}

// Which route a request was sent to, by what it asks with.
std::string path_of(const json& request) {
  if (request.contains("messages")) return "/v1/chat/completions";
  return request.contains("input") ? kResponsesPath : "/v1/completions";
}

}  // namespace

Receipt read_receipt(std::string_view text) {
  if (text.size() > kMostReceiptBytes) refuse("the receipt is larger than 64 MiB");
  std::vector<json> values = parse_all(text);
  if (values.size() == 1 && values[0].is_object() && values[0].contains("request") &&
      values[0].contains("response"))
    values = {values[0]["request"], values[0]["response"]};
  if (values.size() != 2 || !values[0].is_object() ||
      !(values[1].is_object() || values[1].is_string()))
    refuse("the file holds no request and response",
           "save {\"request\": body, \"response\": body}, or one body after the other");
  if (word(values[1], "object").ends_with(".chunk"))
    refuse("the response is a piece of a stream", "save all of its events, as they came");
  const bool streams = values[1].is_string();
  const json response = streams ? as_choices(join_stream(values[1].get<std::string>()))
                                : as_choices(std::move(values[1]));
  const std::optional<int64_t> length = length_of_context(values[0], response);
  if (!can_be_repeated(values[0]))
    refuse("the request was sampled without a seed, so nobody can repeat it",
           "ask with \"seed\", or with \"temperature\": 0");
  if (find(values[0], "previous_response_id") != nullptr)
    refuse("the request goes on with a response that its server kept",
           "ask with the whole conversation as \"input\"");
  return {values[0].dump(), response.dump(), path_of(values[0]), streams, length};
}

std::string repeated_request(const Receipt& receipt) {
  json request = json::parse(receipt.request);
  request.erase("model");
  if (!receipt.streams) request.erase("stream_options");
  request["stream"] = receipt.streams;
  request["return_token_ids"] = true;
  const bool is_response = receipt.path == kResponsesPath;
  if (is_response) request["store"] = false;
  if (receipt.length_of_context) {
    request[is_response ? "max_output_tokens" : "max_tokens"] = *receipt.length_of_context;
    const json* least = find(request, "min_tokens");  // of a server, too, the context has the word
    if (least != nullptr && least->is_number() && *least > *receipt.length_of_context)
      request["min_tokens"] = *receipt.length_of_context;
  }
  return request.dump();
}

Verdict compare(const Receipt& receipt, std::string_view again_text) {
  const json saved = json::parse(receipt.response);
  const json again =
      as_choices(receipt.streams ? join_stream(again_text) : parse_saved(again_text));
  const std::vector<Numbered> choices = choices_of(saved), choices_again = choices_of(again);
  Verdict verdict;
  verdict.saved_fingerprint = word(saved, "system_fingerprint");
  verdict.fingerprint = word(again, "system_fingerprint");
  verdict.by_tokens = std::ranges::all_of(
      choices, [](const Numbered& each) { return find(each.second, "token_ids") != nullptr; });
  say_what_is_compared(saved, choices, receipt.path == kResponsesPath, &verdict);
  if (choices.size() != choices_again.size())
    verdict.differences.push_back(
        fmt::format("there are {} choices and were {}", choices_again.size(), choices.size()));
  for (size_t i = 0; i < std::min(choices.size(), choices_again.size()); ++i)
    compare_choice(choices[i], choices_again[i], &verdict);
  compare_prompt(saved, again, &verdict);
  compare_usage(saved, again, &verdict);
  return verdict;
}

}  // namespace weft::serve
