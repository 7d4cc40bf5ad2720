#include "serve/receipt.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace weft::serve {
namespace {

// The order of keys is a part of a request: a schema's properties come in it.
using json = nlohmann::ordered_json;

constexpr size_t kMostReceiptBytes = 64 << 20;

[[noreturn]] void refuse(const std::string& what, const std::string& mend = {}) {
  throw Error(ErrorKind::kUsage, what, "", mend);
}

// The two bodies, however they lie in the file. Deep nesting is refused by the file's bound: the
// parser keeps its own stack.
std::vector<json> parse_all(std::string_view text) {
  std::vector<json> values;
  const json whole = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!whole.is_discarded()) {
    values.push_back(whole);
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
      values.push_back(json::parse(text.substr(begin, i + 1 - begin), nullptr, false));
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
  return is_greedy || find(request, "seed") != nullptr;
}

std::string text_of(const json& choice) {
  if (const json* text = find(choice, "text"); text != nullptr && text->is_string()) return *text;
  const json* message = find(choice, "message");
  if (message == nullptr) return {};
  std::string text = word(*message, "reasoning_content") + word(*message, "content");
  if (const json* calls = find(*message, "tool_calls")) {
    for (const json& call : *calls)  // ids of calls are drawn anew
      if (const json* function = find(call, "function"))
        text.append(1, '\n')
            .append(word(*function, "name"))
            .append(1, ' ')
            .append(word(*function, "arguments"));
  }
  return text;
}

const json& choices_of(const json& response) {
  const json* choices = response.is_object() ? find(response, "choices") : nullptr;
  if (choices == nullptr || !choices->is_array() || choices->empty())
    refuse("the response has no choices", "save the whole body of the server's answer");
  return *choices;
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

// Tokens first: where they differ, the rest follows. Equal tokens say nothing of a text or an end
// that was written over.
std::string difference_of_choices(const json& saved, const json& again, Verdict* verdict) {
  const json* ids = find(saved, "token_ids");
  const json* ids_again = find(again, "token_ids");
  const std::string text = text_of(saved), text_again = text_of(again);
  const bool by_tokens = verdict->by_tokens && ids != nullptr && ids_again != nullptr;
  verdict->num_compared += static_cast<int64_t>(by_tokens ? ids->size() : text.size());
  std::string difference = by_tokens ? difference_of_tokens(*ids, *ids_again) : "";
  if (difference.empty() && text != text_again)
    difference =
        fmt::format("the text differs from byte {} on", first_difference(text, text_again));
  const std::string finish = word(saved, "finish_reason"), now = word(again, "finish_reason");
  if (difference.empty() && finish != now)
    difference = fmt::format("finish_reason is \"{}\" and was \"{}\"", now, finish);
  return difference;
}

void compare_choice(const json& saved, const json& again, size_t index, Verdict* verdict) {
  const std::string difference = difference_of_choices(saved, again, verdict);
  if (!difference.empty())
    verdict->differences.push_back(fmt::format("choice {}: {}", index, difference));
}

}  // namespace

Receipt read_receipt(std::string_view text) {
  if (text.size() > kMostReceiptBytes) refuse("the receipt is larger than 64 MiB");
  std::vector<json> values = parse_all(text);
  if (values.size() == 1 && values[0].is_object() && values[0].contains("request") &&
      values[0].contains("response"))
    values = {values[0]["request"], values[0]["response"]};
  if (values.size() != 2 || !values[0].is_object() || !values[1].is_object())
    refuse("the file holds no request and response",
           "save {\"request\": body, \"response\": body}, or one body after the other");
  if (word(values[1], "object").ends_with(".chunk"))
    refuse("the response is a piece of a stream",
           "save the answer to a request without \"stream\"");
  choices_of(values[1]);
  if (!can_be_repeated(values[0]))
    refuse("the request was sampled without a seed, so nobody can repeat it",
           "ask with \"seed\", or with \"temperature\": 0");
  return {values[0].dump(), values[1].dump(), values[0].contains("messages")};
}

std::string repeated_request(const Receipt& receipt) {
  json request = json::parse(receipt.request);
  for (const char* key : {"model", "stream", "stream_options"}) request.erase(key);
  request["return_token_ids"] = true;
  return request.dump();
}

Verdict compare(const Receipt& receipt, std::string_view again_text) {
  const json saved = json::parse(receipt.response);
  const json again = json::parse(again_text, nullptr, /*allow_exceptions=*/false);
  const json &choices = choices_of(saved), &choices_again = choices_of(again);
  Verdict verdict;
  verdict.saved_fingerprint = word(saved, "system_fingerprint");
  verdict.fingerprint = word(again, "system_fingerprint");
  verdict.by_tokens = std::ranges::all_of(
      choices, [](const json& choice) { return find(choice, "token_ids") != nullptr; });
  if (choices.size() != choices_again.size())
    verdict.differences.push_back(
        fmt::format("there are {} choices and were {}", choices_again.size(), choices.size()));
  for (size_t i = 0; i < std::min(choices.size(), choices_again.size()); ++i)
    compare_choice(choices[i], choices_again[i], i, &verdict);
  return verdict;
}

}  // namespace weft::serve
