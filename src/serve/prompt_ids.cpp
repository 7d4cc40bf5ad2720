#include "serve/prompt_ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "engine/served_limits.h"
#include "serve/request_error.h"

namespace weft::serve {
namespace {

// A word is forbidden as it begins a text and as it stands after a space, where that is as many
// tokens that begin differently (vLLM's rule).
void add_bad_word(const std::string& word, const text::Tokenizer& tokenizer,
                  std::vector<std::vector<int32_t>>* sequences) {
  const std::string bare = word.substr(std::min(word.find_first_not_of(' '), word.size()));
  const std::vector<int32_t> first = tokenizer.encode(bare, false, false);
  const std::vector<int32_t> later = tokenizer.encode(" " + bare, false, false);
  sequences->push_back(first);
  if (!first.empty() && later.size() == first.size() && later[0] != first[0])
    sequences->push_back(later);
}

[[noreturn]] void refuse_length(const RequestBody& body, const std::string& what,
                                std::string param = {}) {
  if (param.empty()) param = body.is_chat ? "messages" : "prompt";
  throw RequestError(what, {.param = param, .code = "context_length_exceeded"});
}

// Of a model without one, a text to go on with is all that can be made: a question alone is one.
void refuse_what_needs_a_template(const RequestBody& body) {
  constexpr const char* kMend = "--chat-template names one where Weft is started";
  if (!body.is_question)
    throw RequestError(
        "messages: this model has no chat template, so one message of the user is all it can read",
        {.param = "messages", .why = kMend});
  if (body.continue_final_message)
    throw RequestError("continue_final_message: this model has no chat template to go on in",
                       {.param = "continue_final_message", .why = kMend});
}

std::vector<int32_t> chat_ids(const RequestBody& body, const PromptSource& source,
                              std::string* rendered) {
  if (source.chat_template == nullptr) {
    refuse_what_needs_a_template(body);
    return encode_prompt(body.last_content, true, source, "messages");
  }
  std::string text = render_chat_prompt(body, *source.chat_template);
  std::vector<int32_t> ids = encode_prompt(text, body.add_special_tokens, source, "messages");
  if (rendered != nullptr) *rendered = std::move(text);
  return ids;
}

// Of a prompt, to which an answer is to follow; 0: all.
int64_t most_prompt_tokens(const RequestBody& body, int64_t max_model_len) {
  if (body.truncate_prompt_tokens != kTruncateToContext || max_model_len == 0)
    return std::max<int64_t>(0, body.truncate_prompt_tokens);
  const int64_t answer = body.sampling.max_tokens;
  return max_model_len - (answer < max_model_len ? answer : 1);
}

// An answer that says no length is cut where its logprobs end, but not to less.
constexpr int64_t kLeastOpenAnswer = 4096;

[[noreturn]] void refuse_logprobs(const RequestBody& body, const char* field, int64_t asked,
                                  int64_t most, std::string why) {
  const engine::SamplingParams& p = body.sampling;
  const bool is_top = body.is_chat && std::string_view(field) == "logprobs" && *p.logprobs > 0;
  const std::string param = is_top ? "top_logprobs" : field;
  throw RequestError(
      fmt::format("{} asks for {} logprobs in all; at most {} are given", param, asked, most),
      {.param = param, .why = std::move(why)});
}

}  // namespace

std::string render_chat_prompt(const RequestBody& body, const text::ChatTemplate& chat_template) {
  std::string text =
      chat_template.render_json(body.messages, body.add_generation_prompt, body.template_variables);
  if (!body.continue_final_message) return text;
  // Templates trim contents, so what is looked for is trimmed too.
  const std::string_view blanks = " \t\r\n";
  const size_t end = body.last_content.find_last_not_of(blanks);
  const size_t begin = body.last_content.find_first_not_of(blanks);
  const std::string content =
      end == std::string::npos ? "" : body.last_content.substr(begin, end + 1 - begin);
  const size_t at = content.empty() ? std::string::npos : text.rfind(content);
  if (at == std::string::npos)
    throw RequestError("the chat template does not show the last message, which is to be continued",
                       {.param = "continue_final_message"});
  text.resize(at + content.size());
  return text;
}

std::vector<int32_t> encode_prompt(const std::string& text, bool add_special,
                                   const PromptSource& source, const char* field) {
  const auto num_bytes = static_cast<int64_t>(text.size());
  if (source.max_model_len > 0 && num_bytes / kMostBytesOfToken > source.max_model_len)
    throw RequestError(fmt::format("{} bytes of text are given; the context holds {} tokens",
                                   num_bytes, source.max_model_len),
                       {.param = field, .code = "context_length_exceeded"});
  return source.tokenizer.encode(text, add_special, true);
}

std::vector<std::vector<int32_t>> prompt_ids_of(const RequestBody& body, const PromptSource& source,
                                                std::string* rendered) {
  std::vector<std::vector<int32_t>> ids;
  if (body.is_chat) ids.push_back(chat_ids(body, source, rendered));
  for (const Prompt& prompt : body.prompts) {
    if (body.is_chat) break;
    const std::string* text = std::get_if<std::string>(&prompt);
    ids.push_back(text == nullptr
                      ? std::get<std::vector<int32_t>>(prompt)
                      : encode_prompt(*text, body.add_special_tokens, source, "prompt"));
  }
  const int64_t most = most_prompt_tokens(body, source.max_model_len);
  for (std::vector<int32_t>& one : ids) keep_last(most, &one);
  return ids;
}

void keep_last(int64_t most, std::vector<int32_t>* ids) {
  if (most > 0 && std::ssize(*ids) > most) ids->erase(ids->begin(), ids->end() - most);
}

void check_prompt_ids(std::span<const int32_t> prompt_ids, const engine::RequestLimits& limits,
                      const char* field) {
  try {
    engine::check_prompt(prompt_ids, limits);
  } catch (const Error& error) {
    throw RequestError(error.summary(), {.param = field, .why = error.why()});
  }
}

std::vector<std::vector<int32_t>> bad_word_ids(const RequestBody& body,
                                               const text::Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> sequences;
  for (const std::string& word : body.bad_words) add_bad_word(word, tokenizer, &sequences);
  return sequences;
}

int64_t max_tokens_after(const RequestBody& body, int64_t num_prompt_tokens,
                         int64_t max_model_len) {
  const int64_t room = max_model_len - num_prompt_tokens;
  if (room < 1)
    refuse_length(body,
                  fmt::format("the prompt has {} tokens; the context of {} leaves no room for an "
                              "answer: shorten the prompt",
                              num_prompt_tokens, max_model_len));
  if (body.names_max_tokens && body.sampling.max_tokens > room)
    refuse_length(body,
                  fmt::format("{} is {} and the prompt has {} tokens; the context holds {}",
                              body.max_tokens_name, body.sampling.max_tokens, num_prompt_tokens,
                              max_model_len),
                  body.max_tokens_name);
  return std::min(body.sampling.max_tokens, room);
}

int64_t bound_logprobs(const RequestBody& body, std::span<const int64_t> num_prompt_tokens,
                       int64_t most, std::vector<int64_t>* max_tokens) {
  const engine::SamplingParams& p = body.sampling;
  const int64_t num_choices = p.num_choices();
  // Each answer repeats a prompt that is echoed.
  const int64_t of_prompt =
      engine::logprobs_of_position(p.prompt_logprobs) * (body.echo ? num_choices : 1);
  const int64_t in_prompts =
      of_prompt * std::reduce(num_prompt_tokens.begin(), num_prompt_tokens.end(), int64_t{0});
  if (in_prompts > most)
    refuse_logprobs(body, body.echo ? "logprobs" : "prompt_logprobs", in_prompts, most,
                    "of each prompt's tokens and its alternatives");
  const int64_t of_step = engine::logprobs_of_position(p.logprobs) * num_choices;
  const int64_t asked = of_step * std::reduce(max_tokens->begin(), max_tokens->end(), int64_t{0});
  if (asked <= most - in_prompts) return in_prompts + asked;
  const int64_t left = (most - in_prompts) / of_step / std::ssize(*max_tokens);
  const bool is_open = p.max_tokens == kOpenMaxTokens && left >= kLeastOpenAnswer;
  if (!is_open)
    refuse_logprobs(body, "logprobs", in_prompts + asked, most,
                    fmt::format("{} {} would do", body.max_tokens_name, left));
  for (int64_t& one : *max_tokens) one = std::min(one, left);
  return most;
}

}  // namespace weft::serve
